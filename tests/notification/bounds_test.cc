// SPDX-License-Identifier: Apache-2.0
// What happens where a named bound of the notification path is reached.
#include "core/sleep.h"
#include "service/badge.h"
#include "service/mailbox_cache.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

SCENE_TEST_WITH(Bounds, AFullDecryptionQueueHandsTheCallbackBack, {.configure = [](Config& config) {
                  config.notification.decrypt_queue_max = 1;
                  config.notification.decrypt_queue_per_tenant_max = 1;
                }}) {
  Subscriber anna = co_await scene.subscribe("anna");
  Subscriber bert = co_await scene.subscribe("bert");
  have_mail("a");
  have_mail("b");
  std::string bodies[] = {scene.mail_body(anna, {"a"}), scene.mail_body(bert, {"b"})};
  FakeHttpExchange first(anna.target(), bodies[0]), second(bert.target(), bodies[1]);
  Event gate;  // so that both come in the same turn
  first.body_gate = second.body_gate = &gate;
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(first));
  scope.spawn(scene.deliver(second));
  gate.set();
  co_await scope.join();
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(second.status, 503);
  EXPECT_EQ(scene.ledger().handed_back, 1u);
  EXPECT_EQ(fake_apns().sent.size(), 1u) << "shed before any work";
  EXPECT_EQ((co_await scene.post(bert.target(), bodies[1])).status, 200);
  EXPECT_EQ(fake_apns().sent.size(), 2u);
}

SCENE_TEST_WITH(Bounds, ASubscriptionIsNotRefusedForLongerThanAQuarterOfItsStatusFrequency,
                {.configure = [](Config& config) {
                  config.notification.decrypt_queue_max = 1;
                  config.notification.decrypt_queue_per_tenant_max = 1;
                }}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  uint16_t minutes = (co_await scene.stored_subscription(subscriber)).status_frequency_minutes;
  have_mail("a");
  std::string body = scene.mail_body(subscriber, {"a"});
  Instant begin = io::now();
  int refused = 0;
  // Somebody else is always first in the queue of decryptions.
  for (;;) {
    Subscriber other = co_await scene.subscribe("other" + std::to_string(refused));
    std::string id = "of another " + std::to_string(refused);
    have_mail(id);
    FakeHttpExchange first(other.target(), scene.mail_body(other, {id})), second(subscriber.target(), body);
    Event gate;
    first.body_gate = second.body_gate = &gate;
    TaskScope scope(&co_await current_context());
    scope.spawn(scene.deliver(first));
    scope.spawn(scene.deliver(second));
    gate.set();
    co_await scope.join();
    if (second.status == 200) break;
    EXPECT_EQ(second.status, 503);
    CO_ASSERT(++refused < 10);
    EXPECT_TRUE(co_await sleep_for(2min));
  }
  EXPECT_GE(refused, 2);
  EXPECT_GE(io::now() - begin, std::chrono::minutes(minutes) / 4);
  EXPECT_LE(io::now() - begin, std::chrono::minutes(minutes) / 4 + 2min);
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_FALSE(shows("Subject of a\""));
}

SCENE_TEST_WITH(Bounds, OnlySoManyPushesOfAnUnfinishedCallbackAreRemembered,
                {.configure = [](Config& config) {
                  config.notification.merge_above = 100;
                  config.journal.records_max = 1;  // so that the callback is handed back
                }}) {
  constexpr size_t kMails = 60, kDevices = store::kDevicesPerUserMax;
  static_assert(kMails * (kDevices - 1) > kUnfinishedPushesMax);
  Subscriber subscriber = co_await scene.subscribe("anna", std::vector<DeviceOptions>(kDevices));
  std::vector<std::string> ids;
  for (size_t i = 0; i < kMails; ++i) {
    ids.push_back("mail" + std::to_string(i));
    have_mail(ids.back());
    fake_apns().answers[subscriber.tokens[0]].push_back({.verdict = proto::ApnsVerdict::retry});
  }
  std::string body = scene.mail_body(subscriber, ids);
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 503);
  EXPECT_EQ(fake_apns().attempts, static_cast<int>(kMails * kDevices));
  fake_apns().attempts = 0;
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().attempts, static_cast<int>(kMails * kDevices - kUnfinishedPushesMax))
      << "the collapse id merges the others on the phone";
}

struct Attempt {
  uint16_t status = 0;
  std::string retry_after;
  bool closed = false;
};
Task<Attempt> attempt(Scene& scene, std::string target, std::string body, std::string client) {
  FakeHttpExchange exchange(std::move(target), std::move(body));
  exchange.client = std::move(client);
  co_await scene.deliver(exchange);
  co_return Attempt{exchange.status, exchange.retry_after, exchange.closed};
}

