// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/http.h"
#include "proto/http2.h"

namespace bellhop::proto {

struct Http2ClientLimits {
  uint32_t streams_max = 1000;           // our own cap, whatever the peer allows
  uint32_t streams_before_settings = 1;  // until the peer's SETTINGS arrived
  uint32_t request_header_bytes_max = 16 * 1024;
  uint32_t request_body_bytes_max = 1024 * 1024;
  uint32_t header_bytes_max = 8 * 1024;  // of one answer, names and values
  uint32_t header_fields_max = 64;
  uint32_t body_bytes_max = 4 * 1024;  // of one answer; the rest is not read
  uint32_t interim_responses_max = 4;  // 1xx, a stream
  uint32_t goaway_debug_bytes_max = 1024;
  uint32_t resets_max = 100;  // see Http2Budget
  uint32_t control_frames_max = 1000;
};

struct Http2Request {
  std::string_view method = "POST";
  std::string_view scheme = "https";
  std::string_view authority;
  std::string_view path;
  std::span<const Http2Header> headers;  // `authorization` is never indexed, asked for or not
  Bytes body;
};

// What the end of a stream without a complete answer says about the request.
enum class Http2Fate : uint8_t {
  not_processed,  // the peer did not act on it (RFC 9113 section 8.7): safe to send again
  unknown,        // it may have been accepted: sending again may deliver it twice
};

// A complete answer. The fields are in lower case; trailers are dropped.
struct Http2Response {
  int32_t stream_id = 0;
  uint16_t status = 0;
  HeaderBlock headers;
  std::string body;             // at most body_bytes_max
  bool body_truncated = false;  // there was more; the stream was cancelled
};

// The stream ended without a complete answer.
struct Http2StreamFailed {
  enum class Cause : uint8_t {
    refused,  // RST_STREAM with REFUSED_STREAM
    reset,    // RST_STREAM with another code
    goaway,   // above GOAWAY's last stream id, or not yet sent when it came
    connection_lost,
    bad_response,  // malformed, or over our limits; we reset the stream
  };
  int32_t stream_id = 0;
  Cause cause = Cause::reset;
  Http2Fate fate = Http2Fate::unknown;
  Http2Code code = Http2Code::no_error;
  uint16_t status = 0;  // where the final status had come already: the verdict is known although the rest is not
};

struct Http2GoAway {
  int32_t last_stream_id = 0;
  Http2Code code = Http2Code::no_error;
  std::string debug_data;  // APNs: JSON with a `reason`. At most goaway_debug_bytes_max
};

struct Http2SettingsReceived {
  uint32_t streams_max = 0;  // the peer's SETTINGS_MAX_CONCURRENT_STREAMS, or ours where it sent none
};

struct Http2PingAck {
  uint64_t opaque = 0;
};

using Http2ClientEvent =
    std::variant<Http2Response, Http2StreamFailed, Http2GoAway, Http2SettingsReceived, Http2PingAck>;

// The client end of one HTTP/2 connection (RFC 9113) as a machine: bytes in, events out, bytes out. No I/O, no clock.
// Server push is off. Owned by the driver of a connection; used on one core.
//
// The driver's loop: feed() what came; take_output() until it returns 0 and send that; take next_event() until it is
// empty (take_output() may make events too); when finished(), or when the transport fails, close, call
// connection_lost() and take the last events.
//
// Invariants:
// 1. Each stream id that submit() returned ends in exactly one Http2Response or Http2StreamFailed, or in cancel().
// 2. Nothing is queued that the peer's stream limit does not allow at the moment of submit(). Where the limit sinks
//    between submit() and take_output(), the request waits inside and still counts as open.
// 3. After GOAWAY no request is started.
class Http2Client {
 public:
  explicit Http2Client(const Http2ClientLimits& limits = {});
  Http2Client(const Http2Client&) = delete;
  Http2Client& operator=(const Http2Client&) = delete;
  ~Http2Client();

  // Consumes all bytes. An error is fatal for the connection: the output that is left may hold a GOAWAY, then close.
  // Violations that nghttp2 answers itself show in failure() and finished() once their GOAWAY was taken.
  [[nodiscard]] Status feed(Bytes bytes);
  // Writes at most room.size() bytes to send; returns their number, 0 when there is nothing to send now.
  [[nodiscard]] size_t take_output(MutableBytes room);
  bool wants_output() const;
  std::optional<Http2ClientEvent> next_event();

  // Queues a request and returns its stream id. Headers and body are copied; the copy of the body is wiped once sent.
  // Errors: closed, no_stream, request_size, library.
  [[nodiscard]] Result<int32_t> submit(const Http2Request& request);
  // How many requests may be submitted now: the least of the peer's limit and ours, less the open streams; 0 while
  // draining.
  uint32_t streams_available() const;
  bool can_submit() const { return streams_available() > 0; }
  uint32_t streams_open() const;
  // Gives a stream up (its deadline passed): RST_STREAM with CANCEL, no event. Says what is known of the request.
  // Its slot is free when the reset is on its way out. An id that has ended already: `unknown`, nothing happens.
  Http2Fate cancel(int32_t stream_id);

  // PING with 8 bytes of the caller's choice; its acknowledgement is an event.
  [[nodiscard]] Status ping(uint64_t opaque);
  // No new requests. finished() becomes true after the open streams ended and our GOAWAY was taken.
  void drain();
  bool draining() const;
  // The transport is gone: every open stream fails, `not_processed` where its headers were never taken as output.
  void connection_lost();
  // Nothing more to read or write: close the transport.
  bool finished() const;
  // Why the connection failed; nothing while it is healthy or where it ended in order.
  std::optional<Error> failure() const;
  // Optional: the driver tells that time passed, so that the flood limits count per time and not per lifetime.
  void seconds_passed(uint32_t seconds);

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace bellhop::proto
