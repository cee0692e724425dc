// SPDX-License-Identifier: Apache-2.0
#include "proto/http_error.h"

namespace bellhop::proto {
namespace {

std::string phrase(HttpError code) {
  switch (code) {
    case HttpError::bad_start_line:
      return "bad start line";
    case HttpError::bad_version:
      return "the version is not HTTP/1.0 or HTTP/1.1";
    case HttpError::bad_header:
      return "bad header field line";
    case HttpError::bad_framing:
      return "content length and transfer encoding do not give one clear length";
    case HttpError::bad_chunk:
      return "bad chunked coding";
    case HttpError::header_too_large:
      return "header section larger than permitted";
    case HttpError::body_too_large:
      return "body larger than permitted";
    case HttpError::unexpected_bytes:
      return "bytes where no message was expected";
    case HttpError::truncated:
      return "the stream ended inside a message";
    case HttpError::target_too_long:
      return "request target longer than permitted";
    case HttpError::bad_target:
      return "bad request target";
    case HttpError::bad_host:
      return "host field missing, repeated or bad";
    case HttpError::bad_expectation:
      return "unknown expectation";
    case HttpError::method_refused:
      return "method not served";
    case HttpError::upgrade_refused:
      return "protocol upgrade not served";
    case HttpError::bad_status:
      return "status outside 100 to 599";
    case HttpError::too_many_interim:
      return "more interim responses than permitted";
    case HttpError::switching_protocols:
      return "the server switched protocols unasked";
    case HttpError::content_encoded:
      return "the body has a content encoding that the request did not take";
    case HttpError::bad_coding:
      return "the body is no good gzip";
    case HttpError::unwritable:
      return "a message head cannot be written as given";
    case HttpError::bad_query:
      return "bad query";
    case HttpError::proxy_header_missing:
      return "a PROXY protocol header should have come first";
    case HttpError::proxy_header_version1:
      return "a PROXY protocol header of version 1 came, where version 2 is taken";
    case HttpError::proxy_header_malformed:
      return "bad PROXY protocol header";
    case HttpError::proxy_header_too_large:
      return "PROXY protocol header larger than permitted";
    case HttpError::proxy_header_checksum:
      return "the checksum of the PROXY protocol header does not fit";
  }
  return "code " + std::to_string(static_cast<int>(code));
}

}  // namespace

uint16_t http_error_status(const Error& error) {
  if (error.domain != Domain::http) return 400;
  switch (static_cast<HttpError>(error.code)) {
    case HttpError::bad_version:
      return 505;
    case HttpError::header_too_large:
      return 431;
    case HttpError::body_too_large:
      return 413;
    case HttpError::target_too_long:
      return 414;
    case HttpError::bad_expectation:
      return 417;
    case HttpError::method_refused:
    case HttpError::upgrade_refused:
      return 501;
    default:
      return 400;
  }
}

std::string http_error_text(uint16_t code, uint32_t detail) {
  std::string text = phrase(static_cast<HttpError>(code));
  bool proxy_header = code >= static_cast<uint16_t>(HttpError::proxy_header_missing);
  if (detail != 0) text += (proxy_header ? " (byte " : " (parser code ") + std::to_string(detail) + ")";
  return text;
}

}  // namespace bellhop::proto
