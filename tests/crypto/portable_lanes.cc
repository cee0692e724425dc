// SPDX-License-Identifier: Apache-2.0
#include "tests/crypto/portable_lanes.h"

#include "crypto/rsa_lanes_portable.h"

namespace bellhop::crypto::lanes {
namespace {

template <size_t Half>
uint8_t run_portable(Workspace<Half>& workspace) {
  return PrivateOperation<Portable, Half>::run(workspace);
}

}  // namespace

const Kernel kPortableKernel = {"portable", &run_portable<kHalf2048>, &run_portable<kHalf3072>};

}  // namespace bellhop::crypto::lanes
