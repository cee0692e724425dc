// SPDX-License-Identifier: Apache-2.0
#include "core/stream/stream.h"

#include <algorithm>

#include "core/sleep.h"
#include "core/stream/block_pool.h"

namespace bellhop {

// One flow at a time takes the engine's output to the socket; a writer goes on while there is more, so that the others
// only wait. The output is copied first: the engine may move it while the kernel still reads.
Task<Status> Stream::flush(size_t bytes_max) {
  while (sending_) {
    send_done_.reset();
    BH_CO_CHECKED(co_await send_done_.wait());
  }
  if (engine_->output().empty()) co_return Status();
  sending_ = true;
  Status status;
  for (Block block; status && bytes_max > 0 && !engine_->output().empty();) {
    Bytes output = engine_->output();
    size_t size = std::min({output.size(), Block::kSize, bytes_max});
    bytes_max -= size;
    std::copy_n(output.data(), size, block.all().data());
    engine_->consume_output(size);
    Bytes taken = block.all().first(size);
    status = carrier_ ? co_await carrier_->write(taken) : co_await socket_.send(taken);
  }
  sending_ = false;
  damaged_ |= !status;
  send_done_.set();
  co_return status;
}

void Stream::start_tls(std::unique_ptr<TlsEngine> engine) {
  BH_CHECK(!engine_ && !sending_);
  engine_ = std::move(engine);
  if (!plain_input_) return;
  Bytes rest = plain_input_->bytes().subspan(plain_taken_);
  BH_CHECK(engine_->feed(rest) == rest.size());  // one receive buffer; the engine has room for more
  plain_input_.reset();
}

// Waits for what the carrier brings, and gives it to the engine; false at the carrier's end.
Task<Result<bool>> Stream::feed_from_carrier() {
  for (;;) {
    {
      Block block;
      MutableBytes room = block.all().first(io::kReceiveBufferSize);
      size_t size = carrier_->read(room);
      block.used(size);
      if (size > 0) {
        if (engine_->feed(room.first(size)) != size) co_return fail(tls_error(TlsError::protocol));
        co_return true;
      }
    }
    BH_CO_TRY(bool more, co_await carrier_->wait_input());
    if (!more) co_return false;
  }
}

Task<Status> Stream::handshake() {
  if (!engine_) co_return Status();
  for (;;) {
    TlsState state = engine_->advance();
    Status flushed = co_await flush();
    if (state == TlsState::failed) co_return fail(engine_->error());
    if (!flushed) co_return flushed;
    if (state == TlsState::open) co_return Status();
    if (state == TlsState::closed) co_return fail(tls_error(TlsError::ended_in_handshake));
    if (state == TlsState::want_output) continue;
    if (carrier_) {
      BH_CO_TRY(bool more, co_await feed_from_carrier());
      if (!more) engine_->end_input();
      continue;
    }
    BH_CO_TRY(Chunk chunk, co_await socket_.receive());
    if (chunk.empty()) {
      engine_->end_input();
    } else if (engine_->feed(chunk.bytes()) != chunk.bytes().size()) {
      co_return fail(tls_error(TlsError::protocol));
    }
  }
}

size_t Stream::read(MutableBytes out) {
  if (engine_) return engine_->read(out);
  if (!plain_input_) return 0;
  MutableBytes rest = plain_input_->bytes().subspan(plain_taken_);
  size_t size = std::min(rest.size(), out.size());
  std::copy_n(rest.data(), size, out.data());
  wipe(rest.first(size));
  plain_taken_ += size;
  if (size == rest.size()) plain_input_.reset();
  return size;
}

Task<Result<bool>> Stream::wait_input() {
  if (!engine_) {
    if (plain_input_) co_return true;
    if (ended_) co_return false;
    BH_CO_TRY(Chunk chunk, co_await socket_.receive());
    ended_ = chunk.empty();
    plain_taken_ = 0;
    if (!ended_) plain_input_.emplace(std::move(chunk));
    co_return !ended_;
  }
  // What the engine has to say by itself. A writer under way takes it along, and what writers add meanwhile is theirs to
  // send: two ends that both write and read must not wait with their reading for each other's.
  size_t own = engine_->output().size();
  if (own > 0 && !sending_) BH_CO_CHECKED(co_await flush(own));
  if (engine_->state() == TlsState::failed) co_return fail(engine_->error());
  if (engine_->state() == TlsState::closed) co_return false;
  bool more = true;
  if (carrier_) {
    BH_CO_TRY(more, co_await feed_from_carrier());
  } else {
    BH_CO_TRY(Chunk chunk, co_await socket_.receive());
    more = !chunk.empty();
    ended_ = !more;
    if (more && engine_->feed(chunk.bytes()) != chunk.bytes().size()) co_return fail(tls_error(TlsError::protocol));
  }
  if (more) co_return true;
  engine_->end_input();
  TlsState state = engine_->advance();
  if (state == TlsState::closed) co_return false;
  co_return fail(state == TlsState::failed ? engine_->error() : tls_error(TlsError::truncated));
}

Task<Status> Stream::write(Bytes data) {
  BH_CO_TRY(Semaphore::Permit permit, co_await writing_.acquire());
  if (!engine_) {
    Status sent = co_await socket_.send(data);
    damaged_ |= !sent;
    co_return sent;
  }
  while (!data.empty()) {
    size_t taken = engine_->write(data);
    if (taken == 0 && engine_->output().empty()) {
      co_return fail(engine_->state() == TlsState::failed ? engine_->error() : core_error(CoreError::closed));
    }
    data = data.subspan(taken);
    BH_CO_CHECKED(co_await flush());
  }
  co_return Status();
}

Task<Status> Stream::say_goodbye() {
  if (engine_) {
    engine_->close();
    BH_CO_CHECKED(co_await flush());
  }
  if (carrier_) co_return Status();  // close() goes on with it
  if (ended_) co_return Status();    // closing says it, and nothing can come any more
  BH_CO_CHECKED(co_await socket_.shutdown_send());
  for (;;) {
    BH_CO_TRY(Chunk chunk, co_await socket_.receive());
    wipe(chunk.bytes());
    if (chunk.empty()) co_return Status();
  }
}

Task<void> Stream::close(Duration linger) {
  if (!socket_ && !carrier_) co_return;
  Context unstoppable;
  bool broken = sending_ || damaged_ || (engine_ && engine_->state() == TlsState::failed && engine_->output().empty());
  if (!broken) (void)co_await within(linger, say_goodbye()).under(unstoppable);
  plain_input_.reset();
  socket_.close();
  if (!carrier_) co_return;
  co_await carrier_->close(linger);
  carrier_.reset();
}

}  // namespace bellhop
