// SPDX-License-Identifier: Apache-2.0
#include "core/base/check.h"
#include "proto/http1.h"

namespace bellhop::proto {

Http1ResponseParser::Http1ResponseParser(HeaderBlock::Limits limits)
    : Http1Message(HTTP_RESPONSE, &settings(), limits) {
  state_ = State::closed;
}

const llhttp_settings_t& Http1ResponseParser::settings() {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t s;
    fill_common_settings(s);
    return s;
  }();
  return settings;
}

void Http1ResponseParser::start(bool head_request, uint64_t body_max) {
  if (state_ == State::failed) return;
  BH_CHECK(!in_message());
  forget_head();
  begin_message();
  state_ = State::start;
  head_request_ = head_request;
  body_max_ = body_max;
  interim_count_ = 0;
  status_ = 0;
}

Result<Http1Step> Http1ResponseParser::feed(Bytes input) {
  if (state_ == State::failed) return fail_again();
  if (state_ == State::closed || state_ == State::complete) {
    if (input.empty()) return Http1Step{};
    return fail_with(HttpError::unexpected_bytes);
  }
  if (state_ == State::body) return feed_body(input);

  for (size_t used = 0;;) {
    if (used == input.size()) return Http1Step{.consumed = used};
    if (state_ == State::start) {
      if (input[used] != 'H') return fail_with(HttpError::bad_start_line);  // llhttp would skip empty lines
      state_ = State::head;
    }
    BH_TRY(size_t n, feed_header_section(input.subspan(used)));
    used += n;
    if (!headers_complete_) return Http1Step{.consumed = used};
    if (auto error = check_head()) return fail_with(*error);
    if (status_ >= 200) {
      state_ = State::body;
      return Http1Step{.consumed = used, .event = Http1Event::head};
    }
    uint64_t body_max = body_max_;
    forget_head();
    begin_message();
    body_max_ = body_max;
    state_ = State::start;
  }
}

std::optional<HttpError> Http1ResponseParser::check_head() {
  if (llhttp_.http_major != 1 || llhttp_.http_minor > 1) return HttpError::bad_version;
  minor_version_ = llhttp_.http_minor;
  status_ = llhttp_.status_code;
  if (status_ < 100 || status_ > 599) return HttpError::bad_status;
  if (status_ == 101) return HttpError::switching_protocols;
  if (!read_framing()) return HttpError::bad_framing;
  if (status_ < 200) {
    if (has_body()) return HttpError::bad_framing;  // RFC 9110 section 15.2: an interim response has no content
    if (++interim_count_ > kInterimMax) return HttpError::too_many_interim;
    return std::nullopt;
  }
  keep_alive_ = connection_persists();
  if (head_request_ || status_ == 204 || status_ == 304) {
    if (status_ == 204 && has_body()) keep_alive_ = false;  // nobody knows whether the announced bytes come
    body_kind_ = BodyKind::none;
    body_left_ = 0;
  } else if (body_kind_ == BodyKind::none && headers_.count("content-length") == 0) {
    body_kind_ = BodyKind::until_close;
    keep_alive_ = false;
  }
  return std::nullopt;
}

Result<Http1Step> Http1ResponseParser::finish() {
  switch (state_) {
    case State::failed:
      return fail_again();
    case State::closed:
    case State::complete:
      return Http1Step{};
    case State::body:
      if (body_kind_ == BodyKind::chunked || body_left_ > 0) break;
      state_ = State::complete;
      keep_alive_ = false;
      return Http1Step{.event = Http1Event::complete};
    case State::start:
    case State::start_line:
    case State::head:
      break;
  }
  return fail_with(HttpError::truncated);
}

}  // namespace bellhop::proto
