// SPDX-License-Identifier: Apache-2.0
// A client, the relay and an upstream whose bytes the test says: over HTTP/1.1, HTTP/1.1 over TLS, and HTTP/2. Runs on
// both back ends.
#include "service/body_relay.h"

#include <malloc.h>

#include "proto/http_error.h"
#include "service/http_server.h"
#include "tests/core/until.h"
#include "tests/http/http_peer.h"
#include "tests/http/upstream_fixture.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

// Refuses what holds an X.
struct Inspector final : BodySink {
  Status on_body(Bytes piece) override {
    seen += piece.size();
    if (as_text(piece).find('X') != std::string_view::npos) return fail(core_error(CoreError::unsupported));
    return {};
  }
  size_t seen = 0;
};

struct RelayHandler final : HttpHandler {
  UpstreamPool* pool = nullptr;
  Duration answer_timeout = 20s, idle_timeout = 20s;
  bool patient = false, peeks = false;
  Inspector inspector;
  RelayFault fault = RelayFault::none;
  Status asked, answered;
  uint64_t bytes_up = 0, bytes_down = 0;
  Event ended, changed;
  int running = 0;

  Task<void> handle(HttpExchange& exchange) override {
    ++running;
    co_await relay(exchange);
    --running;
    changed.set();
    ended.set();
  }

  Task<void> relay(HttpExchange& exchange) {
    exchange.be_patient(patient);
    UpstreamExchange upstream(*pool, {});
    std::string first;
    if (peeks) {
      Result<Bytes> piece = co_await exchange.read_some();
      if (!piece) co_return;
      first = as_text(*piece);
    }
    asked = co_await upstream.connect();
    if (asked) {
      asked = co_await upstream.send_head({.method = proto::method_name(exchange.method()),
                                           .target = exchange.target(),
                                           .host = "mail.example.com",
                                           .has_body = exchange.has_body(),
                                           .content_length = exchange.content_length()},
                                          true);
    }
    if (asked) co_await carry(exchange, upstream, first);
  }

  Task<void> carry(HttpExchange& exchange, UpstreamExchange& upstream, std::string_view first) {
    BodyRelay relay(exchange, upstream, co_await current_context());
    Result<UpstreamAnswerHead> head = co_await relay.ask(as_bytes(first), &inspector, answer_timeout);
    asked = head ? Status() : fail(head.error());
    if (head) {
      const proto::HeaderField fields[] = {{"x-relayed", "yes"}};
      answered = co_await relay.answer({.status = head->status, .headers = fields}, idle_timeout);
    }
    fault = relay.fault();
    if (!head && !is(head.error(), CoreError::canceled)) {
      bool late = is(head.error(), CoreError::timed_out);
      uint16_t status = fault == RelayFault::inspector ? 403 : fault == RelayFault::client ? 400 : late ? 504 : 502;
      (void)co_await exchange.respond({.status = status});
    }
    co_await relay.finish();
    bytes_up += relay.bytes_up();
    bytes_down += relay.bytes_down();
  }
};

struct RelayScene {
  RelayScene(Fixture& f, HttpServer& s, io::Endpoint e, RawUpstream& r, RelayHandler& h, Context* parent)
      : fixture(f), server(s), endpoint(e), raw(r), handler(h), scripts(parent) {}
  void start(Task<void> script) { scripts.spawn(std::move(script)); }

  Fixture& fixture;
  HttpServer& server;
  io::Endpoint endpoint;
  RawUpstream& raw;
  RelayHandler& handler;
  TaskScope scripts;
};

class BodyRelayOver : public testing::TestWithParam<Wire> {
 protected:
  using Play = Task<void> (*)(RelayScene&);
  BodyRelayOver() { fixture.other = &handler; }
  void run(Play play, const UpstreamOptions& options = {}) {
    run_scenario(fixture, [&, play](Fixture& f, HttpServer& server, io::Endpoint endpoint) {
      return in_scene(f, server, endpoint, handler, options, play);
    });
  }
  static Task<void> in_scene(Fixture& fixture, HttpServer& server, io::Endpoint endpoint, RelayHandler& handler,
                             UpstreamOptions options, Play play) {
    RawUpstream raw;
    UpstreamPool pool(raw.origin, options);
    handler.pool = &pool;
    {
      RelayScene scene(fixture, server, endpoint, raw, handler, &co_await current_context());
      co_await play(scene);
      server.drain();
      CO_ASSERT(co_await test::until(handler.changed, [&] { return handler.running == 0; }));
      co_await pool.close();
      co_await scene.scripts.join();
    }
    EXPECT_EQ(pool.in_use(), 0u);
    co_await raw.close();
  }
  Fixture fixture{GetParam()};
  RelayHandler handler;
};
INSTANTIATE_TEST_SUITE_P(Wires, BodyRelayOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });

