// SPDX-License-Identifier: Apache-2.0
// What is promised when a push cannot be made: OK only over a record on the disk, no record gone before its push was
// accepted, none lost or owned twice after a crash, and on the phone one notice for each mail.
#include "service/journal.h"

#include <algorithm>
#include <set>

#include "core/sleep.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;
using testing::Not;

Journal& journal(Scene& scene) {
  return *scene.parts[0]->core.journal;
}

void use(Config& config, AckMode mode) {
  config.notification.ack = mode;
}

// Looks at the disk at the moment of the answer.
class WatchingExchange final : public FakeHttpExchange {
 public:
  WatchingExchange(Scene& scene, std::string target, std::string body)
      : FakeHttpExchange(std::move(target), std::move(body)), scene_(scene) {}

  uint64_t rows = 0;   // of the journal, on the disk
  size_t pushes = 0;   // that APNs had accepted
  Instant at{};

  Task<Status> respond(const HttpResponse& response) override {
    rows = scene_.store->journal_rows();
    pushes = fake_apns().sent.size();
    at = io::now();
    co_return co_await FakeHttpExchange::respond(response);
  }

 private:
  Scene& scene_;
};

// A callback with one mail that APNs does not take in time: it is in the journal afterwards.
Task<void> mail_to_the_journal(Scene& scene, Subscriber& subscriber, std::string id) {
  have_mail(id);
  bool dead = std::exchange(fake_apns().dead, true);
  EXPECT_EQ((co_await scene.mail(subscriber, {id})).status, 200);
  fake_apns().dead = dead;
}

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
  CO_ASSERT(journal(scene).pending(subscriber.mailbox).size() == 1);
  while (!journal(scene).pending(subscriber.mailbox)[0].next_attempt) {
    EXPECT_TRUE(co_await sleep_for(1s));  // a try is under way
  }
  JournalPending pending = journal(scene).pending(subscriber.mailbox)[0];
  CO_ASSERT(pending.next_attempt);
  EXPECT_EQ(pending.key.device, subscriber.devices[0]);
  EXPECT_EQ(pending.attempts, times.size() + 1);
  EXPECT_LE(*pending.next_attempt, io::wall_now() + 10min);
  fake_apns().dead = false;
  EXPECT_TRUE(co_await sleep_for(10min));
  EXPECT_EQ(fake_apns().sent.size(), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
  EXPECT_TRUE(journal(scene).pending(subscriber.mailbox).empty());
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

Task<void> remove_device(Scene& scene, const Subscriber& subscriber, size_t device) {
  store::DeviceRemoval removal{.user = subscriber.user,
                               .device = subscriber.devices[device],
                               .ending = {.expires = io::wall_now() + 1h},
                               .now = io::wall_now()};
  EXPECT_TRUE(co_await scene.store->remove_device(removal));
}

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

// ---- Crashes ----

SCENE_TEST(Crash, TakesNoRecord) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  co_await mail_to_the_journal(scene, subscriber, "a");
  scene.die();
  co_await scene.start_again();
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_TRUE(journal(scene).restored());
  EXPECT_EQ(scene.ledger().accepted, 2u) << "of the earlier process";
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[1]), 1u);
  EXPECT_EQ(fake_apns().sent.size(), 2u);
  EXPECT_EQ(scene.ledger().journaled, 0u);
  EXPECT_EQ(scene.ledger().balance(), 0);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

// At whatever moment the process dies: what Exchange heard OK for is shown, and shown once.
SCENE_TEST(Crash, AtAnyMomentLosesNothingThatWasAcknowledged) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  size_t mails = 0;
  for (Duration moment = 0ms; moment < 9s; moment += 90ms) {
    std::string id = "mail" + std::to_string(++mails);
    have_mail(id);
    std::string body = scene.mail_body(subscriber, {id});
    fake_apns().dead = true;
    FakeHttpExchange exchange(subscriber.target(), body);
    TaskScope scope(&co_await current_context());
    scope.spawn(scene.deliver(exchange));
    EXPECT_TRUE(co_await sleep_for(moment));
    scene.die();
    bool acknowledged = exchange.status == 200;
    scope.request_stop();
    co_await scope.join();
    fake_apns().dead = false;
    co_await scene.start_again();
    if (!acknowledged) {
      EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
    }
    EXPECT_TRUE(co_await sleep_for(1min));
    for (const std::string& token : subscriber.tokens) {
      EXPECT_EQ(fake_apns().shown(token), mails) << "after " << moment.count() << " ns";
    }
  }
}

SCENE_TEST(Crash, BetweenPushAndEraseIsMergedByTheCollapseId) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  fake_apns().accepted = [&](const FakeApns::Sent&) { scene.die(); };
  EXPECT_TRUE(co_await sleep_for(1min));
  fake_apns().accepted = nullptr;
  EXPECT_EQ(scene.store->journal_rows(), 1u);
  co_await scene.start_again();
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().sent.size(), 2u);
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

SCENE_TEST(Crash, ARepeatOfWhatTheJournalHasIsNotPushedBesides) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_apns().dead = true;
  std::string body = scene.mail_body(subscriber, {"a"});
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  scene.die();  // the mailbox's ring is lost; the record is not
  co_await scene.start_again();
  EXPECT_TRUE(co_await sleep_for(1s));
  int attempts = fake_apns().attempts;
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().attempts, attempts);
  EXPECT_EQ(journal(scene).size(), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_duplicate), 1u);
}

