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
#include "service/http_limits.h"

namespace bellhop::service {

struct Http2ServerConnectionLimits {
  proto::Http2ServerLimits http2;      // streams, headers, windows and floods of one connection
  Duration header_timeout = 10s;       // for a header block that has begun, and for the peer's word on our settings
  Duration idle_timeout = 60s;         // with no request in work and no new one
  Duration body_grace = 10s;           // a body may take this long, plus its size over the rate below
  uint64_t body_rate_min_bytes_per_s = 4096;
  Duration write_stall_timeout = 10s;  // for one block of output, and for answers that the peer gives no window for
  Duration goaway_grace = 1s;          // between the two steps of an orderly end (RFC 9113 section 6.8)
  uint64_t requests_max = UINT64_MAX;  // then the connection ends in order
};

// What the HTTP/2 connections of one listener and core share: bounds over all of them, and counts.
struct Http2ServerShare {
  size_t requests_in_work_max = SIZE_MAX;  // more streams get REFUSED_STREAM: safe to send again
  proto::Http2BodyMemory bodies;
  size_t requests_in_work = 0;
  size_t requests_patient = 0;    // of them, those whose handler waits for long (HttpExchange::be_patient)
  uint64_t requests = 0;          // handed to the handler
  uint64_t requests_refused = 0;  // answered by the machine: malformed
  uint64_t streams_refused = 0;   // requests_in_work_max was reached
};

// Serves one HTTP/2 connection: drives proto::Http2Server over a stream, makes each request an exchange and runs the
// handler for it, many at a time, at most http2.streams_max. A handler runs from the end of the request's head; the body
// follows as the handler reads it. All answers of one turn leave in one write. The stream has done its handshake (ALPN
// h2); its owner closes it after run(). `stream`, `handler` and `share` outlive the connection. One core.
//
// A peer that resets a stream, leaves, or is thrown out for a flood, cancels the handlers concerned and what they wait
// for; a stream counts against the limits until its handler has ended.
class Http2ServerConnection final : public HttpConnection, Http2Driver<proto::Http2Server>::Owner {
 public:
  // `client`: whom the handler takes for the peer; nothing: the socket's own peer.
  Http2ServerConnection(Stream& stream, HttpHandler& handler, const Http2ServerConnectionLimits& limits,
                        Http2ServerShare* share = nullptr, std::optional<SocketAddress> client = std::nullopt);
  Http2ServerConnection(const Http2ServerConnection&) = delete;
  Http2ServerConnection& operator=(const Http2ServerConnection&) = delete;

  // Serves until the peer leaves, an orderly end is complete, or the flow is stopped. All handlers have ended when this
  // returns. Errors: http2 (the peer's fault), CoreError::timed_out (it does not read, or stopped in the middle of a
  // head), tls, os, canceled.
  Task<Status> run() override;

  // An orderly end: no new requests after the grace; those in work are answered, but patient ones are stopped. run() then
  // returns. Does not wait.
  void drain() override;
  void set_leaving(bool on) override {
    if (on) leave();
  }
  bool asked() const override { return requests_count_ > 0; }
  // GOAWAY at once; streams above `last_stream_id` are not answered, their handlers are stopped.
  void goaway(int32_t last_stream_id, proto::Http2Code code, std::string_view debug_data);
  // run() returns soon, without a word to the peer beyond what is already on its way.
  void abort();
  // A new limit for the peer's streams (SETTINGS_MAX_CONCURRENT_STREAMS).
  void set_streams_max(uint32_t streams_max);

  int32_t last_stream_id() const { return machine_.last_stream_id(); }
  uint32_t requests_in_work() const { return machine_.requests_in_work(); }
  uint64_t requests() const { return requests_count_; }  // handed to the handler so far
  bool draining() const { return leaving_ != Leaving::no; }
  Stream& stream() { return stream_; }

 private:
  friend class Http2Exchange;
  enum class Leaving : uint8_t { no, asked, announced, said };  // the steps of an orderly end

