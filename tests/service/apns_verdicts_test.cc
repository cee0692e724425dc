// SPDX-License-Identifier: Apache-2.0
// What APNs answers, and what the sender makes of it.
#include "tests/service/apns_fixture.h"

namespace bellhop::service {
namespace {

using apns_test::Bench;
using apns_test::kApps;
using apns_test::Reply;
using apns_test::Seen;
using proto::ApnsReason;
using Verdict = proto::ApnsVerdict;
using test::run_on_cores;

void fast_retries(ApnsConfig& config) {
  config.retry_wait_first_ms = 2;
  config.retry_wait_max_ms = 4;
  config.reconnect_first_ms = 5;
}

void one_attempt(ApnsConfig& config) {
  fast_retries(config);
  config.attempts_max = 1;
}

Task<void> reasons_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start(one_attempt));
  size_t number = 0;
  for (const proto::ApnsReasonInfo& info : proto::apns_reasons()) {
    CO_ASSERT(number < kApps - 2);  // a key of its own for each reason: faults of one must not hide another
    bench.peer.decide = [&](const Seen&) { return Reply::because(info.reason, io::wall_now()); };
    size_t before = bench.peer.requests.size();
    ApnsResult result = co_await bench.push_now(number, 10s, true, number);
    bool new_token = info.verdict == Verdict::retry_new_token;  // the second refusal is final
    EXPECT_EQ(result.verdict, new_token ? Verdict::route_broken : info.verdict) << info.name;
    EXPECT_EQ(result.reason, info.reason) << info.name;
    EXPECT_EQ(result.status, info.status) << info.name;
    EXPECT_EQ(bench.peer.requests.size() - before, new_token ? 2u : 1u) << info.name;
    ++number;
  }
  EXPECT_GT(bench.count(ApnsVerdict::retry), 0u);
  EXPECT_GT(bench.count(ApnsVerdict::token_gone), 0u);
  EXPECT_GT(bench.count(ApnsVerdict::refused), 0u);
  EXPECT_GT(bench.count(ApnsVerdict::provider_key), 0u);
  EXPECT_EQ(bench.count(ApnsVerdict::accepted), 0u);
  co_await bench.stop();
}

TEST(ApnsVerdicts, EachReasonLeadsToItsVerdict) {
  run_on_cores(1, reasons_flow);
}

Task<void> gone_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start(one_attempt));
  // The token was registered 24 hours ago.
  bench.peer.decide = [](const Seen&) { return Reply::because(ApnsReason::unregistered, io::wall_now() - 25h); };
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::retry);
  bench.peer.decide = [](const Seen&) { return Reply::because(ApnsReason::unregistered, io::wall_now() - 23h); };
  EXPECT_EQ((co_await bench.push_now(1)).verdict, Verdict::token_gone);
  co_await bench.stop();
}

TEST(ApnsVerdicts, ATokenIsGoneOnlyWhereApnsLearnedItAfterTheRegistration) {
  run_on_cores(1, gone_flow);
}

Task<void> odd_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start(one_attempt));
  bench.peer.decide = [](const Seen&) { return Reply{.status = 400, .body = R"({"reason":"NeverHeardOf"})"}; };
  ApnsResult unknown = co_await bench.push_now(0);
  EXPECT_EQ(unknown.verdict, Verdict::drop_payload);
  EXPECT_EQ(unknown.reason, ApnsReason::unknown);
  bench.peer.decide = [](const Seen&) { return Reply{.status = 503, .body = "<html>"}; };
  EXPECT_EQ((co_await bench.push_now(1)).verdict, Verdict::retry);
  bench.peer.decide = [](const Seen&) { return Reply{.status = 500, .body = std::string(20'000, '{')}; };
  EXPECT_EQ((co_await bench.push_now(2)).verdict, Verdict::retry);
  EXPECT_TRUE(bench.sender->logged("apns_answer"));
  bench.peer.decide = [](const Seen&) { return Reply::accept(); };
  EXPECT_EQ((co_await bench.push_now(3)).verdict, Verdict::delivered);
  co_await bench.stop();
}

TEST(ApnsVerdicts, AnswersThatMakeNoSenseAreJudgedByTheirStatus) {
  run_on_cores(1, odd_flow);
}

Task<void> unfit_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  std::string token = Bench::device_token(0), large(4097, 'x');
  ApnsPush push{.app = &bench.provider.app(), .device_token = token, .payload = large};
  ApnsResult result = co_await bench.sender->apns->push(push, io::now() + 5s);
  EXPECT_EQ(result.verdict, Verdict::drop_payload);
  EXPECT_EQ(result.reason, ApnsReason::payload_too_large);
  push.payload = "";
  EXPECT_EQ((co_await bench.sender->apns->push(push, io::now() + 5s)).reason, ApnsReason::payload_empty);
  push.payload = "{}";
  push.device_token = "../3/device";
  EXPECT_EQ((co_await bench.sender->apns->push(push, io::now() + 5s)).verdict, Verdict::token_gone);
  push.device_token = token;
  std::string long_id(65, 'c');
  push.collapse_id = long_id;
  EXPECT_EQ((co_await bench.sender->apns->push(push, io::now() + 5s)).verdict, Verdict::drop_payload);
  EXPECT_EQ(bench.peer.requests.size(), 0u);
  co_await bench.stop();
}

TEST(ApnsVerdicts, WhatApnsWouldRefuseIsNotSent) {
  run_on_cores(1, unfit_flow);
}

Task<void> retry_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start([](ApnsConfig& config) {
    config.retry_wait_first_ms = 30;
    config.retry_wait_max_ms = 60;
  }));
  for (ApnsReason reason :
       {ApnsReason::too_many_requests, ApnsReason::internal_server_error, ApnsReason::service_unavailable}) {
    size_t before = bench.peer.requests.size();
    bench.peer.decide = [&](const Seen&) {
      return bench.peer.requests.size() - before < 3 ? Reply::because(reason) : Reply::accept();
    };
    Instant start = io::now();
    EXPECT_EQ((co_await bench.push_now(static_cast<size_t>(reason))).verdict, Verdict::delivered);
    EXPECT_EQ(bench.peer.requests.size() - before, 3u);
    EXPECT_GE(io::now() - start, 60ms);  // twice the least wait
  }
  bench.peer.decide = [](const Seen&) { return Reply::because(ApnsReason::service_unavailable); };
  size_t before = bench.peer.requests.size();
  ApnsResult result = co_await bench.push_now(100);
  EXPECT_EQ(result.verdict, Verdict::retry);
  EXPECT_EQ(result.reason, ApnsReason::service_unavailable);
  EXPECT_EQ(bench.peer.requests.size() - before, 3u);  // apns.attempts_max
  co_await bench.stop();
}

