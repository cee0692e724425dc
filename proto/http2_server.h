// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/http.h"
#include "proto/http2.h"
#include "proto/wiping_buffer.h"

namespace bellhop::proto {

struct Http2ServerLimits {
  uint32_t streams_max = 32;              // advertised; set_streams_max() changes it
  uint32_t header_bytes_max = 16 * 1024;  // of one request, names and values; more: 431
  uint32_t header_fields_max = 100;
  uint32_t stream_window_bytes = 65'535;       // what may wait unread of one body (SETTINGS_INITIAL_WINDOW_SIZE)
  uint32_t connection_window_bytes = 262'144;  // the same, of all bodies of a connection; at least 65,535
  uint32_t header_table_bytes = 4096;          // SETTINGS_HEADER_TABLE_SIZE; 0 where credentials are in headers
  uint32_t resets_max = 100;                   // see Http2Budget
  uint32_t control_frames_max = 1000;
};

// What the unread bodies of several connections may hold together; a stream that would pass it is reset. Outlives them.
struct Http2BodyMemory {
  size_t bytes_max = SIZE_MAX;
  size_t bytes = 0;
};

// The head of a request, checked as strictly as that of HTTP/1.1; its body follows. The application owes exactly one
// respond(), end_response(), reset() or release() for it.
struct Http2ServerRequest {
  int32_t stream_id = 0;
  HttpMethod method = HttpMethod::get;
  std::string path;       // :path, query included: origin form, or "*" with OPTIONS. May hold a credential
  std::string authority;  // :authority, or `host` where that is absent; a request with two different ones gets 400
  HeaderBlock headers;    // the fields without the pseudo-header fields; lower case
  bool has_body = false;  // the stream did not end with the head
  bool expects_continue = false;           // the peer waits for invite_body() (RFC 9110 section 10.1.1)
  std::optional<uint64_t> content_length;  // a body of another length resets the stream

  Http2ServerRequest() = default;
  Http2ServerRequest(Http2ServerRequest&& other) noexcept { *this = std::move(other); }
  Http2ServerRequest& operator=(Http2ServerRequest&& other) noexcept;
  ~Http2ServerRequest();  // wipes path
};

// There is more of a body that was watched, or its end.
struct Http2BodyArrived {
  int32_t stream_id = 0;
};

// Of an answer in pieces, less than kAnswerRoomBytes wait to be sent; it was watched for.
struct Http2AnswerRoom {
  int32_t stream_id = 0;
};

// A request that was handed out lost its stream: the peer reset it, or a GOAWAY cut it off. Its slot stays taken until
// the application has stopped the work and called release(), respond() or reset().
struct Http2StreamLost {
  int32_t stream_id = 0;
  Http2Code code = Http2Code::no_error;
};

struct Http2PeerGoAway {
  Http2Code code = Http2Code::no_error;
};

using Http2ServerEvent =
    std::variant<Http2ServerRequest, Http2BodyArrived, Http2AnswerRoom, Http2StreamLost, Http2PeerGoAway>;

// What has come of a body and was not consumed. The view is valid until the next call of any member.
struct Http2UnreadBody {
  Bytes bytes;
  bool ended = false;  // nothing follows
};

// The server end of one HTTP/2 connection (RFC 9113) as a machine: bytes in, events out, bytes out. No I/O, no clock.
// Owned by the driver of a connection; used on one core. The driver's loop is that of Http2Client.
//
// Against abuse: nghttp2's limits (CONTINUATION, SETTINGS, unsent acknowledgements, resets in a second) and Http2Budget
// on top, which counts the resets that a peer provokes as well. A header block costs at most twice header_bytes_max of
// decoding. Of a body no more waits here than the windows let the peer send. A stream that the peer reset keeps its slot
// until the application lets it go, so resets cannot multiply the work behind us. Streams over the slots get
// REFUSED_STREAM: safe for an honest client to send again. What is malformed as HTTP, the machine answers by itself with
// the status that HTTP/1.1 gives it, or resets; CONNECT gets 501.
class Http2Server {
 public:
  static constexpr size_t kAnswerRoomBytes = 16 * 1024;

  // `memory` may be shared with other connections of the core; null: the windows alone bound the bodies.
  explicit Http2Server(const Http2ServerLimits& limits = {}, Http2BodyMemory* memory = nullptr);
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;
  ~Http2Server();

