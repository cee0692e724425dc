// SPDX-License-Identifier: Apache-2.0
#include "crypto/split.h"

#include "core/base/check.h"
#include "crypto/aead.h"
#include "crypto/envelope.h"
#include "crypto/error.h"
#include "crypto/random.h"

namespace bellhop::crypto {
namespace {

constexpr size_t kHeadBytes = 1 + 4;  // version, KEK id
constexpr std::string_view kPurpose = "split";

// The head is authenticated too: an envelope cannot be passed off as one of another KEK.
std::vector<uint8_t> creds_associated_data(Bytes head, const SplitBinding& binding) {
  std::vector<uint8_t> data(head.begin(), head.end());
  const Digest label = binding.label();
  data.insert(data.end(), label.begin(), label.end());
  return data;
}

void append_fresh_nonce(std::vector<uint8_t>& out) {
  out.resize(out.size() + kAeadNonceBytes);
  random_bytes(MutableBytes(out).last(kAeadNonceBytes));
}

}  // namespace

Digest SplitBinding::label() const {
  return sha256_of_parts({as_bytes(kPurpose), capability.bytes, key_name, as_bytes(ews_origin)});
}

SplitKeys::SplitKeys(const Keyring& keyring) : current_(keyring.current()) {
  for (uint32_t id : keyring.ids()) {
    auto key = keyring.derive(id, kPurpose);
    BH_CHECK(key.has_value());
    keys_.emplace(id, *std::move(key));
  }
  BH_CHECK(keys_.contains(current_));
}

std::vector<uint8_t> SplitKeys::make_creds(const Secret& key, const SplitBinding& binding) const {
  BH_CHECK(key.size() == kAeadKeyBytes);
  std::vector<uint8_t> creds(kHeadBytes);
  creds[0] = static_cast<uint8_t>(Envelope::split);
  store_be32(creds.data() + 1, current_);
  const std::vector<uint8_t> data = creds_associated_data(creds, binding);
  append_fresh_nonce(creds);
  const std::vector<uint8_t> sealed =
      aead_seal(keys_.at(current_).reveal(), Bytes(creds).subspan(kHeadBytes), data, key.reveal());
  creds.insert(creds.end(), sealed.begin(), sealed.end());
  BH_CHECK(creds.size() == kSplitCredsBytes);
  return creds;
}

std::optional<uint32_t> SplitKeys::kek_of(Bytes creds) {
  if (creds.size() != kSplitCredsBytes || creds[0] != static_cast<uint8_t>(Envelope::split)) return std::nullopt;
  return load_be32(creds.data() + 1);
}

Result<Secret> SplitKeys::open_creds(Bytes creds, const SplitBinding& binding) const {
  const auto id = kek_of(creds);
  if (!id) return fail(crypto_error(CryptoError::decrypt_failed));
  const auto key = keys_.find(*id);
  if (key == keys_.end()) return fail(crypto_error(CryptoError::key_unknown, *id));
  return aead_open(key->second.reveal(), creds.subspan(kHeadBytes, kAeadNonceBytes),
                   creds_associated_data(creds.first(kHeadBytes), binding),
                   creds.subspan(kHeadBytes + kAeadNonceBytes));
}

Secret make_split_key() {
  return random_secret(kAeadKeyBytes);
}

Result<std::vector<uint8_t>> split_seal(const Secret& key, const CredentialRecord& record,
                                        const SplitBinding& binding) {
  BH_TRY(const Secret packed, pack_record(record, kPackedBytesMax));
  std::vector<uint8_t> ciphertext;
  append_fresh_nonce(ciphertext);
  const std::vector<uint8_t> sealed = aead_seal(key.reveal(), ciphertext, binding.label(), packed.reveal());
  ciphertext.insert(ciphertext.end(), sealed.begin(), sealed.end());
  return ciphertext;
}

Result<CredentialRecord> split_open(const Secret& key, Bytes ciphertext, const SplitBinding& binding) {
  const bool possible = key.size() == kAeadKeyBytes && ciphertext.size() >= kAeadNonceBytes &&
                        ciphertext.size() <= kSplitCiphertextBytesMax;
  if (!possible) return fail(crypto_error(CryptoError::decrypt_failed));
  BH_TRY(const Secret packed, aead_open(key.reveal(), ciphertext.first(kAeadNonceBytes), binding.label(),
                                        ciphertext.subspan(kAeadNonceBytes)));
  return unpack_record(packed);
}

}  // namespace bellhop::crypto
