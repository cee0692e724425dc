// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_session.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

constexpr size_t kFeedStepBytes = 4096;
constexpr size_t kFrameHeaderBytes = 9;
constexpr size_t kPayingDataBytes = 512;  // smaller DATA frames are what tiny windows provoke
constexpr uint32_t kControlFramesPerExchange = 20;
constexpr uint32_t kControlFramesPerDataFrame = 2;  // WINDOW_UPDATE of stream and connection
constexpr uint32_t kControlFramesPerSecond = 10;
constexpr uint32_t kResetsPerSecond = 1;

// nghttp2's own limits, named here although they are its defaults: older versions have neither. Its reset limit reads
// the clock itself; Http2Budget, which does not, is reached first.
constexpr size_t kContinuationsMax = 8;
constexpr uint64_t kLibraryResetBurst = 1000;
constexpr uint64_t kLibraryResetsPerSecond = 33;
constexpr size_t kSettingsEntriesMax = 32;
constexpr size_t kOutboundAcknowledgementsMax = 100;

// Memory that is wiped when nghttp2 gives it back. The size stands before the block; 16 bytes keep the alignment.
constexpr size_t kBlockHeaderBytes = 16;

void* wiping_malloc(size_t size, void*) {
  auto* block = static_cast<uint8_t*>(std::malloc(size + kBlockHeaderBytes));
  BH_CHECK(block != nullptr);  // out of memory aborts
  std::memcpy(block, &size, sizeof size);
  return block + kBlockHeaderBytes;
}

void wiping_free(void* memory, void*) {
  if (memory == nullptr) return;
  uint8_t* block = static_cast<uint8_t*>(memory) - kBlockHeaderBytes;
  size_t size;
  std::memcpy(&size, block, sizeof size);
  wipe(memory, size);
  std::free(block);
}

void* wiping_calloc(size_t count, size_t size, void* user) {
  size_t total;
  BH_CHECK(!__builtin_mul_overflow(count, size, &total));
  void* memory = wiping_malloc(total, user);
  std::memset(memory, 0, total);
  return memory;
}

void* wiping_realloc(void* memory, size_t size, void* user) {
  if (memory == nullptr) return wiping_malloc(size, user);
  size_t old_size;
  std::memcpy(&old_size, static_cast<uint8_t*>(memory) - kBlockHeaderBytes, sizeof old_size);
  if (size <= old_size) return memory;
  void* larger = wiping_malloc(size, user);
  std::memcpy(larger, memory, old_size);
  wiping_free(memory, user);
  return larger;
}

nghttp2_mem kWipingMemory = {nullptr, wiping_malloc, wiping_free, wiping_calloc, wiping_realloc};

}  // namespace

void Http2Budget::charge_reset() {
  if (resets_expected_ > 0) {
    --resets_expected_;
  } else {
    ++resets_;
  }
}

void Http2Budget::expect_resets(uint32_t count) {
  resets_expected_ = std::max(resets_expected_, count);
}

void Http2Budget::credit_exchange() {
  resets_ -= std::min(resets_, 1u);
  control_frames_ -= std::min(control_frames_, kControlFramesPerExchange);
}

void Http2Budget::credit_data_frame() {
  control_frames_ -= std::min(control_frames_, kControlFramesPerDataFrame);
}

void Http2Budget::credit_seconds(uint32_t seconds) {
  seconds = std::min(seconds, 3600u);  // no overflow below; an hour pays for everything
  resets_ -= std::min(resets_, seconds * kResetsPerSecond);
  control_frames_ -= std::min(control_frames_, seconds * kControlFramesPerSecond);
}

void Http2Body::assign(Bytes bytes) {
  clear();
  text_.assign(as_text(bytes));
}

// What was consumed makes room first, so that the text is never longer than what is left and what comes.
void Http2Body::append(Bytes bytes) {
  if (at_ > 0) {
    size_t size = left();
    std::memmove(text_.data(), text_.data() + at_, size);
    wipe(text_.data() + size, at_);
    text_.resize(size);
    at_ = 0;
  }
  append_wiping(text_, as_text(bytes));
}

