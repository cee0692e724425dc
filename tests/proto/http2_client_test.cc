// SPDX-License-Identifier: Apache-2.0
#include "proto/http2_client.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/proto/http2_pair.h"

namespace bellhop::proto {
namespace {

using Cause = Http2StreamFailed::Cause;
using Fate = Http2Fate;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Http2Client, OpensOneStreamUntilTheSettingsOfThePeerCame) {
  Http2Pair pair({}, {.streams_max = 7});
  EXPECT_EQ(pair.client.streams_available(), 1u);
  int32_t first = pair.submit();
  EXPECT_FALSE(pair.client.can_submit());
  auto second = pair.client.submit({.authority = "a.example.com", .path = "/"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), http2_error(Http2Error::no_stream));
  pair.run();
  EXPECT_THAT(pair.streams_max, ElementsAre(7u));
  EXPECT_EQ(pair.client.streams_available(), 6u);
  pair.answer_all();
  EXPECT_EQ(pair.responses.at(first).status, 200);
  EXPECT_EQ(pair.client.streams_available(), 7u);
}

TEST(Http2Client, KeepsItsOwnCapWhereThePeerAllowsMore) {
  Http2Pair pair({.streams_max = 3}, {.streams_max = 500});
  pair.run();
  EXPECT_THAT(pair.streams_max, ElementsAre(3u));
  EXPECT_EQ(pair.client.streams_available(), 3u);
}

TEST(Http2Client, CarriesAHundredStreamsAtOnceAndKeepsThemApart) {
  Http2Pair pair({}, {.streams_max = 100});
  pair.run();
  std::map<int32_t, std::string> bodies;
  for (int i = 0; i < 100; ++i) {
    std::string body = "body " + std::to_string(i);
    int32_t id = pair.submit(body);
    bodies[id] = body;
  }
  EXPECT_EQ(pair.client.streams_open(), 100u);
  EXPECT_FALSE(pair.client.can_submit());
  pair.run();
  ASSERT_EQ(pair.requests.size(), 100u);
  std::ranges::reverse(pair.requests);
  for (WholeRequest& request : pair.requests) {
    EXPECT_EQ(request.body, bodies.at(request.stream_id));
    const Http2Header headers[] = {{"apns-id", request.body}};
    ASSERT_TRUE(pair.server.respond(request.stream_id, 200, headers, as_bytes("re: " + request.body)));
  }
  pair.run();
  ASSERT_EQ(pair.responses.size(), 100u);
  for (auto& [id, response] : pair.responses) {
    EXPECT_EQ(response.body, "re: " + bodies.at(id));
    EXPECT_EQ(response.headers.find("apns-id"), bodies.at(id));
  }
  EXPECT_EQ(pair.client.streams_open(), 0u);
  EXPECT_EQ(pair.server.requests_in_work(), 0u);
}

TEST(Http2Client, SpeaksByteByByteBothWays) {
  Http2Pair pair({}, {}, 1);
  int32_t id = pair.submit("some body");
  pair.run();
  ASSERT_EQ(pair.requests.size(), 1u);
  EXPECT_EQ(pair.requests[0].body, "some body");
  EXPECT_EQ(pair.requests[0].path, "/3/device/00");
  EXPECT_EQ(pair.requests[0].authority, "push.example.com");
  EXPECT_EQ(pair.requests[0].method, HttpMethod::post);
  pair.answer_all(410, "gone");
  EXPECT_EQ(pair.responses.at(id).status, 410);
  EXPECT_EQ(pair.responses.at(id).body, "gone");
}

TEST(Http2Client, SendsBodiesLargerThanTheWindowsInPiecesOfAnySize) {
  std::string large(700'000, 'x');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>('a' + i % 23);
  for (size_t step : {size_t{100}, size_t{16'384}, size_t{1'000'000}}) {
    Http2Pair pair({.body_bytes_max = 1 << 20},
                   {.stream_window_bytes = 1000}, step);
    pair.run();
    int32_t first = pair.submit(large);
    int32_t second = pair.submit(large);
    pair.run();
    ASSERT_EQ(pair.requests.size(), 2u) << step;
    for (auto& request : pair.requests) EXPECT_TRUE(request.body == large) << step;
    pair.answer_all(200, large);
    EXPECT_TRUE(pair.responses.at(first).body == large) << step;
    EXPECT_TRUE(pair.responses.at(second).body == large) << step;
  }
}

TEST(Http2Client, FollowsAStreamLimitThatSinksToOneMidWayAndRisesAgain) {
  Http2Pair pair({}, {.streams_max = 10});
  pair.run();
  std::vector<int32_t> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(pair.submit());
  pair.run();
  pair.server.set_streams_max(1);
  pair.run();
  EXPECT_THAT(pair.streams_max, ElementsAre(10u, 1u));
  EXPECT_EQ(pair.client.streams_available(), 0u);
  pair.answer_all();
  EXPECT_EQ(pair.responses.size(), 5u);
  EXPECT_EQ(pair.client.streams_available(), 1u);
  int32_t last = pair.submit();
  EXPECT_FALSE(pair.client.can_submit());
  pair.run();
  pair.answer_all();
  EXPECT_EQ(pair.responses.count(last), 1u);
  pair.server.set_streams_max(20);
  pair.run();
  EXPECT_EQ(pair.client.streams_available(), 20u);
}

TEST(Http2Client, MayRepeatWhatWasRefusedBecauseTheLimitSankOnTheWay) {
  Http2Pair pair({}, {.streams_max = 10});
  pair.run();
  int32_t running = pair.submit();
  pair.run();
  pair.server.set_streams_max(1);
  int32_t first = pair.submit();  // the client does not know yet
  int32_t second = pair.submit();
  pair.to_server();
  pair.run();
  expect_failed(pair, first, Cause::refused, Fate::not_processed);
  expect_failed(pair, second, Cause::refused, Fate::not_processed);
  pair.answer_all();
  EXPECT_EQ(pair.responses.count(running), 1u);
}

TEST(Http2Client, HoldsBackRequestsThatWereSubmittedBeforeTheLimitSank) {
  Http2Pair pair({}, {.streams_max = 10});
  pair.run();
  pair.server.set_streams_max(1);
  int32_t first = pair.submit();
  int32_t second = pair.submit();
  pair.to_client();  // the news comes before the requests go out
  pair.run();
  EXPECT_EQ(pair.requests.size(), 1u);
  EXPECT_EQ(pair.client.streams_open(), 2u);
  pair.answer_all();
  pair.answer_all();
  EXPECT_EQ(pair.responses.count(first) + pair.responses.count(second), 2u);
  EXPECT_TRUE(pair.failures.empty());
}

TEST(Http2Client, TellsStreamsAboveGoawayToBeSentAgainAndLetsTheOthersFinish) {
  Http2Pair pair;
  pair.run();
  int32_t below = pair.submit();
  pair.run();
  int32_t above = pair.submit();
  int32_t also_above = pair.submit();
  ASSERT_TRUE(pair.server.goaway(below, Http2Code::no_error, R"({"reason":"Shutdown"})"));
  pair.run();
  ASSERT_EQ(pair.goaways.size(), 1u);
  EXPECT_EQ(pair.goaways[0].last_stream_id, below);
  EXPECT_EQ(pair.goaways[0].code, Http2Code::no_error);
  EXPECT_EQ(pair.goaways[0].debug_data, R"({"reason":"Shutdown"})");
  expect_failed(pair, above, Cause::goaway, Fate::not_processed);
  expect_failed(pair, also_above, Cause::goaway, Fate::not_processed);
  EXPECT_TRUE(pair.client.draining());
  EXPECT_FALSE(pair.client.can_submit());
  auto late = pair.client.submit({.authority = "a.example.com", .path = "/"});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error(), http2_error(Http2Error::closed));
  EXPECT_FALSE(pair.client.finished());
  std::erase_if(pair.requests, [&](auto& request) { return request.stream_id != below; });
  pair.answer_all();
  EXPECT_EQ(pair.responses.count(below), 1u);
  EXPECT_TRUE(pair.client.finished());
  EXPECT_FALSE(pair.client.failure());
}

TEST(Http2Client, ReportsHeldBackRequestsAtOnceWhenGoawayComes) {
  Http2Pair pair({}, {.streams_max = 10});
  pair.run();
  int32_t running = pair.submit();
  pair.run();
  pair.server.set_streams_max(1);
  int32_t waiting = pair.submit();
  pair.to_client();
  pair.run();
  ASSERT_TRUE(pair.server.goaway(INT32_MAX, Http2Code::no_error, ""));
  pair.run();
  expect_failed(pair, waiting, Cause::goaway, Fate::not_processed);
  EXPECT_EQ(pair.failures.count(running), 0u);
  pair.answer_all();
  EXPECT_EQ(pair.responses.count(running), 1u);
  EXPECT_TRUE(pair.client.finished());
}

TEST(Http2Client, TakesAGoawayInTwoStepsWithoutLosingWhatWasBetween) {
  Http2Pair pair;
  pair.run();
  int32_t first = pair.submit();
  pair.server.announce_goaway();
  pair.run();
  ASSERT_EQ(pair.goaways.size(), 1u);
  EXPECT_EQ(pair.goaways[0].last_stream_id, INT32_MAX);
  ASSERT_TRUE(pair.server.goaway(pair.server.last_stream_id(), Http2Code::no_error, ""));
  pair.run();
  ASSERT_EQ(pair.goaways.size(), 2u);
  EXPECT_EQ(pair.goaways[1].last_stream_id, first);
  pair.answer_all();
  EXPECT_EQ(pair.responses.count(first), 1u);
  EXPECT_TRUE(pair.failures.empty());
  EXPECT_TRUE(pair.client.finished());
  EXPECT_TRUE(pair.server.finished());
}

TEST(Http2Client, CutsTheDebugDataOfGoaway) {
  Http2Pair pair({.goaway_debug_bytes_max = 10});
  ASSERT_TRUE(pair.server.goaway(0, Http2Code::enhance_your_calm, std::string(500, 'd')));
  pair.run();
  ASSERT_EQ(pair.goaways.size(), 1u);
  EXPECT_EQ(pair.goaways[0].debug_data, std::string(10, 'd'));
  EXPECT_EQ(pair.goaways[0].code, Http2Code::enhance_your_calm);
}

TEST(Http2Client, OnlyCallsARefusedStreamSafeToSendAgain) {
  const std::pair<Http2Code, Fate> cases[] = {{Http2Code::refused_stream, Fate::not_processed},
                                              {Http2Code::cancel, Fate::unknown},
                                              {Http2Code::internal_error, Fate::unknown},
                                              {Http2Code::enhance_your_calm, Fate::unknown},
                                              {Http2Code::no_error, Fate::unknown},
                                              {static_cast<Http2Code>(0x777), Fate::unknown}};
  Http2Pair pair;
  pair.run();
  for (auto [code, fate] : cases) {
    int32_t id = pair.submit();
    pair.run();
    ASSERT_TRUE(pair.server.reset(id, code));
    pair.run();
    expect_failed(pair, id, fate == Fate::not_processed ? Cause::refused : Cause::reset, fate);
    EXPECT_EQ(pair.failures.at(id).code, code);
    EXPECT_EQ(pair.failures.at(id).status, 0);
  }
  EXPECT_TRUE(pair.client.can_submit());
}

TEST(Http2Client, ReportsAllOpenStreamsAsUnknownWhenTheConnectionIsLost) {
  Http2Pair pair;
  pair.run();
  int32_t sent = pair.submit();
  pair.to_server();
  int32_t never_taken = pair.submit();
  pair.client.connection_lost();
  pair.collect();
  expect_failed(pair, sent, Cause::connection_lost, Fate::unknown);
  expect_failed(pair, never_taken, Cause::connection_lost, Fate::not_processed);
  EXPECT_TRUE(pair.client.finished());
  EXPECT_FALSE(pair.client.can_submit());
  EXPECT_FALSE(pair.client.wants_output());
  EXPECT_FALSE(pair.client.feed(as_bytes("x")));
  pair.client.connection_lost();  // again: nothing twice (collect() would say so)
  pair.collect();
  EXPECT_EQ(pair.failures.size(), 2u);
}

TEST(Http2Client, CancelFreesTheSlotSaysWhatIsKnownAndMakesNoEvent) {
  Http2Pair pair({}, {.streams_max = 2});
  pair.run();
  int32_t sent = pair.submit();
  pair.run();
  int32_t unsent = pair.submit();
  EXPECT_EQ(pair.client.cancel(unsent), Fate::not_processed);
  EXPECT_EQ(pair.client.cancel(sent), Fate::unknown);
  EXPECT_EQ(pair.client.cancel(sent), Fate::unknown);
  pair.run();
  EXPECT_EQ(pair.client.streams_available(), 2u);
  EXPECT_TRUE(pair.failures.empty());
  EXPECT_TRUE(pair.responses.empty());
  ASSERT_EQ(pair.requests.size(), 1u);
  EXPECT_EQ(pair.lost.at(sent), Http2Code::cancel);
}

TEST(Http2Client, DrainLetsOpenStreamsFinishAndThenEnds) {
  Http2Pair pair;
  int32_t id = pair.submit();
  pair.run();
  pair.client.drain();
  EXPECT_FALSE(pair.client.can_submit());
  pair.run();
  EXPECT_FALSE(pair.client.finished());
  EXPECT_THAT(pair.peer_goaways, ElementsAre(Http2Code::no_error));
  pair.answer_all();
  EXPECT_EQ(pair.responses.count(id), 1u);
  EXPECT_TRUE(pair.client.finished());
  EXPECT_FALSE(pair.client.failure());
}

TEST(Http2Client, GetsItsPingBack) {
  Http2Pair pair;
  pair.run();
  ASSERT_TRUE(pair.client.ping(0x0123456789abcdef));
  pair.run();
  EXPECT_THAT(pair.ping_acks, ElementsAre(0x0123456789abcdefu));
}

TEST(Http2Client, KeepsTheVerdictOfAnAnswerWhoseBodyIsTooLong) {
  Http2Pair pair({.body_bytes_max = 100});
  int32_t id = pair.submit();
  pair.run();
  pair.answer_all(400, std::string(5000, 'b'));
  const Http2Response& response = pair.responses.at(id);
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.body, std::string(100, 'b'));
  EXPECT_TRUE(response.body_truncated);
  EXPECT_TRUE(pair.failures.empty());
  EXPECT_TRUE(pair.client.can_submit());
}

TEST(Http2Client, RefusesAnAnswerWithTooManyHeaderBytesOrFieldsAndGoesOn) {
  Http2Pair pair({.header_bytes_max = 1000, .header_fields_max = 10});
  int32_t bytes = pair.submit();
  pair.run();
  std::string value(1001, 'v');
  const Http2Header large[] = {{"x-large", value}};
  ASSERT_TRUE(pair.server.respond(bytes, 200, large, {}));
  pair.requests.clear();
  pair.run();
  expect_failed(pair, bytes, Cause::bad_response, Fate::unknown);
  EXPECT_EQ(pair.failures.at(bytes).status, 200);  // it had come before the fields

  int32_t fields = pair.submit();
  pair.run();
  std::vector<Http2Header> many(11, {"x-many", "1"});
  ASSERT_TRUE(pair.server.respond(fields, 503, many, {}));
  pair.requests.clear();
  pair.run();
  expect_failed(pair, fields, Cause::bad_response, Fate::unknown);

  int32_t fine = pair.submit();
  pair.run();
  pair.answer_all();
  EXPECT_EQ(pair.responses.at(fine).status, 200);
}

TEST(Http2Client, RefusesARequestOverItsOwnLimits) {
  Http2Pair pair({.request_header_bytes_max = 200, .request_body_bytes_max = 10});
  auto body = pair.client.submit({.authority = "a.example.com", .path = "/", .body = as_bytes("12345678901")});
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().code, static_cast<uint16_t>(Http2Error::request_size));
  auto head = pair.client.submit({.authority = "a.example.com", .path = std::string(200, 'p')});
  ASSERT_FALSE(head);
  EXPECT_EQ(head.error().code, static_cast<uint16_t>(Http2Error::request_size));
  EXPECT_TRUE(pair.client.can_submit());
}

// Sends a request and returns the header block of its HEADERS frame.
std::string header_block_of(Http2Client& client, std::span<const Http2Header> headers) {
  EXPECT_TRUE(client.submit({.authority = "a.example.com", .path = "/3/device/abcdef", .headers = headers}));
  std::string bytes = output_of(client);
  if (bytes.starts_with(kPreface)) bytes.erase(0, kPreface.size());
  while (bytes.size() >= 9) {
    auto* at = reinterpret_cast<const uint8_t*>(bytes.data());
    size_t size = load_be32(at) >> 8;
    if (at[3] == kHeaders) return bytes.substr(9, size);
    bytes.erase(0, 9 + size);
  }
  return {};
}

TEST(Http2Client, NeverPutsTheAuthorizationIntoTheCompressionTable) {
  Http2Client client({.streams_before_settings = 10});
  const Http2Header headers[] = {{"authorization", "bearer abc"}, {"apns-topic", "com.example.mail"}};
  std::string first = header_block_of(client, headers);
  std::string second = header_block_of(client, headers);
  // RFC 7541 section 6.2.3: 0001xxxx is "never indexed"; authorization has static index 23 = 15 + 8.
  EXPECT_NE(first.find("\x1f\x08"), std::string::npos);
  EXPECT_NE(second.find("\x1f\x08"), std::string::npos);
  // The path holds the device token; :path has static index 4.
  EXPECT_NE(second.find("\x14"), std::string::npos);
  EXPECT_LT(second.size(), first.size());  // the topic did go into the table
}

TEST(Http2Client, TurnsServerPushOff) {
  Http2Client client;
  std::string bytes = output_of(client);
  ASSERT_TRUE(bytes.starts_with(kPreface));
  using namespace std::string_literals;
  EXPECT_NE(bytes.find("\x00\x02\x00\x00\x00\x00"s), std::string::npos);  // SETTINGS_ENABLE_PUSH = 0
}

// A client with one open stream, id 1, to be fed by hand.
struct HandFed {
  explicit HandFed(const Http2ClientLimits& limits = {}) : pair(limits) {
    id = pair.submit("a body");
    (void)output_of(pair.client);
    feed(frame(kSettings, 0, 0, "") + frame(kSettings, kAck, 0, ""));
  }
  void feed(std::string_view bytes) {
    pair.client_status = pair.client.feed(as_bytes(bytes));
    sent += output_of(pair.client);
    pair.collect();
  }
  Http2Pair pair;
  int32_t id = 0;
  std::string sent;
};

TEST(Http2Client, SkipsInterimResponsesAndTrailers) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders, 1, literal(":status", "103") + literal("link", "x")));
  peer.feed(frame(kHeaders, kEndHeaders, 1, literal(":status", "200") + literal("apns-id", "i")));
  peer.feed(frame(kData, 0, 1, "body"));
  EXPECT_TRUE(peer.pair.responses.empty());
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 1, literal("x-trailer", "t")));
  const Http2Response& response = peer.pair.responses.at(1);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "body");
  EXPECT_EQ(response.headers.size(), 1u);
  EXPECT_EQ(response.headers.find("apns-id"), "i");
}

