// SPDX-License-Identifier: Apache-2.0
#include "service/http_server.h"

#include <algorithm>

#include "core/sleep.h"
#include "service/http1_server_connection.h"

namespace bellhop::service {
namespace {

// While the process has no free descriptor, accepting is tried again this often.
constexpr Duration kAcceptPause = 100ms;

Task<void> close_listener(Listener& listener) { co_await listener.close(); }

}  // namespace

// One connection, whatever version it speaks. In the server's list while it is open.
struct HttpServer::Connection final : ListLink {
  Connection(HttpServer& server, Socket socket)
      : stream(std::move(socket), server.tls_ ? std::make_unique<TlsEngine>(server.tls_) : nullptr) {}

  Stream stream;
  HttpConnection* version = nullptr;                   // while it is served
  std::optional<std::array<uint8_t, 17>> address_key;  // where it is counted
};

HttpServer::HttpServer(HttpHandler& handler, HttpServerLimits limits, std::shared_ptr<TlsContext> tls)
    : handler_(handler), limits_(limits), tls_(std::move(tls)) {
  http2_.requests_in_work_max = limits.http2_requests_in_work_max;
  http2_.bodies.bytes_max = limits.http2_body_bytes_max;
}

HttpServerStats HttpServer::stats() const {
  HttpServerStats all = stats_;
  all.requests += http2_.requests;
  all.malformed += http2_.requests_refused;
  all.http2_requests = http2_.requests;
  all.http2_streams_refused = http2_.streams_refused;
  return all;
}

Task<void> HttpServer::run(io::Handle handle) {
  Context& context = co_await current_context();
  Listener listener(handle);
  TaskScope connections(&context);
  Context accepting(&context);
  accepting_.push_back(&accepting);
  if (!draining_) co_await accept_all(listener, connections).under(accepting);
  std::erase(accepting_, &accepting);
  co_await close_listener(listener);
  co_await connections.join();
}

Task<void> HttpServer::accept_all(Listener& listener, TaskScope& connections) {
  for (;;) {
    Result<Socket> socket = co_await listener.accept();
    if (!socket) {
      if (socket.error().domain != Domain::os) co_return;
      if (!co_await sleep_for(kAcceptPause)) co_return;
      continue;
    }
    ++stats_.accepted;
    if (stats_.connections >= limits_.connections_max) {
      ++stats_.refused_full;
      continue;  // closes it
    }
    connections.spawn(serve(*std::move(socket)));
  }
}

void HttpServer::drain() {
  draining_ = true;
  for (Context* accepting : accepting_) accepting->request_stop();
  connections_.for_each([](Connection* connection) {
    if (connection->version) connection->version->drain();
  });
}

Task<void> HttpServer::serve(Socket socket) {
  ++stats_.connections;
  {
    Connection connection(*this, std::move(socket));
    connections_.push_back(&connection);
    if (co_await admit(connection)) {
      Status shaken = co_await shake_hands(connection);
      note_end(shaken ? co_await serve_stream(connection) : shaken);
      release(connection);
      co_await connection.stream.close();
    }
  }
  --stats_.connections;
}

// Counts the connection for its peer's address; false where that address has enough.
Task<bool> HttpServer::admit(Connection& connection) {
  if (limits_.connections_per_address_max == 0) co_return true;
  auto peer = co_await connection.stream.socket().peer_address();
  if (!peer) co_return false;  // it is gone already
  std::array<uint8_t, 17> key{peer->ip.v6};
  std::copy(peer->ip.bytes.begin(), peer->ip.bytes.end(), key.begin() + 1);
  auto [entry, fresh] = addresses_.try_emplace(key, 0);
  if (entry->second >= limits_.connections_per_address_max) {
    ++stats_.refused_address;
    co_return false;
  }
  ++entry->second;
  connection.address_key = key;
  co_return true;
}

void HttpServer::release(Connection& connection) {
  if (!connection.address_key) return;
  auto entry = addresses_.find(*connection.address_key);
  if (--entry->second == 0) addresses_.erase(entry);
}

Task<Status> HttpServer::shake_hands(Connection& connection) {
  if (!connection.stream.tls()) co_return Status();
  if (handshakes_ >= limits_.handshakes_in_flight_max) {
    ++stats_.refused_full;
    co_return fail(core_error(CoreError::limit));
  }
  ++handshakes_;
  Status shaken = co_await within(limits_.handshake_timeout, connection.stream.handshake());
  --handshakes_;
  stats_.handshakes_failed += !shaken;
  co_return shaken;
}

void HttpServer::note_end(const Status& status) {
  if (status) return;
  const Error& error = status.error();
  if (is(error, CoreError::timed_out)) ++stats_.timed_out;
  if (error == proto::http2_error(proto::Http2Error::flooded, error.detail)) {
    ++stats_.http2_flooded;
  } else if (error.domain == Domain::http2) {
    ++stats_.http2_violations;
  }
}

Task<Status> HttpServer::serve_stream(Connection& connection) {
  const TlsEngine* tls = connection.stream.tls();
  if (tls && tls->alpn() == "h2") co_return co_await serve_http2(connection);
  co_return co_await serve_http1(connection);
}

Task<Status> HttpServer::serve_version(Connection& connection, HttpConnection& version) {
  connection.version = &version;
  if (draining_) version.drain();
  Status ended = co_await version.run();
  connection.version = nullptr;
  co_return ended;
}

Task<Status> HttpServer::serve_http1(Connection& connection) {
  Http1ServerConnection served(connection.stream, handler_, limits_, stats_);
  co_return co_await serve_version(connection, served);
}

Task<Status> HttpServer::serve_http2(Connection& connection) {
  Http2ServerConnection served(connection.stream, handler_,
                               {.http2 = limits_.http2,
                                .header_timeout = limits_.header_timeout,
                                .idle_timeout = limits_.idle_timeout,
                                .body_grace = limits_.body_grace,
                                .body_rate_min_bytes_per_s = limits_.body_rate_min_bytes_per_s,
                                .write_stall_timeout = limits_.write_stall_timeout,
                                .goaway_grace = limits_.http2_goaway_grace,
                                .requests_max = limits_.requests_per_connection_max},
                               &http2_);
  ++stats_.http2_connections;
  Status ended = co_await serve_version(connection, served);
  --stats_.http2_connections;
  co_return ended;
}

}  // namespace bellhop::service
