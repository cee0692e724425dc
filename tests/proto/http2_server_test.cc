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
struct HandFed : ServerEvents {
  explicit HandFed(const Http2ServerLimits& limits = {}, Http2BodyMemory* memory = nullptr) : server(limits, memory) {
    feed(std::string(kPreface) + frame(kSettings, 0, 0, "") + frame(kSettings, kAck, 0, ""));
    sent.clear();
  }
  bool feed(std::string_view bytes) {
    status = server.feed(as_bytes(bytes));
    sent += output_of(server);
    if (reading) take(server);
    sent += output_of(server);  // of windows that were given back
    return status.has_value();
  }
  Http2Server server;
  Status status;
  std::string sent;
  bool reading = true;  // takes events and bodies as they come
};

TEST(Http2Server, HandsOutHeadsAtOnceAndBodiesAsTheyCome) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders, 1, request_head("POST", "/notify?id=1") + literal("x-one", "1")));
  ASSERT_EQ(peer.open_requests.count(1), 1u);
  EXPECT_EQ(peer.server.requests_in_work(), 1u);
  peer.feed(frame(kData, 0, 1, "first "));
  EXPECT_EQ(peer.open_requests[1].body, "first ");
  peer.feed(frame(kData, kEndStream, 1, "second"));
  ASSERT_EQ(peer.requests.size(), 1u);
  const WholeRequest& request = peer.requests[0];
  EXPECT_EQ(request.stream_id, 1);
  EXPECT_EQ(request.method, HttpMethod::post);
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
  EXPECT_EQ(judged(literal(":method", "CONNECT") + literal(":authority", "a.example.com:443")), 501);
  std::string many = request_head();
  for (int i = 0; i < 101; ++i) many += literal("x", "y");
  EXPECT_EQ(judged(many), 431);
  std::string large = request_head();
  for (int i = 0; i < 20; ++i) large += literal("x-long", std::string(100, 'l'));
  EXPECT_EQ(judged(large, {.header_bytes_max = 1500, .header_fields_max = 5}), 431);
  for (int i = 0; i < 4; ++i) large += literal("x-long", std::string(100, 'l'));
  EXPECT_EQ(judged(large, {.header_bytes_max = 1500, .header_fields_max = 5}), 1);  // far over: reset
}

TEST(Http2Server, RefusesFieldsOfOldConnectionsAndMixedCase) {
  EXPECT_EQ(judged(request_head() + literal("transfer-encoding", "chunked")), 1);
  EXPECT_EQ(judged(request_head() + literal("connection", "close")), 1);
  EXPECT_EQ(judged(request_head() + literal("X-Upper", "1")), 1);
  EXPECT_EQ(judged(request_head() + literal("x", std::string("a\0b", 3))), 1);
  EXPECT_EQ(judged(request_head() + literal("content-length", "5")), 1);  // END_STREAM says 0
}

TEST(Http2Server, IsAsStrictAsHttp1) {
  auto target = [](std::string_view method, std::string_view path) { return judged(request_head(method, path)); };
  EXPECT_EQ(target("OPTIONS", "*"), 0);
  EXPECT_EQ(target("GET", "/a%20b?c=d%2F"), 0);
  EXPECT_EQ(target("BREW", "/"), 501);
  EXPECT_EQ(target("TRACE", "/"), 501);
  EXPECT_EQ(target("get", "/"), 501);
  EXPECT_EQ(target("GET", "/a%2"), 400);
  EXPECT_EQ(target("GET", "/a%zz"), 400);
  EXPECT_EQ(target("GET", "/a\\b"), 400);
  EXPECT_EQ(target("GET", "/a#b"), 400);
  EXPECT_EQ(target("GET", "/\"a"), 400);
  for (std::string_view path : {"*", "a", "", "http://a.example.com/"}) EXPECT_EQ(target("GET", path), 1) << path;

  for (std::string_view authority : {"a.example.com:443", "[::1]:8443", "10.0.0.1"}) {
    EXPECT_EQ(judged(request_head("GET", "/", authority)), 0) << authority;
  }
  for (std::string_view authority : {"user@a.example.com", "a.example.com:0", "a.example.com:70000", "a b", "a/b", "[::1"}) {
    EXPECT_GE(judged(request_head("GET", "/", authority)), 1) << authority;
  }
  EXPECT_EQ(judged(request_head("GET", "/", "user@a.example.com")), 400);
  EXPECT_EQ(judged(literal(":method", "GET") + literal(":scheme", "ftp") + literal(":path", "/") +
                   literal(":authority", "a.example.com")),
            400);
  EXPECT_EQ(judged(request_head() + literal("expect", "200-ok")), 417);
  EXPECT_EQ(judged(request_head() + literal("expect", "100-continue") + literal("expect", "100-continue")), 417);
  EXPECT_EQ(judged(request_head() + literal("expect", "100-Continue")), 0);

  std::string long_path = request_head();
  EXPECT_EQ(judged(literal(":method", "GET") + literal(":scheme", "https") + literal(":authority", "a.example.com") +
                   long_literal(":path", "/" + std::string(kHttpTargetMax - 1, 'p'))),
            0);
  EXPECT_EQ(judged(literal(":method", "GET") + literal(":scheme", "https") + literal(":authority", "a.example.com") +
                   long_literal(":path", "/" + std::string(kHttpTargetMax, 'p'))),
            414);
}

