// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_client.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "core/base/check.h"
#include "proto/http2_session.h"

namespace bellhop::proto {
namespace {

constexpr uint32_t kInitialWindowBytes = 65535;
// A field costs 32 bytes more in SETTINGS_MAX_HEADER_LIST_SIZE than in our count (RFC 9113 section 6.5.2).
constexpr uint32_t kFieldOverheadBytes = 32;

struct Stream {
  Http2Response response;
  Http2Body request_body;
  uint32_t interim_responses = 0;
  size_t trailer_bytes = 0;
  bool headers_taken = false;  // its HEADERS went to the output: the peer may see the request
  bool in_trailers = false;
  bool peer_reset = false;
  bool ended = false;      // its event is out, or cancel() was called; it lives on until nghttp2 closes it
  bool own_reset = false;  // we ask for the reset, not nghttp2 for a fault of the peer
};

}  // namespace

struct Http2Client::Machine {
  explicit Machine(const Http2ClientLimits& given);

  Stream* find(int32_t stream_id);
  Stream* find_open(int32_t stream_id);
  void end_response(int32_t stream_id, Stream& stream);
  void end_failed(int32_t stream_id, Stream& stream, Http2StreamFailed::Cause cause, Http2Fate fate, Http2Code code);
  void act();

  // nghttp2's callbacks; they only record.
  static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* header, void* self);
  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t flags, void* self);
  static int on_data_chunk(nghttp2_session*, uint8_t flags, int32_t stream_id, const uint8_t* data, size_t size,
                           void* self);
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int on_stream_close(nghttp2_session*, int32_t stream_id, uint32_t code, void* self);
  static int before_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* frame_header, size_t size,
                       nghttp2_data_source* source, void* self);
  static ssize_t read_request_body(nghttp2_session*, int32_t stream_id, uint8_t* room, size_t size, uint32_t* flags,
                                   nghttp2_data_source* source, void* self);
  void on_headers_end(const nghttp2_frame& frame);
  void on_goaway(const nghttp2_goaway& frame);

  Http2ClientLimits limits;
  Http2Session session;
  std::map<int32_t, Stream> streams;  // ordered, so that events come in the order of the ids
  std::deque<Http2ClientEvent> events;
  std::vector<int32_t> resets_wanted;  // RST_STREAM with CANCEL, submitted by act()
  bool settings_received = false;
  bool goaway_received = false;
  int32_t goaway_last_stream_id = 0;
  bool drain_asked = false;
};

Http2Client::Machine::Machine(const Http2ClientLimits& given)
    : limits(given), session({given.resets_max, given.control_frames_max}) {
  nghttp2_session_callbacks* callbacks = nullptr;
  BH_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
  nghttp2_session_callbacks_set_before_frame_send_callback(callbacks, before_frame_send);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
  nghttp2_option* option = new_http2_option();
  session.open_client(callbacks, option, this);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kInitialWindowBytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.header_bytes_max + limits.header_fields_max * kFieldOverheadBytes},
  };
  BH_CHECK(nghttp2_submit_settings(session.get(), NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
}

Stream* Http2Client::Machine::find(int32_t stream_id) {
  auto it = streams.find(stream_id);
  return it == streams.end() ? nullptr : &it->second;
}

// A stream whose end is still to be reported.
Stream* Http2Client::Machine::find_open(int32_t stream_id) {
  Stream* stream = find(stream_id);
  return stream != nullptr && !stream->ended ? stream : nullptr;
}

void Http2Client::Machine::end_response(int32_t stream_id, Stream& stream) {
  stream.ended = true;
  stream.request_body.clear();
  stream.response.stream_id = stream_id;
  session.budget().credit_exchange();
  events.emplace_back(std::move(stream.response));
}

void Http2Client::Machine::end_failed(int32_t stream_id, Stream& stream, Http2StreamFailed::Cause cause, Http2Fate fate,
                                      Http2Code code) {
  stream.ended = true;
  stream.request_body.clear();
  uint16_t status = stream.response.status >= 200 ? stream.response.status : 0;
  events.emplace_back(Http2StreamFailed{stream_id, cause, fate, code, status});
}

// After a feed: what the callbacks decided.
void Http2Client::Machine::act() {
  for (int32_t stream_id : resets_wanted) {
    Stream* stream = find(stream_id);
    if (stream == nullptr || stream->own_reset) continue;
    stream->own_reset = true;
    (void)session.check(nghttp2_submit_rst_stream(session.get(), NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL));
  }
  resets_wanted.clear();
  if (!goaway_received) return;
  // Requests that wait for a slot will never start. nghttp2 would say so only when a slot becomes free.
  for (auto& [stream_id, stream] : streams) {
    if (stream.ended || stream.headers_taken) continue;
    end_failed(stream_id, stream, Http2StreamFailed::Cause::goaway, Http2Fate::not_processed,
               Http2Code::refused_stream);
    stream.own_reset = true;
    (void)session.check(nghttp2_submit_rst_stream(session.get(), NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL));
  }
}

int Http2Client::Machine::on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* header, void* self) {
  if (is_control_frame(*header)) static_cast<Machine*>(self)->session.budget().charge_control_frame();
  return 0;
}

