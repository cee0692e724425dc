// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "core/base/bytes.h"
#include "core/base/intrusive_list.h"
#include "core/base/ip.h"
#include "core/base/time.h"
#include "service/config.h"
#include "service/metrics_table.h"

namespace bellhop::service {

// What is being limited: the start of a keyed hash, an address, a number.
using RateKey = std::array<uint8_t, 16>;
// An IPv4 address, or the /64 of an IPv6 one: who has one address of it has them all.
RateKey rate_key(const IpAddress& address);
RateKey rate_key(uint32_t number);
RateKey rate_key(Bytes hash);  // its first 16 bytes

// One token bucket per key: `tokens` at once, refilled evenly over `period`. Holds `entries_max` keys; beyond that the
// least recently used one is forgotten, which only ever lets somebody try again. Kept as the one moment at which the
// bucket is full again (GCRA), so an entry is a few words.
class TokenBuckets {
 public:
  // `salt` spreads the keys, which the outside may choose.
  TokenBuckets(uint32_t tokens, Duration period, size_t entries_max, uint64_t salt);

  // Takes a token: zero. None left: how long until the next one, and nothing is taken.
  Duration take(const RateKey& key, Instant now);
  // The same without taking.
  Duration wait(const RateKey& key, Instant now) const;
  // Other rules from now on; what was taken stays taken.
  void renew(uint32_t tokens, Duration period, size_t entries_max);
  size_t size() const { return entries_.size(); }

 private:
  struct Entry : ListLink {
    explicit Entry(const RateKey& k) : key(k) {}
    RateKey key;
    Instant full_at{};
  };
  struct KeyHash {
    uint64_t salt;
    size_t operator()(const RateKey& key) const;
  };
  Duration wait_from(Instant full_at, Instant now) const;

  Duration interval_{};  // between two tokens
  Duration period_{};
  size_t entries_max_ = 1;
  std::unordered_map<RateKey, Entry, KeyHash> entries_;
  IntrusiveList<Entry> by_use_;  // least recently used first
};

// Those that RateLimits keeps: the first of RateLimit. The rest, of callbacks, is kept by service/callback_limits.h.
inline constexpr size_t kRateLimits = 9;
inline constexpr Duration kSpentRefreshTokenMemory = std::chrono::hours(1);
// Further logons after a refusal, for one user and hour, whatever the credentials.
inline constexpr uint32_t kRefusedLogonsPerUserPerHourMax = 5;

// The buckets that one core keeps. A key is kept on one core only, so that a limit counts for the whole process: for
// users their home core, else core_of().
class RateLimits {
 public:
  RateLimits(const LimitsConfig& config, uint64_t salt);
  void renew(const LimitsConfig& config);

  Duration take(RateLimit limit, const RateKey& key, Instant now) { return buckets(limit).take(key, now); }
  Duration wait(RateLimit limit, const RateKey& key, Instant now) { return buckets(limit).wait(key, now); }
  static unsigned core_of(const RateKey& key, unsigned cores);

 private:
  TokenBuckets& buckets(RateLimit limit) { return buckets_[static_cast<size_t>(limit)]; }
  std::array<TokenBuckets, kRateLimits> buckets_;
};

}  // namespace bellhop::service
