// SPDX-License-Identifier: Apache-2.0
// Both ends of HTTP/2 over a plain stream: service/http2_connection.h against service/http2_server_connection.h.
#include "service/http2_connection.h"

#include "proto/http_error.h"
#include "service/http2_server_connection.h"
#include "tests/core/run.h"
#include "tests/core/until.h"

namespace bellhop::service {
namespace {

using proto::Http2Code;
using proto::HttpMethod;
using test::run_on_cores;
using test::until;

struct Collect final : BodySink {
  std::string text;
  Status on_body(Bytes piece) override {
    text += as_text(piece);
    return {};
  }
};

// /echo gives the body back, /hold waits for `release`, /mute does not answer, /large answers much, /small takes 4
// bytes.
struct Handler final : HttpHandler {
  Event release, seen, changed;  // the last: `in_work`, `stopped`
  size_t requests = 0, in_work = 0, in_work_max = 0, stopped = 0;
  std::string large = std::string(200'000, 'x');

  Task<void> handle(HttpExchange& exchange) override {
    ++requests;
    in_work_max = std::max(in_work_max, ++in_work);
    seen.set();
    changed.set();
    co_await serve(exchange);
    --in_work;
    changed.set();
  }
  Task<void> serve(HttpExchange& exchange) {
    Collect body;
    std::string target(exchange.target());
    Status read = co_await exchange.read_body(target == "/small" ? 4 : 100'000, body);
    if (!read) {
      bool slow = is(read.error(), CoreError::timed_out);
      if (!slow) EXPECT_EQ(read.error(), proto::http_error(proto::HttpError::body_too_large));
      EXPECT_TRUE(co_await exchange.respond({.status = slow ? uint16_t{408} : uint16_t{413}, .close = slow}));
      co_return;
    }
    if (target == "/mute") co_return;
    if (target == "/hold" && !co_await release.wait()) {
      ++stopped;
      changed.set();
      co_return;
    }
    if (target == "/large") body.text = large;
    const proto::HeaderField headers[] = {{"Retry-After", "7"}, {"Connection", "close"}};
    EXPECT_TRUE(co_await exchange.respond({.content_type = "text/plain", .body = body.text, .headers = headers}));
    EXPECT_TRUE(exchange.responded());
  }
};

struct Watcher final : Http2Connection::Observer {
  size_t goaways = 0;
  Event told;  // of one
  void on_streams_changed() override {}
  void on_goaway(const proto::Http2GoAway&) override {
    ++goaways;
    told.set();
  }
};

// Two connected plain streams and whoever runs on them.
struct Pair {
  Task<bool> open() {
    Result<io::Handle> handle = io::open_listener(test::loopback());
    EXPECT_TRUE(handle);
    if (!handle) co_return false;
    Listener listener(*handle);
    Result<Socket> connected = co_await within(10s, connect(test::endpoint_of(*handle, test::loopback())));
    Result<Socket> accepted = co_await within(10s, listener.accept());
    EXPECT_TRUE(connected && accepted);
    if (connected) client.emplace(*std::move(connected));
    if (accepted) server.emplace(*std::move(accepted));
    co_await listener.close();
    co_return client&& server;
  }
  Task<void> close() {
    co_await client->close();
    co_await server->close();
  }
  std::optional<Stream> client, server;
};

template <class Connection>
Task<void> run_connection(Connection& connection, Stream& stream, std::optional<Status>* ended) {
  Status status = co_await connection.run();
  co_await stream.close();
  *ended = status;
}

// Both ends, running.
struct Ends {
  explicit Ends(Context* parent) : scope(parent) {}
  Task<bool> start(Http2ServerConnectionLimits server_limits = {}, Http2ConnectionLimits client_limits = {}) {
    if (!co_await pair.open()) co_return false;
    server.emplace(*pair.server, handler, server_limits);
    client.emplace(*pair.client, watcher, client_limits);
    scope.spawn(run_connection(*server, *pair.server, &server_ended));
    scope.spawn(run_connection(*client, *pair.client, &client_ended));
    co_return true;
  }
  Task<Result<Http2Answer>> ask(std::string path, std::string method = "POST", std::string body = "") {
    co_return co_await client->send(
        {.method = method, .authority = "push.example.test", .path = path, .body = as_bytes(body)});
  }
  // The answer, which must be one.
  Task<proto::Http2Response> answer(std::string path, std::string method = "POST", std::string body = "") {
    Result<Http2Answer> ended = co_await within(20s, ask(path, method, body));
    EXPECT_TRUE(ended);
    auto* response = ended ? std::get_if<proto::Http2Response>(&*ended) : nullptr;
    EXPECT_NE(response, nullptr) << path;
    co_return response ? std::move(*response) : proto::Http2Response();
  }
  Task<void> ask_and_count(std::string path) {
    if ((co_await answer(path)).status == 200) ++answered;
  }

  Pair pair;
  Handler handler;
  Watcher watcher;
  std::optional<Http2ServerConnection> server;
  std::optional<Http2Connection> client;
  std::optional<Status> server_ended, client_ended;
  size_t answered = 0;
  TaskScope scope;
};

Task<void> exchange_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start());
  proto::Http2Response echo = co_await ends.answer("/echo", "POST", "hello");
  EXPECT_EQ(echo.status, 200);
  EXPECT_EQ(echo.body, "hello");
  EXPECT_EQ(echo.headers.find("content-type"), "text/plain");
  EXPECT_EQ(echo.headers.find("retry-after"), "7");
  EXPECT_EQ(echo.headers.count("connection"), 0u);  // it would be malformed
  EXPECT_EQ((co_await ends.answer("/echo", "HEAD")).body, "");
  EXPECT_EQ((co_await ends.answer("/echo", "BREW")).status, 501);
  EXPECT_EQ((co_await ends.answer("/small", "POST", "12345")).status, 413);
  EXPECT_EQ((co_await ends.answer("/small", "POST", "1234")).body, "1234");
  Result<Http2Answer> mute = co_await within(20s, ends.ask("/mute"));
  CO_ASSERT(mute && std::holds_alternative<proto::Http2StreamFailed>(*mute));
  EXPECT_EQ(std::get<proto::Http2StreamFailed>(*mute).code, Http2Code::internal_error);
  EXPECT_EQ(ends.server->requests(), 5u);  // BREW was none for the handler
  ends.client->drain();
  co_await ends.scope.join();
  EXPECT_TRUE(*ends.client_ended);
  EXPECT_TRUE(*ends.server_ended);
}

TEST(Http2Connection, RequestsAndAnswersArriveWhole) {
  run_on_cores(1, exchange_flow);
}

Task<void> bound_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start({.http2 = {.streams_max = 4}}));
  EXPECT_EQ((co_await ends.answer("/echo")).status, 200);  // the server's settings are known after it
  EXPECT_EQ(ends.client->streams_available(), 4u);
  TaskScope asking(&co_await current_context());
  for (int i = 0; i < 4; ++i) asking.spawn(ends.ask_and_count("/hold"));
  Result<Http2Answer> more = co_await ends.ask("/hold");
  CO_ASSERT(!more);
  EXPECT_EQ(more.error(), proto::http2_error(proto::Http2Error::no_stream));
  CO_ASSERT(co_await until(ends.handler.changed, [&] { return ends.handler.in_work == 4; }));
  ends.handler.release.set();
  co_await asking.join();
  EXPECT_EQ(ends.answered, 4u);
  EXPECT_EQ(ends.handler.in_work_max, 4u);
  ends.client->drain();
  co_await ends.scope.join();
}

