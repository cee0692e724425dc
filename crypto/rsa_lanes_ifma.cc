// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 IFMA; nothing in here may run before the CPU was asked.
#include "crypto/rsa_lanes_ifma.h"
#include "crypto/rsa_lanes_kernel.h"

namespace bellhop::crypto::lanes {
namespace {

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
