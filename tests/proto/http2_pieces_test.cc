// SPDX-License-Identifier: Apache-2.0
// Bodies in pieces, both ways, in the machine of an HTTP/2 server.
#include <gmock/gmock.h>

#include "proto/http2_server.h"
#include "proto/wiping_buffer.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::proto {
namespace {

using ::testing::Contains;
using ::testing::Not;
using ::testing::Pair;

std::string be32(uint32_t number) {
  std::string out(4, '\0');
  store_be32(reinterpret_cast<uint8_t*>(out.data()), number);
  return out;
}

// A server fed by hand. Requests are handed out; bodies stay.
struct Served {
  explicit Served(const Http2ServerLimits& limits = {}, Http2BodyMemory* memory = nullptr,
                  const std::string& settings = {})
      : server(limits, memory) {
    feed(std::string(kPreface) + frame(kSettings, 0, 0, settings) + frame(kSettings, kAck, 0, ""));
    sent.clear();
  }
  void feed(std::string_view bytes) {
    status = server.feed(as_bytes(bytes));
    step();
  }
  void step() {
    sent += output_of(server);
    while (auto event = server.next_event()) {
      if (auto* request = std::get_if<Http2ServerRequest>(&*event)) requests.push_back(std::move(*request));
      if (auto* room = std::get_if<Http2AnswerRoom>(&*event)) rooms.push_back(room->stream_id);
      if (auto* arrived = std::get_if<Http2BodyArrived>(&*event)) arrivals.push_back(arrived->stream_id);
      if (auto* gone = std::get_if<Http2StreamLost>(&*event)) lost.push_back(gone->stream_id);
    }
  }
  // Of the DATA frames that were sent: their text, and whether one was the last.
  std::pair<std::string, bool> data() const {
    std::pair<std::string, bool> out;
    for (std::string_view left = sent; left.size() >= 9;) {
      auto* at = reinterpret_cast<const uint8_t*>(left.data());
      size_t size = load_be32(at) >> 8;
      if (at[3] == kData) out.first += left.substr(9, size);
      if (at[3] == kData && (at[4] & kEndStream)) out.second = true;
      left.remove_prefix(9 + size);
    }
    return out;
  }
  size_t increments(uint32_t stream_id) const {
    size_t sum = 0;
    for (std::string_view left = sent; left.size() >= 9;) {
      auto* at = reinterpret_cast<const uint8_t*>(left.data());
      if (at[3] == kWindowUpdate && load_be32(at + 5) == stream_id) sum += load_be32(at + 9);
      left.remove_prefix(9 + (load_be32(at) >> 8));
    }
    return sum;
  }

