// SPDX-License-Identifier: Apache-2.0
#include "proto/http2.h"

namespace bellhop::proto {

std::string_view http2_code_name(Http2Code code) {
  switch (code) {
    case Http2Code::no_error:
      return "NO_ERROR";
    case Http2Code::protocol_error:
      return "PROTOCOL_ERROR";
    case Http2Code::internal_error:
      return "INTERNAL_ERROR";
    case Http2Code::flow_control_error:
      return "FLOW_CONTROL_ERROR";
    case Http2Code::settings_timeout:
      return "SETTINGS_TIMEOUT";
    case Http2Code::stream_closed:
      return "STREAM_CLOSED";
    case Http2Code::frame_size_error:
      return "FRAME_SIZE_ERROR";
    case Http2Code::refused_stream:
      return "REFUSED_STREAM";
    case Http2Code::cancel:
      return "CANCEL";
    case Http2Code::compression_error:
      return "COMPRESSION_ERROR";
    case Http2Code::connect_error:
      return "CONNECT_ERROR";
    case Http2Code::enhance_your_calm:
      return "ENHANCE_YOUR_CALM";
    case Http2Code::inadequate_security:
      return "INADEQUATE_SECURITY";
    case Http2Code::http_1_1_required:
      return "HTTP_1_1_REQUIRED";
  }
  return "unknown";
}

bool connection_fatal(Http2Error code) {
  switch (code) {
    case Http2Error::violation:
    case Http2Error::flooded:
    case Http2Error::closed:
    case Http2Error::library:
      return true;
    case Http2Error::no_stream:
    case Http2Error::request_size:
    case Http2Error::unknown_stream:
      return false;
  }
  return true;
}

namespace {

std::string http2_error_text(uint16_t code, uint32_t detail) {
  switch (static_cast<Http2Error>(code)) {
    case Http2Error::violation:
      if (detail == 0) return "the peer does not speak HTTP/2";
      return "the peer broke the protocol; answered with " +
             std::string(http2_code_name(static_cast<Http2Code>(detail)));
    case Http2Error::flooded:
      return "the peer sent too many resets, control frames or CONTINUATION frames";
    case Http2Error::closed:
      return "the connection is closed or draining";
    case Http2Error::no_stream:
      return "all streams that the peer allows are in use";
    case Http2Error::request_size:
      return "the request is too large: " + std::to_string(detail) + " bytes";
    case Http2Error::unknown_stream:
      return "no such open stream";
    case Http2Error::library:
      return "nghttp2 failed with -" + std::to_string(detail);
  }
  return "code " + std::to_string(code);
}

}  // namespace

void register_http2_error_texts() {
  register_error_text(Domain::http2, "http2", http2_error_text);
}

}  // namespace bellhop::proto
