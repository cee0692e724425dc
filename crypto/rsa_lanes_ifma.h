// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/rsa_lanes_avx512.h"

// The Arithmetic of AVX-512 IFMA; see rsa_lanes_kernel.h. Only for files that are compiled for it.
namespace bellhop::crypto::lanes {
namespace {

struct Ifma : Avx512 {
  using Digit = __m512i;

  static constexpr uint64_t bias(uint64_t, uint64_t) { return 0; }
  static Digit digit(Lanes x) { return x; }
  static Lanes integer(Digit d) { return d; }
  static void multiply_add(Lanes& low, Lanes& high, Digit a, Digit b) {
    low = _mm512_madd52lo_epu64(low, a, b);
    high = _mm512_madd52hi_epu64(high, a, b);
  }
  // The instruction itself takes no more than the low 52 bits of its factors.
  static Digit low_digit(Lanes x, Digit k) { return _mm512_madd52lo_epu64(set(0), x, k); }
};

}  // namespace
}  // namespace bellhop::crypto::lanes
