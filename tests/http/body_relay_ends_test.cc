// SPDX-License-Identifier: Apache-2.0
// A client, the relay and an upstream whose bytes the test says: answers that come early, late or not, what is cut, who
// leaves, who is slow. Runs on both back ends.
#include "tests/http/body_relay_scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

Task<void> refuse_early(RawUpstream& raw, bool closes) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  CO_ASSERT(co_await peer->write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?"));
  if (closes) {
    co_await peer->close();
  } else {
    co_await peer->read_to_end();
  }
}
Task<void> early(RelayScene& scene, bool closes) {
  scene.start(refuse_early(scene.raw, closes));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  std::string head = peer->bytes_of({.method = "POST", .target = "/x", .fields = {{"Content-Length", "1000000"}}});
  if (scene.fixture.http2()) head[4] = static_cast<char>(head[4] & ~proto::kEndStream);
  CO_ASSERT(co_await peer->send(head));
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 401);
  EXPECT_EQ(peer->answers[0].body, "who?");
  if (!scene.fixture.http2()) {
    // The client goes on sending, as many do before they look; nothing breaks it off.
    CO_ASSERT(co_await peer->send(std::string(1'000'000, 'x')));
    CO_ASSERT(co_await peer->read_to_end());
  }
  co_await peer->close();
  CO_ASSERT(co_await test::until(scene.handler.ended, [&] { return scene.handler.ended.is_set(); }));
  EXPECT_TRUE(scene.handler.answered);
  EXPECT_EQ(scene.handler.fault, RelayFault::none);
}
Task<void> early_and_open(RelayScene& scene) { return early(scene, false); }
Task<void> early_and_closed(RelayScene& scene) { return early(scene, true); }
TEST_P(BodyRelayOver, CarriesAnAnswerThatComesBeforeTheBody) { run(early_and_open); }
TEST_P(BodyRelayOver, CarriesAnEarlyAnswerOfAnUpstreamThatHangsUp) { run(early_and_closed); }

Task<void> answer_half(RawUpstream& raw, bool chunked) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  std::string head = chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks({"half"})
                             : "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
  CO_ASSERT(co_await peer->write(head));
  co_await peer->close();
}
Task<void> cut_answer(RelayScene& scene) {
  for (bool chunked : {false, true}) {
    scene.handler.ended.reset();
    scene.start(answer_half(scene.raw, chunked));
    auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
    CO_ASSERT(peer);
    CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/x"})));
    CO_ASSERT(co_await test::until(scene.handler.ended, [&] { return scene.handler.ended.is_set(); }));
    struct Cut {
      bool operator()(const Peer& p) const {
        return std::ranges::any_of(p.frames, [](const auto& frame) { return frame.first == proto::kRstStream; });
      }
    };
    CO_ASSERT(co_await peer->read_until(Cut()));
    EXPECT_TRUE(peer->answers.empty());
    EXPECT_TRUE(!scene.handler.answered && is(scene.handler.answered.error(), proto::HttpError::truncated));
    EXPECT_EQ(scene.handler.fault, RelayFault::upstream);
    co_await peer->close();
  }
}
TEST_P(BodyRelayOver, CutsTheAnswerThatTheUpstreamCut) { run(cut_answer); }

// Never answers; says when it has the head and `first` of the body.
Task<void> await_end(RawUpstream& raw, std::string first, std::string& got, Event& began) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  got = co_await peer->read_to(first);
  began.set();
  co_await peer->read_to_end();
  got += peer->received;
}
Task<void> cut_request(RelayScene& scene) {
  std::string got = "nothing";
  Event began;
  scene.start(await_end(scene.raw, "", got, began));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  std::string head = peer->bytes_of({.method = "POST", .target = "/x", .fields = {{"Content-Length", "100"}}});
  if (scene.fixture.http2()) head[4] = static_cast<char>(head[4] & ~proto::kEndStream);
  CO_ASSERT(co_await peer->send(head + (scene.fixture.http2() ? proto::frame(proto::kData, 0, 1, "some") : "some")));
  CO_ASSERT(co_await test::until(began, [&] { return began.is_set(); }));
  co_await peer->close();
  co_await scene.scripts.join();  // the upstream saw the end
  EXPECT_TRUE(got.empty() || got == "some");
  CO_ASSERT(co_await test::until(scene.handler.ended, [&] { return scene.handler.ended.is_set(); }));
  EXPECT_FALSE(scene.handler.asked);
}
TEST_P(BodyRelayOver, EndsTheRequestOfAClientThatLeft) { run(cut_request); }

