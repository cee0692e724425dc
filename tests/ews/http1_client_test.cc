// SPDX-License-Identifier: Apache-2.0
#include "service/http1_client.h"

#include <cerrno>

#include "core/sleep.h"
#include "service/http_server.h"
#include "tests/core/run.h"

namespace bellhop::service {
namespace {

using test::run_on_cores;

struct TextSink final : BodySink {
  std::string text;
  Status on_body(Bytes piece) override {
    text += as_text(piece);
    return {};
  }
};

// Says what it got. /refuse answers without reading the body.
class Echo final : public HttpHandler {
 public:
  Task<void> handle(HttpExchange& exchange) override {
    TextSink sink;
    expectation = std::string(exchange.headers().find("expect").value_or(std::string_view()));
    if (exchange.target() == "/refuse") {
      (void)co_await exchange.respond({.status = 403});
      co_return;
    }
    if (!co_await exchange.read_body(1 << 20, sink)) co_return;
    std::string body = std::string(proto::method_name(exchange.method())) + " " + std::string(exchange.target()) + " " + sink.text;
    (void)co_await exchange.respond({.status = 200, .content_type = "text/plain", .body = body});
  }
  std::string expectation;
};

struct Server {
  explicit Server(Context* parent) : server(handler, {}, nullptr), flows(parent) {}
  void start(const io::Endpoint& bound) {
    Result<io::Handle> handle = io::open_listener(bound);
    BH_CHECK(handle);
    endpoint = test::endpoint_of(*handle, bound);
    flows.spawn(server.run(*handle));
  }
  Task<void> stop() {
    server.drain();
    co_await flows.join();
  }
  Http1Origin origin() const {
    return {.host = "127.0.0.1", .port = endpoint.tcp.port, .tls = nullptr, .unix_path = endpoint.unix_path};
  }

