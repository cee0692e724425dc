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
      reader_(stream, parser_),
      writer_(stream, limits.write_stall_timeout) {}

Http1ServerConnection::~Http1ServerConnection() { wipe(scratch_); }  // an answer may hold a device secret or an API token

Task<Result<SocketAddress>> Http1ServerConnection::peer_address() {
  return client_ ? Task<Result<SocketAddress>>::of(*client_) : ask_peer_address();
}

// Of the socket, once.
Task<Result<SocketAddress>> Http1ServerConnection::ask_peer_address() {
  BH_CO_TRY(client_, co_await stream_.socket().peer_address());
  co_return *client_;
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
  if (now_.patient) handling_->request_stop();
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
  now_ = {};
  Context handling(&co_await current_context());
  TaskScope watching(&handling);
  handling_ = &handling;
  watching_ = &watching;
  co_await handler_.handle(*this).under(handling);
  be_patient(false);
  watching.request_stop();
  co_await watching.join();
  handling_ = nullptr;
  watching_ = nullptr;
  --stats_.requests_in_work;
  co_return settle();
}

// Between two requests of the connection.
Status Http1ServerConnection::settle() {
  if (now_.begun && !now_.answered) abort();
  if (!broken_) return broken_;
  if (!now_.answered) return fail(core_error(CoreError::closed));
  // A request without a body still has its end to be taken; an unread body makes the connection end instead.
  if (!now_.body_came && !close_after_) {
    BH_TRY(Http1Step step, reader_.feed());
    BH_CHECK(step.event == Http1Event::complete);
  }
  parser_.reset();
  return {};
}

void Http1ServerConnection::be_patient(bool on) {
  if (now_.patient == on) return;
  now_.patient = on;
  if (!on) {
    --stats_.requests_patient;
    return;
  }
  ++stats_.requests_patient;
  if (draining_) handling_->request_stop();
  watch_client();
}

// Not before the body was read, and nobody looks at its last piece: there is one reader.
void Http1ServerConnection::watch_client() {
  if (!now_.patient || now_.watched || (parser_.has_body() && !now_.body_read)) return;
  now_.watched = true;
  watching_->spawn(watch(*handling_));
}

Task<void> Http1ServerConnection::watch(Context& handling) {
  Result<bool> more = co_await reader_.fill();
  bool gone = more ? !*more : !is(more.error(), CoreError::canceled);
  if (gone) handling.request_stop();
}

Task<void> Http1ServerConnection::refuse(const Error& error) {
  close_after_ = true;
  now_.answered = true;
  (void)co_await within(limits_.write_stall_timeout, write_response({.status = proto::http_error_status(error)}));
}

Task<Status> Http1ServerConnection::read_body(uint64_t bytes_max, BodySink& sink) {
  BH_CHECK(!now_.reading_begun);
  set_body_max(bytes_max);
  for (;;) {
    BH_CO_TRY(Bytes piece, co_await read_some());
    if (piece.empty()) co_return Status();
    BH_CO_CHECKED(sink.on_body(piece));
  }
}

Task<Result<Bytes>> Http1ServerConnection::read_some() {
  using Ready = Task<Result<Bytes>>;
  if (now_.body_came) return Ready::of(end_of_body());
  if (!broken_) return Ready::of(fail(broken_.error()));
  bool invites = !now_.reading_begun && begin_reading();
  if (invites) return invite_body();
  Result<Http1Step> here = reader_.feed();
  bool waits = here && here->event == Http1Event::need_more;
  return waits ? wait_for_body() : Ready::of(take_step(here));
}

Task<Result<Bytes>> Http1ServerConnection::invite_body() {
  BH_CO_CHECKED(co_await within(limits_.write_stall_timeout, stream_.write(as_bytes(proto::continue_response()))));
  co_return co_await wait_for_body();
}

Result<Bytes> Http1ServerConnection::take_step(const Result<Http1Step>& step) {
  if (!step) {
    broken_ = fail(step.error());
    return fail(step.error());
  }
  if (step->event == Http1Event::complete) {
    now_.body_came = true;
    return end_of_body();
  }
  now_.received += step->body.size();
  // The end of a known length needs no further byte. It is taken now, for an answer that overtakes the reader.
  if (now_.received == parser_.content_length()) {
    BH_TRY(Http1Step end, reader_.feed());
    BH_CHECK(end.event == Http1Event::complete);
    now_.body_came = true;
  }
  return step->body;
}

