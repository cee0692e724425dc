// SPDX-License-Identifier: Apache-2.0
#include "service/rate_limits.h"

#include <algorithm>
#include <utility>

#include "core/base/check.h"

namespace bellhop::service {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

constexpr uint64_t kOdd = 0x9e3779b97f4a7c15u;

}  // namespace

RateKey rate_key(const IpAddress& address) {
  RateKey key{};
  std::copy_n(address.bytes.begin(), address.v6 ? 8 : 4, key.begin());
  key[15] = address.v6 ? 6 : 4;
  return key;
}

RateKey rate_key(uint32_t number) {
  RateKey key{};
  store_be32(key.data(), number);
  return key;
}

RateKey rate_key(Bytes hash) {
  RateKey key{};
  BH_CHECK(hash.size() >= key.size());
  std::copy_n(hash.begin(), key.size(), key.begin());
  return key;
}

TokenBuckets::TokenBuckets(uint32_t tokens, Duration period, size_t entries_max, uint64_t salt)
    : entries_(0, KeyHash{salt}) {
  renew(tokens, period, entries_max);
}

void TokenBuckets::renew(uint32_t tokens, Duration period, size_t entries_max) {
  interval_ = period / std::max(tokens, 1u);
  period_ = interval_ * std::max(tokens, 1u);
  entries_max_ = std::max<size_t>(entries_max, 1);
  while (entries_.size() > entries_max_) entries_.erase(by_use_.front()->key);
}

size_t TokenBuckets::KeyHash::operator()(const RateKey& key) const {
  return mix(load_be64(key.data()) ^ salt, load_be64(key.data() + 8) ^ (salt * kOdd | 1));
}

Duration TokenBuckets::wait_from(Instant full_at, Instant now) const {
  Instant after = std::max(full_at, now) + interval_;
  return std::max(Duration::zero(), after - now - period_);
}

Duration TokenBuckets::wait(const RateKey& key, Instant now) const {
  auto found = entries_.find(key);
  return found == entries_.end() ? Duration::zero() : wait_from(found->second.full_at, now);
}

Duration TokenBuckets::take(const RateKey& key, Instant now) {
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    if (entries_.size() >= entries_max_) entries_.erase(by_use_.front()->key);
    found = entries_.try_emplace(key, key).first;
  }
  Entry& entry = found->second;
  entry.unlink();
  by_use_.push_back(&entry);
  Duration wait = wait_from(entry.full_at, now);
  if (wait == Duration::zero()) entry.full_at = std::max(entry.full_at, now) + interval_;
  return wait;
}

namespace {

struct BucketRule {
  uint32_t tokens;
  Duration period;
  size_t entries_max;
};

// In the order of RateLimit.
std::array<BucketRule, kRateLimits> bucket_rules(const LimitsConfig& config) {
  size_t tracked = config.addresses_tracked_max;
  return {{{config.getpublickey_per_address_per_minute, 1min, tracked},
           {config.getpublickey_per_tenant_per_minute, 1min, kTenantsMax},
           {config.subscribe_per_address_per_minute, 1min, tracked},
           {config.subscribe_per_tenant_per_minute, 1min, kTenantsMax},
           {config.unauthorized_per_address_per_minute, 1min, tracked},
           {config.subscribe_handovers_per_hour, 1h, tracked},
           {kRefusedLogonsPerUserPerHourMax, 1h, tracked},
           {1, 1h, tracked},
           {1, kSpentRefreshTokenMemory, tracked}}};
}

template <size_t... Index>
std::array<TokenBuckets, kRateLimits> make_buckets(const LimitsConfig& config, uint64_t salt,
                                                   std::index_sequence<Index...>) {
  auto rules = bucket_rules(config);
  return {TokenBuckets(rules[Index].tokens, rules[Index].period, rules[Index].entries_max, salt)...};
}

}  // namespace

RateLimits::RateLimits(const LimitsConfig& config, uint64_t salt)
    : buckets_(make_buckets(config, salt, std::make_index_sequence<kRateLimits>())) {}

void RateLimits::renew(const LimitsConfig& config) {
  auto rules = bucket_rules(config);
  for (size_t i = 0; i < kRateLimits; ++i) buckets_[i].renew(rules[i].tokens, rules[i].period, rules[i].entries_max);
}

unsigned RateLimits::core_of(const RateKey& key, unsigned cores) {
  return static_cast<unsigned>(mix(load_be64(key.data()) ^ kOdd, load_be64(key.data() + 8) ^ ~kOdd) % cores);
}

}  // namespace bellhop::service
