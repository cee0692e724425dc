// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_server.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/proto/http2_pair.h"

namespace bellhop::proto {
namespace {

using ::testing::Contains;
using ::testing::Not;
using ::testing::Pair;

constexpr auto code_number = [](Http2Code code) { return static_cast<uint32_t>(code); };

std::string be32(uint32_t number) {
  std::string out(4, '\0');
  store_be32(reinterpret_cast<uint8_t*>(out.data()), number);
  return out;
}

// A server fed by hand, after the preface and SETTINGS.
struct HandFed {
  explicit HandFed(const Http2ServerLimits& limits = {}) : server(limits) {
    feed(std::string(kPreface) + frame(kSettings, 0, 0, "") + frame(kSettings, kAck, 0, ""));
    sent.clear();
  }
  bool feed(std::string_view bytes) {
    status = server.feed(as_bytes(bytes));
    sent += output_of(server);
    while (auto event = server.next_event()) {
      if (auto* request = std::get_if<Http2ServerRequest>(&*event)) requests.push_back(std::move(*request));
      if (auto* gone = std::get_if<Http2StreamLost>(&*event)) lost.emplace(gone->stream_id, gone->code);
    }
    return status.has_value();
  }
  // The status code of the last answer, as our test client reads it.
  Http2Server server;
  Status status;
  std::string sent;
  std::vector<Http2ServerRequest> requests;
  std::map<int32_t, Http2Code> lost;
};

TEST(Http2Server, HandsOutWholeRequests) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders, 1, request_head("POST", "/notify?id=1") + literal("x-one", "1")));
  peer.feed(frame(kData, 0, 1, "first "));
  EXPECT_TRUE(peer.requests.empty());
  peer.feed(frame(kData, kEndStream, 1, "second"));
  ASSERT_EQ(peer.requests.size(), 1u);
  const Http2ServerRequest& request = peer.requests[0];
  EXPECT_EQ(request.stream_id, 1);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/notify?id=1");
  EXPECT_EQ(request.authority, "a.example.com");
  EXPECT_EQ(request.headers.size(), 1u);
  EXPECT_EQ(request.headers.find("x-one"), "1");
  EXPECT_EQ(request.body, "first second");
  EXPECT_EQ(peer.server.requests_in_work(), 1u);
  EXPECT_EQ(peer.server.last_stream_id(), 1);
}

// Feeds one request head (with END_STREAM) and returns the status that the server answers by itself; 0 for a hand-over.
uint16_t judged(const std::string& head, const Http2ServerLimits& limits = {}) {
  // A client machine reads the answer; its stream 1 is ours.
  Http2Client client;
  EXPECT_TRUE(client.submit({.authority = "a.example.com", .path = "/"}));
  (void)output_of(client);
  HandFed peer(limits);
  std::string bytes = frame(kSettings, 0, 0, "");
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 1, head));
  if (!peer.requests.empty()) return 0;
  EXPECT_TRUE(client.feed(as_bytes(bytes + peer.sent)));
  while (auto event = client.next_event()) {
    if (auto* response = std::get_if<Http2Response>(&*event)) return response->status;
    if (std::get_if<Http2StreamFailed>(&*event)) return 1;  // reset
  }
  ADD_FAILURE() << "no answer";
  return 1;
}

TEST(Http2Server, AnswersByItselfWhatNoApplicationShouldSee) {
  std::string no_authority = literal(":method", "GET") + literal(":scheme", "https") + literal(":path", "/");
  EXPECT_EQ(judged(request_head()), 0);
  EXPECT_EQ(judged(no_authority + literal("host", "b.example.com")), 0);
  EXPECT_EQ(judged(request_head() + literal("host", "a.example.com")), 0);
  EXPECT_EQ(judged(request_head() + literal("host", "b.example.com")), 400);
  EXPECT_EQ(judged(no_authority + literal("host", "a.example.com") + literal("host", "a.example.com")), 1);  // nghttp2
  EXPECT_EQ(judged(no_authority), 1);                                                                        // nghttp2
  EXPECT_EQ(judged(literal(":method", "CONNECT") + literal(":authority", "a.example.com:443")), 405);
  std::string many = request_head();
  for (int i = 0; i < 101; ++i) many += literal("x", "y");
  EXPECT_EQ(judged(many), 431);
  std::string large = request_head();
  for (int i = 0; i < 20; ++i) large += literal("x-long", std::string(100, 'l'));
  EXPECT_EQ(judged(large, {.header_bytes_max = 1500, .header_fields_max = 5}), 431);
  for (int i = 0; i < 60; ++i) large += literal("x-long", std::string(100, 'l'));
  EXPECT_EQ(judged(large, {.header_bytes_max = 1500, .header_fields_max = 5}), 1);  // far over: reset
}

