// SPDX-License-Identifier: Apache-2.0
#include "core/uring/address.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace bellhop::uring {

socklen_t to_sockaddr(const io::Endpoint& endpoint, sockaddr_storage& storage) {
  storage = {};
  if (!endpoint.unix_path.empty()) {
    auto& address = reinterpret_cast<sockaddr_un&>(storage);
    address.sun_family = AF_UNIX;
    BH_CHECK(endpoint.unix_path.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, endpoint.unix_path.c_str(), endpoint.unix_path.size() + 1);
    return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + endpoint.unix_path.size() + 1);
  }
  const SocketAddress& tcp = endpoint.tcp;
  if (tcp.ip.v6) {
    auto& address = reinterpret_cast<sockaddr_in6&>(storage);
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(tcp.port);
    std::memcpy(&address.sin6_addr, tcp.ip.bytes.data(), 16);
    return sizeof(sockaddr_in6);
  }
  auto& address = reinterpret_cast<sockaddr_in&>(storage);
  address.sin_family = AF_INET;
  address.sin_port = htons(tcp.port);
  std::memcpy(&address.sin_addr, tcp.ip.bytes.data(), 4);
  return sizeof(sockaddr_in);
}

SocketAddress from_sockaddr(const sockaddr_storage& storage) {
  SocketAddress out;
  if (storage.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(storage);
    out.ip.v6 = true;
    std::memcpy(out.ip.bytes.data(), &address.sin6_addr, 16);
    out.port = ntohs(address.sin6_port);
  } else if (storage.ss_family == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(storage);
    std::memcpy(out.ip.bytes.data(), &address.sin_addr, 4);
    out.port = ntohs(address.sin_port);
  }
  return out;
}

namespace {

Status check_path(const io::Endpoint& endpoint) {
  if (endpoint.unix_path.size() >= sizeof(sockaddr_un::sun_path)) return fail(os_error(ENAMETOOLONG));
  return {};
}

Result<int> make_socket(const io::Endpoint& endpoint) {
  BH_CHECKED(check_path(endpoint));
  bool unix_socket = !endpoint.unix_path.empty();
  int family = unix_socket ? AF_UNIX : endpoint.tcp.ip.v6 ? AF_INET6 : AF_INET;
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(os_error(errno));
  int on = 1;
  if (!unix_socket) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// Of a server that went without a word nothing is heard, and its answer to a long poll would be waited for, up to an hour. The
// kernel asks a connection at rest each minute, and gives it up after six questions without an answer (ETIMEDOUT).
void watch_server(int fd) {
  int on = 1, rest_s = 60, between_s = 10, questions = 6;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &rest_s, sizeof rest_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &questions, sizeof questions);
}

// What a process before this one left at the path.
Status remove_old_socket(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return {};  // bind() tells of what else there may be
  if (!S_ISSOCK(info.st_mode)) return fail(os_error(ENOTSOCK));
  return unlink(path.c_str()) == 0 || errno == ENOENT ? Status() : fail(os_error(errno));
}

Status bind_to(int fd, const io::Endpoint& endpoint, bool shared) {
  int on = 1;
  if (endpoint.unix_path.empty()) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) return fail(os_error(errno));
    if (endpoint.tcp.ip.v6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  sockaddr_storage storage;
  socklen_t size = to_sockaddr(endpoint, storage);
  return bind(fd, reinterpret_cast<sockaddr*>(&storage), size) == 0 ? Status() : fail(os_error(errno));
}

Status bind_and_listen(int fd, const io::Endpoint& endpoint, bool shared, int backlog) {
  bool unix_socket = !endpoint.unix_path.empty();
  if (unix_socket) BH_CHECKED(remove_old_socket(endpoint.unix_path));
  BH_CHECKED(bind_to(fd, endpoint, shared));
  if (unix_socket && chmod(endpoint.unix_path.c_str(), 0660) != 0) return fail(os_error(errno));
  if (listen(fd, backlog) != 0) return fail(os_error(errno));
  return {};
}

// A server that accepts at the path, or whose queue is full.
bool somebody_answers(int fd, const io::Endpoint& endpoint) {
  sockaddr_storage storage;
  socklen_t size = to_sockaddr(endpoint, storage);
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return false;
  return connect(fd, reinterpret_cast<sockaddr*>(&storage), size) == 0 || errno == EAGAIN || errno == EINPROGRESS;
}

}  // namespace
}  // namespace bellhop::uring

namespace bellhop::io {

Status check_vacant(const Endpoint& endpoint) {
  BH_TRY(int fd, uring::make_socket(endpoint));
  Status vacant;
  if (endpoint.unix_path.empty()) {
    vacant = uring::bind_to(fd, endpoint, false);
  } else if (uring::somebody_answers(fd, endpoint)) {
    vacant = fail(os_error(EADDRINUSE));
  }
  ::close(fd);
  return vacant;
}

Result<Handle> open_listener(const Endpoint& endpoint, bool shared, int backlog) {
  BH_TRY(int fd, uring::make_socket(endpoint));
  if (Status status = uring::bind_and_listen(fd, endpoint, shared, backlog); !status) {
    ::close(fd);
    return fail(status.error());
  }
  return Handle{fd};
}

Result<Endpoint> inherited_endpoint(int descriptor) {
  int listening = 0, type = 0;
  socklen_t size = sizeof listening;
  if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0) return fail(os_error(errno));
  size = sizeof type;
  if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return fail(os_error(errno));
  sockaddr_storage storage{};
  size = sizeof storage;
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return fail(os_error(errno));
  bool known = storage.ss_family == AF_INET || storage.ss_family == AF_INET6 || storage.ss_family == AF_UNIX;
  if (!listening || type != SOCK_STREAM || !known) return fail(os_error(EINVAL));
  Endpoint endpoint{.tcp = uring::from_sockaddr(storage), .unix_path = {}};
  if (storage.ss_family == AF_UNIX) {
    const auto& address = reinterpret_cast<const sockaddr_un&>(storage);
    size_t length = size - offsetof(sockaddr_un, sun_path);
    endpoint.unix_path.assign(address.sun_path, strnlen(address.sun_path, length));
    if (endpoint.unix_path.empty()) return fail(os_error(EINVAL));  // abstract: no file mode guards it
  }
  return endpoint;
}

Result<Handle> adopt_listener(int descriptor) {
  BH_TRY(Endpoint endpoint, inherited_endpoint(descriptor));
  int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
  if (own < 0) return fail(os_error(errno));
  int on = 1;
  if (endpoint.unix_path.empty()) setsockopt(own, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return Handle{own};
}

Status notify(const std::string& socket_path, std::string_view message) {
  sockaddr_un address{};
  if (socket_path.size() >= sizeof address.sun_path || socket_path.empty()) return fail(os_error(ENAMETOOLONG));
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_path.size() + 1);
  if (socket_path.front() == '@') {
    address.sun_path[0] = 0;
    --size;  // an abstract name has no zero at its end
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(os_error(errno));
  ssize_t sent = sendto(fd, message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                        reinterpret_cast<sockaddr*>(&address), size);
  int error = errno;
  ::close(fd);
  if (sent < 0) return fail(os_error(error));
  return {};
}

Result<Handle> open_socket(const Endpoint& endpoint) {
  BH_TRY(int fd, uring::make_socket(endpoint));
  if (endpoint.unix_path.empty()) uring::watch_server(fd);
  return Handle{fd};
}

Result<SocketAddress> local_address(Handle handle) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(handle.value, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return fail(os_error(errno));
  return uring::from_sockaddr(storage);
}

}  // namespace bellhop::io
