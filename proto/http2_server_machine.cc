// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_server_machine.h"

#include <algorithm>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

// A DATA frame with less than this is a control frame in all but name.
constexpr size_t kTinyDataBytes = 16;
constexpr uint32_t kUnsentFramesPerStream = 4;

}  // namespace

Http2Server::Machine::Machine(const Http2ServerLimits& given, Http2BodyMemory* shared)
    : limits(given),
      session({.resets_max = given.resets_max,
               .control_frames_max = given.control_frames_max,
               .unsent_frames_max = size_t{given.resets_max} + given.control_frames_max +
                                    size_t{given.streams_max} * kUnsentFramesPerStream}),
      memory(shared ? *shared : own_memory) {
  BH_CHECK(limits.connection_window_bytes >= NGHTTP2_INITIAL_CONNECTION_WINDOW_SIZE);
  nghttp2_session_callbacks* callbacks = nullptr;
  BH_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
  nghttp2_session_callbacks_set_before_frame_send_callback(callbacks, before_frame_send);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
  nghttp2_option* option = new_http2_option();
  nghttp2_option_set_no_auto_window_update(option, 1);  // a body that nobody reads must not go on coming
  session.open_server(callbacks, option, this);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, limits.header_table_bytes},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(Http2Head::list_bytes_max(header_limits()))},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  BH_CHECK(nghttp2_submit_settings(session.get(), NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
  BH_CHECK(nghttp2_session_set_local_window_size(session.get(), NGHTTP2_FLAG_NONE, 0,
                                                 static_cast<int32_t>(limits.connection_window_bytes)) == 0);
}

Http2Server::Machine::~Machine() {
  for (auto& [stream_id, stream] : streams) memory.bytes -= stream.body.size() + stream.taken_bytes;
}

Http2Server::Machine::Stream* Http2Server::Machine::find(int32_t stream_id) {
  auto it = streams.find(stream_id);
  return it == streams.end() ? nullptr : &it->second;
}

// Wipes what came of a body; the connection may send as much again, and where the body is read on, the stream too.
void Http2Server::Machine::give_back(int32_t stream_id, Stream& stream) {
  size_t size = stream.body.size() + std::exchange(stream.taken_bytes, 0);
  stream.body.release();
  return_bytes(stream_id, stream, size);
}

void Http2Server::Machine::return_bytes(int32_t stream_id, const Stream& stream, size_t size) {
  memory.bytes -= size;
  if (size == 0 || over()) return;
  if (stream.phase == Phase::in_work) {
    (void)session.check(nghttp2_session_consume(session.get(), stream_id, size));
  } else {
    (void)session.check(nghttp2_session_consume_connection(session.get(), size));
  }
}

bool Http2Server::Machine::window_used_up(int32_t stream_id) const {
  return nghttp2_session_get_stream_effective_recv_data_length(session.get(), stream_id) >=
         nghttp2_session_get_stream_effective_local_window_size(session.get(), stream_id);
}

void Http2Server::Machine::forget(std::map<int32_t, Stream>::iterator it) {
  give_back(it->first, it->second);
  unsent_answers -= it->second.unsent;
  streams.erase(it);
}

// The request will not be handed out: `status`, or where that is 0, a reset with `code`.
void Http2Server::Machine::refuse(int32_t stream_id, Stream& stream, uint16_t status, Http2Code code) {
  refused += status != 0;
  stream.head.reset();
  stream.phase = Phase::answered;
  actions.push_back({stream_id, status, code});
}

void Http2Server::Machine::submit_reset(int32_t stream_id, Http2Code code) {
  if (Stream* stream = find(stream_id)) stream->own_reset = true;
  (void)session.check(
      nghttp2_submit_rst_stream(session.get(), NGHTTP2_FLAG_NONE, stream_id, static_cast<uint32_t>(code)));
}

void Http2Server::Machine::act() {
  for (const Action& action : actions) {
    if (find(action.stream_id) == nullptr) continue;  // closed meanwhile
    if (action.status != 0) {
      std::string status = std::to_string(action.status);
      const Http2Header headers[] = {{":status", status}};
      std::vector<nghttp2_nv> fields = to_nghttp2(headers);
      (void)session.check(
          nghttp2_submit_response(session.get(), action.stream_id, fields.data(), fields.size(), nullptr));
    } else {
      submit_reset(action.stream_id, action.code);
    }
  }
  actions.clear();
}

void Http2Server::Machine::head_complete(int32_t stream_id, Stream& stream, bool has_body) {
  if (std::optional<HttpError> error = stream.head->judge(has_body)) {
    refuse(stream_id, stream, http_error_status(http_error(*error)), Http2Code::no_error);
    return;
  }
  session.budget().credit_head();
  stream.phase = Phase::in_work;
  ++in_work;
  Http2ServerRequest request = stream.head->take();
  stream.head.reset();
  request.stream_id = stream_id;
  events.emplace_back(std::move(request));
}

void Http2Server::Machine::body_changed(int32_t stream_id, Stream& stream) {
  if (!std::exchange(stream.body_watched, false)) return;
  events.emplace_back(Http2BodyArrived{stream_id});
}

// A HEADERS frame counts as a control frame until it has become a request.
int Http2Server::Machine::on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* header, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Http2Budget& budget = machine.session.budget();
  if (is_control_frame(*header) || header->type == NGHTTP2_HEADERS) budget.charge_control_frame();
  if (header->type == NGHTTP2_HEADERS) machine.header_block_bytes = 0;
  if (header->type == NGHTTP2_HEADERS || header->type == NGHTTP2_CONTINUATION) {
    machine.header_block_bytes += header->length;
    if (machine.header_block_bytes > Http2Head::decoded_bytes_max(machine.header_limits())) budget.exhaust();
  }
  return 0;
}

