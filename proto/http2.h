// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace bellhop::proto {

// Error codes that travel in RST_STREAM and GOAWAY (RFC 9113 section 7). A peer may send other numbers: they are kept.
enum class Http2Code : uint32_t {
  no_error = 0x0,
  protocol_error = 0x1,
  internal_error = 0x2,
  flow_control_error = 0x3,
  settings_timeout = 0x4,
  stream_closed = 0x5,
  frame_size_error = 0x6,
  refused_stream = 0x7,
  cancel = 0x8,
  compression_error = 0x9,
  connect_error = 0xa,
  enhance_your_calm = 0xb,
  inadequate_security = 0xc,
  http_1_1_required = 0xd,
};
// "REFUSED_STREAM"; "unknown" for a number that RFC 9113 does not name.
std::string_view http2_code_name(Http2Code code);

// Failures of our HTTP/2 machines (Domain::http2). `connection_fatal` says which of them end the connection.
enum class Http2Error : uint16_t {
  violation = 1,       // the peer broke the protocol; detail = Http2Code that we send in GOAWAY, or 0
  flooded = 2,         // resets, control frames or CONTINUATION frames over the limit
  closed = 3,          // the connection is over or draining
  no_stream = 4,       // submit(): no stream is available now
  request_size = 5,    // submit(): headers or body over our limit; detail = bytes
  unknown_stream = 6,  // no such open stream
  library = 7,         // nghttp2 failed; detail = its code as a positive number
};
inline Error http2_error(Http2Error code, uint32_t detail = 0) {
  return {Domain::http2, 0, static_cast<uint16_t>(code), detail};
}
bool connection_fatal(Http2Error code);
// Registers the texts of Domain::http2; once, at start.
void register_http2_error_texts();

// A field that we send. `name` is in lower case.
struct Http2Header {
  std::string_view name;
  std::string_view value;
  // Sent as "never indexed" (RFC 7541 section 7.1.3): it enters no compression table, ours or an intermediary's. For
  // secrets, and for values that never repeat and would only push useful ones out of the table.
  bool never_index = false;
};

}  // namespace bellhop::proto
