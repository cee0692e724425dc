// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "crypto/error.h"
#include "crypto/pkcs12.h"

namespace bellhop::crypto {

// Internal to pkcs12.cc and pkcs12_walk.cc. Walks a file in order to know what its derivations cost before they are made.
// Without a password it sees what stands in the clear; with one it looks into encrypted parts, whose own cost it has
// added up before, for keys that hide there. Gives the sum. Errors: pkcs12_*.
Result<uint64_t> walk_pkcs12(Bytes file, const std::string_view* password);
// What BoringSSL's PKCS#12 functions found wrong, by its queue of errors, which is then empty.
Error pkcs12_error_of_library(CryptoError otherwise);

}  // namespace bellhop::crypto
