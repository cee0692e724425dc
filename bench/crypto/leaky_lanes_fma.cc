// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512F; nothing in here may run before the CPU was asked.
#include "bench/crypto/leaky_lanes.h"
#include "crypto/rsa_lanes_fma.h"
#include "crypto/rsa_lanes_kernel.h"

namespace bellhop::crypto::lanes {
namespace {

template <size_t Half>
uint8_t run(Workspace<Half>& workspace) {
  const uint8_t good = PrivateOperation<Leaky<Fma>, Half>::run(workspace);
  clear_registers();
  return good;
}

constexpr Kernel kKernel = {"leaky", &run<kHalf2048>, &run<kHalf3072>};

}  // namespace

const Kernel* leaky_fma_kernel() { return __builtin_cpu_supports("avx512f") ? &kKernel : nullptr; }

}  // namespace bellhop::crypto::lanes
