// SPDX-License-Identifier: Apache-2.0
// Answers in pieces, and handlers that may wait long: the same tests over HTTP/1.1, HTTP/1.1 over TLS, and HTTP/2. Runs on
// both back ends.
#include "tests/http/streaming_scene.h"

namespace bellhop::service {
namespace {

Task<void> answers(Fixture& fixture, PiecesHandler& handler, HttpServer& server, io::Endpoint endpoint) {
  for (std::string_view target : {"/sized", "/unsized", "/gathered"}) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{5000}, size_t{100'000}}) {
      handler.answer_bytes = size;
      auto peer = co_await Peer::open(fixture, endpoint);
      CO_ASSERT(peer);
      peer->opens_windows = true;
      CO_ASSERT(co_await peer->send(peer->bytes_of({.target = target})));
      CO_ASSERT(co_await peer->read_answers(1));
      CO_ASSERT(peer->answers.size() == 1);
      EXPECT_EQ(peer->answers[0].status, 200);
      EXPECT_EQ(peer->answers[0].body.size(), size) << target;
      EXPECT_THAT(peer->answers[0].fields, testing::HasSubstr("x-kind: " + std::string(target)));
      bool says = peer->answers[0].fields.find("content-length: " + std::to_string(size)) != std::string::npos;
      EXPECT_EQ(says, target == "/sized") << peer->answers[0].fields;
      // The connection goes on.
      CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/none"})));
      CO_ASSERT(co_await peer->read_answers(2));
      CO_ASSERT(peer->answers.size() == 2);
      EXPECT_EQ(peer->answers[1].status, 204);
      EXPECT_EQ(peer->answers[1].body, "");
      co_await peer->close();
    }
  }
  EXPECT_EQ(server.stats().requests, 24u);
}
TEST_P(PiecesOver, AnswersWithAndWithoutALength) { run(answers); }

Task<void> head_first(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  handler.answer_bytes = 10;
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/trickle"})));
  struct HasHead {
    bool operator()(const Peer& p) const { return p.unfinished().status == 200; }
  };
  CO_ASSERT(co_await peer->read_until(HasHead()));
  EXPECT_TRUE(peer->answers.empty());
  handler.release.set();
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body.size(), 10u);
  co_await peer->close();
}
TEST_P(PiecesOver, SendsTheHeadBeforeThereIsABody) { run(head_first); }

// Cut off by abort(), by the end of the handler, or by a body that is not as long as announced.
Task<void> cut_off(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  handler.answer_bytes = 7000;
  for (std::string_view target : {"/abort", "/leave", "/short", "/long"}) {
    handler.ended.reset();
    auto peer = co_await Peer::open(fixture, endpoint);
    CO_ASSERT(peer);
    CO_ASSERT(co_await peer->send(peer->bytes_of({.target = target})));
    struct Cut {
      bool operator()(const Peer& p) const { return has_reset(p); }
    };
    CO_ASSERT(co_await peer->read_until(Cut()));
    EXPECT_TRUE(fixture.http2() ? has_reset(*peer) : peer->ended) << target;
    EXPECT_TRUE(peer->answers.empty()) << target;
    CO_ASSERT(co_await test::until(handler.ended, [&] { return handler.ended.is_set(); }));
    bool wrong_length = target == "/short" || target == "/long";
    EXPECT_EQ(bool(handler.written), !wrong_length) << target;
    if (wrong_length) EXPECT_TRUE(is(handler.written.error(), proto::HttpError::unwritable));
    co_await peer->close();
  }
}
TEST_P(PiecesOver, CutsOffWhatIsNotWhole) { run(cut_off); }

Task<void> bad_head(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.target = "/bad"})).status, 500);
  EXPECT_TRUE(is(handler.written.error(), proto::HttpError::unwritable));
}
TEST_P(PiecesOver, RefusesFieldsThatFrameAMessage) { run(bad_head); }

Task<void> never_reads(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  handler.answer_bytes = 64 << 20;
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/unsized"})));
  CO_ASSERT(co_await test::until(handler.ended, [&] { return handler.ended.is_set(); }));
  EXPECT_TRUE(is(handler.written.error(), CoreError::timed_out));
  // What was taken from the handler is what windows and sockets hold, not the answer.
  EXPECT_LT(handler.written_bytes, over_http2(fixture) ? 150'000u : size_t{32 << 20});
  co_await peer->close();
}
TEST_P(PiecesOver, GivesUpAClientThatTakesNothing) {
  fixture.limits.write_stall_timeout = 200ms;
  run(never_reads);
}

Task<void> reads_late(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  handler.answer_bytes = 3 << 20;
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  peer->opens_windows = true;
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/unsized"})));
  CO_ASSERT(co_await test::until(handler.begun, [&] { return handler.begun.is_set(); }));
  CO_ASSERT(co_await sleep_for(100ms));
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body.size(), size_t{3 << 20});
  EXPECT_TRUE(handler.written);
  co_await peer->close();
}
TEST_P(PiecesOver, WaitsForAClientThatReadsLate) { run(reads_late); }

