// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/socket.h"
#include "core/sync.h"
#include "core/task.h"
#include "core/tls/engine.h"

namespace bellhop {

// A connection as bytes in order, plain or through TLS; the rest of the program does not see the difference. Owned by
// the connection's flow, on one core. One flow may read while another writes; two may write, whole writes do not mix.
// It holds no buffer while nothing is on the way, so that an idle connection costs its TLS state and a frame.
//
//   for (;;) {
//     while (size_t n = stream.read(scratch)) …use it before awaiting anything…
//     BH_CO_TRY(bool more, co_await stream.wait_input());
//     if (!more) break;   // orderly end
//   }
//
// Deadlines are the caller's (within). After an error, or a stop in the middle of a write, only close() makes sense.
class Stream {
 public:
  explicit Stream(Socket socket) : socket_(std::move(socket)) {}
  Stream(Socket socket, std::unique_ptr<TlsEngine> engine) : socket_(std::move(socket)), engine_(std::move(engine)) {}
  // TLS inside another open stream, which is this one's alone from now on: a tunnel through a proxy that speaks TLS itself.
  Stream(std::unique_ptr<Stream> carrier, std::unique_ptr<TlsEngine> engine)
      : carrier_(std::move(carrier)), engine_(std::move(engine)) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // A plain stream speaks TLS from the next byte on, in both directions; what came and was not read is TLS already. To be
  // followed by handshake(). No operation may be pending.
  void start_tls(std::unique_ptr<TlsEngine> engine);

  // TLS: to the end of the handshake. Plain: nothing to do. Errors: tls, os, canceled.
  Task<Status> handshake();

  // Takes plaintext that is already here, at most out.size() bytes; 0 where there is none now.
  size_t read(MutableBytes out);
  // Waits until read() may give something; false at the orderly end (FIN, and under TLS close_notify before it).
  // Errors: TlsError::truncated, other tls, os, canceled. Not before read() gave 0.
  Task<Result<bool>> wait_input();

  // Sends all of `data`, which stays valid until the task ends.
  Task<Status> write(Bytes data);

  // Says goodbye (close_notify, FIN), drops what still arrives for at most `linger`, so that the peer can read our last
  // bytes, and closes; at once where the peer has ended before. Runs under a deadline of its own, also when the flow is
  // stopped. Does not fail: nobody could act.
  Task<void> close(Duration linger = 200ms);

  // What was sent is not whole, and the peer shall see it: close() then says no goodbye.
  void break_off() { damaged_ = true; }

  TlsEngine* tls() { return engine_.get(); }
  Socket& socket() { return carrier_ ? carrier_->socket() : socket_; }

 private:
  Task<Status> flush(size_t bytes_max = SIZE_MAX);
  Task<Status> say_goodbye();
  Task<Result<bool>> feed_from_carrier();

  Socket socket_;
  std::unique_ptr<Stream> carrier_;  // in place of socket_
  std::unique_ptr<TlsEngine> engine_;
  std::optional<Chunk> plain_input_;
  size_t plain_taken_ = 0;
  bool sending_ = false;
  bool ended_ = false;    // the peer's FIN came
  bool damaged_ = false;  // a send was cut off: what follows would not be understood
  Event send_done_;
  Semaphore writing_{1};
};

}  // namespace bellhop
