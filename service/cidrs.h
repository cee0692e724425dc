// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "proto/address_policy.h"
#include "service/config.h"

namespace bellhop::service {

// A block of the configuration as what looks at addresses.
inline proto::Cidr to_proto(const Cidr& from) {
  proto::Cidr to;
  to.base.v6 = from.v6;
  std::copy_n(from.address, 16, to.base.bytes.begin());
  to.prefix_bits = from.bits;
  return to;
}

inline proto::AddressBlocks to_blocks(const std::vector<Cidr>& from) {
  proto::AddressBlocks to;
  for (const Cidr& block : from) to.add(to_proto(block));
  return to;
}

}  // namespace bellhop::service
