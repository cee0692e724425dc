// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/task.h"
#include "service/core.h"
#include "service/http_exchange.h"

namespace bellhop::service {

class Server;

// The operators' listener: metrics, health, outcomes, API tokens, drain. On core 0. Who may do what: what comes over the
// unix socket may do all (its file mode is the permission); what comes over TCP, which is loopback, may read metrics and
// health only.
class AdminApi final : public HttpHandler {
 public:
  // `trusted`: the listener is the unix socket.
  AdminApi(Core& core, Server& server, bool trusted) : core_(core), server_(server), trusted_(trusted) {}
  Task<void> handle(HttpExchange& exchange) override;

 private:
  Core& core_;
  Server& server_;
  const bool trusted_;
};

}  // namespace bellhop::service
