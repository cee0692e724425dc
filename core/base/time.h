// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace bellhop {

using Duration = std::chrono::nanoseconds;

// Monotonic time since an arbitrary start; for deadlines and durations. Read with io::now().
struct MonotonicClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};
using Instant = MonotonicClock::time_point;

// Wall-clock time, Unix epoch, UTC; for tokens, records and logs. Read with io::wall_now().
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;

inline int64_t to_unix_seconds(WallTime t) {
  return std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count();
}
inline int64_t to_milliseconds(Duration d) { return std::chrono::duration_cast<std::chrono::milliseconds>(d).count(); }

using namespace std::chrono_literals;

}  // namespace bellhop
