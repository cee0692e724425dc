// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "proto/http.h"

namespace bellhop::service {

// One thing that a handler answers: what docs/openapi.json must describe, and a test compares. Made from the tables that
// the handlers dispatch from, so that there is no second list. `path` is written as OpenAPI does: "/v1/tokens/{id}".
struct RouteInfo {
  proto::HttpMethod method = proto::HttpMethod::get;
  std::string path;
  friend auto operator<=>(const RouteInfo&, const RouteInfo&) = default;
};

}  // namespace bellhop::service
