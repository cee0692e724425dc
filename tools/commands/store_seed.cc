// SPDX-License-Identifier: Apache-2.0
// `bellhop store seed`: mailboxes that look like registered ones, sealed under the real keyring.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "core/io.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "crypto/rsa.h"
#include "crypto/tokens.h"
#include "service/start_files.h"
#include "service/vault.h"
#include "store/lmdb/lmdb_store.h"
#include "store/seed.h"
#include "tools/commands/store.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

constexpr size_t kEnvelopeBytes = 257;      // of a 2048-bit key: version and RSA block
constexpr size_t kExchangeIdBytes = 81;     // 108 characters of base64, as Exchange's ids have
constexpr uint64_t kProgressEvery = 100'000;

// One key pair of the pool, in the forms that records need.
struct SeedKey {
  crypto::RsaPrivateKey key;
  std::vector<uint8_t> spki;
};

class Seeder {
 public:
  Seeder(const service::Config& config, const service::TenantConfig& tenant, const service::Vault& vault,
         std::vector<SeedKey> keys, WallTime now)
      : config_(config), tenant_(tenant), vault_(vault), keys_(std::move(keys)), now_(now) {
    std::string host = tenant.ews_hosts.front();
    if (host.starts_with("*.")) host = "mail" + host.substr(1);
    ews_url_ = "https://" + host + "/EWS/Exchange.asmx";
    crypto::random_bytes(run_);
  }

  // Addresses and device ids are new in every run, so that a store can be seeded several times.
  void make(uint64_t index, store::SeededMailbox& mailbox) const {
    if (index > 0 && index % kProgressEvery == 0) fmt::print(stderr, "{} mailboxes\n", index);
    std::string address = fmt::format("mailbox-{}-{}@example.test", to_hex(run_), index);
    mailbox.user = vault_.user_id(tenant_.id, crypto::sha256(as_bytes(address)));
    mailbox.device = vault_.device_key(mailbox.user, fmt::format("device-{}", index));
    fill_key(keys_[index % keys_.size()], mailbox.key);
    fill_device(mailbox);
    fill_subscription(mailbox);
    mailbox.hot = {};
    mailbox.hot.watermark_hash = io::random_u64() | 1;
    mailbox.hot.last_seen = now_;
  }

 private:
  void fill_key(const SeedKey& key, store::KeyRecord& record) const {
    crypto::random_bytes(record.id.bytes);
    record.state = store::KeyState::pool;
    record.user = {};
    record.created = now_;
    record.public_key = key.spki;
    record.sealed_private_key = vault_.seal_private_key(key.key, record.id);
  }

  void fill_device(store::SeededMailbox& mailbox) const {
    uint8_t token[32];
    crypto::random_bytes(token);
    crypto::Secret secret = crypto::random_token_text();
    store::Digest hash = vault_.device_secret_hash(secret.reveal_text());
    store::DeviceRecord& record = mailbox.device_record;
    record = {};
    record.sealed_secret_hash = vault_.seal_device_secret_hash(mailbox.user, mailbox.device, hash);
    record.sealed_push_token = vault_.seal_push_token(mailbox.user, mailbox.device, to_hex(token));
    if (!tenant_.apps.empty()) record.topic = tenant_.apps.front().topic;
    record.locale = "en";
    record.proven = true;
    record.registered_at = record.created = now_;
  }

  void fill_subscription(store::SeededMailbox& mailbox) const {
    mailbox.capability = service::Vault::capability_hash(crypto::Capability::random());
    std::vector<uint8_t> creds(kEnvelopeBytes), exchange_id(kExchangeIdBytes);
    crypto::random_bytes(creds);
    crypto::random_bytes(exchange_id);
    store::SubscriptionRecord& record = mailbox.subscription;
    record = {};
    record.ews_url = ews_url_;
    record.exchange_id = to_base64(exchange_id);
    record.digest = store::Digest::from(crypto::sha256(creds));
    record.source_device = mailbox.device;
    record.status_frequency_minutes = static_cast<uint16_t>(config_.ews.status_frequency_minutes);
    record.created = now_;
  }

