// SPDX-License-Identifier: Apache-2.0
// How pushes share connections, and what becomes of them when streams and connections go away.
#include "tests/core/until.h"
#include "tests/service/apns_fixture.h"

namespace bellhop::service {
namespace {

using apns_test::Bench;
using apns_test::Reply;
using apns_test::Seen;
using proto::ApnsReason;
using Verdict = proto::ApnsVerdict;
using test::run_on_cores;

Task<void> thousand_flow(unsigned) {
  constexpr size_t kCount = 1000;
  Bench bench;
  CO_ASSERT(co_await bench.start());
  // The first push waits alone until it is answered; then all the others come at once.
  bench.peer.decide = [&](const Seen&) {
    return bench.peer.requests.size() < kCount / 2 && bench.peer.requests.size() > 1 ? Reply::hold() : Reply::accept();
  };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 0; i < kCount; ++i) bench.push(pushes, i, 60s);
  CO_ASSERT(co_await bench.peer.wait_for_requests(kCount / 2));
  EXPECT_GT(bench.peer.in_work_max, 100u);
  bench.peer.release.set();
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), kCount);
  EXPECT_TRUE(bench.each_accepted_once(kCount));
  EXPECT_EQ(bench.peer.connections(), 1u);
  EXPECT_EQ(bench.count(ApnsVerdict::accepted), kCount);
  EXPECT_EQ(bench.provider.tokens->signed_count(), 1u);
  co_await bench.stop();
}

TEST(ApnsStreams, AThousandPushesShareOneConnectionAndEachIsAcceptedOnce) {
  run_on_cores(1, thousand_flow);
}

Task<void> request_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(7)).verdict, Verdict::delivered);
  CO_ASSERT(bench.peer.requests.size() == 1);
  const Seen& seen = bench.peer.requests[0];
  EXPECT_EQ(seen.device_token, Bench::device_token(7));
  EXPECT_EQ(seen.topic, "com.example.app00");
  EXPECT_EQ(seen.collapse_id, "00000000000000000000000000000007");
  EXPECT_EQ(seen.push_type, "alert");
  EXPECT_EQ(seen.priority, "10");
  EXPECT_EQ(seen.payload, R"({"aps":{},"n":7})");
  EXPECT_TRUE(seen.authorization.starts_with("bearer ey")) << seen.authorization;
  EXPECT_NEAR(std::stod(seen.expiration), static_cast<double>(to_unix_seconds(io::wall_now()) + 3600), 60);
  co_await bench.stop();
}

TEST(ApnsStreams, ARequestSaysWhatThePushSays) {
  run_on_cores(1, request_flow);
}

Task<void> first_alone_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  bench.peer.decide = [](const Seen&) { return Reply::hold(); };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 0; i < 20; ++i) bench.push(pushes, i);
  CO_ASSERT(co_await bench.peer.wait_for_requests(1));
  // Room for more turns of both sides than a second request would need.
  for (int i = 0; i < 50; ++i) CO_ASSERT(co_await sleep_for(1ms));
  EXPECT_EQ(bench.peer.requests.size(), 1u);
  bench.peer.release.set();
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), 20u);
  co_await bench.stop();
}

TEST(ApnsStreams, UntilTheTokenIsAcceptedThereIsOneStream) {
  run_on_cores(1, first_alone_flow);
}

Task<void> goaway_flow(unsigned) {
  constexpr size_t kCount = 40;
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  bench.peer.decide = [](const Seen& seen) { return seen.connection == 0 ? Reply::hold() : Reply::accept(); };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 1; i < kCount; ++i) bench.push(pushes, i);
  CO_ASSERT(co_await bench.peer.wait_for_requests(kCount));
  // Stream 1 was the first push; the streams 3 … 41 are taken, those above are not.
  bench.peer.connection()->goaway(41, proto::Http2Code::no_error, R"({"reason":"Shutdown"})");
  CO_ASSERT(co_await bench.peer.wait_for_requests(kCount + 19));
  EXPECT_EQ(bench.peer.stopped, 19u);
  EXPECT_EQ(bench.peer.connections(), 2u);
  bench.peer.release.set();
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), kCount - 1);
  EXPECT_TRUE(bench.each_accepted_once(kCount));
  EXPECT_EQ(bench.sender->metrics.value(metric::apns_goaways), 1u);
  EXPECT_TRUE(bench.sender->logged("apns_goaway"));
  co_await bench.stop();
}

TEST(ApnsStreams, WhatGoAwayLeavesUnprocessedIsSentAgainAndNothingTwice) {
  run_on_cores(1, goaway_flow);
}

