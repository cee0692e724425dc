// SPDX-License-Identifier: Apache-2.0
// The HTTP server as bytes on a connection: the same tests over HTTP/1.1, HTTP/1.1 over TLS, and HTTP/2. Runs on both
// back ends.
#include "service/http_server.h"

#include "proto/http_error.h"
#include "tests/http/http_peer.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {
namespace {

using namespace std::string_literals;

class HttpServerOver : public testing::TestWithParam<Wire> {
 protected:
  Fixture fixture{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Wires, HttpServerOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });

const Peer::Answer* answer_that_says(const Peer& peer, std::string_view text) {
  for (const Peer::Answer& answer : peer.answers) {
    if (answer.body == text) return &answer;
  }
  return nullptr;
}

// ---- Requests and answers ----

Task<void> serves_many(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  // All at once: one after the other over HTTP/1.1, beside each other over HTTP/2.
  std::string bytes = peer->bytes_of({.target = "/a"}) + peer->bytes_of({.method = "POST", .target = "/b", .body = "hello"}) +
                      peer->bytes_of({.method = "POST", .target = "/c", .body = std::string(900, 'c'), .last = true});
  CO_ASSERT(co_await peer->send(bytes));
  CO_ASSERT(co_await peer->read_answers(3));
  CO_ASSERT(peer->answers.size() == 3);
  EXPECT_TRUE(answer_that_says(*peer, "GET /a "));
  EXPECT_TRUE(answer_that_says(*peer, "POST /b hello"));
  EXPECT_TRUE(answer_that_says(*peer, "POST /c " + std::string(900, 'c')));
  for (const Peer::Answer& answer : peer->answers) EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(server.stats().requests, 3u);
  EXPECT_EQ(server.stats().http2_requests, fixture.http2() ? 3u : 0u);
  EXPECT_EQ(server.stats().http2_connections, fixture.http2() ? 1u : 0u);
  co_await peer->close();
}

TEST_P(HttpServerOver, ServesManyRequestsOfOneConnection) { run_scenario(fixture, serves_many); }

Task<void> byte_by_byte(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  for (char byte : peer->bytes_of({.method = "POST", .target = "/b", .body = "hello"})) {
    CO_ASSERT(co_await peer->send(std::string(1, byte)));
  }
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_TRUE(answer_that_says(*peer, "POST /b hello"));
  co_await peer->close();
}

TEST_P(HttpServerOver, TakesARequestByteByByte) { run_scenario(fixture, byte_by_byte); }

Task<void> large_answer(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  Peer::Answer answer = co_await ask_alone(fixture, endpoint, {.target = "/large"});
  if (fixture.http2()) {
    EXPECT_EQ(answer.status, 0);  // above the first window, which this client never opens
  } else {
    EXPECT_TRUE(answer.body == fixture.handler.large);
  }
  auto peer = co_await Peer::open(fixture, endpoint, "\0\x04\0\x01\0\0"s);  // SETTINGS_INITIAL_WINDOW_SIZE 65,536
  CO_ASSERT(peer);
  std::string increment = "\0\x10\0\0"s;
  std::string window = proto::frame(proto::kWindowUpdate, 0, 0, increment) + proto::frame(proto::kWindowUpdate, 0, 1, increment);
  if (!fixture.http2()) window.clear();
  std::string request = peer->bytes_of({.target = "/large"});
  CO_ASSERT(co_await peer->send(request + window));
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_TRUE(peer->answers[0].body == fixture.handler.large);
  co_await peer->close();
}

TEST_P(HttpServerOver, SendsAnAnswerLargerThanABlock) {
  fixture.limits.write_stall_timeout = 200ms;
  run_scenario(fixture, large_answer);
}

Task<void> body_limit(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  std::string fits(1000, 'x'), over(1001, 'x');
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.method = "POST", .body = fits})).status, 200);
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.method = "POST", .body = over})).status, 413);
}

TEST_P(HttpServerOver, RefusesABodyAboveItsLimit) { run_scenario(fixture, body_limit); }

