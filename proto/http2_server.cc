// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_server.h"

#include <algorithm>

#include "core/base/check.h"
#include "proto/http2_server_machine.h"

namespace bellhop::proto {

Http2ServerRequest& Http2ServerRequest::operator=(Http2ServerRequest&& other) noexcept {
  std::swap(stream_id, other.stream_id);
  std::swap(method, other.method);
  path.swap(other.path);  // swapped, so that the other's destructor wipes what was here
  authority.swap(other.authority);
  std::swap(headers, other.headers);
  std::swap(has_body, other.has_body);
  std::swap(expects_continue, other.expects_continue);
  std::swap(content_length, other.content_length);
  return *this;
}

Http2ServerRequest::~Http2ServerRequest() { wipe(path); }

Http2Server::Http2Server(const Http2ServerLimits& limits, Http2BodyMemory* memory)
    : machine_(std::make_unique<Machine>(limits, memory)) {}
Http2Server::~Http2Server() = default;

Status Http2Server::feed(Bytes bytes) {
  Status fed = machine_->session.feed(bytes);
  if (fed) machine_->act();
  return fed;
}

size_t Http2Server::take_output(MutableBytes room) {
  size_t size = machine_->session.take_output(room);
  while (!machine_->actions.empty()) {
    machine_->act();
    size += machine_->session.take_output(room.subspan(size));
  }
  return size;
}
bool Http2Server::wants_output() const {
  return machine_->session.wants_output();
}

std::optional<Http2ServerEvent> Http2Server::next_event() {
  if (machine_->events.empty()) return std::nullopt;
  std::optional<Http2ServerEvent> event(std::move(machine_->events.front()));
  machine_->events.pop_front();
  return event;
}

Result<Http2UnreadBody> Http2Server::unread_body(int32_t stream_id) {
  BH_TRY(Machine::Stream * stream, machine_->readable(stream_id));
  return Http2UnreadBody{stream->body.bytes(), stream->body_ended};
}

void Http2Server::consume_body(int32_t stream_id) {
  if (auto stream = machine_->readable(stream_id)) machine_->give_back(stream_id, **stream);
}

Result<bool> Http2Server::take_body(int32_t stream_id, WipingBuffer& piece) {
  BH_CHECK(piece.empty());
  BH_TRY(Machine::Stream * stream, machine_->readable(stream_id));
  stream->taken_bytes += stream->body.size();
  piece = std::move(stream->body);
  return stream->body_ended;
}

void Http2Server::return_taken(int32_t stream_id) {
  auto stream = machine_->readable(stream_id);
  if (stream) machine_->return_bytes(stream_id, **stream, std::exchange((*stream)->taken_bytes, 0));
}

void Http2Server::watch_body(int32_t stream_id) {
  if (auto stream = machine_->readable(stream_id)) (*stream)->body_watched = true;
}

Status Http2Server::invite_body(int32_t stream_id) {
  BH_CHECKED(machine_->readable(stream_id));
  const Http2Header headers[] = {{":status", "100"}};
  std::vector<nghttp2_nv> fields = to_nghttp2(headers);
  int32_t queued = nghttp2_submit_headers(machine_->session.get(), NGHTTP2_FLAG_NONE, stream_id, nullptr, fields.data(),
                                          fields.size(), nullptr);
  return machine_->session.check(std::min(queued, 0));
}

Status Http2Server::respond(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers, Bytes body) {
  BH_CHECK(status >= 200 && status <= 599);
  BH_TRY(Machine::Stream * stream, machine_->take_from_work(stream_id));
  if (stream == nullptr) return {};
  stream->response_body.assign(body);
  machine_->note_answer(*stream);
  return machine_->submit_head(stream_id, status, headers, !body.empty());
}

Status Http2Server::begin_response(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers) {
  BH_CHECK(status >= 200 && status <= 599);
  BH_TRY(Machine::Stream * stream, machine_->readable(stream_id));
  BH_CHECK(!stream->in_pieces);
  stream->in_pieces = true;
  return machine_->submit_head(stream_id, status, headers, true);
}

Status Http2Server::write_body(int32_t stream_id, Bytes piece) {
  BH_TRY(Machine::Stream * stream, machine_->readable(stream_id));
  BH_CHECK(stream->in_pieces);
  if (piece.empty()) return {};
  stream->response_body.append(piece);
  return machine_->resume_answer(stream_id, *stream);
}

size_t Http2Server::unsent_answer(int32_t stream_id) const {
  const Machine::Stream* stream = machine_->find(stream_id);
  return stream == nullptr ? 0 : stream->response_body.left();
}

void Http2Server::watch_answer(int32_t stream_id) {
  if (auto stream = machine_->readable(stream_id)) (*stream)->room_watched = true;
}

Status Http2Server::end_response(int32_t stream_id) {
  BH_TRY(Machine::Stream * stream, machine_->take_from_work(stream_id));
  if (stream == nullptr) return {};
  BH_CHECK(stream->in_pieces);
  stream->answer_ended = true;
  machine_->note_answer(*stream);
  return machine_->resume_answer(stream_id, *stream);
}

Status Http2Server::reset(int32_t stream_id, Http2Code code) {
  BH_TRY(Machine::Stream * stream, machine_->take_from_work(stream_id));
  if (stream != nullptr) machine_->submit_reset(stream_id, code);
  return {};
}

Status Http2Server::release(int32_t stream_id) {
  Machine::Stream* stream = machine_->find(stream_id);
  if (stream == nullptr || !stream->lost) return fail(http2_error(Http2Error::unknown_stream));
  BH_TRY(Machine::Stream * left, machine_->take_from_work(stream_id));
  BH_CHECK(left == nullptr);
  return {};
}

void Http2Server::set_streams_max(uint32_t streams_max) {
  if (machine_->over() || streams_max == machine_->limits.streams_max) return;
  // Requests that are on their way when we lower the limit will be refused.
  if (streams_max < machine_->limits.streams_max) {
    machine_->session.budget().expect_resets(machine_->limits.streams_max - streams_max);
  }
  machine_->limits.streams_max = streams_max;
  const nghttp2_settings_entry setting = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams_max};
  (void)machine_->session.check(nghttp2_submit_settings(machine_->session.get(), NGHTTP2_FLAG_NONE, &setting, 1));
}

