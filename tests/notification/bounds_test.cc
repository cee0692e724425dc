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

SCENE_TEST_WITH(Bounds, OnlySoManyPushesOfAnUnfinishedCallbackAreRemembered,
                {.configure = [](Config& config) { config.notification.merge_above = 100; }}) {
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
  co_await badges.close();
  co_await pusher.close();
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
