// SPDX-License-Identifier: Apache-2.0
#include "core/uring/resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>

#include <cstring>

#include "core/reactor.h"
#include "core/uring/address.h"

namespace bellhop::uring {
namespace {

Error dns_error(int status) { return {Domain::dns, 0, static_cast<uint16_t>(status), 0}; }
std::string dns_error_text(uint16_t code, uint32_t) { return ares_strerror(code); }

// Set before the threads start, read by them.
std::string& servers_to_use() {
  static std::string servers;
  return servers;
}

void take_addresses(io::Resolution& resolution, int status, ares_addrinfo* answer) {
  std::unique_ptr<ares_addrinfo, void (*)(ares_addrinfo*)> owned(answer, &ares_freeaddrinfo);
  if (status != ARES_SUCCESS) resolution.status = fail(dns_error(status));
  for (ares_addrinfo_node* node = answer ? answer->nodes : nullptr; node; node = node->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, node->ai_addr, std::min<size_t>(node->ai_addrlen, sizeof storage));
    resolution.addresses.push_back(from_sockaddr(storage).ip);
  }
  if (resolution.status && resolution.addresses.empty()) resolution.status = fail(dns_error(ARES_ENODATA));
}

void take_services(io::Resolution& resolution, int status, const unsigned char* packet, int size) {
  ares_srv_reply* answer = nullptr;
  if (status == ARES_SUCCESS) status = ares_parse_srv_reply(packet, size, &answer);
  std::unique_ptr<ares_srv_reply, void (*)(void*)> owned(answer, &ares_free_data);
  if (status != ARES_SUCCESS) resolution.status = fail(dns_error(status));
  for (ares_srv_reply* record = answer; record; record = record->next) {
    std::string host = record->host;
    if (host.ends_with('.')) host.pop_back();
    resolution.services.push_back({std::move(host), record->port, record->priority, record->weight});
  }
  if (resolution.status && resolution.services.empty()) resolution.status = fail(dns_error(ARES_ENODATA));
}

}  // namespace

// One socket of c-ares. Lives while c-ares wants it or a poll is with the kernel.
struct Resolver::Poll : InternalOperation {
  Resolver* resolver;
  int fd;
  unsigned events = 0;
  bool in_flight = false;

  void arm() {
    in_flight = true;
    resolver->ring_.poll(fd, events, *this);
  }
  void completed(int32_t result) override {
    in_flight = false;
    if (events == 0) {
      delete this;
      return;
    }
    unsigned ready = result > 0 ? static_cast<unsigned>(result) : events;
    Resolver* owner = resolver;
    int descriptor = fd;
    owner->process(ready & (POLLIN | POLLERR | POLLHUP) ? descriptor : ARES_SOCKET_BAD,
                   ready & POLLOUT ? descriptor : ARES_SOCKET_BAD);
    auto found = owner->polls_.find(descriptor);  // process() may have ended this poll
    if (found != owner->polls_.end() && !found->second->in_flight) found->second->arm();
  }
};

struct Resolver::Query {
  io::Resolution* resolution;  // null once abandoned
};

Resolver::Resolver(Ring& ring) : ring_(ring), timer_(this) {}

void Resolver::register_texts() { register_error_text(Domain::dns, "dns", &dns_error_text); }

Resolver::~Resolver() { BH_CHECK(channel_ == nullptr); }

Status Resolver::open() {
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);
  if (library != ARES_SUCCESS) return fail(dns_error(library));
  ares_options options{};
  options.sock_state_cb = &Resolver::socket_state;
  options.sock_state_cb_data = this;
  options.timeout = 1000;
  options.tries = 2;
  int status = ares_init_options(&channel_, &options, ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
  if (status != ARES_SUCCESS) {
    channel_ = nullptr;
    return fail(dns_error(status));
  }
  if (const std::string& servers = servers_to_use(); !servers.empty()) {
    status = ares_set_servers_ports_csv(channel_, servers.c_str());
    if (status != ARES_SUCCESS) {
      shut_down();
      return fail(dns_error(status));
    }
  }
  return {};
}

