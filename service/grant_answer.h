// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "service/http1_client.h"
#include "service/token_client.h"

namespace bellhop::service {

// Why a grant did not succeed, with all that follows from it.
struct GrantTrouble {
  GrantFailure failure;
  GrantResult result = GrantResult::http_error;  // for the metric
  proto::TokenError token_error = proto::TokenError::none;
  uint16_t status = 0;       // of HTTP; 0 without an answer
  bool host_failed = false;  // counts against the host at its breaker
};

// What a whole answer says. Whether the token may be spent: after a 200 that cannot be read, and after 502 and 504,
// which come from something between us and the endpoint. Any other status is the endpoint's word that it gave nothing.
std::expected<Granted, GrantTrouble> judge_grant_answer(uint16_t status, std::string_view retry_after, Bytes body,
                                                        Duration wait_max);
// No whole answer came. `sent`: the request, or some of it, went out.
GrantTrouble judge_grant_failure(const Error& error, bool sent);

}  // namespace bellhop::service
