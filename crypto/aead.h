// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/base/error.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

inline constexpr size_t kAeadKeyBytes = 32;
inline constexpr size_t kAeadNonceBytes = 12;
inline constexpr size_t kAeadTagBytes = 16;

// AES-256-GCM with a 96-bit nonce and a 128-bit tag (NIST SP 800-38D). `key` is 32 bytes, `nonce` 12; a nonce is used
// once under a key. The result is ciphertext ‖ tag.
std::vector<uint8_t> aead_seal(Bytes key, Bytes nonce, Bytes associated_data, Bytes plaintext);
// `sealed` is ciphertext ‖ tag. Errors: decrypt_failed.
Result<Secret> aead_open(Bytes key, Bytes nonce, Bytes associated_data, Bytes sealed);

}  // namespace bellhop::crypto