  Http2Server server;
  Status status;
  std::string sent;
  std::vector<Http2ServerRequest> requests;
  std::vector<int32_t> rooms, arrivals, lost;
};

std::string post(uint32_t stream_id) { return frame(kHeaders, kEndHeaders, stream_id, request_head()); }

// ---- Requests ----

TEST(Http2Pieces, ATakenPieceHoldsTheWindowUntilItIsReturned) {
  Http2BodyMemory memory;
  Served peer({.stream_window_bytes = 1000}, &memory);
  peer.feed(post(1) + frame(kData, 0, 1, std::string(1000, 'a')));
  WipingBuffer piece;
  auto ended = peer.server.take_body(1, piece);
  ASSERT_TRUE(ended);
  EXPECT_FALSE(*ended);
  EXPECT_EQ(piece.size(), 1000u);
  EXPECT_EQ(memory.bytes, 1000u);
  peer.step();
  EXPECT_EQ(peer.increments(1), 0u);
  // Nothing more came meanwhile; a look takes nothing.
  WipingBuffer none;
  EXPECT_EQ(peer.server.take_body(1, none), false);
  EXPECT_TRUE(none.empty());
  piece.release();
  peer.server.return_taken(1);
  EXPECT_EQ(memory.bytes, 0u);
  peer.step();
  EXPECT_EQ(peer.increments(1), 1000u);
  peer.server.watch_body(1);
  peer.feed(frame(kData, kEndStream, 1, "rest"));
  EXPECT_EQ(peer.arrivals, std::vector<int32_t>{1});
  EXPECT_EQ(peer.server.take_body(1, piece), true);
  EXPECT_EQ(piece.text(), "rest");
}

TEST(Http2Pieces, WhatComesWhileAPieceIsOutIsNotGivenBackWithIt) {
  Http2BodyMemory memory;
  Served peer({}, &memory);
  peer.feed(post(1) + frame(kData, 0, 1, std::string(600, 'a')));
  WipingBuffer piece;
  ASSERT_TRUE(peer.server.take_body(1, piece));
  peer.feed(frame(kData, 0, 1, std::string(300, 'b')));
  EXPECT_EQ(memory.bytes, 900u);
  peer.server.return_taken(1);
  EXPECT_EQ(memory.bytes, 300u);
  EXPECT_EQ(peer.server.unread_body(1)->bytes.size(), 300u);
  // The end of the work gives all back, what was taken included.
  piece.release();
  ASSERT_TRUE(peer.server.take_body(1, piece));
  ASSERT_TRUE(peer.server.reset(1, Http2Code::cancel));
  EXPECT_EQ(memory.bytes, 0u);
  peer.server.return_taken(1);
  EXPECT_EQ(memory.bytes, 0u);
}

TEST(Http2Pieces, ALostStreamGivesBackWhatWasTaken) {
  Http2BodyMemory memory;
  Served peer({}, &memory);
  peer.feed(post(1) + frame(kData, 0, 1, "body"));
  WipingBuffer piece;
  ASSERT_TRUE(peer.server.take_body(1, piece));
  ASSERT_TRUE(peer.server.begin_response(1, 200, {}));
  ASSERT_TRUE(peer.server.write_body(1, as_bytes("half")));
  peer.feed(frame(kRstStream, 0, 1, be32(8)));
  EXPECT_EQ(peer.lost, std::vector<int32_t>{1});
  EXPECT_EQ(memory.bytes, 0u);
  EXPECT_EQ(peer.server.unsent_answer(1), 0u);
  piece.release();
  EXPECT_EQ(peer.server.take_body(1, piece).error(), http2_error(Http2Error::closed));
  EXPECT_EQ(peer.server.write_body(1, as_bytes("x")).error(), http2_error(Http2Error::closed));
  EXPECT_EQ(peer.server.requests_in_work(), 1u);
  EXPECT_TRUE(peer.server.release(1));
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
  EXPECT_EQ(peer.server.write_body(1, as_bytes("x")).error(), http2_error(Http2Error::unknown_stream));
}

// ---- Answers ----

TEST(Http2Pieces, AnAnswerGoesOutPieceByPiece) {
  Served peer;
  peer.feed(post(1));
  const Http2Header headers[] = {{"content-type", "text/xml"}};
  ASSERT_TRUE(peer.server.begin_response(1, 200, headers));
  peer.step();
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kHeaders, 0u)));
  EXPECT_EQ(peer.data(), std::pair(std::string(), false));
  for (std::string_view piece : {"one ", "two ", ""}) {
    ASSERT_TRUE(peer.server.write_body(1, as_bytes(piece)));
    peer.step();
  }
  EXPECT_EQ(peer.data(), std::pair(std::string("one two "), false));
  EXPECT_FALSE(peer.server.has_unsent_answers());
  // The request's body may be read until the end.
  peer.feed(frame(kData, kEndStream, 1, "late"));
  EXPECT_EQ(as_text(peer.server.unread_body(1)->bytes), "late");
  ASSERT_TRUE(peer.server.write_body(1, as_bytes("three")));
  ASSERT_TRUE(peer.server.end_response(1));
  EXPECT_TRUE(peer.server.has_unsent_answers());
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
  peer.step();
  EXPECT_EQ(peer.data(), std::pair(std::string("one two three"), true));
  EXPECT_FALSE(peer.server.has_unsent_answers());
  EXPECT_EQ(peer.server.answers(), 1u);
  EXPECT_TRUE(peer.lost.empty());
}

TEST(Http2Pieces, TheEndOfAnAnswerMayComeAfterItsLastPiece) {
  Served peer;
  peer.feed(post(1) + frame(kData, kEndStream, 1, "x"));
  ASSERT_TRUE(peer.server.begin_response(1, 200, {}));
  ASSERT_TRUE(peer.server.write_body(1, as_bytes("all")));
  peer.step();
  ASSERT_TRUE(peer.server.end_response(1));
  peer.step();
  EXPECT_EQ(peer.data(), std::pair(std::string("all"), true));
  // Nothing at all, too.
  peer.sent.clear();
  peer.feed(post(3));
  ASSERT_TRUE(peer.server.begin_response(3, 200, {}));
  ASSERT_TRUE(peer.server.end_response(3));
  peer.step();
  EXPECT_EQ(peer.data(), std::pair(std::string(), true));
}

