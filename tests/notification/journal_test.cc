// SPDX-License-Identifier: Apache-2.0
// What is promised when a push cannot be made: OK only over a record on the disk, no record gone before its push was
// accepted, and on the phone one notice for each mail. For crashes see journal_crash_test.cc.
#include "service/journal.h"

#include "core/sleep.h"
#include "tests/notification/journal_scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

// ---- OK ----

SCENE_TEST(Journal, OkIsHeardWhenTheRecordIsOnTheDisk) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  have_mail("a");
  fake_apns().dead = true;
  Instant begin = io::now();
  WatchingExchange exchange(scene, subscriber.target(), scene.mail_body(subscriber, {"a"}));
  co_await scene.deliver(exchange);
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.rows, 2u);
  EXPECT_EQ(exchange.pushes, 0u);
  EXPECT_LT(exchange.at - begin, 8500ms);
  EXPECT_EQ(scene.ledger().journaled, 2u);
  EXPECT_EQ(scene.ledger().handed_back, 0u);
}

SCENE_TEST(Journal, OnlyWhatWasNotPushedGoesThere) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  have_mail("a");
  fake_apns().answers[subscriber.tokens[1]] = {{.verdict = proto::ApnsVerdict::retry}};
  WatchingExchange exchange(scene, subscriber.target(), scene.mail_body(subscriber, {"a"}));
  co_await scene.deliver(exchange);
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.rows + exchange.pushes, 2u);
  EXPECT_EQ(exchange.rows, 1u);
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[1]), 1u);
  EXPECT_EQ(fake_apns().sent.size(), 2u);
}

SCENE_TEST(Journal, ThatCannotBeWrittenIsNoReasonForOk) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_apns().dead = true;
  std::string body = scene.mail_body(subscriber, {"a"});
  scene.store->take_disk();
  Scene::Reply reply = co_await scene.post(subscriber.target(), body);
  EXPECT_EQ(reply.status, 503);
  EXPECT_TRUE(reply.closed);
  EXPECT_EQ(journal(scene).size(), 0u);
  EXPECT_EQ(scene.ledger().handed_back, 1u);
  EXPECT_THAT(scene.log_lines, HasSubstr("pushes_not_journaled"));
  scene.store->bring_disk();
  fake_apns().dead = false;
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_TRUE(shows("Subject of a"));
}

SCENE_TEST_WITH(Journal, ThatIsFullTakesNothing,
                {.configure = [](Config& config) { config.journal.records_max = 2; }}) {
  Subscriber anna = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  Subscriber bert = co_await scene.subscribe("bert");
  co_await mail_to_the_journal(scene, anna, "a");
  EXPECT_EQ(journal(scene).size(), 2u);
  fake_apns().dead = true;
  have_mail("b");
  EXPECT_EQ((co_await scene.mail(bert, {"b"})).status, 503);
  EXPECT_EQ(journal(scene).size(), 2u);
  EXPECT_EQ(scene.store->journal_rows(), 2u);
}

SCENE_TEST(Journal, KnowsNothingOfACallbackWhoseConnectionWasReset) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_apns().dead = true;
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"a"}));
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  EXPECT_TRUE(co_await sleep_for(1s));
  scope.request_stop();
  co_await scope.join();
  EXPECT_EQ(journal(scene).size(), 0u) << "Exchange repeats it";
  EXPECT_EQ(scene.ledger().handed_back, 1u);
}

SCENE_TEST(Journal, ARepeatOfWhatItHasIsADuplicate) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_apns().dead = true;
  std::string body = scene.mail_body(subscriber, {"a"});
  for (int i = 0; i < 3; ++i) EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(journal(scene).size(), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_duplicate), 2u);
}

// ---- Pushes ----

