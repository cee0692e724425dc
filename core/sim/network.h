// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/io.h"
#include "core/sim/world.h"

namespace bellhop::sim {

class Simulator;

// In-memory stream sockets. A connection is two sides; bytes go from the sender's memory into segments that arrive at
// the other side after the network's latency, in order, bounded by the size of a socket buffer. Semantics follow Linux:
// a close with unread bytes resets, bytes for a closed side are answered by a reset, a reset lets the reader have what
// arrived before.
class Network {
 public:
  explicit Network(Simulator& simulator);
  ~Network();

  Result<io::Handle> open_listener(const io::Endpoint& endpoint, bool shared, int backlog);
  Status check_vacant(const io::Endpoint& endpoint) const;
  // A socket that others may hold, too: when one of them closes it, what waits in it waits for the rest.
  Result<io::Handle> adopt_listener(const io::Endpoint& endpoint);
  Result<io::Handle> open_socket(const io::Endpoint& endpoint);
  Result<SocketAddress> local_address(io::Handle handle);
  // Where a listener listens. EINVAL where it is none.
  Result<io::Endpoint> endpoint(io::Handle handle);
  void close(io::Handle handle);

  // `id` names the operation for Simulator::finish.
  void start(uint64_t id, io::Operation& operation);
  // What a canceled operation completes with.
  int32_t canceled_result(const io::Operation& operation);
  std::string describe(io::Handle handle) const;
  std::vector<std::string> open_handles() const;  // by handle

 private:
  struct Side;
  struct Connection;
  struct Socket;
  using Shared = std::shared_ptr<Connection>;

  Socket& socket(io::Handle handle);
  Result<io::Handle> make_handle(unsigned core, std::unique_ptr<Socket> socket);
  bool full(unsigned core) const;
  void take_over(Socket& socket);
  const std::vector<Socket*>* listeners_at(const io::Endpoint& endpoint) const;
  Duration latency(const Connection& connection);
  // Runs the action when what leaves `from` now arrives at the other side, after all that left before.
  template <class F>
  void arrive(const Shared& connection, int from, F action);

  void start_connect(uint64_t id, Socket& socket, const io::Endpoint& endpoint);
  void knock(uint64_t id, const Shared& connection, const io::Endpoint& endpoint);
  void establish(uint64_t id, const Shared& connection, const io::Endpoint& endpoint, Socket& listener);
  void pump_accept(Socket& listener);
  void accept_one(io::Handle listener, uint64_t id);
  void push(const Shared& connection, int side);
  void end_send(const Shared& connection, int side, int error);
  void segment_arrived(const Shared& connection, int to, std::string bytes);
  void end_arrived(const Shared& connection, int to);
  void reset_arrived(const Shared& connection, int to);
  void reset_both(const Shared& connection);
  void send_end(const Shared& connection, int side);
  void wake_reader(const Shared& connection, int side);
  void take(const Shared& connection, int side, uint64_t id);

  Simulator& simulator_;
  size_t socket_buffer_;
  int32_t next_handle_ = 0;
  uint16_t next_port_ = 49152;
  std::map<int32_t, std::unique_ptr<Socket>> sockets_;  // by handle; handles are never used twice
  std::vector<unsigned> handles_of_core_;
  std::map<std::string, std::vector<Socket*>> listeners_;  // by the text of their endpoint
};

}  // namespace bellhop::sim