Task<void> expects(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  Ask ask{.method = "POST", .target = "/e", .fields = {{"Expect", "100-continue"}, {"Content-Length", "4"}}};
  CO_ASSERT(co_await peer->send(peer->bytes_of(ask)));
  struct Invited {
    bool operator()(const Peer& p) const { return p.continues > 0; }
  };
  CO_ASSERT(co_await peer->read_until(Invited()));
  EXPECT_EQ(peer->continues, 1u);
  EXPECT_TRUE(peer->answers.empty());
  CO_ASSERT(co_await peer->send(fixture.http2() ? proto::frame(proto::kData, proto::kEndStream, 1, "body") : "body"));
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_TRUE(answer_that_says(*peer, "POST /e body"));
  co_await peer->close();

  // A handler that refuses on the head never invites the body.
  auto refused = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(refused);
  ask.target = "/refuse";
  CO_ASSERT(co_await refused->send(refused->bytes_of(ask)));
  CO_ASSERT(co_await refused->read_answers(1));
  CO_ASSERT(refused->answers.size() == 1);
  EXPECT_EQ(refused->answers[0].status, 403);
  EXPECT_EQ(refused->continues, 0u);
  co_await refused->close();

  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.method = "POST", .body = "a", .fields = {{"Expect", "200-ok"}}})).status,
            417);
}

TEST_P(HttpServerOver, AnswersExpectationsOnlyWhenTheBodyIsWanted) { run_scenario(fixture, expects); }

Task<void> answers_many_fields(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  Peer::Answer answer = co_await ask_alone(fixture, endpoint, {.target = "/fields"});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "many");
  EXPECT_THAT(answer.fields, testing::HasSubstr("content-type: text/plain"));
  size_t count = 0;
  for (size_t at = 0; (at = answer.fields.find("x-one: of many", at)) != std::string::npos; ++at) ++count;
  EXPECT_EQ(count, 60u);
  server.drain();
}

TEST_P(HttpServerOver, AnswersWithAsManyFieldsAsAHandlerGives) { run_scenario(fixture, answers_many_fields); }

Task<void> refuses_heads(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  struct Row {
    Ask ask;
    uint16_t status;
  };
  std::string long_target = "/" + std::string(100, 'p');
  const Row rows[] = {{{.method = "MKCOL"}, 501},
                      {{.method = "TRACE"}, 501},
                      {{.target = "/a%2"}, 400},
                      {{.target = "/a\\b"}, 400},
                      {{.fields = {{"Host", "y.example.com"}}}, 400},
                      {{.method = "POST", .body = "a", .fields = {{"Expect", "more"}}}, 417}};
  for (const Row& row : rows) {
    EXPECT_EQ((co_await ask_alone(fixture, endpoint, row.ask)).status, row.status) << row.ask.method << row.ask.target;
  }
  auto many = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(many);
  Ask ask{.target = long_target};
  for (int i = 0; i < 101; ++i) ask.fields.emplace_back("a", "b");
  CO_ASSERT(co_await many->send(many->bytes_of(ask)));
  CO_ASSERT(co_await many->read_answers(1));
  CO_ASSERT(many->answers.size() == 1);
  EXPECT_EQ(many->answers[0].status, 431);
  co_await many->close();
  server.drain();  // its end brings the counts of a connection
  EXPECT_EQ(fixture.handler.handled, 0);
}

TEST_P(HttpServerOver, RefusesTheSameHeadsWithTheSameStatus) { run_scenario(fixture, refuses_heads); }

// ---- Deadlines ----

// Sends a part of a request and awaits the end of the connection; the status of an answer, 0 where there was none.
Task<uint16_t> send_part(Fixture& fixture, io::Endpoint endpoint, Ask ask, size_t left_out) {
  auto peer = co_await Peer::open(fixture, endpoint);
  if (!peer || !co_await peer->settle()) co_return 1;
  std::string bytes = peer->bytes_of(ask);
  bytes.resize(bytes.size() - std::min(bytes.size(), left_out));
  (void)co_await peer->send(bytes);
  Status read = co_await peer->read_to_end();
  EXPECT_TRUE(read) << "the connection did not end";
  EXPECT_TRUE(peer->ended);
  co_await peer->close();
  co_return peer->answers.empty() ? uint16_t{0} : peer->answers[0].status;
}

