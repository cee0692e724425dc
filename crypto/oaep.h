// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

enum class Hash : uint8_t { sha1, sha256 };
size_t hash_bytes(Hash hash);

// The two hashes of RSAES-OAEP (RFC 8017 section 7.1). bellhop uses SHA-256 for both; the others are for partners
// that cannot choose.
struct OaepHashes {
  Hash label = Hash::sha256;
  Hash mgf1 = Hash::sha256;
};

// Bytes that fit under a modulus of `modulus_bytes`; 190 for RSA-2048 with SHA-256.
constexpr size_t oaep_capacity(size_t modulus_bytes, size_t label_hash_bytes = 32) {
  return modulus_bytes < 2 * label_hash_bytes + 2 ? 0 : modulus_bytes - 2 * label_hash_bytes - 2;
}

// EME-OAEP encoding to `modulus_bytes` bytes, the first of them zero. Errors: too_large.
Result<Secret> oaep_encode(Bytes message, Bytes label, size_t modulus_bytes, OaepHashes hashes = {});

// EME-OAEP decoding of what the RSA operation gave. Constant time: branches and addresses depend on the sizes of the
// encoded message and of the label alone; only the final verdict, and on success the message's length, become visible.
// Errors: decrypt_failed, for every cause.
Result<Secret> oaep_decode(Bytes encoded, Bytes label, OaepHashes hashes = {});

}  // namespace bellhop::crypto