// ---- Whole exchanges ----

Task<void> serve_some(RawUpstream& raw, std::vector<std::string> ends, std::vector<std::string>& got) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  for (const std::string& end : ends) {
    got.push_back(co_await peer->read_to(end));
    co_await peer->answer("answer to " + end, "Set-Cookie: secret\r\n");
  }
  co_await peer->read_to_end();
}
// A request whose length both versions tell.
std::string told(Peer& peer, const Fixture& fixture, std::string_view target, std::string_view body) {
  std::string length = std::to_string(body.size());
  Ask ask{.method = "POST", .target = target, .body = body};
  if (fixture.http2()) ask.fields.emplace_back("Content-Length", length);
  return peer.bytes_of(ask);
}
Task<void> relays_small(RelayScene& scene) {
  std::vector<std::string> got;
  scene.start(serve_some(scene.raw, {"one", "two", "\r\n\r\n"}, got));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(told(*peer, scene.fixture, "/a", "one")));
  CO_ASSERT(co_await peer->read_answers(1));
  // The answer may overtake the word that the request was sent, and the connection is not free before.
  CO_ASSERT(co_await test::until(scene.handler.changed, [&] { return scene.handler.running == 0; }));
  CO_ASSERT(co_await peer->send(told(*peer, scene.fixture, "/b", "two")));
  CO_ASSERT(co_await peer->read_answers(2));
  CO_ASSERT(co_await test::until(scene.handler.changed, [&] { return scene.handler.running == 0; }));
  CO_ASSERT(co_await peer->send(peer->bytes_of({.method = "OPTIONS", .target = "/c"})));
  CO_ASSERT(co_await peer->read_answers(3));
  CO_ASSERT(peer->answers.size() == 3);
  EXPECT_EQ(peer->answers[0].body, "answer to one");
  EXPECT_EQ(peer->answers[1].body, "answer to two");
  EXPECT_THAT(peer->answers[0].fields, HasSubstr("x-relayed: yes"));
  EXPECT_THAT(peer->answers[0].fields, HasSubstr("content-length: 13"));
  EXPECT_THAT(peer->answers[0].fields, testing::Not(HasSubstr("secret")));
  EXPECT_THAT(got[0], HasSubstr("POST /a HTTP/1.1\r\nHost: mail.example.com\r\n"));
  EXPECT_THAT(got[2], HasSubstr("OPTIONS /c HTTP/1.1\r\n"));
  EXPECT_EQ(scene.raw.accepted, 1);
  EXPECT_EQ(scene.server.stats().accepted, 1u);
  EXPECT_EQ(scene.handler.fault, RelayFault::none);
  co_await peer->close();
}
TEST_P(BodyRelayOver, CarriesSmallBodiesAndKeepsBothConnections) { run(relays_small); }
TEST_P(BodyRelayOver, CarriesWhatWasReadBeforeTheUpstreamWasChosen) {
  handler.peeks = true;
  run(relays_small);
}

std::string chunks(std::initializer_list<std::string_view> pieces) {
  std::string out;
  for (std::string_view piece : pieces) proto::append_chunk(out, as_bytes(piece));
  return out;
}

Task<void> trickle(RawUpstream& raw, Event& first, Event& second) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  CO_ASSERT(co_await peer->write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
  CO_ASSERT(co_await test::until(first, [&] { return first.is_set(); }));
  CO_ASSERT(co_await peer->write(chunks({"a notification"})));
  CO_ASSERT(co_await test::until(second, [&] { return second.is_set(); }));
  CO_ASSERT(co_await peer->write("0\r\n\r\n"));
  co_await peer->read_to_end();
}
Task<void> relays_at_once(RelayScene& scene) {
  Event first, second;
  scene.start(trickle(scene.raw, first, second));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/stream"})));
  struct Head {
    bool operator()(const Peer& p) const { return p.unfinished().status == 200; }
  };
  CO_ASSERT(co_await peer->read_until(Head()));
  first.set();
  struct Piece {
    bool operator()(const Peer& p) const { return p.unfinished().body == "a notification"; }
  };
  CO_ASSERT(co_await peer->read_until(Piece()));
  EXPECT_TRUE(peer->answers.empty());
  second.set();
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_EQ(peer->answers.size(), 1u);
  co_await peer->close();
}
TEST_P(BodyRelayOver, HandsOnEachPieceAtOnce) { run(relays_at_once); }

// ---- Large bodies ----

constexpr size_t kLargeBytes = 6 << 20;