int Http2Client::Machine::on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find_open(frame->hd.stream_id);
  if (stream == nullptr) return 0;
  if (stream->response.status >= 200) {
    stream->in_trailers = true;
  } else {
    stream->response.status = 0;
    stream->response.headers.clear();
  }
  return 0;
}

int Http2Client::Machine::on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                                    const uint8_t* value, size_t value_size, uint8_t, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find_open(frame->hd.stream_id);
  // The temporary failure makes nghttp2 reset the stream and skip the rest of the block without checking it: cheap.
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (stream->in_trailers) {
    stream->trailer_bytes += name_size + value_size + kFieldOverheadBytes;
    return stream->trailer_bytes <= machine.limits.header_bytes_max ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  std::string_view field = nghttp2_text(name, name_size);
  std::string_view text = nghttp2_text(value, value_size);
  if (field == ":status") {  // three digits: nghttp2 checked
    stream->response.status = static_cast<uint16_t>(parse_decimal(text).value_or(0));
    return 0;
  }
  return stream->response.headers.add(field, text) ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

int Http2Client::Machine::on_data_chunk(nghttp2_session*, uint8_t, int32_t stream_id, const uint8_t* data, size_t size,
                                        void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find_open(stream_id);
  if (stream == nullptr) return 0;
  std::string& body = stream->response.body;
  size_t room = machine.limits.body_bytes_max - body.size();
  append_wiping(body, nghttp2_text(data, std::min(size, room)));
  if (size > room) {
    // The status is the verdict; the rest of the body is not worth a failure, nor the bytes.
    stream->response.body_truncated = true;
    machine.end_response(stream_id, *stream);
    machine.resets_wanted.push_back(stream_id);
  }
  return 0;
}

void Http2Client::Machine::on_headers_end(const nghttp2_frame& frame) {
  Stream* stream = find_open(frame.hd.stream_id);
  if (stream == nullptr || stream->response.status >= 200) return;
  if (++stream->interim_responses <= limits.interim_responses_max) return;
  end_failed(frame.hd.stream_id, *stream, Http2StreamFailed::Cause::bad_response, Http2Fate::unknown,
             Http2Code::cancel);
  resets_wanted.push_back(frame.hd.stream_id);
}

void Http2Client::Machine::on_goaway(const nghttp2_goaway& frame) {
  goaway_received = true;
  goaway_last_stream_id = frame.last_stream_id;
  size_t size = std::min<size_t>(frame.opaque_data_len, limits.goaway_debug_bytes_max);
  events.emplace_back(Http2GoAway{frame.last_stream_id, static_cast<Http2Code>(frame.error_code),
                                  std::string(nghttp2_text(frame.opaque_data, size))});
}

int Http2Client::Machine::on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  bool end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
      machine.on_headers_end(*frame);
      [[fallthrough]];
    case NGHTTP2_DATA:
      if (Stream* stream = end_stream ? machine.find_open(frame->hd.stream_id) : nullptr) {
        bool upload_open = stream->request_body.left() != 0;
        machine.end_response(frame->hd.stream_id, *stream);
        if (upload_open) machine.resets_wanted.push_back(frame->hd.stream_id);
      }
      break;
    case NGHTTP2_RST_STREAM:
      // Resets of our own requests cost nothing: there are no more of them than requests that we made.
      if (Stream* stream = machine.find_open(frame->hd.stream_id)) {
        stream->peer_reset = true;
      } else {
        machine.session.budget().charge_reset();
      }
      break;
    case NGHTTP2_SETTINGS:
      if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) break;
      machine.settings_received = true;
      machine.events.emplace_back(Http2SettingsReceived{
          std::min(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
                   machine.limits.streams_max)});
      break;
    case NGHTTP2_PING:
      if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        machine.events.emplace_back(Http2PingAck{load_be64(frame->ping.opaque_data)});
      }
      break;
    case NGHTTP2_GOAWAY:
      machine.on_goaway(frame->goaway);
      break;
    default:
      break;
  }
  return 0;
}

