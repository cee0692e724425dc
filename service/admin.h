// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/task.h"
#include "service/core.h"
#include "service/http_exchange.h"

namespace bellhop::service {

class Server;

// The operators' listener: metrics, health, outcomes, API tokens, drain. On core 0. Who may do what: what comes over the
// unix socket may do all (its file mode, 0660, is the permission); what comes over TCP, which is loopback, may read
// metrics and health only, because every local user reaches it.
//
//   GET /metrics /livez /readyz /startupz
//   GET /v1/outcomes                            the ledger, summed over the cores
//   GET, POST /v1/tokens; DELETE /v1/tokens/ID  API tokens; a token's text is in the answer to POST and nowhere else
//   POST /v1/reload; GET /v1/config             see admin_reload.h
//   POST /v1/drain                              as SIGTERM; asked a second time, cuts short what is left
//
// Refusals are problem documents (RFC 9457) whose `detail` tells the operator what was wrong.
class AdminApi final : public HttpHandler {
 public:
  // `trusted`: the listener is the unix socket.
  AdminApi(Core& core, Server& server, bool trusted) : core_(core), server_(server), trusted_(trusted) {}
  Task<void> handle(HttpExchange& exchange) override;

 private:
  Task<void> read(HttpExchange& exchange, std::string_view path);
  Task<void> metrics(HttpExchange& exchange);
  Task<void> add_token(HttpExchange& exchange);
  Task<void> list_tokens(HttpExchange& exchange);
  Task<void> revoke_token(HttpExchange& exchange, std::string id);
  Task<void> drain(HttpExchange& exchange);

  Core& core_;
  Server& server_;
  const bool trusted_;
};

}  // namespace bellhop::service
