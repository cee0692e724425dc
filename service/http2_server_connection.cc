// SPDX-License-Identifier: Apache-2.0
#include "service/http2_server_connection.h"

#include <string>
#include <utility>
#include <vector>

#include "core/sleep.h"
#include "core/stream/block_pool.h"
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

Task<Status> wait_set(Event& event) { co_return co_await event.wait(); }

}  // namespace

Http2ServerConnection::Http2ServerConnection(Stream& stream, HttpHandler& handler,
                                             const Http2ServerConnectionLimits& limits)
    : stream_(stream), handler_(handler), limits_(limits), machine_(limits.http2) {}

Task<Status> Http2ServerConnection::run() {
  Context& own = co_await current_context();
  active_at_ = seconds_from_ = io::now();
  TaskScope requests(&own), writing(&own), watching(&own);
  Status ended;
  {
    Context reading(&own);
    requests_ = &requests;
    reading_ = &reading;
    if (end_) reading.request_stop();
    writing.spawn(write_output());
    watching.spawn(watch());
    ended = co_await read_input().under(reading);
    reading_ = nullptr;
  }
  // Nobody can ask any more; what is queued, a GOAWAY with the reason above all, still goes out.
  requests.request_stop();
  watching.request_stop();
  input_ended_ = true;
  output_wanted_.set();
  co_await writing.join();
  machine_.connection_lost();
  take_events();
  co_await requests.join();
  co_await watching.join();
  requests_ = nullptr;
  if (machine_.failure()) co_return fail(*machine_.failure());
  co_return end_ ? *end_ : ended;
}

void Http2ServerConnection::stop_reading(Status why) {
  if (!end_) end_ = why;
  if (reading_) reading_->request_stop();
}

void Http2ServerConnection::wake_writer() {
  if (machine_.wants_output() || machine_.finished()) output_wanted_.set();
}

void Http2ServerConnection::note_seconds() {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(io::now() - seconds_from_);
  if (seconds.count() <= 0) return;
  seconds_from_ += seconds;
  machine_.seconds_passed(static_cast<uint32_t>(seconds.count()));
}

Task<Status> Http2ServerConnection::read_input() {
  for (;;) {
    {
      Block block;
      while (size_t size = stream_.read(block.all())) {
        block.used(size);
        note_seconds();
        Status fed = machine_.feed(block.all().first(size));
        take_events();
        if (!fed) co_return fed;
      }
    }
    BH_CO_TRY(bool more, co_await stream_.wait_input());
    if (!more) co_return Status();
  }
}

Task<void> Http2ServerConnection::write_output() {
  for (;;) {
    co_await yield_now();  // so that all answers of this turn are in the block
    {
      Block block;
      size_t size = machine_.take_output(block.all());
      block.used(size);
      take_events();
      if (size > 0) {
        Status sent = co_await within(limits_.write_stall_timeout, stream_.write(block.all().first(size)));
        if (sent) continue;
        stop_reading(sent);
        co_return;
      }
    }
    if (machine_.finished()) stop_reading(Status());
    if (machine_.finished() || input_ended_) co_return;
    output_wanted_.reset();
    if (!co_await output_wanted_.wait()) co_return;
  }
}

// Ends a connection that is idle, and one that drains: GOAWAY in two steps, then, where the peer does not leave although
// nothing is in work, the connection.
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
  wake_writer();
  if (!co_await sleep_for(limits_.goaway_grace)) co_return;
  goaway(machine_.last_stream_id(), Http2Code::no_error, {});
  do {
    if (!co_await sleep_for(limits_.write_stall_timeout)) co_return;
  } while (machine_.requests_in_work() > 0);
  stop_reading(Status());
}

void Http2ServerConnection::drain() {
  draining_ = true;
  drain_asked_.set();
}

void Http2ServerConnection::goaway(int32_t last_stream_id, Http2Code code, std::string_view debug_data) {
  draining_ = true;
  (void)machine_.goaway(last_stream_id, code, debug_data);  // it fails where the connection is over anyway
  wake_writer();
}

void Http2ServerConnection::abort() { stop_reading(Status()); }

void Http2ServerConnection::set_streams_max(uint32_t streams_max) {
  machine_.set_streams_max(streams_max);
  wake_writer();
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
  wake_writer();
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
  if (!exchange.responded_ && !exchange.lost_) (void)exchange.reset(Http2Code::internal_error);
  if (!exchange.responded_) (void)machine_.release(exchange.stream_id());
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
  Status queued = connection_.machine_.respond(stream_id(), response.status, fields,
                                               no_body ? Bytes() : as_bytes(response.body));
  if (response.close) connection_.drain();
  connection_.wake_writer();
  co_return queued;
}

Task<Result<SocketAddress>> Http2Exchange::peer_address() { return connection_.stream_.socket().peer_address(); }

Status Http2Exchange::reset(Http2Code code) {
  BH_CHECK(!responded_);
  if (lost_) return fail(core_error(CoreError::closed));
  responded_ = true;
  Status queued = connection_.machine_.reset(stream_id(), code);
  connection_.wake_writer();
  return queued;
}

}  // namespace bellhop::service
