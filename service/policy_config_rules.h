// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "service/config.h"

namespace bellhop::service {

// The policy's part of check_config_rules().
void check_policy_rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                        std::vector<ConfigProblem>& problems);

// All whose devices may be known: the [[tenant]]s and those that routes of the gateway name; "default" where there is none.
std::vector<std::string> policy_tenants(const Config& config);
// The tenant of a source; empty where it names none and there are several.
std::string source_tenant(const Config& config, const PolicySourceConfig& source);

}  // namespace bellhop::service
