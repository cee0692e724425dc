// SPDX-License-Identifier: Apache-2.0
#include "service/http_server.h"

#include <algorithm>
#include <cerrno>

#include "core/sleep.h"
#include "service/http1_connection.h"

namespace bellhop::service {
namespace {

using proto::Http1Event;
using proto::Http1RequestParser;
using proto::Http1Step;

// While the process has no free descriptor, accepting is tried again this often.
constexpr Duration kAcceptPause = 100ms;

Task<void> close_listener(Listener& listener) { co_await listener.close(); }

}  // namespace

// One connection. In the server's list while it is open. Invariant: `idle` exactly while no byte of a request arrived.
struct HttpServer::Connection final : ListLink, HttpExchange {
  Connection(HttpServer& s, Socket socket)
      : server(s),
        stream(std::move(socket), s.tls_ ? std::make_unique<TlsEngine>(s.tls_) : nullptr),
        parser(s.limits_.header),
        reader(stream, parser) {}
  ~Connection() { wipe(scratch); }  // an answer may hold a device secret or an API token

  HttpServer& server;
  Stream stream;
  Http1RequestParser parser;
  Http1Reader<Http1RequestParser> reader;
  Context* waiting = nullptr;  // of the wait between requests
  std::optional<std::array<uint8_t, 17>> address_key;  // where it is counted
  uint64_t requests = 0;
  bool body_read = false;
  bool close_after = false;
  bool answered = false;
  Status broken;  // why this connection can serve no further request: a body or an answer did not get through

  proto::HttpMethod method() const override { return parser.method(); }
  std::string_view target() const override { return parser.target(); }
  const proto::HeaderBlock& headers() const override { return parser.headers(); }
  bool responded() const override { return answered; }
  Task<Result<SocketAddress>> peer_address() override { return stream.socket().peer_address(); }

  Task<Status> read_body(uint64_t bytes_max, BodySink& sink) override {
    BH_CHECK(!body_read);
    parser.set_body_max(bytes_max);
    if (parser.expects_continue() && parser.has_body() && !reader.has_input()) {
      BH_CO_CHECKED(co_await within(server.limits_.write_stall_timeout, stream.write(as_bytes(proto::continue_response()))));
    }
    Instant start = io::now();
    uint64_t received = 0;
    for (;;) {
      Duration allowed = server.limits_.body_grace + received * Duration(1s) / server.limits_.body_rate_min_bytes_per_s;
      Result<Http1Step> step = co_await within_until(start + allowed, reader.next());
      if (!step) {
        broken = fail(step.error());
        co_return broken;
      }
      if (step->event == Http1Event::complete) break;
      received += step->body.size();
      BH_CO_CHECKED(sink.on_body(step->body));
    }
    body_read = true;
    co_return Status();
  }

  Task<Status> respond(const HttpResponse& response) override {
    BH_CHECK(!answered);
    answered = true;
    close_after |= response.close || server.draining_ || (!body_read && parser.has_body()) || !parser.keep_alive() ||
                   requests >= server.limits_.requests_per_connection_max;
    Status sent = co_await within(server.limits_.write_stall_timeout, write_response(response));
    if (!sent) broken = sent;
    co_return sent;
  }

  Task<Status> write_response(const HttpResponse& response) {
    // Head and body leave in one piece where they fit into a block: one record, one packet.
    proto::HeaderField fields[16];
    size_t count = 0;
    if (!response.content_type.empty()) fields[count++] = {"content-type", response.content_type};
    for (const proto::HeaderField& field : response.headers) {
      BH_CHECK(count < std::size(fields));
      fields[count++] = field;
    }
    bool no_body = response.status == 204 || response.status == 304 || response.status < 200;
    scratch.clear();
    BH_CO_CHECKED(proto::write_response_head(
        scratch, {.status = response.status,
                  .headers = {fields, count},
                  .framing = no_body ? proto::Http1Framing::none() : proto::Http1Framing::sized(response.body.size()),
                  .close = close_after}));
    bool send_body = !no_body && parser.method() != proto::HttpMethod::head;
    if (send_body && scratch.size() + response.body.size() <= Block::kSize) {
      scratch.append(response.body);
      send_body = false;
    }
    BH_CO_CHECKED(co_await stream.write(as_bytes(scratch)));
    if (send_body) BH_CO_CHECKED(co_await stream.write(as_bytes(response.body)));
    co_return Status();
  }

  std::string scratch;  // the answer on its way out; small, kept for the connection's next answer
};

HttpServer::HttpServer(HttpHandler& handler, HttpServerLimits limits, std::shared_ptr<TlsContext> tls)
    : handler_(handler), limits_(limits), tls_(std::move(tls)) {}

Task<void> HttpServer::run(io::Handle handle) {
  Context& context = co_await current_context();
  Listener listener(handle);
  TaskScope connections(&context);
  Context accepting(&context);
  accepting_ = &accepting;
  if (!draining_) co_await accept_all(listener, connections).under(accepting);
  accepting_ = nullptr;
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
  if (accepting_) accepting_->request_stop();
  connections_.for_each([](Connection* connection) {
    if (connection->waiting) connection->waiting->request_stop();
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
  auto peer = co_await connection.peer_address();
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
  if (!status && is(status.error(), CoreError::timed_out)) ++stats_.timed_out;
}

Task<Status> HttpServer::serve_stream(Connection& connection) {
  for (;;) {
    Status head = co_await wait_for_head(connection);
    if (!head) {
      if (head.error().domain == Domain::http) {
        ++stats_.malformed;
        co_await refuse(connection, head.error());
      }
      co_return head;
    }
    BH_CO_CHECKED(co_await serve_request(connection));
    if (connection.close_after || draining_) co_return Status();
  }
}

// Idle until the first byte, then the whole head within its own time.
Task<Status> HttpServer::wait_for_head(Connection& connection) {
  {
    Context waiting(&co_await current_context());
    connection.waiting = &waiting;
    if (draining_ && !connection.reader.has_input()) waiting.request_stop();
    Result<bool> more = co_await within(limits_.idle_timeout, connection.reader.fill()).under(waiting);
    connection.waiting = nullptr;
    if (!more) co_return fail(more.error());
    if (!*more) co_return fail(core_error(CoreError::closed));
  }
  BH_CO_TRY(Http1Step step, co_await within(limits_.header_timeout, connection.reader.next()));
  BH_CHECK(step.event == Http1Event::head);
  co_return Status();
}

Task<Status> HttpServer::serve_request(Connection& connection) {
  ++stats_.requests;
  ++connection.requests;
  connection.answered = connection.body_read = false;
  co_await handler_.handle(connection);
  if (!connection.broken) co_return connection.broken;
  if (!connection.answered) co_return fail(core_error(CoreError::closed));
  // A request without a body still has its end to be taken; an unread body makes the connection end instead.
  if (!connection.body_read && !connection.close_after) {
    BH_CO_TRY(Http1Step step, co_await connection.reader.next());
    BH_CHECK(step.event == Http1Event::complete);
  }
  connection.parser.reset();
  co_return Status();
}

Task<void> HttpServer::refuse(Connection& connection, const Error& error) {
  connection.close_after = true;
  connection.answered = true;
  (void)co_await within(limits_.write_stall_timeout,
                        connection.write_response({.status = proto::http_error_status(error)}));
}

}  // namespace bellhop::service
