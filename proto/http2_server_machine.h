// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "proto/http2_head.h"
#include "proto/http2_server.h"
#include "proto/http2_session.h"

namespace bellhop::proto {

// What an Http2Server keeps, and what nghttp2 tells it. For its own sources. Callbacks only note; act() does what they want
// done, when nghttp2 has returned.
struct Http2Server::Machine {
  enum class Phase : uint8_t {
    receiving,  // the head is coming
    in_work,    // handed out
    answered,   // response, refusal or reset is on its way
  };

  struct Stream {
    std::unique_ptr<Http2Head> head;  // while it is coming
    WipingBuffer body;                // what came and was not read
    size_t taken_bytes = 0;           // of it, by take_body(): the windows still hold them
    Http2Body response_body;
    uint64_t answer_number = 0;
    Phase phase = Phase::receiving;
    bool body_ended = false;
    bool body_watched = false;
    bool answer_sent = false;      // whole
    bool in_pieces = false;        // the answer, which has begun
    bool answer_ended = false;     // no further piece
    bool answer_deferred = false;  // nghttp2 waits for a piece
    bool room_watched = false;
    bool unsent = false;     // counted in unsent_answers
    bool lost = false;       // closed in nghttp2 while in work; keeps its slot
    bool own_reset = false;  // we ask for the reset, not nghttp2 for a fault of the peer
  };

  // What a callback wants done after the feed, or after output was taken.
  struct Action {
    int32_t stream_id;
    uint16_t status;  // 0: reset with `code`
    Http2Code code;
  };

  Machine(const Http2ServerLimits& given, Http2BodyMemory* shared);
  ~Machine();

  Stream* find(int32_t stream_id);
  void refuse(int32_t stream_id, Stream& stream, uint16_t status, Http2Code code);
  void head_complete(int32_t stream_id, Stream& stream, bool has_body);
  void body_changed(int32_t stream_id, Stream& stream);
  void give_back(int32_t stream_id, Stream& stream);
  void return_bytes(int32_t stream_id, const Stream& stream, size_t size);
  void note_answer(Stream& stream);
  Status resume_answer(int32_t stream_id, Stream& stream);
  Status submit_head(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers, bool body_follows);
  bool window_used_up(int32_t stream_id) const;
  void forget(std::map<int32_t, Stream>::iterator it);
  void act();
  void submit_reset(int32_t stream_id, Http2Code code);
  Result<Stream*> take_from_work(int32_t stream_id);
  Result<Stream*> readable(int32_t stream_id);
  bool over() const { return session.lost() || session.failure().has_value(); }
  HeaderBlock::Limits header_limits() const { return {limits.header_bytes_max, limits.header_fields_max}; }

  // nghttp2's callbacks; they only record.
  static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* header, void* self);
  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t flags, void* self);
  static int on_invalid_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
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
  Http2BodyMemory own_memory;
  Http2BodyMemory& memory;
  uint32_t in_work = 0;
  int32_t open_head = 0;         // the stream whose header block has begun and not ended
  size_t header_block_bytes = 0;  // of it, as it came over the wire
  uint64_t answers = 0;
  uint32_t unsent_answers = 0;
  uint64_t refused = 0;
  bool settings_acknowledged = false;
  bool own_goaway = false;  // the GOAWAY with an error code is the application's
};

}  // namespace bellhop::proto