Bytes Http1ServerConnection::end_of_body() {
  now_.body_read = true;
  watch_client();
  return {};
}

// True where the client waits to be asked for its body.
bool Http1ServerConnection::begin_reading() {
  now_.reading_begun = true;
  parser_.set_body_max(now_.body_max);
  bool too_large = parser_.content_length().value_or(0) > now_.body_max;
  return parser_.expects_continue() && !reader_.has_input() && !responded() && !too_large;
}

// The client's time runs only while we wait for it.
Task<Result<Bytes>> Http1ServerConnection::wait_for_body() {
  auto for_bytes = std::chrono::seconds(now_.received / limits_.body_rate_min_bytes_per_s);
  Instant begin = io::now();
  Result<Http1Step> step = co_await within_until(begin + limits_.body_grace + for_bytes - now_.waited, reader_.next());
  now_.waited += io::now() - begin;
  co_return take_step(step);
}

bool Http1ServerConnection::ends_after_answer(bool asked) const {
  bool unread = !now_.body_came && parser_.has_body();
  return asked || draining_ || leaving_ || unread || !parser_.keep_alive() ||
         requests_ >= limits_.requests_per_connection_max;
}

Task<Status> Http1ServerConnection::begin_response(const HttpResponseHead& head, bool more) {
  BH_CHECK(!responded());
  bool never = head.status == 204 || head.status == 304 || head.status < 200;
  bool to_end = !head.content_length && !never && parser_.http_1_0();
  auto framing = never || to_end ? proto::Http1Framing::none()
                 : head.content_length ? proto::Http1Framing::sized(*head.content_length)
                                       : proto::Http1Framing::chunked();
  bool close = close_after_ || to_end || ends_after_answer(head.close);
  scratch_.clear();
  Status fine = proto::write_response_head(
      scratch_, {.status = head.status, .headers = head.headers, .framing = framing, .close = close});
  if (!fine) return Task<Status>::of(fine);
  close_after_ = close;
  now_.begun = true;
  now_.bodiless = never || method() == proto::HttpMethod::head;
  if (now_.bodiless) framing = proto::Http1Framing::none();
  return watched_send(writer_.begin(as_bytes(scratch_), framing, to_end, more));
}

// A failure breaks the connection.
Task<Status> Http1ServerConnection::watched_send(Task<Status> sending) {
  bool sent = sending.value() && *sending.value();
  return sent ? std::move(sending) : await_send(std::move(sending));
}

Task<Status> Http1ServerConnection::await_send(Task<Status> sending) {
  Status sent = co_await std::move(sending);
  if (!sent) broken_ = sent;
  co_return sent;
}

Task<Status> Http1ServerConnection::write_some(Bytes piece, bool more) {
  BH_CHECK(now_.begun && !now_.answered);
  return watched_send(writer_.write(now_.bodiless ? Bytes() : piece, more));
}

Task<Status> Http1ServerConnection::end_response() {
  BH_CHECK(now_.begun && !now_.answered);
  Status sent = co_await writer_.end();
  if (sent) {
    now_.answered = true;
  } else {
    broken_ = sent;
  }
  co_return sent;
}

void Http1ServerConnection::abort() {
  if (now_.answered) return;
  if (broken_) broken_ = fail(core_error(CoreError::closed));
  stream_.break_off();
}

Task<Status> Http1ServerConnection::respond(const HttpResponse& response) {
  BH_CHECK(!responded());
  now_.answered = true;
  close_after_ |= ends_after_answer(response.close);
  Status sent = co_await within(limits_.write_stall_timeout, write_response(response));
  if (!sent) broken_ = sent;
  co_return sent;
}

Task<Status> Http1ServerConnection::write_response(const HttpResponse& response) {
  // Head and body leave in one piece where they fit into a block: one record, one packet.
  bool no_body = response.status == 204 || response.status == 304 || response.status < 200;
  scratch_.clear();
  BH_CO_CHECKED(proto::write_response_head(
      scratch_, {.status = response.status,
                 .content_type = response.content_type,
                 .headers = response.headers,
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
