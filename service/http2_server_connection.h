// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "core/base/intrusive_list.h"
#include "core/stream/stream.h"
#include "core/sync.h"
#include "core/task.h"
#include "proto/http2_server.h"
#include "service/http2_driver.h"
#include "service/http_exchange.h"

namespace bellhop::service {

struct Http2ServerConnectionLimits {
  proto::Http2ServerLimits http2;      // streams, headers and bodies of one connection
  Duration idle_timeout = 60s;         // with no request in work and no new whole one: slow requests end here too
  Duration write_stall_timeout = 10s;  // for one block of output
  Duration goaway_grace = 1s;          // between the two steps of an orderly end (RFC 9113 section 6.8)
};

// Serves one HTTP/2 connection: drives proto::Http2Server over a stream, makes each request an exchange and runs the
// handler for it, many at a time, at most http2.streams_max. The body of a request has arrived whole before the handler
// runs. All answers of one turn leave in one write. The stream has done its handshake (ALPN h2); its owner closes it
// after run(). `stream` and `handler` outlive the connection. One core.
class Http2ServerConnection final : Http2Driver<proto::Http2Server>::Owner {
 public:
  Http2ServerConnection(Stream& stream, HttpHandler& handler, const Http2ServerConnectionLimits& limits);
  Http2ServerConnection(const Http2ServerConnection&) = delete;
  Http2ServerConnection& operator=(const Http2ServerConnection&) = delete;

  // Serves until the peer leaves, an orderly end is complete, or the flow is stopped. Handlers whose stream or
  // connection is lost are stopped; all have ended when this returns. Once.
  // Errors: http2 (the peer's fault), CoreError::timed_out (it does not read), tls, os, canceled.
  Task<Status> run();

  // An orderly end: no new requests after the grace; those in work are answered. run() then returns. Does not wait.
  void drain();
  // GOAWAY at once; streams above `last_stream_id` are not answered, their handlers are stopped.
  void goaway(int32_t last_stream_id, proto::Http2Code code, std::string_view debug_data);
  // run() returns soon, without a word to the peer beyond what is already on its way.
  void abort();
  // A new limit for the peer's streams (SETTINGS_MAX_CONCURRENT_STREAMS).
  void set_streams_max(uint32_t streams_max);

  int32_t last_stream_id() const { return machine_.last_stream_id(); }
  uint32_t requests_in_work() const { return machine_.requests_in_work(); }
  uint64_t requests() const { return requests_count_; }  // handed to the handler so far
  bool draining() const { return draining_; }
  Stream& stream() { return stream_; }

 private:
  friend class Http2Exchange;
  void take_events() override;
  void on_input_ended() override;
  Task<void> watch();
  Task<void> serve(proto::Http2ServerRequest request);

  Stream& stream_;
  HttpHandler& handler_;
  const Http2ServerConnectionLimits limits_;
  proto::Http2Server machine_;
  Http2Driver<proto::Http2Server> driver_;
  IntrusiveList<Http2Exchange> exchanges_;
  TaskScope* requests_ = nullptr;  // while run() runs
  Event drain_asked_;
  bool draining_ = false;
  bool aborted_ = false;
  uint64_t requests_count_ = 0;
  Instant active_at_{};  // last whole request, or last moment with one in work
};

// One stream as an exchange. Lives in the frame of the flow that runs the handler.
class Http2Exchange final : public HttpExchange, public ListLink {
 public:
  Http2Exchange(Http2ServerConnection& connection, proto::Http2ServerRequest request, Context* parent);

  proto::HttpMethod method() const override { return method_; }
  std::string_view target() const override { return request_.path; }
  const proto::HeaderBlock& headers() const override { return request_.headers; }
  Task<Status> read_body(uint64_t bytes_max, BodySink& sink) override;
  // Errors: closed (the stream is lost).
  Task<Status> respond(const HttpResponse& response) override;
  bool responded() const override { return responded_; }
  Task<Result<SocketAddress>> peer_address() override;
  Http2Exchange* http2() override { return this; }

  int32_t stream_id() const { return request_.stream_id; }
  std::string_view authority() const { return request_.authority; }
  Http2ServerConnection& connection() { return connection_; }
  // RST_STREAM in place of respond(). Errors: closed.
  Status reset(proto::Http2Code code);

 private:
  friend class Http2ServerConnection;

  Http2ServerConnection& connection_;
  proto::Http2ServerRequest request_;
  proto::HttpMethod method_ = proto::HttpMethod::get;
  Context context_;
  bool body_read_ = false;
  bool responded_ = false;
  bool lost_ = false;
};

}  // namespace bellhop::service