Task<void> slow(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  // Nothing at all, half a head, half a body: each is ended by its own limit, and a proper request still works.
  EXPECT_EQ(co_await send_part(fixture, endpoint, {}, 10'000), 0);
  uint64_t before = server.stats().timed_out;
  EXPECT_EQ(co_await send_part(fixture, endpoint, {}, 10), 0);
  EXPECT_EQ(server.stats().timed_out, before + 1);
  EXPECT_EQ(co_await send_part(fixture, endpoint, {.method = "POST", .body = std::string(100, 'b')}, 50), 408);
  if (!fixture.http2()) EXPECT_EQ(server.stats().timed_out, before + 2);  // over HTTP/2 it is the end of a stream
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.target = "/f"})).status, 200);
}

TEST_P(HttpServerOver, EndsSlowHeadsBodiesAndIdleConnections) {
  fixture.limits.idle_timeout = 150ms;
  fixture.limits.header_timeout = 150ms;
  fixture.limits.body_grace = 150ms;
  fixture.limits.body_rate_min_bytes_per_s = 1'000'000;
  fixture.limits.http2_goaway_grace = 10ms;
  run_scenario(fixture, slow);
}

Task<void> never_reads(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint, "\0\x04\x7f\xff\xff\xff"s);  // SETTINGS_INITIAL_WINDOW_SIZE 2^31-1
  CO_ASSERT(peer);
  std::string window = proto::frame(proto::kWindowUpdate, 0, 0, "\x7f\0\0\0"s);
  if (!fixture.http2()) window.clear();
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/large"}) + window));
  Instant end = io::now() + 10s;
  while (server.stats().connections > 0 || fixture.handler.handled == 0) {
    CO_ASSERT(io::now() < end);  // it does not wait for another request on a connection that lost an answer
    CO_ASSERT(co_await sleep_for(5ms));
  }
  EXPECT_EQ(server.stats().timed_out, 1u);
  co_await peer->close();
}

TEST_P(HttpServerOver, EndsAConnectionThatTakesNoAnswer) {
  fixture.limits.write_stall_timeout = 150ms;
  fixture.handler.large = std::string(32 << 20, 'x');  // more than socket buffers hold
  run_scenario(fixture, never_reads);
}

Task<void> slow_handshake(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  if (fixture.wire == Wire::http1) co_return;
  Fixture plain(Wire::http1);
  auto peer = co_await Peer::open(plain, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send("\x16\x03\x01"));
  CO_ASSERT(co_await peer->read_to_end());
  co_await peer->close();
  EXPECT_EQ(server.stats().handshakes_failed, 1u);
  EXPECT_EQ(server.stats().timed_out, 1u);
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.target = "/f"})).status, 200);
}

TEST_P(HttpServerOver, EndsASlowHandshake) {
  fixture.limits.handshake_timeout = 300ms;
  run_scenario(fixture, slow_handshake);
}

// ---- Admission ----

Task<void> full(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  std::vector<std::unique_ptr<Peer>> idle;
  for (int i = 0; i < 3; ++i) {
    idle.push_back(co_await Peer::open(fixture, endpoint));
    CO_ASSERT(idle.back());
    CO_ASSERT(co_await idle.back()->send(idle.back()->bytes_of({.target = "/i"})));
    CO_ASSERT(co_await idle.back()->read_answers(1));
  }
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {})).status, 0);
  EXPECT_EQ(server.stats().refused_full, 1u);
  EXPECT_EQ(server.stats().connections, 3u);
  for (auto& peer : idle) co_await peer->close();
}

TEST_P(HttpServerOver, ClosesWhatIsAboveItsNumberOfConnections) {
  fixture.limits.connections_max = 3;
  run_scenario(fixture, full);
}

Task<void> crowded(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto first = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(first);
  for (size_t i = 1; i <= 3; ++i) {
    CO_ASSERT(co_await first->send(first->bytes_of({.target = "/i"})));
    CO_ASSERT(co_await first->read_answers(i));
  }
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.target = "/x"})).status, 0);
  EXPECT_EQ(server.stats().refused_address, 1u);
  // The fourth request of the first connection is its last one; then its place is free.
  CO_ASSERT(co_await first->send(first->bytes_of({.target = "/last"})));
  CO_ASSERT(co_await first->read_to_end());
  EXPECT_TRUE(first->ended);
  EXPECT_EQ(first->answers.size(), 4u);
  co_await first->close();
  Peer::Answer fine;  // none while the server still closes the first one
  for (int attempt = 0; attempt < 1000 && fine.status == 0; ++attempt) {
    fine = co_await ask_alone(fixture, endpoint, {.target = "/f"});
  }
  EXPECT_EQ(fine.status, 200) << fine.body;
}

