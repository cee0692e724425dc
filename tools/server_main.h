// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "service/config.h"

namespace bellhop::tools {

// Exit codes of all programs: 0 done, 1 it failed (the reason is on standard error), 2 wrong arguments.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// Once, first thing in main: texts of all error domains, the clock of TLS.
void prepare_process();

// Reads and checks a configuration and every file that it names. Prints each problem as file:line:column: message on
// standard error; nothing where there is one.
std::optional<service::Config> load_config(const std::string& path);

// Runs the server until it is drained. Returns an exit code.
int run_server(const std::string& config_path);

}  // namespace bellhop::tools