TEST(Http2Connection, NoMoreStreamsAreOpenThanTheServerAllows) {
  run_on_cores(1, bound_flow);
}

Task<void> drain_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start({.goaway_grace = 20ms}));
  EXPECT_EQ((co_await ends.answer("/echo")).status, 200);
  TaskScope asking(&co_await current_context());
  for (int i = 0; i < 5; ++i) asking.spawn(ends.ask_and_count("/hold"));
  CO_ASSERT(co_await until(ends.handler.changed, [&] { return ends.handler.in_work == 5; }));
  ends.server->drain();
  CO_ASSERT(co_await ends.watcher.told.wait());
  EXPECT_TRUE(ends.client->draining());
  EXPECT_EQ(ends.client->streams_available(), 0u);
  CO_ASSERT(co_await sleep_for(50ms));  // the second step has passed; the work goes on
  EXPECT_FALSE(ends.server_ended);
  ends.handler.release.set();
  co_await asking.join();
  EXPECT_EQ(ends.answered, 5u);
  co_await ends.scope.join();
  EXPECT_TRUE(*ends.server_ended);
  EXPECT_TRUE(*ends.client_ended);
  EXPECT_GE(ends.watcher.goaways, 1u);
}

TEST(Http2Connection, ADrainingServerAnswersWhatItTookAndLeaves) {
  run_on_cores(1, drain_flow);
}