TEST(Http2Server, ResetsWhatIsMalformedAsHttp2) {
  const std::string malformed[] = {
      request_head() + literal(":method", "GET"),                 // twice
      request_head() + literal("a", "b") + literal(":path", "/"),  // after a field
      request_head() + literal(":status", "200"),
      request_head() + literal(":unknown", "1"),
      request_head() + literal("te", "gzip"),
      request_head() + literal("te", "trailers, deflate"),
      request_head() + literal("keep-alive", "1"),
      request_head() + literal("proxy-connection", "close"),
      request_head() + literal("upgrade", "h2c"),
      request_head() + literal("x", "a\nb"),
      request_head() + literal("x", "a\rb"),
      request_head() + literal("x", " a"),
      request_head() + literal("x y", "a"),
      request_head() + literal("x:", "a"),
      request_head() + literal("", "a"),
      request_head() + literal("content-length", "0") + literal("content-length", "0"),
      request_head() + literal("content-length", "+0"),
      request_head() + literal("content-length", "0, 0"),
      literal(":method", "GET") + literal(":scheme", "https") + literal(":authority", "a.example.com"),
      literal(":method", "GET") + literal(":path", "/") + literal(":authority", "a.example.com"),
      literal(":scheme", "https") + literal(":path", "/") + literal(":authority", "a.example.com"),
  };
  for (const std::string& head : malformed) EXPECT_EQ(judged(head), 1) << testing::PrintToString(head);
  EXPECT_EQ(judged(request_head() + literal("te", "trailers")), 0);
}

TEST(Http2Server, ABodyOfAnotherLengthThanItSaidLosesItsStream) {
  for (std::string_view body : {"1234", "123456"}) {
    HandFed peer;
    peer.feed(frame(kHeaders, kEndHeaders, 1, request_head() + literal("content-length", "5")) +
              frame(kData, kEndStream, 1, body));
    EXPECT_TRUE(peer.requests.empty()) << body;
    EXPECT_EQ(peer.lost.count(1), 1u) << body;
    EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kRstStream, code_number(Http2Code::protocol_error))));
    EXPECT_TRUE(peer.server.release(1));
    EXPECT_FALSE(peer.server.failure());
  }
}

TEST(Http2Server, DropsTrailers) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders, 1, request_head()) + frame(kData, 0, 1, "body") +
            frame(kHeaders, kEndHeaders | kEndStream, 1, literal("x-after", "1")));
  ASSERT_EQ(peer.requests.size(), 1u);
  EXPECT_EQ(peer.requests[0].body, "body");
  EXPECT_EQ(peer.requests[0].headers.count("x-after"), 0u);
}

TEST(Http2Server, TakesTheHostFieldWhereAuthorityIsAbsent) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 1,
                  literal(":method", "GET") + literal(":scheme", "https") + literal(":path", "/") +
                      literal("host", "b.example.com")));
  ASSERT_EQ(peer.requests.size(), 1u);
  EXPECT_EQ(peer.requests[0].authority, "b.example.com");
}