Task<void> refused_flow(unsigned) {
  constexpr size_t kCount = 30;
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  std::map<std::string, unsigned> tries;
  bench.peer.decide = [&](const Seen& seen) {
    return ++tries[seen.device_token] <= 3 ? Reply::refuse() : Reply::accept();
  };
  TaskScope pushes(&co_await current_context());
  Instant start = io::now();
  for (size_t i = 1; i < kCount; ++i) bench.push(pushes, i);
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), kCount - 1);
  EXPECT_TRUE(bench.each_accepted_once(kCount));
  EXPECT_EQ(bench.peer.requests.size(), 1 + (kCount - 1) * 4);
  EXPECT_LT(io::now() - start, 5s);  // at once, not after the waits of a retry
  co_await bench.stop();
}

TEST(ApnsStreams, RefusedStreamsAreSentAgainAtOnce) {
  run_on_cores(1, refused_flow);
}

Task<void> always_refused_flow(unsigned) {
  Bench bench;
  CO_ASSERT(
      co_await bench.start([](ApnsConfig& config) { config.retry_wait_first_ms = config.retry_wait_max_ms = 1; }));
  bench.peer.decide = [](const Seen&) { return Reply::refuse(); };
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::retry);
  EXPECT_EQ(bench.peer.requests.size(), 8u + 3u);  // at once, then apns.attempts_max with waits
  co_await bench.stop();
}

TEST(ApnsStreams, APeerThatRefusesForEverEndsInRetry) {
  run_on_cores(1, always_refused_flow);
}

Task<void> killed_flow(unsigned) {
  constexpr size_t kCount = 50;
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) {
    config.retry_wait_first_ms = 5;
    config.retry_wait_max_ms = 20;
    config.reconnect_first_ms = 10;
  }));
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  bench.peer.decide = [](const Seen& seen) { return seen.connection == 0 ? Reply::hold() : Reply::accept(); };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 1; i < kCount; ++i) bench.push(pushes, i);
  CO_ASSERT(co_await bench.peer.wait_for_requests(kCount));
  bench.peer.connection()->abort();
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), kCount - 1);
  EXPECT_TRUE(bench.each_accepted_once(kCount));
  EXPECT_EQ(bench.peer.connections(), 2u);
  co_await bench.stop();
}

TEST(ApnsStreams, PushesOfAKilledConnectionGoOverTheNextOne) {
  run_on_cores(1, killed_flow);
}

Task<void> always_killed_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) {
    config.retry_wait_first_ms = config.retry_wait_max_ms = 1;
    config.reconnect_first_ms = config.reconnect_max_ms = 1;
  }));
  bench.peer.decide = [](const Seen&) { return Reply::kill(); };
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::retry);
  EXPECT_EQ(bench.peer.requests.size(), 3u);  // apns.attempts_max
  EXPECT_EQ(bench.count(ApnsVerdict::lost), 1u);
  co_await bench.stop();
}

TEST(ApnsStreams, APushThatKillsEachConnectionIsGivenUpAfterItsAttempts) {
  run_on_cores(1, always_killed_flow);
}

Task<void> lowered_flow(unsigned) {
  constexpr size_t kCount = 60;
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  bench.peer.connection()->set_streams_max(1);
  EXPECT_EQ((co_await bench.push_now(1)).verdict, Verdict::delivered);  // by now the new limit is known
  bench.peer.in_work_max = 0;
  TaskScope pushes(&co_await current_context());
  for (size_t i = 2; i < kCount; ++i) bench.push(pushes, i, 60s);
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), kCount - 2);
  EXPECT_TRUE(bench.each_accepted_once(kCount));
  EXPECT_EQ(bench.peer.in_work_max, 1u);
  EXPECT_EQ(bench.peer.connections(), 1u);
  EXPECT_EQ(bench.peer.requests.size(), kCount);  // none was refused
  co_await bench.stop();
}

TEST(ApnsStreams, AStreamLimitLoweredToOneIsKept) {
  run_on_cores(1, lowered_flow);
}

Task<void> lowered_in_flight_flow(unsigned) {
  constexpr size_t kCount = 200;
  Bench bench;
  bench.peer.limits.streams_max = 50;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  TaskScope pushes(&co_await current_context());
  for (size_t i = 1; i < kCount; ++i) bench.push(pushes, i, 60s);
  CO_ASSERT(co_await bench.peer.wait_for_requests(20));
  bench.peer.connection()->set_streams_max(1);
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), kCount - 1);
  EXPECT_TRUE(bench.each_accepted_once(kCount));
  co_await bench.stop();
}

TEST(ApnsStreams, AStreamLimitLoweredMidFlightLosesNothing) {
  run_on_cores(1, lowered_in_flight_flow);
}

