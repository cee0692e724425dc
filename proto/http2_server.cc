// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_server.h"

#include <algorithm>
#include <deque>
#include <map>
#include <vector>

#include "core/base/check.h"
#include "proto/http2_session.h"

namespace bellhop::proto {
namespace {

constexpr uint32_t kFieldOverheadBytes = 32;  // of SETTINGS_MAX_HEADER_LIST_SIZE, RFC 9113 section 6.5.2
// Fields over the limit are read on, to answer 431, up to this multiple of it; beyond, the stream is reset.
constexpr size_t kHeaderOverrunFactor = 4;

constexpr uint16_t kBadRequest = 400;
constexpr uint16_t kMethodNotAllowed = 405;
constexpr uint16_t kContentTooLarge = 413;
constexpr uint16_t kHeaderFieldsTooLarge = 431;

enum class Phase : uint8_t {
  receiving,  // headers or body are coming
  in_work,    // handed out
  answered,   // response, refusal or reset is on its way
};

struct Stream {
  Http2ServerRequest request;
  Http2Body response_body;
  Phase phase = Phase::receiving;
  size_t header_bytes = 0;
  bool headers_too_large = false;
  bool headers_done = false;  // what follows are trailers
  bool lost = false;          // closed in nghttp2 while in work; keeps its slot
  bool own_reset = false;     // we ask for the reset, not nghttp2 for a fault of the peer
};

// What a callback wants done after the feed, or after output was taken.
struct Action {
  int32_t stream_id;
  uint16_t status;  // 0: reset with `code`
  Http2Code code;
};

}  // namespace

Http2ServerRequest& Http2ServerRequest::operator=(Http2ServerRequest&& other) noexcept {
  std::swap(stream_id, other.stream_id);
  method.swap(other.method);  // swapped, so that the other's destructor wipes what was here
  path.swap(other.path);
  authority.swap(other.authority);
  std::swap(headers, other.headers);
  body.swap(other.body);
  return *this;
}

Http2ServerRequest::~Http2ServerRequest() {
  wipe(path);
  wipe(body);
}

struct Http2Server::Machine {
  explicit Machine(const Http2ServerLimits& given);

  Stream* find(int32_t stream_id);
  void refuse(int32_t stream_id, Stream& stream, uint16_t status, Http2Code code);
  void finish_request(int32_t stream_id, Stream& stream);
  void drop_body(Stream& stream);
  void act();
  void submit_reset(int32_t stream_id, Http2Code code);
  Result<Stream*> take_from_work(int32_t stream_id);
  bool over() const { return session.lost() || session.failure().has_value(); }

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
  static int on_frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* frame_header, size_t size,
                       nghttp2_data_source* source, void* self);
  static ssize_t read_response_body(nghttp2_session*, int32_t stream_id, uint8_t* room, size_t size, uint32_t* flags,
                                    nghttp2_data_source* source, void* self);

  Http2ServerLimits limits;
  Http2Session session;
  std::map<int32_t, Stream> streams;
  std::deque<Http2ServerEvent> events;
  std::vector<Action> actions;
  size_t buffered_bytes = 0;  // of the bodies in `receiving`
  uint32_t in_work = 0;
  bool own_goaway = false;  // the GOAWAY with an error code is the application's
};

