// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "core/cross_core.h"
#include "core/sync.h"
#include "crypto/error.h"
#include "crypto/es256.h"
#include "crypto/hash.h"
#include "crypto/jose.h"
#include "service/apns_rules.h"
#include "service/apns_sender.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

// A stored token: issued-at (Unix seconds, 8 bytes, big-endian), then the text.
constexpr size_t kIssuedAtBytes = 8;
constexpr size_t kTokenBytesMax = 1024;
constexpr unsigned kHomeCore = 0;  // where tokens are refreshed
// A key that a replacement took away serves pushes that began before it for so long.
constexpr Duration kGoneKept = 1min;

// The key itself is part of the name: a new key under an old id must not meet the old key's token.
std::string meta_name(const AppConfig& app, const crypto::Es256PrivateKey& key) {
  crypto::Digest digest =
      crypto::sha256_of_parts({as_bytes(app.team_id), as_bytes(app.key_id), key.public_key().spki()});
  return "apns_token." + to_hex(Bytes(digest).first(16));
}

using KeyName = std::pair<std::string, std::string>;  // team and key id

// A key and its token. Shared by those that use it, so that a replacement takes nothing away from them.
struct Entry {
  Entry(const AppConfig& app, crypto::Es256PrivateKey k)
      : team_id(app.team_id), key_id(app.key_id), name(meta_name(app, k)), key(std::move(k)) {}
  ~Entry() { wipe(text); }

  const std::string team_id, key_id, name;
  const crypto::Es256PrivateKey key;
  std::string text;
  WallTime issued_at{};
  Instant issued{};
  bool stale = false;  // APNs called it expired
  std::optional<Instant> forced_at;
  bool refreshing = false;
  bool loaded = false;  // the store was asked
  std::optional<Instant> gone_at;  // no app of the configuration has it any more
  Event refreshed;
};
using Entries = std::map<KeyName, std::shared_ptr<Entry>>;

Result<Entries> read_keys(const Config& config, std::string& complaint) {
  Entries entries;
  for (const TenantConfig& tenant : config.tenants) {
    for (const AppConfig& app : tenant.apps) {
      if (app.by_certificate()) continue;
      Result<std::string> pem = io::read_file(app.key_file);
      if (!pem) {
        complaint = fmt::format(
            "{}: the APNs key of team {} cannot be read: {}; tenant.app.key_file must name the .p8 "
            "file that Apple gave for key {}",
            app.key_file, app.team_id, error_text(pem.error()), app.key_id);
        return fail(pem.error());
      }
      Result<crypto::Es256PrivateKey> key = crypto::Es256PrivateKey::from_pem(*pem);
      wipe(*pem);
      if (!key) {
        complaint = fmt::format(
            "{}: no APNs key: {}; give the unchanged .p8 file (PEM, ECDSA P-256) that Apple gave "
            "for key {}",
            app.key_file, error_text(key.error()), app.key_id);
        return fail(key.error());
      }
      auto entry = std::make_shared<Entry>(app, *std::move(key));
      auto [known, added] = entries.try_emplace({app.team_id, app.key_id}, entry);
      if (!added && known->second->name != entry->name) {
        complaint = fmt::format(
            "{}: team {} and key id {} name another key elsewhere in the configuration; a key id "
            "belongs to one .p8 file",
            app.key_file, app.team_id, app.key_id);
        return fail(config_error(ConfigError::invalid, 1));
      }
    }
  }
  return entries;
}

}  // namespace

class ApnsProviderTokens::Replacement {
 public:
  Entries entries;
  ApnsCertificateMap certificates;
  Duration refresh_after{};
};

// Invariant: `entries`, `refresh_after`, and of an entry `text`, `issued_*`, `forced*`, `stale`, `refreshing` and `gone_at`
// are used under the lock only; `loaded` and `refreshed` on the home core only; the rest never changes.
struct ApnsProviderTokens::Impl {
  Impl(store::Store& s, const Vault& v) : store(s), vault(v) {}

  // Null where a replacement took the key away, and not just now.
  std::shared_ptr<Entry> entry_of(const AppConfig& app) const {
    std::lock_guard guard(lock);
    auto it = entries.find({app.team_id, app.key_id});
    return it == entries.end() ? nullptr : it->second;
  }

