// SPDX-License-Identifier: Apache-2.0
// The ledger of the Exchange stand-in, and the faults of callbacks that show that it is one.
#include "tests/standin/site.h"

namespace bellhop::standin::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = ExchangeEntry::Kind;
using Outcome = NotificationAttempt::Outcome;

constexpr const char* kAlice = "alice@example.com";

WorldOptions ledger_options(uint32_t kept = 100) {
  WorldOptions options;
  options.exchange.time_scale = fast();
  options.exchange.heartbeats = false;
  options.exchange.ledger_kept = kept;
  return options;
}

Task<std::string> begin(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  std::string id = co_await site.subscribe(kAlice);
  EXPECT_TRUE(co_await site.attempts.wait(1));  // the first status event
  co_return id;
}

Task<std::vector<ExchangeEntry>> entries_of(Site& site, Kind kind) {
  auto page = co_await site.exchange.ledger_after(0, 1'000);
  std::erase_if(page.entries, [&](const ExchangeEntry& entry) { return entry.kind != kind; });
  co_return std::move(page.entries);
}

Task<void> every_attempt(Site& site) {
  std::string id = co_await begin(site);
  site.peer.script = {Answer::unavailable};
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "one"}));
  CO_ASSERT(co_await site.attempts.wait(3));  // refused, then repeated
  auto mails = co_await entries_of(site, Kind::mail);
  CO_ASSERT(mails.size() == 1);
  EXPECT_EQ(mails[0].subject, "one");
  EXPECT_EQ(mails[0].mailbox, kAlice);
  EXPECT_THAT(mails[0].told, ElementsAre(id));
  auto attempts = co_await entries_of(site, Kind::attempt);
  CO_ASSERT(attempts.size() == 3);
  EXPECT_TRUE(attempts[0].heartbeat);
  EXPECT_THAT(attempts[0].items, IsEmpty());
  EXPECT_EQ(attempts[1].outcome, Outcome::failed);
  EXPECT_EQ(attempts[1].status, 503);
  EXPECT_EQ(attempts[1].items, mails[0].items);
  EXPECT_EQ(attempts[2].outcome, Outcome::ok);
  EXPECT_EQ(attempts[2].attempt, 2u);
  EXPECT_EQ(attempts[2].items, mails[0].items);
  EXPECT_EQ(attempts[2].subscription, id);
  EXPECT_LE(attempts[1].begun, attempts[1].at);
  EXPECT_LE(attempts[1].at, attempts[2].begun);

  site.peer.script = {Answer::unsubscribe};
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "two"}));
  CO_ASSERT(co_await site.attempts.wait(4));
  auto ended = co_await entries_of(site, Kind::ended);
  CO_ASSERT(ended.size() == 1);
  EXPECT_EQ(ended[0].how, "unsubscribed");
  EXPECT_EQ(ended[0].items.size(), 1u) << "the mail that was never acknowledged";
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "three"}));
  mails = co_await entries_of(site, Kind::mail);
  EXPECT_THAT(mails.back().told, IsEmpty()) << "nobody is left to hear of it";
}
TEST(ExchangeLedger, HasEveryMailEveryAttemptAndEveryEnd) { run_site(ledger_options(), every_attempt); }

Task<void> pages(Site& site) {
  co_await begin(site);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "m"}));
    CO_ASSERT(co_await site.attempts.wait(2 + i));
  }
  auto all = co_await site.exchange.ledger_after(0, 1'000);
  CO_ASSERT(all.entries.size() == 8);  // of 21
  EXPECT_EQ(all.forgotten, 13u);
  EXPECT_EQ(all.entries.front().number, 14u);
  auto some = co_await site.exchange.ledger_after(15, 2);
  CO_ASSERT(some.entries.size() == 2);
  EXPECT_EQ(some.entries[0].number, 16u);
  EXPECT_EQ(some.entries[1].number, 17u);
  EXPECT_THAT((co_await site.exchange.ledger_after(21, 10)).entries, IsEmpty());
}
TEST(ExchangeLedger, ForgetsTheOldestAndSaysSo) { run_site(ledger_options(8), pages); }

Task<void> deaf(Site& site) {
  co_await begin(site);
  EXPECT_TRUE(co_await site.exchange.add_callback_fault({.kind = CallbackFaultKind::ignore_answer, .count = 2}));
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "one"}));
  CO_ASSERT(co_await site.attempts.wait(4));
  EXPECT_EQ(site.peer.seen.size(), 4u) << "the peer answered OK each time";
  auto attempts = co_await entries_of(site, Kind::attempt);
  CO_ASSERT(attempts.size() == 4);
  EXPECT_EQ(attempts[1].outcome, Outcome::failed);
  EXPECT_EQ(attempts[2].outcome, Outcome::failed);
  EXPECT_EQ(attempts[3].outcome, Outcome::ok);
  EXPECT_EQ((co_await site.exchange.books()).all.retries, 2u);
}
TEST(ExchangeLedger, AnAnswerThatIsIgnoredIsRepeated) { run_site(ledger_options(), deaf); }

Task<void> early(Site& site) {
  co_await begin(site);
  EXPECT_TRUE(co_await site.exchange.add_callback_fault({.kind = CallbackFaultKind::count_as_ok, .count = 1}));
  site.peer.script = {Answer::hang};
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "one"}));
  CO_ASSERT(co_await site.attempts.wait(2));
  EXPECT_EQ((co_await site.exchange.books()).all.new_mails_acknowledged, 1u);
  CO_ASSERT(co_await site.peer.wait(2));  // it is sent all the same
  auto attempts = co_await entries_of(site, Kind::attempt);
  EXPECT_EQ(attempts.back().outcome, Outcome::ok);
  site.peer.released.set();
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "two"}));
  CO_ASSERT(co_await site.attempts.wait(3));
  EXPECT_EQ(site.attempts.all.back().outcome, Outcome::ok) << "the fault is used up";
}
TEST(ExchangeLedger, ACallbackMayCountAsAnsweredBeforeItIsSent) { run_site(ledger_options(), early); }

Task<void> for_a_while(Site& site) {
  co_await begin(site);
  EXPECT_TRUE(co_await site.exchange.add_fault({.kind = EwsFaultKind::unavailable, .lasting = std::chrono::minutes(10)}));
  EXPECT_EQ((co_await site.get_item(kAlice, "x")).status, 503);
  auto scaled = Duration(static_cast<int64_t>(600e9 * fast()));
  CO_ASSERT(co_await sleep_for(scaled + 1ms));
  EXPECT_NE((co_await site.get_item(kAlice, "x")).status, 503);
}
TEST(ExchangeLedger, AFaultLastsForMinutesOfTheScaledClock) { run_site(ledger_options(), for_a_while); }

}  // namespace
}  // namespace bellhop::standin::test
