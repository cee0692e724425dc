// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 IFMA; nothing in here may run before the CPU was asked.
#include "crypto/rsa_lanes_avx512.h"
#include "crypto/rsa_lanes_kernel.h"

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

template <size_t Half>
uint8_t run(Workspace<Half>& workspace) {
  const uint8_t good = PrivateOperation<Ifma, Half>::run(workspace);
  clear_registers();
  return good;
}

constexpr Kernel kKernel = {"avx512ifma", &run<kHalf2048>, &run<kHalf3072>};

}  // namespace

const Kernel* ifma_kernel() {
  return __builtin_cpu_supports("avx512ifma") ? &kKernel : nullptr;
}

const Kernel* unchecked_ifma_kernel() { return &kKernel; }

}  // namespace bellhop::crypto::lanes
