// SPDX-License-Identifier: Apache-2.0
// Bodies in pieces, both ways: the same tests over HTTP/1.1, HTTP/1.1 over TLS, and HTTP/2. Runs on both back ends.
#include "proto/http_error.h"
#include "service/http_server.h"
#include "tests/core/until.h"
#include "tests/http/http_peer.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {
namespace {

Task<Status> wait_set(Event& event) { co_return co_await event.wait(); }

// What the handler does is the first word of the target.
struct PiecesHandler final : HttpHandler {
  Event begun, release, ended, changed;
  std::vector<size_t> pieces;  // that were read
  std::string body;
  Status read, written;
  size_t answer_bytes = 0, written_bytes = 0;
  bool stopped = false;
  uint64_t body_max = UINT64_MAX;
  Duration pause{};  // between two pieces
  bool has_body = false;
  std::optional<uint64_t> announced;
  std::string authority;

  Task<void> handle(HttpExchange& exchange) override {
    has_body = exchange.has_body();
    announced = exchange.content_length();
    authority = exchange.authority();
    std::string target(exchange.target());
    exchange.set_body_max(body_max);
    if (target == "/echo") {
      co_await echo(exchange);
    } else if (target == "/count") {
      co_await count(exchange);
    } else if (target == "/park" || target == "/patient") {
      co_await park(exchange, target == "/patient");
    } else {
      co_await give(exchange, target);
    }
    Context& own = co_await current_context();
    stopped = own.stop_requested();
    ended.set();
  }

  Task<Result<Bytes>> next(HttpExchange& exchange) {
    Result<Bytes> piece = co_await exchange.read_some();
    read = piece ? Status() : fail(piece.error());
    if (piece && !piece->empty()) {
      pieces.push_back(piece->size());
      body += as_text(*piece);
      changed.set();
    }
    co_return piece;
  }

  // Each piece goes back before the next is read.
  Task<void> echo(HttpExchange& exchange) {
    written = co_await exchange.begin_response({.status = 200, .headers = {}, .content_length = exchange.content_length()});
    while (written) {
      Result<Bytes> piece = co_await next(exchange);
      if (!piece) co_return;
      if (piece->empty()) break;
      written = co_await exchange.write_some(*piece);
    }
    if (written) written = co_await exchange.end_response();
  }

  Task<void> count(HttpExchange& exchange) {
    for (;;) {
      Result<Bytes> piece = co_await next(exchange);
      if (!piece) {
        uint16_t status = read.error().domain == Domain::http ? proto::http_error_status(read.error()) : uint16_t{408};
        (void)co_await exchange.respond({.status = status, .close = true});
        co_return;
      }
      if (piece->empty()) break;
      if (pause > Duration::zero()) (void)co_await sleep_for(pause);
    }
    std::string text = std::to_string(body.size());
    written = co_await exchange.respond({.content_type = "text/plain", .body = text});
  }

  Task<void> park(HttpExchange& exchange, bool patient) {
    exchange.be_patient(patient);
    while (true) {
      Result<Bytes> piece = co_await next(exchange);
      if (!piece || piece->empty()) break;
    }
    begun.set();
    if (!co_await wait_set(release)) co_return;
    exchange.be_patient(false);
    written = co_await exchange.respond({.body = "at last"});
  }

  // /sized, /unsized, /short, /long, /abort, /trickle, /leave, /gathered, /none, /bad
  Task<void> give(HttpExchange& exchange, std::string_view what) {
    const proto::HeaderField fields[] = {{"x-kind", what}}, bad[] = {{"Content-Length", "3"}};
    HttpResponseHead head{.status = 200, .headers = fields};
    if (what == "/sized" || what == "/short" || what == "/long") head.content_length = answer_bytes;
    if (what == "/none") head.status = 204;
    if (what == "/bad") head.headers = bad;
    written = co_await exchange.begin_response(head, what == "/gathered");
    if (what == "/bad") {
      EXPECT_FALSE(exchange.responded());
      (void)co_await exchange.respond({.status = 500});
      co_return;
    }
    EXPECT_TRUE(exchange.responded());
    begun.set();
    if (what == "/trickle") (void)co_await wait_set(release);
    std::string piece(5000, 'p');
    size_t all = what == "/short" ? answer_bytes - 1 : what == "/long" ? answer_bytes + 1 : answer_bytes;
    for (size_t left = all; written && left > 0;) {
      size_t size = std::min(left, piece.size());
      left -= size;
      written = co_await exchange.write_some(as_bytes(piece).first(size), what == "/gathered");
      if (written) written_bytes += size;
      changed.set();
      if (what == "/abort" && left == 0) exchange.abort();
    }
    if (what == "/abort" || what == "/leave") co_return;
    if (written) written = co_await exchange.end_response();
  }
};

class PiecesOver : public testing::TestWithParam<Wire> {
 protected:
  PiecesOver() { fixture.other = &handler; }
  void run(const std::function<Task<void>(Fixture&, PiecesHandler&, HttpServer&, io::Endpoint)>& scenario) {
    run_scenario(fixture, [&](Fixture& f, HttpServer& server, io::Endpoint endpoint) {
      return scenario(f, handler, server, endpoint);
    });
  }
  Fixture fixture{GetParam()};
  PiecesHandler handler;
};
INSTANTIATE_TEST_SUITE_P(Wires, PiecesOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });

bool over_http2(const Fixture& fixture) { return fixture.http2(); }
bool has_reset(const Peer& peer) {
  return std::ranges::any_of(peer.frames, [](const auto& frame) { return frame.first == proto::kRstStream; });
}

// The head of a request with a body, and a piece of that body as its wire has it.
std::string head_of(Fixture& fixture, Peer& peer, std::string_view target, std::optional<size_t> length) {
  std::string digits = std::to_string(length.value_or(0));
  Ask ask{.method = "POST", .target = target};
  if (length) ask.fields.emplace_back("Content-Length", digits);
  if (!length && !fixture.http2()) ask.fields.emplace_back("Transfer-Encoding", "chunked");
  std::string bytes = peer.bytes_of(ask);
  if (fixture.http2()) bytes[4] = static_cast<char>(bytes[4] & ~proto::kEndStream);
  return bytes;
}
std::string piece_of(Fixture& fixture, std::string_view bytes, bool chunked, bool last) {
  if (fixture.http2()) return proto::frame(proto::kData, last ? proto::kEndStream : 0, 1, bytes);
  if (!chunked) return std::string(bytes);
  std::string out;
  proto::append_chunk(out, as_bytes(bytes));
  if (last) proto::append_last_chunk(out);
  return out;
}

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

// ---- Answers ----

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
