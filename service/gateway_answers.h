// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "core/task.h"
#include "proto/gateway_target.h"
#include "service/http_exchange.h"
#include "service/outcome.h"

namespace bellhop::service {

// Why a request does not pass.
struct GatewayRefusal {
  GatewayOutcome outcome = GatewayOutcome::refused_request;
  uint16_t status = 400;  // 0: there is nobody to be told
  Error error;            // for the log; Domain::none: the outcome says all
  uint32_t retry_after_s = 0;  // with 503; 0: as the configuration says
};
// Nothing: the request goes on.
using Refused = std::optional<GatewayRefusal>;

// With the status that belongs to the outcome.
GatewayRefusal refusal(GatewayOutcome outcome, Error error = {});
// Of what the parsers of proto/ found, or of a body that could not be read from its client.
GatewayRefusal refusal_of(const Error& error);

// The answer to a refused request. `endpoint` is nothing before it is known. ActiveSync gets bare statuses: its clients read
// no body. EWS gets a SOAP fault where its operation is not allowed, all others a line of text, which is one for each outcome.
struct GatewayAnswer {
  const GatewayRefusal& refusal;
  std::optional<proto::GatewayEndpoint> endpoint;
  std::string_view realm;  // of the challenge with a 401: the host
  uint32_t retry_after_s = 30;
};
Task<Status> respond(HttpExchange& exchange, GatewayAnswer answer);

}  // namespace bellhop::service
