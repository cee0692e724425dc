// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <initializer_list>

#include "core/base/bytes.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

using Digest = std::array<uint8_t, 32>;

Digest sha256(Bytes bytes);
inline Digest sha256(std::string_view text) {
  return sha256(as_bytes(text));
}

// SHA-256 over each part with its length (32 bits, big-endian) in front, so that no two lists of parts give one input.
Digest sha256_of_parts(std::initializer_list<Bytes> parts);
// The same framing under HMAC-SHA-256.
Digest hmac_sha256_of_parts(Bytes key, std::initializer_list<Bytes> parts);
Digest hmac_sha256(Bytes key, Bytes message);

// HKDF-SHA-256 (RFC 5869) without salt: one key per purpose, named by `info`. `size` <= 8160.
Secret hkdf_sha256(const Secret& key, std::string_view info, size_t size);

}  // namespace bellhop::crypto
