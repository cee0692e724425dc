// SPDX-License-Identifier: Apache-2.0
#include "service/store_watch.h"

namespace bellhop::service {

void StoreWatch::look(const store::WriteHealth& health, Instant now) {
  uint64_t failures = health.failures - seen_.failures;
  seen_ = health;
  metrics_.add(metric::store_failures, failures);
  if (failures > 0) {
    untold_ += failures;
    commits_then_ = health.commits;
    failed_at_ = now;
    bool tell = !in_trouble_ || now - told_at_ >= kRepeat;
    in_trouble_ = true;
    if (!tell) return;
    log_line(log_, LogLevel::error, "store_refuses_writes", field("error", health.failure), field("failures", untold_),
             field("effect", "registrations are answered 503; callbacks are served"));
    told_at_ = now;
    untold_ = 0;
  } else if (in_trouble_ && health.commits > commits_then_ && now - failed_at_ >= kQuiet) {
    log_line(log_, LogLevel::info, "store_writes_again", field("failures", untold_));
    in_trouble_ = false;
    untold_ = 0;
  }
}

}  // namespace bellhop::service