TEST_P(HttpServerOver, CountsConnectionsOfAnAddressAndRequestsOfAConnection) {
  fixture.limits.connections_per_address_max = 1;
  fixture.limits.requests_per_connection_max = 4;
  fixture.limits.http2_goaway_grace = 10ms;
  run_scenario(fixture, crowded);
}

// ---- The end ----

Task<void> drains(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto idle = co_await Peer::open(fixture, endpoint);
  auto busy = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(idle && busy);
  CO_ASSERT(co_await idle->send(idle->bytes_of({.target = "/i"})));
  CO_ASSERT(co_await idle->read_answers(1));
  CO_ASSERT(co_await busy->send(busy->bytes_of({.target = "/wait"})));
  CO_ASSERT(co_await fixture.handler.waiting.wait());
  server.drain();
  CO_ASSERT(co_await idle->read_to_end());
  EXPECT_TRUE(idle->ended);
  fixture.handler.release.set();
  CO_ASSERT(co_await busy->read_to_end());
  CO_ASSERT(busy->answers.size() == 1);
  EXPECT_EQ(busy->answers[0].body, "GET /wait ");
  if (fixture.http2()) {
    for (Peer* peer : {idle.get(), busy.get()}) {
      int goaways = 0;
      for (auto [type, code] : peer->frames) goaways += type == 7 && code == 0;
      EXPECT_EQ(goaways, 2);  // the notice and the last word
    }
  }
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {})).status, 0);
  co_await idle->close();
  co_await busy->close();
}

TEST_P(HttpServerOver, DrainClosesIdleConnectionsAndFinishesBusyOnes) {
  fixture.limits.http2_goaway_grace = 20ms;
  run_scenario(fixture, drains);
}

// The steps before the end: while the server leaves, a resting connection rests on and its next answer is the last one;
// new ones are taken, until it pauses.
Task<void> winds_down(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto resting = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(resting);
  CO_ASSERT(co_await resting->send(resting->bytes_of({.target = "/before"})));
  CO_ASSERT(co_await resting->read_answers(1));
  server.leave();
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.target = "/new"})).body, "GET /new ");
  if (!fixture.http2()) {  // HTTP/2 ends by itself after its GOAWAY
    CO_ASSERT(co_await resting->send(resting->bytes_of({.target = "/last"})));
    CO_ASSERT(co_await resting->read_answers(2));
    EXPECT_EQ(resting->answers[1].body, "GET /last ");
  }
  CO_ASSERT(co_await resting->read_to_end());
  EXPECT_TRUE(resting->ended);

  auto busy = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(busy);
  CO_ASSERT(co_await busy->send(busy->bytes_of({.target = "/wait"})));
  CO_ASSERT(co_await fixture.handler.waiting.wait());
  server.pause();
  EXPECT_FALSE(server.quiet(io::now(), 1h));
  EXPECT_GE(server.stats().requests_in_work, 1u);  // an answer before it may still be on its way out
  fixture.handler.release.set();
  CO_ASSERT(co_await busy->read_to_end());
  CO_ASSERT(busy->answers.size() == 1);
  while (!server.quiet(io::now(), 1h)) CO_ASSERT(co_await sleep_for(1ms));
  co_await resting->close();
  co_await busy->close();

  server.stay();  // nobody took the place
  auto again = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(again);
  for (size_t answers = 1; answers <= 2; ++answers) {
    CO_ASSERT(co_await again->send(again->bytes_of({.target = "/again"})));
    CO_ASSERT(co_await again->read_answers(answers));
  }
  co_await again->close();
}

TEST_P(HttpServerOver, LeavesInStepsThatCanBeTakenBack) {
  fixture.limits.http2_goaway_grace = 20ms;
  run_scenario(fixture, winds_down);
}

Task<void> quiet_needs_a_request(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto silent = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(silent);
  while (server.stats().connections == 0) CO_ASSERT(co_await sleep_for(1ms));
  EXPECT_FALSE(server.quiet(io::now(), 1h));  // it was just taken, and has asked nothing yet
  EXPECT_TRUE(server.quiet(io::now(), Duration::zero()));
  CO_ASSERT(co_await silent->send(silent->bytes_of({.target = "/i"})));
  CO_ASSERT(co_await silent->read_answers(1));
  while (!server.quiet(io::now(), 1h)) CO_ASSERT(co_await sleep_for(1ms));
  co_await silent->close();
}

