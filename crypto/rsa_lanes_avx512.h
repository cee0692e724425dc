// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include "crypto/rsa_lanes.h"

// What both AVX-512 Arithmetics share; see rsa_lanes_kernel.h. Only for files that are compiled for AVX-512.
namespace bellhop::crypto::lanes {
namespace {

struct Avx512 {
  using Lanes = __m512i;
  using Mask = __mmask8;

  static constexpr uint64_t kDigitMask = (uint64_t{1} << kDigitBits) - 1;

  static Lanes set(uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
  static Lanes load(const Row* row) { return _mm512_load_si512(row); }
  static void store(Row* row, Lanes x) { _mm512_store_si512(row, x); }
  static Lanes add(Lanes a, Lanes b) { return _mm512_add_epi64(a, b); }
  static Lanes sub(Lanes a, Lanes b) { return _mm512_sub_epi64(a, b); }
  static Lanes either(Lanes a, Lanes b) { return _mm512_or_epi64(a, b); }
  static Lanes differs(Lanes a, Lanes b) { return _mm512_xor_epi64(a, b); }
  static Lanes low_bits(Lanes x) { return _mm512_and_epi64(x, set(kDigitMask)); }
  static Lanes carry(Lanes x) { return _mm512_srli_epi64(x, kDigitBits); }
  static Lanes signed_carry(Lanes x) { return _mm512_srai_epi64(x, kDigitBits); }
  // a where `ones` is all ones, b where it is zero (0xca is the truth table of "x ? y : z").
  static Lanes select(Lanes ones, Lanes a, Lanes b) { return _mm512_ternarylogic_epi64(ones, a, b, 0xca); }
  static Mask equal(Lanes a, Lanes b) { return _mm512_cmpeq_epi64_mask(a, b); }
  // (0xac is the truth table of "x ? z : y".)
  static Lanes take_if(Mask mask, Lanes found, const Row* even, const Row* odd) {
    return _mm512_mask_ternarylogic_epi64(found, mask, load(even), load(odd), 0xac);
  }
  static Lanes all_or_none(Lanes bit) { return sub(set(0), bit); }
  static Lanes rotated(Lanes x) { return _mm512_rol_epi64(x, 1); }
  static Lanes bits(Lanes x, unsigned from, unsigned count) {
    return _mm512_and_epi64(_mm512_srl_epi64(x, _mm_cvtsi32_si128(static_cast<int>(from))), set((uint64_t{1} << count) - 1));
  }
  template <class Vector, class Digit>
  static void in_order(Vector& value, const Digit*& from) {
    asm volatile("" : "+v"(value), "+r"(from));
  }
  static uint8_t zero_lanes(Lanes x) { return equal(x, set(0)); }
};

// Vector registers and masks outlive the function that filled them: the next signal, or the dynamic linker, would save them.
// The masks have bits of the last windows of an exponent.
void clear_registers() {
  asm volatile(
      "vzeroall\n\t"
      "vpxorq %%zmm16, %%zmm16, %%zmm16\n\tvpxorq %%zmm17, %%zmm17, %%zmm17\n\t"
      "vpxorq %%zmm18, %%zmm18, %%zmm18\n\tvpxorq %%zmm19, %%zmm19, %%zmm19\n\t"
      "vpxorq %%zmm20, %%zmm20, %%zmm20\n\tvpxorq %%zmm21, %%zmm21, %%zmm21\n\t"
      "vpxorq %%zmm22, %%zmm22, %%zmm22\n\tvpxorq %%zmm23, %%zmm23, %%zmm23\n\t"
      "vpxorq %%zmm24, %%zmm24, %%zmm24\n\tvpxorq %%zmm25, %%zmm25, %%zmm25\n\t"
      "vpxorq %%zmm26, %%zmm26, %%zmm26\n\tvpxorq %%zmm27, %%zmm27, %%zmm27\n\t"
      "vpxorq %%zmm28, %%zmm28, %%zmm28\n\tvpxorq %%zmm29, %%zmm29, %%zmm29\n\t"
      "vpxorq %%zmm30, %%zmm30, %%zmm30\n\tvpxorq %%zmm31, %%zmm31, %%zmm31\n\t"
      "kxorw %%k0, %%k0, %%k0\n\tkxorw %%k1, %%k1, %%k1\n\tkxorw %%k2, %%k2, %%k2\n\tkxorw %%k3, %%k3, %%k3\n\t"
      "kxorw %%k4, %%k4, %%k4\n\tkxorw %%k5, %%k5, %%k5\n\tkxorw %%k6, %%k6, %%k6\n\tkxorw %%k7, %%k7, %%k7"
      ::: "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12",
          "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24",
          "zmm25", "zmm26", "zmm27", "zmm28", "zmm29", "zmm30", "zmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7");
}

}  // namespace
}  // namespace bellhop::crypto::lanes