SCENE_TEST(Crash, TheNumberOfTriesSurvives) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await mail_to_the_journal(scene, subscriber, "a");
  fake_apns().dead = true;
  EXPECT_TRUE(co_await sleep_for(5h));
  CO_ASSERT(journal(scene).size() == 1);
  JournalPending before = journal(scene).pending(subscriber.mailbox)[0];
  EXPECT_GT(before.attempts, 10);
  scene.die();
  co_await scene.start_again();
  EXPECT_TRUE(co_await sleep_for(1ms));
  CO_ASSERT(journal(scene).size() == 1);
  JournalPending after = journal(scene).pending(subscriber.mailbox)[0];
  EXPECT_GE(after.attempts + 1, before.attempts);
  EXPECT_EQ(after.first_seen, before.first_seen);
  // The age counts from the first try, not from the start.
  EXPECT_TRUE(co_await sleep_for(19h + 30min));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_expired), 1u);
}

SCENE_TEST_WITH(Crash, EachRecordHasOneOwnerAfterwards, {.cores = 3}) {
  constexpr size_t kUsers = 12;
  std::vector<Subscriber> subscribers;
  std::set<unsigned> homes;
  for (size_t i = 0; i < kUsers; ++i) {
    subscribers.push_back(co_await scene.subscribe("user" + std::to_string(i)));
    homes.insert(scene.node->home_core(subscribers[i].user));
    co_await mail_to_the_journal(scene, subscribers[i], "mail" + std::to_string(i));
  }
  EXPECT_GT(homes.size(), 1u);
  // Some were pushed while others waited.
  size_t left = scene.store->journal_rows();
  size_t pushed = fake_apns().sent.size();
  EXPECT_EQ(left + pushed, kUsers);
  fake_apns().dead = true;
  scene.die();
  co_await scene.start_again();
  EXPECT_TRUE(co_await sleep_for(1ms));
  size_t owned = 0;
  for (const auto& part : scene.parts) {
    owned += part->core.journal->size();
    for (const Subscriber& subscriber : subscribers) {
      if (part->core.journal->pending(subscriber.mailbox).empty()) continue;
      EXPECT_EQ(scene.node->home_core(subscriber.user), part->core.index);
    }
  }
  EXPECT_EQ(owned, left);
  fake_apns().dead = false;
  EXPECT_TRUE(co_await sleep_for(11min));
  EXPECT_EQ(fake_apns().sent.size(), kUsers) << "each once";
  for (const Subscriber& subscriber : subscribers) EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), 1u);
}

SCENE_TEST_WITH(Crash, MoreRecordsThanThereIsRoomForAreTakenUpInTurn,
                {.configure = [](Config& config) { config.journal.records_max = 300; }}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  std::vector<store::JournalEntry> entries;
  for (uint64_t i = 1; i <= 5 * store::kListMax; ++i) {
    store::JournalRecord record{.user = subscriber.user, .first_seen = io::wall_now(), .next_attempt = io::wall_now()};
    store_be64(record.collapse.data(), i);
    entries.push_back({{subscriber.mailbox, subscriber.devices[0], i}, record});
  }
  EXPECT_TRUE(co_await scene.store->add_journal(entries));
  scene.die();
  co_await scene.start_again();
  size_t most = 0;
  fake_apns().delay = 10ms;
  fake_apns().begun = [&](const FakeApns::Sent&) { most = std::max(most, journal(scene).size()); };
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().shown(subscriber.tokens[0]), entries.size());
  EXPECT_LT(most, 300 + store::kListMax);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

// ---- Answers before pushes ----

SCENE_TEST_WITH(AfterJournal, OkComesBeforeAnythingIsFetchedAndOverRecordsOnTheDisk,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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

SCENE_TEST_WITH(AfterJournal, WhatCannotBePushedStaysInTheJournal,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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

SCENE_TEST_WITH(AfterJournal, ACrashBeforeThePushLosesNothing,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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

SCENE_TEST_WITH(AfterJournal, ADeviceThatIsRemovedBeforeThePushGetsNone,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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

SCENE_TEST_WITH(AfterJournal, AnItemThatIsGoneLeavesNoRecord,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  EXPECT_EQ((co_await scene.mail(subscriber, {"nowhere"})).status, 200);
  EXPECT_TRUE(co_await sleep_for(1min));
  EXPECT_EQ(fake_apns().attempts, 0);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_gone), 1u);
  EXPECT_EQ(scene.store->journal_rows(), 0u);
}

SCENE_TEST_WITH(AfterJournal, ManyAtOnceAreOnePushHereToo,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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

SCENE_TEST_WITH(AfterJournal, WhatWasMissedIsListedBeforeOk,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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

SCENE_TEST_WITH(AfterJournal, TheNextCallbackOfTheMailboxSeesWhatWasAnswered,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_exchange().delay = 1s;
  std::string body = scene.mail_body(subscriber, {"a"});
  for (int i = 0; i < 3; ++i) EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().attempts, 1);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_duplicate), 2u);
}

SCENE_TEST_WITH(AfterJournal, WithoutAJournalItIsAfterPush,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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
                  use(config, AckMode::after_journal);
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
                  use(config, AckMode::after_journal);
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

SCENE_TEST_WITH(AfterJournal, AReloadDoesNotChangeWhatWasPlanned,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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
SCENE_TEST_WITH(AfterJournal, AStopDoesNotWaitLongForPushesAndLosesNone,
                {.configure = [](Config& config) { use(config, AckMode::after_journal); }}) {
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

// ---- Overload ----

SCENE_TEST_WITH(Overload, ASubscriptionIsNotRefusedForLongerThanAQuarterOfItsStatusFrequency,
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

}  // namespace
}  // namespace bellhop::service