TEST(Http2Server, RefusesFieldsOfOldConnectionsAndMixedCase) {
  EXPECT_EQ(judged(request_head() + literal("transfer-encoding", "chunked")), 1);
  EXPECT_EQ(judged(request_head() + literal("connection", "close")), 1);
  EXPECT_EQ(judged(request_head() + literal("X-Upper", "1")), 1);
  EXPECT_EQ(judged(request_head() + literal("x", std::string("a\0b", 3))), 1);
  EXPECT_EQ(judged(request_head() + literal("content-length", "5")), 1);  // END_STREAM says 0
}

TEST(Http2Server, TakesTheHostFieldWhereAuthorityIsAbsent) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 1,
                  literal(":method", "GET") + literal(":scheme", "https") + literal(":path", "/") +
                      literal("host", "b.example.com")));
  ASSERT_EQ(peer.requests.size(), 1u);
  EXPECT_EQ(peer.requests[0].authority, "b.example.com");
}

TEST(Http2Server, AnswersABodyOverTheLimitWith413AndGoesOn) {
  Http2Pair pair({}, {.body_bytes_max = 1000});
  pair.run();
  int32_t fits = pair.submit(std::string(1000, 'a'));
  int32_t over = pair.submit(std::string(1001, 'a'));
  int32_t far_over = pair.submit(std::string(500'000, 'a'));
  pair.run();
  EXPECT_TRUE(pair.failures.empty());
  ASSERT_EQ(pair.responses.size(), 2u);
  EXPECT_EQ(pair.responses.at(over).status, 413);
  EXPECT_EQ(pair.responses.at(far_over).status, 413);
  ASSERT_EQ(pair.requests.size(), 1u);
  pair.answer_all();
  EXPECT_EQ(pair.responses.at(fits).status, 200);
  EXPECT_TRUE(pair.client.can_submit());
}

TEST(Http2Server, RefusesStreamsWhenUnfinishedBodiesFillTheBuffer) {
  HandFed peer({.body_bytes_max = 600, .buffered_bytes_max = 1000});
  for (uint32_t id : {1u, 3u, 5u}) peer.feed(frame(kHeaders, kEndHeaders, id, request_head()));
  peer.feed(frame(kData, 0, 1, std::string(600, 'a')));
  peer.feed(frame(kData, 0, 3, std::string(400, 'b')));
  EXPECT_THAT(frames_in(peer.sent), Not(Contains(Pair(kRstStream, ::testing::_))));
  peer.feed(frame(kData, 0, 5, "c"));
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kRstStream, code_number(Http2Code::refused_stream))));
  peer.feed(frame(kData, kEndStream, 1, ""));
  peer.feed(frame(kHeaders, kEndHeaders, 7, request_head()) + frame(kData, kEndStream, 7, std::string(600, 'd')));
  ASSERT_EQ(peer.requests.size(), 2u);  // the finished one made room
  EXPECT_EQ(peer.requests[1].body.size(), 600u);
  EXPECT_TRUE(peer.status);
}

TEST(Http2Server, KeepsTheSlotOfALostStreamUntilItsWorkEnded) {
  HandFed peer({.streams_max = 2});
  for (uint32_t id : {1u, 3u}) peer.feed(frame(kHeaders, kEndHeaders | kEndStream, id, request_head()));
  ASSERT_EQ(peer.requests.size(), 2u);
  peer.feed(frame(kRstStream, 0, 1, be32(8)) + frame(kRstStream, 0, 3, be32(8)));
  EXPECT_EQ(peer.lost.at(1), Http2Code::cancel);
  EXPECT_EQ(peer.lost.at(3), Http2Code::cancel);
  EXPECT_EQ(peer.server.requests_in_work(), 2u);
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 5, request_head()));
  EXPECT_EQ(peer.requests.size(), 2u);
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kRstStream, code_number(Http2Code::refused_stream))));

  peer.sent.clear();
  EXPECT_TRUE(peer.server.release(1));
  EXPECT_TRUE(peer.server.respond(3, 200, {}, {}));  // late: sends nothing
  EXPECT_EQ(output_of(peer.server), "");
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 7, request_head()));
  EXPECT_EQ(peer.requests.size(), 3u);
}

