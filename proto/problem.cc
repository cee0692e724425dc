// SPDX-License-Identifier: Apache-2.0
#include "proto/problem.h"

#include "core/base/check.h"
#include "proto/json_writer.h"

namespace bellhop::proto {
namespace {

struct ProblemText {
  std::string_view name;
  std::string_view title;
};

ProblemText text_of(ProblemCode code) {
  switch (code) {
    case ProblemCode::malformed:
      return {"malformed", "The request is malformed."};
    case ProblemCode::unauthorized:
      return {"unauthorized", "The API token is missing or not valid."};
    case ProblemCode::forbidden:
      return {"forbidden", "The request is not permitted."};
    case ProblemCode::credentials:
      return {"credentials", "The credentials were not accepted."};
    case ProblemCode::exchange:
      return {"exchange", "The Exchange server did not give a usable answer."};
    case ProblemCode::throttled:
      return {"throttled", "There were too many requests."};
    case ProblemCode::blocked:
      return {"blocked", "The device is blocked."};
    case ProblemCode::unavailable:
      return {"unavailable", "The service is not available for the moment."};
    case ProblemCode::unknown:
      return {"unknown", "There is nothing here."};
    case ProblemCode::limit:
      return {"limit", "The request is larger than permitted."};
    case ProblemCode::overload:
      return {"overload", "The service is overloaded."};
    case ProblemCode::draining:
      return {"draining", "The service is shutting down."};
    case ProblemCode::not_ready:
      return {"not_ready", "The service is not ready yet."};
  }
  BH_CHECK(false);
}

}  // namespace

std::string_view problem_code_name(ProblemCode code) {
  return text_of(code).name;
}

std::string_view problem_title(ProblemCode code) {
  return text_of(code).title;
}

ProblemCode problem_code_for_status(uint16_t status) {
  switch (status) {
    case 404:
    case 405:
      return ProblemCode::unknown;
    case 413:
    case 414:
    case 431:
      return ProblemCode::limit;
    default:
      return ProblemCode::malformed;
  }
}

std::string problem_body(ProblemCode code, uint16_t status) {
  std::string body;
  std::string type = "urn:bellhop:problem:";
  type += problem_code_name(code);
  JsonWriter(body)
      .begin_object()
      .member("type", type)
      .member("title", problem_title(code))
      .member("status", status)
      .member("code", problem_code_name(code))
      .end_object();
  return body;
}

}  // namespace bellhop::proto
