// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "crypto/rsa_lanes.h"

namespace bellhop::crypto::lanes {

// The lanes' algorithms on any CPU: the product of two digits is what the definition says. So that what the vector
// engines share is tested everywhere, and what they add is compared with something. About 0.1 s a batch.
extern const Kernel kPortableKernel;

// A bit that flips while the kernel runs: in one lane of a sum, at the product of this number.
struct PlantedFault {
  uint64_t at;
  size_t lane;
  unsigned bit;
};
// The portable kernel with such faults, in the order of their products.
uint8_t run_with_faults(Workspace2048& workspace, std::span<const PlantedFault> faults);
// How many products the last run of it had.
uint64_t products_with_faults();

}  // namespace bellhop::crypto::lanes
