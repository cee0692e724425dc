// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "core/context.h"
#include "core/stream/stream.h"
#include "proto/http1.h"
#include "service/http1_body_writer.h"
#include "service/http1_connection.h"
#include "service/http_exchange.h"
#include "service/http_limits.h"

namespace bellhop::service {

// Serves one HTTP/1.1 connection: reads requests, hands each to the handler, keeps the connection alive. Requests are
// served one after the other (RFC 9112 section 9.3.2), so pipelined ones wait in the socket. `stream`, `handler`,
// `limits` and `stats` outlive it. One core.
class Http1ServerConnection final : public HttpConnection, HttpExchange {
 public:
  // `client`: whom the handler takes for the peer; nothing: the socket's own peer.
  Http1ServerConnection(Stream& stream, HttpHandler& handler, const HttpServerLimits& limits, HttpServerStats& stats,
                        std::optional<SocketAddress> client = std::nullopt);
  Http1ServerConnection(const Http1ServerConnection&) = delete;
  Http1ServerConnection& operator=(const Http1ServerConnection&) = delete;
  ~Http1ServerConnection();

  Task<Status> run() override;
  void drain() override;
  void set_leaving(bool on) override { leaving_ = on; }
  bool asked() const override { return requests_ > 0; }

 private:
  proto::HttpMethod method() const override { return parser_.method(); }
  std::string_view target() const override { return parser_.target(); }
  const proto::HeaderBlock& headers() const override { return parser_.headers(); }
  bool responded() const override { return now_.begun || now_.answered; }
  Task<Result<SocketAddress>> peer_address() override;
  Bytes peer_certificate() override { return stream_.tls() ? stream_.tls()->peer_certificate() : Bytes(); }
  Task<Status> read_body(uint64_t bytes_max, BodySink& sink) override;
  Task<Status> respond(const HttpResponse& response) override;

  bool has_body() const override { return parser_.has_body(); }
  std::optional<uint64_t> content_length() const override { return parser_.content_length(); }
  void set_body_max(uint64_t bytes) override { now_.body_max = bytes; }
  Task<Result<Bytes>> read_some() override;
  Task<Status> begin_response(const HttpResponseHead& head, bool more) override;
  Task<Status> write_some(Bytes piece, bool more) override;
  Task<Status> end_response() override;
  void abort() override;
  void be_patient(bool on) override;

  // What there is to say of the request in work.
  struct Exchange {
    uint64_t body_max = UINT64_MAX;
    uint64_t received = 0;  // of its body
    Duration waited{};      // for it
    bool reading_begun = false;
    bool body_came = false;  // whole
    bool body_read = false;  // the reader knows that, too
    bool begun = false;      // an answer in pieces
    bool bodiless = false;   // that has no body
    bool answered = false;
    bool patient = false;
    bool watched = false;
  };

  Task<Status> wait_for_head();
  Task<Status> serve_request();
  Status settle();
  bool begin_reading();
  Task<Result<Bytes>> invite_body();
  Task<Result<Bytes>> wait_for_body();
  Result<Bytes> take_step(const Result<proto::Http1Step>& step);
  Task<Result<SocketAddress>> ask_peer_address();
  Task<Status> watched_send(Task<Status> sending);
  Task<Status> await_send(Task<Status> sending);
  Bytes end_of_body();
  void watch_client();
  Task<void> watch(Context& handling);
  bool ends_after_answer(bool asked) const;
  Task<Status> write_response(const HttpResponse& response);
  Task<void> refuse(const Error& error);

  Stream& stream_;
  HttpHandler& handler_;
  const HttpServerLimits& limits_;
  HttpServerStats& stats_;
  std::optional<SocketAddress> client_;
  proto::Http1RequestParser parser_;
  Http1Reader<proto::Http1RequestParser> reader_;
  std::string scratch_;            // the answer on its way out; small, kept for the next answer
  Http1BodyWriter writer_;         // of answers in pieces
  Context* waiting_ = nullptr;     // of the wait between requests
  Context* handling_ = nullptr;    // of the handler
  TaskScope* watching_ = nullptr;  // beside it
  Exchange now_;
  uint64_t requests_ = 0;
  bool draining_ = false;
  bool leaving_ = false;
  bool close_after_ = false;
  Status broken_;  // why this connection can serve no further request: a body or an answer did not get through
};

}  // namespace bellhop::service