Task<void> deadline_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  bench.peer.decide = [](const Seen&) { return Reply::fall_silent(); };
  TaskScope pushes(&co_await current_context());
  Instant start = io::now();
  for (size_t i = 1; i <= 10; ++i) bench.push(pushes, i, 150ms);
  co_await pushes.join();
  EXPECT_GE(io::now() - start, 150ms);
  EXPECT_LT(io::now() - start, 5s);
  for (size_t i = 1; i <= 10; ++i) EXPECT_EQ(bench.results[i].verdict, Verdict::retry);
  EXPECT_EQ(bench.count(ApnsVerdict::timed_out), 10u);
  EXPECT_EQ(bench.streams(), 0u);
  EXPECT_TRUE(co_await bench.peer.wait_for_stopped(10));  // the peer saw the streams reset
  bench.peer.decide = [](const Seen&) { return Reply::accept(); };
  EXPECT_EQ((co_await bench.push_now(11)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.peer.connections(), 1u);
  co_await bench.stop();
}

TEST(ApnsStreams, ASlowPeerCostsThePushItsDeadlineAndNoMore) {
  run_on_cores(1, deadline_flow);
}

Task<void> stopped_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  bench.peer.limits.streams_max = 1000;
  bench.peer.decide = [](const Seen&) { return Reply::fall_silent(); };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 1; i <= 10; ++i) bench.push(pushes, i);
  CO_ASSERT(co_await bench.peer.wait_for_requests(11));
  pushes.request_stop();
  co_await pushes.join();
  for (size_t i = 1; i <= 10; ++i) EXPECT_EQ(bench.results[i].verdict, Verdict::retry);
  EXPECT_EQ(bench.streams(), 0u);
  EXPECT_TRUE(co_await bench.peer.wait_for_stopped(10));
  bench.peer.decide = [](const Seen&) { return Reply::accept(); };
  EXPECT_EQ((co_await bench.push_now(11)).verdict, Verdict::delivered);
  co_await bench.stop();
}

TEST(ApnsStreams, AStoppedPushResetsItsStreamAndTheConnectionGoesOn) {
  run_on_cores(1, stopped_flow);
}

Task<void> queue_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) { config.requests_waiting_max = 8; }));
  bench.peer.decide = [](const Seen&) { return Reply::hold(); };
  TaskScope pushes(&co_await current_context());
  bench.push(pushes, 0);
  CO_ASSERT(co_await bench.peer.wait_for_requests(1));
  // One is on its way, and half of the bound may wait on its route; all others come back at once.
  for (size_t i = 1; i <= 20; ++i) bench.push(pushes, i);
  CO_ASSERT(co_await test::until(bench.results_changed, [&] { return bench.results.size() == 16; }));
  EXPECT_EQ(bench.delivered(), 0u);
  EXPECT_TRUE(bench.sender->logged("apns_queue_full"));
  // Another route still has room.
  bench.push(pushes, 30, 10s, true, 1);
  CO_ASSERT(co_await bench.peer.wait_for_requests(2));
  bench.peer.release.set();
  co_await pushes.join();
  EXPECT_EQ(bench.results.size(), 22u);
  EXPECT_EQ(bench.delivered(), 6u);
  EXPECT_EQ(bench.results[30].verdict, Verdict::delivered);
  co_await bench.stop();
}

TEST(ApnsStreams, PushesBeyondTheWaitingBoundComeBackAtOnce) {
  run_on_cores(1, queue_flow);
}

Task<void> close_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  bench.peer.connection()->set_streams_max(2);
  EXPECT_EQ((co_await bench.push_now(1)).verdict, Verdict::delivered);
  bench.peer.decide = [](const Seen&) { return Reply::hold(); };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 2; i < 10; ++i) bench.push(pushes, i);
  CO_ASSERT(co_await bench.peer.wait_for_requests(4));
  TaskScope closing(&co_await current_context());
  closing.spawn(bench.sender->apns->close());
  // Those that wait for a stream.
  CO_ASSERT(co_await test::until(bench.results_changed, [&] { return bench.results.size() == 6; }));
  bench.peer.release.set();
  co_await pushes.join();
  co_await closing.join();
  EXPECT_EQ(bench.delivered(), 2u);
  EXPECT_EQ((co_await bench.push_now(20)).verdict, Verdict::retry);
  co_await bench.stop();
}

TEST(ApnsStreams, ClosingEndsWaitingPushesAndAwaitsThoseOnTheirWay) {
  run_on_cores(1, close_flow);
}

}  // namespace
}  // namespace bellhop::service