TEST(Http2Server, ABodyThatNobodyReadsStopsAtTheWindow) {
  Http2Pair pair({}, {.stream_window_bytes = 1000});
  pair.run();
  int32_t id = pair.submit(std::string(100'000, 'a'));
  for (int i = 0; i < 10; ++i) {
    pair.to_server();
    pair.to_client();
  }
  auto event = pair.server.next_event();
  ASSERT_TRUE(event && std::holds_alternative<Http2ServerRequest>(*event));
  EXPECT_EQ(pair.server.unread_body(id)->bytes.size(), 1000u);
  EXPECT_FALSE(pair.server.unread_body(id)->ended);
  // An answer ahead of the end takes the rest back.
  ASSERT_TRUE(pair.server.respond(id, 403, {}, as_bytes("no")));
  pair.run();
  EXPECT_EQ(pair.responses.at(id).status, 403);
  EXPECT_EQ(pair.responses.at(id).body, "no");
  EXPECT_EQ(pair.server.requests_in_work(), 0u);
  // What was thrown away came back to the connection's window: bodies go on.
  for (int i = 0; i < 400; ++i) {
    int32_t next = pair.submit(std::string(1000, 'b'));
    pair.run();
    ASSERT_EQ(pair.requests.size(), 1u) << i;
    pair.answer_all();
    ASSERT_EQ(pair.responses.at(next).status, 200);
  }
}

TEST(Http2Server, ABodyThatFitsInTheWindowEndsByItselfAfterAnEarlyAnswer) {
  HandFed peer({.stream_window_bytes = 100});
  peer.reading = false;
  peer.feed(frame(kHeaders, kEndHeaders, 1, request_head()) + frame(kHeaders, kEndHeaders, 3, request_head()));
  ASSERT_TRUE(peer.server.respond(1, 403, {}, as_bytes("no")));
  ASSERT_TRUE(peer.server.respond(3, 403, {}, {}));
  for (int i = 0; i < 3; ++i) peer.feed(frame(kData, 0, 1, std::string(30, 'd')) + frame(kData, 0, 3, std::string(30, 'd')));
  EXPECT_THAT(frames_in(peer.sent), Not(Contains(Pair(kRstStream, ::testing::_))));
  peer.feed(frame(kData, kEndStream, 1, std::string(10, 'd')) + frame(kData, 0, 3, std::string(10, 'd')));
  std::vector<std::pair<uint8_t, uint32_t>> sent = frames_in(peer.sent);
  EXPECT_EQ(std::ranges::count(sent, std::pair(kRstStream, code_number(Http2Code::no_error))), 1);  // stream 3
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
}

TEST(Http2Server, UnreadBodiesOfAConnectionStopAtItsWindow) {
  Http2Pair pair({}, {.stream_window_bytes = 60'000, .connection_window_bytes = 100'000});
  pair.run();
  for (int i = 0; i < 4; ++i) (void)pair.submit(std::string(50'000, 'a'));
  for (int i = 0; i < 10; ++i) {
    pair.to_server();
    pair.to_client();
  }
  size_t waiting = 0;
  while (auto event = pair.server.next_event()) {
    auto* request = std::get_if<Http2ServerRequest>(&*event);
    if (request) waiting += pair.server.unread_body(request->stream_id)->bytes.size();
  }
  EXPECT_EQ(waiting, 100'000u);
}

TEST(Http2Server, ResetsTheStreamThatWouldPassTheMemoryOfAllConnections) {
  Http2BodyMemory memory{.bytes_max = 1000};
  {
    HandFed first({}, &memory), second({}, &memory);
    first.reading = second.reading = false;
    first.feed(frame(kHeaders, kEndHeaders, 1, request_head()) + frame(kData, 0, 1, std::string(600, 'a')));
    second.feed(frame(kHeaders, kEndHeaders, 1, request_head()) + frame(kData, 0, 1, std::string(400, 'a')));
    EXPECT_EQ(memory.bytes, 1000u);
    second.feed(frame(kHeaders, kEndHeaders, 3, request_head()) + frame(kData, 0, 3, "a"));
    EXPECT_THAT(frames_in(second.sent), Contains(Pair(kRstStream, code_number(Http2Code::enhance_your_calm))));
    EXPECT_TRUE(second.status);
    second.take(second.server);
    EXPECT_EQ(second.lost.count(3), 1u);
    EXPECT_EQ(second.lost.count(1), 0u);
    EXPECT_TRUE(second.server.release(3));
    EXPECT_EQ(memory.bytes, 600u);  // take() read the first stream's
  }
  EXPECT_EQ(memory.bytes, 0u);
}

TEST(Http2Server, InvitesABodyThatWaitsForIt) {
  Http2Pair pair;
  pair.run();
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders, 1, request_head() + literal("expect", "100-continue")));
  peer.sent.clear();
  ASSERT_TRUE(peer.server.invite_body(1));
  std::string invitation = output_of(peer.server);
  ASSERT_EQ(frames_in(invitation).size(), 1u);
  EXPECT_EQ(frames_in(invitation)[0].first, kHeaders);
  EXPECT_FALSE(static_cast<uint8_t>(invitation[4]) & kEndStream);
  peer.feed(frame(kData, kEndStream, 1, "body"));
  ASSERT_EQ(peer.requests.size(), 1u);
  EXPECT_EQ(peer.requests[0].body, "body");
  EXPECT_TRUE(peer.server.respond(1, 200, {}, {}));
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
  EXPECT_EQ(peer.server.unread_body(1).error(), unknown);
  EXPECT_EQ(peer.server.invite_body(1).error(), unknown);
  peer.feed(frame(kHeaders, 0, 1, request_head()));
  EXPECT_EQ(peer.server.respond(1, 200, {}, {}).error(), unknown);  // the head is not whole yet
  peer.feed(frame(kContinuation, kEndHeaders, 1, literal("a", "b")) + frame(kData, kEndStream, 1, "x"));
  EXPECT_EQ(peer.server.release(1).error(), unknown);  // not lost
  EXPECT_TRUE(peer.server.respond(1, 200, {}, {}));
  EXPECT_EQ(peer.server.respond(1, 200, {}, {}).error(), unknown);
  EXPECT_EQ(peer.server.reset(1, Http2Code::cancel).error(), unknown);
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
}

TEST(Http2Server, EndsRapidResets) {
  HandFed peer({.resets_max = 50});
  uint32_t id = 1;
  while (id < 4001 && peer.feed(frame(kHeaders, kEndHeaders, id, request_head()) + frame(kRstStream, 0, id, be32(8)))) {
    EXPECT_TRUE(peer.server.release(static_cast<int32_t>(id)));
    id += 2;
  }
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
         peer.feed(frame(kHeaders, kEndHeaders, id, request_head()) + frame(kWindowUpdate, 0, id, be32(0x7fffffff)))) {
    EXPECT_TRUE(peer.server.release(static_cast<int32_t>(id)));
    id += 2;
  }
  EXPECT_NEAR(static_cast<double>(id), 103, 6);
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Server, AnAnswerThatNeverLeftPaysForNoReset) {
  HandFed peer({.resets_max = 50});
  peer.reading = false;
  uint32_t id = 1;
  // The reset is on its way already when the application answers.
  for (; id < 4001; id += 2) {
    std::string bytes = frame(kHeaders, kEndHeaders, id, request_head()) + frame(kWindowUpdate, 0, id, be32(0x7fffffff));
    if (!peer.server.feed(as_bytes(bytes))) break;
    EXPECT_TRUE(peer.server.respond(static_cast<int32_t>(id), 200, {}, as_bytes("done")));
    (void)output_of(peer.server);
  }
  EXPECT_LT(id, 4001u);
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Server, AllowsAnHonestClientToResetNowAndThen) {
  HandFed peer({.resets_max = 10});
  for (uint32_t id = 1; id < 2001; id += 4) {
    ASSERT_TRUE(peer.feed(frame(kHeaders, kEndHeaders, id, request_head()) + frame(kRstStream, 0, id, be32(8))));
    ASSERT_TRUE(peer.server.release(static_cast<int32_t>(id)));
    ASSERT_TRUE(peer.feed(frame(kHeaders, kEndHeaders | kEndStream, id + 2, request_head())));
    ASSERT_TRUE(peer.server.respond(static_cast<int32_t>(id + 2), 200, {}, {}));
    (void)output_of(peer.server);
  }
}

TEST(Http2Server, EndsAFloodOfContinuationsAndOfControlFrames) {
  HandFed continuation;
  continuation.feed(frame(kHeaders, 0, 1, request_head()));
  int sent = 0;
  while (sent < 100 && continuation.feed(frame(kContinuation, 0, 1, literal("x", "y")))) ++sent;
  EXPECT_EQ(sent, 8);
  EXPECT_EQ(continuation.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
  EXPECT_THAT(frames_in(continuation.sent), Contains(Pair(kGoaway, code_number(Http2Code::enhance_your_calm))));
  EXPECT_TRUE(continuation.server.finished());

  const std::string floods[] = {frame(kPing, 0, 0, "12345678"), frame(kSettings, 0, 0, ""),
                                frame(kPriority, 0, 9, std::string("\0\0\0\0\x01", 5)), frame(kData, 0, 1, ""),
                                frame(kData, 0, 1, "d"), frame(kData, kPadded, 1, std::string("\x03pad", 4)),
                                frame(kWindowUpdate, 0, 0, be32(1))};
  for (const std::string& one : floods) {
    HandFed peer({.control_frames_max = 100});
    peer.feed(frame(kHeaders, kEndHeaders, 1, request_head()));
    sent = 0;
    while (sent < 1000 && peer.feed(one)) ++sent;
    EXPECT_NEAR(sent, 100, 3) << "type " << int(one[3]);
    EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
  }
}

TEST(Http2Server, EndsAFloodOfMalformedRequests) {
  HandFed peer({.resets_max = 100'000, .control_frames_max = 100});
  uint32_t id = 1;
  while (id < 4001 && peer.feed(frame(kHeaders, kEndHeaders | kEndStream, id, request_head("BREW")))) id += 2;
  EXPECT_NEAR(static_cast<double>(id), 203, 6);
  EXPECT_NEAR(static_cast<double>(peer.server.requests_refused()), 100, 3);
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Server, AHeaderBlockIsDecodedUpToTwiceItsLimitAndThenItsConnectionEnds) {
  HandFed peer({.header_bytes_max = 16 * 1024});
  peer.feed(frame(kHeaders, 0, 1, request_head()));
  std::string field = long_literal("x", std::string(8000, 'x'));
  size_t sent = 0;
  while (sent < 80'000 && peer.feed(frame(kContinuation, 0, 1, field))) sent += field.size();
  EXPECT_LT(sent, 2 * (16 * 1024 + 100 * 32) + field.size());
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kGoaway, code_number(Http2Code::enhance_your_calm))));
  EXPECT_TRUE(peer.requests.empty());
}

TEST(Http2Server, AHeaderBombOfTableIndexesIsCutOff) {
  // One large entry in the dynamic table, then thousands of references to it, one byte each.
  HandFed peer({.control_frames_max = 100'000});
  std::string insert = std::string(1, '\x40') + std::string(1, '\x04') + "bomb" + hpack_size(3900) + std::string(3900, 'b');
  std::string bomb = request_head() + insert + std::string(10'000, '\xbe');
  uint32_t id = 1;
  while (id < 4001 && peer.feed(frame(kHeaders, kEndHeaders | kEndStream, id, bomb))) {
    EXPECT_TRUE(peer.requests.empty());
    id += 2;
  }
  EXPECT_LT(id, 4001u);  // each cost a reset
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Server, WhatAPeerProvokesWithoutReadingItIsBounded) {
  HandFed peer({.streams_max = 1000, .resets_max = 50, .control_frames_max = 1000});
  uint32_t id = 1;
  // Nothing of the server's output is taken: neither resets nor acknowledgements can leave.
  for (; id < 100'000; id += 2) {
    std::string bytes = frame(kHeaders, kEndHeaders, id, request_head()) + frame(kWindowUpdate, 0, id, be32(0x7fffffff));
    if (!peer.server.feed(as_bytes(bytes))) break;
    while (auto event = peer.server.next_event()) {
      if (std::holds_alternative<Http2StreamLost>(*event)) {
        (void)peer.server.release(std::get<Http2StreamLost>(*event).stream_id);
      }
    }
  }
  EXPECT_LT(id, 12'000u);
  EXPECT_EQ(peer.server.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Server, EachWayToProvokeAResetEndsInANamedOutcome) {
  struct Row {
    const char* what;
    std::string first, then;
    Http2Code code;
  };
  std::string open = frame(kHeaders, kEndHeaders, 1, request_head());
  std::string whole = frame(kHeaders, kEndHeaders | kEndStream, 1, request_head());
  const Row rows[] = {
      {"zero increment", open, frame(kWindowUpdate, 0, 1, be32(0)), Http2Code::protocol_error},
      {"DATA on half-closed", whole, frame(kData, 0, 1, "late"), Http2Code::stream_closed},
      {"HEADERS on half-closed", whole, frame(kHeaders, kEndHeaders | kEndStream, 1, literal("a", "b")), Http2Code::stream_closed},
      {"PRIORITY of a wrong size", open, frame(kPriority, 0, 1, "abc"), Http2Code::frame_size_error},
      {"connection window overflow", open, frame(kWindowUpdate, 0, 0, be32(0x7fffffff)), Http2Code::flow_control_error},
      {"DATA on an idle stream", open, frame(kData, 0, 99, "x"), Http2Code::protocol_error},
      {"even stream", open, frame(kHeaders, kEndHeaders, 2, request_head()), Http2Code::protocol_error},
      {"frame too large", open, frame(kData, 0, 1, std::string(16'385, 'x')), Http2Code::frame_size_error},
      {"PUSH_PROMISE", open, frame(5, kEndHeaders, 1, be32(2) + request_head()), Http2Code::protocol_error},
  };
  for (const Row& row : rows) {
    HandFed peer;
    peer.reading = false;
    ASSERT_TRUE(peer.feed(row.first)) << row.what;
    peer.feed(row.then);
    ASSERT_TRUE(peer.server.failure()) << row.what;
    EXPECT_EQ(*peer.server.failure(), http2_error(Http2Error::violation, code_number(row.code))) << row.what;
    EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kGoaway, code_number(row.code)))) << row.what;
    EXPECT_TRUE(peer.server.finished()) << row.what;
  }
}

TEST(Http2Server, DataOverTheWindowLosesItsStream) {
  HandFed peer;
  peer.reading = false;
  peer.feed(frame(kHeaders, kEndHeaders, 1, request_head()));
  for (int i = 0; i < 5; ++i) peer.feed(frame(kData, 0, 1, std::string(16'000, 'x')));
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kRstStream, code_number(Http2Code::flow_control_error))));
  peer.take(peer.server);
  EXPECT_EQ(peer.lost.count(1), 1u);
  EXPECT_TRUE(peer.server.release(1));
  EXPECT_TRUE(peer.status);
}

TEST(Http2Server, SaysWhatADriverHasDeadlinesFor) {
  Http2Server fresh;
  ASSERT_TRUE(fresh.feed(as_bytes(std::string(kPreface) + frame(kSettings, 0, 0, ""))));
  EXPECT_FALSE(fresh.settings_acknowledged());
  ASSERT_TRUE(fresh.feed(as_bytes(frame(kSettings, kAck, 0, ""))));
  EXPECT_TRUE(fresh.settings_acknowledged());

  HandFed peer;
  peer.feed(frame(kSettings, 0, 0, std::string("\0\x04", 2) + be32(0)));  // no window for any answer
  EXPECT_FALSE(peer.server.reading_head());
  peer.feed(frame(kHeaders, kEndStream, 1, request_head()));
  EXPECT_TRUE(peer.server.reading_head());
  peer.feed(frame(kContinuation, kEndHeaders, 1, literal("a", "b")) + frame(kHeaders, kEndHeaders | kEndStream, 3, request_head()));
  EXPECT_FALSE(peer.server.reading_head());

  ASSERT_TRUE(peer.server.respond(1, 200, {}, as_bytes("one")));
  ASSERT_TRUE(peer.server.respond(3, 200, {}, as_bytes("two")));
  peer.feed("");
  EXPECT_EQ(peer.server.answers(), 2u);
  EXPECT_TRUE(peer.server.has_unsent_answers());
  EXPECT_EQ(peer.server.oldest_unsent_answer(), 1u);
  peer.feed(frame(kWindowUpdate, 0, 1, be32(3)));
  EXPECT_EQ(peer.server.oldest_unsent_answer(), 2u);
  peer.feed(frame(kRstStream, 0, 3, be32(8)));
  EXPECT_EQ(peer.server.oldest_unsent_answer(), 0u);
  EXPECT_FALSE(peer.server.has_unsent_answers());
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
  peer.take(peer.server);
  EXPECT_EQ(peer.lost.size(), 2u);
  EXPECT_EQ(peer.server.requests_in_work(), 2u);
  EXPECT_TRUE(peer.server.release(3));
  EXPECT_FALSE(peer.server.unread_body(1));
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
      if (round % 2 == 0) server.consume_body(request->stream_id);
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
