// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <unordered_map>

#include "core/base/intrusive_list.h"
#include "crypto/rsa.h"

namespace bellhop::crypto {

// Converted private keys by key id, least recently used first out; what leaves is wiped. Bounded in bytes: a key is
// counted as what it holds when its last pin goes, for its forms are made as they are needed. One per core, not
// synchronised. Outlives every pin.
class KeyCache {
  struct Entry;

 public:
  struct Limits {
    size_t bytes_max = 64 * 1024 * 1024;
  };
  struct Stats {
    uint64_t hits_total = 0;
    uint64_t misses_total = 0;
    uint64_t evictions_total = 0;
    size_t entries = 0;  // removed ones that are still pinned count
    size_t bytes = 0;
  };

  // Keeps a key in place while it is used. Move-only.
  class Pin {
   public:
    Pin() = default;
    Pin(Pin&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
    Pin& operator=(Pin&& other) noexcept;
    ~Pin() { reset(); }
    explicit operator bool() const { return entry_ != nullptr; }
    const ConvertedKey* get() const;
    const ConvertedKey* operator->() const { return get(); }
    const ConvertedKey& operator*() const { return *get(); }
    void reset();

   private:
    friend class KeyCache;
    explicit Pin(Entry* entry);
    Entry* entry_ = nullptr;
  };

  explicit KeyCache(Limits limits);
  KeyCache() : KeyCache(Limits{}) {}
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;
  ~KeyCache();  // no pin is left

  // An empty pin on a miss. Counts a hit or a miss.
  Pin find(const KeyId& id);
  // Converts and keeps the key; where the id is there already (two misses at once), the one that is there stays.
  // Errors: overloaded, where the bound is reached and every key is pinned.
  Result<Pin> insert(RsaPrivateKey key);
  // Forgets a key (its user is gone). A pinned one goes with its last pin.
  void remove(const KeyId& id);

  const Stats& stats() const { return stats_; }

 private:
  struct Entry : ListLink {
    Entry(KeyCache& owner, RsaPrivateKey private_key) : cache(&owner), key(std::move(private_key)) {}
    KeyCache* cache;
    ConvertedKey key;
    size_t bytes = 0;  // as counted
    uint32_t pins = 0;
    bool removed = false;  // no longer in entries_; the last pin deletes it
  };

  void unpinned(Entry* entry);
  void drop(Entry* entry);
  bool make_room(size_t bytes);

  const Limits limits_;
  Stats stats_;
  size_t removed_pinned_ = 0;
  std::unordered_map<KeyId, std::unique_ptr<Entry>, KeyIdHash> entries_;
  IntrusiveList<Entry> idle_;  // not pinned, least recently used first
};

}  // namespace bellhop::crypto
