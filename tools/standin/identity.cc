// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/identity.h"

namespace bellhop::standin {

Result<Identity> make_identity(std::vector<std::string> names, std::vector<std::string> addresses, WallTime now) {
  CertificateValidity validity{now - std::chrono::hours(1), now + std::chrono::days(365)};
  BH_TRY(CertificateAndKey authority, make_authority("bellhop stand-ins", validity));
  BH_TRY(CertificateAndKey standin, issue_certificate(authority, names, addresses, validity));
  BH_TRY(CertificateAndKey server, issue_certificate(authority, names, addresses, validity));
  BH_TRY(CertificateAndKey app, issue_client_certificate(authority, {.account = kAppTopic, .validity = validity}));
  return Identity{std::move(authority), std::move(standin), std::move(server), std::move(app),
                  crypto::Es256PrivateKey::generate()};
}

}  // namespace bellhop::standin
