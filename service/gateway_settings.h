// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

namespace bellhop::service {

class GatewayRoutes;
struct GatewayKeys;

// What a reload replaces at the gateway, all of it at once. Shared by all cores.
struct GatewaySettings {
  std::shared_ptr<const GatewayRoutes> routes;
  std::shared_ptr<const GatewayKeys> keys;
};

}  // namespace bellhop::service
