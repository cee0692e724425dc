// SPDX-License-Identifier: Apache-2.0
#include "service/vault.h"

#include <algorithm>
#include <utility>

#include "crypto/error.h"

namespace bellhop::service {
namespace {

using crypto::Secret;

// Table names as the seals bind them. Never change one: what is sealed under the old name could not be opened.
constexpr std::string_view kKeysTable = "keys";
constexpr std::string_view kPushTokenTable = "devices.push_token";
constexpr std::string_view kDeviceSecretTable = "devices.secret";
constexpr std::string_view kMetaTable = "meta";
constexpr std::string_view kSplitTable = "subscriptions.split";

std::vector<uint8_t> device_record_key(const store::StoredUserId& user, const store::DeviceKey& device) {
  std::vector<uint8_t> key(user.bytes.begin(), user.bytes.end());
  key.insert(key.end(), device.bytes.begin(), device.bytes.end());
  return key;
}

uint64_t word_of(const crypto::Digest& digest) {
  uint64_t word = load_be64(digest.data());
  return word == 0 ? 1 : word;
}

}  // namespace

Task<Result<Vault>> Vault::open(const crypto::Keyring& keyring, store::Store& store) {
  auto keys = std::make_unique<const VaultKeys>(keyring);
  Bytes name = as_bytes(kIndexKeyName);
  crypto::IndexKey fresh = crypto::IndexKey::random();
  std::vector<uint8_t> box = keys->sealer.seal(kMetaTable, name, fresh.bytes().reveal());
  BH_CO_TRY(std::vector<uint8_t> stored, co_await store.get_or_put_meta(kIndexKeyName, box));
  BH_CO_TRY(Secret bytes, keys->sealer.unseal(kMetaTable, name, stored));
  auto index = crypto::IndexKey::from_bytes(bytes);
  if (!index) co_return fail(crypto::crypto_error(crypto::CryptoError::decrypt_failed));
  co_return Vault(std::move(keys), *std::move(index));
}

Vault::Vault(Vault&& other) noexcept
    : owned_(std::move(other.owned_)), keys_(owned_.get()), index_(std::move(other.index_)) {
  other.keys_.store(nullptr, std::memory_order_relaxed);
}

Vault& Vault::operator=(Vault&& other) noexcept {
  owned_ = std::move(other.owned_);
  keys_.store(owned_.get(), std::memory_order_relaxed);
  other.keys_.store(nullptr, std::memory_order_relaxed);
  index_ = std::move(other.index_);
  return *this;
}

Task<Result<std::unique_ptr<const VaultKeys>>> Vault::prepare(const crypto::Keyring& keyring, store::Store& store) {
  auto keys = std::make_unique<const VaultKeys>(keyring);
  BH_CO_TRY(std::vector<uint8_t> stored, co_await store.get_meta(kIndexKeyName));
  BH_CO_TRY(Secret index, keys->sealer.unseal(kMetaTable, as_bytes(kIndexKeyName), stored));
  co_return std::move(keys);
}

std::unique_ptr<const VaultKeys> Vault::replace(std::unique_ptr<const VaultKeys> keys) {
  std::swap(owned_, keys);
  keys_.store(owned_.get(), std::memory_order_release);
  return keys;
}

store::StoredUserId Vault::user_id(std::string_view tenant, const crypto::Digest& address_hash) const {
  return store::StoredUserId::from(index_.user_id(tenant, address_hash));
}

store::DeviceKey Vault::device_key(const store::StoredUserId& user, std::string_view device_id) const {
  return store::DeviceKey::from(crypto::sha256_of_parts({user, as_bytes(device_id)}));
}

store::TokenHash Vault::token_hash(std::string_view api_token) const {
  return store::TokenHash::from(index_.api_token_hash(api_token));
}

store::Digest Vault::device_secret_hash(std::string_view device_secret) const {
  return store::Digest::from(index_.device_secret_hash(device_secret));
}

store::CapabilityHash Vault::capability_hash(const crypto::Capability& capability) {
  return store::CapabilityHash::from(capability.hash());
}

store::KeyId Vault::key_id(const crypto::KeyId& id) { return store::KeyId::from(id.bytes); }

uint64_t Vault::item_hash(const store::StoredUserId& user, std::string_view item_id) const {
  return word_of(index_.fingerprint("item", crypto::sha256_of_parts({user, as_bytes(item_id)})));
}

std::string Vault::collapse_id(const store::StoredUserId& user, std::string_view item_id) const {
  crypto::Digest digest = index_.fingerprint("collapse", crypto::sha256_of_parts({user, as_bytes(item_id)}));
  return to_hex(Bytes(digest).first(16));
}

std::string Vault::thread_id(const store::StoredUserId& user, std::string_view conversation_id) const {
  crypto::Digest digest = index_.fingerprint("thread", crypto::sha256_of_parts({user, as_bytes(conversation_id)}));
  return to_hex(Bytes(digest).first(16));
}

store::EwsUrlKey Vault::ews_url_key(std::string_view tenant, std::string_view domain) const {
  return store::EwsUrlKey::from(
      index_.fingerprint("ews_url", crypto::sha256_of_parts({as_bytes(tenant), as_bytes(domain)})));
}

uint64_t Vault::watermark_hash(std::string_view watermark) const {
  return word_of(index_.fingerprint("watermark", as_bytes(watermark)));
}

std::vector<uint8_t> Vault::seal_private_key(const crypto::RsaPrivateKey& key) const {
  return seal_private_key(key, key_id(key.public_key().id()));
}

std::vector<uint8_t> Vault::seal_private_key(const crypto::RsaPrivateKey& key, const store::KeyId& record_id) const {
  return sealer().seal(kKeysTable, record_id, key.stored().reveal());
}

Result<crypto::RsaPrivateKey> Vault::unseal_private_key(const store::KeyRecord& record) const {
  BH_TRY(Secret stored, sealer().unseal(kKeysTable, record.id, record.sealed_private_key));
  return crypto::RsaPrivateKey::from_stored(std::move(stored));
}

std::vector<uint8_t> Vault::seal_push_token(const store::StoredUserId& user, const store::DeviceKey& device,
                                            std::string_view token) const {
  return sealer().seal(kPushTokenTable, device_record_key(user, device), as_bytes(token));
}

Result<Secret> Vault::unseal_push_token(const store::StoredUserId& user, const store::DeviceKey& device,
                                        const store::DeviceRecord& record) const {
  return sealer().unseal(kPushTokenTable, device_record_key(user, device), record.sealed_push_token);
}

std::vector<uint8_t> Vault::seal_device_secret_hash(const store::StoredUserId& user, const store::DeviceKey& device,
                                                    const store::Digest& hash) const {
  return sealer().seal(kDeviceSecretTable, device_record_key(user, device), hash);
}

bool Vault::device_secret_matches(const store::StoredUserId& user, const store::DeviceKey& device,
                                  const store::DeviceRecord& record, std::string_view device_secret) const {
  auto stored = sealer().unseal(kDeviceSecretTable, device_record_key(user, device), record.sealed_secret_hash);
  return stored && stored->equals(device_secret_hash(device_secret));
}

std::vector<uint8_t> Vault::seal_meta(std::string_view name, Bytes value) const {
  return sealer().seal(kMetaTable, as_bytes(name), value);
}

Result<Secret> Vault::unseal_meta(std::string_view name, Bytes box) const {
  return sealer().unseal(kMetaTable, as_bytes(name), box);
}

Result<std::optional<std::vector<uint8_t>>> Vault::reseal(const store::SealedField& field) const {
  static constexpr std::string_view kTables[] = {kKeysTable, kDeviceSecretTable, kPushTokenTable, kSplitTable, kMetaTable};
  const crypto::Sealer& all = sealer();
  if (crypto::Sealer::kek_of(field.box) == all.current()) return std::optional<std::vector<uint8_t>>();
  std::string_view table = kTables[static_cast<size_t>(field.kind)];
  BH_TRY(Secret content, all.unseal(table, field.name, field.box));
  return std::optional(all.seal(table, field.name, content.reveal()));
}

std::vector<uint8_t> Vault::seal_split(const store::CapabilityHash& capability, Bytes ciphertext) const {
  return sealer().seal(kSplitTable, capability, ciphertext);
}

Result<Secret> Vault::unseal_split(const store::CapabilityHash& capability, Bytes box) const {
  return sealer().unseal(kSplitTable, capability, box);
}

}  // namespace bellhop::service
