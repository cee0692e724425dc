// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/hash.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// The unguessable `id` of a callback URL: 128 random bits, 22 characters of base64url. The store keeps its hash only.
struct Capability {
  static constexpr size_t kTextSize = 22;
  std::array<uint8_t, 16> bytes{};

  static Capability random();
  // Nothing where the text is not exactly 22 characters of strict base64url.
  static std::optional<Capability> from_text(std::string_view text);
  std::string text() const { return to_base64url(bytes); }
  Digest hash() const { return sha256(bytes); }
};

// API tokens and device secrets: 256 random bits, 43 characters of base64url; given out once, stored as keyed hashes.
inline constexpr size_t kTokenBytes = 32;
inline constexpr size_t kTokenTextSize = 43;
Secret random_token_text();

// The key for everything that the store looks up by hash. Made once, lies sealed in the store's `meta`, stays for ever.
// Immutable after construction; any core.
class IndexKey {
 public:
  static constexpr size_t kBytes = 32;
  static IndexKey random();
  // `bytes` has 32 bytes, else nothing.
  static std::optional<IndexKey> from_bytes(const Secret& bytes);
  // To be sealed.
  const Secret& bytes() const { return key_; }

  // What the store knows a mailbox owner by: HMAC over (tenant, SHA-256 of the lower-cased address).
  Digest user_id(std::string_view tenant, const Digest& address_hash) const;
  Digest api_token_hash(std::string_view token_text) const;
  Digest device_secret_hash(std::string_view secret_text) const;
  // A short stable name for logs and provider ids: HMAC over (purpose, bytes).
  Digest fingerprint(std::string_view purpose, Bytes bytes) const;

 private:
  explicit IndexKey(Secret key);
  Secret key_, user_key_, api_token_key_, device_secret_key_, fingerprint_key_;
};

// Constant-time comparison of hashes.
inline bool hash_equal(const Digest& a, const Digest& b) {
  return equal_constant_time(a, b);
}

}  // namespace bellhop::crypto