TEST(Http2Client, GivesAStreamUpAfterTooManyInterimResponses) {
  HandFed peer;
  for (int i = 0; i < 4; ++i) peer.feed(frame(kHeaders, kEndHeaders, 1, literal(":status", "102")));
  EXPECT_TRUE(peer.pair.failures.empty());
  peer.feed(frame(kHeaders, kEndHeaders, 1, literal(":status", "102")));
  expect_failed(peer.pair, 1, Cause::bad_response, Fate::unknown);
  EXPECT_EQ(peer.pair.failures.at(1).status, 0);
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kRstStream, static_cast<uint32_t>(Http2Code::cancel))));
}

TEST(Http2Client, TellsTheStatusThatCameBeforeAReset) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders, 1, literal(":status", "200")));
  peer.feed(frame(kRstStream, 0, 1, std::string_view("\0\0\0\x07", 4)));
  // REFUSED_STREAM after an answer began is a lie: it was processed.
  expect_failed(peer.pair, 1, Cause::reset, Fate::unknown);
  EXPECT_EQ(peer.pair.failures.at(1).status, 200);
}

TEST(Http2Client, ResetsAMalformedAnswer) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 1, literal("apns-id", "no status")));
  expect_failed(peer.pair, 1, Cause::bad_response, Fate::unknown);
  EXPECT_TRUE(peer.pair.client_status);
  EXPECT_TRUE(peer.pair.client.can_submit());
}

