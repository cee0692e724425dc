// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "service/config.h"

namespace bellhop::service {

// Appends a problem for each contradiction between keys: sums and orders of limits, things named twice.
void check_config_rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                        std::vector<ConfigProblem>& problems);

}  // namespace bellhop::service
