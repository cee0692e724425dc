// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/rsa_lanes_avx512.h"

// The Arithmetic of AVX-512 IFMA; see rsa_lanes_kernel.h. Only for files that are compiled for it.
namespace bellhop::crypto::lanes {
namespace {

struct Ifma : Avx512 {
  using Digit = __m512i;

  static constexpr bool kSpareRegisters = true;
  static constexpr uint64_t bias(uint64_t, uint64_t) { return 0; }
  // The multiplier takes no more than the low 52 bits of its factors, so a digit may have more.
  static Digit digit(Lanes x) { return x; }
  static Lanes integer(Digit d) { return low_bits(d); }
  static void multiply_add(Lanes& low, Lanes& high, Digit a, Digit b) {
    low = _mm512_madd52lo_epu64(low, a, b);
    high = _mm512_madd52hi_epu64(high, a, b);
  }
  static void multiply_high(Lanes& high, Digit a, Digit b) { high = _mm512_madd52hi_epu64(high, a, b); }
  static Digit multiple(Lanes x, Digit k) { return _mm512_madd52lo_epu64(k, x, k); }
};

}  // namespace
}  // namespace bellhop::crypto::lanes
