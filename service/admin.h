// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/task.h"
#include "service/core.h"
#include "service/http_exchange.h"
#include "service/routes.h"

namespace bellhop::service {

class Server;

// The operators' listener: metrics, health, status, the ledger, users, devices, subscriptions, API tokens, reload,
// drain. On core 0. Who may do what: what comes over the unix socket may do all (its file mode, 0660, is the permission); what
// comes over TCP, which is loopback, may read metrics, health and the description of this interface only, because every
// local user reaches it. What there is stands in one table (admin.cc); docs/openapi.json describes it.
//
// Refusals are problem documents (RFC 9457) whose `detail` tells the operator what was wrong.
class AdminApi final : public HttpHandler {
 public:
  // `trusted`: the listener is the unix socket.
  AdminApi(Core& core, Server& server, bool trusted) : core_(core), server_(server), trusted_(trusted) {}
  Task<void> handle(HttpExchange& exchange) override;
  // All of them; GET stands for HEAD too.
  static std::vector<RouteInfo> routes();

 private:
  Core& core_;
  Server& server_;
  const bool trusted_;
};

}  // namespace bellhop::service