void Resolver::use_servers(std::string servers) { servers_to_use() = std::move(servers); }

void Resolver::start(io::Resolution& resolution) {
  auto* query = new Query{&resolution};
  resolution.backend = query;
  // The waiter, unless it has gone.
  static constexpr auto take = [](void* argument) -> io::Resolution* {
    std::unique_ptr<Query> done(static_cast<Query*>(argument));
    return done->resolution;
  };
  if (!channel_) {
    if (Status opened = open(); !opened) {
      resolution.status = fail(opened.error());
      take(query);
      resolution.done(resolution);
      return;
    }
  }
  if (resolution.kind == io::Resolution::Kind::services) {
    auto answered = [](void* argument, int status, int, unsigned char* packet, int size) {
      io::Resolution* waiting = take(argument);
      if (!waiting) return;
      take_services(*waiting, status, packet, size);
      waiting->done(*waiting);
    };
    ares_query(channel_, resolution.host.c_str(), ns_c_in, ns_t_srv, answered, query);
  } else {
    auto answered = [](void* argument, int status, int, ares_addrinfo* answer) {
      io::Resolution* waiting = take(argument);
      if (!waiting) {
        ares_freeaddrinfo(answer);
        return;
      }
      take_addresses(*waiting, status, answer);
      waiting->done(*waiting);
    };
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    ares_getaddrinfo(channel_, resolution.host.c_str(), nullptr, &hints, answered, query);
  }
  arm_timer();
}

void Resolver::abandon(io::Resolution& resolution) { static_cast<Query*>(resolution.backend)->resolution = nullptr; }

void Resolver::socket_state(void* self, int fd, int readable, int writable) {
  auto* resolver = static_cast<Resolver*>(self);
  unsigned events = (readable ? POLLIN : 0u) | (writable ? POLLOUT : 0u);
  auto found = resolver->polls_.find(fd);
  if (found == resolver->polls_.end()) {
    if (events == 0) return;
    auto* poll = new Poll;
    poll->resolver = resolver;
    poll->fd = fd;
    found = resolver->polls_.emplace(fd, poll).first;
  }
  Poll* poll = found->second;
  if (events == 0) {
    resolver->polls_.erase(found);
    poll->events = 0;
    if (poll->in_flight) {
      resolver->ring_.cancel(*poll);
    } else {
      delete poll;
    }
    return;
  }
  bool changed = poll->events != events;
  poll->events = events;
  if (!poll->in_flight) {
    poll->arm();
  } else if (changed) {
    resolver->ring_.cancel(*poll);  // completes, and is armed again with the new events
  }
}

void Resolver::process(int read_fd, int write_fd) {
  if (!channel_) return;
  ares_process_fd(channel_, read_fd, write_fd);
  arm_timer();
}

void Resolver::arm_timer() {
  timer_.disarm();
  timeval longest{.tv_sec = 5, .tv_usec = 0}, wait;
  if (timeval* next = ares_timeout(channel_, &longest, &wait); next && !polls_.empty()) {
    Reactor::current().timers().arm(timer_, io::now() + std::chrono::seconds(next->tv_sec) +
                                                std::chrono::microseconds(next->tv_usec) + 1ms);
  }
}

void Resolver::timed_out(Timer& timer) {
  static_cast<OwnTimer&>(timer).resolver->process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

void Resolver::shut_down() {
  timer_.disarm();
  if (channel_) ares_destroy(std::exchange(channel_, nullptr));
}

}  // namespace bellhop::uring

namespace bellhop::io {

void start(Resolution& resolution) { uring::Ring::current().resolver().start(resolution); }
void abandon(Resolution& resolution) { uring::Ring::current().resolver().abandon(resolution); }

}  // namespace bellhop::io
