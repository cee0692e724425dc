// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

namespace bellhop::crypto {

// Times of two classes, and whether they differ: dudect's method (Reparaz, Balasch, Verbauwhede, "Dude, is my code
// constant time?", 2017).
class TimingSamples {
 public:
  void add(bool second_class, double time) { (second_class ? second_ : first_).push_back(time); }

  // Welch's t of the two means. Of all samples, and of those below several percentiles of both classes together, for what
  // interrupts a measurement only lengthens it; the one that is farthest from zero.
  struct Result {
    double t = 0;
    double percentile = 100;  // where it was found
    double median_first = 0, median_second = 0;
    std::size_t count_first = 0, count_second = 0;
  };
  Result result() const;

 private:
  std::vector<double> first_, second_;
};

}  // namespace bellhop::crypto