TEST(Http2Client, TakesAnAnswerBeforeItsUploadEndedAndStopsTheUpload) {
  Http2Pair pair({}, {.stream_window_bytes = 100});
  pair.run();
  std::string body(5000, 'u');
  int32_t id = pair.submit(body);
  std::vector<uint8_t> room(100'000);
  size_t size = pair.client.take_output(room);  // 100 bytes of the body; the window is full
  EXPECT_LT(size, 1000u);
  ASSERT_TRUE(pair.client.feed(
      as_bytes(frame(kHeaders, kEndHeaders | kEndStream, static_cast<uint32_t>(id), literal(":status", "413")))));
  pair.collect();
  EXPECT_EQ(pair.responses.at(id).status, 413);
  EXPECT_THAT(frames_in(output_of(pair.client)), Contains(Pair(kRstStream, static_cast<uint32_t>(Http2Code::cancel))));
  EXPECT_EQ(pair.client.streams_available(), 32u);
}

TEST(Http2Client, EndsTheConnectionOnAProtocolViolationAndSaysWhy) {
  HandFed peer;
  peer.feed(frame(kHeaders, kEndHeaders, 2, literal(":status", "200")));  // a stream that nobody opened
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kGoaway, static_cast<uint32_t>(Http2Code::protocol_error))));
  ASSERT_TRUE(peer.pair.client.failure());
  EXPECT_EQ(*peer.pair.client.failure(), http2_error(Http2Error::violation, 1));
  EXPECT_TRUE(peer.pair.client.finished());
  EXPECT_FALSE(peer.pair.client.can_submit());
  peer.pair.client.connection_lost();
  peer.pair.collect();
  expect_failed(peer.pair, 1, Cause::connection_lost, Fate::unknown);
}

