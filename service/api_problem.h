// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "core/base/time.h"
#include "service/outcome.h"

namespace bellhop::service {

// Why a device's request is refused, as the device is told (RFC 9457). `outcome` is the member `code`. `detail` is a
// constant sentence of ours for whoever writes a client; what could help an attacker (why credentials were not
// accepted, what the store holds) never has one.
struct ApiProblem {
  ApiOutcome outcome = ApiOutcome::malformed;
  uint16_t status = 422;
  uint32_t retry_after_s = 0;      // 0: no Retry-After
  std::string detail = {};         // may be empty
  std::string exchange_code = {};  // member `responseCode`: letters and digits, as Exchange named its refusal
  std::string_view allow = {};     // with 405: the method of the path
  bool close = false;              // the connection ends with the answer
};

template <class T>
using ApiResult = std::expected<T, ApiProblem>;
using ApiStatus = std::expected<void, ApiProblem>;

std::unexpected<ApiProblem> refuse_malformed(std::string_view detail);                    // 422
std::unexpected<ApiProblem> refuse_unauthorized();                                        // 401
std::unexpected<ApiProblem> refuse_forbidden(std::string_view detail = {});               // 403
std::unexpected<ApiProblem> refuse_credentials();                                         // 403
std::unexpected<ApiProblem> refuse_blocked();                                             // 403
std::unexpected<ApiProblem> refuse_exchange(std::string_view response_code);              // 502
std::unexpected<ApiProblem> refuse_throttled(Duration wait);                              // 429
std::unexpected<ApiProblem> refuse_unavailable(Duration wait = std::chrono::seconds(5));  // 503

// {"type":"urn:bellhop:problem:CODE","title":…,"status":…,"code":…,"detail":…,"responseCode":…}
std::string problem_document(const ApiProblem& problem);

}  // namespace bellhop::service

// "Return the problem, else go on", for ApiResult and ApiStatus inside a coroutine.
#define BH_CO_STEP_IMPL(temporary, ...)                        \
  if (auto temporary = (__VA_ARGS__); !temporary) [[unlikely]] \
  co_return std::unexpected(std::move(temporary.error()))
#define BH_CO_STEP(...) BH_CO_STEP_IMPL(BH_CONCAT(bh_step_, __COUNTER__), __VA_ARGS__)
