// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/task.h"
#include "service/core.h"
#include "service/http_exchange.h"

namespace bellhop::service {

class Server;

// POST /v1/reload: 200 with what changed; 409 where a changed key needs a restart, 422 where anything is wrong: then a
// problem document with every fault in `problems`, and nothing has changed. 503 while the server drains.
Task<void> answer_reload(HttpExchange& exchange, Core& core, Server& server);

// GET /v1/config: the running configuration in TOML, every key with its value. It holds no secret: keys are named by file.
Task<void> answer_config(HttpExchange& exchange, Core& core);

}  // namespace bellhop::service
