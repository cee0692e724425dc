// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 server as bytes on a connection, plain and over TLS. Runs on both back ends.

#include "service/http_server.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/sleep.h"
#include "core/stream/block_pool.h"
#include "core/tls/certificate.h"
#include "tests/core/run.h"

namespace bellhop::service {
namespace {

using namespace std::string_literals;
using test::loopback;
using test::run_on_cores;

struct Collected final : BodySink {
  std::string text;
  Status on_body(Bytes piece) override {
    text += as_text(piece);
    return {};
  }
};

// Answers with method, target and body; "/wait" waits for `release` first; "/refuse" never reads the body; "/large" has an answer
// of 32 MiB.
struct EchoHandler final : HttpHandler {
  Event release;
  Event waiting;
  uint64_t body_max = 1000;
  int handled = 0;

  Task<void> handle(HttpExchange& exchange) override {
    ++handled;
    if (exchange.target() == "/refuse") {
      (void)co_await exchange.respond({.status = 403, .body = "no"});
      co_return;
    }
    if (exchange.target() == "/large") {  // more than socket buffers hold
      std::string large(32 << 20, 'x');
      (void)co_await exchange.respond({.body = large});
      co_return;
    }
    Collected body;
    Status read = co_await exchange.read_body(body_max, body);
    if (!read) {
      (void)co_await exchange.respond(
          {.status = read.error().domain == Domain::http ? proto::http_error_status(read.error()) : uint16_t{408},
           .close = true});
      co_return;
    }
    if (exchange.target() == "/wait") {
      waiting.set();
      (void)co_await release.wait();
    }
    std::string answer(proto::method_name(exchange.method()));
    answer += " " + std::string(exchange.target()) + " " + body.text;
    (void)co_await exchange.respond({.content_type = "text/plain", .body = answer});
  }
};

struct Fixture {
  EchoHandler handler;
  HttpServerLimits limits;
  std::shared_ptr<TlsContext> server_tls, client_tls;
};

void use_tls(Fixture& fixture) {
  set_tls_clock(&io::wall_now);
  WallTime now = io::wall_now();
  CertificateValidity validity{now - std::chrono::hours(1), now + std::chrono::hours(24)};
  auto authority = make_authority("test authority", validity);
  std::string name = "server.example.test";
  auto certificate = issue_certificate(*authority, std::span(&name, 1), {}, validity);
  std::string complaint;
  fixture.server_tls = *TlsContext::server({.chain = {"chain", certificate->chain_pem},
                                            .key = {"key", certificate->key_pem},
                                            .alpn = {"http/1.1"}},
                                           complaint);
  TlsFile file{"authority", authority->chain_pem};
  auto authorities = TlsAuthorities::parse(std::span(&file, 1), complaint);
  fixture.client_tls = *TlsContext::client({.authorities = *authorities, .alpn = {"http/1.1"}}, complaint);
}

// A client that writes bytes and reads bytes.
struct Peer {
  Peer(Socket socket, std::shared_ptr<TlsContext> tls)
      : stream(std::move(socket), tls ? std::make_unique<TlsEngine>(tls, "server.example.test") : nullptr) {}
  Stream stream;
  std::string received;
  bool ended = false;
};

// Reads until `done(received)`, or the server ends the connection (any way).
Task<Status> read_until(Peer& peer, std::function<bool(const std::string&)> done) {
  while (!done(peer.received)) {
    {
      Block block;
      size_t n = peer.stream.read(block.all());
      block.used(n);
      if (n > 0) {
        peer.received += as_text(block.all().first(n));
        continue;
      }
    }
    auto more = co_await within(20s, peer.stream.wait_input());
    if (!more && is(more.error(), CoreError::timed_out)) co_return fail(more.error());
    if (!more || !*more) {
      peer.ended = true;
      co_return Status();
    }
  }
  co_return Status();
}

size_t count_of(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

using Scenario = std::function<Task<void>(Fixture&, HttpServer&, io::Endpoint)>;

Task<void> serve_scenario(Fixture& fixture, const Scenario& scenario) {
  auto handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  io::Endpoint endpoint = test::endpoint_of(*handle, loopback());
  HttpServer server(fixture.handler, fixture.limits, fixture.server_tls);
  TaskScope scope(&co_await current_context());
  scope.spawn(server.run(*handle));
  co_await scenario(fixture, server, endpoint);
  server.drain();
  co_await scope.join();
  EXPECT_EQ(server.stats().connections, 0u);
}

void run_scenario(Fixture& fixture, const Scenario& scenario) {
  run_on_cores(1, [&](unsigned) { return serve_scenario(fixture, scenario); });
}

Task<Status> send_text(Peer& peer, std::string_view text) { co_return co_await peer.stream.write(as_bytes(text)); }

// One connection: sends `bytes`, reads to the end of the connection.
Task<std::string> exchange_to_end(Fixture& fixture, io::Endpoint endpoint, std::string bytes) {
  auto socket = co_await connect(endpoint);
  if (!socket) co_return "no connection";
  Peer peer(*std::move(socket), fixture.client_tls);
  Status shaken = co_await peer.stream.handshake();
  if (!shaken) co_return "no handshake: " + error_text(shaken.error());
  (void)co_await send_text(peer, bytes);
  Status read = co_await read_until(peer, [](const std::string&) { return false; });
  if (!read) peer.received += "<timeout>";
  co_await peer.stream.close(Duration::zero());
  co_return std::move(peer.received);
}

Task<void> serves_pipelined(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  std::string answer = co_await exchange_to_end(
      fixture, endpoint,
      "GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  EXPECT_EQ(count_of(answer, "HTTP/1.1 200 OK\r\n"), 3u) << answer;
  EXPECT_LT(answer.find("GET /a "), answer.find("POST /b hello")) << answer;
  EXPECT_LT(answer.find("POST /b hello"), answer.find("POST /c abc")) << answer;
  EXPECT_EQ(count_of(answer, "connection: close") + count_of(answer, "Connection: close"), 1u) << answer;
}

TEST(HttpServer, ServesPipelinedRequestsInOrderOverPlainTcp) {
  Fixture fixture;
  run_scenario(fixture, serves_pipelined);
}

Task<void> tls_scenario(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  co_await serves_pipelined(fixture, server, endpoint);
}

TEST(HttpServer, ServesPipelinedRequestsInOrderOverTls) {
  run_on_cores(1, [](unsigned) -> Task<void> {
    struct Run {
      static Task<void> flow() {
        Fixture fixture;
        use_tls(fixture);
        co_await serve_scenario(fixture, tls_scenario);
      }
    };
    return Run::flow();
  });
}

struct Refused {
  const char* what;
  std::string bytes;
  const char* status;
};

std::string many_fields() {
  std::string text = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 100; ++i) text += "a" + std::to_string(i) + ": b\r\n";
  return text + "\r\n";
}

const Refused kRefused[] = {
    {"TE and CL", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
    {"two CLs", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
    {"bare LF", "GET / HTTP/1.1\nHost: x\n\n", "400"},
    {"obs-fold", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", "400"},
    {"NUL", "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"s, "400"},
    {"header above 32 KB", "GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(33000, 'a') + "\r\n\r\n", "431"},
    {"101 fields", many_fields(), "431"},
    {"two Hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
    {"no Host", "GET / HTTP/1.1\r\n\r\n", "400"},
    {"absolute form", "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
    {"upgrade", "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "501"},
    {"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", "501"},
    {"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, "400"},
    {"foreign expectation", "POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\na", "417"},
};

Task<void> refuses_table(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  for (const Refused& row : kRefused) {
    std::string answer = co_await exchange_to_end(fixture, endpoint, row.bytes + "GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(answer.starts_with(std::string("HTTP/1.1 ") + row.status)) << row.what << ": " << answer;
    EXPECT_EQ(count_of(answer, "HTTP/1.1 "), 1u) << row.what << " got a second answer: " << answer;
  }
  EXPECT_EQ(server.stats().malformed, std::size(kRefused));
  EXPECT_EQ(fixture.handler.handled, 0);
}

TEST(HttpServer, RefusesAmbiguousRequestsOnceAndCloses) {
  Fixture fixture;
  run_scenario(fixture, refuses_table);
}

Task<void> body_limit(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  std::string sized = co_await exchange_to_end(
      fixture, endpoint, "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n" + std::string(1001, 'x'));
  EXPECT_TRUE(sized.starts_with("HTTP/1.1 413")) << sized;
  std::string chunked = co_await exchange_to_end(
      fixture, endpoint,
      "POST /big HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') + "\r\n0\r\n\r\n");
  EXPECT_TRUE(chunked.starts_with("HTTP/1.1 413")) << chunked;
}

TEST(HttpServer, RefusesABodyAboveItsLimit) {
  Fixture fixture;
  run_scenario(fixture, body_limit);
}

Task<void> expects(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  auto socket = co_await connect(endpoint);
  CO_ASSERT(socket);
  Peer peer(*std::move(socket), nullptr);
  (void)co_await send_text(peer, "POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  (void)co_await read_until(peer, [](const std::string& text) { return text.ends_with("\r\n\r\n"); });
  EXPECT_EQ(peer.received, "HTTP/1.1 100 Continue\r\n\r\n");
  (void)co_await send_text(peer, "body");
  (void)co_await read_until(peer, [](const std::string& text) { return text.ends_with("POST /e body"); });
  EXPECT_TRUE(peer.received.ends_with("POST /e body")) << peer.received;
  // A handler that refuses on the head never invites the body.
  std::string refused = co_await exchange_to_end(
      fixture, endpoint, "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 403")) << refused;
  EXPECT_EQ(count_of(refused, "100 Continue"), 0u);
  co_await peer.stream.close(Duration::zero());
}

TEST(HttpServer, AnswersExpectationsOnlyWhenTheBodyIsWanted) {
  Fixture fixture;
  run_scenario(fixture, expects);
}

Task<void> slow(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  // Nothing at all, half a head, half a body: each is ended by its own limit, and a proper request still works.
  EXPECT_EQ(co_await exchange_to_end(fixture, endpoint, ""), "");
  EXPECT_EQ(co_await exchange_to_end(fixture, endpoint, "GET / HT"), "");
  std::string body = co_await exchange_to_end(fixture, endpoint, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_TRUE(body.starts_with("HTTP/1.1 408")) << body;
  std::string fine = co_await exchange_to_end(fixture, endpoint, "GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(fine.starts_with("HTTP/1.1 200")) << fine;
  EXPECT_EQ(server.stats().timed_out, 3u);
}

TEST(HttpServer, EndsAndCountsSlowHeadsBodiesAndIdleConnections) {
  Fixture fixture;
  fixture.limits.idle_timeout = 150ms;
  fixture.limits.header_timeout = 150ms;
  fixture.limits.body_grace = 150ms;
  fixture.limits.body_rate_min_bytes_per_s = 1'000'000;
  run_scenario(fixture, slow);
}

Task<void> never_reads(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto socket = co_await connect(endpoint);
  CO_ASSERT(socket);
  Peer peer(*std::move(socket), nullptr);
  (void)co_await send_text(peer, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  Instant end = io::now() + 10s;
  while (server.stats().connections > 0 || fixture.handler.handled == 0) {
    CO_ASSERT(io::now() < end);  // it does not wait for another request on a connection that lost an answer
    CO_ASSERT(co_await sleep_for(5ms));
  }
  EXPECT_EQ(server.stats().timed_out, 1u);
  co_await peer.stream.close(Duration::zero());
}

TEST(HttpServer, EndsAConnectionThatTakesNoAnswer) {
  Fixture fixture;
  fixture.limits.write_stall_timeout = 150ms;
  run_scenario(fixture, never_reads);
}

Task<void> slow_handshake(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  Fixture plain;
  EXPECT_EQ(co_await exchange_to_end(plain, endpoint, "\x16\x03\x01"), "");
  EXPECT_EQ(server.stats().handshakes_failed, 1u);
  EXPECT_EQ(server.stats().timed_out, 1u);
  std::string fine = co_await exchange_to_end(fixture, endpoint, "GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(fine.starts_with("HTTP/1.1 200")) << fine;
}

TEST(HttpServer, EndsASlowHandshake) {
  run_on_cores(1, [](unsigned) -> Task<void> {
    struct Run {
      static Task<void> flow() {
        Fixture fixture;
        use_tls(fixture);
        fixture.limits.handshake_timeout = 300ms;
        co_await serve_scenario(fixture, slow_handshake);
      }
    };
    return Run::flow();
  });
}

Task<void> full(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  std::vector<std::unique_ptr<Peer>> idle;
  for (int i = 0; i < 3; ++i) {
    auto socket = co_await connect(endpoint);
    CO_ASSERT(socket);
    idle.push_back(std::make_unique<Peer>(*std::move(socket), nullptr));
    (void)co_await send_text(*idle.back(), "GET /i HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)co_await read_until(*idle.back(), [](const std::string& text) { return text.ends_with("GET /i "); });
  }
  EXPECT_EQ(co_await exchange_to_end(fixture, endpoint, ""), "");
  EXPECT_EQ(server.stats().refused_full, 1u);
  EXPECT_EQ(server.stats().connections, 3u);
  for (auto& peer : idle) co_await peer->stream.close(Duration::zero());
}

TEST(HttpServer, ClosesWhatIsAboveItsNumberOfConnections) {
  Fixture fixture;
  fixture.limits.connections_max = 3;
  run_scenario(fixture, full);
}

Task<void> crowded(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto socket = co_await connect(endpoint);
  CO_ASSERT(socket);
  Peer first(*std::move(socket), nullptr);
  for (int i = 0; i < 3; ++i) {
    first.received.clear();
    (void)co_await send_text(first, "GET /i HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)co_await read_until(first, [](const std::string& text) { return text.ends_with("GET /i "); });
  }
  EXPECT_EQ(co_await exchange_to_end(fixture, endpoint, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"), "");
  EXPECT_EQ(server.stats().refused_address, 1u);
  // The fourth request of the first connection is its last one; then its place is free.
  (void)co_await send_text(first, "GET /last HTTP/1.1\r\nHost: x\r\n\r\n");
  (void)co_await read_until(first, [](const std::string&) { return false; });
  EXPECT_TRUE(first.ended);
  co_await first.stream.close(Duration::zero());
  std::string fine;  // empty while the server still closes the first one
  for (int attempt = 0; attempt < 1000 && fine.empty(); ++attempt) {
    fine = co_await exchange_to_end(fixture, endpoint, "GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  EXPECT_TRUE(fine.starts_with("HTTP/1.1 200")) << fine;
}

TEST(HttpServer, CountsConnectionsOfAnAddressAndRequestsOfAConnection) {
  Fixture fixture;
  fixture.limits.connections_per_address_max = 1;
  fixture.limits.requests_per_connection_max = 4;
  run_scenario(fixture, crowded);
}

Task<void> drains(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto idle_socket = co_await connect(endpoint);
  auto busy_socket = co_await connect(endpoint);
  CO_ASSERT(idle_socket && busy_socket);
  Peer idle(*std::move(idle_socket), nullptr), busy(*std::move(busy_socket), nullptr);
  (void)co_await send_text(idle, "GET /i HTTP/1.1\r\nHost: x\r\n\r\n");
  (void)co_await read_until(idle, [](const std::string& text) { return text.ends_with("GET /i "); });
  (void)co_await send_text(busy, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n");
  (void)co_await fixture.handler.waiting.wait();
  server.drain();
  (void)co_await read_until(idle, [](const std::string&) { return false; });
  EXPECT_TRUE(idle.ended);
  fixture.handler.release.set();
  (void)co_await read_until(busy, [](const std::string&) { return false; });
  EXPECT_NE(busy.received.find("GET /wait "), std::string::npos) << busy.received;
  EXPECT_EQ(busy.received.find("/never"), std::string::npos) << busy.received;
  auto late = co_await connect(endpoint);
  if (late) {
    Peer peer(*std::move(late), nullptr);
    (void)co_await read_until(peer, [](const std::string&) { return false; });
    EXPECT_TRUE(peer.ended);
    co_await peer.stream.close(Duration::zero());
  }
  co_await idle.stream.close(Duration::zero());
  co_await busy.stream.close(Duration::zero());
}

TEST(HttpServer, DrainClosesIdleConnectionsAndFinishesBusyOnes) {
  Fixture fixture;
  run_scenario(fixture, drains);
}

}  // namespace
}  // namespace bellhop::service
