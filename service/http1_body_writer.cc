// SPDX-License-Identifier: Apache-2.0
#include "service/http1_body_writer.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "core/sleep.h"
#include "proto/http_error.h"

namespace bellhop::service {

using proto::Http1Framing;

Task<Status> Http1BodyWriter::begin(Bytes head, Http1Framing framing, bool to_end, bool more) {
  drop();
  framing_ = framing;
  left_ = framing.length;
  to_end_ = to_end;
  in_message_ = true;
  if (more && put_at_once(head)) return Task<Status>::of();
  return put_piece(head, false, more);
}

Task<Status> Http1BodyWriter::write(Bytes piece, bool more) {
  BH_CHECK(in_message_);
  bool chunked = framing_.kind == Http1Framing::Kind::chunked && !piece.empty();
  bool sized = framing_.kind == Http1Framing::Kind::length;
  bool bare = framing_.kind == Http1Framing::Kind::none && !to_end_ && !piece.empty();
  if (bare || (sized && piece.size() > left_)) {
    return Task<Status>::of(fail(proto::http_error(proto::HttpError::unwritable)));
  }
  if (sized) left_ -= piece.size();
  if (!chunked && more && put_at_once(piece)) return Task<Status>::of();
  return put_piece(piece, chunked, more);
}

Task<Status> Http1BodyWriter::put_piece(Bytes piece, bool chunked, bool more) {
  if (chunked) {
    char line[18];
    char* end = std::to_chars(line, line + 16, piece.size(), 16).ptr;
    *end++ = '\r';
    *end++ = '\n';
    BH_CO_CHECKED(co_await put(as_bytes(std::string_view(line, end))));
  }
  BH_CO_CHECKED(co_await put(piece));
  if (chunked) BH_CO_CHECKED(co_await put(as_bytes("\r\n")));
  if (!more) BH_CO_CHECKED(co_await flush());
  co_return Status();
}

Task<Status> Http1BodyWriter::end() {
  BH_CHECK(in_message_);
  if (framing_.kind == Http1Framing::Kind::length && left_ > 0) {
    return Task<Status>::of(fail(proto::http_error(proto::HttpError::unwritable)));
  }
  in_message_ = false;
  if (framing_.kind == Http1Framing::Kind::chunked) return put_piece(as_bytes("0\r\n\r\n"), false, false);
  return flush();
}

void Http1BodyWriter::drop() {
  block_.reset();
  gathered_ = 0;
}

// False where the block has to go first; then nothing was put.
bool Http1BodyWriter::put_at_once(Bytes bytes) {
  if (bytes.size() >= Block::kSize - gathered_) return false;
  if (bytes.empty()) return true;
  if (!block_) block_.emplace();
  std::copy_n(bytes.data(), bytes.size(), block_->all().data() + gathered_);
  gathered_ += bytes.size();
  block_->used(gathered_);
  return true;
}

Task<Status> Http1BodyWriter::put(Bytes bytes) {
  while (!bytes.empty()) {
    if (!block_) block_.emplace();
    size_t size = std::min(bytes.size(), Block::kSize - gathered_);
    std::copy_n(bytes.data(), size, block_->all().data() + gathered_);
    gathered_ += size;
    block_->used(gathered_);
    bytes = bytes.subspan(size);
    if (gathered_ == Block::kSize) BH_CO_CHECKED(co_await flush());
  }
  co_return Status();
}

Task<Status> Http1BodyWriter::flush() {
  if (gathered_ == 0) return Task<Status>::of();
  return send_gathered();
}

Task<Status> Http1BodyWriter::send_gathered() {
  Status sent = co_await within(stall_timeout_, stream_.write(block_->all().first(gathered_)));
  drop();
  co_return sent;
}

}  // namespace bellhop::service
