// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/base/check.h"
#include "proto/http1.h"
#include "proto/target.h"

namespace bellhop::proto {
namespace {

constexpr uint32_t kStartLineMax = Http1RequestParser::kTargetMax + 32;  // method, spaces and version beside the target

std::optional<HttpMethod> served_method(uint8_t method) {
  switch (static_cast<llhttp_method_t>(method)) {
    case HTTP_GET:
      return HttpMethod::get;
    case HTTP_HEAD:
      return HttpMethod::head;
    case HTTP_POST:
      return HttpMethod::post;
    case HTTP_PUT:
      return HttpMethod::put;
    case HTTP_PATCH:
      return HttpMethod::patch;
    case HTTP_DELETE:
      return HttpMethod::delete_;
    case HTTP_OPTIONS:
      return HttpMethod::options;
    default:
      return std::nullopt;
  }
}

}  // namespace

Http1RequestParser::Http1RequestParser(HeaderBlock::Limits limits) : Http1Message(HTTP_REQUEST, &settings(), limits) {
  begin_message();
}

const llhttp_settings_t& Http1RequestParser::settings() {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t s;
    fill_common_settings(s);
    s.on_url = on_url;
    s.on_protocol = on_protocol;
    s.on_version_complete = on_version_complete;
    return s;
  }();
  return settings;
}

void Http1RequestParser::reset() {
  bool next = state_ == State::start || (state_ == State::complete && keep_alive_);
  bool failed = state_ == State::failed;
  forget_head();
  if (target_.capacity() > kIdleBytesMax) {
    target_.release();
  } else {
    target_.clear();
  }
  begin_message();
  version_seen_ = expects_continue_ = other_protocol_ = false;
  empty_line_started_ = empty_line_seen_ = false;
  if (!failed) state_ = next ? State::start : State::closed;
}

Result<Http1Step> Http1RequestParser::feed(Bytes input) {
  BH_CHECK(state_ != State::complete);
  if (state_ == State::failed) return fail_again();
  if (state_ == State::closed) {
    if (input.empty()) return Http1Step{};
    return fail_with(HttpError::unexpected_bytes);
  }
  if (state_ == State::body) return feed_body(input);

  size_t used = 0;
  if (state_ == State::start) {
    BH_TRY(used, skip_empty_line(input));
    if (used == input.size()) return Http1Step{.consumed = used};
    state_ = State::start_line;
  }
  if (state_ == State::start_line) {
    BH_TRY(size_t n, feed_start_line(input.subspan(used)));
    used += n;
    if (state_ == State::start_line) return Http1Step{.consumed = used};
  }
  BH_TRY(size_t n, feed_header_section(input.subspan(used)));
  used += n;
  if (!headers_complete_) return Http1Step{.consumed = used};
  if (auto error = check_head()) return fail_with(*error);
  state_ = State::body;
  return Http1Step{.consumed = used, .event = Http1Event::head};
}

// One empty line may stand before a request (RFC 9112 section 2.2); llhttp would take any number, bare LF included.
Result<size_t> Http1RequestParser::skip_empty_line(Bytes input) {
  size_t used = 0;
  while (used < input.size()) {
    uint8_t byte = input[used];
    if (empty_line_started_) {
      if (byte != '\n') return fail_with(HttpError::bad_start_line);
      empty_line_started_ = false;
      empty_line_seen_ = true;
    } else if (byte == '\r' && !empty_line_seen_) {
      empty_line_started_ = true;
    } else if (byte == '\r' || byte == '\n') {
      return fail_with(HttpError::bad_start_line);
    } else {
      break;
    }
    ++used;
  }
  return used;
}

Result<size_t> Http1RequestParser::feed_start_line(Bytes input) {
  BH_TRY(size_t used, feed_until(version_seen_, input, kStartLineMax, HttpError::target_too_long));
  if (!version_seen_) return used;
  if (auto error = check_start_line()) return fail_with(*error);
  state_ = State::head;
  head_bytes_ = 0;
  return used;
}

std::optional<HttpError> Http1RequestParser::check_start_line() {
  if (other_protocol_ || llhttp_.http_major != 1 || llhttp_.http_minor > 1) return HttpError::bad_version;
  minor_version_ = llhttp_.http_minor;
  auto method = served_method(llhttp_.method);
  if (!method) return HttpError::method_refused;
  method_ = *method;
  std::string_view target = target_.text();
  if (target.size() > kTargetMax) return HttpError::target_too_long;
  // llhttp takes several spaces for one.
  if (head_bytes_ != method_name(method_).size() + target.size() + std::string_view("  HTTP/1.1").size()) {
    return HttpError::bad_start_line;
  }
  if (target == "*" && method_ == HttpMethod::options) return std::nullopt;
  if (!is_origin_form(target)) return HttpError::bad_target;
  return std::nullopt;
}

std::optional<HttpError> Http1RequestParser::check_head() {
  if (!read_framing()) return HttpError::bad_framing;
  size_t hosts = headers_.count("host");
  if (hosts > 1 || (hosts == 0 && !http_1_0())) return HttpError::bad_host;
  if (hosts == 1 && !is_host_value(*headers_.find("host"))) return HttpError::bad_host;
  if (headers_.count("upgrade") > 0) return HttpError::upgrade_refused;
  if (size_t expectations = headers_.count("expect"); expectations > 0) {
    if (expectations > 1 || !ascii_equal_ignoring_case(*headers_.find("expect"), "100-continue")) {
      return HttpError::bad_expectation;
    }
    expects_continue_ = !http_1_0() && has_body();
  }
  keep_alive_ = connection_persists();
  return std::nullopt;
}

int Http1RequestParser::on_url(llhttp_t* parser, const char* at, size_t size) {
  static_cast<Http1RequestParser&>(self(parser)).target_.append(std::string_view(at, size));
  return 0;
}

int Http1RequestParser::on_protocol(llhttp_t* parser, const char* at, size_t size) {
  auto& request = static_cast<Http1RequestParser&>(self(parser));
  std::string_view part(at, size);
  if (part.find_first_not_of("HTP") != std::string_view::npos) request.other_protocol_ = true;
  return 0;
}

int Http1RequestParser::on_version_complete(llhttp_t* parser) {
  static_cast<Http1RequestParser&>(self(parser)).version_seen_ = true;
  return HPE_PAUSED;
}

}  // namespace bellhop::proto