SCENE_TEST(Journal, PushesWithoutContentUnderTheCollapseIdOfTheItem) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  EXPECT_TRUE(co_await sleep_for(1min));
  CO_ASSERT(fake_apns().sent.size() == 1);
  EXPECT_EQ(last_push().token, subscriber.tokens[0]);
  EXPECT_EQ(last_push().collapse_id, scene.vault->collapse_id(subscriber.user, "a"));
  EXPECT_EQ(last_push().type, proto::ApnsPushType::alert);
  EXPECT_FALSE(shows("Subject"));
  EXPECT_FALSE(shows("Sender"));
  EXPECT_EQ(journal(scene).size(), 0u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
  EXPECT_EQ(scene.ledger().journaled, 0u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
}

SCENE_TEST(Journal, NoRecordIsErasedBeforeItsPushWasAccepted) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  uint64_t at_begin = 0, at_end = 0;
  fake_apns().delay = 500ms;
  fake_apns().begun = [&](const FakeApns::Sent&) { at_begin = scene.store->journal_rows(); };
  fake_apns().accepted = [&](const FakeApns::Sent&) { at_end = scene.store->journal_rows(); };
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().sent.size(), 1u);
  EXPECT_EQ(at_begin, 1u);
  EXPECT_EQ(at_end, 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

SCENE_TEST(Journal, TriesAgainFurtherAndFurtherApart) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  fake_apns().dead = true;
  fake_apns().attempts = 0;
  std::vector<Instant> times;
  fake_apns().begun = [&](const FakeApns::Sent&) { times.push_back(io::now()); };
  EXPECT_TRUE(co_await sleep_for(20h));
  // Each wait is drawn between nothing and the longest, which is ten minutes in the end: five on average.
  EXPECT_GT(times.size(), 120u);
  EXPECT_LT(times.size(), 400u);
  for (size_t i = 1; i < times.size(); ++i) EXPECT_LE(times[i] - times[i - 1], 10min + 5s);
  auto pending = co_await journaled(scene, subscriber);
  CO_ASSERT(pending.size() == 1);
  while (pending[0].record.next_attempt <= io::wall_now()) {
    EXPECT_TRUE(co_await sleep_for(1s));  // a try is under way, or its end is not yet on the disk
    pending = co_await journaled(scene, subscriber);
    CO_ASSERT(pending.size() == 1);
  }
  EXPECT_EQ(pending[0].key.device, subscriber.devices[0]);
  EXPECT_EQ(pending[0].record.attempts, times.size() + 1);
  EXPECT_LE(pending[0].record.next_attempt, io::wall_now() + 10min);
  fake_apns().dead = false;
  EXPECT_TRUE(co_await sleep_for(10min));
  EXPECT_EQ(fake_apns().sent.size(), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
  EXPECT_EQ(journal(scene).size(), 0u);
}

SCENE_TEST(Journal, GivesUpAfterADayAndSaysSo) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  fake_apns().dead = true;
  EXPECT_TRUE(co_await sleep_for(23h));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_expired), 0u);
  EXPECT_TRUE(co_await sleep_for(2h));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_expired), 1u);
  EXPECT_EQ(scene.ledger().journaled, 0u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
  EXPECT_THAT(scene.log_lines, HasSubstr("push_expired"));
}

SCENE_TEST(Journal, WhatApnsRefusesForGoodEnds) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  fake_apns().answers[subscriber.tokens[0]] = {{.verdict = proto::ApnsVerdict::token_gone, .status = 410}};
  fake_apns().answers[subscriber.tokens[1]] = {{.verdict = proto::ApnsVerdict::drop_payload, .status = 400}};
  co_await mail_to_the_journal(scene, subscriber, "a");
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_token_gone), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_payload), 1u);
  EXPECT_TRUE((co_await scene.stored_device(subscriber, 0)).token_gone);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

SCENE_TEST(Journal, ARecordThatCannotBeErasedIsNotPushedAgain) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  fake_apns().accepted = [&](const FakeApns::Sent&) { scene.store->take_disk(); };
  EXPECT_TRUE(co_await sleep_for(10min));
  EXPECT_EQ(fake_apns().attempts, 2);
  EXPECT_EQ(scene.store->journal_rows(), 1u);
  EXPECT_EQ(scene.ledger().journaled, 1u) << "counted when it is gone";
  scene.store->bring_disk();
  EXPECT_TRUE(co_await sleep_for(10s));
  EXPECT_EQ(fake_apns().attempts, 2);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
}

