// SPDX-License-Identifier: Apache-2.0
#include "service/http_server.h"

#include <algorithm>

#include "core/sleep.h"
#include "proto/proxy_protocol.h"
#include "service/http1_server_connection.h"

namespace bellhop::service {
namespace {

// While the process has no free descriptor, accepting is tried again this often.
constexpr Duration kAcceptPause = 100ms;
// What connections_per_address_per_second lets come at once.
constexpr uint32_t kBurstSeconds = 10;

// Takes what has come of the header, and not a byte more: what follows is TLS. True once it is complete.
Result<bool> take_proxy_header(Stream& stream, proto::ProxyHeaderParser& parser) {
  uint8_t room[256];
  for (;;) {
    size_t size = stream.read(MutableBytes(room).first(std::min(parser.wanted(), sizeof room)));
    if (size == 0) return false;
    BH_TRY(proto::ProxyHeaderParser::Step step, parser.feed(Bytes(room).first(size)));
    if (step.complete) return true;
  }
}

Task<Result<proto::ProxyHeader>> read_proxy_header(Stream& stream) {
  proto::ProxyHeaderParser parser;
  for (;;) {
    BH_CO_TRY(bool complete, take_proxy_header(stream, parser));
    if (complete) co_return parser.header();
    BH_CO_TRY(bool more, co_await stream.wait_input());
    if (!more) co_return fail(core_error(CoreError::closed));
  }
}

Task<void> close_listener(Listener& listener) { co_await listener.close(); }

}  // namespace

// One connection, whatever version it speaks. In the server's list while it is open.
struct HttpServer::Connection final : ListLink {
  explicit Connection(Socket socket) : stream(std::move(socket)) {}

