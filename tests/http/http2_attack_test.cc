// SPDX-License-Identifier: Apache-2.0
// What a hostile HTTP/2 client may send, as raw frames, over TLS. Each attack ends in a named outcome within its
// deadline, and a client beside it is served all the while. Runs on both back ends.
#include "proto/http2.h"
#include "tests/core/until.h"
#include "tests/http/http_peer.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {
namespace {

using namespace std::string_literals;
using proto::frame;
using proto::Http2Code;

std::string be32(uint32_t number) {
  std::string out(4, '\0');
  store_be32(reinterpret_cast<uint8_t*>(out.data()), number);
  return out;
}

std::optional<Http2Code> goaway_of(const Peer& peer) {
  std::optional<Http2Code> last;
  for (auto [type, code] : peer.frames) {
    if (type == proto::kGoaway) last = static_cast<Http2Code>(code);
  }
  return last;
}
size_t frames_of(const Peer& peer, uint8_t type, Http2Code code) {
  size_t count = 0;
  for (auto& [one, its_code] : peer.frames) count += one == type && its_code == static_cast<uint32_t>(code);
  return count;
}

// A connection beside the attack. ask() must always be answered.
struct Bystander {
  Task<bool> open(Fixture& fixture, io::Endpoint endpoint) {
    peer = co_await Peer::open(fixture, endpoint);
    co_return peer != nullptr && co_await ask();
  }
  Task<bool> ask() {
    size_t count = peer->answers.size() + 1;
    if (!co_await peer->send(peer->bytes_of({.target = "/honest"}))) co_return false;
    if (!co_await peer->read_answers(count)) co_return false;
    co_return peer->answers.size() == count && peer->answers.back().body == "GET /honest ";
  }
  std::unique_ptr<Peer> peer;
};

Task<void> listen(Peer* peer) { EXPECT_TRUE(co_await peer->read_to_end()) << "the connection did not end"; }

// Sends the parts one after the other until the server has enough, and reads all the while what it says.
Task<void> attack(Peer* peer, std::function<std::string(uint32_t)> part, uint32_t parts_max) {
  TaskScope listening(&co_await current_context());
  listening.spawn(listen(peer));
  for (uint32_t i = 0; i < parts_max && !peer->ended;) {
    std::string bytes;
    for (uint32_t end = std::min(parts_max, i + 20); i < end; ++i) bytes += part(i);
    if (!co_await peer->send(bytes)) break;
    co_await yield_now();
  }
  co_await listening.join();
}

struct Attack {
  const char* what;
  std::function<std::string(uint32_t)> part;
  uint32_t parts = 20'000;
  std::optional<Http2Code> code = Http2Code::enhance_your_calm;
  uint64_t HttpServerStats::*count = &HttpServerStats::http2_flooded;
  bool settled = true;  // after our SETTINGS were acknowledged
  // It opens streams faster than they can be refused, so that it may pass the limit of streams first.
  bool many_streams = false;
};
void PrintTo(const Attack& one, std::ostream* out) { *out << one.what; }

std::string head_on(uint32_t stream, uint8_t flags = proto::kEndHeaders, std::string_view target = "/wait") {
  return frame(proto::kHeaders, flags, stream, proto::request_head("POST", target, "x.example.com"));
}
std::string once(uint32_t i, std::string bytes) { return i == 0 ? bytes : std::string(); }

// Stream 1 is for a request that is answered: it brings the word on our compression that the settings ask for.
constexpr uint32_t kFirst = 3;
uint32_t stream(uint32_t i) { return kFirst + 2 * i; }

const Attack kAttacks[] = {
    {"RapidReset",
     [](uint32_t i) {
       return head_on(stream(i), proto::kEndHeaders | proto::kEndStream) + frame(proto::kRstStream, 0, stream(i), be32(8));
     },
     20'000, Http2Code::enhance_your_calm, &HttpServerStats::http2_flooded, true, true},
    {"RapidResetOfOpenBodies",
     [](uint32_t i) { return head_on(stream(i)) + frame(proto::kRstStream, 0, stream(i), be32(8)); },
     20'000, Http2Code::enhance_your_calm, &HttpServerStats::http2_flooded, true, true},
    {"MadeYouResetByWindowOverflow",
     [](uint32_t i) { return head_on(stream(i)) + frame(proto::kWindowUpdate, 0, stream(i), be32(0x7fffffff)); },
     20'000, Http2Code::enhance_your_calm, &HttpServerStats::http2_flooded, true, true},
    {"MadeYouResetByContentLength",
     [](uint32_t i) {
       std::string head = proto::request_head("POST", "/wait", "x.example.com") + proto::literal("content-length", "5");
       return frame(proto::kHeaders, proto::kEndHeaders, stream(i), head) +
              frame(proto::kData, proto::kEndStream, stream(i), "123456");
     },
     20'000, Http2Code::enhance_your_calm, &HttpServerStats::http2_flooded, true, true},
    {"MadeYouResetByMalformedHeads",
     [](uint32_t i) {
       std::string head = proto::request_head() + proto::literal("connection", "close");
       return frame(proto::kHeaders, proto::kEndHeaders | proto::kEndStream, stream(i), head);
     },
     20'000, Http2Code::enhance_your_calm, &HttpServerStats::http2_flooded, true, true},
    {"RefusedHeads",
     [](uint32_t i) {
       return frame(proto::kHeaders, proto::kEndHeaders | proto::kEndStream, stream(i), proto::request_head("BREW"));
     },
     20'000, Http2Code::enhance_your_calm, &HttpServerStats::http2_flooded, true, true},
    {"ContinuationFlood",
     [](uint32_t i) {
       return i == 0 ? head_on(kFirst, 0) : frame(proto::kContinuation, 0, kFirst, proto::literal("x", "y"));
     }},
    {"LargeHeaderBlock",
     [](uint32_t i) {
       return i == 0 ? head_on(kFirst, 0) : frame(proto::kContinuation, 0, kFirst, proto::long_literal("x", std::string(12'000, 'x')));
     }},
    {"HeaderBomb",
     [](uint32_t i) {
       // Before our SETTINGS are acknowledged a table of 4,096 bytes is legal.
       std::string bomb = proto::request_head() + "\x40\x04" + "bomb" + proto::hpack_size(3900) + std::string(3900, 'b') +
                          std::string(8000, '\xbe');
       return frame(proto::kHeaders, proto::kEndHeaders | proto::kEndStream, stream(i), bomb);
     },
     1000, Http2Code::enhance_your_calm, &HttpServerStats::http2_flooded, false, true},
    {"PingFlood", [](uint32_t) { return frame(proto::kPing, 0, 0, "12345678"); }},
    {"SettingsFlood", [](uint32_t) { return frame(proto::kSettings, 0, 0, ""); }},
    {"EmptyDataFlood", [](uint32_t i) { return i == 0 ? head_on(kFirst) : frame(proto::kData, 0, kFirst, ""); }},
    {"PaddingFlood",
     [](uint32_t i) { return i == 0 ? head_on(kFirst) : frame(proto::kData, proto::kPadded, kFirst, "\x03pad"s); }},
    {"PriorityFlood", [](uint32_t) { return frame(proto::kPriority, 0, 9, "\0\0\0\0\x01"s); }},
    {"WindowUpdateFlood", [](uint32_t) { return frame(proto::kWindowUpdate, 0, 0, be32(1)); }},
    {"ZeroIncrement",
     [](uint32_t i) { return once(i, head_on(kFirst) + frame(proto::kWindowUpdate, 0, kFirst, be32(0))); },
     1, Http2Code::protocol_error, &HttpServerStats::http2_violations},
    {"DataOnHalfClosed",
     [](uint32_t i) {
       return once(i, head_on(kFirst, proto::kEndHeaders | proto::kEndStream) + frame(proto::kData, 0, kFirst, "late"));
     },
     1, Http2Code::stream_closed, &HttpServerStats::http2_violations},
    {"HeadersOnHalfClosed",
     [](uint32_t i) {
       uint8_t flags = proto::kEndHeaders | proto::kEndStream;
       return once(i, head_on(kFirst, flags) + frame(proto::kHeaders, flags, kFirst, proto::literal("a", "b")));
     },
     1, Http2Code::stream_closed, &HttpServerStats::http2_violations},
    {"ConnectionWindowOverflow", [](uint32_t i) { return once(i, frame(proto::kWindowUpdate, 0, 0, be32(0x7fffffff))); },
     1, Http2Code::flow_control_error, &HttpServerStats::http2_violations},
    {"BrokenCompression", [](uint32_t i) { return once(i, frame(proto::kHeaders, proto::kEndHeaders, kFirst, "\xff\xff\xff\xff")); },
     1, Http2Code::compression_error, &HttpServerStats::http2_violations},
    {"FrameTooLarge", [](uint32_t i) { return once(i, head_on(kFirst) + frame(proto::kData, 0, kFirst, std::string(20'000, 'x'))); },
     1, Http2Code::frame_size_error, &HttpServerStats::http2_violations},
    {"SlowHead", [](uint32_t i) { return once(i, head_on(kFirst).substr(0, 20)); }, 1, Http2Code::enhance_your_calm,
     &HttpServerStats::timed_out},
    {"SlowContinuation", [](uint32_t i) { return once(i, head_on(kFirst, 0)); }, 1, Http2Code::enhance_your_calm,
     &HttpServerStats::timed_out},
    {"NotHttp2AfterThePreface", [](uint32_t i) { return once(i, "GET / HTTP/1.1\r\nHost: x.example.com\r\n\r\n"); }, 1,
     Http2Code::frame_size_error, &HttpServerStats::http2_violations},
};

class Http2Attack : public testing::TestWithParam<Attack> {};
INSTANTIATE_TEST_SUITE_P(Frames, Http2Attack, testing::ValuesIn(kAttacks),
                         [](const auto& info) { return std::string(info.param.what); });

Task<void> ends_in_its_outcome(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  const Attack& one = Http2Attack::GetParam();
  Bystander bystander;
  CO_ASSERT(co_await bystander.open(fixture, endpoint));
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  peer->acknowledges = one.settled;
  if (one.settled) {
    CO_ASSERT(co_await peer->settle());
    CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/first"})));
    CO_ASSERT(co_await peer->read_answers(1));
  }
  TaskScope attacking(&co_await current_context());
  attacking.spawn(attack(peer.get(), one.part, one.parts));
  EXPECT_TRUE(co_await bystander.ask());
  co_await attacking.join();
  EXPECT_TRUE(peer->ended);
  bool over_limit = one.many_streams && goaway_of(*peer) == Http2Code::protocol_error;
  if (!over_limit) EXPECT_EQ(goaway_of(*peer), one.code);
  EXPECT_TRUE(co_await bystander.ask());
  co_await peer->close();
  while (server.stats().connections > 1) CO_ASSERT(co_await sleep_for(1ms));  // its own close lingers for the peer
  EXPECT_EQ(over_limit ? server.stats().http2_violations : server.stats().*one.count, 1u);
  EXPECT_EQ(fixture.handler.running, 0);  // all that it had set going
  EXPECT_LE(fixture.handler.running_max, 101);
  co_await bystander.peer->close();
}

TEST_P(Http2Attack, EndsInItsOutcomeAndOthersAreServed) {
  Fixture fixture(Wire::http2);
  fixture.limits.header_timeout = 300ms;
  run_scenario(fixture, ends_in_its_outcome);
}

// ---- Windows ----

Task<void> tiny_window(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  Bystander bystander;
  CO_ASSERT(co_await bystander.open(fixture, endpoint));
  // One byte of each answer, and never more.
  auto peer = co_await Peer::open(fixture, endpoint, "\0\x04\0\0\0\x01"s);
  CO_ASSERT(peer && co_await peer->settle());
  std::string requests;
  for (int i = 0; i < 20; ++i) requests += peer->bytes_of({.target = "/a"});
  Instant start = io::now();
  CO_ASSERT(co_await peer->send(requests));
  CO_ASSERT(co_await peer->read_to_end());
  EXPECT_GE(io::now() - start, fixture.limits.write_stall_timeout);
  EXPECT_EQ(goaway_of(*peer), Http2Code::enhance_your_calm);
  EXPECT_TRUE(peer->answers.empty());
  EXPECT_EQ(server.stats().timed_out, 1u);
  EXPECT_TRUE(co_await bystander.ask());
  co_await peer->close();
  co_await bystander.peer->close();
}

TEST(Http2Windows, APeerThatNeverOpensItsWindowIsLeftAfterTheWriteStall) {
  Fixture fixture(Wire::http2);
  fixture.limits.write_stall_timeout = 300ms;
  run_scenario(fixture, tiny_window);
}

// One answer waits for its window while others on the connection flow.
Task<void> one_stalled(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer && co_await peer->settle());
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/large"})));  // larger than its window
  size_t asked = 0;
  while (!peer->ended && asked < 10'000) {
    CO_ASSERT(co_await sleep_for(10ms));
    std::string window = frame(proto::kWindowUpdate, 0, 0, be32(1000));
    if (!co_await peer->send(peer->bytes_of({.target = "/a"}) + window)) break;
    ++asked;
    CO_ASSERT(co_await peer->read_answers(asked));
  }
  CO_ASSERT(co_await peer->read_to_end());
  EXPECT_GT(asked, 3u);
  EXPECT_EQ(server.stats().timed_out, 1u);
  co_await peer->close();
}

TEST(Http2Windows, OneStalledAnswerEndsTheConnectionThoughOthersFlow) {
  Fixture fixture(Wire::http2);
  fixture.limits.write_stall_timeout = 300ms;
  run_scenario(fixture, one_stalled);
}

Task<void> reads_nothing(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  Bystander bystander;
  CO_ASSERT(co_await bystander.open(fixture, endpoint));
  auto peer = co_await Peer::open(fixture, endpoint, "\0\x04\x7f\xff\xff\xff"s);
  CO_ASSERT(peer);
  // Windows are wide open, but nobody takes the bytes from the socket.
  std::string requests = frame(proto::kWindowUpdate, 0, 0, be32(0x7fff0000));
  for (int i = 0; i < 90; ++i) requests += peer->bytes_of({.target = "/large"});
  CO_ASSERT(co_await peer->send(requests));
  while (server.stats().timed_out < 1) CO_ASSERT(co_await sleep_for(10ms));
  EXPECT_TRUE(co_await bystander.ask());
  co_await peer->close();
  co_await bystander.peer->close();
}

TEST(Http2Windows, APeerThatTakesNoBytesIsLeft) {
  Fixture fixture(Wire::http2);
  fixture.limits.write_stall_timeout = 300ms;
  fixture.limits.header_timeout = 60s;
  fixture.handler.large = std::string(400'000, 'l');
  run_scenario(fixture, reads_nothing);
}

Task<void> never_acknowledges(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer);
  peer->acknowledges = false;
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/a"})));
  CO_ASSERT(co_await peer->read_to_end());
  EXPECT_EQ(peer->answers.size(), 1u);
  EXPECT_EQ(goaway_of(*peer), Http2Code::settings_timeout);
  EXPECT_EQ(server.stats().timed_out, 1u);
  co_await peer->close();
}

TEST(Http2Windows, APeerThatNeverTakesOurSettingsIsLeft) {
  Fixture fixture(Wire::http2);
  fixture.limits.header_timeout = 200ms;
  run_scenario(fixture, never_acknowledges);
}

// ---- What a reset costs ----

Task<void> reset_stops(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer && co_await peer->settle());
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/wait"})));
  CO_ASSERT(co_await fixture.handler.waiting.wait());
  CO_ASSERT(co_await peer->send(frame(proto::kRstStream, 0, peer->last_stream(), be32(8))));
  CO_ASSERT(co_await fixture.handler.stopped_one.wait());
  EXPECT_EQ(fixture.handler.stopped, 1);
  // A body that ends early, too.
  fixture.handler.stopped_one.reset();
  std::string request = peer->bytes_of({.method = "POST", .target = "/b", .body = "12345"});
  CO_ASSERT(co_await peer->send(request.substr(0, request.size() - 14)));  // the head alone
  CO_ASSERT(co_await peer->send(frame(proto::kRstStream, 0, peer->last_stream(), be32(8))));
  CO_ASSERT(co_await fixture.handler.stopped_one.wait());
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/still"})));
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_EQ(peer->answers.at(0).body, "GET /still ");
  co_await peer->close();
}

TEST(Http2Reset, StopsItsHandler) {
  Fixture fixture(Wire::http2);
  run_scenario(fixture, reset_stops);
}

Task<void> slots(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer && co_await peer->settle());
  std::string requests, resets;
  for (int i = 0; i < 4; ++i) {
    requests += peer->bytes_of({.target = "/stubborn"});
    resets += frame(proto::kRstStream, 0, peer->last_stream(), be32(8));
  }
  CO_ASSERT(co_await peer->send(requests));
  CO_ASSERT(co_await test::until(fixture.handler.changed, [&] { return fixture.handler.running == 4; }));
  CO_ASSERT(co_await peer->send(resets));
  // The work of all four goes on: there is no room for a fifth.
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/refused"})));
  struct Refused {
    bool operator()(const Peer& p) const { return frames_of(p, proto::kRstStream, Http2Code::refused_stream) > 0; }
  };
  CO_ASSERT(co_await peer->read_until(Refused()));
  EXPECT_EQ(frames_of(*peer, proto::kRstStream, Http2Code::refused_stream), 1u);
  EXPECT_EQ(fixture.handler.running, 4);
  EXPECT_EQ(fixture.handler.handled, 4);
  fixture.handler.release.set();
  CO_ASSERT(co_await test::until(fixture.handler.changed, [&] { return fixture.handler.running == 0; }));
  CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/taken"})));
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_EQ(peer->answers.at(0).body, "GET /taken ");
  co_await peer->close();
}

Task<void> never_started(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  auto peer = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(peer && co_await peer->settle());
  std::string bytes = peer->bytes_of({.target = "/a"});
  bytes += frame(proto::kRstStream, 0, peer->last_stream(), be32(8));
  CO_ASSERT(co_await peer->send(bytes + peer->bytes_of({.target = "/b"})));
  CO_ASSERT(co_await peer->read_answers(1));
  EXPECT_EQ(peer->answers.at(0).body, "GET /b ");
  EXPECT_EQ(fixture.handler.handled, 1);
  co_await peer->close();
}

TEST(Http2Reset, OfARequestThatCameWithItStartsNoWork) {
  Fixture fixture(Wire::http2);
  run_scenario(fixture, never_started);
}

TEST(Http2Reset, KeepsItsSlotUntilTheWorkHasEnded) {
  Fixture fixture(Wire::http2);
  fixture.limits.http2.streams_max = 4;
  run_scenario(fixture, slots);
}

Task<void> core_limit(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto first = co_await Peer::open(fixture, endpoint);
  auto second = co_await Peer::open(fixture, endpoint);
  CO_ASSERT(first && second && co_await first->settle() && co_await second->settle());
  CO_ASSERT(co_await first->send(first->bytes_of({.target = "/wait"}) + first->bytes_of({.target = "/wait"})));
  CO_ASSERT(co_await test::until(fixture.handler.changed, [&] { return fixture.handler.running == 2; }));
  CO_ASSERT(co_await second->send(second->bytes_of({.target = "/a"})));
  struct Refused {
    bool operator()(const Peer& p) const { return frames_of(p, proto::kRstStream, Http2Code::refused_stream) > 0; }
  };
  CO_ASSERT(co_await second->read_until(Refused()));
  EXPECT_EQ(server.stats().http2_streams_refused, 1u);
  fixture.handler.release.set();
  CO_ASSERT(co_await first->read_answers(2));
  CO_ASSERT(co_await second->send(second->bytes_of({.target = "/a"})));
  CO_ASSERT(co_await second->read_answers(1));
  EXPECT_EQ(second->answers.at(0).status, 200);
  co_await first->close();
  co_await second->close();
}

TEST(Http2Reset, RequestsOfAllConnectionsOfACoreHaveALimit) {
  Fixture fixture(Wire::http2);
  fixture.limits.http2_requests_in_work_max = 2;
  run_scenario(fixture, core_limit);
}

}  // namespace
}  // namespace bellhop::service
