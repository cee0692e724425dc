// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/time.h"
#include "service/log.h"
#include "service/metrics.h"
#include "store/store.h"

namespace bellhop::service {

// Tells the operator that the store refuses writes, and that it takes them again: once, not with every request. Owned by
// core 0, which calls look() once a second.
class StoreWatch {
 public:
  static constexpr Duration kRepeat = std::chrono::minutes(10);  // the line comes again while the trouble lasts
  static constexpr Duration kQuiet = 10s;  // without a failure, and with a commit: it is over

  StoreWatch(Log& log, MetricsShard& metrics) : log_(log), metrics_(metrics) {}

  void look(const store::WriteHealth& health, Instant now);

 private:
  Log& log_;
  MetricsShard& metrics_;
  store::WriteHealth seen_;
  bool in_trouble_ = false;
  uint64_t untold_ = 0;  // failures since the last line
  uint64_t commits_then_ = 0;
  Instant failed_at_, told_at_;
};

// The level of a line about one request that failed for this reason: what StoreWatch tells is not told again.
inline LogLevel level_of_failure(const Error& error) {
  return is(error, store::StoreError::full) ? LogLevel::debug : LogLevel::error;
}

}  // namespace bellhop::service
