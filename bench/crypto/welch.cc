// SPDX-License-Identifier: Apache-2.0
#include "bench/crypto/welch.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bellhop::crypto {
namespace {

constexpr double kPercentiles[] = {100, 99.9, 99, 95, 90, 75, 50, 25};
constexpr size_t kSamplesMin = 30;  // in each class, for a t that means something

struct Moments {
  double count = 0, mean = 0, squares = 0;
  void add(double x) {
    count += 1;
    const double step = x - mean;
    mean += step / count;
    squares += step * (x - mean);
  }
  double variance_of_mean() const { return squares / (count - 1) / count; }
};

double percentile_of(std::vector<double>& values, double percentile) {
  const size_t at = static_cast<size_t>(percentile / 100 * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(at));
  return values[at];
}

}  // namespace

TimingSamples::Result TimingSamples::result() const {
  Result result{.count_first = first_.size(), .count_second = second_.size()};
  if (first_.size() < kSamplesMin || second_.size() < kSamplesMin) return result;
  std::vector<double> first = first_, second = second_, all = first_;
  all.insert(all.end(), second_.begin(), second_.end());
  result.median_first = percentile_of(first, 50);
  result.median_second = percentile_of(second, 50);
  for (const double percentile : kPercentiles) {
    const double limit = percentile_of(all, percentile);
    Moments moments[2];
    for (const double x : first_) {
      if (x <= limit) moments[0].add(x);
    }
    for (const double x : second_) {
      if (x <= limit) moments[1].add(x);
    }
    const double fewer = std::min(moments[0].count, moments[1].count);
    double t = 0;
    if (fewer >= kSamplesMin) {
      t = (moments[0].mean - moments[1].mean) /
          std::sqrt(moments[0].variance_of_mean() + moments[1].variance_of_mean());
    } else if (moments[0].count + moments[1].count >= 10 * kSamplesMin) {
      // So few of one class among so many: it is cropped away altogether, and differs for certain.
      t = std::copysign(std::numeric_limits<double>::infinity(), moments[1].count - moments[0].count);
    }
    if (std::abs(t) > std::abs(result.t)) {
      result.t = t;
      result.percentile = percentile;
    }
  }
  return result;
}

}  // namespace bellhop::crypto
