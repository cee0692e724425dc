// SPDX-License-Identifier: Apache-2.0
#include "crypto/sealing.h"

#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/hash.h"
#include "crypto/random.h"

namespace bellhop::crypto {
namespace {

constexpr uint8_t kBoxVersion = 1;
constexpr size_t kBoxHeadBytes = 1 + 4;  // version, KEK id
constexpr std::string_view kPurpose = "seal";

std::vector<uint8_t> associated_data(Bytes head, std::string_view table, Bytes record_key) {
  std::vector<uint8_t> data(head.begin(), head.end());
  for (Bytes part : {as_bytes(table), record_key}) {
    uint8_t length[4];
    store_be32(length, static_cast<uint32_t>(part.size()));
    data.insert(data.end(), length, length + sizeof length);
    data.insert(data.end(), part.begin(), part.end());
  }
  return data;
}

}  // namespace

Sealer::Sealer(const Keyring& keyring) : current_(keyring.current()) {
  for (uint32_t id : keyring.ids()) {
    auto key = keyring.derive(id, kPurpose);
    BH_CHECK(key.has_value());
    keys_.emplace(id, *std::move(key));
  }
  BH_CHECK(keys_.contains(current_));
}

std::vector<uint8_t> Sealer::seal(std::string_view table, Bytes record_key, Bytes plaintext) const {
  std::vector<uint8_t> box(kBoxHeadBytes + kAeadNonceBytes);
  box[0] = kBoxVersion;
  store_be32(box.data() + 1, current_);
  const MutableBytes nonce = MutableBytes(box).subspan(kBoxHeadBytes);
  random_bytes(nonce);
  const std::vector<uint8_t> sealed =
      aead_seal(keys_.at(current_).reveal(), nonce, associated_data(Bytes(box).first(kBoxHeadBytes), table, record_key),
                plaintext);
  box.insert(box.end(), sealed.begin(), sealed.end());
  return box;
}

std::optional<uint32_t> Sealer::kek_of(Bytes box) {
  if (box.size() < kOverheadBytes || box[0] != kBoxVersion) return std::nullopt;
  return load_be32(box.data() + 1);
}

Result<Secret> Sealer::unseal(std::string_view table, Bytes record_key, Bytes box) const {
  const auto id = kek_of(box);
  if (!id) return fail(crypto_error(CryptoError::decrypt_failed));
  const auto key = keys_.find(*id);
  if (key == keys_.end()) return fail(crypto_error(CryptoError::key_unknown, *id));
  return aead_open(key->second.reveal(), box.subspan(kBoxHeadBytes, kAeadNonceBytes),
                   associated_data(box.first(kBoxHeadBytes), table, record_key),
                   box.subspan(kBoxHeadBytes + kAeadNonceBytes));
}

}  // namespace bellhop::crypto