TEST(ApnsVerdicts, PassingTroubleIsTriedAgainAfterAWaitAndThenGivenBack) {
  run_on_cores(1, retry_flow);
}

Task<void> no_time_flow(unsigned) {
  Bench bench;
  CO_ASSERT(
      co_await bench.start([](ApnsConfig& config) { config.retry_wait_first_ms = config.retry_wait_max_ms = 60'000; }));
  bench.peer.decide = [](const Seen&) { return Reply::because(ApnsReason::service_unavailable); };
  ApnsResult result = co_await bench.push_now(0, 20s);
  EXPECT_EQ(result.verdict, Verdict::retry);
  EXPECT_EQ(result.status, 503);  // it knows why: it did not sit out its deadline
  EXPECT_EQ(bench.count(ApnsVerdict::timed_out), 0u);
  co_await bench.stop();
}

TEST(ApnsVerdicts, ARetryThatWouldPassTheDeadlineIsNotWaitedFor) {
  run_on_cores(1, no_time_flow);
}

Task<void> shutdown_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start(fast_retries));
  bench.peer.decide = [](const Seen& seen) {
    return seen.connection == 0 ? Reply::because(ApnsReason::shutdown) : Reply::accept();
  };
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.peer.connections(), 2u);
  co_await bench.stop();
}

TEST(ApnsVerdicts, AServerThatShutsDownIsLeft) {
  run_on_cores(1, shutdown_flow);
}

Task<void> key_breaker_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  std::string refused = bench.provider.app(0).topic;
  bench.peer.decide = [&](const Seen& seen) {
    return seen.topic == refused ? Reply::because(ApnsReason::invalid_provider_token) : Reply::accept();
  };
  for (size_t i = 0; i < 10; ++i) {
    ApnsResult result = co_await bench.push_now(i);
    EXPECT_EQ(result.verdict, Verdict::route_broken);
    EXPECT_EQ(result.reason, ApnsReason::invalid_provider_token);
    EXPECT_EQ((co_await bench.push_now(100 + i, 10s, true, 1)).verdict, Verdict::delivered);
  }
  EXPECT_EQ(std::ranges::count(bench.peer.requests, refused, &Seen::topic), 1);
  EXPECT_TRUE(bench.sender->logged("apns_route_broken"));
  co_await bench.stop();
}

TEST(ApnsVerdicts, ARefusedKeyIsNotAskedAgainAndOtherKeysGoOn) {
  run_on_cores(1, key_breaker_flow);
}

Task<void> topic_breaker_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  std::string refused = bench.provider.app(kApps - 1).topic;
  bench.peer.decide = [&](const Seen& seen) {
    return seen.topic == refused ? Reply::because(ApnsReason::topic_disallowed) : Reply::accept();
  };
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ((co_await bench.push_now(i, 10s, true, kApps - 1)).reason, ApnsReason::topic_disallowed);
    EXPECT_EQ((co_await bench.push_now(100 + i, 10s, true, kApps - 2)).verdict, Verdict::delivered);
  }
  EXPECT_EQ(std::ranges::count(bench.peer.requests, refused, &Seen::topic), 1);
  EXPECT_EQ(bench.peer.connections(), 1u);  // one key, one connection
  co_await bench.stop();
}

TEST(ApnsVerdicts, ARefusedTopicLeavesTheOthersOfItsKeyAlone) {
  run_on_cores(1, topic_breaker_flow);
}

Task<void> expired_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0)).verdict, Verdict::delivered);
  std::string old = bench.peer.requests[0].authorization;
  bench.peer.decide = [&](const Seen& seen) {
    return seen.authorization == old ? Reply::because(ApnsReason::expired_provider_token) : Reply::accept();
  };
  TaskScope pushes(&co_await current_context());
  for (size_t i = 1; i <= 20; ++i) bench.push(pushes, i);
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), 20u);
  EXPECT_EQ(bench.provider.tokens->signed_count(), 2u);
  EXPECT_EQ(bench.sender->metrics.value(metric::apns_token_refreshes), 2u);
  // A second time within 20 minutes there is no third token: the key is taken as broken.
  bench.peer.decide = [](const Seen&) { return Reply::because(ApnsReason::expired_provider_token); };
  EXPECT_EQ((co_await bench.push_now(30)).verdict, Verdict::route_broken);
  EXPECT_EQ(bench.provider.tokens->signed_count(), 2u);
  co_await bench.stop();
}

TEST(ApnsVerdicts, AnExpiredProviderTokenIsRenewedOnceForAllPushes) {
  run_on_cores(1, expired_flow);
}

}  // namespace
}  // namespace bellhop::service
