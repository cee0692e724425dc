// SPDX-License-Identifier: Apache-2.0
#include "service/api_problem.h"

#include <algorithm>

#include "core/base/check.h"
#include "proto/json_writer.h"
#include "proto/problem.h"

namespace bellhop::service {
namespace {

constexpr size_t kResponseCodeBytesMax = 64;

uint32_t whole_seconds(Duration wait) {
  int64_t seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(seconds, 1, 86'400));
}

proto::ProblemCode problem_code(ApiOutcome outcome) {
  switch (outcome) {
    case ApiOutcome::ok:
      break;  // no problem
    case ApiOutcome::malformed:
      return proto::ProblemCode::malformed;
    case ApiOutcome::unauthorized:
      return proto::ProblemCode::unauthorized;
    case ApiOutcome::forbidden:
      return proto::ProblemCode::forbidden;
    case ApiOutcome::credentials:
      return proto::ProblemCode::credentials;
    case ApiOutcome::exchange:
      return proto::ProblemCode::exchange;
    case ApiOutcome::throttled:
      return proto::ProblemCode::throttled;
    case ApiOutcome::blocked:
      return proto::ProblemCode::blocked;
    case ApiOutcome::unavailable:
      return proto::ProblemCode::unavailable;
  }
  check_failed("an outcome that is a problem", __FILE__, __LINE__);
}

}  // namespace

std::unexpected<ApiProblem> refuse_malformed(std::string_view detail) {
  return std::unexpected(ApiProblem{.outcome = ApiOutcome::malformed, .status = 422, .detail = std::string(detail)});
}
std::unexpected<ApiProblem> refuse_unauthorized() {
  return std::unexpected(ApiProblem{.outcome = ApiOutcome::unauthorized, .status = 401});
}
std::unexpected<ApiProblem> refuse_forbidden(std::string_view detail) {
  return std::unexpected(ApiProblem{.outcome = ApiOutcome::forbidden, .status = 403, .detail = std::string(detail)});
}
std::unexpected<ApiProblem> refuse_credentials() {
  return std::unexpected(ApiProblem{.outcome = ApiOutcome::credentials, .status = 403});
}
std::unexpected<ApiProblem> refuse_blocked() {
  return std::unexpected(ApiProblem{.outcome = ApiOutcome::blocked, .status = 403});
}
std::unexpected<ApiProblem> refuse_exchange(std::string_view response_code) {
  ApiProblem problem{.outcome = ApiOutcome::exchange, .status = 502};
  // Exchange is not ours: only what can be a response code goes on.
  bool plain = response_code.size() <= kResponseCodeBytesMax && std::ranges::all_of(response_code, [](char c) {
                 return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
               });
  if (plain) problem.exchange_code = response_code;
  return std::unexpected(std::move(problem));
}
std::unexpected<ApiProblem> refuse_throttled(Duration wait) {
  return std::unexpected(
      ApiProblem{.outcome = ApiOutcome::throttled, .status = 429, .retry_after_s = whole_seconds(wait)});
}
std::unexpected<ApiProblem> refuse_unavailable(Duration wait) {
  return std::unexpected(
      ApiProblem{.outcome = ApiOutcome::unavailable, .status = 503, .retry_after_s = whole_seconds(wait)});
}

std::string problem_document(const ApiProblem& problem) {
  proto::ProblemCode code = problem_code(problem.outcome);
  std::string text;
  proto::JsonWriter json(text);
  json.begin_object();
  json.member("type", "urn:bellhop:problem:" + std::string(proto::problem_code_name(code)));
  json.member("title", proto::problem_title(code));
  json.member("status", problem.status);
  json.member("code", name_of(problem.outcome));
  if (!problem.detail.empty()) json.member("detail", problem.detail);
  if (!problem.exchange_code.empty()) json.member("responseCode", problem.exchange_code);
  json.end_object();
  return text;
}

}  // namespace bellhop::service