// One way to APNs that is out of order, with many records, and a good one.
SCENE_TEST_WITH(Journal, AWayThatIsOutOfOrderHoldsNoOtherOneUp, {.configure = [](Config& config) {
                  config.journal.pushes_in_flight_max = 8;
                  config.tenants[0].apps.push_back({.topic = "com.example.mail", .environment = ApnsEnvironment::sandbox});
                }}) {
  Subscriber broken =
      co_await scene.subscribe("anna", {DeviceOptions{.environment = store::PushEnvironment::sandbox}});
  Subscriber good = co_await scene.subscribe("bert");
  std::vector<std::string> ids[2];
  for (int i = 0; i < 20; ++i) {
    for (int of : {0, 1}) {
      ids[of].push_back("mail " + std::to_string(of) + " " + std::to_string(i));
      have_mail(ids[of].back());
    }
  }
  fake_apns().dead = true;
  EXPECT_EQ((co_await scene.mail(broken, ids[0])).status, 200);
  EXPECT_EQ((co_await scene.mail(good, ids[1])).status, 200);
  EXPECT_EQ(journal(scene).size(), 40u);
  fake_apns().dead = false;
  fake_apns().dead_environment = ApnsEnvironment::sandbox;
  fake_apns().at_once_max = 0;
  EXPECT_TRUE(co_await sleep_for(11s));
  EXPECT_EQ(fake_apns().shown(good.tokens[0]), 20u);
  EXPECT_EQ(journal(scene).size(), 20u);
  EXPECT_LE(fake_apns().at_once_max, 1 + 4) << "one trial there, and half of the places here";
  fake_apns().dead_environment.reset();
  EXPECT_TRUE(co_await sleep_for(10min));
  EXPECT_EQ(fake_apns().shown(broken.tokens[0]), 20u);
}

// The record that is called up when a way has room may not need it any more; then it is the next one's turn.
SCENE_TEST(Journal, AWayGoesOnWhereTheNextRecordsNeedItNoMore) {
  std::vector<Subscriber> subscribers;
  std::vector<store::JournalEntry> left;
  for (size_t i = 0; i < 6; ++i) {
    subscribers.push_back(co_await scene.subscribe("user" + std::to_string(i)));
    store::JournalEntry entry{.key = {subscribers[i].mailbox, subscribers[i].devices[0], i + 1},
                              .record = {.user = subscribers[i].user, .first_seen = io::wall_now()}};
    entry.record.collapse[0] = static_cast<uint8_t>(i + 1);
    left.push_back(entry);
  }
  CO_ASSERT(co_await scene.store->add_journal(left));
  fake_apns().delay = 1s;
  co_await scene.restart();  // all are due at once, and the way has one place
  EXPECT_TRUE(co_await sleep_for(500ms));
  EXPECT_EQ(fake_apns().attempts, 1);
  store::DevicePatch patch;
  patch.state = store::DeviceState::blocked;
  for (size_t i : {1u, 2u, 3u}) {
    EXPECT_TRUE(co_await scene.store->update_device(subscribers[i].user, subscribers[i].devices[0], patch));
  }
  // Called up, and its device is removed before it comes for its place.
  fake_apns().accepted = [&](const FakeApns::Sent&) { journal(scene).forget(left[4].key.mailbox, left[4].key.device); };
  EXPECT_TRUE(co_await sleep_for(1min));
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(fake_apns().shown(subscribers[i].tokens[0]), i == 0 || i == 5 ? 1u : 0u) << i;
  }
  EXPECT_EQ(journal(scene).size(), 0u);
}

// ---- Devices that go ----

SCENE_TEST(Journal, ARemovedDeviceGetsNothingMore) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  co_await mail_to_the_journal(scene, subscriber, "a");
  co_await remove_device(scene, subscriber, 0);
  journal(scene).forget(subscriber.mailbox, subscriber.devices[0]);
  EXPECT_EQ(journal(scene).size(), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_no_device), 1u);
  EXPECT_TRUE(co_await sleep_for(1h));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 0u);
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[1]), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

SCENE_TEST(Journal, ADeviceThatIsRemovedDuringItsPushIsNotTriedAgain) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  co_await mail_to_the_journal(scene, subscriber, "a");
  fake_apns().dead = true;
  int attempts = fake_apns().attempts;
  EXPECT_TRUE(co_await sleep_for(11s));
  EXPECT_GT(fake_apns().attempts, attempts);
  co_await remove_device(scene, subscriber, 0);
  journal(scene).forget(subscriber.mailbox, subscriber.devices[0]);
  fake_apns().dead = false;
  EXPECT_TRUE(co_await sleep_for(1h));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 0u);
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[1]), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_no_device), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u) << "the numbers of its tries have brought nothing back";
}

SCENE_TEST(Journal, ABlockedDeviceGetsNothingMore) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  store::DevicePatch patch;
  patch.state = store::DeviceState::blocked;
  EXPECT_TRUE(co_await scene.store->update_device(subscriber.user, subscriber.devices[0], patch));
  EXPECT_TRUE(co_await sleep_for(1h));
  EXPECT_EQ(fake_apns().sent.size(), 0u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_policy), 1u);
}

}  // namespace
}  // namespace bellhop::service