Http2Server::Machine::Machine(const Http2ServerLimits& given)
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
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
  nghttp2_option* option = new_http2_option();
  session.open_server(callbacks, option, this);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, limits.header_table_bytes},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.initial_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.header_bytes_max + limits.header_fields_max * kFieldOverheadBytes},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  BH_CHECK(nghttp2_submit_settings(session.get(), NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
}

Stream* Http2Server::Machine::find(int32_t stream_id) {
  auto it = streams.find(stream_id);
  return it == streams.end() ? nullptr : &it->second;
}

void Http2Server::Machine::drop_body(Stream& stream) {
  if (stream.phase == Phase::receiving) buffered_bytes -= stream.request.body.size();
  wipe(stream.request.body);
}

// The request will not be handed out: `status`, or where that is 0, a reset with `code`.
void Http2Server::Machine::refuse(int32_t stream_id, Stream& stream, uint16_t status, Http2Code code) {
  drop_body(stream);
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

void Http2Server::Machine::finish_request(int32_t stream_id, Stream& stream) {
  buffered_bytes -= stream.request.body.size();
  stream.phase = Phase::in_work;
  ++in_work;
  stream.request.stream_id = stream_id;
  events.emplace_back(std::move(stream.request));
}

int Http2Server::Machine::on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* header, void* self) {
  if (is_control_frame(*header)) static_cast<Machine*>(self)->session.budget().charge_control_frame();
  return 0;
}

int Http2Server::Machine::on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  bool full = machine.streams.size() >= machine.limits.streams_max;
  Stream& stream = machine.streams[frame->hd.stream_id];
  stream.request.headers = HeaderBlock({machine.limits.header_bytes_max, machine.limits.header_fields_max});
  if (full) {  // slots of lost streams whose work goes on
    machine.session.budget().charge_reset();
    machine.refuse(frame->hd.stream_id, stream, 0, Http2Code::refused_stream);
  }
  return 0;
}

int Http2Server::Machine::on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                                    const uint8_t* value, size_t value_size, uint8_t, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find(frame->hd.stream_id);
  // The temporary failure makes nghttp2 reset the stream and skip the rest of the block without checking it: cheap.
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  stream->header_bytes += name_size + value_size + kFieldOverheadBytes;
  size_t bytes_max = machine.limits.header_bytes_max + machine.limits.header_fields_max * size_t{kFieldOverheadBytes};
  if (stream->header_bytes > bytes_max * kHeaderOverrunFactor) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (stream->headers_done || stream->headers_too_large || stream->phase != Phase::receiving) return 0;
  std::string_view field = nghttp2_text(name, name_size);
  std::string_view text = nghttp2_text(value, value_size);
  Http2ServerRequest& request = stream->request;
  if (stream->header_bytes > bytes_max) {
    stream->headers_too_large = true;
  } else if (field == ":method") {
    request.method.assign(text);
  } else if (field == ":path") {
    request.path.assign(text);
  } else if (field == ":authority") {
    request.authority.assign(text);
  } else if (!field.starts_with(':') && !request.headers.add(field, text)) {
    stream->headers_too_large = true;
  }
  return 0;
}

int Http2Server::Machine::on_data_chunk(nghttp2_session*, uint8_t, int32_t stream_id, const uint8_t* data, size_t size,
                                        void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find(stream_id);
  if (stream == nullptr || stream->phase != Phase::receiving) return 0;
  if (size > machine.limits.body_bytes_max - stream->request.body.size()) {
    machine.refuse(stream_id, *stream, kContentTooLarge, Http2Code::no_error);
  } else if (size > machine.limits.buffered_bytes_max - machine.buffered_bytes) {
    machine.refuse(stream_id, *stream, 0, Http2Code::refused_stream);
  } else {
    append_wiping(stream->request.body, nghttp2_text(data, size));
    machine.buffered_bytes += size;
  }
  return 0;
}

namespace {

// The status that refuses a request for its head alone; 0 where it is fine.
uint16_t judge_head(Stream& stream) {
  Http2ServerRequest& request = stream.request;
  if (stream.headers_too_large) return kHeaderFieldsTooLarge;
  if (request.method == "CONNECT") return kMethodNotAllowed;
  if (request.headers.count("host") > 1) return kBadRequest;
  if (auto host = request.headers.find("host")) {
    if (request.authority.empty()) request.authority.assign(*host);
    if (*host != request.authority) return kBadRequest;
  }
  return request.authority.empty() ? kBadRequest : 0;
}

}  // namespace

int Http2Server::Machine::on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  int32_t stream_id = frame->hd.stream_id;
  Stream* stream = machine.find(stream_id);
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
      if (stream != nullptr && stream->phase == Phase::receiving && !stream->headers_done) {
        stream->headers_done = true;
        uint16_t status = judge_head(*stream);
        if (status != 0) machine.refuse(stream_id, *stream, status, Http2Code::no_error);
      }
      [[fallthrough]];
    case NGHTTP2_DATA:
      if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && stream != nullptr && stream->phase == Phase::receiving) {
        machine.finish_request(stream_id, *stream);
      }
      break;
    case NGHTTP2_RST_STREAM:
      machine.session.budget().charge_reset();
      break;
    case NGHTTP2_GOAWAY:
      machine.events.emplace_back(Http2PeerGoAway{static_cast<Http2Code>(frame->goaway.error_code)});
      break;
    default:
      break;
  }
  return 0;
}