  // As Http2Client: an error is fatal for the connection.
  [[nodiscard]] Status feed(Bytes bytes);
  // May make events too (a stream that our own GOAWAY cut off).
  [[nodiscard]] size_t take_output(MutableBytes room);
  bool wants_output() const;
  std::optional<Http2ServerEvent> next_event();

  // The body of a request in work. Errors: closed (the stream is lost), unknown_stream.
  [[nodiscard]] Result<Http2UnreadBody> unread_body(int32_t stream_id);
  // What unread_body() showed was used: wiped, and the peer may send as much again.
  void consume_body(int32_t stream_id);
  // In place of both, for a reader that waits between: what came goes into `piece`, which is empty before, and stays
  // there; the peer may send as much again after return_taken(). True: nothing follows. Errors: as unread_body().
  [[nodiscard]] Result<bool> take_body(int32_t stream_id, WipingBuffer& piece);
  void return_taken(int32_t stream_id);
  // Asks for one Http2BodyArrived. Where there is something to read already it comes never: look first.
  void watch_body(int32_t stream_id);
  // "100 Continue". Errors: as unread_body().
  [[nodiscard]] Status invite_body(int32_t stream_id);

  // Answers a request and gives its slot back. A body that was not read is dropped, and beyond its window cut off. Headers and body are copied; the copy of the body is wiped once sent.
  // On a lost stream: nothing is sent, the slot is free. Errors: unknown_stream (never handed out, or answered
  // already).
  [[nodiscard]] Status respond(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers, Bytes body);
  // An answer in pieces, in place of respond(): its head; any number of pieces, copied until they are sent; its end, which
  // gives the slot back. The request's body may be read until then. The caller keeps what waits small: a piece follows
  // where unsent_answer() is below kAnswerRoomBytes, or after the Http2AnswerRoom that watch_answer() asked for. Where there
  // is room already it comes never: look first. An answer without a body is respond()'s. Errors: closed (the stream is
  // lost), unknown_stream.
  [[nodiscard]] Status begin_response(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers);
  [[nodiscard]] Status write_body(int32_t stream_id, Bytes piece);
  size_t unsent_answer(int32_t stream_id) const;
  void watch_answer(int32_t stream_id);
  [[nodiscard]] Status end_response(int32_t stream_id);
  // RST_STREAM; gives the slot back. Errors as respond().
  [[nodiscard]] Status reset(int32_t stream_id, Http2Code code);
  // After Http2StreamLost: the work has ended. Errors as respond().
  [[nodiscard]] Status release(int32_t stream_id);

  // New limit for later streams (SETTINGS; in force once the peer acknowledged it).
  void set_streams_max(uint32_t streams_max);
  [[nodiscard]] Status ping(uint64_t opaque);
  // First step of an orderly end: GOAWAY with the highest id. Streams go on, new ones are still taken.
  void announce_goaway();
  // Second step: streams above `last_stream_id` are not processed (Http2StreamLost for those handed out); the others go
  // on and finished() follows their end. Normally last_stream_id() is given.
  [[nodiscard]] Status goaway(int32_t last_stream_id, Http2Code code, std::string_view debug_data);
  // The highest stream id that the peer opened and that we took.
  int32_t last_stream_id() const;
  // Requests handed out and not given back.
  uint32_t requests_in_work() const;
  // Requests that the machine answered by itself, so far.
  uint64_t requests_refused() const;

  // For the driver's deadlines. A header block has begun and not ended.
  bool reading_head() const;
  // The peer knows our settings: its header compression keeps to header_table_bytes.
  bool settings_acknowledged() const;
  // Answers so far; whether the body of one has not left whole, for want of window or transport; and the number, from 1,
  // of the first such answer, 0 where there is none (it looks through all streams). An answer in pieces counts from its
  // end on.
  uint64_t answers() const;
  bool has_unsent_answers() const;
  uint64_t oldest_unsent_answer() const;

  // The transport is gone: Http2StreamLost for every request in work.
  void connection_lost();
  bool finished() const;
  std::optional<Error> failure() const;
  void seconds_passed(uint32_t seconds);

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace bellhop::proto
