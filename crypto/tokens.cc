// SPDX-License-Identifier: Apache-2.0
#include "crypto/tokens.h"

#include "crypto/random.h"

namespace bellhop::crypto {

Capability Capability::random() {
  Capability capability;
  random_bytes(capability.bytes);
  return capability;
}

std::optional<Capability> Capability::from_text(std::string_view text) {
  Capability capability;
  if (text.size() != kTextSize || from_base64url(text, capability.bytes) != capability.bytes.size())
    return std::nullopt;
  return capability;
}

Secret random_token_text() {
  const Secret bytes = random_secret(kTokenBytes);
  const Secret padded = base64_of(bytes);
  Secret text = Secret::copy_of(padded.reveal().first(kTokenTextSize));
  for (uint8_t& c : text.reveal_mutable()) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return text;
}

IndexKey::IndexKey(Secret key)
    : key_(std::move(key)),
      user_key_(hkdf_sha256(key_, "index user", kBytes)),
      api_token_key_(hkdf_sha256(key_, "index api token", kBytes)),
      device_secret_key_(hkdf_sha256(key_, "index device secret", kBytes)),
      fingerprint_key_(hkdf_sha256(key_, "index fingerprint", kBytes)) {}

IndexKey IndexKey::random() {
  return IndexKey(random_secret(kBytes));
}

std::optional<IndexKey> IndexKey::from_bytes(const Secret& bytes) {
  if (bytes.size() != kBytes) return std::nullopt;
  return IndexKey(bytes.clone());
}

Digest IndexKey::user_id(std::string_view tenant, const Digest& address_hash) const {
  return hmac_sha256_of_parts(user_key_.reveal(), {as_bytes(tenant), address_hash});
}

Digest IndexKey::api_token_hash(std::string_view token_text) const {
  return hmac_sha256(api_token_key_.reveal(), as_bytes(token_text));
}

Digest IndexKey::device_secret_hash(std::string_view secret_text) const {
  return hmac_sha256(device_secret_key_.reveal(), as_bytes(secret_text));
}

Digest IndexKey::fingerprint(std::string_view purpose, Bytes bytes) const {
  return hmac_sha256_of_parts(fingerprint_key_.reveal(), {as_bytes(purpose), bytes});
}

}  // namespace bellhop::crypto
