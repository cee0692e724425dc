// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/client_bundle.h"

#include "core/tls/identity.h"
#include "crypto/pkcs12.h"

namespace bellhop::standin {

Result<crypto::Secret> bundle_of(const CertificateAndKey& certificate, std::string_view password,
                                 unsigned iterations) {
  std::string complaint;
  BH_TRY(const TlsOwnIdentity identity, TlsOwnIdentity::read({"certificate", certificate.chain_pem},
                                                             {"key", certificate.key_pem}, complaint));
  crypto::ClientCertificate parts{.private_key = crypto::Secret::copy_of(identity.view().private_key),
                                  .chain = crypto::Secret::copy_of(identity.view().chain)};
  return crypto::make_pkcs12(parts, password, iterations);
}

Result<crypto::Secret> make_client_bundle(const CertificateAndKey& authority, std::string_view address,
                                          std::string_view password, WallTime now, unsigned iterations) {
  BH_TRY(const CertificateAndKey certificate,
         issue_client_certificate(authority, {.account = std::string(address),
                                              .validity = {now - std::chrono::hours(1), now + std::chrono::days(365)}}));
  return bundle_of(certificate, password, iterations);
}

}  // namespace bellhop::standin