int Http2Server::Machine::on_stream_close(nghttp2_session*, int32_t stream_id, uint32_t code, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  auto it = machine.streams.find(stream_id);
  if (it == machine.streams.end()) return 0;
  Stream& stream = it->second;
  if (stream.phase == Phase::in_work) {
    stream.lost = true;
    machine.events.emplace_back(Http2StreamLost{stream_id, static_cast<Http2Code>(code)});
    return 0;
  }
  machine.drop_body(stream);
  machine.streams.erase(it);
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
// earlier: nghttp2 drops the frames of a stream that is to be reset.
int Http2Server::Machine::on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
  if (nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) != 0) return 0;
  machine.actions.push_back({frame->hd.stream_id, 0, Http2Code::no_error});
  return 0;
}

int Http2Server::Machine::send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* frame_header, size_t size,
                                    nghttp2_data_source*, void* self) {
  auto& machine = *static_cast<Machine*>(self);
  Stream* stream = machine.find(frame->hd.stream_id);
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  return machine.session.emit_data(frame_header, stream->response_body, size);
}

ssize_t Http2Server::Machine::read_response_body(nghttp2_session*, int32_t stream_id, uint8_t*, size_t size,
                                                 uint32_t* flags, nghttp2_data_source*, void* self) {
  Stream* stream = static_cast<Machine*>(self)->find(stream_id);
  return stream == nullptr ? ssize_t{NGHTTP2_ERR_DEFERRED} : read_body(stream->response_body, size, flags);
}

// Ends the application's debt for a request. Returns its stream, or nullptr where that was lost: nothing to send.
Result<Stream*> Http2Server::Machine::take_from_work(int32_t stream_id) {
  Stream* stream = find(stream_id);
  if (stream == nullptr || stream->phase != Phase::in_work) return fail(http2_error(Http2Error::unknown_stream));
  BH_CHECK(in_work > 0);
  --in_work;
  stream->phase = Phase::answered;
  if (!stream->lost && !over()) return stream;
  streams.erase(stream_id);
  return nullptr;
}

Http2Server::Http2Server(const Http2ServerLimits& limits) : machine_(std::make_unique<Machine>(limits)) {}
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

Status Http2Server::respond(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers, Bytes body) {
  BH_CHECK(status >= 200 && status <= 599);
  BH_TRY(Stream * stream, machine_->take_from_work(stream_id));
  if (stream == nullptr) return {};
  machine_->session.budget()
      .credit_exchange();  // here and not before: a request that is reset must not pay for its reset
  std::string status_text = std::to_string(status);
  std::vector<Http2Header> all = {{":status", status_text}};
  all.insert(all.end(), headers.begin(), headers.end());
  std::vector<nghttp2_nv> fields = to_nghttp2(all);
  nghttp2_data_provider provider{{.ptr = nullptr}, Machine::read_response_body};
  stream->response_body.assign(body);
  return machine_->session.check(nghttp2_submit_response(machine_->session.get(), stream_id, fields.data(),
                                                         fields.size(), body.empty() ? nullptr : &provider));
}

Status Http2Server::reset(int32_t stream_id, Http2Code code) {
  BH_TRY(Stream * stream, machine_->take_from_work(stream_id));
  if (stream != nullptr) machine_->submit_reset(stream_id, code);
  return {};
}

Status Http2Server::release(int32_t stream_id) {
  Stream* stream = machine_->find(stream_id);
  if (stream == nullptr || !stream->lost) return fail(http2_error(Http2Error::unknown_stream));
  BH_TRY(Stream * left, machine_->take_from_work(stream_id));
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

void Http2Server::connection_lost() {
  Machine& machine = *machine_;
  if (machine.session.lost()) return;
  machine.session.lose();
  std::erase_if(machine.streams, [](const auto& entry) { return entry.second.phase != Phase::in_work; });
  for (auto& [stream_id, stream] : machine.streams) {
    if (stream.lost) continue;
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