int Http2Server::Machine::on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  machine.open_head = frame->hd.stream_id;
  bool full = machine.streams.size() >= machine.limits.streams_max;
  Stream& stream = machine.streams[frame->hd.stream_id];
  stream.head = std::make_unique<Http2Head>(machine.header_limits());
  if (full) {  // slots of lost streams whose work goes on
    machine.session.budget().charge_reset();
    machine.refuse(frame->hd.stream_id, stream, 0, Http2Code::refused_stream);
  }
  return 0;
}

// The temporary failure makes nghttp2 reset the stream and skip the rest of the block without checking it: cheap.
int Http2Server::Machine::on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                                    const uint8_t* value, size_t value_size, uint8_t, void* self) {
  Stream* stream = static_cast<Machine*>(self)->find(frame->hd.stream_id);
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;  // trailers: nobody here reads them
  if (!stream->head) return 0;  // refused already
  if (!stream->head->add(nghttp2_text(name, name_size), nghttp2_text(value, value_size))) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  return 0;
}

// A field that nghttp2 would leave out in silence: the request is malformed.
int Http2Server::Machine::on_invalid_header(nghttp2_session*, const nghttp2_frame*, const uint8_t*, size_t,
                                            const uint8_t*, size_t, uint8_t, void*) {
  return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

int Http2Server::Machine::on_data_chunk(nghttp2_session* session, uint8_t, int32_t stream_id, const uint8_t* data,
                                        size_t size, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find(stream_id);
  bool wanted = stream != nullptr && stream->phase == Phase::in_work && !stream->own_reset;
  if (wanted && size > machine.memory.bytes_max - std::min(machine.memory.bytes_max, machine.memory.bytes)) {
    machine.give_back(stream_id, *stream);
    stream->own_reset = true;
    machine.actions.push_back({stream_id, 0, Http2Code::enhance_your_calm});
    wanted = false;
  }
  if (!wanted) {
    (void)machine.session.check(nghttp2_session_consume_connection(session, size));
    if (stream != nullptr && stream->answer_sent && machine.window_used_up(stream_id)) {
      machine.actions.push_back({stream_id, 0, Http2Code::no_error});
    }
    return 0;
  }
  stream->body.append(Bytes(data, size));
  machine.memory.bytes += size;
  machine.body_changed(stream_id, *stream);
  return 0;
}

int Http2Server::Machine::on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  int32_t stream_id = frame->hd.stream_id;
  Stream* stream = machine.find(stream_id);
  bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
      machine.open_head = 0;
      if (stream != nullptr && stream->phase == Phase::receiving) machine.head_complete(stream_id, *stream, !ends);
      break;
    case NGHTTP2_DATA: {
      size_t size = frame->hd.length - std::min(frame->hd.length, frame->data.padlen);
      bool empty = frame->hd.length == 0;  // counted when it began
      if (!ends && !empty && size < kTinyDataBytes) machine.session.budget().charge_control_frame();
      break;
    }
    case NGHTTP2_RST_STREAM:
      machine.session.budget().charge_reset();
      break;
    case NGHTTP2_SETTINGS:
      machine.settings_acknowledged |= (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
      break;
    case NGHTTP2_GOAWAY:
      machine.events.emplace_back(Http2PeerGoAway{static_cast<Http2Code>(frame->goaway.error_code)});
      break;
    default:
      break;
  }
  bool may_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
  if (may_end && ends && stream != nullptr && !stream->body_ended) {
    stream->body_ended = true;
    machine.body_changed(stream_id, *stream);
  }
  return 0;
}

int Http2Server::Machine::on_stream_close(nghttp2_session*, int32_t stream_id, uint32_t code, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  if (machine.open_head == stream_id) machine.open_head = 0;
  auto it = machine.streams.find(stream_id);
  if (it == machine.streams.end()) return 0;
  Stream& stream = it->second;
  if (stream.phase == Phase::in_work) {
    machine.give_back(stream_id, stream);
    stream.response_body.clear();
    stream.lost = true;
    machine.events.emplace_back(Http2StreamLost{stream_id, static_cast<Http2Code>(code)});
    return 0;
  }
  machine.forget(it);
  return 0;
}

