// SPDX-License-Identifier: Apache-2.0
#include "service/http2_server_connection.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "core/sleep.h"
#include "proto/http1_writer.h"
#include "proto/http_error.h"

namespace bellhop::service {
namespace {

using proto::Http2Code;
using proto::HttpMethod;

// Fields that speak of an HTTP/1.1 connection are malformed in HTTP/2 (RFC 9113 section 8.2.2).
bool of_connection(std::string_view name) {
  return name == "connection" || name == "keep-alive" || name == "transfer-encoding" || name == "upgrade";
}

// The fields of an answer as HTTP/2 writes them.
struct AnswerFields {
  std::vector<std::string> names;  // in lower case; the fields point into it
  std::vector<proto::Http2Header> fields;
  bool writable = true;

  void add_all(std::span<const proto::HeaderField> headers) {
    names.reserve(headers.size());
    for (const proto::HeaderField& field : headers) {
      names.push_back(ascii_lower(field.name));
      writable &= proto::is_token(field.name) && proto::is_field_value(field.value) && names.back() != "content-length";
      if (!of_connection(names.back())) fields.push_back({names.back(), field.value});
    }
  }
};

Task<Status> wait_set(Event& event) {
  co_return co_await event.wait();
}

}  // namespace

Http2ServerConnection::Http2ServerConnection(Stream& stream, HttpHandler& handler,
                                             const Http2ServerConnectionLimits& limits, Http2ServerShare* share,
                                             std::optional<SocketAddress> client)
    : stream_(stream),
      handler_(handler),
      limits_(limits),
      share_(share),
      client_(client),
      machine_(limits.http2, share ? &share->bodies : nullptr),
      driver_(stream, machine_, *this, limits.write_stall_timeout) {}

Task<Status> Http2ServerConnection::run() {
  Context& own = co_await current_context();
  opened_at_ = active_at_ = io::now();
  TaskScope requests(&own), watching(&own);
  requests_ = &requests;
  watching.spawn(watch());
  Status ended = co_await driver_.run();
  watching.request_stop();
  co_await requests.join();
  co_await watching.join();
  requests_ = nullptr;
  if (share_) share_->requests_refused += machine_.requests_refused();
  co_return ended;
}

// Nobody waits for the answers any more.
void Http2ServerConnection::on_input_ended() { requests_->request_stop(); }

// ---- Deadlines ----

Task<void> Http2ServerConnection::watch() {
  for (;;) {
    Status woken = co_await within_until(next_deadline(), wait_set(watch_asked_));
    if (!woken && !is(woken.error(), CoreError::timed_out)) co_return;
    watch_asked_.reset();
    if (!look_after(io::now())) co_return;
  }
}

Instant Http2ServerConnection::next_deadline() const {
  Instant at = leaving_ == Leaving::no ? active_at_ + limits_.idle_timeout : leave_at_;
  if (!machine_.settings_acknowledged()) at = std::min(at, opened_at_ + limits_.header_timeout);
  if (head_since_) at = std::min(at, *head_since_ + limits_.header_timeout);
  if (unsent_since_) at = std::min(at, *unsent_since_ + limits_.write_stall_timeout);
  return at;
}

// Called after each use of the machine: what began to wait gets its deadline.
void Http2ServerConnection::note_waits() {
  bool head = machine_.reading_head();
  if (!head) head_since_.reset();
  if (head && !head_since_) {
    head_since_ = io::now();
    watch_asked_.set();
  }
  if (!unsent_since_ && machine_.has_unsent_answers()) {
    unsent_since_ = io::now();
    unsent_mark_ = machine_.answers();
    watch_asked_.set();
  }
}

// False where the connection's end was set going.
bool Http2ServerConnection::look_after(Instant now) {
  if (head_since_ && now >= *head_since_ + limits_.header_timeout) {
    end_slow(Http2Code::enhance_your_calm);
    return false;
  }
  if (!machine_.settings_acknowledged() && now >= opened_at_ + limits_.header_timeout) {
    end_slow(Http2Code::settings_timeout);
    return false;
  }
  if (unsent_since_ && now >= *unsent_since_ + limits_.write_stall_timeout) {
    uint64_t oldest = machine_.oldest_unsent_answer();
    if (oldest != 0 && oldest <= unsent_mark_) {
      end_slow(Http2Code::enhance_your_calm);
      return false;
    }
    unsent_since_.reset();
    note_waits();
  }
  if (leaving_ != Leaving::no) return go_on_leaving(now);
  if (machine_.requests_in_work() > 0) active_at_ = now;
  if (now >= active_at_ + limits_.idle_timeout) leave();
  return true;
}

// An orderly end: GOAWAY in two steps, then, where the peer does not leave although nothing is in work, the connection.
bool Http2ServerConnection::go_on_leaving(Instant now) {
  if (leaving_ != Leaving::asked && now < leave_at_) return true;
  switch (leaving_) {
    case Leaving::no:
    case Leaving::asked:
      leaving_ = Leaving::announced;
      machine_.announce_goaway();
      driver_.wake_writer();
      leave_at_ = now + limits_.goaway_grace;
      return true;
    case Leaving::announced:
      goaway(machine_.last_stream_id(), Http2Code::no_error, {});
      leave_at_ = now + limits_.write_stall_timeout;
      return true;
    case Leaving::said:
      leave_at_ = now + limits_.write_stall_timeout;
      if (machine_.requests_in_work() > 0) return true;
      driver_.stop(Status());
      return false;
  }
  return true;
}

void Http2ServerConnection::drain() {
  draining_ = true;
  exchanges_.for_each([](Http2Exchange* exchange) {
    if (exchange->patient_) exchange->context_.request_stop();
  });
  leave();
}

void Http2ServerConnection::leave() {
  if (leaving_ != Leaving::no) return;
  leaving_ = Leaving::asked;
  leave_at_ = io::now();
  watch_asked_.set();
}

void Http2ServerConnection::end_slow(Http2Code code) {
  goaway(machine_.last_stream_id(), code, {});
  driver_.stop(fail(core_error(CoreError::timed_out)));
}

void Http2ServerConnection::goaway(int32_t last_stream_id, Http2Code code, std::string_view debug_data) {
  leaving_ = Leaving::said;
  leave_at_ = io::now() + limits_.write_stall_timeout;
  watch_asked_.set();
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

// ---- Requests ----

Http2Exchange* Http2ServerConnection::find(int32_t stream_id) {
  Http2Exchange* found = nullptr;
  exchanges_.for_each([&](Http2Exchange* exchange) {
    if (exchange->stream_id() == stream_id) found = exchange;
  });
  return found;
}

void Http2ServerConnection::take_events() {
  while (auto event = machine_.next_event()) {
    if (auto* request = std::get_if<proto::Http2ServerRequest>(&*event)) {
      take_request(std::move(*request));
    } else if (auto* arrived = std::get_if<proto::Http2BodyArrived>(&*event)) {
      if (Http2Exchange* exchange = find(arrived->stream_id)) exchange->body_arrived_.set();
    } else if (auto* room = std::get_if<proto::Http2AnswerRoom>(&*event)) {
      if (Http2Exchange* exchange = find(room->stream_id)) exchange->answer_room_.set();
    } else if (auto* lost = std::get_if<proto::Http2StreamLost>(&*event)) {
      if (Http2Exchange* exchange = find(lost->stream_id)) {
        exchange->lost_ = true;
        exchange->context_.request_stop();
      }
    }
    // After the peer's GOAWAY the machine takes nothing new and is finished when the open streams are.
  }
  note_waits();
}

void Http2ServerConnection::take_request(proto::Http2ServerRequest request) {
  if (!machine_.unread_body(request.stream_id)) {  // its reset came with it
    (void)machine_.release(request.stream_id);     // it was handed out just now
    return;
  }
  active_at_ = io::now();
  if (share_ && share_->requests_in_work >= share_->requests_in_work_max) {
    ++share_->streams_refused;
    (void)machine_.reset(request.stream_id, Http2Code::refused_stream);  // likewise
    driver_.wake_writer();
    return;
  }
  if (share_) ++share_->requests;
  if (++requests_count_ >= limits_.requests_max) leave();
  requests_->spawn(serve(std::move(request)));
}

Task<void> Http2ServerConnection::serve(proto::Http2ServerRequest request) {
  if (share_) ++share_->requests_in_work;
  {
    Http2Exchange exchange(*this, std::move(request), &co_await current_context());
    exchanges_.push_back(&exchange);
    co_await handler_.handle(exchange).under(exchange.context_);
    exchange.be_patient(false);
    if (!aborted_) exchange.abort();
    if (exchange.lost_ && !exchange.responded_) (void)machine_.release(exchange.stream_id());  // its slot is free now
  }
  if (share_) --share_->requests_in_work;
  active_at_ = io::now();
}

Http2Exchange::Http2Exchange(Http2ServerConnection& connection, proto::Http2ServerRequest request, Context* parent)
    : connection_(connection), request_(std::move(request)), context_(parent) {}

Task<Status> Http2Exchange::read_body(uint64_t bytes_max, BodySink& sink) {
  BH_CHECK(!reading_begun_);
  set_body_max(bytes_max);
  for (;;) {
    BH_CO_TRY(Bytes piece, co_await read_some());
    if (piece.empty()) co_return Status();
    BH_CO_CHECKED(sink.on_body(piece));
  }
}

Task<Result<Bytes>> Http2Exchange::read_some() {
  if (body_read_) co_return Bytes();
  if (responded_) co_return fail(core_error(CoreError::closed));
  reading_begun_ = true;
  if (request_.content_length.value_or(0) > body_max_) {
    co_return fail(proto::http_error(proto::HttpError::body_too_large));
  }
  proto::Http2Server& machine = connection_.machine_;
  if (!piece_.empty()) {
    piece_.release();
    machine.return_taken(stream_id());
    connection_.driver_.wake_writer();  // the peer's window
  }
  for (;;) {
    BH_CO_TRY(bool ended, machine.take_body(stream_id(), piece_));
    if (!piece_.empty()) break;
    body_read_ = ended;
    if (ended) co_return Bytes();
    BH_CO_CHECKED(co_await wait_for_body());
    if (responded_) co_return fail(core_error(CoreError::closed));
  }
  received_ += piece_.size();
  if (received_ > body_max_) co_return fail(proto::http_error(proto::HttpError::body_too_large));
  co_return piece_.bytes();
}

// The client's time runs only while we wait for it.
Task<Status> Http2Exchange::wait_for_body() {
  const Http2ServerConnectionLimits& limits = connection_.limits_;
  if (request_.expects_continue && received_ == 0 && !begun_) {
    BH_CO_CHECKED(connection_.machine_.invite_body(stream_id()));
    connection_.driver_.wake_writer();
  }
  connection_.machine_.watch_body(stream_id());
  body_arrived_.reset();
  auto for_bytes = std::chrono::seconds(received_ / limits.body_rate_min_bytes_per_s);
  Instant begin = io::now();
  Status arrived = co_await within_until(begin + limits.body_grace + for_bytes - waited_, wait_set(body_arrived_));
  waited_ += io::now() - begin;
  co_return arrived;
}

Task<Status> Http2Exchange::begin_response(const HttpResponseHead& head, bool) {
  BH_CHECK(!responded());
  if (lost_) co_return fail(core_error(CoreError::closed));
  AnswerFields fields;
  fields.add_all(head.headers);
  char digits[20];
  bool bodiless = head.status == 204 || head.status == 304 || method() == HttpMethod::head;
  if (head.content_length && !bodiless) {
    char* end = std::to_chars(digits, digits + sizeof digits, *head.content_length).ptr;
    fields.fields.push_back({"content-length", std::string_view(digits, end)});
  }
  if (!fields.writable) co_return fail(proto::http_error(proto::HttpError::unwritable));
  begun_ = true;
  responded_ = bodiless;
  left_ = head.content_length;
  Status queued = bodiless ? connection_.machine_.respond(stream_id(), head.status, fields.fields, {})
                           : connection_.machine_.begin_response(stream_id(), head.status, fields.fields);
  if (head.close) connection_.leave();
  connection_.driver_.wake_writer();
  co_return queued;
}

Task<Status> Http2Exchange::write_some(Bytes piece, bool) {
  BH_CHECK(begun_);
  if (responded_) co_return Status();  // it has no body
  if (left_ && piece.size() > *left_) co_return fail(proto::http_error(proto::HttpError::unwritable));
  if (left_) *left_ -= piece.size();
  while (!piece.empty()) {
    BH_CO_CHECKED(co_await wait_for_room());
    Bytes part = piece.first(std::min(piece.size(), proto::Http2Server::kAnswerRoomBytes));
    BH_CO_CHECKED(connection_.machine_.write_body(stream_id(), part));
    connection_.driver_.wake_writer();
    piece = piece.subspan(part.size());
  }
  co_return Status();
}

Task<Status> Http2Exchange::wait_for_room() {
  proto::Http2Server& machine = connection_.machine_;
  while (!lost_ && machine.unsent_answer(stream_id()) >= proto::Http2Server::kAnswerRoomBytes) {
    machine.watch_answer(stream_id());
    answer_room_.reset();
    BH_CO_CHECKED(co_await within(connection_.limits_.write_stall_timeout, wait_set(answer_room_)));
  }
  if (lost_) co_return fail(core_error(CoreError::closed));
  co_return Status();
}

Task<Status> Http2Exchange::end_response() {
  BH_CHECK(begun_);
  if (responded_) co_return Status();
  if (lost_) co_return fail(core_error(CoreError::closed));
  if (left_.value_or(0) > 0) co_return fail(proto::http_error(proto::HttpError::unwritable));
  responded_ = true;
  body_arrived_.set();  // nothing more of it comes
  Status queued = connection_.machine_.end_response(stream_id());
  connection_.driver_.wake_writer();
  co_return queued;
}

void Http2Exchange::abort() {
  if (!responded_ && !lost_) (void)reset(Http2Code::internal_error);
}

void Http2Exchange::be_patient(bool on) {
  if (patient_ == on) return;
  patient_ = on;
  if (Http2ServerShare* share = connection_.share_) share->requests_patient += on ? size_t{1} : -size_t{1};
  if (on && connection_.draining_) context_.request_stop();
}

Task<Status> Http2Exchange::respond(const HttpResponse& response) {
  BH_CHECK(!responded());
  if (lost_) co_return fail(core_error(CoreError::closed));
  responded_ = true;
  body_arrived_.set();  // nothing more of it comes
  AnswerFields answer;
  if (!response.content_type.empty()) answer.fields.push_back({"content-type", response.content_type});
  answer.add_all(response.headers);
  bool no_body = response.status == 204 || response.status == 304 || method() == HttpMethod::head;
  Status queued =
      connection_.machine_.respond(stream_id(), response.status, answer.fields, no_body ? Bytes() : as_bytes(response.body));
  if (response.close) connection_.leave();
  connection_.driver_.wake_writer();
  co_return queued;
}

Task<Result<SocketAddress>> Http2Exchange::peer_address() {
  if (connection_.client_) co_return *connection_.client_;
  co_return co_await connection_.stream_.socket().peer_address();
}

Bytes Http2Exchange::peer_certificate() {
  const TlsEngine* tls = connection_.stream_.tls();
  return tls ? tls->peer_certificate() : Bytes();
}

Status Http2Exchange::reset(Http2Code code) {
  BH_CHECK(!responded_);
  if (lost_) return fail(core_error(CoreError::closed));
  responded_ = true;
  body_arrived_.set();
  Status queued = connection_.machine_.reset(stream_id(), code);
  connection_.driver_.wake_writer();
  return queued;
}

}  // namespace bellhop::service
