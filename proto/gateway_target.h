// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "proto/http.h"

namespace bellhop::proto {

// The two endpoints of Exchange that the gateway serves.
enum class GatewayEndpoint : uint8_t { ews, activesync };

// The one spelling that is forwarded: "/EWS/Exchange.asmx", "/Microsoft-Server-ActiveSync".
std::string_view canonical_path(GatewayEndpoint endpoint);
// For logs and metrics: "ews", "activesync".
std::string_view endpoint_name(GatewayEndpoint endpoint);
// For the field Allow of a 405: "POST", "POST, OPTIONS".
std::string_view endpoint_methods(GatewayEndpoint endpoint);

// A target that passes. What is forwarded is rebuilt from it, never the text that the client sent.
struct GatewayTarget {
  GatewayEndpoint endpoint = GatewayEndpoint::ews;
  std::string_view query;  // a view into the target, as it was sent and checked; empty: none, and none is forwarded

  std::string rebuilt() const;
};

// Decides what a request asks for, once. The path is one of the two, in any letter case, letter for letter: IIS ignores
// case, and would also decode escapes, join slashes, resolve dot segments and turn backslashes, so none of these passes.
// EWS takes no query. `target` in origin form, at most kHttpTargetMax.
// Errors: not_found; malformed; method (detail: the GatewayEndpoint, for endpoint_methods()); query_refused.
Result<GatewayTarget> parse_gateway_target(HttpMethod method, std::string_view target);

}  // namespace bellhop::proto
