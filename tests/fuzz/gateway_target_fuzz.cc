// SPDX-License-Identifier: Apache-2.0
// The targets of requests at the gateway. What passes is one of two paths, and reads the same again in its rebuilt
// form.
#include "proto/gateway_error.h"
#include "proto/gateway_target.h"
#include "proto/target.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

BELLHOP_FUZZ_TARGET(input) {
  const std::string_view text = as_text(input);
  for (HttpMethod method : {HttpMethod::post, HttpMethod::options, HttpMethod::get}) {
    const auto target = parse_gateway_target(method, text);
    if (!target) {
      BH_CHECK(target.error().domain == Domain::gateway);
      BH_CHECK(gateway_error_status(static_cast<GatewayError>(target.error().code)) >= 400);
      continue;
    }
    BH_CHECK(method != HttpMethod::get);
    const std::string rebuilt = target->rebuilt();
    BH_CHECK(is_origin_form(rebuilt));
    BH_CHECK(ascii_equal_ignoring_case(split_target(text).path, canonical_path(target->endpoint)));
    BH_CHECK(split_target(rebuilt).path == canonical_path(target->endpoint));
    BH_CHECK(target->endpoint == GatewayEndpoint::activesync || rebuilt == canonical_path(GatewayEndpoint::ews));
    const auto again = parse_gateway_target(method, rebuilt);
    BH_CHECK(again && again->endpoint == target->endpoint && again->query == target->query);
  }
}
