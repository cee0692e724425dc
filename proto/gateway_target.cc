// SPDX-License-Identifier: Apache-2.0
#include "proto/gateway_target.h"

#include <algorithm>
#include <optional>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/gateway_error.h"
#include "proto/target.h"

namespace bellhop::proto {
namespace {

std::optional<GatewayEndpoint> endpoint_of(std::string_view path) {
  for (GatewayEndpoint endpoint : {GatewayEndpoint::ews, GatewayEndpoint::activesync}) {
    if (ascii_equal_ignoring_case(path, canonical_path(endpoint))) return endpoint;
  }
  return std::nullopt;
}

// A path that some server reads as another one: nobody writes such a path by mistake.
bool has_second_reading(std::string_view path) {
  if (path.find_first_of("%;\\") != std::string_view::npos) return true;
  if (path.find("//") != std::string_view::npos) return true;
  for (size_t at = 1; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, end - at);
    if (segment == "." || segment == "..") return true;
    at = end + 1;
  }
  return false;
}

bool serves(GatewayEndpoint endpoint, HttpMethod method) {
  return method == HttpMethod::post || (endpoint == GatewayEndpoint::activesync && method == HttpMethod::options);
}

}  // namespace

std::string_view canonical_path(GatewayEndpoint endpoint) {
  switch (endpoint) {
    case GatewayEndpoint::ews: return "/EWS/Exchange.asmx";
    case GatewayEndpoint::activesync: return "/Microsoft-Server-ActiveSync";
  }
  BH_CHECK(false);
}

std::string_view endpoint_name(GatewayEndpoint endpoint) {
  return endpoint == GatewayEndpoint::ews ? "ews" : "activesync";
}

std::string_view endpoint_methods(GatewayEndpoint endpoint) {
  return endpoint == GatewayEndpoint::ews ? "POST" : "POST, OPTIONS";
}

std::string GatewayTarget::rebuilt() const {
  std::string target(canonical_path(endpoint));
  if (!query.empty()) {
    target += '?';
    target += query;
  }
  return target;
}

Result<GatewayTarget> parse_gateway_target(HttpMethod method, std::string_view target) {
  if (target.size() > kHttpTargetMax || !is_origin_form(target)) return fail(gateway_error(GatewayError::malformed));
  const TargetParts parts = split_target(target);
  const auto endpoint = endpoint_of(parts.path);
  if (!endpoint) {
    return fail(gateway_error(has_second_reading(parts.path) ? GatewayError::malformed : GatewayError::not_found));
  }
  // The detail names the endpoint, for the field Allow.
  if (!serves(*endpoint, method)) return fail(gateway_error(GatewayError::method, static_cast<uint32_t>(*endpoint)));
  const std::string_view query = parts.query.value_or("");
  if (*endpoint == GatewayEndpoint::ews && !query.empty()) return fail(gateway_error(GatewayError::query_refused));
  return GatewayTarget{.endpoint = *endpoint, .query = query};
}

}  // namespace bellhop::proto