int Http2Server::Machine::before_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  if (frame->hd.type == NGHTTP2_RST_STREAM) {
    Stream* stream = machine.find(frame->hd.stream_id);
    if (stream == nullptr || !stream->own_reset) machine.session.budget().charge_reset();
  } else if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && !machine.own_goaway) {
    machine.session.note_violation(frame->goaway.error_code);
  }
  return 0;
}

// A complete answer ahead of the end of the request is followed by a reset without error (RFC 9113 section 8.1). Not
// before the peer has used up its window: many a client throws the answer away when the reset comes with it, and bodies
// that fit in the window end by themselves. nghttp2 would drop the answer, too, were the reset queued before it is out.
int Http2Server::Machine::on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
  Stream* stream = machine.find(frame->hd.stream_id);
  if (stream == nullptr) return 0;
  // Now and not before: a request that is reset must not pay for its reset.
  if (stream->answer_number > 0) machine.session.budget().credit_exchange();
  if (nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) != 0) return 0;
  stream->answer_sent = true;
  if (machine.window_used_up(frame->hd.stream_id)) {
    machine.actions.push_back({frame->hd.stream_id, 0, Http2Code::no_error});
  }
  return 0;
}

int Http2Server::Machine::send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* frame_header, size_t size,
                                    nghttp2_data_source*, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find(frame->hd.stream_id);
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  int sent = machine.session.emit_data(frame_header, stream->response_body, size);
  if (sent != 0) return sent;
  if (stream->response_body.left() == 0) machine.unsent_answers -= std::exchange(stream->unsent, false);
  if (stream->room_watched && stream->response_body.left() < kAnswerRoomBytes) {
    stream->room_watched = false;
    machine.events.emplace_back(Http2AnswerRoom{frame->hd.stream_id});
  }
  return 0;
}

ssize_t Http2Server::Machine::read_response_body(nghttp2_session*, int32_t stream_id, uint8_t*, size_t size,
                                                 uint32_t* flags, nghttp2_data_source*, void* self) {
  Stream* stream = static_cast<Machine*>(self)->find(stream_id);
  if (stream == nullptr) return NGHTTP2_ERR_DEFERRED;
  if (!stream->in_pieces) return read_body(stream->response_body, size, flags);
  ssize_t read = read_body_piece(stream->response_body, stream->answer_ended, size, flags);
  stream->answer_deferred = read == NGHTTP2_ERR_DEFERRED;
  return read;
}

// Ends the application's debt for a request. Returns its stream, or nullptr where that was lost: nothing to send.
Result<Http2Server::Machine::Stream*> Http2Server::Machine::take_from_work(int32_t stream_id) {
  Stream* stream = find(stream_id);
  if (stream == nullptr || stream->phase != Phase::in_work) return fail(http2_error(Http2Error::unknown_stream));
  BH_CHECK(in_work > 0);
  --in_work;
  stream->phase = Phase::answered;
  give_back(stream_id, *stream);
  if (!stream->lost && !over()) return stream;
  streams.erase(stream_id);
  return nullptr;
}

// The answer is whole from our side, if not sent.
void Http2Server::Machine::note_answer(Stream& stream) {
  stream.answer_number = ++answers;
  stream.unsent = stream.response_body.left() > 0;
  unsent_answers += stream.unsent;
}

Status Http2Server::Machine::submit_head(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers,
                                         bool body_follows) {
  std::string status_text = std::to_string(status);
  std::vector<Http2Header> all = {{":status", status_text}};
  all.insert(all.end(), headers.begin(), headers.end());
  std::vector<nghttp2_nv> fields = to_nghttp2(all);
  nghttp2_data_provider provider{{.ptr = nullptr}, read_response_body};
  return session.check(nghttp2_submit_response(session.get(), stream_id, fields.data(), fields.size(),
                                               body_follows ? &provider : nullptr));
}

// nghttp2 asks for the body again, where it found nothing before.
Status Http2Server::Machine::resume_answer(int32_t stream_id, Stream& stream) {
  if (!std::exchange(stream.answer_deferred, false)) return {};
  return session.check(nghttp2_session_resume_data(session.get(), stream_id));
}

Result<Http2Server::Machine::Stream*> Http2Server::Machine::readable(int32_t stream_id) {
  Stream* stream = find(stream_id);
  if (stream == nullptr || stream->phase != Phase::in_work) return fail(http2_error(Http2Error::unknown_stream));
  if (stream->lost || over()) return fail(http2_error(Http2Error::closed));
  return stream;
}

}  // namespace bellhop::proto
