// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "core/stream/block_pool.h"
#include "core/stream/stream.h"
#include "proto/http1.h"

namespace bellhop::service {

// Feeds a parser of proto/http1.h from a stream: the part that both sides of HTTP/1.1 share. Bytes of the next message
// stay in a block until it is asked for; while waiting for the peer no block is held.
template <class Parser>
class Http1Reader {
 public:
  Http1Reader(Stream& stream, Parser& parser) : stream_(stream), parser_(parser) {}

  // The next event, never need_more. A body piece stays valid until the next call. At the peer's orderly end:
  // CoreError::closed between messages, else HttpError::truncated or what Parser::finish says.
  Task<Result<proto::Http1Step>> next() {
    Result<proto::Http1Step> step = feed();
    bool waits = step && step->event == proto::Http1Event::need_more;
    return waits ? wait_for_next() : Task<Result<proto::Http1Step>>::of(std::move(step));
  }

  // The next event of what is here already; need_more where all of it was consumed.
  Result<proto::Http1Step> feed() {
    if (at_ == size_ && !pending_) return proto::Http1Step{};
    pending_ = false;
    BH_TRY(proto::Http1Step step, parser_.feed(block_ ? Bytes(block_->all().subspan(at_, size_ - at_)) : Bytes()));
    at_ += step.consumed;
    pending_ = step.event == proto::Http1Event::head || step.event == proto::Http1Event::body;
    return step;
  }

  // Waits until there is something to feed, without feeding it; false at the orderly end.
  Task<Result<bool>> fill() { return try_fill() ? Task<Result<bool>>::of(true) : wait_for_input(); }

  // The same without waiting: false where nothing is here. Then no block is held.
  bool try_fill() {
    if (at_ < size_) return true;
    if (!block_) block_.emplace();
    at_ = 0;
    size_ = stream_.read(block_->all());
    if (size_ == 0) {
      block_.reset();
      return false;
    }
    block_->used(size_);
    bytes_read_ += size_;
    return true;
  }

  bool has_input() const { return at_ < size_; }
  // Bytes that came from the stream so far.
  uint64_t bytes_read() const { return bytes_read_; }
  // Between messages: gives the block back where it holds nothing more.
  void rest() {
    if (at_ < size_) return;
    block_.reset();
    at_ = size_ = 0;
  }

 private:
  Task<Result<proto::Http1Step>> wait_for_next() {
    for (;;) {
      BH_CO_TRY(bool more, co_await fill());
      if (!more) co_return at_end();
      BH_CO_TRY(proto::Http1Step step, feed());
      if (step.event != proto::Http1Event::need_more) co_return step;
    }
  }
  Task<Result<bool>> wait_for_input() {
    do {
      BH_CO_TRY(bool more, co_await stream_.wait_input());
      if (!more) co_return false;
    } while (!try_fill());
    co_return true;
  }
  Result<proto::Http1Step> at_end() {
    if constexpr (requires { parser_.finish(); }) {
      BH_TRY(proto::Http1Step step, parser_.finish());
      if (step.event == proto::Http1Event::complete) return step;
      return fail(core_error(CoreError::closed));
    } else {
      if (parser_.in_message()) return fail(proto::http_error(proto::HttpError::truncated));
      return fail(core_error(CoreError::closed));
    }
  }

  Stream& stream_;
  Parser& parser_;
  std::optional<Block> block_;
  size_t at_ = 0;
  size_t size_ = 0;
  uint64_t bytes_read_ = 0;
  bool pending_ = false;  // the parser may have an event without further input
};

}  // namespace bellhop::service