Status Http2Server::ping(uint64_t opaque) {
  return machine_->session.ping(opaque);
}

void Http2Server::announce_goaway() {
  if (machine_->over()) return;
  (void)machine_->session.check(nghttp2_submit_shutdown_notice(machine_->session.get()));
}

Status Http2Server::goaway(int32_t last_stream_id, Http2Code code, std::string_view debug_data) {
  if (machine_->over()) return fail(http2_error(Http2Error::closed));
  if (code != Http2Code::no_error) machine_->own_goaway = true;
  return machine_->session.check(
      nghttp2_submit_goaway(machine_->session.get(), NGHTTP2_FLAG_NONE, last_stream_id, static_cast<uint32_t>(code),
                            reinterpret_cast<const uint8_t*>(debug_data.data()), debug_data.size()));
}

int32_t Http2Server::last_stream_id() const {
  return nghttp2_session_get_last_proc_stream_id(machine_->session.get());
}
uint32_t Http2Server::requests_in_work() const {
  return machine_->in_work;
}

uint64_t Http2Server::requests_refused() const {
  return machine_->refused;
}
bool Http2Server::reading_head() const {
  return machine_->open_head != 0;
}
bool Http2Server::settings_acknowledged() const {
  return machine_->settings_acknowledged;
}
uint64_t Http2Server::answers() const {
  return machine_->answers;
}
bool Http2Server::has_unsent_answers() const {
  return machine_->unsent_answers > 0;
}

uint64_t Http2Server::oldest_unsent_answer() const {
  uint64_t oldest = 0;
  if (machine_->unsent_answers == 0) return oldest;
  for (const auto& [stream_id, stream] : machine_->streams) {
    if (!stream.unsent) continue;
    if (oldest == 0 || stream.answer_number < oldest) oldest = stream.answer_number;
  }
  return oldest;
}

void Http2Server::connection_lost() {
  Machine& machine = *machine_;
  if (machine.session.lost()) return;
  machine.session.lose();
  for (auto it = machine.streams.begin(); it != machine.streams.end();) {
    auto entry = it++;
    if (entry->second.phase != Machine::Phase::in_work) machine.forget(entry);
  }
  for (auto& [stream_id, stream] : machine.streams) {
    if (stream.lost) continue;
    machine.give_back(stream_id, stream);
    stream.response_body.clear();
    stream.lost = true;
    machine.events.emplace_back(Http2StreamLost{stream_id, Http2Code::no_error});
  }
}

bool Http2Server::finished() const {
  return machine_->session.finished();
}
std::optional<Error> Http2Server::failure() const {
  return machine_->session.failure();
}
void Http2Server::seconds_passed(uint32_t seconds) {
  machine_->session.budget().credit_seconds(seconds);
}

}  // namespace bellhop::proto
