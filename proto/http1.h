// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/http1_message.h"
#include "proto/http1_writer.h"

namespace bellhop::proto {

// Reads the requests of one HTTP/1.1 connection, server side. Strict: what two readers could understand in two ways is
// an error (RFC 9112 section 11.2), and so is what we never serve. Owned by the connection driver, on its core; does
// not move. Target and fields lie in memory that is wiped by reset() and at the end.
//
//   for (;;) {
//     step = parser.feed(input);  // error: answer http_error_status() with Connection: close, then close
//     drop step.consumed bytes of input;
//     need_more: read from the socket
//     head:      route; parser.set_body_max(); send 100 Continue where expects_continue()
//     body:      use step.body
//     complete:  answer, parser.reset()
//   }
class Http1RequestParser final : public Http1Message {
 public:
  static constexpr size_t kTargetMax = kHttpTargetMax;

  explicit Http1RequestParser(HeaderBlock::Limits limits = {});

  // Consumes at most up to the next event. May be called with nothing to fetch a pending event. Bytes after a request
  // that ended the connection are unexpected_bytes. Not to be called between complete and reset().
  Result<Http1Step> feed(Bytes input);
  // Wipes the request and makes ready for the next one of the connection. Inside a message, or after one that ended
  // the connection, it only wipes: no further request is read. An error stays.
  void reset();

  // Valid from head to reset().
  HttpMethod method() const { return method_; }
  // Origin form, or "*" with OPTIONS (RFC 9112 section 3.2). Holds secrets: never log it.
  std::string_view target() const { return target_.text(); }
  // The peer waits for "100 Continue" before it sends the body (RFC 9110 section 10.1.1).
  bool expects_continue() const { return expects_continue_; }

 private:
  static const llhttp_settings_t& settings();
  static int on_url(llhttp_t* parser, const char* at, size_t size);
  static int on_version_complete(llhttp_t* parser);
  static int on_protocol(llhttp_t* parser, const char* at, size_t size);

  Result<size_t> skip_empty_line(Bytes input);
  Result<size_t> feed_start_line(Bytes input);
  std::optional<HttpError> check_start_line();
  std::optional<HttpError> check_head();

  WipingBuffer target_;
  HttpMethod method_ = HttpMethod::get;
  bool version_seen_ = false;
  bool expects_continue_ = false;
  bool empty_line_started_ = false;  // CR of the one empty line that may stand before a request
  bool empty_line_seen_ = false;
  bool other_protocol_ = false;  // llhttp knows RTSP and ICE too
};

// Reads the responses of one HTTP/1.1 connection, client side, with the limits of a hostile peer. Interim (1xx)
// responses are counted and dropped. Owned by the connection, on its core; does not move.
class Http1ResponseParser final : public Http1Message {
 public:
  static constexpr uint32_t kInterimMax = 4;  // before each response

  explicit Http1ResponseParser(HeaderBlock::Limits limits = {});

  // Call when a request was sent, before the first feed(). `head_request`: the response has no body. Wipes the last
  // response. Must not be called while a response is being read. After an error the parser stays useless.
  void start(bool head_request, uint64_t body_max);
  // As Http1RequestParser::feed(). Bytes without a request are unexpected_bytes: the connection is of no more use.
  Result<Http1Step> feed(Bytes input);
  // The peer closed its side: complete where the body ends so, need_more where no response was expected, else
  // truncated.
  Result<Http1Step> finish();

  // Valid from head to the next start().
  uint16_t status() const { return status_; }
  uint32_t interim_count() const { return interim_count_; }

 private:
  static const llhttp_settings_t& settings();

  std::optional<HttpError> check_head();

  bool head_request_ = false;
  uint16_t status_ = 0;
  uint32_t interim_count_ = 0;
};

}  // namespace bellhop::proto