  // Under the lock.
  bool fresh(const Entry& entry) const {
    return !entry.text.empty() && !entry.stale && apns_token_fresh(age(entry), refresh_after);
  }
  static ApnsTokenAge age(const Entry& entry) { return {io::now() - entry.issued, io::wall_now() - entry.issued_at}; }

  void install(Entry& entry, std::string text, WallTime issued_at) {
    std::lock_guard guard(lock);
    wipe(entry.text);
    entry.text = std::move(text);
    entry.issued_at = issued_at;
    entry.issued = io::now() - std::max(Duration(0), Duration(io::wall_now() - issued_at));
    entry.stale = false;
  }
  Duration current_refresh_after() const {
    std::lock_guard guard(lock);
    return refresh_after;
  }

  Task<Result<Token>> refresh(std::shared_ptr<Entry> entry);
  Task<Result<Token>> renew(Entry& entry);
  Task<bool> load(Entry& entry);
  Task<void> save(const Entry& entry, const std::string& text, WallTime issued_at);

  store::Store& store;
  const Vault& vault;
  ApnsCertificates certificates;
  Duration refresh_after{};
  Entries entries;
  std::atomic<uint64_t> signatures{0};
  mutable std::mutex lock;
};

// On the home core.
Task<Result<ApnsProviderTokens::Token>> ApnsProviderTokens::Impl::refresh(std::shared_ptr<Entry> entry) {
  for (;;) {
    {
      std::lock_guard guard(lock);
      if (fresh(*entry)) co_return Token{entry->text};
      if (!entry->refreshing) {
        entry->refreshing = true;
        break;
      }
    }
    BH_CO_CHECKED(co_await entry->refreshed.wait());
  }
  entry->refreshed.reset();
  Result<Token> renewed = co_await renew(*entry);
  {
    std::lock_guard guard(lock);
    entry->refreshing = false;
  }
  entry->refreshed.set();
  co_return renewed;
}

Task<Result<ApnsProviderTokens::Token>> ApnsProviderTokens::Impl::renew(Entry& entry) {
  if (!std::exchange(entry.loaded, true) && co_await load(entry)) {
    std::lock_guard guard(lock);
    co_return Token{entry.text};
  }
  WallTime now = io::wall_now();
  BH_CO_TRY(std::string text, crypto::sign_provider_jwt(entry.key, entry.key_id, entry.team_id, to_unix_seconds(now)));
  signatures.fetch_add(1, std::memory_order_relaxed);
  install(entry, text, now);
  co_await save(entry, text, now);
  co_return Token{std::move(text), true};
}

// False where the store holds none that can be used.
Task<bool> ApnsProviderTokens::Impl::load(Entry& entry) {
  Result<std::vector<uint8_t>> box = co_await store.get_meta(entry.name);
  if (!box) co_return false;
  Result<crypto::Secret> opened = vault.unseal_meta(entry.name, *box);
  if (!opened || opened->size() <= kIssuedAtBytes || opened->size() > kTokenBytesMax) co_return false;
  auto issued_s = static_cast<int64_t>(load_be64(opened->reveal().data()));
  int64_t now_s = to_unix_seconds(io::wall_now());
  // Compared as numbers first: a far-off value must not overflow a duration.
  if (issued_s < now_s - 24 * 3600 || issued_s > now_s + 24 * 3600) co_return false;
  WallTime issued_at{std::chrono::seconds(issued_s)};
  if (!apns_token_reusable(io::wall_now() - issued_at, current_refresh_after())) co_return false;
  install(entry, std::string(as_text(opened->reveal().subspan(kIssuedAtBytes))), issued_at);
  co_return true;
}

// A token that could not be stored is as good as any until the next start; the store counts and reports the failure.
Task<void> ApnsProviderTokens::Impl::save(const Entry& entry, const std::string& text, WallTime issued_at) {
  crypto::SecretBuffer value(kTokenBytesMax);
  uint8_t head[kIssuedAtBytes];
  store_be64(head, static_cast<uint64_t>(to_unix_seconds(issued_at)));
  if (!value.append(Bytes(head)) || !value.append(text)) co_return;
  std::vector<uint8_t> box = vault.seal_meta(entry.name, value.reveal());
  (void)co_await store.put_meta(entry.name, box);
}

