// SPDX-License-Identifier: Apache-2.0
// Which pushes share a connection, and how connections are made.
#include "service/retry_budget.h"
#include "tests/service/apns_fixture.h"

namespace bellhop::service {
namespace {

using apns_test::Bench;
using apns_test::Identity;
using apns_test::Reply;
using apns_test::Seen;
using Verdict = proto::ApnsVerdict;
using test::run_on_cores;

Task<void> unproven_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0, 10s, true)).verdict, Verdict::delivered);
  EXPECT_EQ((co_await bench.push_now(1, 10s, false)).verdict, Verdict::delivered);
  EXPECT_EQ((co_await bench.push_now(2, 10s, true)).verdict, Verdict::delivered);
  EXPECT_EQ((co_await bench.push_now(3, 10s, false)).verdict, Verdict::delivered);
  CO_ASSERT(bench.peer.requests.size() == 4);
  EXPECT_EQ(bench.peer.requests[0].connection, bench.peer.requests[2].connection);
  EXPECT_EQ(bench.peer.requests[1].connection, bench.peer.requests[3].connection);
  EXPECT_EQ(bench.peer.connections(), 2u);
  EXPECT_EQ(bench.provider.tokens->signed_count(), 1u);  // the provider token is the same
  co_await bench.stop();
}

TEST(ApnsRoutes, UnprovenTokensHaveAConnectionOfTheirOwn) {
  run_on_cores(1, unproven_flow);
}

Task<void> poison_flow(unsigned) {
  constexpr size_t kCount = 200;
  Bench bench;
  CO_ASSERT(co_await bench.start());
  // Even numbers are unproven: APNs is slow with them, refuses them, or drops their connection.
  bench.peer.decide = [](const Seen& seen) {
    size_t number = std::stoul(seen.device_token, nullptr, 16) - 1;
    if (number % 2 == 1) return Reply::accept();
    if (number % 4 == 0) return Reply::because(proto::ApnsReason::bad_device_token);
    return number % 8 == 2 ? Reply::fall_silent() : Reply::kill();
  };
  TaskScope good(&co_await current_context()), poison(&co_await current_context());
  for (size_t i = 0; i < kCount; ++i) bench.push(i % 2 == 0 ? poison : good, i, 60s, i % 2 == 1);
  co_await good.join();
  EXPECT_EQ(bench.delivered(), kCount / 2);
  EXPECT_GT(poison.live(), 0u);  // nobody waited for these
  poison.request_stop();
  co_await poison.join();
  co_await bench.stop();
}

TEST(ApnsRoutes, PoisonTokensDoNotHoldUpProvenOnes) {
  run_on_cores(1, poison_flow);
}

Task<void> teams_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0, 10s, true, 0)).verdict, Verdict::delivered);
  EXPECT_EQ((co_await bench.push_now(1, 10s, true, 1)).verdict, Verdict::delivered);
  CO_ASSERT(bench.peer.requests.size() == 2);
  EXPECT_NE(bench.peer.requests[0].connection, bench.peer.requests[1].connection);
  EXPECT_NE(bench.peer.requests[0].authorization, bench.peer.requests[1].authorization);
  AppConfig sandbox = bench.provider.app(0);
  sandbox.environment = ApnsEnvironment::sandbox;
  std::string token = Bench::device_token(2);
  ApnsPush push{.app = &sandbox, .device_token = token, .payload = "{}", .proven = true};
  EXPECT_EQ((co_await bench.sender->apns->push(push, io::now() + 10s)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.peer.connections(), 3u);
  co_await bench.stop();
}

TEST(ApnsRoutes, TeamsAndEnvironmentsDoNotShareConnections) {
  run_on_cores(1, teams_flow);
}

Task<void> two_connections_flow(unsigned) {
  Bench bench;
  bench.peer.limits.streams_max = 5;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) {
    config.connections_per_core = 2;
    config.reconnect_first_ms = 5;
  }));
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  bench.peer.decide = [](const Seen& seen) {
    // The first on each connection is answered, so that the others may follow.
    return seen.connection == 1 && seen.device_token == Bench::device_token(6) ? Reply::accept() : Reply::hold();
  };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 1; i <= 30; ++i) bench.push(pushes, i);
  CO_ASSERT(co_await bench.peer.wait_for_requests(12));
  EXPECT_EQ(bench.peer.in_work, 10u);
  EXPECT_EQ(bench.peer.connections(), 2u);
  bench.peer.release.set();
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), 30u);
  co_await bench.stop();
}

TEST(ApnsRoutes, AFullConnectionGetsCompanyUpToTheConfiguredNumber) {
  run_on_cores(1, two_connections_flow);
}

Task<void> spacing_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) {
    config.reconnect_first_ms = 40;
    config.reconnect_max_ms = 160;
  }));
  bench.peer.drop_connections = true;
  TaskScope pushes(&co_await current_context());
  for (size_t i = 0; i < 10; ++i) bench.push(pushes, i, 1s);
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), 0u);
  const std::vector<Instant>& at = bench.peer.connected_at;
  CO_ASSERT(at.size() >= 4);
  EXPECT_LE(at.size(), 8u);  // 0, 40, 120, 280, 440, 600, 760, 920 ms at the earliest
  Duration wait = 40ms;
  for (size_t i = 1; i < at.size(); ++i) {
    EXPECT_GE(at[i] - at[i - 1], wait * 3 / 4) << i;  // the peer's clock starts when it accepts
    wait = std::min<Duration>(wait * 2, 160ms);
  }
  // Nobody waits any more, so nobody connects; the next push does.
  size_t before = at.size();
  CO_ASSERT(co_await sleep_for(300ms));
  EXPECT_EQ(at.size(), before);
  bench.peer.drop_connections = false;
  EXPECT_EQ((co_await bench.push_now(20)).verdict, Verdict::delivered);
  EXPECT_EQ(at.size(), before + 1);
  co_await bench.stop();
}

