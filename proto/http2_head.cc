// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_head.h"

#include "proto/target.h"

namespace bellhop::proto {
namespace {

constexpr size_t kFieldOverheadBytes = 32;  // of SETTINGS_MAX_HEADER_LIST_SIZE, RFC 9113 section 6.5.2
// Fields over the limit are read on, to answer 431, up to this multiple of it.
constexpr size_t kOverrunFactor = 2;

}  // namespace

size_t Http2Head::list_bytes_max(HeaderBlock::Limits limits) {
  return limits.bytes_max + limits.fields_max * kFieldOverheadBytes;
}

size_t Http2Head::decoded_bytes_max(HeaderBlock::Limits limits) { return list_bytes_max(limits) * kOverrunFactor; }

bool Http2Head::add(std::string_view name, std::string_view value) {
  decoded_bytes_ += name.size() + value.size() + kFieldOverheadBytes;
  if (decoded_bytes_ > decoded_bytes_max(limits_)) return false;
  if (decoded_bytes_ > list_bytes_max(limits_)) too_large_ = true;
  if (too_large_) return true;
  if (name == ":method") {
    method_.assign(value);
  } else if (name == ":scheme") {
    scheme_.assign(value);
  } else if (name == ":path") {
    request_.path.assign(value);
  } else if (name == ":authority") {
    request_.authority.assign(value);
  } else if (!name.starts_with(':') && !request_.headers.add(name, value)) {
    too_large_ = true;
  }
  return true;
}

std::optional<HttpError> Http2Head::judge(bool has_body) {
  if (too_large_) return HttpError::header_too_large;
  std::optional<HttpMethod> method = method_of_name(method_);
  if (!method) return HttpError::method_refused;
  request_.method = *method;
  if (auto error = judge_target()) return error;
  if (auto error = judge_host()) return error;
  request_.has_body = has_body;
  if (auto length = request_.headers.find("content-length")) {
    request_.content_length = parse_decimal(*length);
    if (!request_.content_length) return HttpError::bad_framing;
  }
  if (size_t expectations = request_.headers.count("expect"); expectations > 0) {
    if (expectations > 1 || !ascii_equal_ignoring_case(*request_.headers.find("expect"), "100-continue")) {
      return HttpError::bad_expectation;
    }
    request_.expects_continue = has_body;
  }
  return std::nullopt;
}

// As the request line of HTTP/1.1. Only "http" and "https" have paths of that form.
std::optional<HttpError> Http2Head::judge_target() {
  const std::string& path = request_.path;
  if (path.size() > kHttpTargetMax) return HttpError::target_too_long;
  if (scheme_ != "https" && scheme_ != "http") return HttpError::bad_target;
  if (path == "*" && request_.method == HttpMethod::options) return std::nullopt;
  if (!is_origin_form(path)) return HttpError::bad_target;
  return std::nullopt;
}

std::optional<HttpError> Http2Head::judge_host() {
  std::string& authority = request_.authority;
  if (request_.headers.count("host") > 1) return HttpError::bad_host;
  if (auto host = request_.headers.find("host")) {
    if (authority.empty()) authority.assign(*host);
    if (*host != authority) return HttpError::bad_host;
  }
  return is_host_value(authority) ? std::nullopt : std::optional(HttpError::bad_host);
}

}  // namespace bellhop::proto