ApnsProviderTokens::ApnsProviderTokens(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ApnsProviderTokens::~ApnsProviderTokens() = default;

Result<std::unique_ptr<ApnsProviderTokens>> ApnsProviderTokens::make(const Config& config, store::Store& store,
                                                                     const Vault& vault, std::string& complaint) {
  BH_TRY(Prepared prepared, prepare(config, complaint));
  std::unique_ptr<ApnsProviderTokens> made(new ApnsProviderTokens(std::make_unique<Impl>(store, vault)));
  made->commit(std::move(prepared));
  return made;
}

Result<ApnsProviderTokens::Prepared> ApnsProviderTokens::prepare(const Config& config, std::string& complaint) {
  auto prepared = std::make_shared<Replacement>();
  BH_TRY(prepared->entries, read_keys(config, complaint));
  BH_TRY(prepared->certificates, read_apns_certificates(config, complaint));
  prepared->refresh_after = std::chrono::minutes(config.apns.token_refresh_minutes);
  return prepared;
}

void ApnsProviderTokens::commit(Prepared prepared) {
  impl_->certificates.replace(std::move(prepared->certificates));
  Instant now = io::now();
  Entries dropped;  // after the lock
  std::lock_guard guard(impl_->lock);
  for (auto& [name, entry] : impl_->entries) {
    auto fresh = prepared->entries.find(name);
    if (fresh == prepared->entries.end()) {
      if (!entry->gone_at) entry->gone_at = now;
      if (now - *entry->gone_at < kGoneKept) prepared->entries.emplace(name, entry);
    } else if (fresh->second->name == entry->name) {
      entry->gone_at.reset();
      fresh->second = entry;
    }
  }
  dropped = std::exchange(impl_->entries, std::move(prepared->entries));
  impl_->refresh_after = prepared->refresh_after;
}

const ApnsCertificates& ApnsProviderTokens::certificates() const { return impl_->certificates; }

std::vector<ApnsProviderTokens::Age> ApnsProviderTokens::ages() const {
  std::vector<Age> ages;
  std::lock_guard guard(impl_->lock);
  for (const auto& [name, entry] : impl_->entries) {
    if (entry->text.empty() || entry->gone_at) continue;
    ages.push_back({entry->team_id, entry->key_id, std::max(Duration(0), Duration(io::wall_now() - entry->issued_at))});
  }
  return ages;
}

std::optional<std::string> ApnsProviderTokens::current(const AppConfig& app) const {
  std::shared_ptr<Entry> entry = impl_->entry_of(app);
  if (!entry) return std::nullopt;
  std::lock_guard guard(impl_->lock);
  if (impl_->fresh(*entry)) return entry->text;
  bool bearable = !entry->text.empty() && !entry->stale && entry->refreshing && apns_token_bearable(Impl::age(*entry));
  return bearable ? std::optional(entry->text) : std::nullopt;
}

Task<Result<ApnsProviderTokens::Token>> ApnsProviderTokens::token(const AppConfig& app) {
  if (std::optional<std::string> text = current(app)) co_return Token{*std::move(text)};
  std::shared_ptr<Entry> entry = impl_->entry_of(app);
  if (!entry) co_return fail(crypto::crypto_error(crypto::CryptoError::key_unknown));
  co_return co_await on_core(kHomeCore, [this, entry] { return impl_->refresh(entry); });
}

void ApnsProviderTokens::expired(const AppConfig& app, std::string_view used) {
  std::shared_ptr<Entry> entry = impl_->entry_of(app);
  if (!entry) return;
  std::lock_guard guard(impl_->lock);
  Instant now = io::now();
  if (entry->text != used || (entry->forced_at && now - *entry->forced_at < kApnsTokenRefreshMin)) return;
  entry->stale = true;
  entry->forced_at = now;
}

uint64_t ApnsProviderTokens::signed_count() const {
  return impl_->signatures.load(std::memory_order_relaxed);
}

}  // namespace bellhop::service