TEST(Http2Server, RefusesToAnswerWhatItDoesNotOwe) {
  HandFed peer;
  const Error unknown = http2_error(Http2Error::unknown_stream);
  EXPECT_EQ(peer.server.respond(1, 200, {}, {}).error(), unknown);
  peer.feed(frame(kHeaders, kEndHeaders, 1, request_head()));
  EXPECT_EQ(peer.server.respond(1, 200, {}, {}).error(), unknown);  // not whole yet
  peer.feed(frame(kData, kEndStream, 1, "x"));
  EXPECT_EQ(peer.server.release(1).error(), unknown);  // not lost
  EXPECT_TRUE(peer.server.respond(1, 200, {}, {}));
  EXPECT_EQ(peer.server.respond(1, 200, {}, {}).error(), unknown);
  EXPECT_EQ(peer.server.reset(1, Http2Code::cancel).error(), unknown);
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
}

TEST(Http2Server, EndsRapidResets) {
  HandFed peer({.resets_max = 50});
  uint32_t id = 1;
  while (id < 4001 && peer.feed(frame(kHeaders, kEndHeaders, id, request_head()) + frame(kRstStream, 0, id, be32(8))))
    id += 2;
  EXPECT_NEAR(static_cast<double>(id), 101, 3);
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kGoaway, code_number(Http2Code::enhance_your_calm))));
  EXPECT_TRUE(peer.server.finished());
}

TEST(Http2Server, EndsResetsOfWholeRequestsWhoseWorkIsReleased) {
  HandFed peer({.resets_max = 50});
  uint32_t id = 1;
  while (id < 4001 &&
         peer.feed(frame(kHeaders, kEndHeaders | kEndStream, id, request_head()) + frame(kRstStream, 0, id, be32(8)))) {
    EXPECT_TRUE(peer.server.release(static_cast<int32_t>(id)));
    id += 2;
  }
  EXPECT_LT(id, 4001u);
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Server, EndsResetsThatThePeerProvokesFromUs) {
  HandFed peer({.resets_max = 50});
  uint32_t id = 1;
  // A window that overflows makes us reset the stream: FLOW_CONTROL_ERROR.
  while (id < 4001 &&
         peer.feed(frame(kHeaders, kEndHeaders, id, request_head()) + frame(kWindowUpdate, 0, id, be32(0x7fffffff))))
    id += 2;
  EXPECT_NEAR(static_cast<double>(id), 103, 6);
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Server, AllowsAnHonestClientToResetNowAndThen) {
  HandFed peer({.resets_max = 10});
  for (uint32_t id = 1; id < 2001; id += 4) {
    ASSERT_TRUE(peer.feed(frame(kHeaders, kEndHeaders, id, request_head()) + frame(kRstStream, 0, id, be32(8))));
    ASSERT_TRUE(peer.feed(frame(kHeaders, kEndHeaders | kEndStream, id + 2, request_head())));
    ASSERT_TRUE(peer.server.respond(static_cast<int32_t>(id + 2), 200, {}, {}));
  }
}

TEST(Http2Server, EndsAFloodOfContinuationsAndOfControlFrames) {
  HandFed continuation;
  continuation.feed(frame(kHeaders, 0, 1, request_head()));
  int sent = 0;
  while (sent < 100 && continuation.feed(frame(kContinuation, 0, 1, literal("x", "y")))) ++sent;
  EXPECT_EQ(sent, 8);
  EXPECT_EQ(continuation.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));

  const std::string floods[] = {frame(kPing, 0, 0, "12345678"), frame(kSettings, 0, 0, ""),
                                frame(kPriority, 0, 9, std::string("\0\0\0\0\x01", 5)), frame(kData, 0, 1, "")};
  for (const std::string& one : floods) {
    HandFed peer({.control_frames_max = 100});
    peer.feed(frame(kHeaders, kEndHeaders, 1, request_head()));
    sent = 0;
    while (sent < 1000 && peer.feed(one)) ++sent;
    EXPECT_NEAR(sent, 100, 3) << "type " << int(one[3]);
    EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
  }
}

TEST(Http2Server, RefusesWhatIsNotHttp2) {
  for (std::string_view garbage :
       {"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS again",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"}) {
    Http2Server server;
    Status status = server.feed(as_bytes(garbage));
    ASSERT_FALSE(status) << garbage;
    EXPECT_EQ(status.error(), http2_error(Http2Error::violation));
    EXPECT_FALSE(server.feed(as_bytes("more")));
    (void)output_of(server);
    EXPECT_TRUE(server.finished());
  }
}

TEST(Http2Server, AnswersAViolationWithGoaway) {
  HandFed peer;
  peer.feed(frame(kData, 0, 1, "on an idle stream"));
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kGoaway, code_number(Http2Code::protocol_error))));
  EXPECT_EQ(*peer.server.failure(), http2_error(Http2Error::violation, code_number(Http2Code::protocol_error)));
  EXPECT_TRUE(peer.server.finished());
}

