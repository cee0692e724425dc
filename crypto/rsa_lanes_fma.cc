// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512F; nothing in here may run before the CPU was asked.
#include "crypto/rsa_lanes_fma.h"
#include "crypto/rsa_lanes_kernel.h"

namespace bellhop::crypto::lanes {
namespace {

template <size_t Half>
uint8_t run(Workspace<Half>& workspace) {
  const uint8_t good = PrivateOperation<Fma, Half>::run(workspace);
  clear_registers();
  return good;
}

constexpr Kernel kKernel = {"avx512f", &run<kHalf2048>, &run<kHalf3072>};

}  // namespace

const Kernel* fma_kernel() {
  // The compiler's runtime asks the operating system (XCR0) as well.
  return __builtin_cpu_supports("avx512f") ? &kKernel : nullptr;
}

}  // namespace bellhop::crypto::lanes
