// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/tls/certificate.h"
#include "crypto/es256.h"

namespace bellhop::standin {

// Who is who in a world of stand-ins: an authority that all trust, a certificate for the stand-ins, one for the server,
// the provider's key, and a certificate that may stand for it, of the app kAppTopic.
inline constexpr const char* kAppTopic = "com.example.mail";
struct Identity {
  CertificateAndKey authority, standin, server, app;
  crypto::Es256PrivateKey provider_key;
};

// Fresh, valid from an hour ago for a year. Errors: tls.
Result<Identity> make_identity(std::vector<std::string> names, std::vector<std::string> addresses, WallTime now);

}  // namespace bellhop::standin