TEST(Http2Server, CutsOffStreamsAboveItsGoaway) {
  HandFed peer;
  for (uint32_t id : {1u, 3u}) peer.feed(frame(kHeaders, kEndHeaders | kEndStream, id, request_head()));
  ASSERT_TRUE(peer.server.goaway(1, Http2Code::no_error, ""));
  peer.feed("");
  EXPECT_EQ(peer.lost.count(3), 1u);
  EXPECT_EQ(peer.lost.count(1), 0u);
  EXPECT_TRUE(peer.server.release(3));
  EXPECT_FALSE(peer.server.finished());
  EXPECT_TRUE(peer.server.respond(1, 200, {}, {}));
  EXPECT_NE(output_of(peer.server), "");
  EXPECT_TRUE(peer.server.finished());
  EXPECT_FALSE(peer.server.failure());
}

TEST(Http2Server, ReportsLostWorkOnceWhenTheConnectionIsLost) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 1, request_head()) +
            frame(kHeaders, kEndHeaders, 3, request_head()));
  peer.server.connection_lost();
  peer.server.connection_lost();
  auto event = peer.server.next_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<Http2StreamLost>(*event).stream_id, 1);
  EXPECT_FALSE(peer.server.next_event());
  EXPECT_EQ(peer.server.requests_in_work(), 1u);
  EXPECT_TRUE(peer.server.respond(1, 200, {}, {}));
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
}

TEST(Http2Server, WithTableSizeZeroNoRequestFieldIsRemembered) {
  Http2Pair pair({}, {.header_table_bytes = 0});
  pair.run();
  std::string secret(200, 's');
  const Http2Header headers[] = {{"x-secret", secret}};
  size_t sizes[2];
  for (size_t& size : sizes) {
    pair.submit("", headers);
    std::string bytes = output_of(pair.client);
    size = bytes.size();
    ASSERT_TRUE(pair.server.feed(as_bytes(bytes)));
    pair.run();
    ASSERT_EQ(pair.requests.back().headers.find("x-secret"), secret);
    pair.answer_all();
  }
  EXPECT_NEAR(static_cast<double>(sizes[1]), static_cast<double>(sizes[0]), 16);  // an indexed field would be one byte
}

TEST(Http2Server, ABoundedCallOfTakeOutputGivesAllBytesInTheEnd) {
  std::string body(40'000, 'r');
  for (size_t step : {size_t{1}, size_t{8}, size_t{9}, size_t{10}, size_t{4095}, size_t{16'393}}) {
    Http2Pair pair({.body_bytes_max = 100'000}, {}, step);
    int32_t id = pair.submit();
    pair.run();
    pair.answer_all(200, body);
    EXPECT_TRUE(pair.responses.at(id).body == body) << step;
  }
}

TEST(Http2Server, OwesExactlyTheRequestsThatItHandedOutWhateverBytesCome) {
  std::string bytes =
      std::string(kPreface) + frame(kSettings, 0, 0, "") + frame(kHeaders, kEndHeaders, 1, request_head()) +
      frame(kData, kEndStream, 1, "body") + frame(kHeaders, kEndHeaders | kEndStream, 3, request_head("GET", "/y")) +
      frame(kRstStream, 0, 3, be32(8)) + frame(kPing, 0, 0, "12345678") + frame(kWindowUpdate, 0, 0, be32(100));
  std::mt19937 random(11);
  size_t handed_out = 0, broken = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = bytes;
    for (unsigned i = 0; i <= random() % 3; ++i) {
      damaged[kPreface.size() + random() % (damaged.size() - kPreface.size())] = static_cast<char>(random());
    }
    if (round % 5 == 0) damaged.resize(random() % damaged.size());
    Http2Server server;
    size_t step = 1 + random() % (damaged.size() + 1);
    for (size_t at = 0; at < damaged.size(); at += step) {
      if (!server.feed(as_bytes(std::string_view(damaged).substr(at, step)))) break;
      (void)output_of(server);
    }
    uint32_t owed = 0;
    while (auto event = server.next_event()) {
      auto* request = std::get_if<Http2ServerRequest>(&*event);
      if (request == nullptr) continue;
      ++owed;
      ASSERT_EQ(server.requests_in_work() > 0, true);
      ASSERT_TRUE(server.respond(request->stream_id, 200, {}, as_bytes("ok")));
    }
    ASSERT_EQ(server.requests_in_work(), 0u);
    (void)output_of(server);
    handed_out += owed;
    broken += server.failure().has_value();
  }
  EXPECT_GT(handed_out, 1000u);
  EXPECT_GT(broken, 100u);
}

}  // namespace
}  // namespace bellhop::proto
