// SPDX-License-Identifier: Apache-2.0
#include "service/overload.h"

#include <algorithm>
#include <cstring>

#include "core/base/check.h"

namespace bellhop::service {
namespace {

// What is forgotten without having been served: longer than the longest StatusFrequency.
constexpr uint32_t kForgetSeconds = 2 * 24 * 3600;

uint32_t seconds_of(Instant now) {
  return static_cast<uint32_t>(std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count());
}

uint32_t tag_of(const store::CapabilityHash& hash) {
  uint32_t tag;
  static_assert(sizeof(hash) >= 12);
  std::memcpy(&tag, reinterpret_cast<const uint8_t*>(&hash) + 8, sizeof tag);
  return tag == 0 ? 1 : tag;
}

}  // namespace

// ---- Delay ----

OverloadLevel DelayWatch::wanted(const Limits& limits, Duration delay) const {
  auto bound = [&](Duration limit, OverloadLevel level) { return level_ >= level ? limit / 2 : limit; };
  if (delay > bound(limits.severe, OverloadLevel::severe)) return OverloadLevel::severe;
  if (delay > bound(limits.high, OverloadLevel::high)) return OverloadLevel::high;
  return OverloadLevel::none;
}

OverloadLevel DelayWatch::observe(const Limits& limits, Instant now, Duration delay) {
  OverloadLevel next = wanted(limits, delay);
  if (next == level_) {
    toward_ = level_;
    return level_;
  }
  // Another direction begins its time anew; more of the same does not.
  bool same_way = toward_ != level_ && (toward_ > level_) == (next > level_);
  if (!same_way) since_ = now;
  toward_ = same_way && next > level_ ? std::min(toward_, next) : next;
  if (now - since_ >= limits.lasting) {
    level_ = toward_;
    since_ = now;
  }
  return level_;
}

// ---- Fair share ----

void FairShare::note(Holder& holder, Instant now) {
  uint64_t second = uint64_t{seconds_of(now)} + 1;
  if (second != second_) {
    asking_before_ = second == second_ + 1 ? asking_ : 0;
    asking_ = 0;
    second_ = second;
  }
  if (holder.seen != second) ++asking_;
  holder.seen = second;
}

FairShare::Place FairShare::take(uint32_t tenant, size_t places_max, OverloadLevel level, Instant now) {
  Holder& holder = holders_[tenant];
  note(holder, now);
  size_t tenants = std::max(asking_, asking_before_);
  if (taken_ >= places_max || level == OverloadLevel::severe) return {};
  if (level == OverloadLevel::high && holder.taken * tenants >= taken_) return {};
  if (2 * taken_ >= places_max && holder.taken * tenants >= places_max) return {};
  return give(tenant, holder);
}

FairShare::Place FairShare::take_urgently(uint32_t tenant, size_t places_max) {
  if (taken_ >= 2 * places_max) return {};
  return give(tenant, holders_[tenant]);
}

FairShare::Place FairShare::give(uint32_t tenant, Holder& holder) {
  ++holder.taken;
  ++taken_;
  return Place(this, tenant);
}

void FairShare::give_back(uint32_t tenant) {
  Holder& holder = holders_[tenant];
  BH_CHECK(holder.taken > 0 && taken_ > 0);
  --holder.taken;
  --taken_;
}

// ---- Refusals ----

Refusals::Refusals() : entries_(std::make_unique<Entry[]>(kRemembered)) {}

Refusals::Entry* Refusals::bucket_of(const store::CapabilityHash& subscription) const {
  uint64_t place;
  std::memcpy(&place, &subscription, sizeof place);
  return &entries_[place % (kRemembered / kBucket) * kBucket];
}

Duration Refusals::refused_for(const store::CapabilityHash& subscription, Instant now) const {
  if (count_.load(std::memory_order_relaxed) == 0) return Duration::zero();
  const Entry* bucket = bucket_of(subscription);
  uint32_t tag = tag_of(subscription), second = seconds_of(now);
  for (size_t i = 0; i < kBucket; ++i) {
    uint64_t entry = bucket[i].load(std::memory_order_relaxed);
    uint32_t age = second - static_cast<uint32_t>(entry);
    if (entry >> 32 == tag && age < kForgetSeconds) return std::chrono::seconds(age);
  }
  return Duration::zero();
}

void Refusals::refused(const store::CapabilityHash& subscription, Instant now) {
  Entry* bucket = bucket_of(subscription);
  uint32_t tag = tag_of(subscription), second = seconds_of(now);
  Entry* free = nullptr;
  for (size_t i = 0; i < kBucket; ++i) {
    uint64_t entry = bucket[i].load(std::memory_order_relaxed);
    uint32_t age = second - static_cast<uint32_t>(entry);
    if (entry >> 32 == tag && age < kForgetSeconds) return;
    if (entry == 0 || age >= kForgetSeconds) free = &bucket[i];
  }
  if (!free) return;
  // Two cores that meet here may lose one of two entries, whose time then begins with its next refusal.
  if (free->exchange(uint64_t{tag} << 32 | second, std::memory_order_relaxed) == 0) {
    count_.fetch_add(1, std::memory_order_relaxed);
  }
}

void Refusals::served(const store::CapabilityHash& subscription) {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  Entry* bucket = bucket_of(subscription);
  uint32_t tag = tag_of(subscription);
  for (size_t i = 0; i < kBucket; ++i) {
    uint64_t entry = bucket[i].load(std::memory_order_relaxed);
    if (entry >> 32 != tag) continue;
    if (bucket[i].exchange(0, std::memory_order_relaxed) != 0) count_.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace bellhop::service