TEST(ApnsRoutes, ReconnectsKeepTheirDistanceAndDoubleIt) {
  run_on_cores(1, spacing_flow);
}

Task<void> unreachable_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) { config.reconnect_first_ms = 20; }));
  // A port where nobody listens any more.
  Result<io::Handle> handle = io::open_listener(test::loopback());
  CO_ASSERT(handle);
  bench.provider.config.apns.production.port = test::endpoint_of(*handle, test::loopback()).tcp.port;
  io::close(*handle);
  ApnsResult result = co_await bench.push_now(0, 200ms);
  EXPECT_EQ(result.verdict, Verdict::retry);
  EXPECT_EQ(bench.count(ApnsVerdict::timed_out), 1u);
  EXPECT_TRUE(bench.sender->logged("apns_connect_failed"));
  co_await bench.stop();
}

TEST(ApnsRoutes, AnUnreachableApnsEndsInRetryAtTheDeadline) {
  run_on_cores(1, unreachable_flow);
}

Task<void> no_alpn_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) { config.reconnect_first_ms = 20; }));
  bench.peer.set_tls(bench.identity.server({}));
  EXPECT_EQ((co_await bench.push_now(0, 200ms)).verdict, Verdict::retry);
  EXPECT_EQ(bench.peer.requests.size(), 0u);
  EXPECT_TRUE(bench.sender->logged("apns_connect_failed"));
  co_await bench.stop();
}

TEST(ApnsRoutes, APeerThatDoesNotChooseHttp2GetsNoPush) {
  run_on_cores(1, no_alpn_flow);
}

Task<void> stranger_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) { config.reconnect_first_ms = 20; }));
  Identity stranger;
  bench.peer.set_tls(stranger.server());
  EXPECT_EQ((co_await bench.push_now(0, 200ms)).verdict, Verdict::retry);
  EXPECT_EQ(bench.peer.requests.size(), 0u);
  EXPECT_TRUE(bench.sender->logged("apns_connect_failed"));
  co_await bench.stop();
}

TEST(ApnsRoutes, AStrangersCertificateGetsNoPush) {
  run_on_cores(1, stranger_flow);
}

Task<void> throttle_flow(unsigned) {
  constexpr size_t kCount = 1000, kBroken = 0, kGood = 1;
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) { config.attempts_max = 1; }));
  std::string broken_topic = bench.provider.app(kBroken).topic;
  bool broken = true;
  bench.peer.decide = [&](const Seen& seen) {
    bool fails = broken && seen.topic == broken_topic;
    return fails ? Reply::because(proto::ApnsReason::service_unavailable) : Reply::accept();
  };
  for (size_t i = 0; i < kCount; ++i) {
    EXPECT_EQ((co_await bench.push_now(i, 10s, true, kBroken)).verdict, Verdict::retry);
  }
  size_t asked = bench.peer.requests.size();
  EXPECT_LT(asked, kCount / 2) << "most are refused here";
  EXPECT_GT(asked, AdaptiveThrottle::kRequestsFree);
  EXPECT_EQ(bench.count(ApnsVerdict::throttled), kCount - asked);
  // Another key's way knows nothing of it.
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_EQ((co_await bench.push_now(i, 10s, true, kGood)).verdict, Verdict::delivered);
  }
  // What goes through tells when it is over.
  broken = false;
  size_t delivered = 0;
  for (size_t i = 0; i < 10 * kCount && delivered < AdaptiveThrottle::kWellAfter; ++i) {
    delivered += (co_await bench.push_now(i, 10s, true, kBroken)).verdict == Verdict::delivered;
  }
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_EQ((co_await bench.push_now(i, 10s, true, kBroken)).verdict, Verdict::delivered);
  }
  co_await bench.stop();
}

TEST(ApnsRoutes, OneThatFailsIsSparedAndNoOtherOne) {
  run_on_cores(1, throttle_flow);
}

Task<void> no_time_flow(unsigned) {
  constexpr size_t kCount = 2 * AdaptiveThrottle::kRequestsFree;  // streams that are given up, less than a peer bears
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  for (size_t i = 0; i < kCount; ++i) EXPECT_EQ((co_await bench.push_now(i, 0s)).verdict, Verdict::retry);
  bench.peer.decide = [](const Seen&) { return Reply::fall_silent(); };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 0; i < kCount; ++i) bench.push(pushes, i, 500ms);
  co_await pushes.join();
  EXPECT_EQ(bench.count(ApnsVerdict::timed_out), 2 * kCount);
  bench.peer.decide = [](const Seen&) { return Reply::accept(); };
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ((co_await bench.push_now(i)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.count(ApnsVerdict::throttled), 0u);
  co_await bench.stop();
}

TEST(ApnsRoutes, PushesWhoseTimeWasUsedUpElsewhereSayNothingOfTheirWay) {
  run_on_cores(1, no_time_flow);
}

}  // namespace
}  // namespace bellhop::service
