// SPDX-License-Identifier: Apache-2.0
#include "core/sim/network.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/sim/simulator.h"

namespace bellhop::sim {
namespace {

constexpr size_t kSegmentMax = 16 * 1024;
constexpr size_t kSocketBufferLeast = 4 * 1024, kSocketBufferMost = 256 * 1024;  // what a seed may draw
constexpr size_t kUnixPathMax = 107;
constexpr uint16_t kFirstPort = 49152;
// A listener whose queue is full does not answer; the client's kernel knocks again.
constexpr Duration kKnockAgain = 1s;

IpAddress loopback(bool v6) {
  IpAddress address;
  address.v6 = v6;
  if (v6) {
    address.bytes[15] = 1;
  } else {
    address.bytes = {127, 0, 0, 1};
  }
  return address;
}

}  // namespace

// One end of a connection. `arrived` holds what the reader has not taken yet.
struct Network::Side {
  int32_t handle = -1;  // -1 before the accept and after the close
  bool closed = false;
  bool end_sent = false, end_arrived = false;
  bool reset = false;
  int error = 0;  // told once, then the stream has ended
  std::string arrived;
  size_t taken = 0;         // of `arrived`
  size_t in_transit = 0;    // bytes on their way to this side
  uint64_t arrived_total = 0;
  uint64_t receive = 0, send = 0;  // ids of the operations
  size_t sent = 0;                 // of the send operation
  Instant last_departure{};        // when the last thing that this side sent arrives
  SocketAddress address;

