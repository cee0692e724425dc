// SPDX-License-Identifier: Apache-2.0
// What the journal promises where the process dies: what Exchange heard OK for is shown, and shown once.
#include <algorithm>
#include <set>

#include "core/sleep.h"
#include "tests/notification/journal_scene.h"

namespace bellhop::service {
namespace {

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
  WallTime first_seen = (co_await journaled(scene, subscriber)).at(0).record.first_seen;
  fake_apns().dead = true;
  EXPECT_TRUE(co_await sleep_for(5h));
  EXPECT_GT(fake_apns().attempts, 10);
  scene.die();
  co_await scene.start_again();
  EXPECT_TRUE(co_await sleep_for(30min));  // at least one more try, which writes the whole record again
  CO_ASSERT(journal(scene).size() == 1);
  store::JournalRecord after = (co_await journaled(scene, subscriber)).at(0).record;
  EXPECT_GE(after.attempts + 3, fake_apns().attempts) << "but for those at the crash, and one under way";
  EXPECT_LE(after.attempts, fake_apns().attempts);
  EXPECT_EQ(after.first_seen, first_seen);
  // The age counts from the first try, not from the start.
  EXPECT_TRUE(co_await sleep_for(19h));
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
  auto entries = *co_await scene.store->list_journal({});
  EXPECT_EQ(entries.size(), left);
  size_t owned = 0;
  for (const auto& part : scene.parts) {
    owned += part->core.journal->size();
    for (const store::JournalEntry& entry : entries) {
      unsigned home = scene.node->home_core(entry.record.user);
      EXPECT_EQ(part->core.journal->holds(entry.key), part->core.index == home);
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

}  // namespace
}  // namespace bellhop::service