  Echo handler;
  HttpServer server;
  TaskScope flows;
  io::Endpoint endpoint;
};

Task<void> speaks_to(io::Endpoint bound) {
  Server server(&co_await current_context());
  server.start(bound);
  Http1ClientOptions options;
  Http1Origin origin = server.origin();
  auto client = co_await Http1Client::open(origin, options);
  CO_ASSERT(client);
  Http1Request get{.method = "GET", .target = "/a", .host = "localhost"};
  auto got = co_await (*client)->exchange(get);
  CO_ASSERT(got);
  EXPECT_EQ(got->status, 200);
  EXPECT_EQ(got->text(), "GET /a ");
  EXPECT_EQ(got->headers->find("content-type"), "text/plain");
  Http1Request head{.method = "HEAD", .target = "/b", .host = "localhost"};
  auto headed = co_await (*client)->exchange(head);
  CO_ASSERT(headed);
  EXPECT_EQ(headed->text(), "");
  Http1Request empty{.method = "POST", .target = "/c", .host = "localhost"};
  auto posted = co_await (*client)->exchange(empty);
  CO_ASSERT(posted);
  EXPECT_EQ(posted->text(), "POST /c ");
  std::string large(200'000, 'x');
  Http1Request put{.method = "PUT", .target = "/d", .host = "localhost", .body = large};
  auto stored = co_await (*client)->exchange(put);
  CO_ASSERT(stored);
  EXPECT_EQ(stored->text(), "PUT /d " + large);
  EXPECT_TRUE((*client)->reusable());
  EXPECT_EQ(server.server.stats().accepted, 1u);
  Http1Request last{.method = "GET", .target = "/e", .host = "localhost", .close = true};
  CO_ASSERT(co_await (*client)->exchange(last));
  EXPECT_FALSE((*client)->reusable());
  co_await (*client)->close();
  co_await server.stop();
}
TEST(Http1Client, SpeaksPlainHttpOverTcp) {
  run_on_cores(1, [](unsigned) { return speaks_to(test::loopback()); });
}
TEST(Http1Client, SpeaksPlainHttpOverAUnixSocket) {
  run_on_cores(1, [](unsigned) { return speaks_to(test::unix_endpoint()); });
}

Task<void> expects(unsigned) {
  Server server(&co_await current_context());
  server.start(test::loopback());
  Http1ClientOptions options;
  Http1Origin origin = server.origin();
  auto client = co_await Http1Client::open(origin, options);
  CO_ASSERT(client);
  Instant start = io::now();
  Http1Request request{.method = "POST", .target = "/a", .host = "localhost", .body = "hello", .expect_continue = true};
  auto answer = co_await (*client)->exchange(request);
  CO_ASSERT(answer);
  EXPECT_EQ(answer->text(), "POST /a hello");
  EXPECT_EQ(server.handler.expectation, "100-continue");
  EXPECT_LT(io::now() - start, Http1Client::kContinueWait);  // the server's word came first
  EXPECT_TRUE((*client)->reusable());

  Http1Request refused{.method = "POST", .target = "/refuse", .host = "localhost", .body = "hello", .expect_continue = true};
  auto no = co_await (*client)->exchange(refused);
  CO_ASSERT(no);
  EXPECT_EQ(no->status, 403);
  EXPECT_FALSE((*client)->reusable());  // a body was announced and not sent
  co_await (*client)->close();
  co_await server.stop();
}
TEST(Http1Client, WaitsForTheInvitationOfItsBody) { run_on_cores(1, expects); }

Task<void> sends_uninvited(unsigned) {
  Result<io::Handle> handle = io::open_listener(test::loopback());
  CO_ASSERT(handle);
  Http1Origin origin{.host = "127.0.0.1", .port = test::endpoint_of(*handle, test::loopback()).tcp.port, .tls = nullptr};
  Listener listener(*handle);
  struct Mute {  // reads all of the request before it says anything
    static Task<void> run(Listener& listener, std::string& got) {
      Result<Socket> socket = co_await listener.accept();
      CO_ASSERT(socket);
      while (!got.ends_with("hello")) {
        Result<Chunk> chunk = co_await within(20s, socket->receive());
        CO_ASSERT(chunk && !chunk->empty());
        got += as_text(chunk->bytes());
      }
      CO_ASSERT(co_await socket->send(as_bytes("HTTP/1.1 204 No Content\r\n\r\n")));
    }
  };
  std::string got;
  TaskScope scope(&co_await current_context());
  scope.spawn(Mute::run(listener, got));
  Http1ClientOptions options;
  auto client = co_await Http1Client::open(origin, options);
  CO_ASSERT(client);
  Http1Request request{.method = "POST", .target = "/a", .host = "localhost", .body = "hello", .expect_continue = true};
  auto answer = co_await (*client)->exchange(request);
  CO_ASSERT(answer);
  EXPECT_EQ(answer->status, 204);
  co_await scope.join();
  co_await listener.close();
}
TEST(Http1Client, SendsTheBodyWhereTheServerDoesNotInviteIt) { run_on_cores(1, sends_uninvited); }

Task<void> refuses_head(unsigned) {
  Server server(&co_await current_context());
  server.start(test::loopback());
  Http1ClientOptions options;
  Http1Pool pool(server.origin(), options);
  std::vector<proto::HeaderField> fields = {{"x-mail", "a\r\nb"}};
  Http1Request request{.method = "GET", .target = "/", .host = "localhost", .headers = fields};
  auto lease = co_await pool.send(request);
  CO_ASSERT(!lease);
  EXPECT_TRUE(is(lease.error().error, proto::HttpError::unwritable));
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(server.server.stats().requests, 0u);
  co_await pool.close();
  co_await server.stop();
}
TEST(Http1Client, AHeaderThatWouldSplitTheRequestIsNotSent) { run_on_cores(1, refuses_head); }

Task<void> closes_pool(unsigned) {
  Server server(&co_await current_context());
  server.start(test::loopback());
  Http1ClientOptions options;
  MetricsShard metrics;
  options.metrics = &metrics;
  Http1Pool pool(server.origin(), options);
  Http1Request request{.method = "GET", .target = "/", .host = "localhost"};
  {
    auto one = co_await pool.send(request);
    auto two = co_await pool.send(request);
    CO_ASSERT(one && two);
    EXPECT_EQ(pool.in_use(), 2u);
    EXPECT_FALSE(two->reused());
  }
  EXPECT_EQ(pool.idle(), 2u);
  {
    auto again = co_await pool.send(request);
    CO_ASSERT(again);
    EXPECT_TRUE(again->reused());
    again->discard();
  }
  EXPECT_EQ(pool.idle(), 1u);
  EXPECT_EQ(metrics.value(metric::connections, ConnectionKind::ews), 1u);
  co_await pool.close();
  EXPECT_EQ(pool.idle(), 0u);
  EXPECT_EQ(metrics.value(metric::connections, ConnectionKind::ews), 0u);
  {
    auto after = co_await pool.send(request);
    CO_ASSERT(after);
  }
  EXPECT_EQ(pool.idle(), 0u);  // nothing is kept any more
  co_await server.stop();
}
TEST(Http1Pool, KeepsWhatComesBackUntilItIsClosed) { run_on_cores(1, closes_pool); }

Task<void> reports_refusal(unsigned) {
  uint16_t port = 1;  // nobody serves tcpmux
  Http1ClientOptions options;
  Http1Pool pool({.host = "127.0.0.1", .port = port, .tls = nullptr}, options);
  Http1Request request{.method = "GET", .target = "/", .host = "localhost"};
  auto lease = co_await pool.send(request);
  CO_ASSERT(!lease);
  EXPECT_EQ(lease.error().stage, Http1Stage::connecting);
  EXPECT_EQ(lease.error().error, os_error(ECONNREFUSED));
  co_await pool.close();
}
TEST(Http1Pool, SaysThatConnectingFailed) { run_on_cores(1, reports_refusal); }

}  // namespace
}  // namespace bellhop::service
