// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/stream/block_pool.h"
#include "core/stream/stream.h"
#include "core/task.h"
#include "proto/http1_writer.h"

namespace bellhop::service {

// Writes one HTTP/1.1 message, head and framed body, to a stream: what both sides share. Gathers what its caller says is
// followed by more, up to one block; holds none otherwise. Each block that goes out has `stall_timeout`. One flow at a
// time; `stream` outlives it. After an error the connection is of no more use.
class Http1BodyWriter {
 public:
  Http1BodyWriter(Stream& stream, Duration stall_timeout) : stream_(stream), stall_timeout_(stall_timeout) {}
  Http1BodyWriter(const Http1BodyWriter&) = delete;
  Http1BodyWriter& operator=(const Http1BodyWriter&) = delete;

  // A head as proto::write_*_head made it, with its framing. `to_end`: the body goes on to the end of the connection.
  Task<Status> begin(Bytes head, proto::Http1Framing framing, bool to_end, bool more);
  // HttpError::unwritable where it passes the announced length.
  Task<Status> write(Bytes piece, bool more);
  // HttpError::unwritable where the announced length was not reached; then nothing is sent.
  Task<Status> end();
  bool in_message() const { return in_message_; }
  // Drops what was gathered; the message stays unfinished.
  void drop();

 private:
  bool put_at_once(Bytes bytes);
  Task<Status> put(Bytes bytes);
  Task<Status> put_piece(Bytes piece, bool chunked, bool more);
  Task<Status> flush();
  Task<Status> send_gathered();

  Stream& stream_;
  const Duration stall_timeout_;
  std::optional<Block> block_;  // what was gathered
  size_t gathered_ = 0;
  proto::Http1Framing framing_;
  uint64_t left_ = 0;  // of an announced length
  bool to_end_ = false;
  bool in_message_ = false;
};

}  // namespace bellhop::service
