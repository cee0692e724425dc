// SPDX-License-Identifier: Apache-2.0
#include "crypto/hash.h"

#include "core/base/check.h"
#include "crypto/boringssl.h"

#include <openssl/digest.h>
#include <openssl/hkdf.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

namespace bellhop::crypto {

Digest sha256(Bytes bytes) {
  Digest digest;
  SHA256(bytes.data(), bytes.size(), digest.data());
  return digest;
}

Digest sha256_of_parts(std::initializer_list<Bytes> parts) {
  SHA256_CTX state;
  SHA256_Init(&state);
  for (Bytes part : parts) {
    BH_CHECK(part.size() <= UINT32_MAX);
    uint8_t length[4];
    store_be32(length, static_cast<uint32_t>(part.size()));
    SHA256_Update(&state, length, sizeof length);
    SHA256_Update(&state, part.data(), part.size());
  }
  Digest digest;
  SHA256_Final(digest.data(), &state);
  wipe(&state, sizeof state);
  return digest;
}

Digest hmac_sha256(Bytes key, Bytes message) {
  Digest digest;
  unsigned size = 0;
  BH_CHECK(HMAC(EVP_sha256(), key.data(), key.size(), message.data(), message.size(), digest.data(), &size) != nullptr);
  BH_CHECK(size == digest.size());
  return digest;
}

Digest hmac_sha256_of_parts(Bytes key, std::initializer_list<Bytes> parts) {
  HMAC_CTX state;
  HMAC_CTX_init(&state);
  BH_CHECK(HMAC_Init_ex(&state, key.data(), key.size(), EVP_sha256(), nullptr) == 1);
  for (Bytes part : parts) {
    BH_CHECK(part.size() <= UINT32_MAX);
    uint8_t length[4];
    store_be32(length, static_cast<uint32_t>(part.size()));
    HMAC_Update(&state, length, sizeof length);
    HMAC_Update(&state, part.data(), part.size());
  }
  Digest digest;
  BH_CHECK(HMAC_Final(&state, digest.data(), nullptr) == 1);
  HMAC_CTX_cleanse(&state);
  return digest;
}

Secret hkdf_sha256(const Secret& key, std::string_view info, size_t size) {
  BH_CHECK(size > 0 && size <= 255 * 32);
  Secret out = Secret::of_size(size);
  const Bytes in = key.reveal();
  const Bytes purpose = as_bytes(info);
  BH_CHECK(HKDF(out.reveal_mutable().data(), size, EVP_sha256(), in.data(), in.size(), nullptr, 0, purpose.data(),
                purpose.size()) == 1);
  return out;
}

}  // namespace bellhop::crypto