void Http2Body::consume(size_t size) {
  BH_CHECK(size <= left());
  at_ += size;
  if (at_ == text_.size()) clear();
}

void Http2Body::clear() {
  wipe(text_);
  text_ = std::string();
  at_ = 0;
}

Http2Session::~Http2Session() {
  nghttp2_session_del(session_);
  wipe(spill_);
}

void Http2Session::open_client(const nghttp2_session_callbacks* callbacks, const nghttp2_option* option, void* owner) {
  BH_CHECK(session_ == nullptr);
  BH_CHECK(nghttp2_session_client_new3(&session_, callbacks, owner, option, &kWipingMemory) == 0);
}

void Http2Session::open_server(const nghttp2_session_callbacks* callbacks, const nghttp2_option* option, void* owner) {
  BH_CHECK(session_ == nullptr);
  BH_CHECK(nghttp2_session_server_new3(&session_, callbacks, owner, option, &kWipingMemory) == 0);
}

Status Http2Session::fail_with(Error error) {
  if (!failure_) failure_ = error;
  return fail(*failure_);
}

Status Http2Session::check(int code) {
  if (code == 0) return {};
  if (nghttp2_is_fatal(code)) broken_ = true;
  return fail(http2_error(Http2Error::library, static_cast<uint32_t>(-code)));
}

Status Http2Session::feed(Bytes bytes) {
  if (failure_) return fail(*failure_);
  if (lost_) return fail(http2_error(Http2Error::closed));
  while (!bytes.empty()) {
    Bytes step = bytes.first(std::min(bytes.size(), kFeedStepBytes));
    ssize_t taken = nghttp2_session_mem_recv(session_, step.data(), step.size());
    if (taken < 0) {
      broken_ = true;
      uint32_t code = static_cast<uint32_t>(-taken);
      // CONTINUATION and acknowledgement floods; the library ends them without a GOAWAY.
      if (taken == NGHTTP2_ERR_FLOODED || taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
        append_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
        return fail_with(http2_error(Http2Error::flooded, code));
      }
      if (taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC) return fail_with(http2_error(Http2Error::violation));
      return fail_with(http2_error(Http2Error::library, code));
    }
    BH_CHECK(static_cast<size_t>(taken) == step.size());  // it stops early only when a callback pauses it
    bytes = bytes.subspan(step.size());
    if (budget_.exhausted() || nghttp2_session_get_outbound_queue_size(session_) > budget_.unsent_frames_max()) {
      nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
      return fail_with(http2_error(Http2Error::flooded));
    }
  }
  return {};
}

// By hand: the library takes nothing more to send after a fatal error. Its frames go out whole, so this one follows
// after the last of them.
void Http2Session::append_goaway(uint32_t code) {
  constexpr uint32_t kPayloadBytes = 8;
  uint8_t frame[kFrameHeaderBytes + kPayloadBytes] = {};
  store_be32(frame, kPayloadBytes << 8 | NGHTTP2_GOAWAY);
  store_be32(frame + kFrameHeaderBytes, static_cast<uint32_t>(nghttp2_session_get_last_proc_stream_id(session_)));
  store_be32(frame + kFrameHeaderBytes + 4, code);
  append_wiping(spill_, as_text(Bytes(frame)));
}

size_t Http2Session::take_output(MutableBytes room) {
  room_ = room;
  used_ = 0;
  if (spill_taken_ < spill_.size()) {
    Bytes left = as_bytes(spill_).subspan(spill_taken_);
    size_t size = std::min(left.size(), room.size());
    if (size != 0) std::memcpy(room.data(), left.data(), size);
    used_ = size;
    spill_taken_ += size;
    if (spill_taken_ == spill_.size()) {
      wipe(spill_);
      spill_taken_ = 0;
    }
  }
  while (used_ < room_.size() && !broken_ && !lost_) {
    const uint8_t* data = nullptr;
    size_t before = used_ + spill_.size();
    ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) {
      broken_ = true;
      if (!failure_) failure_ = http2_error(Http2Error::library, static_cast<uint32_t>(-size));
      break;
    }
    if (size > 0) emit({data, static_cast<size_t>(size)});
    if (used_ + spill_.size() == before) break;
  }
  room_ = {};
  return used_;
}