TEST(Http2Client, EndsAFloodOfControlFrames) {
  const std::string floods[] = {frame(kPing, 0, 0, "12345678"), frame(kPing, kAck, 0, "12345678"),
                                frame(kSettings, 0, 0, ""),
                                frame(kWindowUpdate, 0, 0, std::string_view("\0\0\0\x01", 4)),
                                frame(kGoaway, 0, 0, std::string_view("\0\0\0\x01\0\0\0\0", 8))};
  for (const std::string& one : floods) {
    HandFed peer({.control_frames_max = 200});
    int sent = 0;
    while (peer.pair.client_status && sent < 1000) {
      peer.feed(one);
      ++sent;
    }
    EXPECT_NEAR(sent, 200, 3) << "type " << int(one[3]);
    ASSERT_TRUE(peer.pair.client.failure());
    EXPECT_EQ(peer.pair.client.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
    EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kGoaway, static_cast<uint32_t>(Http2Code::enhance_your_calm))));
    EXPECT_TRUE(peer.pair.client.finished());
  }
}

TEST(Http2Client, TimeAndFinishedExchangesPayForControlFrames) {
  HandFed peer({.control_frames_max = 50});
  for (int i = 0; i < 1000; ++i) {
    if (i % 10 == 0) peer.pair.client.seconds_passed(1);
    peer.feed(frame(kPing, 0, 0, "12345678"));
  }
  EXPECT_TRUE(peer.pair.client_status);
}