  const service::Config& config_;
  const service::TenantConfig& tenant_;
  const service::Vault& vault_;
  std::vector<SeedKey> keys_;
  WallTime now_;
  std::string ews_url_;
  std::array<uint8_t, 4> run_{};
};

Task<void> open_vault(const crypto::Keyring* keyring, store::Store* store, Result<service::Vault>* vault) {
  *vault = co_await service::Vault::open(*keyring, *store);
  if (Status left = co_await store->leave_core(); !left && *vault) *vault = fail(left.error());
}

const service::TenantConfig* find_tenant(const service::Config& config, const std::string& id) {
  if (id.empty()) return &config.tenants.front();
  auto found = std::find_if(config.tenants.begin(), config.tenants.end(), [&](const auto& t) { return t.id == id; });
  return found == config.tenants.end() ? nullptr : &*found;
}

Result<std::vector<SeedKey>> make_keys(const SeedOptions& options, unsigned bits) {
  std::vector<SeedKey> keys;
  uint64_t wanted = std::min<uint64_t>(options.key_pairs, options.mailboxes);
  for (uint64_t i = 0; i < wanted; ++i) {
    BH_TRY(auto key, crypto::RsaPrivateKey::generate(bits));
    std::vector<uint8_t> spki = key.public_key().spki();
    keys.push_back({std::move(key), std::move(spki)});
  }
  return keys;
}

int report_failure(const Error& error) {
  complain(fmt::format("seeding stopped: {}; the mailboxes of earlier batches of {} are kept", error_text(error),
                       store::kSeedBatch));
  return kExitFailed;
}

}  // namespace

int seed_store(const SeedOptions& options) {
  std::optional<service::Config> config = load_config(options.config);
  if (!config) return kExitFailed;
  const service::TenantConfig* tenant = find_tenant(*config, options.tenant);
  if (!tenant) {
    complain(fmt::format("{}: has no [[tenant]] with id \"{}\"", options.config, options.tenant));
    return kExitFailed;
  }
  std::string complaint;
  auto files = service::read_start_files(*config, complaint);
  if (!files) {
    complain(complaint);
    return kExitFailed;
  }
  if (somebody_serves(store_path(*config))) {
    complain(fmt::format("{}: a bellhopd serves with this store; stop it first", store_path(*config)));
    return kExitFailed;
  }
  std::unique_ptr<store::LmdbStore> store = open_store(*config);
  if (!store) return kExitFailed;

  Result<service::Vault> vault = fail(core_error(CoreError::canceled));
  io::ClusterOptions cluster{.cores = 1, .connections_max = 16, .receive_buffers = 16};
  Status ran = io::run_cluster(cluster, [&](unsigned) { return open_vault(&*files->keyring, store.get(), &vault); });
  if (!ran) {
    complain(io::explain_start_failure(ran.error()));
    return kExitFailed;
  }
  if (!vault) {
    complain(fmt::format("{}: the store's index key cannot be opened with this keyring: {}; use the keyring that the "
                         "store was made with", config->keyring_file, error_text(vault.error())));
    return kExitFailed;
  }
  fmt::print(stderr, "making {} key pairs\n", std::min<uint64_t>(options.key_pairs, options.mailboxes));
  auto keys = make_keys(options, config->keys.rsa_bits);
  if (!keys) return report_failure(keys.error());
  auto before = store->file_use();
  WallTime now = io::wall_now();
  Seeder seeder(*config, *tenant, *vault, *std::move(keys), now);
  Status seeded = store::seed(store->engine(), options.mailboxes, tenant->id, now,
                              [&](uint64_t index, store::SeededMailbox& mailbox) { seeder.make(index, mailbox); });
  if (!seeded) return report_failure(seeded.error());
  fmt::print("{}: {} mailboxes added to tenant {}\n", store_path(*config), options.mailboxes, tenant->id);
  auto after = store->file_use();
  if (before && after && options.mailboxes > 0) {
    fmt::print("{} bytes of tables, {} more for each new mailbox\n", after->table_bytes,
               (after->table_bytes - std::min(before->table_bytes, after->table_bytes)) / options.mailboxes);
  }
  return kExitDone;
}

}  // namespace bellhop::tools
