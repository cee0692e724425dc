// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "core/base/error.h"

namespace bellhop::proto {

// Codes of Domain::http. 1 to 99: messages of HTTP/1.1 and what both versions share.
// `detail` of a parser's error is llhttp's own code where it was llhttp that refused, else 0.
enum class HttpError : uint16_t {
  // From requests and responses.
  bad_start_line = 1,    // neither a request line nor a status line (RFC 9112 sections 3 and 4)
  bad_version = 2,       // not HTTP/1.0 or HTTP/1.1
  bad_header = 3,        // a field line that RFC 9112 section 5 does not permit
  bad_framing = 4,       // Content-Length and Transfer-Encoding do not say one clear length
  bad_chunk = 5,         // chunked coding broken, with extensions, or with trailers
  header_too_large = 6,  // more bytes or fields than the limits
  body_too_large = 7,    // more than the limit that the caller gave
  unexpected_bytes = 8,  // bytes after the last message of a connection, or without a request
  truncated = 9,         // the stream ended inside a message

  // From requests.
  target_too_long = 20,
  bad_target = 21,       // absolute or authority form, a character outside RFC 3986, a broken %-escape
  bad_host = 22,         // Host missing, repeated or not a host
  bad_expectation = 23,  // Expect with another value than 100-continue
  method_refused = 24,   // CONNECT, TRACE and all methods that nobody here serves
  upgrade_refused = 25,  // h2c, websocket

  // From responses.
  bad_status = 40,           // a status outside 100 to 599
  too_many_interim = 41,     // 1xx responses without end
  switching_protocols = 42,  // 101, never asked for
  content_encoded = 43,      // a Content-Encoding that the request did not take
  bad_coding = 44,           // gzip that does not inflate, or to more than its end

  // From our own side.
  unwritable = 60,  // a head that cannot be serialised: CR, LF, NUL, an empty name, a framing field by hand
  bad_query = 61,   // a query with a repeated or an escaped name, or a broken %-escape

  // From the header that a load balancer sends before all else (proto/proxy_protocol.h).
  proxy_header_missing = 80,    // the first bytes are none
  proxy_header_version1 = 81,   // the text form, which is not taken
  proxy_header_malformed = 82,  // detail: offset of the part at fault
  proxy_header_too_large = 83,  // detail: bytes announced
  proxy_header_checksum = 84,   // its CRC-32C does not fit
};

inline Error http_error(HttpError code, uint32_t detail = 0) {
  return {Domain::http, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, HttpError code) {
  return error.domain == Domain::http && error.code == static_cast<uint16_t>(code);
}

// The status that a server answers to a request with this error: 400, 413, 414, 417, 431, 501 or 505. An error of
// another domain gives 400. Every error of a request parser leaves the framing in doubt or the body unread: the answer
// carries `Connection: close`, and the connection ends with it.
uint16_t http_error_status(const Error& error);

// Text for register_error_text.
std::string http_error_text(uint16_t code, uint32_t detail);

}  // namespace bellhop::proto
