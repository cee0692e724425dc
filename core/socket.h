// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <utility>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/io.h"
#include "core/sync.h"
#include "core/task.h"

namespace bellhop {

// Bytes that arrived, in a buffer of the core's receive pool, which gets it back when the Chunk dies. To be consumed
// before the reader waits for anything else: the pool is small. Empty at the end of the stream. What a credential may
// have passed through is wiped by the reader (take_plaintext, wipe_on_release).
class Chunk {
 public:
  Chunk() = default;
  Chunk(int32_t buffer, size_t size) : buffer_(buffer), size_(size) {}
  Chunk(Chunk&& other) noexcept : buffer_(std::exchange(other.buffer_, -1)), size_(std::exchange(other.size_, 0)) {}
  Chunk& operator=(Chunk&&) = delete;
  ~Chunk() {
    if (buffer_ >= 0) io::release_buffer(buffer_);
  }
  MutableBytes bytes() const { return buffer_ < 0 ? MutableBytes() : io::buffer(buffer_).first(size_); }
  bool empty() const { return size_ == 0; }

 private:
  int32_t buffer_ = -1;
  size_t size_ = 0;
};

// One connected stream socket of one core. At most one receive and one send at a time. Closing needs both to be idle;
// the destructor closes.
class Socket {
 public:
  Socket() = default;
  explicit Socket(io::Handle handle) : handle_(handle) {}
  Socket(Socket&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Socket& operator=(Socket&& other) noexcept {
    if (this != &other) {
      close();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Socket() { close(); }

  explicit operator bool() const { return static_cast<bool>(handle_); }
  void close() {
    if (handle_) io::close(std::exchange(handle_, {}));
  }

  // Errors: canceled, os. An orderly end of the peer is an empty Chunk.
  Task<Result<Chunk>> receive();
  // Sends all, or fails. `data` stays valid and unchanged until the task ends.
  Task<Status> send(Bytes data);
  // Ends our direction; the peer's bytes still arrive.
  Task<Status> shutdown_send();
  Task<Result<SocketAddress>> peer_address();

 private:
  io::Handle handle_;
};

// Connects; the deadline is the caller's (within).
Task<Result<Socket>> connect(io::Endpoint endpoint);

// A listening socket of one core. accept() hands out connections in the order of arrival. While more than `backlog_max`
// wait to be taken, accepting stops, and the kernel's own queue fills instead.
class Listener {
 public:
  explicit Listener(io::Handle handle, size_t backlog_max = 256);
  ~Listener();  // after close()

  // Errors: canceled, closed (after stop()), os. Errors that concern one connection are passed over.
  Task<Result<Socket>> accept();
  // Off: connections wait in the listening socket, and accept() gives only what had come before. On at first.
  void set_accepting(bool on);
  // Nothing comes any more while it is not accepting, and accept() has given all that came.
  bool at_rest() const { return !operation_.in_flight && waiting_.empty(); }
  // For good: accept() gives what had come before, then fails with CoreError::closed. close() is still to be called.
  void stop();
  // Stops accepting, awaits the last completion, closes. accept() then fails with CoreError::closed.
  Task<void> close();

 private:
  struct AcceptOperation : io::Operation {
    explicit AcceptOperation(Listener* l) : Operation(io::OperationKind::accept), listener(l) {}
    Listener* listener;
  };
  static void accepted(io::Operation& operation, const io::Completion& completion);
  void arm();

  io::Handle handle_;
  size_t backlog_max_;
  AcceptOperation operation_;
  std::deque<Socket> waiting_;
  Event changed_;
  Event ended_;
  bool accepting_ = true;
  bool stopped_ = false;
  bool closing_ = false;
  int error_ = 0;
};

// Looks a name up; a literal address is returned as it is. The deadline is the caller's. Errors: dns, canceled.
Task<Result<std::vector<IpAddress>>> resolve(std::string host);

// The SRV records of a name such as "_autodiscover._tcp.example.com", those to be asked first in front: by priority, and
// by weighted lot among equals (RFC 2782). The deadline is the caller's. Errors: dns, canceled.
Task<Result<std::vector<io::ServiceRecord>>> resolve_service(std::string name);

// `int number = co_await next_signal()`: SIGTERM, SIGINT or SIGHUP of the process; on core 0 only, one waiter.
Task<Result<int>> next_signal();

}  // namespace bellhop
