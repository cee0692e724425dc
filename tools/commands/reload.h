// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/commands/admin_client.h"

namespace bellhop::tools {

// `bellhop check --diff`: something has changed that needs a restart of the server.
inline constexpr int kExitRestart = 4;

// Asks a running server to read its configuration again, and prints what changed. Returns an exit code: 1 where the
// server changed nothing because something is wrong; the faults then stand on standard error.
int reload_server(const AdminTarget& target);

struct DiffOptions {
  std::string file;     // the new configuration
  std::string old_one;  // compared with this; empty: with what the server runs
  std::string socket;   // of that server; empty: as `file` names it
};
// Checks `file` as check_config does, and prints each key that is another, old → new, and whether a reload takes it.
// Returns an exit code: 0 a reload is enough, or nothing differs; kExitRestart.
int diff_config(const DiffOptions& options);

}  // namespace bellhop::tools