int Http2Client::Machine::on_stream_close(nghttp2_session*, int32_t stream_id, uint32_t code, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  auto it = machine.streams.find(stream_id);
  if (it == machine.streams.end()) return 0;
  Stream& stream = it->second;
  if (!stream.ended) {
    using Cause = Http2StreamFailed::Cause;
    auto reason = static_cast<Http2Code>(code);
    bool above_goaway = machine.goaway_received && stream_id > machine.goaway_last_stream_id;
    if (stream.peer_reset) {
      bool refused = reason == Http2Code::refused_stream && stream.response.status < 200;
      machine.end_failed(stream_id, stream, refused ? Cause::refused : Cause::reset,
                         refused ? Http2Fate::not_processed : Http2Fate::unknown, reason);
    } else if (above_goaway || !stream.headers_taken) {
      machine.end_failed(stream_id, stream, Cause::goaway, Http2Fate::not_processed, reason);
    } else {
      machine.end_failed(stream_id, stream, Cause::bad_response, Http2Fate::unknown, reason);
    }
  }
  machine.streams.erase(it);
  return 0;
}

int Http2Client::Machine::before_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  if (frame->hd.type == NGHTTP2_HEADERS) {
    if (Stream* stream = machine.find(frame->hd.stream_id)) stream->headers_taken = true;
  } else if (frame->hd.type == NGHTTP2_RST_STREAM) {
    if (machine.find(frame->hd.stream_id) == nullptr) machine.session.budget().charge_reset();
  } else if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
    machine.session.note_violation(frame->goaway.error_code);
  }
  return 0;
}

int Http2Client::Machine::send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* frame_header, size_t size,
                                    nghttp2_data_source*, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find(frame->hd.stream_id);
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  return machine.session.emit_data(frame_header, stream->request_body, size);
}

ssize_t Http2Client::Machine::read_request_body(nghttp2_session*, int32_t stream_id, uint8_t*, size_t size,
                                                uint32_t* flags, nghttp2_data_source*, void* self) {
  Stream* stream = static_cast<Machine*>(self)->find(stream_id);
  return stream == nullptr ? ssize_t{NGHTTP2_ERR_DEFERRED} : read_body(stream->request_body, size, flags);
}

Http2Client::Http2Client(const Http2ClientLimits& limits) : machine_(std::make_unique<Machine>(limits)) {}
Http2Client::~Http2Client() = default;

Status Http2Client::feed(Bytes bytes) {
  Status fed = machine_->session.feed(bytes);
  if (fed) machine_->act();
  return fed;
}

size_t Http2Client::take_output(MutableBytes room) {
  return machine_->session.take_output(room);
}
bool Http2Client::wants_output() const {
  return machine_->session.wants_output();
}

std::optional<Http2ClientEvent> Http2Client::next_event() {
  if (machine_->events.empty()) return std::nullopt;
  std::optional<Http2ClientEvent> event(std::move(machine_->events.front()));
  machine_->events.pop_front();
  return event;
}

