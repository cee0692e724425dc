// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
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

// The head of an answer whose body follows in pieces. All views are needed for the length of begin_response() only.
struct HttpResponseHead {
  uint16_t status = 200;
  // Content-Type among them. None that frames a message or speaks of a connection: content-length, transfer-encoding,
  // connection and their like are the server's own (HttpError::unwritable).
  std::span<const proto::HeaderField> headers;
  // Of the body; pieces of another length in sum are an error. Nothing: chunked over HTTP/1.1, up to the end of the
  // connection over HTTP/1.0, up to the end of the stream over HTTP/2.
  std::optional<uint64_t> content_length;
  bool close = false;  // as in HttpResponse
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
  virtual bool responded() const = 0;  // or the answer has begun
  virtual Task<Result<SocketAddress>> peer_address() = 0;
  // The Host field, or :authority over HTTP/2; checked to be a host. Empty where HTTP/1.0 gave none.
  virtual std::string_view authority() const { return headers().find("host").value_or(std::string_view()); }

  // ---- Bodies in pieces, in place of read_body() and respond(). One flow may read while another writes; the exchange's
  // handler ends after both. The defaults are for exchanges that hold their bodies whole: CoreError::unsupported. ----

  virtual bool has_body() const { return false; }
  // Of the request's body: 0 where it has none; nothing where only its end will tell.
  virtual std::optional<uint64_t> content_length() const { return 0; }
  // Before the first read_some(). A longer body is HttpError::body_too_large as soon as its length is told or passed.
  virtual void set_body_max(uint64_t bytes) { (void)bytes; }
  // The next piece, valid until the next call; empty at the end, and from then on. No more is taken from the client
  // than is asked for here: one piece, and what its socket or its HTTP/2 windows hold. The first call answers `Expect:
  // 100-continue`. The time that a body may take (HttpServerLimits) runs only while this waits for the client.
  // Errors: as read_body(); after one only respond(), abort() and the handler's end make sense.
  virtual Task<Result<Bytes>> read_some() { co_return fail(core_error(CoreError::unsupported)); }
  // Once, in place of respond(). Returns when the head is on its way, at once where `more`: then it may be kept back for
  // what write_some() gives, which must follow without waiting. Errors: HttpError::unwritable, timed_out, tls, os,
  // canceled, CoreError::closed (HTTP/2: the stream is lost).
  virtual Task<Status> begin_response(const HttpResponseHead& head, bool more = false) {
    (void)head, (void)more;
    co_return fail(core_error(CoreError::unsupported));
  }
  // Returns when the piece was handed on, which is back-pressure: at most one block (16 KB) waits behind it. With `more`
  // it may be kept back as above. A client that takes nothing for write_stall_timeout is given up: timed_out.
  // An empty piece only sends what was kept back. The body of an answer that has none (204, 304, to HEAD) is dropped.
  // Errors: as begin_response(), and HttpError::unwritable where the pieces pass content_length.
  virtual Task<Status> write_some(Bytes piece, bool more = false) {
    (void)piece, (void)more;
    co_return fail(core_error(CoreError::unsupported));
  }
  // The answer is whole. HttpError::unwritable where it is shorter than content_length: the client then sees it cut off.
  virtual Task<Status> end_response() { co_return fail(core_error(CoreError::unsupported)); }
  // In place of end_response(), or of any answer: the client sees that this one is cut off (the connection ends without
  // the last chunk, or RST_STREAM). Idempotent, nothing after end_response() or respond(). Does not wait. A handler that
  // ends in the middle of an answer has the same effect.
  virtual void abort() {}
  // On: the handler may wait long for somebody else, and a client that leaves meanwhile stops the handler's flow. Over
  // HTTP/1.1 the client is watched from the end of its body on; a further request on the connection is not read, but
  // hides whether the client is still there. Such an exchange keeps no listener from an orderly end: drain() stops it.
  // Off: nothing is watched over HTTP/1.1; HTTP/2 streams that are lost stop their handler always.
  virtual void be_patient(bool on) { (void)on; }

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
