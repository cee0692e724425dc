// SPDX-License-Identifier: Apache-2.0
// When Exchange hears OK: after the pushes; before them, over the journal; or one or the other, by how much is in work.
#include "core/sleep.h"
#include "tests/notification/journal_scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

#define AFTER_JOURNAL_TEST(name)      \
  SCENE_TEST_WITH(AfterJournal, name, \
                  {.configure = [](Config& config) { config.notification.ack = AckMode::after_journal; }})

AFTER_JOURNAL_TEST(OkComesBeforeAnythingIsFetchedAndOverRecordsOnTheDisk) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  have_mail("a");
  fake_exchange().delay = 2s;
  Instant begin = io::now();
  WatchingExchange exchange(scene, subscriber.target(), scene.mail_body(subscriber, {"a"}));
  co_await scene.deliver(exchange);
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.rows, 2u);
  EXPECT_EQ(exchange.pushes, 0u);
  EXPECT_LT(exchange.at - begin, 200ms);
  EXPECT_TRUE(co_await sleep_for(3s));
  EXPECT_EQ(fake_apns().sent.size(), 2u);
  EXPECT_TRUE(shows("Subject of a"));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_apns), 2u);
  EXPECT_EQ(scene.ledger().journaled, 0u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

AFTER_JOURNAL_TEST(WhatCannotBePushedStaysInTheJournal) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_apns().dead = true;
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_TRUE(co_await sleep_for(9s));
  EXPECT_EQ(journal(scene).size(), 1u);
  fake_apns().dead = false;
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
}

AFTER_JOURNAL_TEST(ACrashBeforeThePushLosesNothing) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_exchange().delay = 2s;
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  scene.die();
  fake_apns().dead = true;  // what the dying process still has in mind does not count
  co_await scene.start_again();
  fake_apns().dead = false;
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

AFTER_JOURNAL_TEST(ADeviceThatIsRemovedBeforeThePushGetsNone) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  have_mail("a");
  fake_exchange().delay = 2s;
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_TRUE(co_await sleep_for(1s));
  co_await remove_device(scene, subscriber, 1);
  journal(scene).forget(subscriber.mailbox, subscriber.devices[1]);
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[1]), 0u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_no_device), 1u);
  EXPECT_EQ(journal(scene).size(), 0u);
}

AFTER_JOURNAL_TEST(AnItemThatIsGoneLeavesNoRecord) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  EXPECT_EQ((co_await scene.mail(subscriber, {"nowhere"})).status, 200);
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().attempts, 0);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_gone), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

AFTER_JOURNAL_TEST(ManyAtOnceAreOnePushHereToo) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  std::vector<std::string> ids;
  for (int i = 0; i < 30; ++i) ids.push_back("mail" + std::to_string(i));
  EXPECT_EQ((co_await scene.mail(subscriber, ids)).status, 200);
  EXPECT_TRUE(co_await sleep_for(1s));
  CO_ASSERT(fake_apns().sent.size() == 1);
  EXPECT_THAT(last_push().payload, HasSubstr("\"30\""));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_merged), 29u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

AFTER_JOURNAL_TEST(WhatWasMissedIsListedBeforeOk) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  EXPECT_TRUE(co_await sleep_for(10s));
  have_mail("missed");
  have_mail("a");
  WatchingExchange exchange(scene, subscriber.target(), scene.mail_body(subscriber, {"a"}, "an unknown watermark"));
  co_await scene.deliver(exchange);
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.pushes, 2u);
  EXPECT_EQ(exchange.rows, 0u);
}

AFTER_JOURNAL_TEST(TheNextCallbackOfTheMailboxSeesWhatWasAnswered) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_exchange().delay = 1s;
  std::string body = scene.mail_body(subscriber, {"a"});
  for (int i = 0; i < 3; ++i) EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().attempts, 1);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_duplicate), 2u);
}

AFTER_JOURNAL_TEST(WithoutAJournalItIsAfterPush) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  std::string body = scene.mail_body(subscriber, {"a"});
  scene.store->take_disk();
  WatchingExchange exchange(scene, subscriber.target(), body);
  co_await scene.deliver(exchange);
  scene.store->bring_disk();
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.pushes, 1u);
  EXPECT_TRUE(shows("Subject of a"));
}

SCENE_TEST_WITH(AfterJournal, WhereTooManyAreBehindTheJournalPushes, {.configure = [](Config& config) {
                  config.notification.ack = AckMode::after_journal;
                  config.notification.pushes_behind_max = 1;
                }}) {
  Subscriber anna = co_await scene.subscribe("anna");
  Subscriber bert = co_await scene.subscribe("bert");
  have_mail("a");
  have_mail("b");
  fake_exchange().delay = 1s;
  EXPECT_EQ((co_await scene.mail(anna, {"a"})).status, 200);
  EXPECT_EQ((co_await scene.mail(bert, {"b"})).status, 200);
  EXPECT_TRUE(co_await sleep_for(500ms));
  EXPECT_EQ(fake_apns().shown(bert.tokens[0]), 1u) << "content-free, and at once";
  EXPECT_TRUE(co_await sleep_for(2s));
  EXPECT_TRUE(shows("Subject of a"));
  EXPECT_FALSE(shows("Subject of b"));
}

