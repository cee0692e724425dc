// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/base/intrusive_list.h"
#include "core/base/time.h"

namespace bellhop {

// A timer, embedded in whoever waits. Unlinks itself when destroyed. on_expiry must not resume a coroutine.
struct Timer : ListLink {
  explicit Timer(void (*function)(Timer&)) : on_expiry(function) {}
  bool armed() const { return linked(); }
  void disarm() { unlink(); }

  void (*on_expiry)(Timer&);
  uint64_t tick = 0;
};

// Hierarchical timing wheel: 4 levels of 256 slots at 1 ms, so about 49 days; later expiries are put into the last slot
// and sorted in again. Arm and disarm are O(1). A timer never fires early and at most one tick plus one turn late.
// Owned by one reactor.
class TimerWheel {
 public:
  explicit TimerWheel(Instant start) : start_(start) {}

  void arm(Timer& timer, Instant expiry);
  // Fires all timers due at `now`, in the order of their ticks.
  void advance(Instant now);
  // A time not later than the next expiry: sleeping until then is always right. Nothing where no timer is armed.
  std::optional<Instant> next_expiry() const;  // about 1,000 loads; for the moment before sleeping

 private:
  static constexpr int kLevels = 4;
  static constexpr int kSlotBits = 8;
  static constexpr uint64_t kSlots = 1u << kSlotBits;

  void place(Timer& timer);
  void cascade(int level);
  std::optional<uint64_t> next_stop() const;

  Instant start_;
  uint64_t now_tick_ = 0;  // all ticks up to this one have fired
  std::array<std::array<IntrusiveList<Timer>, kSlots>, kLevels> slots_;
};

}  // namespace bellhop
