// SPDX-License-Identifier: Apache-2.0
// Bodies in pieces, both ways: the same tests over HTTP/1.1, HTTP/1.1 over TLS, and HTTP/2. Runs on both back ends.
#include "tests/http/streaming_scene.h"

namespace bellhop::service {
namespace {

INSTANTIATE_TEST_SUITE_P(Wires, PiecesOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });

// ---- Requests ----

Task<void> echoes(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint, bool sized) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  peer->opens_windows = true;
  std::optional<size_t> length = sized ? std::optional<size_t>(3000) : std::nullopt;
  CO_ASSERT(co_await peer->send(head_of(fixture, *peer, "/echo", length)));
  std::string sent;
  for (int i = 0; i < 3; ++i) {
    std::string piece(1000, static_cast<char>('a' + i));
    sent += piece;
    CO_ASSERT(co_await peer->send(piece_of(fixture, piece, !sized, i == 2)));
    // The answer to a piece comes before the next is sent.
    struct Came {
      size_t bytes;
      bool operator()(const Peer& p) const { return !p.answers.empty() || p.unfinished().body.size() >= bytes; }
    };
    CO_ASSERT(co_await peer->read_until(Came{sent.size()}));
  }
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body, sent);
  EXPECT_EQ(handler.announced, sized ? std::optional<uint64_t>(3000) : std::nullopt);
  EXPECT_EQ(handler.authority, "x.example.com");
  EXPECT_TRUE(handler.written);
  co_await peer->close();
}
Task<void> echoes_sized(Fixture& f, PiecesHandler& h, HttpServer& s, io::Endpoint e) { return echoes(f, h, s, e, true); }
Task<void> echoes_unsized(Fixture& f, PiecesHandler& h, HttpServer& s, io::Endpoint e) { return echoes(f, h, s, e, false); }
TEST_P(PiecesOver, ReadsAndAnswersAtTheSameTimeWithALength) { run(echoes_sized); }
TEST_P(PiecesOver, ReadsAndAnswersAtTheSameTimeWithoutALength) { run(echoes_unsized); }

Task<void> byte_by_byte(Fixture& fixture, PiecesHandler& handler, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  std::string bytes = head_of(fixture, *peer, "/count", std::nullopt) + piece_of(fixture, "hello ", true, false) +
                      piece_of(fixture, "world", true, true);
  for (char byte : bytes) CO_ASSERT(co_await peer->send(std::string(1, byte)));
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_EQ(handler.body, "hello world");
  EXPECT_TRUE(handler.has_body);
  EXPECT_EQ(handler.announced, std::nullopt);
  // The connection is kept, and a request without a body says so.
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/count"})));
  CO_ASSERT(co_await peer->read_answers(2));
  EXPECT_FALSE(handler.has_body);
  EXPECT_EQ(handler.announced, 0u);
  EXPECT_EQ(server.stats().accepted, 1u);
  co_await peer->close();
}
TEST_P(PiecesOver, TakesABodyByteByByteAndKeepsTheConnection) { run(byte_by_byte); }

Task<void> large_body(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  constexpr size_t kPieces = 60, kPiece = 1000;
  std::string bytes = head_of(fixture, *peer, "/count", kPieces * kPiece);
  for (size_t i = 0; i < kPieces; ++i) bytes += piece_of(fixture, std::string(kPiece, 'x'), false, i + 1 == kPieces);
  CO_ASSERT(co_await peer->send(bytes));
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body, "60000");
  // Nothing larger than a window or a block is ever given.
  for (size_t size : handler.pieces) EXPECT_LE(size, fixture.http2() ? 65'535u : 16'384u);
  co_await peer->close();
}
TEST_P(PiecesOver, AHandlerThatTakesItsTimeDoesNotMakeTheClientLate) {
  fixture.limits.body_grace = 100ms;
  fixture.limits.body_rate_min_bytes_per_s = 1'000'000;
  handler.pause = 60ms;
  run(large_body);
}

Task<void> late_body(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  CO_ASSERT(co_await peer->send(head_of(fixture, *peer, "/count", 100) + piece_of(fixture, "some", false, false)));
  CO_ASSERT(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 408);
  EXPECT_EQ(handler.body, "some");
  EXPECT_TRUE(is(handler.read.error(), CoreError::timed_out));
  co_await peer->close();
}
TEST_P(PiecesOver, GivesUpABodyThatDoesNotCome) {
  fixture.limits.body_grace = 100ms;
  fixture.limits.body_rate_min_bytes_per_s = 1'000'000;
  run(late_body);
}

Task<void> over_limit(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  handler.body_max = 1000;
  for (bool sized : {true, false}) {
    handler.body.clear();
    auto peer = co_await Peer::open(fixture, endpoint);
    CO_ASSERT(peer);
    std::string bytes = head_of(fixture, *peer, "/count", sized ? std::optional<size_t>(1001) : std::nullopt);
    CO_ASSERT(co_await peer->send(bytes + piece_of(fixture, std::string(600, 'a'), !sized, false) +
                                  piece_of(fixture, std::string(401, 'b'), !sized, true)));
    CO_ASSERT(co_await peer->read_answers(1));
    CO_ASSERT(peer->answers.size() == 1);
    EXPECT_EQ(peer->answers[0].status, 413) << sized;
    EXPECT_LE(handler.body.size(), sized ? 0u : 1000u);
    co_await peer->close();
  }
}
TEST_P(PiecesOver, RefusesABodyAboveItsLimit) { run(over_limit); }

Task<void> expects(Fixture& fixture, PiecesHandler& handler, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  Ask ask{.method = "POST", .target = "/count", .fields = {{"Expect", "100-continue"}, {"Content-Length", "4"}}};
  CO_ASSERT(co_await peer->send(peer->bytes_of(ask)));
  struct Invited {
    bool operator()(const Peer& p) const { return p.continues > 0; }
  };
  CO_ASSERT(co_await peer->read_until(Invited()));
  EXPECT_TRUE(handler.pieces.empty());
  CO_ASSERT(co_await peer->send(piece_of(fixture, "body", false, true)));
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_EQ(peer->continues, 1u);
  EXPECT_EQ(handler.body, "body");
  co_await peer->close();
}
TEST_P(PiecesOver, InvitesABodyWhenItsFirstPieceIsWanted) { run(expects); }

}  // namespace
}  // namespace bellhop::service