Task<void> left_while_parked(RelayScene& scene) {
  std::string got;
  Event began;
  scene.start(await_end(scene.raw, "ping", got, began));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(told(*peer, scene.fixture, "/ping", "ping")));
  CO_ASSERT(co_await test::until(began, [&] { return began.is_set(); }));
  co_await peer->close();
  co_await scene.scripts.join();
  EXPECT_EQ(got, "ping");
  CO_ASSERT(co_await test::until(scene.handler.ended, [&] { return scene.handler.ended.is_set(); }));
  EXPECT_TRUE(!scene.handler.asked && is(scene.handler.asked.error(), CoreError::canceled));
  EXPECT_EQ(scene.handler.fault, RelayFault::none);
}
TEST_P(BodyRelayOver, LetsGoOfTheUpstreamWhenAParkedClientLeaves) {
  handler.patient = true;
  run(left_while_parked);
}

Task<void> no_answer(RelayScene& scene) {
  std::string got;
  Event began;
  scene.start(await_end(scene.raw, "", got, began));
  Peer::Answer answer = co_await ask_alone(scene.fixture, scene.endpoint, {.method = "POST", .target = "/x", .body = "body"});
  EXPECT_EQ(answer.status, 504);
  EXPECT_EQ(scene.handler.fault, RelayFault::upstream);
  co_await scene.scripts.join();
}
TEST_P(BodyRelayOver, GivesUpAnUpstreamThatDoesNotAnswer) {
  handler.answer_timeout = 100ms;
  run(no_answer);
}

Task<void> hang_up(RawUpstream& raw) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  co_await peer->close();
}
Task<void> hung_up(RelayScene& scene) {
  scene.start(hang_up(scene.raw));
  Peer::Answer answer = co_await ask_alone(scene.fixture, scene.endpoint, {.method = "POST", .target = "/x", .body = "body"});
  EXPECT_EQ(answer.status, 502);
  EXPECT_EQ(scene.handler.fault, RelayFault::upstream);
}
TEST_P(BodyRelayOver, SaysThatTheUpstreamHungUp) { run(hung_up); }

Task<void> inspected(RelayScene& scene) {
  std::string got;
  Event began;
  scene.start(await_end(scene.raw, "good", got, began));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  std::string head = peer->bytes_of({.method = "POST", .target = "/x", .fields = {{"Content-Length", "100"}}});
  if (scene.fixture.http2()) head[4] = static_cast<char>(head[4] & ~proto::kEndStream);
  auto piece = [&](std::string_view text) {
    return scene.fixture.http2() ? proto::frame(proto::kData, 0, 1, text) : std::string(text);
  };
  CO_ASSERT(co_await peer->send(head + piece("good")));
  CO_ASSERT(co_await test::until(began, [&] { return began.is_set(); }));
  CO_ASSERT(co_await peer->send(piece("X")));
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 403);
  EXPECT_EQ(scene.handler.fault, RelayFault::inspector);
  co_await peer->close();
  co_await scene.scripts.join();
  EXPECT_EQ(got, "good");
}
TEST_P(BodyRelayOver, SendsNothingThatTheInspectorRefuses) { run(inspected); }

Task<void> give_forever(RawUpstream& raw, size_t& given) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  std::string bytes = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
  for (Status sent; sent; bytes.assign(50'000, 'g')) {
    sent = co_await within(300ms, peer->stream.write(as_bytes(bytes)));
    if (sent) given += bytes.size();
  }
  co_await peer->close();
}
Task<void> slow_client(RelayScene& scene) {
  size_t given = 0;
  scene.start(give_forever(scene.raw, given));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/x"})));
  co_await scene.scripts.join();  // the upstream can give no more
  EXPECT_LT(given, size_t{48 << 20});  // sockets, windows, and a block
  co_await peer->close();
  CO_ASSERT(co_await test::until(scene.handler.ended, [&] { return scene.handler.ended.is_set(); }));
  EXPECT_FALSE(scene.handler.answered);
}
TEST_P(BodyRelayOver, ASlowClientSlowsTheUpstream) { run(slow_client); }

}  // namespace
}  // namespace bellhop::service
