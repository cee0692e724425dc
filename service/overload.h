// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "core/base/time.h"
#include "core/task.h"
#include "store/ids.h"

namespace bellhop::service {

struct Core;

// How far a core is behind. It is measured as the time that a flow waits for its turn, which everything else waits too;
// a length of a queue would not tell whether it moves.
enum class OverloadLevel : uint8_t {
  none,
  high,    // callbacks of tenants that have their share are refused
  severe,  // all callbacks, and registrations
};

// Turns delays into a level: what lasted for `lasting` counts, one late turn does not. Going down takes half of the delay,
// so that it does not flicker.
class DelayWatch {
 public:
  struct Limits {
    Duration high = 500ms;
    Duration severe = 2s;
    Duration lasting = 100ms;
  };
  // `delay`: as it was at `now`.
  OverloadLevel observe(const Limits& limits, Instant now, Duration delay);
  OverloadLevel level() const { return level_; }

 private:
  OverloadLevel wanted(const Limits& limits, Duration delay) const;

  OverloadLevel level_ = OverloadLevel::none;
  OverloadLevel toward_ = OverloadLevel::none;  // the level that delays speak for since `since_`
  Instant since_{};
};

// Places for callbacks on one core, given out so that no tenant takes what another needs: while half of them are free
// everybody gets one; then a tenant gets no more than an equal part of all. Memory: one entry for each tenant that the
// configuration had. A Place is the slot.
class FairShare {
 public:
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept : share_(std::exchange(other.share_, nullptr)), tenant_(other.tenant_) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (share_) share_->give_back(tenant_);
    }
    explicit operator bool() const { return share_ != nullptr; }

   private:
    friend FairShare;
    Place(FairShare* share, uint32_t tenant) : share_(share), tenant_(tenant) {}
    FairShare* share_ = nullptr;
    uint32_t tenant_ = 0;
  };

  // A place, or none. `tenant`: Tenant::number. `places_max`: of all. With `level` high only those below the average get
  // one, with `severe` nobody.
  Place take(uint32_t tenant, size_t places_max, OverloadLevel level, Instant now);
  // Without a question, but for an outer bound of twice places_max.
  Place take_urgently(uint32_t tenant, size_t places_max);
  size_t taken() const { return taken_; }

 private:
  struct Holder {
    uint32_t taken = 0;
    uint64_t seen = 0;  // the last second in which it asked, plus one
  };
  Place give(uint32_t tenant, Holder& holder);
  void give_back(uint32_t tenant);
  void note(Holder& holder, Instant now);

  std::unordered_map<uint32_t, Holder> holders_;
  size_t taken_ = 0;
  uint64_t second_ = 0;                  // the present one, plus one
  size_t asking_ = 0, asking_before_ = 0;  // tenants that asked in it, and in the one before
};

// What one core knows of its load.
class Overload {
 public:
  // Measures, until it is stopped. On the core itself, whose object this is.
  Task<void> watch(Core& core);
  // Any core.
  OverloadLevel level() const { return level_.load(std::memory_order_relaxed); }
  // By watch(); tests pretend.
  void set_level(OverloadLevel level) { level_.store(level, std::memory_order_relaxed); }

  FairShare places;

 private:
  std::atomic<OverloadLevel> level_{OverloadLevel::none};
};

// Since when each subscription has been refused for overload without a break. Exchange gives a subscription up when it
// was not answered for a StatusFrequency, so none may be refused for long. Shared by all cores, because Exchange's
// repeats land on any of them; a table of fixed size, without locks: an entry is one word. Where its bucket is full a
// subscription is not remembered, and its time begins with a later refusal.
class Refusals {
 public:
  static constexpr size_t kRemembered = 128 * 1024;  // 1 MB

  Refusals();
  // For how long it has been refused, in whole seconds; zero where it was served last. As served(), next to nothing while
  // nobody was refused.
  Duration refused_for(const store::CapabilityHash& subscription, Instant now) const;
  // It is refused. The first one since it was served is remembered.
  void refused(const store::CapabilityHash& subscription, Instant now);
  // It was served: its next refusal is a first one.
  void served(const store::CapabilityHash& subscription);

 private:
  static constexpr size_t kBucket = 8;  // one cache line
  // Upper half: of the hash, never 0. Lower half: seconds of the monotonic clock.
  using Entry = std::atomic<uint64_t>;
  Entry* bucket_of(const store::CapabilityHash& subscription) const;

  std::unique_ptr<Entry[]> entries_;
  std::atomic<uint32_t> count_{0};  // entries in use, at least
};

}  // namespace bellhop::service
