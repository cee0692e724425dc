// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/rsa_lanes.h"

namespace bellhop::crypto::lanes {

// The lanes' algorithms on any CPU: the product of two digits is what the definition says. So that what the vector
// engines share is tested everywhere, and what they add is compared with something. About 0.1 s a batch.
extern const Kernel kPortableKernel;

}  // namespace bellhop::crypto::lanes
