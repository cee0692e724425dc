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
// its own faults provoked from us: CVE-2025-8671) and each control frame costs; each finished exchange, each
// larger DATA frame of ours and each second reported by the driver give back. Resets that we owe are charged when they
// are sent, so what waits to be sent has a bound of its own: a peer that does not read cannot grow it.
class Http2Budget {
 public:
  struct Limits {
    uint32_t resets_max = 100;
    uint32_t control_frames_max = 1000;
    size_t unsent_frames_max = SIZE_MAX;
  };
  explicit Http2Budget(Limits limits) : limits_(limits) {}

  void charge_reset();
  // Up to `count` resets to come are of our own making (a stream limit that we lowered): they cost nothing.
  void expect_resets(uint32_t count);
  void charge_control_frame() { ++control_frames_; }
  void credit_head() { control_frames_ -= control_frames_ > 0; }  // a HEADERS frame that was a good request
  void credit_exchange();
  void credit_data_frame();  // of ours, of a fair size: the peer owes us WINDOW_UPDATEs for it
  void credit_seconds(uint32_t seconds);
  // A fault that no peer commits by accident.
  void exhaust() { spent_ = true; }
  bool exhausted() const {
    return spent_ || resets_ > limits_.resets_max || control_frames_ > limits_.control_frames_max;
  }
  size_t unsent_frames_max() const { return limits_.unsent_frames_max; }

 private:
  Limits limits_;
  uint32_t resets_ = 0;
  uint32_t resets_expected_ = 0;
  uint32_t control_frames_ = 0;
  bool spent_ = false;
};

// A body on its way out; wiped as soon as its last byte is written, and on destruction.
class Http2Body {
 public:
  Http2Body() = default;
  Http2Body(const Http2Body&) = delete;
  Http2Body& operator=(const Http2Body&) = delete;
  ~Http2Body() { wipe(text_); }
  void assign(Bytes bytes);
  void append(Bytes bytes);
  size_t left() const { return text_.size() - at_; }
  // The next `size` bytes, size <= left(). Valid until the next call of a member.
  Bytes peek(size_t size) const { return as_bytes(text_).subspan(at_, size); }
  void consume(size_t size);
  void clear();  // gives the memory back

 private:
  std::string text_;
  size_t at_ = 0;
};

// What Http2Client and Http2Server share: the nghttp2 session, whose memory is wiped when freed, the way of bytes in
// and out, and the verdict on the connection. Not for use elsewhere.
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
  // The send-data callback: one DATA frame, its 9-byte header, then `size` bytes of the body. Returns what the callback
  // returns.
  int emit_data(const uint8_t* frame_header, Http2Body& body, size_t size);
  bool wants_output() const;
  // Nothing more will be read or written.
  bool finished() const;
  // The driver says that the connection is gone.
  void lose() { lost_ = true; }
  // A GOAWAY goes out that nghttp2 decided on (not the application): the peer broke the protocol.
  void note_violation(uint32_t code);
  Status ping(uint64_t opaque);
  // Result of an nghttp2 call that can only fail for want of memory or after a fatal error.
  Status check(int code);
  // Why the connection ended or ends; nothing while it is healthy or where it ended in order.
  const std::optional<Error>& failure() const { return failure_; }
  bool lost() const { return lost_; }

 private:
  Status fail_with(Error error);
  void append_goaway(uint32_t code);

  nghttp2_session* session_ = nullptr;
  Http2Budget budget_;
  MutableBytes room_;  // only while take_output runs
  size_t used_ = 0;    // of room_
  std::string spill_;  // what did not fit in room_: less than one frame
  size_t spill_taken_ = 0;
  std::optional<Error> failure_;
  bool broken_ = false;  // nghttp2 reported a fatal error: only deleting the session is allowed
  bool lost_ = false;
};

// Appends so that no unwiped copy stays behind when the text moves to a larger buffer.
void append_wiping(std::string& text, std::string_view more);
// True for a received frame that moves no exchange forward: SETTINGS, PING, WINDOW_UPDATE, PRIORITY, GOAWAY, empty
// DATA. Frames of unknown types do not come here: nghttp2 skips them for less than their bytes cost on the wire.
bool is_control_frame(const nghttp2_frame_hd& header);
// nghttp2's options that both ends set. Owned by the caller (nghttp2_option_del).
nghttp2_option* new_http2_option();
// The data-source callback for a body that is all here: as much as nghttp2 can send now, to be written by emit_data().
ssize_t read_body(const Http2Body& body, size_t room, uint32_t* flags);
// The same for a body that comes in pieces. `ended`: no further one. Where there is nothing to send it is deferred, until
// nghttp2_session_resume_data().
ssize_t read_body_piece(const Http2Body& body, bool ended, size_t room, uint32_t* flags);
// nghttp2's form of our headers; the views must outlive the result.
std::vector<nghttp2_nv> to_nghttp2(std::span<const Http2Header> headers);
// Text that nghttp2 lends in a callback.
inline std::string_view nghttp2_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace bellhop::proto
