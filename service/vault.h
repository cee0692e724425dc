// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/task.h"
#include "crypto/rsa.h"
#include "crypto/sealing.h"
#include "crypto/split.h"
#include "crypto/tokens.h"
#include "store/store.h"

namespace bellhop::service {

// What is derived of one keyring file. Immutable.
struct VaultKeys {
  explicit VaultKeys(const crypto::Keyring& keyring) : sealer(keyring), split(keyring), ids(keyring.ids()) {}
  const crypto::Sealer sealer;
  const crypto::SplitKeys split;
  const std::vector<uint32_t> ids;
};

// What the service may do with the keyring: seal and unseal what the store keeps, and turn outside names into the keyed
// hashes under which the store knows them. Made once at start; used on every core. A reload may replace the keys: each
// function below works with the keys of one moment.
class Vault {
 public:
  static constexpr std::string_view kIndexKeyName = "index_key";  // in `meta`, sealed

  // Reads the index key of the store, or makes it (several nodes agree on the first one). Errors: store, crypto (the
  // keyring does not hold the KEK that sealed it).
  static Task<Result<Vault>> open(const crypto::Keyring& keyring, store::Store& store);

  Vault(Vault&& other) noexcept;
  Vault& operator=(Vault&& other) noexcept;

  // Keys that open what these here have sealed: the store's index key opens with them. Errors: store, crypto.
  static Task<Result<std::unique_ptr<const VaultKeys>>> prepare(const crypto::Keyring& keyring, store::Store& store);
  // Seals with the new keys from now on. Gives back the old ones, to be kept until each core has begun another turn.
  // On core 0.
  [[nodiscard]] std::unique_ptr<const VaultKeys> replace(std::unique_ptr<const VaultKeys> keys);
  // Of the present keys; good until the calling flow waits.
  const VaultKeys& keys() const { return *keys_.load(std::memory_order_acquire); }

  // ---- names ----
  store::StoredUserId user_id(std::string_view tenant, const crypto::Digest& address_hash) const;
  store::DeviceKey device_key(const store::StoredUserId& user, std::string_view device_id) const;
  store::TokenHash token_hash(std::string_view api_token) const;
  store::Digest device_secret_hash(std::string_view device_secret) const;
  static store::CapabilityHash capability_hash(const crypto::Capability& capability);
  static store::KeyId key_id(const crypto::KeyId& id);
  // 64 bits that name an item of a mailbox in the dedup ring; never 0.
  uint64_t item_hash(const store::StoredUserId& user, std::string_view item_id) const;
  // What the phone merges repeats by: 32 hex digits.
  std::string collapse_id(const store::StoredUserId& user, std::string_view item_id) const;
  // What the phone groups pushes by: 32 hex digits.
  std::string thread_id(const store::StoredUserId& user, std::string_view conversation_id) const;
  // The name of a mail domain (lower case) of a tenant.
  store::EwsUrlKey ews_url_key(std::string_view tenant, std::string_view domain) const;
  uint64_t watermark_hash(std::string_view watermark) const;  // never 0

  // ---- sealing ----
  std::vector<uint8_t> seal_private_key(const crypto::RsaPrivateKey& key) const;
  // Under the id of another record: seeded stores use one pair in many.
  std::vector<uint8_t> seal_private_key(const crypto::RsaPrivateKey& key, const store::KeyId& record_id) const;
  Result<crypto::RsaPrivateKey> unseal_private_key(const store::KeyRecord& record) const;
  std::vector<uint8_t> seal_push_token(const store::StoredUserId& user, const store::DeviceKey& device,
                                       std::string_view token) const;
  Result<crypto::Secret> unseal_push_token(const store::StoredUserId& user, const store::DeviceKey& device,
                                           const store::DeviceRecord& record) const;
  std::vector<uint8_t> seal_device_secret_hash(const store::StoredUserId& user, const store::DeviceKey& device,
                                               const store::Digest& hash) const;
  // True where `device_secret` is the device's; constant time.
  bool device_secret_matches(const store::StoredUserId& user, const store::DeviceKey& device,
                             const store::DeviceRecord& record, std::string_view device_secret) const;
  // Small values of `meta`: the APNs provider tokens.
  std::vector<uint8_t> seal_meta(std::string_view name, Bytes value) const;
  Result<crypto::Secret> unseal_meta(std::string_view name, Bytes box) const;
  // A stored field sealed under the present keys' current one; nothing where it is already. Errors: crypto.
  Result<std::optional<std::vector<uint8_t>>> reseal(const store::SealedField& field) const;
  // The store's half of a split envelope: opaque, and sealed once more as everything that the store keeps.
  std::vector<uint8_t> seal_split(const store::CapabilityHash& capability, Bytes ciphertext) const;
  Result<crypto::Secret> unseal_split(const store::CapabilityHash& capability, Bytes box) const;
  // The URL's half; as keys().
  const crypto::SplitKeys& split_keys() const { return keys().split; }

 private:
  Vault(std::unique_ptr<const VaultKeys> keys, crypto::IndexKey index)
      : owned_(std::move(keys)), keys_(owned_.get()), index_(std::move(index)) {}
  const crypto::Sealer& sealer() const { return keys().sealer; }

  std::unique_ptr<const VaultKeys> owned_;
  std::atomic<const VaultKeys*> keys_;  // owned_'s
  crypto::IndexKey index_;
};

}  // namespace bellhop::service
