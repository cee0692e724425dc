// SPDX-License-Identifier: Apache-2.0
#include "service/http2_server_connection.h"

#include <string>
#include <utility>
#include <vector>

#include "core/sleep.h"
#include "proto/http_error.h"

namespace bellhop::service {
namespace {

using proto::Http2Code;
using proto::HttpMethod;

constexpr uint16_t kNotImplemented = 501;

std::optional<HttpMethod> method_of(std::string_view name) {
  for (HttpMethod method : {HttpMethod::get, HttpMethod::head, HttpMethod::post, HttpMethod::put, HttpMethod::patch,
                            HttpMethod::delete_, HttpMethod::options}) {
    if (proto::method_name(method) == name) return method;
  }
  return std::nullopt;
}

// Fields that speak of an HTTP/1.1 connection are malformed in HTTP/2 (RFC 9113 section 8.2.2).
bool of_connection(std::string_view name) {
  return name == "connection" || name == "keep-alive" || name == "transfer-encoding" || name == "upgrade";
}

Task<Status> wait_set(Event& event) {
  co_return co_await event.wait();
}

}  // namespace

Http2ServerConnection::Http2ServerConnection(Stream& stream, HttpHandler& handler,
                                             const Http2ServerConnectionLimits& limits)
    : stream_(stream),
      handler_(handler),
      limits_(limits),
      machine_(limits.http2),
      driver_(stream, machine_, *this, limits.write_stall_timeout) {}

Task<Status> Http2ServerConnection::run() {
  Context& own = co_await current_context();
  active_at_ = io::now();
  TaskScope requests(&own), watching(&own);
  requests_ = &requests;
  watching.spawn(watch());
  Status ended = co_await driver_.run();
  watching.request_stop();
  co_await requests.join();
  co_await watching.join();
  requests_ = nullptr;
  co_return ended;
}

// Nobody waits for the answers any more.
void Http2ServerConnection::on_input_ended() {
  requests_->request_stop();
}

// Ends a connection that is idle, and one that drains: GOAWAY in two steps, then, where the peer does not leave
// although nothing is in work, the connection.
Task<void> Http2ServerConnection::watch() {
  for (;;) {
    Status drain = co_await within_until(active_at_ + limits_.idle_timeout, wait_set(drain_asked_));
    if (drain) break;
    if (!is(drain.error(), CoreError::timed_out)) co_return;
    if (machine_.requests_in_work() > 0) active_at_ = io::now();
    if (io::now() >= active_at_ + limits_.idle_timeout) break;
  }
  draining_ = true;
  machine_.announce_goaway();
  driver_.wake_writer();
  if (!co_await sleep_for(limits_.goaway_grace)) co_return;
  goaway(machine_.last_stream_id(), Http2Code::no_error, {});
  do {
    if (!co_await sleep_for(limits_.write_stall_timeout)) co_return;
  } while (machine_.requests_in_work() > 0);
  driver_.stop(Status());
}

void Http2ServerConnection::drain() {
  draining_ = true;
  drain_asked_.set();
}

void Http2ServerConnection::goaway(int32_t last_stream_id, Http2Code code, std::string_view debug_data) {
  draining_ = true;
  (void)machine_.goaway(last_stream_id, code, debug_data);  // it fails where the connection is over anyway
  driver_.wake_writer();
}

void Http2ServerConnection::abort() {
  aborted_ = true;
  driver_.stop(Status());
}

void Http2ServerConnection::set_streams_max(uint32_t streams_max) {
  machine_.set_streams_max(streams_max);
  driver_.wake_writer();
}

void Http2ServerConnection::take_events() {
  while (auto event = machine_.next_event()) {
    if (auto* request = std::get_if<proto::Http2ServerRequest>(&*event)) {
      active_at_ = io::now();
      ++requests_count_;
      requests_->spawn(serve(std::move(*request)));
    } else if (auto* lost = std::get_if<proto::Http2StreamLost>(&*event)) {
      exchanges_.for_each([&](Http2Exchange* exchange) {
        if (exchange->stream_id() != lost->stream_id) return;
        exchange->lost_ = true;
        exchange->context_.request_stop();
      });
    }
    // After the peer's GOAWAY the machine takes nothing new and is finished when the open streams are.
  }
}

Task<void> Http2ServerConnection::serve(proto::Http2ServerRequest request) {
  std::optional<HttpMethod> method = method_of(request.method);
  Http2Exchange exchange(*this, std::move(request), &co_await current_context());
  exchanges_.push_back(&exchange);
  if (method) {
    exchange.method_ = *method;
    co_await handler_.handle(exchange).under(exchange.context_);
  } else {
    (void)co_await exchange.respond({.status = kNotImplemented});
  }
  if (!exchange.responded_ && !exchange.lost_ && !aborted_) (void)exchange.reset(Http2Code::internal_error);
  if (exchange.lost_ && !exchange.responded_) (void)machine_.release(exchange.stream_id());  // its slot is free now
  active_at_ = io::now();
}

Http2Exchange::Http2Exchange(Http2ServerConnection& connection, proto::Http2ServerRequest request, Context* parent)
    : connection_(connection), request_(std::move(request)), context_(parent) {}

Task<Status> Http2Exchange::read_body(uint64_t bytes_max, BodySink& sink) {
  BH_CHECK(!body_read_);
  body_read_ = true;
  if (request_.body.size() > bytes_max) co_return fail(proto::http_error(proto::HttpError::body_too_large));
  if (!request_.body.empty()) BH_CO_CHECKED(sink.on_body(as_bytes(request_.body)));
  co_return Status();
}

Task<Status> Http2Exchange::respond(const HttpResponse& response) {
  BH_CHECK(!responded_);
  if (lost_) co_return fail(core_error(CoreError::closed));
  responded_ = true;
  std::vector<std::string> names;
  names.reserve(response.headers.size());  // the fields point into it
  std::vector<proto::Http2Header> fields;
  if (!response.content_type.empty()) fields.push_back({"content-type", response.content_type});
  for (const proto::HeaderField& field : response.headers) {
    names.push_back(ascii_lower(field.name));
    if (!of_connection(names.back())) fields.push_back({names.back(), field.value});
  }
  bool no_body = response.status == 204 || response.status == 304 || method_ == HttpMethod::head;
  Status queued =
      connection_.machine_.respond(stream_id(), response.status, fields, no_body ? Bytes() : as_bytes(response.body));
  if (response.close) connection_.drain();
  connection_.driver_.wake_writer();
  co_return queued;
}

Task<Result<SocketAddress>> Http2Exchange::peer_address() {
  return connection_.stream_.socket().peer_address();
}

Status Http2Exchange::reset(Http2Code code) {
  BH_CHECK(!responded_);
  if (lost_) return fail(core_error(CoreError::closed));
  responded_ = true;
  Status queued = connection_.machine_.reset(stream_id(), code);
  connection_.driver_.wake_writer();
  return queued;
}

}  // namespace bellhop::service
