// SPDX-License-Identifier: Apache-2.0
#include "core/descriptors.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/uring/address.h"
#include "core/uring/ring.h"

namespace bellhop::io {
namespace {

constexpr int kChannelBacklog = 8;

std::unexpected<Error> fail_errno() { return fail(os_error(errno)); }

// Room for the control message of a full set of descriptors, aligned as the kernel asks.
union Control {
  Control() : bytes{} {}
  char bytes[CMSG_SPACE(kChannelDescriptorsMax * sizeof(int))];
  cmsghdr head;
};

Status send_with(int socket, const sockaddr* to, socklen_t to_size, std::string_view text, std::span<const int> descriptors) {
  BH_CHECK(!text.empty() && text.size() <= kChannelTextMax && descriptors.size() <= kChannelDescriptorsMax);
  iovec part{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
  Control control;
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(to);
  message.msg_namelen = to_size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(head), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent;
  do sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail(os_error(errno == ECONNRESET || errno == ENOTCONN ? EPIPE : errno));
  return {};
}

Result<Descriptor> channel_socket(const std::string& path, sockaddr_storage& storage, socklen_t& size) {
  if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path)) return fail(os_error(ENAMETOOLONG));
  size = uring::to_sockaddr({.tcp = {}, .unix_path = path}, storage);
  Descriptor made(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return fail_errno();
  return made;
}

// One poll in the ring, on its own so that its waiter may go first.
struct Poll final : uring::InternalOperation {
  Readiness* waiting = nullptr;  // null once abandoned
  void completed(int32_t) override {
    Readiness* readiness = waiting;
    delete this;
    if (readiness) readiness->done(*readiness);
  }
};

}  // namespace

void Descriptor::close() {
  if (value_ >= 0) ::close(std::exchange(value_, -1));
}

Result<Descriptor> share_listener(Handle listener) {
  Descriptor other(fcntl(listener.value, F_DUPFD_CLOEXEC, 3));  // listeners are plain descriptors
  if (!other) return fail_errno();
  return other;
}

Result<Descriptor> make_memory_file(const char* name, Bytes content) {
  Descriptor file(memfd_create(name, MFD_CLOEXEC));
  if (!file) return fail_errno();
  BH_CHECKED(write_memory_file(file.get(), content));
  return file;
}

Status write_memory_file(int descriptor, Bytes content) {
  BH_CHECK(content.size() <= kMemoryFileMax);
  ssize_t written = pwrite(descriptor, content.data(), content.size(), 0);
  if (written < 0) return fail_errno();
  if (static_cast<size_t>(written) != content.size()) return fail(os_error(ENOSPC));
  return {};
}

Result<std::vector<uint8_t>> read_memory_file(int descriptor) {
  struct stat info;
  if (fstat(descriptor, &info) != 0) return fail_errno();
  if (!S_ISREG(info.st_mode)) return fail(os_error(EINVAL));
  if (static_cast<uint64_t>(info.st_size) > kMemoryFileMax) return fail(os_error(EFBIG));
  std::vector<uint8_t> content(static_cast<size_t>(info.st_size));
  ssize_t got = pread(descriptor, content.data(), content.size(), 0);
  if (got < 0) return fail_errno();
  content.resize(static_cast<size_t>(got));
  return content;
}

Result<Descriptor> share_memory_file(int descriptor) {
  Descriptor other(fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
  if (!other) return fail_errno();
  return other;
}

Result<Descriptor> open_lock_file(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return fail_errno();
  return file;
}

Result<bool> try_lock(const Descriptor& lock_file) {
  if (flock(lock_file.get(), LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK || errno == EINTR) return false;
  return fail_errno();
}

Result<Descriptor> listen_channel(const std::string& path) {
  sockaddr_storage storage;
  socklen_t size;
  BH_TRY(Descriptor listener, channel_socket(path, storage, size));
  unlink(path.c_str());
  // Before bind, so that the path never has another mode.
  if (fchmod(listener.get(), 0600) != 0) return fail_errno();
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) return fail_errno();
  if (chmod(path.c_str(), 0600) != 0) return fail_errno();
  if (listen(listener.get(), kChannelBacklog) != 0) return fail_errno();
  return listener;
}

Result<Descriptor> connect_channel(const std::string& path) {
  sockaddr_storage storage;
  socklen_t size;
  BH_TRY(Descriptor channel, channel_socket(path, storage, size));
  if (connect(channel.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) return fail_errno();
  return channel;
}

Result<Descriptor> accept_channel(const Descriptor& listener) {
  for (;;) {
    Descriptor channel(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!channel && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (!channel) return fail_errno();
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(channel.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return fail_errno();
    if (peer.uid == geteuid() || peer.uid == 0) return channel;
  }
}

Status send_message(const Descriptor& channel, std::string_view text, std::span<const int> descriptors) {
  return send_with(channel.get(), nullptr, 0, text, descriptors);
}

Result<ChannelMessage> receive_message(const Descriptor& channel) {
  ChannelMessage out;
  out.text.resize(kChannelTextMax);
  iovec part{.iov_base = out.text.data(), .iov_len = out.text.size()};
  Control control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ssize_t got;
  do got = recvmsg(channel.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return fail(os_error(errno == ECONNRESET ? EPIPE : errno));
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int descriptor;
      std::memcpy(&descriptor, CMSG_DATA(head) + i * sizeof(int), sizeof descriptor);
      out.descriptors.emplace_back(descriptor);
    }
  }
  if (got == 0) return fail(os_error(EPIPE));
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return fail(os_error(EMSGSIZE));
  out.text.resize(static_cast<size_t>(got));
  return out;
}

void start(Readiness& readiness) {
  auto* poll = new Poll;
  poll->waiting = &readiness;
  readiness.backend = poll;
  uring::Ring::current().poll(readiness.descriptor, POLLIN, *poll);
}

void abandon(Readiness& readiness) {
  auto* poll = static_cast<Poll*>(readiness.backend);
  poll->waiting = nullptr;
  uring::Ring::current().cancel(*poll);
}

Status notify_with(const std::string& socket_path, std::string_view message, int descriptor) {
  sockaddr_un address{};
  if (socket_path.size() >= sizeof address.sun_path || socket_path.empty()) return fail(os_error(ENAMETOOLONG));
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_path.size() + 1);
  if (socket_path.front() == '@') {
    address.sun_path[0] = 0;
    --size;  // an abstract name has no zero at its end
  }
  Descriptor sender(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!sender) return fail_errno();
  return send_with(sender.get(), reinterpret_cast<sockaddr*>(&address), size, message, {&descriptor, 1});
}

}  // namespace bellhop::io