Task<void> stopped_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start());
  EXPECT_EQ((co_await ends.answer("/echo")).status, 200);
  for (int i = 0; i < 3; ++i) {
    Result<Http2Answer> late = co_await within(30ms, ends.ask("/hold"));
    CO_ASSERT(!late);
    EXPECT_TRUE(is(late.error(), CoreError::timed_out));
  }
  CO_ASSERT(co_await until(ends.handler.changed, [&] { return ends.handler.stopped == 3; }));
  EXPECT_EQ(ends.client->streams_open(), 0u);
  EXPECT_EQ((co_await ends.answer("/echo", "POST", "still here")).body, "still here");
  EXPECT_EQ(ends.server->requests_in_work(), 0u);
  ends.scope.request_stop();
  co_await ends.scope.join();
}

TEST(Http2Connection, ARequestThatIsGivenUpStopsItsHandler) {
  run_on_cores(1, stopped_flow);
}

Task<void> idle_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start({.idle_timeout = 60ms, .goaway_grace = 5ms}));
  Instant start = io::now();
  co_await ends.scope.join();  // nobody asks anything
  EXPECT_GE(io::now() - start, 60ms);
  EXPECT_TRUE(*ends.server_ended);
  EXPECT_TRUE(*ends.client_ended);
  EXPECT_GE(ends.watcher.goaways, 1u);  // the client may leave before the second step
}

TEST(Http2Connection, AnIdleServerConnectionEndsInOrder) {
  run_on_cores(1, idle_flow);
}

Task<void> work_is_not_idle_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start({.idle_timeout = 30ms, .goaway_grace = 5ms}));
  TaskScope asking(&co_await current_context());
  asking.spawn(ends.ask_and_count("/hold"));
  CO_ASSERT(co_await sleep_for(150ms));
  EXPECT_FALSE(ends.server->draining());
  ends.handler.release.set();
  co_await asking.join();
  EXPECT_EQ(ends.answered, 1u);
  co_await ends.scope.join();
}

TEST(Http2Connection, ARequestInWorkKeepsItsConnection) {
  run_on_cores(1, work_is_not_idle_flow);
}

// Reads until the peer ends the connection.
Task<Status> read_to_end(Stream& stream) {
  for (;;) {
    uint8_t scratch[1024];
    while (stream.read(scratch) > 0) {
    }
    BH_CO_TRY(bool more, co_await stream.wait_input());
    if (!more) co_return Status();
  }
}

Task<void> slow_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open());
  Handler handler;
  Http2ServerConnection server(*pair.server, handler,
                               {.idle_timeout = 60s, .body_grace = 50ms, .body_rate_min_bytes_per_s = 1'000'000,
                                .write_stall_timeout = 50ms, .goaway_grace = 5ms});
  std::optional<Status> ended;
  TaskScope scope(&co_await current_context());
  scope.spawn(run_connection(server, *pair.server, &ended));
  // A request whose last bytes never come.
  proto::Http2Client machine;
  std::string body(300, 'b');
  CO_ASSERT(machine.submit({.authority = "push.example.test", .path = "/echo", .body = as_bytes(body)}));
  std::vector<uint8_t> output(4096);
  size_t size = machine.take_output(output);
  CO_ASSERT(size > 300);
  CO_ASSERT(co_await pair.client->write(Bytes(output).first(size - 5)));
  (void)co_await within(20s, read_to_end(*pair.client));  // an end in order or a reset: the server is gone
  co_await scope.join();
  EXPECT_TRUE(ended);
  EXPECT_EQ(handler.requests, 1u);  // answered 408
  co_await pair.client->close();
}

TEST(Http2Connection, ARequestThatNeverEndsDoesNotKeepAConnection) {
  run_on_cores(1, slow_flow);
}

Task<void> unread_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open());
  Handler handler;
  Http2ServerConnection server(*pair.server, handler,
                               {.idle_timeout = 50ms, .write_stall_timeout = 50ms, .goaway_grace = 5ms});
  std::optional<Status> ended;
  TaskScope scope(&co_await current_context());
  scope.spawn(run_connection(server, *pair.server, &ended));
  // Asks for much and reads nothing: flow control stops the answers.
  proto::Http2Client machine({.streams_before_settings = 30});
  for (int i = 0; i < 30; ++i) CO_ASSERT(machine.submit({.authority = "push.example.test", .path = "/large"}));
  std::vector<uint8_t> output(16 * 1024);
  size_t size = machine.take_output(output);
  CO_ASSERT(co_await pair.client->write(Bytes(output).first(size)));
  co_await scope.join();
  EXPECT_TRUE(ended);
  EXPECT_EQ(handler.requests, 30u);
  co_await pair.client->close();
}

TEST(Http2Connection, APeerThatReadsNothingIsLeft) {
  run_on_cores(1, unread_flow);
}

