// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/base/error.h"
#include "core/task.h"
#include "tools/commands/admin_client.h"

namespace bellhop::tools {

// One request over the admin socket, for a flow that runs already; any status is an answer. The deadline is the
// caller's. The arguments outlive the task. Errors: os, http, canceled.
Task<Result<AdminAnswer>> exchange_admin(const std::string* socket, const AdminRequest* request);

}  // namespace bellhop::tools
