// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_logon.h"

#include "core/io.h"
#include "crypto/certificate_user.h"
#include "crypto/error.h"

namespace bellhop::service {

Result<std::string> GatewayCertificates::user(Bytes der, WallTime now) const {
  if (!certificates_) return fail(crypto::crypto_error(crypto::CryptoError::certificate_no_user));
  BH_CHECKED(certificates_->check(der, now));
  crypto::CertificateUserRules rules{.upn = true, .rfc822_name = certificates_->mail_address()};
  BH_TRY(crypto::CertificateUser user, crypto::certificate_user(der, rules));
  if (!certificates_->takes_user(user.name)) return fail(crypto::crypto_error(crypto::CryptoError::certificate_bad_user));
  return std::move(user.name);
}

KerberosResult kerberos_result(const std::optional<Error>& error, bool asked) {
  if (!error) return asked ? KerberosResult::asked : KerberosResult::kept;
  if (is(*error, CoreError::canceled)) return KerberosResult::canceled;
  if (error->domain != Domain::kerberos) return KerberosResult::failed;
  switch (static_cast<KerberosError>(error->code)) {
    case KerberosError::keytab: return KerberosResult::keytab;
    case KerberosError::service_logon: return KerberosResult::service_logon;
    case KerberosError::clock: return KerberosResult::clock;
    case KerberosError::realm_unknown: return KerberosResult::realm_unknown;
    case KerberosError::unreachable: return KerberosResult::unreachable;
    case KerberosError::user_unknown: return KerberosResult::user_unknown;
    case KerberosError::user_refused: return KerberosResult::user_refused;
    case KerberosError::name_malformed: return KerberosResult::name_malformed;
    case KerberosError::service_unknown: return KerberosResult::service_unknown;
    case KerberosError::delegation_refused: return KerberosResult::delegation_refused;
    case KerberosError::busy: return KerberosResult::busy;
    case KerberosError::library_missing:
    case KerberosError::off:
    case KerberosError::ticket_expired:
    case KerberosError::protocol: return KerberosResult::failed;
  }
  return KerberosResult::failed;
}

Task<Result<crypto::Secret>> KerberosAuthenticator::authorization(const GatewayIdentity& identity,
                                                                  const GatewayEndpoint& endpoint, const HostPort& server,
                                                                  Bytes server_certificate) {
  const std::string& service = endpoint.config.service_principal;
  KerberosRequest request{.user = identity.user,
                          .service = service.empty() ? "HTTP/" + server.host : service,
                          .principal = {},
                          .endpoint_hash = {}};
  if (kerberos_.config().channel_binding == KerberosBinding::endpoint) {
    request.endpoint_hash = endpoint_hash(server_certificate);
    // A server that requires the binding would refuse, one that does not would not notice: neither is what was configured.
    if (request.endpoint_hash.empty()) {
      metrics_.add(metric::kerberos_requests, KerberosResult::no_binding);
      co_return fail(tls_error(TlsError::certificate_invalid));
    }
  }
  bool asked = false;
  Instant began = io::now();
  Result<crypto::Secret> made = co_await kerberos_.authorization(std::move(request), &asked);
  std::optional<Error> error;
  if (!made) error = made.error();
  metrics_.add(metric::kerberos_requests, kerberos_result(error, asked));
  if (asked) metrics_.observe(metric::kerberos_asking, io::now() - began);
  co_return made;
}

}  // namespace bellhop::service