Task<void> garbage_flow(unsigned) {
  for (std::string_view text : {"GET / HTTP/1.1\r\nHost: push.example.test\r\n\r\n", "\x16\x03\x01 not plain at all",
                                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    Pair pair;
    CO_ASSERT(co_await pair.open());
    Handler handler;
    Http2ServerConnection server(*pair.server, handler, {});
    std::optional<Status> ended;
    TaskScope scope(&co_await current_context());
    scope.spawn(run_connection(server, *pair.server, &ended));
    CO_ASSERT(co_await pair.client->write(as_bytes(text)));
    (void)co_await within(20s, read_to_end(*pair.client));
    co_await scope.join();
    CO_ASSERT(ended && !*ended);
    EXPECT_EQ(ended->error().domain, Domain::http2) << error_text(ended->error());
    EXPECT_EQ(handler.requests, 0u);
    co_await pair.client->close();
  }
}

TEST(Http2Connection, WhatIsNotHttp2EndsTheConnection) {
  run_on_cores(1, garbage_flow);
}

Task<void> silent_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open());
  Watcher watcher;
  Http2Connection client(*pair.client, watcher, {.ping_interval = 60ms, .ping_timeout = 40ms});
  std::optional<Status> ended;
  TaskScope scope(&co_await current_context());
  Instant start = io::now();
  scope.spawn(run_connection(client, *pair.client, &ended));
  co_await scope.join();
  EXPECT_GE(io::now() - start, 100ms);
  CO_ASSERT(ended && !*ended);
  EXPECT_TRUE(is(ended->error(), CoreError::timed_out));
  co_await pair.server->close();
}

TEST(Http2Connection, ASilentPeerIsAskedForASignOfLifeAndLeft) {
  run_on_cores(1, silent_flow);
}

Task<void> probe_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open());
  Watcher watcher;
  Http2Connection client(*pair.client, watcher, {.ping_interval = 1h, .ping_timeout = 40ms});
  std::optional<Status> ended;
  TaskScope scope(&co_await current_context());
  scope.spawn(run_connection(client, *pair.client, &ended));
  Result<Http2Answer> late =
      co_await within(30ms, client.send({.authority = "push.example.test", .path = "/3/device/00"}));
  CO_ASSERT(!late);
  EXPECT_TRUE(is(late.error(), CoreError::timed_out));
  co_await scope.join();  // an hour later without the probe
  CO_ASSERT(ended && !*ended);
  EXPECT_TRUE(is(ended->error(), CoreError::timed_out));
  co_await pair.server->close();
}

TEST(Http2Connection, ARequestWithoutAnyAnswerPutsThePeerToTheTest) {
  run_on_cores(1, probe_flow);
}

Task<void> alive_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start({}, {.ping_interval = 10ms, .ping_timeout = 5s}));
  TaskScope asking(&co_await current_context());
  asking.spawn(ends.ask_and_count("/hold"));
  CO_ASSERT(co_await sleep_for(200ms));
  EXPECT_FALSE(ends.client_ended);
  ends.handler.release.set();
  co_await asking.join();
  EXPECT_EQ(ends.answered, 1u);
  ends.client->drain();
  co_await ends.scope.join();
}

TEST(Http2Connection, ASlowPeerThatShowsLifeIsKept) {
  run_on_cores(1, alive_flow);
}

Task<void> aborted_flow(unsigned) {
  Ends ends(&co_await current_context());
  CO_ASSERT(co_await ends.start());
  EXPECT_EQ((co_await ends.answer("/echo")).status, 200);
  TaskScope asking(&co_await current_context());
  Result<Http2Answer> lost = fail(core_error(CoreError::closed));
  struct Ask {
    static Task<void> run(Ends& ends, Result<Http2Answer>* out) { *out = co_await ends.ask("/hold"); }
  };
  asking.spawn(Ask::run(ends, &lost));
  CO_ASSERT(co_await until(ends.handler.changed, [&] { return ends.handler.in_work == 1; }));
  ends.server->abort();
  co_await asking.join();
  CO_ASSERT(lost && std::holds_alternative<proto::Http2StreamFailed>(*lost));
  EXPECT_EQ(std::get<proto::Http2StreamFailed>(*lost).cause, proto::Http2StreamFailed::Cause::connection_lost);
  EXPECT_EQ(std::get<proto::Http2StreamFailed>(*lost).fate, proto::Http2Fate::unknown);
  EXPECT_EQ(ends.handler.stopped, 1u);
  co_await ends.scope.join();
  EXPECT_FALSE(co_await ends.ask("/echo"));  // the connection is over
}

TEST(Http2Connection, ALostConnectionFailsWhatWasOpenAndStopsTheHandlers) {
  run_on_cores(1, aborted_flow);
}

}  // namespace
}  // namespace bellhop::service
