// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/descriptors.h"
#include "core/io.h"
#include "core/task.h"
#include "crypto/secret.h"
#include "service/kerberos_error.h"
#include "service/kerberos_health.h"
#include "service/logon_config.h"

namespace bellhop::service {

struct GssApi;
struct KerberosQuestion;
class KerberosDesk;

// Whom a ticket is for, and where it is shown.
struct KerberosRequest {
  std::string user;       // userPrincipalName, as the certificate says it: "alice@example.com"
  std::string service;    // the SPN: "HTTP/mail.example.com", or "HTTP/mail.example.com@REALM"
  std::string principal;  // the account that we act as; empty: gateway.kerberos.principal
  // Channel binding of type tls-server-end-point (RFC 5929 section 4.1): the hash of the server's certificate on the very
  // connection that the ticket will be sent over. Empty: none. See endpoint_hash() in core/tls/identity.h.
  std::vector<uint8_t> endpoint_hash;
};

// Counted since the start, all cores together.
struct KerberosStats {
  uint64_t tokens = 0;      // made
  uint64_t from_cache = 0;  // of these, without asking the KDC
  uint64_t failures = 0;    // requests that got none
  uint64_t users = 0;       // tickets of how many users are kept now
  uint64_t waiting = 0;     // requests that wait now
};

// Logs users on at services of Windows without their passwords: Kerberos constrained delegation with protocol transition
// (MS-SFU: S4U2Self, then S4U2Proxy). Whoever calls has verified that the user is who it says; the KDC does not.
//
// One per process, used by all cores; made before they start and destroyed after they ended. MIT's libgssapi-krb5 does the
// work and waits for the KDC by itself, so that it only runs on errand threads (core/io.h). What is in the cache is handed out
// by threads that never wait, so that a dead KDC does not stop users whose tickets are there.
//
// Bounds: requests_waiting_max in all; users_kept_max users, the longest unused leaves first; a ticket is used for
// tickets_kept_minutes, then the KDC is asked again whether the user is still welcome; a refusal is remembered for
// refusals_kept_seconds, and the KDCs that do not answer for a user are left alone for unreachable_seconds, by
// all users of the same domain.
class Kerberos {
 public:
  // Loads the library and looks at the keytab; asks no KDC. Blocking, before threads start: it sets KRB5_CONFIG. On
  // failure `complaint` is one line for the operator. Errors: library_missing, keytab, os.
  static Result<std::unique_ptr<Kerberos>> open(const KerberosConfig& config, std::string& complaint);
  // With a library that is already loaded, for tests.
  Kerberos(const KerberosConfig& config, const GssApi& api);
  ~Kerberos();
  Kerberos(const Kerberos&) = delete;
  Kerberos& operator=(const Kerberos&) = delete;

  // The value of an Authorization field: "Negotiate …". For one request: a server takes a token once, so that a request
  // that is sent again needs another. From any core. Errors: kerberos (all of KerberosError; where nothing came for
  // gateway.kerberos.timeout_ms: unreachable, or busy where others stood before it all the time), canceled. `asked`, which
  // outlives the task, becomes true where tickets at hand were not enough.
  Task<Result<crypto::Secret>> authorization(KerberosRequest request, bool* asked = nullptr);
  // Drops a user's tickets: after a block, a wipe, or a refusal by the service. Any thread; returns at once.
  void forget(std::string_view user);
  // Drops all tickets, and reads the keytab anew where it is needed next: after a reload. Any thread; returns at once.
  void forget_all();
  const KerberosConfig& config() const { return config_; }

  KerberosStats stats() const;
  // Which services got tickets, and what keeps everybody of a realm out. Any thread.
  const KerberosHealth& health() const;

 private:
  Task<Result<crypto::Secret>> make(KerberosRequest request, bool* asked);
  Task<Result<crypto::Secret>> get(std::shared_ptr<const KerberosQuestion> question, std::shared_ptr<std::atomic<bool>> begun, bool* asked);

  const KerberosConfig config_;
  std::shared_ptr<KerberosDesk> desk_;  // errands share it: one that nobody waits for any more may outlive us
  std::atomic<uint64_t> failures_ = 0, waiting_ = 0;
};

// What krb5.conf must say for delegation to work, whatever the system's says; it is read before that.
std::string krb5_settings(const KerberosConfig& config);
// Makes the library read these settings and then config_file, or the system's. Blocking; before threads start, once: a second
// call changes the settings in their place. Errors: os, core (unsupported: the library ignores its environment in programs
// with file capabilities).
Status use_krb5_settings(const KerberosConfig& config);

// Goes once through all steps, for `bellhop check --online`: the service account's logon, a ticket for the user, and one for the
// service, as the value of an Authorization field. Where the request names no user, the account's logon is all, and the value
// is empty. Blocking; use_krb5_settings() came before. Errors as Kerberos::authorization; `step` says how far it came.
Result<crypto::Secret> probe_kerberos(const KerberosConfig& config, const KerberosRequest& request, std::string& step);

}  // namespace bellhop::service
