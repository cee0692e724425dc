// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/base/bytes.h"
#include "core/base/time.h"

namespace bellhop::sim {

// A seeded stream of numbers (SplitMix64). Not for secrets; the simulator's only source of chance.
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  // 0 .. count - 1; count > 0. The bias of the remainder does not matter here.
  uint64_t below(uint64_t count) { return next() % count; }
  bool happens(double probability) {
    if (probability <= 0) return false;
    return static_cast<double>(next() >> 11) * 0x1p-53 < probability;
  }
  Duration between(Duration least, Duration most) {
    return least + Duration(static_cast<int64_t>(below(static_cast<uint64_t>((most - least).count()) + 1)));
  }
  void fill(MutableBytes out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>(next());
  }

 private:
  uint64_t state_;
};

}  // namespace bellhop::sim
