// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "service/config.h"

namespace bellhop::service {

// How many connections one core accepts at most, those included that are accepted to be closed: the size of its ring's table. What
// the server opens itself, to Exchange and APNs, is no part of that: plain descriptors of the process.
uint32_t accepted_connections_max(const Config& config, unsigned cores);

}  // namespace bellhop::service
