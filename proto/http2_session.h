// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/http2.h"

namespace bellhop::proto {

// What a peer may cost us without giving anything back, counted without a clock. Each reset (the peer's, or one that
// its own faults provoked from us: CVE-2025-8671) and each control frame costs; each finished exchange, and each
// second reported by the driver, gives back.
class Http2Budget {
 public:
  struct Limits {
    uint32_t resets_max = 100;
    uint32_t control_frames_max = 1000;
  };
  explicit Http2Budget(Limits limits) : limits_(limits) {}

  void charge_reset() { ++resets_; }
  void charge_control_frame() { ++control_frames_; }
  void credit_exchange();
  void credit_seconds(uint32_t seconds);
  bool exhausted() const { return resets_ > limits_.resets_max || control_frames_ > limits_.control_frames_max; }

 private:
  Limits limits_;
  uint32_t resets_ = 0;
  uint32_t control_frames_ = 0;
};

// What Http2Client and Http2Server share: the nghttp2 session, whose memory is wiped when freed, the way of bytes in and
// out, and the verdict on the connection. Not for use elsewhere.
//
// Bodies go from their owner's memory straight to the output and never through nghttp2's buffers. nghttp2's one
// frame buffer keeps the last header block that we sent until the next frame or the end of the session.
class Http2Session {
 public:
  explicit Http2Session(Http2Budget::Limits limits) : budget_(limits) {}
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;
  ~Http2Session();

  // `owner` is what the callbacks get. Called once, from the owner's constructor.
  void open_client(const nghttp2_session_callbacks* callbacks, const nghttp2_option* option, void* owner);
  void open_server(const nghttp2_session_callbacks* callbacks, const nghttp2_option* option, void* owner);

  nghttp2_session* get() const { return session_; }
  Http2Budget& budget() { return budget_; }
  // Runs the parser in steps of at most 4 KB, so that an exhausted budget ends it soon. After an error: no more.
  Status feed(Bytes bytes);
  // Writes frames into `room`; returns the number of bytes written. 0: nothing to send now.
  size_t take_output(MutableBytes room);
  // From within the send-data callback only: a part of a frame that nghttp2 does not hold itself.
  void emit(Bytes bytes);
  bool wants_output() const;
  // Nothing more will be read or written.
  bool finished() const;
  // Ends the connection: GOAWAY with this code is the last frame.
  void terminate(Http2Code code);
  // The driver says that the connection is gone.
  void lose();
  void note_goaway_sent(Http2Code code);
  // Why the connection ended or ends; nothing while it is healthy or where it ended in order.
  const std::optional<Error>& failure() const { return failure_; }
  bool lost() const { return lost_; }

 private:
  Status fail_with(Error error);

  nghttp2_session* session_ = nullptr;
  Http2Budget budget_;
  MutableBytes room_;      // only while take_output runs
  size_t used_ = 0;        // of room_
  std::string spill_;      // what did not fit in room_: less than one frame
  size_t spill_taken_ = 0;
  std::optional<Error> failure_;
  bool broken_ = false;    // nghttp2 reported a fatal error: only deleting the session is allowed
  bool lost_ = false;
};

// A body on its way out; wiped as soon as its last byte is written, and on destruction.
class Http2Body {
 public:
  Http2Body() = default;
  explicit Http2Body(Bytes bytes) : text_(as_text(bytes)) {}
  Http2Body(const Http2Body&) = delete;
  Http2Body& operator=(const Http2Body&) = delete;
  ~Http2Body() { wipe(text_); }
  void assign(Bytes bytes);
  size_t left() const { return text_.size() - at_; }
  // The next `size` bytes, size <= left(). Valid until the next call of a member.
  Bytes peek(size_t size) const { return as_bytes(text_).subspan(at_, size); }
  void consume(size_t size);
  void clear();

 private:
  std::string text_;
  size_t at_ = 0;
};

// nghttp2's form of our headers; the views must outlive the result.
std::vector<nghttp2_nv> to_nghttp2(std::span<const Http2Header> headers);
// Text that nghttp2 lends in a callback.
inline std::string_view nghttp2_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace bellhop::proto
