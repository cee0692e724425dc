// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/commands/admin_client.h"

namespace bellhop::tools {

// API tokens of a running server, over its admin socket. Each returns an exit code.

// Prints id and token; `plain`: the token alone, for scripts. It is shown this once: the server keeps a keyed hash.
int add_token(const AdminTarget& target, const std::string& tenant, bool plain);
int list_tokens(const AdminTarget& target);
int revoke_token(const AdminTarget& target, const std::string& id);

}  // namespace bellhop::tools
