// SPDX-License-Identifier: Apache-2.0
#pragma once

// The second part of the seam (see core/io.h, and both back ends): what passes between two processes of one host.
// Descriptors, a lock that one of them holds, and channels. Apart from io.h because hardly anything needs it. Nothing
// here waits but Readiness; every call is one or two quick system calls.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/io.h"

namespace bellhop::io {

// A descriptor of the process that no ring knows: to be given away, or given to us. Owns it.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      value_ = std::exchange(other.value_, -1);
    }
    return *this;
  }
  ~Descriptor() { close(); }

  int get() const { return value_; }
  explicit operator bool() const { return value_ >= 0; }
  void close();

 private:
  int value_ = -1;
};

// Another name for the socket behind a listener. As long as anybody has one, in whatever process, the socket lives, and
// with it the connections that wait in it to be accepted. Errors: os.
Result<Descriptor> share_listener(Handle listener);

// ---- A few bytes that outlive the process while somebody else holds their descriptor; never on a disk ----

inline constexpr size_t kMemoryFileMax = 64 * 1024;
// `name` shows in /proc only. Errors: os.
Result<Descriptor> make_memory_file(const char* name, Bytes content);
Status write_memory_file(int descriptor, Bytes content);  // over what was there, from its first byte on
// All of it, at most kMemoryFileMax bytes (EFBIG). Secrets in it are the caller's to wipe.
Result<std::vector<uint8_t>> read_memory_file(int descriptor);

// Another name for the same file. Errors: os.
Result<Descriptor> share_memory_file(int descriptor);

// ---- A lock between processes ----

// Makes the file where it is missing (mode 0600). Errors: os.
Result<Descriptor> open_lock_file(const std::string& path);
// True where the lock is ours now; false where another has it. It is let go when the descriptor is closed, and by the
// kernel when the process ends, however it ends. Errors: os.
Result<bool> try_lock(const Descriptor& lock_file);

// ---- Channels: messages with descriptors, over a unix socket (SOCK_SEQPACKET) ----

inline constexpr size_t kChannelTextMax = 16 * 1024;
inline constexpr size_t kChannelDescriptorsMax = 200;  // of one message; the kernel allows 253

struct ChannelMessage {
  std::string text;  // never empty
  std::vector<Descriptor> descriptors;
};

// The path is replaced, mode 0600. Errors: os.
Result<Descriptor> listen_channel(const std::string& path);
// Errors: os; ENOENT or ECONNREFUSED where nobody listens.
Result<Descriptor> connect_channel(const std::string& path);
// The next process that has connected; EAGAIN where there is none. Others than our own user's are turned away.
Result<Descriptor> accept_channel(const Descriptor& listener);
// The descriptors stay ours. Errors: os; EPIPE where the other side is gone, EAGAIN where it does not read.
Status send_message(const Descriptor& channel, std::string_view text, std::span<const int> descriptors = {});
// Errors: os; EAGAIN where nothing waits, EPIPE where the other side is gone, EMSGSIZE.
Result<ChannelMessage> receive_message(const Descriptor& channel);

// One wait until a channel or its listener has something to be received or accepted, or has ended. Embedded in the
// waiter, who asks again where it was woken for nothing. done() may make_ready, never resume. Not canceled: abandon()
// makes the back end forget it.
struct Readiness {
  int descriptor = -1;
  void (*done)(Readiness& readiness) = nullptr;
  void* backend = nullptr;
};
void start(Readiness& readiness);
void abandon(Readiness& readiness);

// io::notify with a descriptor beside the message: for the service manager's store of descriptors.
Status notify_with(const std::string& socket_path, std::string_view message, int descriptor);

}  // namespace bellhop::io