void Http2Session::emit(Bytes bytes) {
  size_t size = spill_.empty() ? std::min(bytes.size(), room_.size() - used_) : 0;
  if (size != 0) std::memcpy(room_.data() + used_, bytes.data(), size);
  used_ += size;
  if (size < bytes.size()) append_wiping(spill_, as_text(bytes.subspan(size)));
}

int Http2Session::emit_data(const uint8_t* frame_header, Http2Body& body, size_t size) {
  if (body.left() < size) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;         // given up while the frame waited
  if (used_ == room_.size() || !spill_.empty()) return NGHTTP2_ERR_WOULDBLOCK;  // keeps the spill under one frame
  emit({frame_header, kFrameHeaderBytes});
  emit(body.peek(size));
  body.consume(size);
  if (size >= kPayingDataBytes) budget_.credit_data_frame();
  return 0;
}

bool Http2Session::wants_output() const {
  if (lost_) return false;
  return !spill_.empty() || (!broken_ && nghttp2_session_want_write(session_) != 0);
}

bool Http2Session::finished() const {
  if (lost_) return true;
  if (!spill_.empty()) return false;
  return broken_ || (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0);
}

void Http2Session::note_violation(uint32_t code) {
  if (!failure_) failure_ = http2_error(Http2Error::violation, code);
}

Status Http2Session::ping(uint64_t opaque) {
  if (lost_ || broken_ || failure_) return fail(http2_error(Http2Error::closed));
  uint8_t bytes[8];
  store_be64(bytes, opaque);
  return check(nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, bytes));
}

void append_wiping(std::string& text, std::string_view more) {
  size_t needed = text.size() + more.size();
  if (needed > text.capacity()) {
    std::string larger;
    larger.reserve(std::max(needed, text.capacity() * 2));
    larger = text;
    wipe(text);
    text.swap(larger);
  }
  text.append(more);
}

bool is_control_frame(const nghttp2_frame_hd& header) {
  switch (header.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_RST_STREAM:  // counted as a reset
      return false;
    case NGHTTP2_DATA:
      return header.length == 0 && (header.flags & NGHTTP2_FLAG_END_STREAM) == 0;
    default:
      return true;
  }
}

nghttp2_option* new_http2_option() {
  nghttp2_option* option = nullptr;
  BH_CHECK(nghttp2_option_new(&option) == 0);
  nghttp2_option_set_max_continuations(option, kContinuationsMax);
  nghttp2_option_set_stream_reset_rate_limit(option, kLibraryResetBurst, kLibraryResetsPerSecond);
  nghttp2_option_set_max_settings(option, kSettingsEntriesMax);
  nghttp2_option_set_max_outbound_ack(option, kOutboundAcknowledgementsMax);
  nghttp2_option_set_no_closed_streams(option, 1);  // they would only serve the old priority tree
  return option;
}

ssize_t read_body(const Http2Body& body, size_t room, uint32_t* flags) {
  if (body.left() == 0) return NGHTTP2_ERR_DEFERRED;  // given up; the RST_STREAM is on its way
  size_t size = std::min(room, body.left());
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (size == body.left()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(size);
}

ssize_t read_body_piece(const Http2Body& body, bool ended, size_t room, uint32_t* flags) {
  if (body.left() == 0 && !ended) return NGHTTP2_ERR_DEFERRED;
  size_t size = std::min(room, body.left());
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (ended && size == body.left()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(size);
}

std::vector<nghttp2_nv> to_nghttp2(std::span<const Http2Header> headers) {
  std::vector<nghttp2_nv> out;
  out.reserve(headers.size());
  for (const Http2Header& header : headers) {
    out.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(header.name.data())),
                   reinterpret_cast<uint8_t*>(const_cast<char*>(header.value.data())), header.name.size(),
                   header.value.size(),
                   static_cast<uint8_t>(header.never_index ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
  }
  return out;
}

}  // namespace bellhop::proto
