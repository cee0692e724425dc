// SPDX-License-Identifier: Apache-2.0
#include "core/timer_wheel.h"

#include <algorithm>

namespace bellhop {
namespace {

constexpr Duration kTick = 1ms;
constexpr uint64_t kTicksWalked = 16;  // so many are cheaper to walk than to look over the whole wheel

}  // namespace

void TimerWheel::arm(Timer& timer, Instant expiry) {
  BH_CHECK(!timer.armed());
  Duration after_start = std::max(expiry - start_, Duration::zero());
  uint64_t tick = (after_start + kTick - 1ns) / kTick;  // rounded up: never early
  timer.tick = std::max(tick, now_tick_ + 1);
  place(timer);
}

void TimerWheel::place(Timer& timer) {
  uint64_t distance = timer.tick - now_tick_;
  for (int level = 0; level < kLevels; ++level) {
    if (distance < uint64_t{1} << (kSlotBits * (level + 1))) {
      slots_[level][timer.tick >> (kSlotBits * level) & (kSlots - 1)].push_back(&timer);
      return;
    }
  }
  // Beyond the horizon: the slot of the last level that comes round last.
  slots_[kLevels - 1][((now_tick_ >> (kSlotBits * (kLevels - 1))) + kSlots - 1) & (kSlots - 1)].push_back(&timer);
}

void TimerWheel::cascade(int level) {
  if (level >= kLevels) return;
  uint64_t slot = now_tick_ >> (kSlotBits * level) & (kSlots - 1);
  if (slot == 0) cascade(level + 1);
  IntrusiveList<Timer> moving;
  moving.splice_back(slots_[level][slot]);
  while (Timer* timer = moving.pop_front()) {
    if (timer->tick <= now_tick_) {
      slots_[0][now_tick_ & (kSlots - 1)].push_back(timer);
    } else {
      place(*timer);
    }
  }
}

void TimerWheel::advance(Instant now) {
  uint64_t target = now <= start_ ? 0 : (now - start_) / kTick;
  while (now_tick_ < target) {
    uint64_t next = now_tick_ + 1;
    if (target - now_tick_ > kTicksWalked) {
      // A long way (the machine slept, or time is simulated): straight to the next slot that holds a timer.
      std::optional<uint64_t> stop = next_stop();
      if (!stop || *stop > target) {
        now_tick_ = target;
        return;
      }
      next = *stop;
    }
    now_tick_ = next;
    if ((now_tick_ & (kSlots - 1)) == 0) cascade(1);
    IntrusiveList<Timer> due;
    due.splice_back(slots_[0][now_tick_ & (kSlots - 1)]);
    while (Timer* timer = due.pop_front()) timer->on_expiry(*timer);
  }
}

// A timer of level n comes down, or fires, when the clock enters its slot: the earliest such tick over all levels.
std::optional<uint64_t> TimerWheel::next_stop() const {
  std::optional<uint64_t> earliest;
  for (int level = 0; level < kLevels; ++level) {
    uint64_t unit = uint64_t{1} << (kSlotBits * level);
    uint64_t at = (now_tick_ / unit + 1) * unit;
    for (uint64_t i = 0; i < kSlots; ++i, at += unit) {
      if (earliest && at >= *earliest) break;
      if (slots_[level][at >> (kSlotBits * level) & (kSlots - 1)].empty()) continue;
      earliest = at;
      break;
    }
  }
  return earliest;
}

std::optional<Instant> TimerWheel::next_expiry() const {
  std::optional<uint64_t> stop = next_stop();
  if (!stop) return std::nullopt;
  return start_ + *stop * kTick;
}

}  // namespace bellhop