TEST(PiecesOverHttp10, EndTheAnswerWithTheConnection) {
  Fixture fixture(Wire::http1);
  PiecesHandler handler;
  fixture.other = &handler;
  struct Scenario {
    static Task<void> run(Fixture& fixture, PiecesHandler& handler, io::Endpoint endpoint) {
      handler.answer_bytes = 20'000;
      auto peer = co_await Peer::open(fixture, endpoint);
      CO_ASSERT(peer);
      peer->until_close = true;
      CO_ASSERT(co_await peer->send("GET /unsized HTTP/1.0\r\nHost: x.example.com\r\n\r\n"));
      CO_ASSERT(co_await peer->read_to_end());
      CO_ASSERT(peer->answers.size() == 1);
      EXPECT_EQ(peer->answers[0].body.size(), 20'000u);
      EXPECT_THAT(peer->answers[0].fields, testing::HasSubstr("connection: close"));
      co_await peer->close();
    }
  };
  run_scenario(fixture, [&](Fixture& f, HttpServer&, io::Endpoint e) { return Scenario::run(f, handler, e); });
}

// ---- Patience ----

Task<void> leaves(Fixture& fixture, PiecesHandler& handler, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.method = "POST", .target = "/patient", .body = "ping"})));
  CO_ASSERT(co_await test::until(handler.begun, [&] { return handler.begun.is_set(); }));
  EXPECT_EQ(server.stats().requests_patient, 1u);
  EXPECT_TRUE(server.quiet(io::now() + 10s, 1s));
  EXPECT_FALSE(handler.ended.is_set());
  co_await peer->close();
  CO_ASSERT(co_await test::until(handler.ended, [&] { return handler.ended.is_set(); }));
  EXPECT_TRUE(handler.stopped);
  EXPECT_EQ(server.stats().requests_patient, 0u);
}
TEST_P(PiecesOver, AClientThatLeavesStopsAPatientHandler) { run(leaves); }

Task<void> outlasts(Fixture& fixture, PiecesHandler& handler, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer && co_await peer->settle());
  CO_ASSERT(co_await peer->send(peer->bytes_of({.method = "POST", .target = "/patient", .body = "ping"})));
  CO_ASSERT(co_await test::until(handler.begun, [&] { return handler.begun.is_set(); }));
  CO_ASSERT(co_await sleep_for(400ms));  // longer than any deadline of the listener
  EXPECT_FALSE(handler.ended.is_set());
  // A further request waits for its turn over HTTP/1.1, and is served beside over HTTP/2.
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/none"})));
  handler.release.set();
  CO_ASSERT(co_await peer->read_answers(2));
  CO_ASSERT(peer->answers.size() == 2);
  EXPECT_TRUE(std::ranges::any_of(peer->answers, [](const Peer::Answer& a) { return a.body == "at last"; }));
  EXPECT_TRUE(std::ranges::any_of(peer->answers, [](const Peer::Answer& a) { return a.status == 204; }));
  EXPECT_EQ(server.stats().timed_out, 0u);
  co_await peer->close();
}
TEST_P(PiecesOver, APatientExchangeOutlastsTheDeadlinesOfTheListener) {
  fixture.limits.idle_timeout = 150ms;
  fixture.limits.header_timeout = 150ms;
  fixture.limits.body_grace = 150ms;
  fixture.limits.write_stall_timeout = 150ms;
  run(outlasts);
}

Task<void> drained(Fixture& fixture, PiecesHandler& handler, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/patient"})));
  CO_ASSERT(co_await test::until(handler.begun, [&] { return handler.begun.is_set(); }));
  server.leave();
  EXPECT_FALSE(handler.ended.is_set());
  server.drain();
  CO_ASSERT(co_await test::until(handler.ended, [&] { return handler.ended.is_set(); }));
  EXPECT_TRUE(handler.stopped);
  CO_ASSERT(co_await peer->read_to_end());
  EXPECT_TRUE(peer->answers.empty());
  co_await peer->close();
}
TEST_P(PiecesOver, AnOrderlyEndStopsPatientHandlers) {
  fixture.limits.http2_goaway_grace = 10ms;
  run(drained);
}

// A handler that is not patient is waited for.
Task<void> drained_later(Fixture& fixture, PiecesHandler& handler, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/park"})));
  CO_ASSERT(co_await test::until(handler.begun, [&] { return handler.begun.is_set(); }));
  server.drain();
  CO_ASSERT(co_await sleep_for(50ms));
  EXPECT_FALSE(handler.ended.is_set());
  handler.release.set();
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body, "at last");
  co_await peer->close();
}
TEST_P(PiecesOver, AnOrderlyEndWaitsForOtherHandlers) {
  fixture.limits.http2_goaway_grace = 10ms;
  run(drained_later);
}

}  // namespace
}  // namespace bellhop::service
