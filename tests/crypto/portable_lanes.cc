// SPDX-License-Identifier: Apache-2.0
#include "tests/crypto/portable_lanes.h"

#include "crypto/rsa_lanes_portable.h"

namespace bellhop::crypto::lanes {
namespace {

template <size_t Half>
uint8_t run_portable(Workspace<Half>& workspace) {
  return PrivateOperation<Portable, Half>::run(workspace);
}

uint64_t products = 0;
std::span<const PlantedFault> faults_to_come;

struct Faulty : Portable {
  static void multiply_add(Lanes& low, Lanes& high, const Digit& a, const Digit& b) {
    Portable::multiply_add(low, high, a, b);
    while (!faults_to_come.empty() && faults_to_come.front().at == products) {
      low[faults_to_come.front().lane] ^= uint64_t{1} << faults_to_come.front().bit;
      faults_to_come = faults_to_come.subspan(1);
    }
    ++products;
  }
};

}  // namespace

uint8_t run_with_faults(Workspace2048& workspace, std::span<const PlantedFault> faults) {
  products = 0;
  faults_to_come = faults;
  return PrivateOperation<Faulty, kHalf2048>::run(workspace);
}

uint64_t products_with_faults() { return products; }

const Kernel kPortableKernel = {"portable", &run_portable<kHalf2048>, &run_portable<kHalf3072>};

}  // namespace bellhop::crypto::lanes
