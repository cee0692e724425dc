// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "service/config.h"

namespace bellhop::service {

// One key whose value is another. Tenants and proxies are named by their id or name, apps by topic and environment, wherever
// they stand in the file: "tenant[example].app[com.example.mail, production].key_id"; upstreams by their place: "upstream[0]".
struct ConfigChange {
  std::string key;
  std::string before, after;  // as in the file; "" where the key has no value, or the tenant or app does not exist
  bool reload = false;        // a reload takes it; else it needs a restart
  std::string position_key;   // where the new file says it (ConfigPositions); what stands there may be a default
};

// What must change in a server that runs `before` so that it runs `after`; in the order of the reference.
std::vector<ConfigChange> config_changes(const Config& before, const Config& after);

// "limits.devices_per_user_max: 10 → 20 (reload)"
std::string to_text(const ConfigChange& change);

// Every file that the configuration names, in the order of the reference, without positions.
std::vector<ConfigFileReference> config_files(const Config& config);

// A complaint that begins with a named file's path, with the place that names the file in front: "FILE:LINE:COLUMN: key: ".
std::string at_key(const std::string& complaint, std::string_view config_file, const Config& config,
                   const ConfigPositions& positions);

// The configuration as a file that means the same: every key that has a value, whatever its default.
std::string config_toml(const Config& config);

// Where the new file gives the changed value, or else the table that it would stand in; 1:1 where there is neither.
ConfigPosition position_of(const ConfigChange& change, const ConfigPositions& positions);

}  // namespace bellhop::service
