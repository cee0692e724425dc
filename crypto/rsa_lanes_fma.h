// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/rsa_lanes_avx512.h"

// The Arithmetic of AVX-512F; see rsa_lanes_kernel.h. Only for files that are compiled for it.
namespace bellhop::crypto::lanes {
namespace {

// 52-bit digits as doubles, which hold 53 bits. For digits a and b, with all sums rounded toward zero:
//   high = a * b + 2^104          the bits below 2^52 do not fit and are cut off: its mantissa is a * b / 2^52
//   low  = a * b + (2^104 + 2^52 - high)   the bracket is exact, the rest below 2^52: its mantissa is a * b mod 2^52
// Both are added as integers, exponent bits included; these are the bias. No input or result is denormal or special, so
// that the time does not depend on the values.
struct Fma : Avx512 {
  using Digit = __m512d;

  static constexpr int kTowardZero = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
  static constexpr uint64_t kLowExponent = uint64_t{1023 + 52} << 52;
  static constexpr uint64_t kHighExponent = uint64_t{1023 + 104} << 52;

  static constexpr bool kSpareRegisters = false;
  static constexpr uint64_t bias(uint64_t lows, uint64_t highs) { return lows * kLowExponent + highs * kHighExponent; }
  static Digit digit(Lanes x) {
    return _mm512_sub_pd(_mm512_castsi512_pd(_mm512_or_epi64(low_bits(x), set(kLowExponent))), _mm512_set1_pd(0x1p52));
  }
  static Lanes integer(Digit d) {
    return low_bits(_mm512_castpd_si512(_mm512_add_pd(d, _mm512_set1_pd(0x1p52))));
  }
  static void multiply_add(Lanes& low, Lanes& high, Digit a, Digit b) {
    const Digit h = _mm512_fmadd_round_pd(a, b, _mm512_set1_pd(0x1p104), kTowardZero);
    const Digit l = _mm512_fmadd_round_pd(a, b, _mm512_sub_pd(_mm512_set1_pd(0x1p104 + 0x1p52), h), kTowardZero);
    low = add(low, _mm512_castpd_si512(l));
    high = add(high, _mm512_castpd_si512(h));
  }
  static void multiply_high(Lanes& high, Digit a, Digit b) {
    high = add(high, _mm512_castpd_si512(_mm512_fmadd_round_pd(a, b, _mm512_set1_pd(0x1p104), kTowardZero)));
  }
  static Digit multiple(Lanes x, Digit k) {
    const Digit a = digit(add(x, set(1)));
    const Digit h = _mm512_fmadd_round_pd(a, k, _mm512_set1_pd(0x1p104), kTowardZero);
    const Digit l = _mm512_fmadd_round_pd(a, k, _mm512_sub_pd(_mm512_set1_pd(0x1p104 + 0x1p52), h), kTowardZero);
    return _mm512_sub_pd(l, _mm512_set1_pd(0x1p52));
  }
};

}  // namespace
}  // namespace bellhop::crypto::lanes
