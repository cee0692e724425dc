// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/base/time.h"

// The rules of time and number for pushes to APNs, without I/O and without a clock.
namespace bellhop::service {

// ---- Provider tokens ----

inline constexpr Duration kApnsTokenRefreshMin = 20min;  // Apple's: no two refreshes of a key closer than this
inline constexpr Duration kApnsTokenAgeMax = 60min;      // Apple's: older ones are refused
inline constexpr Duration kApnsTokenMargin = 5min;       // for the way to APNs and clocks that differ
inline constexpr Duration kApnsClockSkew = 1min;         // by which a token may lie in the future

// Two clocks measure a token's age: the wall clock can be set, and the monotonic one stands still while a host sleeps.
struct ApnsTokenAge {
  Duration monotonic{};
  Duration wall{};  // negative: the clock was set back, or the token was made under a wrong one
};

// No new one is due. Within Apple's 20 minutes the wall clock has no say: if it was set, APNs tells by refusing.
inline bool apns_token_fresh(const ApnsTokenAge& age, Duration refresh_after) {
  if (age.monotonic >= refresh_after) return false;
  return age.monotonic < kApnsTokenRefreshMin || (age.wall < refresh_after && age.wall >= -kApnsClockSkew);
}
// Good enough while another one is being made.
inline bool apns_token_bearable(const ApnsTokenAge& age) {
  return std::max(age.monotonic, age.wall) < kApnsTokenAgeMax - kApnsTokenMargin;
}
// A token that was stored by an earlier run may be used again.
inline bool apns_token_reusable(Duration wall_age, Duration refresh_after) {
  return wall_age >= -kApnsClockSkew && wall_age < refresh_after;
}

// ---- Retries ----

// The longest wait before attempt number `attempt + 1`; the wait itself is drawn between `first` and this.
inline Duration apns_retry_wait_max(uint32_t attempt, Duration first, Duration most) {
  Duration wait = first;
  for (uint32_t i = 0; i < attempt && wait < most; ++i) wait *= 4;
  return std::min(wait, most);
}

// ---- Faults of a key or a topic ----

// Keeps pushes back while APNs refuses a key or a topic for good: only an operator can mend that, and repeated failures
// look like an attack. After a wait that doubles, one push tries again; where it is accepted, the breaker is dropped.
class ApnsBreaker {
 public:
  static constexpr Duration kWaitFirst = 30s;
  static constexpr Duration kWaitMax = 10min;

  // May a push be sent now? A yes while the breaker is open makes that push the trial.
  bool allow(Instant now) {
    if (!open_) return true;
    if (now < closed_until_) return false;
    wait_ = std::min(wait_ * 2, kWaitMax);
    closed_until_ = now + wait_;
    return true;
  }
  // True where it opened just now; failures of pushes that were on their way meanwhile change nothing.
  bool fail(Instant now) {
    if (open_) return false;
    open_ = true;
    wait_ = kWaitFirst;
    closed_until_ = now + wait_;
    return true;
  }

 private:
  bool open_ = false;
  Duration wait_ = kWaitFirst;
  Instant closed_until_{};
};

}  // namespace bellhop::service
