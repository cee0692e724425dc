// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/rsa_lanes_kernel.h"

namespace bellhop::crypto::lanes {

// The vector engine as its definition says, in plain C++ for any CPU: what tests compare with, and counts are taken from.
struct Portable {
  using Lanes = uint64_t __attribute__((vector_size(64)));
  using Digit = Lanes;
  using Mask = Lanes;

  static constexpr uint64_t kDigitMask = (uint64_t{1} << kDigitBits) - 1;

  static constexpr bool kSpareRegisters = true;
  // Not zero, as it would be for plain integers: an engine's bias is then tested here, too.
  static constexpr uint64_t kLowBias = uint64_t{0x433} << 52, kHighBias = uint64_t{0x467} << 52;
  static constexpr uint64_t bias(uint64_t lows, uint64_t highs) { return lows * kLowBias + highs * kHighBias; }
  static void multiply_add(Lanes& low, Lanes& high, const Digit& a, const Digit& b) {
    for (size_t i = 0; i < kLanes; ++i) {
      const unsigned __int128 product = static_cast<unsigned __int128>(a[i]) * b[i];
      low[i] += (static_cast<uint64_t>(product) & kDigitMask) + kLowBias;
      high[i] += static_cast<uint64_t>(product >> kDigitBits) + kHighBias;
    }
  }
  static void multiply_high(Lanes& high, const Digit& a, const Digit& b) {
    Lanes low{};
    multiply_add(low, high, a, b);
  }
  static Digit multiple(const Lanes& x, const Digit& k) { return ((x + 1) * k) & kDigitMask; }
  static Digit digit(const Lanes& x) { return low_bits(x); }
  static Lanes integer(const Digit& d) { return d; }
  static Lanes set(uint64_t x) { return Lanes{} + x; }
  static Lanes load(const Row* row) { return *reinterpret_cast<const Lanes*>(row); }
  static void store(Row* row, const Lanes& x) { *reinterpret_cast<Lanes*>(row) = x; }
  static Lanes add(const Lanes& a, const Lanes& b) { return a + b; }
  static Lanes sub(const Lanes& a, const Lanes& b) { return a - b; }
  static Lanes either(const Lanes& a, const Lanes& b) { return a | b; }
  static Lanes differs(const Lanes& a, const Lanes& b) { return a ^ b; }
  static Lanes low_bits(const Lanes& x) { return x & kDigitMask; }
  static Lanes carry(const Lanes& x) { return x >> kDigitBits; }
  static Lanes signed_carry(const Lanes& x) {
    using Signed = int64_t __attribute__((vector_size(64)));
    return reinterpret_cast<Lanes>(reinterpret_cast<Signed>(x) >> kDigitBits);
  }
  static Lanes select(const Lanes& ones, const Lanes& a, const Lanes& b) { return (ones & a) | (~ones & b); }
  static Mask equal(const Lanes& a, const Lanes& b) { return reinterpret_cast<Lanes>(a == b); }
  static Lanes take_if(const Mask& mask, const Lanes& found, const Row* even, const Row* odd) {
    return select(mask, select(found, load(odd), load(even)), found);
  }
  static Lanes all_or_none(const Lanes& bit) { return Lanes{} - bit; }
  static Lanes rotated(const Lanes& x) { return x << 1 | x >> 63; }
  static Lanes bits(const Lanes& x, unsigned from, unsigned count) { return (x >> from) & ((uint64_t{1} << count) - 1); }
  static void in_order(Lanes&, const Digit*&) {}
  static uint8_t zero_lanes(const Lanes& x) {
    uint8_t bits = 0;
    for (size_t i = 0; i < kLanes; ++i) bits |= static_cast<uint8_t>((x[i] == 0) << i);
    return bits;
  }
};

}  // namespace bellhop::crypto::lanes
