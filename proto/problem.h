// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bellhop::proto {

// Why a request was refused, as a client may see it; the member `code` of a problem (RFC 9457). A closed list: the
// refusals of the device API and of the callback listener.
enum class ProblemCode : uint8_t {
  malformed,
  unauthorized,
  forbidden,
  credentials,
  exchange,
  throttled,
  blocked,
  unavailable,
  unknown,
  limit,
  overload,
  draining,
  not_ready,
};

constexpr std::string_view kProblemMediaType = "application/problem+json";

std::string_view problem_code_name(ProblemCode code);
// One constant sentence per code: nothing in it depends on the request.
std::string_view problem_title(ProblemCode code);
// The code for a status that HTTP parsing or routing gave: limit for 413, 414, 431; unknown for 404 and 405; else
// malformed.
ProblemCode problem_code_for_status(uint16_t status);

// {"type":"urn:bellhop:problem:CODE","title":…,"status":…,"code":…}
std::string problem_body(ProblemCode code, uint16_t status);

}  // namespace bellhop::proto
