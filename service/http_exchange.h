// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/task.h"
#include "proto/http.h"
#include "proto/http1.h"

namespace bellhop::service {

class Http2Exchange;

// An answer. All views stay valid until respond() has ended.
struct HttpResponse {
  uint16_t status = 200;
  std::string_view content_type;  // empty: no Content-Type
  std::string_view body;
  std::span<const proto::HeaderField> headers;
  bool close = false;  // end the connection after this answer; over HTTP/2 in order, by GOAWAY
};

// Takes the pieces of a request body.
class BodySink {
 public:
  // An error ends the reading, and read_body returns it.
  virtual Status on_body(Bytes piece) = 0;

 protected:
  ~BodySink() = default;
};

// One request and its answer, whatever version of HTTP carries it. Lives in the connection's frame for the length of
// HttpHandler::handle. Target and fields may hold credentials: they are wiped after the exchange and never logged.
class HttpExchange {
 public:
  virtual proto::HttpMethod method() const = 0;
  virtual std::string_view target() const = 0;
  virtual const proto::HeaderBlock& headers() const = 0;
  // Reads the whole body, at most `bytes_max` bytes, and gives it to `sink` piece by piece. `Expect: 100-continue` is
  // answered here, so a handler that refuses on the head alone never invites a body. At most once.
  // Errors: http (body_too_large, truncated, …), CoreError::timed_out (too slow), tls, os, canceled, the sink's.
  virtual Task<Status> read_body(uint64_t bytes_max, BodySink& sink) = 0;
  // Exactly once. An unread body ends the connection (HTTP/1.1) or the stream (HTTP/2) after the answer.
  virtual Task<Status> respond(const HttpResponse& response) = 0;
  virtual bool responded() const = 0;
  virtual Task<Result<SocketAddress>> peer_address() = 0;
  // DER of the certificate that the client showed in the TLS handshake, where the listener asks for one; else empty.
  virtual Bytes peer_certificate() { return {}; }
  // What HTTP/2 adds (service/http2_server_connection.h); null where the request came over HTTP/1.1.
  virtual Http2Exchange* http2() { return nullptr; }

 protected:
  ~HttpExchange() = default;
};

// What a listener serves. One per core and listener; handle() runs once for each request, many at a time.
class HttpHandler {
 public:
  // Calls exchange.respond() once, unless the connection broke.
  virtual Task<void> handle(HttpExchange& exchange) = 0;

 protected:
  ~HttpHandler() = default;
};

}  // namespace bellhop::service
