// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/io.h"
#include "crypto/secret.h"
#include "service/gss_api.h"
#include "service/kerberos_health.h"
#include "service/kerberos_tickets.h"
#include "service/logon_config.h"

namespace bellhop::service {

// A request as the KDC is asked it.
struct KerberosQuestion {
  KerberosTickets::Key key;
  std::string name;  // the user's, of `kind`
  GssNameKind kind = GssNameKind::enterprise;
  std::string realm;  // whose KDCs are asked first
  // The user's, in upper case: it may be one that our realm trusts, and its KDCs may be away alone.
  std::string domain;
  std::string service;
  std::vector<uint8_t> endpoint_hash;
};
// How [gateway.kerberos] names the user. Errors: name_malformed: no user@domain, or what a principal's name gives a meaning of
// its own ("/", "\"), so that no certificate can name a service.
Result<KerberosQuestion> kerberos_question(const KerberosConfig& config, std::string_view user, std::string_view service,
                                           std::string_view principal);

// "Negotiate …" of a token of Kerberos', which is wiped.
crypto::Secret negotiate_header(std::vector<uint8_t>& kerberos_token);

// Who does the work on the errand threads, in blocking calls. Shared by them: some only hand out what is there, and so never
// wait for a KDC; the others ask, a user always on the same one, so that nobody asks for it twice.
class KerberosDesk {
 public:
  // Of the lanes of io::Errand, those that never wait; the rest ask.
  static constexpr unsigned kHandingLanes = 2;
  static constexpr unsigned kAskingLanes = io::kErrandLanes - kHandingLanes;

  KerberosDesk(const KerberosConfig& config, const GssApi& api) : config_(config), api_(api), tickets_(config.users_kept_max) {}

  // "Negotiate …" where the user's tickets are there; nothing where the KDC must be asked. Errors: a refusal that is
  // remembered, gss_error(service).
  Result<std::optional<crypto::Secret>> hand_out(const KerberosQuestion& question, Instant now);
  // The same, and asks. `lane`: 0 .. kAskingLanes - 1. Errors: all but busy and off.
  Result<crypto::Secret> ask(unsigned lane, const KerberosQuestion& question, Instant now);

  KerberosTickets& tickets() { return tickets_; }
  KerberosHealth& health() { return health_; }
  // The accounts log on anew before they are used next.
  void renew_accounts() { generation_.fetch_add(1, std::memory_order_relaxed); }

  std::atomic<uint64_t> tokens = 0, from_cache = 0;

 private:
  // The service account's own tickets; of one lane.
  struct Account {
    std::shared_ptr<GssCredential> credential;
    uint64_t generation = 0;
    Instant renew_at{};
    Instant ends{};
  };
  Result<std::shared_ptr<GssCredential>> account(unsigned lane, const std::string& principal, Instant now);
  Result<crypto::Secret> ask_once(unsigned lane, const KerberosQuestion& question, Instant now);
  Result<std::shared_ptr<GssCredential>> ask_for_user(unsigned lane, const KerberosQuestion& question, Instant now);
  Result<crypto::Secret> token(const KerberosQuestion& question, const GssCredential& credential, Instant now);

  const KerberosConfig config_;
  const GssApi& api_;
  KerberosTickets tickets_;
  KerberosHealth health_;
  std::atomic<uint64_t> generation_ = 1;
  std::array<std::map<std::string, Account>, kAskingLanes> accounts_;  // by principal; each its lane's alone
};

}  // namespace bellhop::service
