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

namespace bellhop::proto {

struct Http2ServerLimits {
  uint32_t streams_max = 32;              // advertised; set_streams_max() changes it
  uint32_t header_bytes_max = 16 * 1024;  // of one request, names and values; more: 431
  uint32_t header_fields_max = 100;
  uint32_t body_bytes_max = 256 * 1024;       // of one request; more: 413
  uint32_t buffered_bytes_max = 1024 * 1024;  // bodies of all unfinished requests; more: the stream is refused
  uint32_t header_table_bytes = 4096;         // SETTINGS_HEADER_TABLE_SIZE; 0 where credentials are in headers
  uint32_t initial_window_bytes = 65535;      // SETTINGS_INITIAL_WINDOW_SIZE of a stream
  uint32_t resets_max = 100;                  // see Http2Budget
  uint32_t control_frames_max = 1000;
};

// A whole request. The application owes exactly one respond(), reset() or release() for it.
struct Http2ServerRequest {
  int32_t stream_id = 0;
  std::string method;
  std::string path;       // :path, query included. May hold a credential: the consumer wipes it
  std::string authority;  // :authority, or `host` where that is absent; a request with two different ones gets 400
  HeaderBlock headers;    // the fields without the pseudo-header fields; lower case
  std::string body;       // may hold secrets: the consumer wipes it

  Http2ServerRequest() = default;
  Http2ServerRequest(Http2ServerRequest&& other) noexcept { *this = std::move(other); }
  Http2ServerRequest& operator=(Http2ServerRequest&& other) noexcept;
  ~Http2ServerRequest();  // wipes path and body
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

using Http2ServerEvent = std::variant<Http2ServerRequest, Http2StreamLost, Http2PeerGoAway>;

// The server end of one HTTP/2 connection (RFC 9113) as a machine: bytes in, events out, bytes out. No I/O, no clock.
// Owned by the driver of a connection; used on one core. The driver's loop is that of Http2Client.
//
// Against abuse: nghttp2's limits (CONTINUATION, SETTINGS, unsent acknowledgements, resets in a second) and Http2Budget
// on top, which counts the resets that a peer provokes as well. A stream that the peer reset keeps its slot until the
// application lets it go, so resets cannot multiply the work behind us. Refused streams (over the slots or over
// buffered_bytes_max) get REFUSED_STREAM: safe for an honest client to send again. CONNECT gets 405.
class Http2Server {
 public:
  explicit Http2Server(const Http2ServerLimits& limits = {});
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;
  ~Http2Server();

  // As Http2Client: an error is fatal for the connection.
  [[nodiscard]] Status feed(Bytes bytes);
  // May make events too (a stream that our own GOAWAY cut off).
  [[nodiscard]] size_t take_output(MutableBytes room);
  bool wants_output() const;
  std::optional<Http2ServerEvent> next_event();

  // Answers a request and gives its slot back. Headers and body are copied; the copy of the body is wiped once sent.
  // On a lost stream: nothing is sent, the slot is free. Errors: unknown_stream (never handed out, or answered
  // already).
  [[nodiscard]] Status respond(int32_t stream_id, uint16_t status, std::span<const Http2Header> headers, Bytes body);
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
