// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace bellhop::tools {

struct ImportSegOptions {
  std::string file;
  std::vector<std::string> hosts;
  std::string ca_file;
  std::vector<std::string> spki_pins;
};

// `bellhop import seg`: prints the tables on standard output, and on standard error a line FILE:LINE: … for each setting
// that did not become one. Returns an exit code: 1 where a setting was refused, and then nothing is on standard output.
int import_seg_settings(const ImportSegOptions& options);

}  // namespace bellhop::tools
