// SPDX-License-Identifier: Apache-2.0
#include "core/io.h"
#include "core/sleep.h"
#include "service/core.h"
#include "service/overload.h"

namespace bellhop::service {
namespace {

constexpr Duration kLook = 20ms;
constexpr Duration kLookAtRest = 1s;  // while no callback is under way and nothing is late

}  // namespace

Task<void> Overload::watch(Core& core) {
  DelayWatch delays;
  Instant due = io::now() + kLookAtRest;
  while (co_await sleep_until(due)) {
    const NotificationConfig& config = core.config().notification;
    Instant now = io::now();
    Duration delay = now - due;
    Duration high = std::chrono::milliseconds(config.overload_delay_ms);
    OverloadLevel before = level();
    OverloadLevel after = delays.observe(
        {.high = high, .severe = 4 * high, .lasting = std::chrono::milliseconds(config.overload_after_ms)}, now, delay);
    core.metrics.observe_longest(metric::queue_delay_longest, delay);
    if (after != before) {
      set_level(after);
      core.metrics.set(metric::cores_overloaded, after != OverloadLevel::none);
      log_line(core.log, after > before ? LogLevel::warning : LogLevel::info, "overload",
               field("level", static_cast<uint64_t>(after)), field("delay_ms", static_cast<uint64_t>(to_milliseconds(delay))),
               field("callbacks", places.taken()));
    }
    bool rests = places.taken() == 0 && after == OverloadLevel::none && delay < high / 2;
    due = now + (rests ? kLookAtRest : kLook);
  }
}

}  // namespace bellhop::service