TEST(Http2Client, EndsAFloodOfResetsOfStreamsThatAreNotOpen) {
  HandFed peer({.resets_max = 20});
  peer.feed(frame(kHeaders, kEndHeaders | kEndStream, 1, literal(":status", "200")));
  int sent = 0;
  while (peer.pair.client_status && sent < 1000) {
    peer.feed(frame(kRstStream, 0, 1, std::string_view("\0\0\0\x08", 4)));
    ++sent;
  }
  EXPECT_NEAR(sent, 21, 2);
  EXPECT_EQ(peer.pair.client.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
}

TEST(Http2Client, EndsAFloodOfContinuations) {
  HandFed peer;
  peer.feed(frame(kHeaders, 0, 1, literal(":status", "200")));
  int sent = 0;
  while (peer.pair.client_status && sent < 100) {
    peer.feed(frame(kContinuation, 0, 1, literal("x", "y")));
    ++sent;
  }
  EXPECT_EQ(sent, 9);
  EXPECT_EQ(peer.pair.client.failure()->code, static_cast<uint16_t>(Http2Error::flooded));
  EXPECT_TRUE(peer.pair.client.finished());
  peer.pair.client.connection_lost();
  peer.pair.collect();
  expect_failed(peer.pair, 1, Cause::connection_lost, Fate::unknown);
}

TEST(Http2Client, EndsEachStreamOnceWhateverBytesCome) {
  // A good conversation, damaged in one to three places or cut.
  Http2Pair good;
  (void)good.submit("payload");
  good.to_server();
  good.collect();
  ASSERT_EQ(good.requests.size(), 1u);
  const Http2Header headers[] = {{"apns-id", "f3c7e6d0"}};
  ASSERT_TRUE(good.server.respond(1, 400, headers, as_bytes(R"({"reason":"BadTopic"})")));
  ASSERT_TRUE(good.server.goaway(1, Http2Code::no_error, "bye"));
  std::string bytes = output_of(good.server);
  std::mt19937 random(7);
  size_t answered = 0, failed = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = bytes;
    for (unsigned i = 0; i <= random() % 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (round % 5 == 0) damaged.resize(random() % damaged.size());
    Http2Pair pair;
    int32_t id = pair.submit("payload");
    (void)output_of(pair.client);
    size_t step = 1 + random() % (damaged.size() + 1);
    for (size_t at = 0; at < damaged.size() && pair.client.feed(as_bytes(std::string_view(damaged).substr(at, step)));
         at += step) {
      (void)output_of(pair.client);
    }
    (void)output_of(pair.client);
    pair.client.connection_lost();
    pair.collect();
    ASSERT_EQ(pair.responses.count(id) + pair.failures.count(id), 1u) << "round " << round;
    answered += pair.responses.size();
    failed += pair.failures.size();
  }
  EXPECT_GT(answered, 100u);
  EXPECT_GT(failed, 100u);
}

}  // namespace
}  // namespace bellhop::proto