  size_t unread() const { return arrived.size() - taken; }
};

struct Network::Connection {
  Side side[2];  // client, server
  bool established = false;
  bool stalled = false;
  AddressRule rule;
};

struct Network::Socket {
  io::Handle handle;
  unsigned core = 0;
  io::Endpoint endpoint;
  bool listening = false;
  bool shared = false;
  bool adopted = false;
  size_t backlog = 0;
  std::deque<Shared> queue;
  uint64_t accept = 0;
  bool accept_scheduled = false;
  uint64_t connect = 0;
  uint64_t other = 0;  // peer, shutdown
  Shared connection;
  int side = 0;
};

Network::Network(Simulator& simulator)
    : simulator_(simulator),
      socket_buffer_(world().socket_buffer),
      handles_of_core_(simulator.options().cores) {
  uint64_t drawn = simulator_.chance().below(7);  // 4 KB to 256 KB
  if (socket_buffer_ == 0) socket_buffer_ = std::min(kSocketBufferLeast << drawn, kSocketBufferMost);
}
Network::~Network() = default;

// ---- Handles ----

Network::Socket& Network::socket(io::Handle handle) {
  auto found = sockets_.find(handle.value);
  BH_CHECK(found != sockets_.end());  // never opened, or closed already
  Socket& socket = *found->second;
  if (socket.core != io::core()) take_over(socket);
  return socket;
}

// A listener at rest may pass to another core: a server opens those of all its cores in one place. See io.h.
void Network::take_over(Socket& socket) {
  BH_CHECK(socket.listening && socket.accept == 0 && !socket.accept_scheduled);
  --handles_of_core_[socket.core];
  socket.core = io::core();
  ++handles_of_core_[socket.core];
}

bool Network::full(unsigned core) const { return handles_of_core_[core] >= simulator_.options().connections_max; }

Result<io::Handle> Network::make_handle(unsigned core, std::unique_ptr<Socket> socket) {
  if (full(core)) return fail(os_error(ENFILE));
  ++handles_of_core_[core];
  io::Handle handle{next_handle_++};
  socket->handle = handle;
  socket->core = core;
  sockets_.emplace(handle.value, std::move(socket));
  return handle;
}

Status Network::check_vacant(const io::Endpoint& endpoint) const {
  auto found = listeners_.find(endpoint.to_string());
  bool vacant = found == listeners_.end() || found->second.empty();
  return vacant ? Status() : fail(os_error(EADDRINUSE));
}

Result<io::Handle> Network::open_listener(const io::Endpoint& endpoint, bool shared, int backlog) {
  if (endpoint.unix_path.size() > kUnixPathMax) return fail(os_error(ENAMETOOLONG));
  io::Endpoint bound = endpoint;
  bool unix_socket = !endpoint.unix_path.empty();
  while (!unix_socket && endpoint.tcp.port == 0) {
    bound.tcp.port = next_port_;
    next_port_ = next_port_ == 65535 ? kFirstPort : static_cast<uint16_t>(next_port_ + 1);
    if (!listeners_at(bound)) break;
  }
  auto found = listeners_.find(bound.to_string());
  if (!unix_socket && found != listeners_.end() && !found->second.empty() &&
      !(shared && found->second.front()->shared)) {
    return fail(os_error(EADDRINUSE));
  }
  auto made = std::make_unique<Socket>();
  Socket* listener = made.get();
  listener->endpoint = bound;
  listener->listening = true;
  listener->shared = shared;
  listener->backlog = static_cast<size_t>(std::max(backlog, 1));
  BH_TRY(io::Handle handle, make_handle(io::core(), std::move(made)));
  auto& listeners = listeners_[bound.to_string()];
  if (unix_socket) listeners.clear();  // the path names the new socket now
  listeners.push_back(listener);
  return handle;
}

Result<io::Handle> Network::adopt_listener(const io::Endpoint& endpoint) {
  constexpr int kBacklog = 128;
  BH_TRY(io::Handle handle, open_listener(endpoint, true, kBacklog));
  socket(handle).adopted = true;
  return handle;
}

Result<io::Handle> Network::open_socket(const io::Endpoint& endpoint) {
  if (endpoint.unix_path.size() > kUnixPathMax) return fail(os_error(ENAMETOOLONG));
  auto made = std::make_unique<Socket>();
  made->endpoint = endpoint;
  return make_handle(io::core(), std::move(made));
}

Result<SocketAddress> Network::local_address(io::Handle handle) {
  Socket& s = socket(handle);
  if (s.listening) return s.endpoint.tcp;
  if (!s.connection) return SocketAddress{};
  return s.connection->side[s.side].address;
}

Result<io::Endpoint> Network::endpoint(io::Handle handle) {
  Socket& s = *sockets_.at(handle.value);  // asked on any core: nothing is done with it
  if (!s.listening) return fail(os_error(EINVAL));
  return s.endpoint;
}

void Network::close(io::Handle handle) {
  Socket& s = socket(handle);
  BH_CHECK(!simulator_.in_flight(s.accept) && !simulator_.in_flight(s.connect) && !simulator_.in_flight(s.other));
  if (s.listening) {
    auto found = listeners_.find(s.endpoint.to_string());
    std::erase(found->second, &s);
    auto heir = std::ranges::find_if(found->second, [&](Socket* other) { return other->adopted || s.adopted; });
    if (!s.queue.empty() && heir != found->second.end()) {
      for (Shared& waiting : s.queue) (*heir)->queue.push_back(std::move(waiting));
      s.queue.clear();
      pump_accept(**heir);
    }
    for (Shared& waiting : s.queue) {
      waiting->side[1].closed = true;
      arrive(waiting, 1, [this, waiting] { reset_arrived(waiting, 0); });
    }
    // A path stays where it is and refuses; an address is free again.
    if (found->second.empty() && s.endpoint.unix_path.empty()) listeners_.erase(found);
  } else if (Shared connection = s.connection) {
    Side& side = connection->side[s.side];
    BH_CHECK(!simulator_.in_flight(side.receive) && !simulator_.in_flight(side.send));
    side.closed = true;
    side.handle = -1;
    if (connection->established && !side.reset) {
      if (side.unread() > 0) {
        arrive(connection, s.side, [this, connection, to = 1 - s.side] { reset_arrived(connection, to); });
      } else {
        send_end(connection, s.side);
      }
    }
    side.arrived.clear();
    side.taken = 0;
  }
  simulator_.note(Trace::connection, static_cast<uint64_t>(handle.value), 1);
  --handles_of_core_[s.core];
  sockets_.erase(handle.value);
}

std::string Network::describe(io::Handle handle) const {
  auto found = sockets_.find(handle.value);
  if (found == sockets_.end()) return "no socket";
  const Socket& s = *found->second;
  std::string text = "socket " + std::to_string(handle.value) + " of core " + std::to_string(s.core);
  if (s.listening) return text + " listening at " + s.endpoint.to_string();
  if (!s.connection) return text + " not connected";
  if (s.side == 0) return text + " connected to " + s.endpoint.to_string();
  return text + " accepted at " + s.endpoint.to_string();
}

std::vector<std::string> Network::open_handles() const {
  std::vector<std::string> lines;
  for (const auto& [value, s] : sockets_) lines.push_back(describe(io::Handle{value}));
  return lines;
}

// ---- Operations ----

void Network::start(uint64_t id, io::Operation& operation) {
  Socket& s = socket(operation.handle);
  auto fail_soon = [&](int error) {
    simulator_.after(simulator_.completion_delay(), [this, id, error] {
      if (simulator_.waiting(id)) simulator_.finish(id, {.result = -error});
    });
  };
  if (operation.kind == io::OperationKind::accept) {
    BH_CHECK(!simulator_.in_flight(s.accept));
    if (!s.listening) return fail_soon(EINVAL);
    s.accept = id;
    return pump_accept(s);
  }
  if (operation.kind == io::OperationKind::connect) {
    if (s.connection) return fail_soon(s.connection->established ? EISCONN : EALREADY);
    return start_connect(id, s, *operation.endpoint);
  }
  if (!s.connection || !s.connection->established) return fail_soon(ENOTCONN);
  Side& side = s.connection->side[s.side];
  switch (operation.kind) {
    case io::OperationKind::receive:
      BH_CHECK(!simulator_.in_flight(side.receive));
      side.receive = id;
      return wake_reader(s.connection, s.side);
    case io::OperationKind::send:
      BH_CHECK(!simulator_.in_flight(side.send) && operation.size > 0);
      side.send = id;
      side.sent = 0;
      return simulator_.after(simulator_.completion_delay(),
                              [this, connection = s.connection, at = s.side] { push(connection, at); });
    case io::OperationKind::shutdown:
      s.other = id;
      return simulator_.after(simulator_.completion_delay(), [this, id, connection = s.connection, at = s.side] {
        if (!simulator_.waiting(id)) return;
        bool reset = connection->side[at].reset;
        if (!reset) send_end(connection, at);
        simulator_.finish(id, {.result = reset ? -ENOTCONN : 0});
      });
    default:
      s.other = id;
      return simulator_.after(simulator_.completion_delay(), [this, id, connection = s.connection, at = s.side] {
        io::Operation* waiting = simulator_.waiting(id);
        if (!waiting) return;
        bool reset = connection->side[at].reset;
        if (!reset) *waiting->peer = connection->side[1 - at].address;
        simulator_.finish(id, {.result = reset ? -ENOTCONN : 0});
      });
  }
}

int32_t Network::canceled_result(const io::Operation& operation) {
  if (operation.kind != io::OperationKind::send) return -ECANCELED;
  Socket& s = *sockets_.at(operation.handle.value);
  if (!s.connection) return -ECANCELED;
  size_t sent = s.connection->side[s.side].sent;
  return sent > 0 ? static_cast<int32_t>(sent) : -ECANCELED;
}

// ---- Connections ----

Duration Network::latency(const Connection& connection) {
  Duration most = world().faults.latency_max;
  return simulator_.chance().between(most / 50, most) + connection.rule.delay;
}

template <class F>
void Network::arrive(const Shared& connection, int from, F action) {
  Side& side = connection->side[from];
  Instant at = std::max(simulator_.now() + latency(*connection), side.last_departure + 1ns);
  side.last_departure = at;
  simulator_.after(at - simulator_.now(), [connection, action = std::move(action)]() mutable {
    if (!connection->stalled) action();
  });
}

const std::vector<Network::Socket*>* Network::listeners_at(const io::Endpoint& endpoint) const {
  auto found = listeners_.find(endpoint.to_string());
  if (found == listeners_.end() && endpoint.unix_path.empty()) {
    io::Endpoint any = endpoint;
    any.tcp.ip.bytes = {};
    found = listeners_.find(any.to_string());
  }
  return found == listeners_.end() ? nullptr : &found->second;
}

void Network::start_connect(uint64_t id, Socket& s, const io::Endpoint& endpoint) {
  s.connect = id;
  s.endpoint = endpoint;
  s.connection = std::make_shared<Connection>();
  if (const AddressRule* rule = world().rule(endpoint)) s.connection->rule = *rule;
  Side& client = s.connection->side[0];
  client.handle = s.handle.value;
  if (endpoint.unix_path.empty()) {
    client.address.ip = world().client_address.value_or(loopback(endpoint.tcp.ip.v6));
    client.address.port = static_cast<uint16_t>(kFirstPort + simulator_.chance().below(65536 - kFirstPort));
  }
  simulator_.after(latency(*s.connection),
                   [this, id, connection = s.connection, endpoint] { knock(id, connection, endpoint); });
}

// The client's request reaches the address. Nobody is there, nobody answers, or a listener queues it.
void Network::knock(uint64_t id, const Shared& connection, const io::Endpoint& endpoint) {
  if (!simulator_.waiting(id)) return;
  auto answer = [&](int error, Duration delay) {
    simulator_.after(delay, [this, id, error] {
      if (simulator_.waiting(id)) simulator_.finish(id, {.result = -error});
    });
  };
  if (connection->rule.blackhole) return answer(ETIMEDOUT, kConnectTimeout);
  if (connection->rule.refuse || simulator_.chance().happens(world().faults.refuse_connect)) {
    return answer(ECONNREFUSED, latency(*connection));
  }
  const std::vector<Socket*>* listeners = listeners_at(endpoint);
  if (!listeners && !endpoint.unix_path.empty()) return answer(ENOENT, latency(*connection));
  if (!listeners || listeners->empty()) return answer(ECONNREFUSED, latency(*connection));
  Socket& listener = *(*listeners)[simulator_.chance().below(listeners->size())];
  if (listener.queue.size() >= listener.backlog) {
    simulator_.after(kKnockAgain, [this, id, connection, endpoint] { knock(id, connection, endpoint); });
    return;
  }
  establish(id, connection, endpoint, listener);
}

void Network::establish(uint64_t id, const Shared& connection, const io::Endpoint& endpoint, Socket& listener) {
  connection->established = true;
  if (endpoint.unix_path.empty()) connection->side[1].address = endpoint.tcp;
  listener.queue.push_back(connection);
  simulator_.note(Trace::connection, static_cast<uint64_t>(connection->side[0].handle), listener.core + 2);
  pump_accept(listener);
  simulator_.after(latency(*connection), [this, id] {
    if (simulator_.waiting(id)) simulator_.finish(id, {.result = 0});
  });
}

void Network::pump_accept(Socket& listener) {
  if (listener.queue.empty() || listener.accept_scheduled || !simulator_.waiting(listener.accept)) return;
  listener.accept_scheduled = true;
  simulator_.after(simulator_.completion_delay(),
                   [this, handle = listener.handle, id = listener.accept] { accept_one(handle, id); });
}

void Network::accept_one(io::Handle handle, uint64_t id) {
  auto found = sockets_.find(handle.value);
  if (found == sockets_.end()) return;
  Socket& listener = *found->second;
  listener.accept_scheduled = false;
  if (!simulator_.waiting(id)) return pump_accept(listener);  // another accept may wait by now
  Shared connection = std::move(listener.queue.front());
  listener.queue.pop_front();
  auto made = std::make_unique<Socket>();
  made->endpoint = listener.endpoint;
  made->connection = connection;
  made->side = 1;
  Result<io::Handle> accepted = make_handle(listener.core, std::move(made));
  if (!accepted) {
    connection->side[1].closed = true;
    arrive(connection, 1, [this, connection] { reset_arrived(connection, 0); });
    simulator_.finish(id, {.result = -static_cast<int32_t>(accepted.error().code)});
    return;
  }
  connection->side[1].handle = accepted->value;
  bool more = !simulator_.chance().happens(world().faults.accept_end);
  simulator_.finish(id, {.result = accepted->value, .more = more});
  pump_accept(listener);
}

// ---- Bytes ----

// Moves bytes of the side's send operation into segments, as far as there is room; ends the operation when all went.
void Network::push(const Shared& connection, int at) {
  Side& from = connection->side[at];
  Side& to = connection->side[1 - at];
  io::Operation* operation = simulator_.waiting(from.send);
  if (!operation || from.sent == operation->size) return;
  if (from.reset || from.end_sent) return end_send(connection, at, from.reset ? std::exchange(from.error, 0) : EPIPE);
  size_t used = to.unread() + to.in_transit;
  if (used >= socket_buffer_) return;  // goes on when the reader has taken some
  size_t count = std::min({socket_buffer_ - used, operation->size - from.sent, kSegmentMax});
  if (simulator_.chance().below(4) == 0) count = 1 + simulator_.chance().below(count);
  std::string bytes(reinterpret_cast<const char*>(operation->data) + from.sent, count);
  from.sent += count;
  to.in_transit += count;
  arrive(connection, at, [this, connection, other = 1 - at, bytes = std::move(bytes)]() mutable {
    segment_arrived(connection, other, std::move(bytes));
  });
  if (from.sent < operation->size) {
    simulator_.after(1us, [this, connection, at] { push(connection, at); });
    return;
  }
  Duration delay = simulator_.completion_delay();
  if (simulator_.chance().happens(world().faults.late_send)) delay += simulator_.chance().between(1ms, 20ms);
  simulator_.after(delay, [this, id = from.send, count = static_cast<int32_t>(from.sent)] {
    if (simulator_.waiting(id)) simulator_.finish(id, {.result = count});
  });
}

// What left before the error counts as sent; the error is for the next send then.
void Network::end_send(const Shared& connection, int at, int error) {
  Side& side = connection->side[at];
  if (side.sent > 0) {
    if (side.reset) side.error = error;
    simulator_.finish(side.send, {.result = static_cast<int32_t>(side.sent)});
  } else {
    simulator_.finish(side.send, {.result = -(error == 0 ? EPIPE : error)});
  }
}

void Network::segment_arrived(const Shared& connection, int at, std::string bytes) {
  Side& to = connection->side[at];
  simulator_.note(Trace::segment, bytes.size(), static_cast<uint64_t>(at));
  if (simulator_.chance().happens(world().faults.reset)) return reset_both(connection);
  const AddressRule& rule = connection->rule;
  const std::optional<uint64_t>& limit = at == 1 ? rule.cut_after_to_server : rule.cut_after_to_client;
  bool cut = limit && to.arrived_total + bytes.size() >= *limit;
  if (cut) bytes.resize(*limit - to.arrived_total);
  to.arrived_total += bytes.size();
  if (to.closed) {
    to.in_transit -= bytes.size();
    arrive(connection, at, [this, connection, at] { reset_arrived(connection, 1 - at); });
  } else if (!to.reset) {
    to.in_transit -= bytes.size();
    to.arrived += bytes;
    wake_reader(connection, at);
  }
  if (!cut) return;
  if (rule.cut == AddressRule::Cut::reset) return reset_both(connection);
  connection->stalled = true;
}

void Network::send_end(const Shared& connection, int at) {
  Side& side = connection->side[at];
  if (std::exchange(side.end_sent, true)) return;
  arrive(connection, at, [this, connection, other = 1 - at] { end_arrived(connection, other); });
}

void Network::end_arrived(const Shared& connection, int at) {
  connection->side[at].end_arrived = true;
  wake_reader(connection, at);
}

void Network::reset_arrived(const Shared& connection, int at) {
  Side& side = connection->side[at];
  if (side.closed || side.reset) return;
  simulator_.note(Trace::connection, static_cast<uint64_t>(side.handle), 0);
  side.reset = true;
  side.error = ECONNRESET;
  wake_reader(connection, at);
  push(connection, at);
}

void Network::reset_both(const Shared& connection) {
  reset_arrived(connection, 0);
  reset_arrived(connection, 1);
}

void Network::wake_reader(const Shared& connection, int at) {
  Side& side = connection->side[at];
  if (!simulator_.waiting(side.receive)) return;
  if (side.unread() == 0 && !side.end_arrived && !side.reset) return;
  simulator_.after(simulator_.completion_delay(),
                   [this, connection, at, id = side.receive] { take(connection, at, id); });
}

void Network::take(const Shared& connection, int at, uint64_t id) {
  Side& side = connection->side[at];
  if (!simulator_.waiting(id)) return;
  if (side.unread() == 0) {
    simulator_.finish(id, {.result = -std::exchange(side.error, 0)});
    return;
  }
  Chance& chance = simulator_.chance();
  BufferPool& buffers = simulator_.buffers(sockets_.at(side.handle)->core);
  int32_t buffer = chance.happens(world().faults.no_buffers) ? -1 : buffers.take(chance);
  if (buffer < 0) {
    simulator_.finish(id, {.result = -ENOBUFS});
    return;
  }
  size_t count = std::min({side.unread(), io::kReceiveBufferSize, std::max<size_t>(world().receive_max, 1)});
  if (chance.happens(world().faults.short_read)) count = 1 + chance.below(count);
  std::copy_n(side.arrived.data() + side.taken, count, buffers.bytes(buffer).data());
  side.taken += count;
  if (side.unread() == 0) {
    side.arrived.clear();
    side.taken = 0;
  } else if (side.taken >= kSegmentMax) {
    side.arrived.erase(0, std::exchange(side.taken, 0));
  }
  simulator_.finish(id, {.result = static_cast<int32_t>(count), .more = false, .buffer = buffer});
  if (simulator_.waiting(connection->side[1 - at].send)) {
    simulator_.after(latency(*connection), [this, connection, other = 1 - at] { push(connection, other); });
  }
}

}  // namespace bellhop::sim