Task<void> swallow_and_give(RawUpstream& raw, size_t up, size_t down) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  size_t came = peer->received.size();
  while (came < up) {
    peer->received.clear();
    CO_ASSERT(co_await peer->read_more());
    came += peer->received.size();
  }
  EXPECT_EQ(came, up);
  CO_ASSERT(co_await peer->write("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(down) + "\r\n\r\n"));
  std::string piece(100'000, 'd');
  for (size_t left = down; left > 0;) {
    size_t size = std::min(left, piece.size());
    CO_ASSERT(co_await peer->write(piece.substr(0, size)));
    left -= size;
  }
  co_await peer->read_to_end();
}

// Writes the body as the windows of HTTP/2 allow, which the server opens 65,535 bytes at a time.
Task<void> upload_http2(Peer& peer, size_t bytes) {
  size_t window = 65'535, seen = 0;
  for (size_t left = bytes; left > 0;) {
    size_t size = std::min({left, window, size_t{16'000}});
    if (size > 0) {
      left -= size;
      window -= size;
      CO_ASSERT(co_await peer.send(proto::frame(proto::kData, left == 0 ? proto::kEndStream : 0, 1, std::string(size, 'u'))));
      continue;
    }
    struct Opened {
      size_t seen;
      bool operator()(const Peer& p) const { return p.stream_increments > seen; }
    };
    CO_ASSERT(co_await peer.read_until(Opened{seen}));
    window += peer.stream_increments - seen;
    seen = peer.stream_increments;
  }
}
Task<void> relays_large(RelayScene& scene) {
  scene.start(swallow_and_give(scene.raw, kLargeBytes, kLargeBytes));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  peer->opens_windows = true;
  std::string length = std::to_string(kLargeBytes);
  std::string head = peer->bytes_of({.method = "POST", .target = "/large", .fields = {{"Content-Length", length}}});
  if (scene.fixture.http2()) head[4] = static_cast<char>(head[4] & ~proto::kEndStream);
  CO_ASSERT(co_await peer->send(head));
  if (scene.fixture.http2()) {
    co_await upload_http2(*peer, kLargeBytes);
  } else {
    for (size_t left = kLargeBytes; left > 0; left -= 1 << 18) CO_ASSERT(co_await peer->send(std::string(1 << 18, 'u')));
  }
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body.size(), kLargeBytes);
  EXPECT_EQ(scene.handler.inspector.seen > 0, true);
  co_await peer->close();
  CO_ASSERT(co_await test::until(scene.handler.ended, [&] { return scene.handler.ended.is_set(); }));
  EXPECT_EQ(scene.handler.bytes_up, kLargeBytes);
  EXPECT_EQ(scene.handler.bytes_down, kLargeBytes);
}
TEST_P(BodyRelayOver, CarriesLargeBodiesBothWays) { run(relays_large); }

// ---- Early, late, cut ----

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

// ---- Memory ----

Task<void> echo_forever(RawUpstream& raw, size_t bytes) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  CO_ASSERT(co_await peer->write("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(bytes) + "\r\n\r\n"));
  for (size_t left = bytes; left > 0;) {
    if (peer->received.empty()) CO_ASSERT(co_await peer->read_more());
    std::string piece = std::exchange(peer->received, {});
    CO_ASSERT(co_await peer->write(piece));
    left -= piece.size();
  }
  co_await peer->read_to_end();
}
Task<void> send_much(Stream& stream, size_t bytes) {
  std::string piece(1 << 14, 'm');
  for (size_t left = bytes; left > 0; left -= piece.size()) CO_ASSERT(co_await within(20s, stream.write(as_bytes(piece))));
}
size_t heap_bytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

// 50 MB up and down at the same time: the heap does not grow with them.
Task<void> much(RelayScene& scene) {
  constexpr size_t kBytes = 50 << 20;
  scene.start(echo_forever(scene.raw, kBytes));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(kBytes) + "\r\n\r\n"));
  scene.start(send_much(peer->stream, kBytes));
  size_t came = 0, at_first = 0, most = 0;
  while (came < kBytes) {
    {
      Block block;
      size_t size = peer->stream.read(block.all());
      block.used(size);
      came += size;
      size_t heap = heap_bytes();
      if (at_first == 0 && came > (2 << 20)) at_first = heap;
      most = std::max(most, heap);
      if (size > 0) continue;
    }
    auto more = co_await within(20s, peer->stream.wait_input());
    CO_ASSERT(more && *more);
  }
  testing::Test::RecordProperty("heap_growth_bytes", static_cast<int>(most - at_first));
  EXPECT_LT(most - at_first, size_t{1 << 20});
  co_await peer->close();
}
TEST_P(BodyRelayOver, FiftyMegabytesBothWaysCostNoMemory) {
  if (GetParam() == Wire::http2) GTEST_SKIP() << "its client keeps what it reads";
  run(much);
}

}  // namespace
}  // namespace bellhop::service
