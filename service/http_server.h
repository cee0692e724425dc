// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/io.h"
#include "core/socket.h"
#include "core/stream/stream.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "service/http2_server_connection.h"
#include "service/http_exchange.h"
#include "service/http_limits.h"
#include "service/rate_limits.h"

namespace bellhop::service {

// One listener on the calling core: accepts, admits, shakes hands, and serves each connection in the version of HTTP
// that TLS agreed on: HTTP/2 where the TLS context offers it and the client chose it (ALPN "h2"), else HTTP/1.1, plain
// or over TLS. Never HTTP/2 without TLS. The same limits hold for both (service/http1_server_connection.h,
// service/http2_server_connection.h). Owned by the server object of its core; `handler` outlives it.
class HttpServer {
 public:
  HttpServer(HttpHandler& handler, HttpServerLimits limits, std::shared_ptr<TlsContext> tls);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Serves what the listener accepts until stopped or drained; closes the listener. Returns when all its connections
  // ended. May run for several listeners at once: limits and counts are those of all together.
  Task<void> run(io::Handle listener);
  // The steps of an orderly end, in their order. None waits itself.
  // 1. Each answer ends its connection, over HTTP/2 by GOAWAY in two steps; new connections are still taken.
  void leave();
  // 2. New connections wait in the listening socket; those that were taken already are served.
  void pause();
  // Takes both back; a GOAWAY stands.
  void stay();
  // Nothing is in work but patient exchanges, and no connection younger than `young`, nor one that a paused listener still gives, has yet to
  // bring its first request. Costs a look at connections of that age.
  bool quiet(Instant now, Duration young);
  // 3. The end: no new connections; idle ones are closed, busy ones after their answers. run() then returns.
  void drain();
  bool draining() const { return draining_; }
  // For connections accepted from now on.
  void set_tls(std::shared_ptr<TlsContext> tls) { tls_ = std::move(tls); }
  WallTime certificate_expires() const { return tls_ ? tls_->certificate_expires() : WallTime::max(); }
  HttpServerStats stats() const;

 private:
  struct Connection;

  Task<void> accept_all(Listener& listener, TaskScope& connections);
  Task<void> serve(Socket socket);
  Task<bool> admit(Connection& connection);
  Task<Status> learn_client(Connection& connection);
  bool count_client(Connection& connection);
  void release(Connection& connection);
  Task<Status> shake_hands(Connection& connection);
  Task<Status> serve_stream(Connection& connection);
  Task<Status> serve_http1(Connection& connection);
  Task<Status> serve_http2(Connection& connection);
  Task<Status> serve_version(Connection& connection, HttpConnection& version);
  void note_end(const Status& status);

  HttpHandler& handler_;
  HttpServerLimits limits_;
  std::shared_ptr<TlsContext> tls_;
  HttpServerStats stats_;
  Http2ServerShare http2_;
  bool draining_ = false;
  bool leaving_ = false;
  bool paused_ = false;
  std::vector<Listener*> listeners_;  // those that run() serves
  IntrusiveList<Connection> connections_;
  size_t handshakes_ = 0;
  std::map<RateKey, size_t> addresses_;  // open connections by client address; never more than connections
  std::optional<TokenBuckets> new_connections_;  // by client address
};

}  // namespace bellhop::service