SCENE_TEST_WITH(Bounds, AnAddressThatKeepsGuessingIsToldToWait, {.configure = [](Config& config) {
                  config.limits.unknown_callbacks_per_address_per_minute = 3;
                  config.limits.exempt_cidrs.push_back({.address = {192, 0, 2, 0}, .bits = 24});
                }}) {
  Subscriber anna = co_await scene.subscribe("anna");
  std::string guess = Subscriber::target_with(crypto::Capability::random().text(), "AAAA");
  for (int i = 0; i < 3; ++i) EXPECT_EQ((co_await attempt(scene, guess, "", "203.0.113.9")).status, 404);
  Attempt fourth = co_await attempt(scene, guess, "", "203.0.113.9");
  EXPECT_EQ(fourth.status, 429);
  EXPECT_EQ(fourth.retry_after, "20");
  EXPECT_TRUE(fourth.closed);
  EXPECT_EQ((co_await attempt(scene, "/somewhere", "", "203.0.113.9")).status, 429) << "other paths are guesses, too";
  EXPECT_EQ((co_await attempt(scene, guess, "", "203.0.113.10")).status, 404) << "another address";
  for (int i = 0; i < 10; ++i) EXPECT_EQ((co_await attempt(scene, guess, "", "192.0.2.1")).status, 404) << "exempt";
  EXPECT_EQ((co_await attempt(scene, anna.target(), scene.heartbeat_body(anna), "203.0.113.9")).status, 200)
      << "a good callback is never held up";
  const MetricsShard& metrics = scene.parts[0]->core.metrics;
  EXPECT_EQ(metrics.value(metric::rate_limited, RateLimit::unknown_callbacks_address), 2u);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_limit), 2u);
}

SCENE_TEST_WITH(Bounds, AnAddressMayBeHeldToSoManyCallbacks, {.configure = [](Config& config) {
                  config.limits.callbacks_per_address_per_minute = 2;
                }}) {
  Subscriber anna = co_await scene.subscribe("anna");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ((co_await attempt(scene, anna.target(), scene.heartbeat_body(anna), "2001:db8:0:1::1")).status, 200);
  }
  std::string body = scene.heartbeat_body(anna);
  Attempt third = co_await attempt(scene, anna.target(), body, "2001:db8:0:1:ffff::2");
  EXPECT_EQ(third.status, 429) << "of the same /64";
  EXPECT_EQ(third.retry_after, "30");
  EXPECT_EQ((co_await attempt(scene, anna.target(), body, "2001:db8:0:2::1")).status, 200);
  EXPECT_EQ(scene.parts[0]->core.metrics.value(metric::rate_limited, RateLimit::callbacks_address), 1u);
}

SCENE_TEST(Bounds, ByDefaultNoNumberOfGoodCallbacksIsTooMany) {
  Subscriber anna = co_await scene.subscribe("anna");
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ((co_await attempt(scene, anna.target(), scene.heartbeat_body(anna), "203.0.113.9")).status, 200);
  }
  EXPECT_EQ(scene.parts[0]->core.metrics.value(metric::rate_limited, RateLimit::callbacks_address), 0u);
}

SCENE_TEST(Bounds, OnlySoManyMailboxesHaveABadgeOnItsWay) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  Core& core = scene.parts[0]->core;
  Pusher pusher(core);
  Badges badges(core, pusher);
  const Tenant* tenant = scene.tenants.find("acme");
  for (size_t i = 0; i < kBadgesMax; ++i) {
    store::StoredUserId nobody;
    store_be32(nobody.bytes.data(), static_cast<uint32_t>(i + 1));
    badges.update({.tenant = tenant, .user = nobody}, 1);
  }
  badges.update({.tenant = tenant, .user = subscriber.user}, 1);
  EXPECT_TRUE(co_await sleep_for(20s));
  EXPECT_EQ(fake_apns().attempts, 0);
  badges.update({.tenant = tenant, .user = subscriber.user}, 2);
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_EQ(fake_apns().attempts, 1);
  co_await badges.close(io::now() + 1min);
  co_await pusher.close(io::now() + 1min);
}

// Delivers a callback while every write to the store is lost.
Task<void> deliver_without_store(Scene& scene, FakeHttpExchange& exchange) {
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  while (!exchange.responded()) {
    scene.store->power_cut();
    co_await yield_now();
  }
  co_await scope.join();
}

SCENE_TEST(Bounds, ALostNoteOfARefusedLogonDoesNotLetItBeTriedMoreOften) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  have_mail("b");
  fake_exchange().password = "another";
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"a"}));
  co_await deliver_without_store(scene, exchange);
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).logon.failed, 0);
  EXPECT_EQ((co_await scene.mail(subscriber, {"b"})).status, 200);
  EXPECT_EQ(fake_exchange().logons(), 1) << "the rule holds from memory";
  EXPECT_THAT(scene.log_lines, testing::HasSubstr("logon_rule_not_written"));
}

}  // namespace
}  // namespace bellhop::service
