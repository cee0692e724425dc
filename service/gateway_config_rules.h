// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "service/config.h"

namespace bellhop::service {

// The gateway's part of check_config_rules().
void check_gateway_rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                         std::vector<ConfigProblem>& problems);

// Whose data counts for a route: the one that it names, or the only one there is.
std::string_view tenant_of(const Config& config, const GatewayRouteConfig& route);

}  // namespace bellhop::service
