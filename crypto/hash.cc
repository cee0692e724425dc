// SPDX-License-Identifier: Apache-2.0
#include "crypto/hash.h"

#include <algorithm>

#include "core/base/check.h"
#include "crypto/boringssl.h"

#include <openssl/digest.h>
#include <openssl/hkdf.h>
#include <openssl/sha.h>

namespace bellhop::crypto {

Digest sha256(Bytes bytes) {
  Digest digest;
  SHA256(bytes.data(), bytes.size(), digest.data());
  return digest;
}

namespace {

void add_parts(SHA256_CTX& state, std::initializer_list<Bytes> parts) {
  for (Bytes part : parts) {
    BH_CHECK(part.size() <= UINT32_MAX);
    uint8_t length[4];
    store_be32(length, static_cast<uint32_t>(part.size()));
    SHA256_Update(&state, length, sizeof length);
    SHA256_Update(&state, part.data(), part.size());
  }
}

// HMAC (RFC 2104) over the plain hash: BoringSSL's HMAC_CTX takes three heap allocations, and each callback needs two
// HMACs. Wiped on destruction.
class HmacSha256 {
 public:
  explicit HmacSha256(Bytes key) {
    std::array<uint8_t, SHA256_CBLOCK> block{};
    if (key.size() > block.size()) {
      SHA256(key.data(), key.size(), block.data());
    } else {
      std::ranges::copy(key, block.begin());
    }
    start(inner_, block, 0x36);
    start(outer_, block, 0x36 ^ 0x5c);
    wipe(block);
  }
  ~HmacSha256() {
    wipe(&inner_, sizeof inner_);
    wipe(&outer_, sizeof outer_);
  }
  HmacSha256(const HmacSha256&) = delete;
  HmacSha256& operator=(const HmacSha256&) = delete;

  SHA256_CTX& message() { return inner_; }
  Digest finish() {
    Digest digest;
    SHA256_Final(digest.data(), &inner_);
    SHA256_Update(&outer_, digest.data(), digest.size());
    SHA256_Final(digest.data(), &outer_);
    return digest;
  }

 private:
  // Turns the block from what it was padded with to the next padding.
  static void start(SHA256_CTX& state, std::array<uint8_t, SHA256_CBLOCK>& block, uint8_t turn) {
    for (uint8_t& byte : block) byte ^= turn;
    SHA256_Init(&state);
    SHA256_Update(&state, block.data(), block.size());
  }

  SHA256_CTX inner_, outer_;
};

}  // namespace

Digest sha256_of_parts(std::initializer_list<Bytes> parts) {
  SHA256_CTX state;
  SHA256_Init(&state);
  add_parts(state, parts);
  Digest digest;
  SHA256_Final(digest.data(), &state);
  wipe(&state, sizeof state);
  return digest;
}

Digest hmac_sha256(Bytes key, Bytes message) {
  HmacSha256 hmac(key);
  SHA256_Update(&hmac.message(), message.data(), message.size());
  return hmac.finish();
}

Digest hmac_sha256_of_parts(Bytes key, std::initializer_list<Bytes> parts) {
  HmacSha256 hmac(key);
  add_parts(hmac.message(), parts);
  return hmac.finish();
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