// The kernel may have given a connection that nobody has looked at: accepting has to come to rest first.
Task<void> quiet_needs_rest(Fixture&, HttpServer& server, io::Endpoint) {
  server.pause();
  EXPECT_FALSE(server.quiet(io::now(), 1h));
  while (!server.quiet(io::now(), 1h)) CO_ASSERT(co_await sleep_for(1ms));
  server.stay();
  EXPECT_TRUE(server.quiet(io::now(), 1h)) << "nobody asked it to rest";
}

TEST_P(HttpServerOver, IsNotQuietBeforeAcceptingHasComeToRest) { run_scenario(fixture, quiet_needs_rest); }

TEST_P(HttpServerOver, IsNotQuietWhileANewConnectionHasAskedNothing) { run_scenario(fixture, quiet_needs_a_request); }

Task<void> leaves(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/wait"})));
  CO_ASSERT(co_await fixture.handler.waiting.wait());
  co_await peer->close();
  if (fixture.http2()) {
    CO_ASSERT(co_await fixture.handler.stopped_one.wait());  // nobody waits for the answer
    EXPECT_EQ(fixture.handler.stopped, 1);
  }
}

TEST_P(HttpServerOver, APeerThatLeavesInTheMiddleLeavesNothingBehind) { run_scenario(fixture, leaves); }

Task<void> two_listeners(unsigned) {
  Fixture fixture(Wire::http1);
  HttpServer server(fixture.handler, fixture.limits, nullptr);
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 2; ++i) {
    auto handle = io::open_listener(test::loopback());
    CO_ASSERT(handle);
    io::Endpoint endpoint = test::endpoint_of(*handle, test::loopback());
    scope.spawn(server.run(*handle));
    EXPECT_EQ((co_await ask_alone(fixture, endpoint, {})).status, 200);
  }
  server.drain();
  co_await scope.join();  // both accept no more
}

TEST(HttpServer, DrainEndsAllItsListeners) { test::run_on_cores(1, two_listeners); }

// ---- HTTP/1.1 alone ----

// One connection: sends `bytes`, reads to the end of the connection.
Task<std::string> exchange_to_end(Fixture& fixture, io::Endpoint endpoint, std::string bytes) {
  auto peer = co_await Peer::open(fixture, endpoint);
  if (!peer) co_return "no connection";
  (void)co_await peer->send(std::move(bytes));
  if (!co_await peer->read_to_end()) peer->received += "<timeout>";
  co_await peer->close();
  co_return std::move(peer->received);
}

size_t count_of(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
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

TEST(HttpServer, ServesPipelinedRequestsInOrder) {
  Fixture fixture(Wire::http1);
  run_scenario(fixture, serves_pipelined);
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
    {"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
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
  Fixture fixture(Wire::http1);
  run_scenario(fixture, refuses_table);
}

Task<void> chunked_limit(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  std::string chunked = co_await exchange_to_end(
      fixture, endpoint,
      "POST /big HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') + "\r\n0\r\n\r\n");
  EXPECT_TRUE(chunked.starts_with("HTTP/1.1 413")) << chunked;
}

TEST(HttpServer, RefusesAChunkedBodyAboveItsLimit) {
  Fixture fixture(Wire::http1);
  run_scenario(fixture, chunked_limit);
}

Task<void> drains_pipelined(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto busy = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(busy);
  CO_ASSERT(co_await busy->send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n"));
  CO_ASSERT(co_await fixture.handler.waiting.wait());
  server.drain();
  fixture.handler.release.set();
  CO_ASSERT(co_await busy->read_to_end());
  EXPECT_NE(busy->received.find("GET /wait "), std::string::npos) << busy->received;
  EXPECT_EQ(busy->received.find("/never"), std::string::npos) << busy->received;
  co_await busy->close();
}

TEST(HttpServer, DrainServesNoFurtherPipelinedRequest) {
  Fixture fixture(Wire::http1);
  run_scenario(fixture, drains_pipelined);
}

}  // namespace
}  // namespace bellhop::service
