// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "core/base/time.h"
#include "proto/ews_response.h"
#include "service/ews_client.h"
#include "service/http1_client.h"
#include "service/metrics.h"

namespace bellhop::service {

// What Exchange's "wait" means where it does not say for how long.
inline constexpr Duration kEwsBackOffDefault = 1s;
inline constexpr size_t kEwsCodeTextBytesMax = 64;

// Why a request did not succeed, with all that follows from it.
struct EwsTrouble {
  EwsFailure failure;
  EwsResult result = EwsResult::http_error;  // for the metric
  uint16_t status = 0;                       // of HTTP; 0 without an answer
  bool host_failed = false;                  // counts against the host at its breaker
  bool may_retry = false;                    // once more, at once, may help
  bool back_off = false;                     // nothing to this host before failure.retry_after is over
};

// What was asked for: decides which answer is one.
enum class EwsOperation : uint8_t { subscribe, get_item, find_item, get_folder };
std::string_view ews_operation_name(EwsOperation operation);

// One answer as it came. `answer` is null where the body is no EWS message, `parse_error` then says why.
struct EwsReceived {
  uint16_t status = 0;
  std::string_view retry_after;  // header field; empty: absent
  const proto::EwsAnswer* answer = nullptr;
  Error parse_error;
};

// A gateway of ours on the way (ews.via) has refused the request: 403 with the fault ErrorAccessDenied. Exchange's own 403 has
// no SOAP.
bool is_gateway_denial(uint16_t status, std::string_view body);
EwsTrouble denied_by_gateway();

// True where the body of an answer with this status may be an EWS message: 200, 500, 503.
bool may_be_ews_answer(uint16_t status);

// Nothing where the answer is good: the right message, every part successful. Of GetItem's parts, those may be missing
// that Exchange says are gone, and, beside good ones, those that it cannot show. A refusal, a redirect, a wish to wait (in any of Exchange's forms: a fault, a
// response code inside a 200, a plain 503) and nonsense each have their trouble. `wait_max` cuts what Exchange asks for.
std::optional<EwsTrouble> judge_ews_answer(EwsOperation operation, const EwsReceived& received, Duration wait_max);

// The request brought no answer. `with_certificate`: we had one to show; that the server does not take it is then a
// refusal of these credentials.
EwsTrouble judge_http_failure(const Http1Failure& failure, bool with_certificate = false);

}  // namespace bellhop::service
