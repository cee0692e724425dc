// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_logon.h"

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
    if (request.endpoint_hash.empty()) co_return fail(tls_error(TlsError::certificate_invalid));
  }
  co_return co_await kerberos_.authorization(std::move(request));
}

}  // namespace bellhop::service
