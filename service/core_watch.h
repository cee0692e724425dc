// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/check.h"
#include "core/base/time.h"

namespace bellhop::service {

// Knows when each core's loop last turned for a timer. Cores tell it, core 0 asks: the one that has been silent for
// too long blocks, and whoever supervises the process must hear no more of us. Thread-safe, without locks.
class CoreWatch {
 public:
  CoreWatch(unsigned cores, Duration silence_max) : silence_max_(silence_max), ticked_(cores) { BH_CHECK(cores > 0); }

  // Cores begin from now on, each as soon as it can: none is silent before it could tick. On core 0.
  void begin(Instant now) { began_ = now.time_since_epoch().count(); }
  void ticked(unsigned core, Instant now) {
    ticked_[core].store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
  // The first core that has not ticked within the allowed silence. On core 0.
  std::optional<unsigned> silent(Instant now) const {
    for (unsigned core = 0; core < ticked_.size(); ++core) {
      int64_t last = ticked_[core].load(std::memory_order_relaxed);
      if (now.time_since_epoch().count() - (last == 0 ? began_ : last) > silence_max_.count()) return core;
    }
    return std::nullopt;
  }

 private:
  const Duration silence_max_;
  int64_t began_ = 0;
  std::vector<std::atomic<int64_t>> ticked_;  // nanoseconds of the monotonic clock; 0: never
};

}  // namespace bellhop::service