SCENE_TEST_WITH(AfterJournal, NoMoreAreBehindThanAreAllowedAlsoWhereTheyComeTogether, {.configure = [](Config& config) {
                  config.notification.ack = AckMode::after_journal;
                  config.notification.pushes_behind_max = 2;
                }}) {
  constexpr size_t kUsers = 5;
  fake_exchange().delay = 2s;
  std::vector<Subscriber> subscribers;
  std::vector<std::unique_ptr<WatchingExchange>> exchanges;
  for (size_t i = 0; i < kUsers; ++i) {
    std::string id = "mail" + std::to_string(i);
    have_mail(id);
    subscribers.push_back(co_await scene.subscribe("user" + std::to_string(i)));
    exchanges.push_back(
        std::make_unique<WatchingExchange>(scene, subscribers[i].target(), scene.mail_body(subscribers[i], {id})));
  }
  TaskScope scope(&co_await current_context());
  for (auto& exchange : exchanges) scope.spawn(scene.deliver(*exchange));
  co_await scope.join();
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::pushes_behind), 2u);
  EXPECT_TRUE(co_await sleep_for(20s));
  size_t with_content = 0;
  for (size_t i = 0; i < kUsers; ++i) {
    EXPECT_EQ(fake_apns().shown(subscribers[i].tokens[0]), 1u);
    with_content += shows("Subject of mail" + std::to_string(i));
  }
  EXPECT_EQ(with_content, 2u);
}

AFTER_JOURNAL_TEST(AReloadDoesNotChangeWhatWasPlanned) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  std::vector<std::string> ids = {"a", "b", "c"};
  for (const std::string& id : ids) have_mail(id);
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, ids));
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  while (journal(scene).size() == 0) co_await yield_now();
  EXPECT_EQ(exchange.answers, 0) << "the records are on their way to the disk";
  Config changed = scene.config;
  changed.notification.merge_above = 1;
  auto tenants = Tenants::make(changed);
  CO_ASSERT(tenants);
  scene.parts[0]->core.generations.become(std::make_shared<const Generation>(2, changed, *std::move(tenants)));
  co_await scope.join();
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 3u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

// Who takes our place waits for our end.
AFTER_JOURNAL_TEST(AStopDoesNotWaitLongForPushesAndLosesNone) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  Subscriber other = co_await scene.subscribe("bert");
  have_mail("a");
  fake_exchange().delay = 2s;
  fake_apns().dead = true;
  co_await mail_to_the_journal(scene, other, "b");
  EXPECT_EQ((co_await scene.unread(other, 4)).status, 200);
  EXPECT_EQ((co_await scene.unread(other, 5)).status, 200);  // a badge under way, and one that waits
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  Instant begin = io::now();
  co_await scene.restart();
  EXPECT_LE(io::now() - begin, 3500ms);
  fake_apns().dead = false;
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[1]), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

// ---- One or the other ----

SCENE_TEST_WITH(AckAuto, ASourceWithTooMuchWorkIsAnsweredFromTheJournalUntilItIsCalm, {.configure = [](Config& config) {
                  config.notification.auto_journal_above = 3;
                  config.notification.auto_push_below = 1;
                }}) {
  constexpr size_t kUsers = 5;
  std::vector<Subscriber> subscribers;
  std::vector<std::unique_ptr<WatchingExchange>> exchanges;
  for (size_t i = 0; i < kUsers; ++i) subscribers.push_back(co_await scene.subscribe("user" + std::to_string(i)));
  fake_exchange().delay = 2s;
  TaskScope scope(&co_await current_context());
  for (size_t i = 0; i < kUsers; ++i) {
    std::string id = "mail" + std::to_string(i);
    have_mail(id);
    exchanges.push_back(
        std::make_unique<WatchingExchange>(scene, subscribers[i].target(), scene.mail_body(subscribers[i], {id})));
    scope.spawn(scene.deliver(*exchanges.back()));
    EXPECT_TRUE(co_await sleep_for(100ms));
    // The first two wait for their pushes; from the third on the journal stands in.
    EXPECT_EQ(exchanges.back()->answers, i < 2 ? 0 : 1) << i;
  }
  const MetricsShard& metrics = *scene.parts[0]->metrics;
  EXPECT_EQ(metrics.value(metric::sources_after_journal), 1u);
  EXPECT_THAT(scene.log_lines, HasSubstr("ack_mode"));
  co_await scope.join();
  EXPECT_TRUE(co_await sleep_for(5s));
  EXPECT_EQ(metrics.value(metric::sources_after_journal), 0u);
  EXPECT_EQ(fake_apns().sent.size(), kUsers);
  for (size_t i = 0; i < kUsers; ++i) EXPECT_TRUE(shows("Subject of mail" + std::to_string(i)));
  have_mail("calm");
  WatchingExchange calm(scene, subscribers[0].target(), scene.mail_body(subscribers[0], {"calm"}));
  co_await scene.deliver(calm);
  EXPECT_EQ(calm.pushes, kUsers + 1) << "after the push again";
}

}  // namespace
}  // namespace bellhop::service
