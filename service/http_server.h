// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <memory>

#include "core/io.h"
#include "core/socket.h"
#include "core/stream/stream.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "service/http_exchange.h"

namespace bellhop::service {

// Named in the configuration under [listen.*]; the defaults are those of a listener on the open Internet.
struct HttpServerLimits {
  size_t connections_max = 20'000;         // of this core; more are closed at once
  size_t connections_per_address_max = 0;  // of this core and one peer address; 0: not counted
  size_t handshakes_in_flight_max = 2'048;
  uint64_t requests_per_connection_max = 100'000;
  Duration handshake_timeout = 5s;
  Duration header_timeout = 10s;           // from the first byte of a request to the end of its head
  Duration idle_timeout = 60s;             // between requests, and before the first
  Duration body_grace = 10s;               // a body may take this long, plus its size over the rate below
  uint64_t body_rate_min_bytes_per_s = 4096;
  Duration write_stall_timeout = 10s;
  proto::HeaderBlock::Limits header;
};

struct HttpServerStats {
  uint64_t accepted = 0;
  uint64_t refused_full = 0;         // connections_max or handshakes_in_flight_max was reached
  uint64_t refused_address = 0;      // connections_per_address_max was reached
  uint64_t handshakes_failed = 0;
  uint64_t timed_out = 0;            // handshake, head, body or answer too slow
  uint64_t malformed = 0;            // requests that the parser refused
  uint64_t requests = 0;
  uint64_t connections = 0;          // open now
};

// Serves HTTP/1.1, plain or over TLS, on the calling core: accepts, reads requests, hands each to the handler, keeps
// connections alive. Requests of one connection are served one after the other (RFC 9112 section 9.3.2), so pipelined
// ones wait in the socket. Owned by the server object of its core; `handler` outlives it.
class HttpServer {
 public:
  HttpServer(HttpHandler& handler, HttpServerLimits limits, std::shared_ptr<TlsContext> tls);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Serves what the listener accepts until stopped or drained; closes the listener. Returns when all connections ended.
  Task<void> run(io::Handle listener);
  // No new connections; idle ones are closed, busy ones after their answer, all that are left after `patience`. run()
  // then returns. Does not wait itself.
  void drain();
  bool draining() const { return draining_; }
  // For connections accepted from now on.
  void set_tls(std::shared_ptr<TlsContext> tls) { tls_ = std::move(tls); }
  const HttpServerStats& stats() const { return stats_; }

 private:
  struct Connection;

  Task<void> accept_all(Listener& listener, TaskScope& connections);
  Task<void> serve(Socket socket);
  Task<bool> admit(Connection& connection);
  void release(Connection& connection);
  Task<Status> shake_hands(Connection& connection);
  Task<Status> serve_stream(Connection& connection);
  Task<Status> serve_request(Connection& connection);
  Task<Status> wait_for_head(Connection& connection);
  Task<void> refuse(Connection& connection, const Error& error);
  void note_end(const Status& status);

  HttpHandler& handler_;
  HttpServerLimits limits_;
  std::shared_ptr<TlsContext> tls_;
  HttpServerStats stats_;
  bool draining_ = false;
  Context* accepting_ = nullptr;
  IntrusiveList<Connection> connections_;
  size_t handshakes_ = 0;
  std::map<std::array<uint8_t, 17>, size_t> addresses_;  // open connections by peer; never more than connections
};

}  // namespace bellhop::service
