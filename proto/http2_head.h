// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proto/http2_server.h"
#include "proto/http_error.h"

namespace bellhop::proto {

// Gathers the fields of one request as HPACK gives them out, and judges them when they are complete. nghttp2 has seen
// to what makes a request malformed as HTTP/2 (RFC 9113 section 8): order and number of pseudo-header fields, names in
// lower case, no fields of a connection, `te` only "trailers", one well-formed content-length. Used by Http2Server only.
class Http2Head {
 public:
  explicit Http2Head(HeaderBlock::Limits limits) : limits_(limits) { request_.headers = HeaderBlock(limits); }
  Http2Head(const Http2Head&) = delete;
  Http2Head& operator=(const Http2Head&) = delete;

  // Names, values and 32 bytes for each field: the measure of SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 section 6.5.2).
  static size_t list_bytes_max(HeaderBlock::Limits limits);
  // What decoding one request's head may come to, in the same measure, before it is cut off.
  static size_t decoded_bytes_max(HeaderBlock::Limits limits);

  // False where the block is so far over the limits that decoding it on is not worth an answer.
  [[nodiscard]] bool add(std::string_view name, std::string_view value);
  // The block is complete. Nothing where the request is fine: take() it.
  std::optional<HttpError> judge(bool has_body);
  Http2ServerRequest take() { return std::move(request_); }

 private:
  std::optional<HttpError> judge_host();
  std::optional<HttpError> judge_target();

  HeaderBlock::Limits limits_;
  Http2ServerRequest request_;
  std::string method_, scheme_;
  size_t decoded_bytes_ = 0;
  bool too_large_ = false;
};

}  // namespace bellhop::proto
