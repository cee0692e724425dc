// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/http.h"

namespace bellhop::proto {

// How the body after a head is framed.
struct Http1Framing {
  enum class Kind : uint8_t { none, length, chunked };

  // none: no framing field at all (a GET, a 204, a 304).
  static Http1Framing none() { return {}; }
  static Http1Framing sized(uint64_t bytes) { return {Kind::length, bytes}; }
  static Http1Framing chunked() { return {Kind::chunked, 0}; }

  Kind kind = Kind::none;
  uint64_t length = 0;
};

struct Http1RequestHead {
  std::string_view method = "GET";
  std::string_view target;  // origin form
  std::string_view host;    // "host" or "host:port", see Url::authority()
  std::span<const HeaderField> headers;
  Http1Framing framing;
  bool close = false;  // adds Connection: close
};

struct Http1ResponseHead {
  uint16_t status = 200;
  std::string_view content_type;  // before the other fields; empty: none but theirs
  std::span<const HeaderField> headers;
  Http1Framing framing;
  bool close = false;
};

// Append a head to `out`, empty line included. On an error (HttpError::unwritable) nothing is appended: a name that is
// no token, a value or target with CR, LF, NUL or another control character, and the fields that the head itself
// writes (host, content-length, transfer-encoding, connection; RFC 9112 section 6). Where `out` moves in memory, the
// old place is wiped; the caller wipes `out` when it is sent, if a field was secret.
Status write_request_head(std::string& out, const Http1RequestHead& head);
Status write_response_head(std::string& out, const Http1ResponseHead& head);
// The head of a CONNECT (RFC 9110 section 9.3.6). `authority`: "host:port", an IPv6 address in brackets; it is the target
// and the Host field.
Status write_connect_head(std::string& out, std::string_view authority, std::span<const HeaderField> headers);

// "HTTP/1.1 100 Continue" with its empty line.
std::string_view continue_response();

// Chunked coding (RFC 9112 section 7.1). Empty data appends nothing, because an empty chunk would end the body.
void append_chunk(std::string& out, Bytes data);
void append_last_chunk(std::string& out);

// The phrase of RFC 9110 section 15; "Unknown" for statuses that we never send.
std::string_view reason_phrase(uint16_t status);

// A token of RFC 9110 section 5.6.2.
bool is_token(std::string_view text);
// A field value that may be written: no control characters but tab, no white space at its ends.
bool is_field_value(std::string_view text);

}  // namespace bellhop::proto