TEST(Http2Pieces, SaysWhenThereIsRoomAgain) {
  // SETTINGS_INITIAL_WINDOW_SIZE 1,000
  Served peer({}, nullptr, std::string("\0\x04", 2) + be32(1000));
  peer.feed(post(1));
  ASSERT_TRUE(peer.server.begin_response(1, 200, {}));
  std::string piece(Http2Server::kAnswerRoomBytes, 'p');
  ASSERT_TRUE(peer.server.write_body(1, as_bytes(piece)));
  EXPECT_GE(peer.server.unsent_answer(1), Http2Server::kAnswerRoomBytes);
  peer.server.watch_answer(1);
  peer.step();
  EXPECT_EQ(peer.rooms, std::vector<int32_t>{1});
  EXPECT_EQ(peer.server.unsent_answer(1), piece.size() - 1000);
  ASSERT_TRUE(peer.server.write_body(1, as_bytes(piece)));
  peer.server.watch_answer(1);
  peer.step();
  EXPECT_EQ(peer.rooms.size(), 1u);  // no window
  peer.feed(frame(kWindowUpdate, 0, 1, be32(20'000)));
  EXPECT_EQ(peer.rooms.size(), 2u);
  EXPECT_EQ(peer.data().first.size(), 21'000u);
  // It is given up: what waited is dropped.
  ASSERT_TRUE(peer.server.reset(1, Http2Code::internal_error));
  peer.step();
  EXPECT_THAT(frames_in(peer.sent), Contains(Pair(kRstStream, static_cast<uint32_t>(Http2Code::internal_error))));
  EXPECT_FALSE(peer.data().second);
  EXPECT_FALSE(peer.server.has_unsent_answers());
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
}

TEST(Http2Pieces, AnEndedAnswerWithoutWindowIsUnsent) {
  Served peer({}, nullptr, std::string("\0\x04", 2) + be32(10));
  peer.feed(post(1));
  ASSERT_TRUE(peer.server.begin_response(1, 200, {}));
  ASSERT_TRUE(peer.server.write_body(1, as_bytes(std::string(30, 'a'))));
  peer.step();
  EXPECT_FALSE(peer.server.has_unsent_answers());  // it may take its time
  ASSERT_TRUE(peer.server.end_response(1));
  peer.step();
  EXPECT_TRUE(peer.server.has_unsent_answers());
  EXPECT_EQ(peer.server.oldest_unsent_answer(), 1u);
  peer.feed(frame(kWindowUpdate, 0, 1, be32(20)));
  EXPECT_FALSE(peer.server.has_unsent_answers());
  EXPECT_EQ(peer.server.oldest_unsent_answer(), 0u);
  EXPECT_EQ(peer.data(), std::pair(std::string(30, 'a'), true));
}

TEST(Http2Pieces, TheEndOfTheConnectionTakesAnAnswerAlong) {
  Http2BodyMemory memory;
  Served peer({}, &memory);
  peer.feed(post(1) + frame(kData, 0, 1, "body"));
  ASSERT_TRUE(peer.server.begin_response(1, 200, {}));
  ASSERT_TRUE(peer.server.write_body(1, as_bytes("half")));
  peer.server.connection_lost();
  peer.step();
  EXPECT_EQ(peer.lost, std::vector<int32_t>{1});
  EXPECT_EQ(memory.bytes, 0u);
  EXPECT_EQ(peer.server.end_response(1), Status());
  EXPECT_EQ(peer.server.requests_in_work(), 0u);
}

TEST(Http2Pieces, ALongAnswerArrivesWholeAtAClient) {
  for (size_t step : {size_t{1000}, size_t{64 * 1024}}) {
    Http2Pair pair({.body_bytes_max = 1 << 20}, {}, step);
    pair.run();
    int32_t id = pair.submit();
    pair.run();
    ASSERT_TRUE(pair.server.begin_response(id, 200, {}));
    std::string all;
    for (int i = 0; i < 40; ++i) {
      std::string piece(size_t(i) * 97 + 1, static_cast<char>('a' + i % 26));
      all += piece;
      ASSERT_TRUE(pair.server.write_body(id, as_bytes(piece)));
      if (i % 3 == 0) pair.run();
    }
    ASSERT_TRUE(pair.server.end_response(id));
    pair.run();
    ASSERT_EQ(pair.responses.count(id), 1u);
    EXPECT_EQ(pair.responses.at(id).body, all);
  }
}

}  // namespace
}  // namespace bellhop::proto