  Stream stream;
  Instant accepted_at = io::now();
  std::optional<SocketAddress> client;  // where limits ask for it: the peer, or whom a load balancer names
  HttpConnection* version = nullptr;    // while it is served
  std::optional<RateKey> address_key;   // where it is counted
};

HttpServer::HttpServer(HttpHandler& handler, HttpServerLimits limits, std::shared_ptr<TlsContext> tls)
    : handler_(handler), limits_(limits), tls_(std::move(tls)) {
  http2_.requests_in_work_max = limits.http2_requests_in_work_max;
  http2_.bodies.bytes_max = limits.http2_body_bytes_max;
  if (uint32_t rate = limits.connections_per_address_per_second; rate > 0) {
    new_connections_.emplace(rate * kBurstSeconds, Duration(1s) * kBurstSeconds, limits.addresses_tracked_max,
                             io::random_u64());
  }
}

HttpServerStats HttpServer::stats() const {
  HttpServerStats all = stats_;
  all.requests += http2_.requests;
  all.malformed += http2_.requests_refused;
  all.requests_in_work += http2_.requests_in_work;
  all.requests_patient += http2_.requests_patient;
  all.http2_requests = http2_.requests;
  all.http2_streams_refused = http2_.streams_refused;
  return all;
}

Task<void> HttpServer::run(io::Handle handle) {
  Context& context = co_await current_context();
  Listener listener(handle);
  TaskScope connections(&context);
  listeners_.push_back(&listener);
  if (paused_) listener.set_accepting(false);
  if (!draining_) co_await accept_all(listener, connections);
  std::erase(listeners_, &listener);
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

void HttpServer::leave() {
  leaving_ = true;
  connections_.for_each([](Connection* connection) {
    if (connection->version) connection->version->set_leaving(true);
  });
}

void HttpServer::pause() {
  paused_ = true;
  for (Listener* listener : listeners_) listener->set_accepting(false);
}

void HttpServer::stay() {
  leaving_ = paused_ = false;
  for (Listener* listener : listeners_) listener->set_accepting(true);
  connections_.for_each([](Connection* connection) {
    if (connection->version) connection->version->set_leaving(false);
  });
}

bool HttpServer::quiet(Instant now, Duration young) {
  HttpServerStats all = stats();
  if (all.requests_in_work > all.requests_patient) return false;
  // What is on its way out of the listening socket is a connection that has asked nothing yet.
  for (const Listener* listener : listeners_) {
    if (paused_ && !listener->at_rest()) return false;
  }
  // In the order in which they were accepted, the youngest last.
  const Connection* oldest = connections_.front();
  for (const Connection* connection = connections_.back(); connection; ) {
    if (now - connection->accepted_at >= young) return true;
    if (!connection->version || !connection->version->asked()) return false;
    if (connection == oldest) return true;
    connection = static_cast<const Connection*>(connection->previous_);
  }
  return true;
}

// What was accepted before is served, also where nobody had looked at it yet.
void HttpServer::drain() {
  draining_ = true;
  for (Listener* listener : listeners_) listener->stop();
  connections_.for_each([](Connection* connection) {
    if (connection->version) connection->version->drain();
  });
}

Task<void> HttpServer::serve(Socket socket) {
  ++stats_.connections;
  {
    Connection connection(std::move(socket));
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

// False where the connection is not to be served: its client has enough, or cannot be known.
Task<bool> HttpServer::admit(Connection& connection) {
  bool asks = limits_.connections_per_address_max > 0 || new_connections_ || !limits_.proxy_protocol_from.empty();
  if (!asks) co_return true;
  Status learned = co_await within_until(connection.accepted_at + limits_.handshake_timeout, learn_client(connection));
  if (!learned) {
    bool header = connection.client && !is(learned.error(), CoreError::canceled);
    stats_.proxy_headers_refused += header;
    co_return false;  // or it is gone already
  }
  co_return count_client(connection);
}

// The peer's address; or, behind a load balancer that we trust, the one that its header names.
Task<Status> HttpServer::learn_client(Connection& connection) {
  BH_CO_TRY(connection.client, co_await connection.stream.socket().peer_address());
  if (!limits_.proxy_protocol_from.contains(connection.client->ip)) co_return Status();
  BH_CO_TRY(proto::ProxyHeader header, co_await read_proxy_header(connection.stream));
  if (header.proxied) connection.client = header.source;
  co_return Status();
}

// False where its client has enough connections, or makes them too fast.
bool HttpServer::count_client(Connection& connection) {
  if (limits_.exempt.contains(connection.client->ip)) return true;
  RateKey key = rate_key(connection.client->ip);
  if (new_connections_ && new_connections_->take(key, connection.accepted_at) > Duration::zero()) {
    ++stats_.refused_rate;
    return false;
  }
  if (limits_.connections_per_address_max == 0) return true;
  auto [entry, fresh] = addresses_.try_emplace(key, 0);
  if (entry->second >= limits_.connections_per_address_max) {
    ++stats_.refused_address;
    return false;
  }
  ++entry->second;
  connection.address_key = key;
  return true;
}

void HttpServer::release(Connection& connection) {
  if (!connection.address_key) return;
  auto entry = addresses_.find(*connection.address_key);
  if (--entry->second == 0) addresses_.erase(entry);
}

Task<Status> HttpServer::shake_hands(Connection& connection) {
  if (!tls_) co_return Status();
  if (handshakes_ >= limits_.handshakes_in_flight_max) {
    ++stats_.refused_full;
    co_return fail(core_error(CoreError::limit));
  }
  ++handshakes_;
  connection.stream.start_tls(std::make_unique<TlsEngine>(tls_));
  Status shaken =
      co_await within_until(connection.accepted_at + limits_.handshake_timeout, connection.stream.handshake());
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
  if (leaving_) version.set_leaving(true);
  if (draining_) version.drain();
  Status ended = co_await version.run();
  connection.version = nullptr;
  co_return ended;
}

Task<Status> HttpServer::serve_http1(Connection& connection) {
  Http1ServerConnection served(connection.stream, handler_, limits_, stats_, connection.client);
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
                               &http2_, connection.client);
  ++stats_.http2_connections;
  Status ended = co_await serve_version(connection, served);
  --stats_.http2_connections;
  co_return ended;
}

}  // namespace bellhop::service
