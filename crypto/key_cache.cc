// SPDX-License-Identifier: Apache-2.0
#include "crypto/key_cache.h"

#include "core/base/check.h"
#include "crypto/error.h"

namespace bellhop::crypto {

KeyCache::Pin::Pin(Entry* entry) : entry_(entry) {
  entry->unlink();
  ++entry->pins;
}

KeyCache::Pin& KeyCache::Pin::operator=(Pin&& other) noexcept {
  if (this == &other) return *this;
  reset();
  entry_ = std::exchange(other.entry_, nullptr);
  return *this;
}

const ConvertedKey* KeyCache::Pin::get() const {
  return entry_ ? &entry_->key : nullptr;
}

void KeyCache::Pin::reset() {
  Entry* entry = std::exchange(entry_, nullptr);
  if (!entry) return;
  BH_CHECK(entry->pins > 0);
  if (--entry->pins == 0) entry->cache->unpinned(entry);
}

KeyCache::KeyCache(Limits limits) : limits_(limits) {
  BH_CHECK(limits.bytes_max > 0);
}

KeyCache::~KeyCache() {
  size_t idle = idle_.size_slow();
  BH_CHECK(idle == entries_.size() && removed_pinned_ == 0);
}

KeyCache::Pin KeyCache::find(const KeyId& id) {
  auto at = entries_.find(id);
  if (at == entries_.end()) {
    ++stats_.misses_total;
    return {};
  }
  ++stats_.hits_total;
  return Pin(at->second.get());
}

Result<KeyCache::Pin> KeyCache::insert(RsaPrivateKey key) {
  const KeyId id = key.public_key().id();
  if (auto at = entries_.find(id); at != entries_.end()) return Pin(at->second.get());
  auto entry = std::make_unique<Entry>(*this, std::move(key));
  entry->bytes = entry->key.memory_bytes();
  if (!make_room(entry->bytes)) return fail(crypto_error(CryptoError::overloaded));
  ++stats_.entries;
  stats_.bytes += entry->bytes;
  Entry* kept = entry.get();
  entries_.emplace(id, std::move(entry));
  return Pin(kept);
}

// Evicts until `bytes` more fit; false where what is left is pinned.
bool KeyCache::make_room(size_t bytes) {
  while (stats_.bytes + bytes > limits_.bytes_max) {
    Entry* oldest = idle_.front();
    if (!oldest) return false;
    ++stats_.evictions_total;
    drop(oldest);
  }
  return true;
}

void KeyCache::remove(const KeyId& id) {
  auto at = entries_.find(id);
  if (at == entries_.end()) return;
  Entry* entry = at->second.get();
  if (entry->pins == 0) return drop(entry);
  entry->removed = true;
  ++removed_pinned_;
  (void)at->second.release();  // the last pin deletes it
  entries_.erase(at);
}

void KeyCache::unpinned(Entry* entry) {
  if (entry->removed) {
    BH_CHECK(removed_pinned_ > 0);
    --removed_pinned_;
    --stats_.entries;
    stats_.bytes -= entry->bytes;
    delete entry;
    return;
  }
  idle_.push_back(entry);
  const size_t bytes = entry->key.memory_bytes();
  stats_.bytes += bytes - std::exchange(entry->bytes, bytes);
  (void)make_room(0);  // the pinned ones alone may pass the bound, for as long as they are used
}

void KeyCache::drop(Entry* entry) {
  BH_CHECK(entry->pins == 0);
  --stats_.entries;
  stats_.bytes -= entry->bytes;
  const KeyId id = entry->key.key().public_key().id();  // a copy: the entry goes while its key is looked up
  entries_.erase(id);
}

}  // namespace bellhop::crypto
