// SPDX-License-Identifier: Apache-2.0
#include "service/http1_server_connection.h"

#include "core/sleep.h"
#include "core/stream/block_pool.h"
#include "proto/http_error.h"

namespace bellhop::service {

using proto::Http1Event;
using proto::Http1Step;

Http1ServerConnection::Http1ServerConnection(Stream& stream, HttpHandler& handler, const HttpServerLimits& limits,
                                             HttpServerStats& stats, std::optional<SocketAddress> client)
    : stream_(stream),
      handler_(handler),
      limits_(limits),
      stats_(stats),
      client_(client),
      parser_(limits.header),
      reader_(stream, parser_) {}

Http1ServerConnection::~Http1ServerConnection() { wipe(scratch_); }  // an answer may hold a device secret or an API token

Task<Result<SocketAddress>> Http1ServerConnection::peer_address() {
  if (client_) co_return *client_;
  co_return co_await stream_.socket().peer_address();
}

Task<Status> Http1ServerConnection::run() {
  for (;;) {
    Status head = co_await wait_for_head();
    if (!head) {
      if (head.error().domain == Domain::http) {
        ++stats_.malformed;
        co_await refuse(head.error());
      }
      co_return head;
    }
    BH_CO_CHECKED(co_await serve_request());
    if (close_after_ || draining_) co_return Status();
  }
}

void Http1ServerConnection::drain() {
  draining_ = true;
  if (waiting_) waiting_->request_stop();
}

// Idle until the first byte, then the whole head within its own time.
Task<Status> Http1ServerConnection::wait_for_head() {
  {
    Context waiting(&co_await current_context());
    waiting_ = &waiting;
    if (draining_ && !reader_.has_input()) waiting.request_stop();
    Result<bool> more = co_await within(limits_.idle_timeout, reader_.fill()).under(waiting);
    waiting_ = nullptr;
    if (!more) co_return fail(more.error());
    if (!*more) co_return fail(core_error(CoreError::closed));
  }
  BH_CO_TRY(Http1Step step, co_await within(limits_.header_timeout, reader_.next()));
  BH_CHECK(step.event == Http1Event::head);
  co_return Status();
}

Task<Status> Http1ServerConnection::serve_request() {
  ++stats_.requests;
  ++requests_;
  ++stats_.requests_in_work;
  answered_ = body_read_ = false;
  co_await handler_.handle(*this);
  --stats_.requests_in_work;
  if (!broken_) co_return broken_;
  if (!answered_) co_return fail(core_error(CoreError::closed));
  // A request without a body still has its end to be taken; an unread body makes the connection end instead.
  if (!body_read_ && !close_after_) {
    BH_CO_TRY(Http1Step step, co_await reader_.next());
    BH_CHECK(step.event == Http1Event::complete);
  }
  parser_.reset();
  co_return Status();
}

Task<void> Http1ServerConnection::refuse(const Error& error) {
  close_after_ = true;
  answered_ = true;
  (void)co_await within(limits_.write_stall_timeout, write_response({.status = proto::http_error_status(error)}));
}

Task<Status> Http1ServerConnection::read_body(uint64_t bytes_max, BodySink& sink) {
  BH_CHECK(!body_read_);
  parser_.set_body_max(bytes_max);
  if (parser_.expects_continue() && parser_.has_body() && !reader_.has_input()) {
    BH_CO_CHECKED(co_await within(limits_.write_stall_timeout, stream_.write(as_bytes(proto::continue_response()))));
  }
  Instant start = io::now();
  uint64_t received = 0;
  for (;;) {
    Duration allowed = limits_.body_grace + received * Duration(1s) / limits_.body_rate_min_bytes_per_s;
    Result<Http1Step> step = co_await within_until(start + allowed, reader_.next());
    if (!step) {
      broken_ = fail(step.error());
      co_return broken_;
    }
    if (step->event == Http1Event::complete) break;
    received += step->body.size();
    BH_CO_CHECKED(sink.on_body(step->body));
  }
  body_read_ = true;
  co_return Status();
}

Task<Status> Http1ServerConnection::respond(const HttpResponse& response) {
  BH_CHECK(!answered_);
  answered_ = true;
  close_after_ |= response.close || draining_ || leaving_ || (!body_read_ && parser_.has_body()) || !parser_.keep_alive() ||
                  requests_ >= limits_.requests_per_connection_max;
  Status sent = co_await within(limits_.write_stall_timeout, write_response(response));
  if (!sent) broken_ = sent;
  co_return sent;
}

Task<Status> Http1ServerConnection::write_response(const HttpResponse& response) {
  // Head and body leave in one piece where they fit into a block: one record, one packet.
  proto::HeaderField fields[16];
  size_t count = 0;
  if (!response.content_type.empty()) fields[count++] = {"content-type", response.content_type};
  for (const proto::HeaderField& field : response.headers) {
    BH_CHECK(count < std::size(fields));
    fields[count++] = field;
  }
  bool no_body = response.status == 204 || response.status == 304 || response.status < 200;
  scratch_.clear();
  BH_CO_CHECKED(proto::write_response_head(
      scratch_, {.status = response.status,
                 .headers = {fields, count},
                 .framing = no_body ? proto::Http1Framing::none() : proto::Http1Framing::sized(response.body.size()),
                 .close = close_after_}));
  bool send_body = !no_body && parser_.method() != proto::HttpMethod::head;
  if (send_body && scratch_.size() + response.body.size() <= Block::kSize) {
    scratch_.append(response.body);
    send_body = false;
  }
  BH_CO_CHECKED(co_await stream_.write(as_bytes(scratch_)));
  if (send_body) BH_CO_CHECKED(co_await stream_.write(as_bytes(response.body)));
  co_return Status();
}

}  // namespace bellhop::service
