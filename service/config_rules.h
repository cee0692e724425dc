// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "service/config.h"

namespace bellhop::service {

// Where each table and key of the file stands, by its path with indexes: "tenant[0].app[1].topic", "store". Keys that
// the file leaves out are absent.
using ConfigPositions = std::map<std::string, ConfigPosition, std::less<>>;

// Appends a problem for each contradiction between keys: sums and orders of limits, things named twice.
void check_config_rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                        std::vector<ConfigProblem>& problems);

}  // namespace bellhop::service
