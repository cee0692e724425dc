// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "core/tls/certificate.h"
#include "crypto/secret.h"

namespace bellhop::standin {

// What an administrator gives a user: a fresh certificate of `authority` for `address` with its key, valid from an hour
// ago for a year, as a PKCS#12 under `password`. Errors: tls, crypto.
Result<crypto::Secret> make_client_bundle(const CertificateAndKey& authority, std::string_view address,
                                          std::string_view password, WallTime now, unsigned iterations = 2048);
// The same of a certificate that was made elsewhere.
Result<crypto::Secret> bundle_of(const CertificateAndKey& certificate, std::string_view password,
                                 unsigned iterations = 2048);

}  // namespace bellhop::standin