  void take_events() override;
  void on_input_ended() override;
  void leave();
  void take_request(proto::Http2ServerRequest request);
  Http2Exchange* find(int32_t stream_id);
  void note_waits();
  Task<void> watch();
  Instant next_deadline() const;
  bool look_after(Instant now);
  bool go_on_leaving(Instant now);
  void end_slow(proto::Http2Code code);
  Task<void> serve(proto::Http2ServerRequest request);

  Stream& stream_;
  HttpHandler& handler_;
  const Http2ServerConnectionLimits limits_;
  Http2ServerShare* const share_;  // null: none
  const std::optional<SocketAddress> client_;
  proto::Http2Server machine_;
  Http2Driver<proto::Http2Server> driver_;
  IntrusiveList<Http2Exchange> exchanges_;
  TaskScope* requests_ = nullptr;  // while run() runs
  Event watch_asked_;              // a deadline came nearer
  Leaving leaving_ = Leaving::no;
  bool aborted_ = false;
  bool draining_ = false;
  uint64_t requests_count_ = 0;
  Instant opened_at_{};
  Instant active_at_{};                   // last new request, or last moment with one in work
  Instant leave_at_{};                    // when the next step of the orderly end is due
  std::optional<Instant> head_since_;     // a header block is on its way
  std::optional<Instant> unsent_since_;   // answers wait for the peer
  uint64_t unsent_mark_ = 0;              // those up to this number waited at that time
};

// One stream as an exchange. Lives in the frame of the flow that runs the handler.
class Http2Exchange final : public HttpExchange, public ListLink {
 public:
  Http2Exchange(Http2ServerConnection& connection, proto::Http2ServerRequest request, Context* parent);

  proto::HttpMethod method() const override { return request_.method; }
  std::string_view target() const override { return request_.path; }
  const proto::HeaderBlock& headers() const override { return request_.headers; }
  Task<Status> read_body(uint64_t bytes_max, BodySink& sink) override;
  // Errors: closed (the stream is lost).
  Task<Status> respond(const HttpResponse& response) override;
  bool responded() const override { return begun_ || responded_; }
  Task<Result<SocketAddress>> peer_address() override;
  Bytes peer_certificate() override;
  Http2Exchange* http2() override { return this; }

  int32_t stream_id() const { return request_.stream_id; }
  std::string_view authority() const override { return request_.authority; }
  Http2ServerConnection& connection() { return connection_; }

  bool has_body() const override { return request_.has_body; }
  std::optional<uint64_t> content_length() const override {
    return request_.has_body ? request_.content_length : std::optional<uint64_t>(0);
  }
  void set_body_max(uint64_t bytes) override { body_max_ = bytes; }
  Task<Result<Bytes>> read_some() override;
  Task<Status> begin_response(const HttpResponseHead& head, bool more) override;
  Task<Status> write_some(Bytes piece, bool more) override;
  Task<Status> end_response() override;
  void abort() override;
  void be_patient(bool on) override;

  // RST_STREAM in place of respond(). Errors: closed.
  Status reset(proto::Http2Code code);

 private:
  friend class Http2ServerConnection;

  Task<Status> wait_for_body();
  Task<Status> wait_for_room();

  Http2ServerConnection& connection_;
  proto::Http2ServerRequest request_;
  Context context_;
  Event body_arrived_;
  Event answer_room_;
  proto::WipingBuffer piece_;  // of the body, that read_some() gave
  uint64_t body_max_ = UINT64_MAX;
  uint64_t received_ = 0;         // of the body
  Duration waited_{};             // for it
  std::optional<uint64_t> left_;  // of an answer in pieces, where its length was announced
  bool reading_begun_ = false;
  bool body_read_ = false;  // to its end
  bool begun_ = false;      // an answer in pieces
  bool responded_ = false;  // the answer, or a reset, is whole
  bool lost_ = false;
  bool patient_ = false;
};

}  // namespace bellhop::service