Result<int32_t> Http2Client::submit(const Http2Request& request) {
  Machine& machine = *machine_;
  if (draining() || failure() || machine.session.lost()) return fail(http2_error(Http2Error::closed));
  if (!can_submit()) return fail(http2_error(Http2Error::no_stream));
  std::vector<Http2Header> headers = {{":method", request.method},
                                      {":scheme", request.scheme},
                                      {":authority", request.authority},
                                      {":path", request.path, true}};
  headers.insert(headers.end(), request.headers.begin(), request.headers.end());
  size_t header_bytes = 0;
  for (Http2Header& header : headers) {
    header_bytes += header.name.size() + header.value.size();
    if (header.name == "authorization") header.never_index = true;
  }
  if (header_bytes > machine.limits.request_header_bytes_max ||
      request.body.size() > machine.limits.request_body_bytes_max) {
    size_t size = std::min<size_t>(header_bytes + request.body.size(), UINT32_MAX);
    return fail(http2_error(Http2Error::request_size, static_cast<uint32_t>(size)));
  }
  std::vector<nghttp2_nv> fields = to_nghttp2(headers);
  nghttp2_data_provider provider{{.ptr = nullptr}, Machine::read_request_body};
  int32_t stream_id = nghttp2_submit_request(machine.session.get(), nullptr, fields.data(), fields.size(),
                                             request.body.empty() ? nullptr : &provider, nullptr);
  if (stream_id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) {
    drain();  // 2^30 requests were made: time for a new connection
    return fail(http2_error(Http2Error::closed));
  }
  if (stream_id < 0) BH_CHECKED(machine.session.check(stream_id));
  Stream& stream = machine.streams[stream_id];
  stream.request_body.assign(request.body);
  stream.response.headers = HeaderBlock({machine.limits.header_bytes_max, machine.limits.header_fields_max});
  return stream_id;
}

uint32_t Http2Client::streams_available() const {
  const Machine& machine = *machine_;
  if (draining() || failure() || machine.session.lost()) return 0;
  uint32_t allowed = machine.limits.streams_before_settings;
  if (machine.settings_received) {
    allowed = nghttp2_session_get_remote_settings(machine.session.get(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  }
  allowed = std::min(allowed, machine.limits.streams_max);
  size_t open = machine.streams.size();
  return open >= allowed ? 0 : static_cast<uint32_t>(allowed - open);
}

uint32_t Http2Client::streams_open() const {
  return static_cast<uint32_t>(
      std::ranges::count_if(machine_->streams, [](const auto& entry) { return !entry.second.ended; }));
}

Http2Fate Http2Client::cancel(int32_t stream_id) {
  Stream* stream = machine_->find_open(stream_id);
  if (stream == nullptr) return Http2Fate::unknown;
  stream->ended = true;
  stream->request_body.clear();
  machine_->resets_wanted.push_back(stream_id);
  Http2Fate fate = stream->headers_taken ? Http2Fate::unknown : Http2Fate::not_processed;
  if (!failure() && !machine_->session.lost()) machine_->act();
  return fate;
}

Status Http2Client::ping(uint64_t opaque) {
  return machine_->session.ping(opaque);
}

void Http2Client::drain() {
  Machine& machine = *machine_;
  if (machine.drain_asked || failure() || machine.session.lost()) return;
  machine.drain_asked = true;
  (void)machine.session.check(
      nghttp2_submit_goaway(machine.session.get(), NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, nullptr, 0));
}

bool Http2Client::draining() const {
  return machine_->drain_asked || machine_->goaway_received;
}

void Http2Client::connection_lost() {
  Machine& machine = *machine_;
  machine.session.lose();
  for (auto& [stream_id, stream] : machine.streams) {
    if (stream.ended) continue;
    machine.end_failed(stream_id, stream, Http2StreamFailed::Cause::connection_lost,
                       stream.headers_taken ? Http2Fate::unknown : Http2Fate::not_processed, Http2Code::no_error);
  }
  machine.streams.clear();
}

bool Http2Client::finished() const {
  return machine_->session.finished();
}
std::optional<Error> Http2Client::failure() const {
  return machine_->session.failure();
}
void Http2Client::seconds_passed(uint32_t seconds) {
  machine_->session.budget().credit_seconds(seconds);
}

}  // namespace bellhop::proto
