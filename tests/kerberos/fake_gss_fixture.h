// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "service/gss_api.h"
#include "service/kerberos.h"

namespace bellhop::kerberos_test {

using namespace bellhop::service;

// A KDC and a GSSAPI library in one, for tests of what stands above them. Thread-safe; one at a time in the process.
struct FakeKdc {
  FakeKdc();
  ~FakeKdc();

  const GssApi& api() const { return api_; }

  std::mutex mutex;  // of all that follows; the hooks run without it
  std::set<std::string> users = {"alice@EXAMPLE.COM", "bob@EXAMPLE.COM"};  // as principals; enterprise names as they are
  std::set<std::string> services = {"HTTP/mail.example.com"};
  std::map<std::string, uint32_t> refusals;  // of users: minor codes
  uint32_t account_refusal = 0, service_refusal = 0;
  bool dead = false;
  uint32_t lifetime_seconds = 36'000;
  std::function<void()> on_user;  // while it is asked for a user
  int expired_tokens = 0;         // so many next init_sec_context say that the ticket has expired

  // What was asked.
  std::vector<std::string> asked_users;  // "principal:NAME", "enterprise:NAME"
  int accounts = 0, user_tickets = 0, service_tickets = 0, tokens = 0;
  int live_credentials = 0, live_names = 0, live_contexts = 0;
  std::vector<std::string> keytabs, bindings;
  std::set<std::string> caches;  // that were named and not destroyed
  int before_account = 0;  // asked for a user without an account: a bug

 private:
  GssApi api_;
};

inline constexpr uint32_t kUserUnknown = 0x96c73a06;        // KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN
inline constexpr uint32_t kServiceUnknown = 0x96c73a07;     // KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN
inline constexpr uint32_t kBadOption = 0x96c73a0d;          // KRB5KDC_ERR_BADOPTION
inline constexpr uint32_t kRevoked = 0x96c73a12;            // KRB5KDC_ERR_CLIENT_REVOKED
inline constexpr uint32_t kPreauthFailed = 0x96c73a18;      // KRB5KDC_ERR_PREAUTH_FAILED
inline constexpr uint32_t kExpired = 0x96c73a20;            // KRB5KRB_AP_ERR_TKT_EXPIRED
inline constexpr uint32_t kSkew = 0x96c73a25;               // KRB5KRB_AP_ERR_SKEW
inline constexpr uint32_t kUnreachable = 0x96c73a9c;        // KRB5_KDC_UNREACH
inline constexpr uint32_t kRealmUnknown = 0x96c73a9a;       // KRB5_REALM_UNKNOWN

KerberosConfig config_for_tests();
KerberosRequest request_for(std::string user);
// What the fake put into a header: "alice@EXAMPLE.COM HTTP/mail.example.com 1"; "?" where it is no header.
std::string token_text(const crypto::Secret& header);
bool failed_with(const Result<crypto::Secret>& result, KerberosError code);

}  // namespace bellhop::kerberos_test
