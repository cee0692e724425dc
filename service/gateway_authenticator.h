// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/time.h"
#include "core/task.h"
#include "crypto/secret.h"
#include "service/gateway_identity.h"
#include "service/gateway_routes.h"

namespace bellhop::service {

// Logs on at an upstream in place of the user, whom the gateway knows already (logon = "kerberos"): makes the value of
// Authorization. One per core; outlives the gateway. A token is for one request over one connection and is never sent
// again: whoever repeats a request asks for another one.
class UpstreamAuthenticator {
 public:
  // "Negotiate …". `identity` was proven by a certificate; `server` is the endpoint's upstream, or one that it was redirected
  // to. `server_certificate`: DER of what the server showed on this connection, for channel binding. Deadline: the caller's.
  // Errors: kerberos, timed_out, canceled.
  virtual Task<Result<crypto::Secret>> authorization(const GatewayIdentity& identity, const GatewayEndpoint& endpoint,
                                                     const HostPort& server, Bytes server_certificate) = 0;
  // Nothing that is kept of this user is used again: the server did not take it (401), or the policy blocks the user now.
  virtual void forget(std::string_view user) = 0;

 protected:
  ~UpstreamAuthenticator() = default;
};

// Whom a client's certificate names. TLS has verified it when its connection began. Outlives the gateway.
class CertificateUsers {
 public:
  // The user principal name. `der`: the client's own certificate. Errors: crypto (certificate_*), tls (expired or revoked
  // since, or not to be known now: certificate_revocations_stale).
  virtual Result<std::string> user(Bytes der, WallTime now) const = 0;
  // An error of user() that is nobody's fault: revocation lists are too old to say.
  virtual bool cannot_tell(const Error& error) const = 0;

 protected:
  ~CertificateUsers() = default;
};

}  // namespace bellhop::service
