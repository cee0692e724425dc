// SPDX-License-Identifier: Apache-2.0
// A client, the relay and an upstream whose bytes the test says: over HTTP/1.1, HTTP/1.1 over TLS, and HTTP/2. Runs on
// both back ends.
#include <malloc.h>

#include "tests/http/body_relay_scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

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
Task<void> send_much(Stream& stream, size_t bytes, Event& sent) {
  std::string piece(1 << 14, 'm');
  for (size_t left = bytes; left > 0; left -= piece.size()) CO_ASSERT(co_await within(20s, stream.write(as_bytes(piece))));
  sent.set();
}
size_t heap_bytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

// 50 MB up and down at the same time: the heap does not grow with them.
Task<void> much(RelayScene& scene) {
  constexpr size_t kBytes = 50 << 20;
  scene.start(echo_forever(scene.raw, kBytes));
  auto peer = co_await Peer::open(scene.fixture, scene.endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(kBytes) + "\r\n\r\n"));
  Event sent;
  scene.start(send_much(peer->stream, kBytes, sent));
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
  EXPECT_TRUE(co_await sent.wait());  // its last bytes may be back before it hears that they were sent
  co_await peer->close();
}
TEST_P(BodyRelayOver, FiftyMegabytesBothWaysCostNoMemory) {
  if (GetParam() == Wire::http2) GTEST_SKIP() << "its client keeps what it reads";
  run(much);
}

}  // namespace
}  // namespace bellhop::service
