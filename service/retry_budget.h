// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/base/time.h"

// How much a server in trouble is burdened: rules of time and number, without I/O and without a clock. Each belongs to
// one host or one way to it, so that what fails there takes nothing from others. One core.
namespace bellhop::service {

// Two counts over a sliding window, in slices.
class SlidingCounts {
 public:
  static constexpr size_t kSlices = 12;
  struct Sums {
    uint64_t requests = 0;
    uint64_t others = 0;
  };

  explicit SlidingCounts(Duration window) : slice_length_(window / static_cast<int64_t>(kSlices)) {}

  void add(Instant now, uint64_t requests, uint64_t others) {
    int64_t number = now.time_since_epoch() / slice_length_;
    Slice& slice = slices_[static_cast<uint64_t>(number) % kSlices];
    if (slice.number != number) slice = {.number = number, .sums = {}};
    slice.sums.requests += requests;
    slice.sums.others += others;
  }
  Sums sums(Instant now) const {
    int64_t oldest = now.time_since_epoch() / slice_length_ - static_cast<int64_t>(kSlices);
    Sums all;
    for (const Slice& slice : slices_) {
      if (slice.number <= oldest) continue;
      all.requests += slice.sums.requests;
      all.others += slice.sums.others;
    }
    return all;
  }
  void clear() { slices_ = {}; }

 private:
  struct Slice {
    int64_t number = INT64_MIN;
    Sums sums;
  };
  Duration slice_length_;
  std::array<Slice, kSlices> slices_;
};

// Retries as a share of requests over two minutes, so that a server in trouble is not burdened with more than it
// refuses. Requests that it did not process at all (GOAWAY, REFUSED_STREAM) are not counted: sending them again adds
// nothing.
class RetryBudget {
 public:
  static constexpr Duration kWindow = 2min;
  // Within the window, whatever the share: for small tenants.
  static constexpr uint32_t kRetriesFree = 128;

  explicit RetryBudget(uint32_t share_percent_max) : share_percent_max_(share_percent_max) {}

  void count_request(Instant now) { counts_.add(now, 1, 0); }
  // Counts the retry where it may be made.
  [[nodiscard]] bool take_retry(Instant now) {
    SlidingCounts::Sums sums = counts_.sums(now);
    if (sums.others >= std::max<uint64_t>(kRetriesFree, sums.requests * share_percent_max_ / 100)) return false;
    counts_.add(now, 0, 1);
    return true;
  }

 private:
  uint32_t share_percent_max_;
  SlidingCounts counts_{kWindow};
};

// Sends no more than about twice what is accepted: of requests that find the server in trouble, most are refused here
// and at once, and some go through, which tell when it is well again (client-side throttling, K = 2). What is refused
// is not lost: the journal has it. The window is short, and a row of successes ends it, because while it lasts pushes
// are late and without content.
class AdaptiveThrottle {
 public:
  static constexpr uint64_t kFactor = 2;
  static constexpr uint64_t kRequestsFree = 32;  // within the window, whatever is accepted: for small tenants
  static constexpr Duration kWindow = 24s;
  static constexpr uint32_t kWellAfter = 8;  // accepted in a row

  // False: refused here. `draw`: a random number. True: the request's end is told by ended(), unless it was stopped.
  [[nodiscard]] bool admit(Instant now, uint64_t draw) {
    SlidingCounts::Sums sums = counts_.sums(now);
    uint64_t bearable = std::max(kFactor * sums.others, kRequestsFree);
    bool admitted = sums.requests <= bearable || draw % (sums.requests + 1) >= sums.requests - bearable;
    if (!admitted) counts_.add(now, 1, 0);
    return admitted;
  }
  // `accepted`: the server did its work, whatever it answered.
  void ended(Instant now, bool accepted) {
    counts_.add(now, 1, accepted);
    accepted_in_row_ = accepted ? accepted_in_row_ + 1 : 0;
    if (accepted_in_row_ < kWellAfter) return;
    accepted_in_row_ = 0;
    counts_.clear();
  }

 private:
  uint32_t accepted_in_row_ = 0;
  SlidingCounts counts_{kWindow};
};

}  // namespace bellhop::service
