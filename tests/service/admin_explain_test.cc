// SPDX-License-Identifier: Apache-2.0
// GET /v1/audit and /v1/explain/{thing} of a whole server. Runs on both back ends.
#include "core/sleep.h"
#include "proto/json.h"
#include "service/audit.h"
#include "service/subscription_health.h"
#include "tests/service/admin_fixture.h"

namespace bellhop::service::admin_test {
namespace {

using testing::HasSubstr;
using testing::Not;

// The server's own, which it shows us only to read.
MetricsShard& shard(AdminWorld& world, unsigned core) { return const_cast<MetricsShard&>(*world.server().shards()[core]); }

// What the tests put into the journal is not for the server to find at its start.
Task<void> wait_restored(AdminWorld& world) {
  constexpr std::string_view kRestored = R"("restored":true)";
  while ((co_await world.ask("GET", "/v1/audit")).body.find(kRestored) == std::string::npos) {
    EXPECT_TRUE(co_await sleep_for(1ms));
  }
}

Task<void> balances(AdminWorld& world) {
  co_await wait_restored(world);
  Answer answer = co_await world.ask("GET", "/v1/audit");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"({"balanced":true,"findings":[],"imbalance":0,"ledger":{"accepted":0,)"));
  EXPECT_THAT(answer.body, HasSubstr(R"("journal":{"counted":0,"stored":0,"restored":true,"lookedAt":0,"orphans":0})"));
  auto document = proto::JsonDocument::parse(answer.body);
  CO_ASSERT(document);
  auto cores = document->root().required_array("cores");
  CO_ASSERT(cores);
  EXPECT_EQ(cores->size(), kCores);
  EXPECT_EQ((co_await world.ask(Way::tcp, "GET", "/v1/audit")).status, 403);
}

TEST(Audit, FindsNothingWhereNothingIsWrong) { AdminWorld::run(&balances); }

// One core lost three events, and the other counts three too many: their sum balances, and that must hide nothing.
Task<void> unbalanced(AdminWorld& world) {
  shard(world, 0).add(metric::events_accepted, 3);
  shard(world, 1).add(metric::device_outcomes, DeviceOutcome::delivered_apns, 3);
  Answer answer = co_await world.ask("GET", "/v1/audit");
  EXPECT_THAT(answer.body, HasSubstr(R"({"balanced":false,"findings":["unbalanced"],"imbalance":6,)"));
  EXPECT_THAT(answer.body, HasSubstr(R"("balance":3})"));
  EXPECT_THAT(answer.body, HasSubstr(R"("balance":-3})"));
  bool virtual_time = io::thread_cpu_ns() == 0;
  if (!virtual_time) co_return;  // the watch looks every ten seconds
  CO_ASSERT(co_await sleep_for(kBalanceLook + 1s));
  EXPECT_THAT((co_await world.ask("GET", "/metrics")).body, HasSubstr("\nbellhop_ledger_imbalance 6\n"));
  EXPECT_THAT((co_await world.ask("GET", "/v1/status")).body, HasSubstr(R"("event":"ledger_imbalance")"));
  shard(world, 1).add(metric::events_accepted, 3);
  shard(world, 0).add(metric::device_outcomes, DeviceOutcome::delivered_apns, 3);
  CO_ASSERT(co_await sleep_for(kBalanceLook + 1s));
  EXPECT_THAT((co_await world.ask("GET", "/metrics")).body, HasSubstr("\nbellhop_ledger_imbalance 0\n"));
}

TEST(Audit, FindsWhatACoreCannotAccountForAlsoWhereTheSumBalances) { AdminWorld::run(&unbalanced); }

Task<store::JournalEntry> add_record(AdminWorld& world, const Mailbox& mailbox, store::DeviceKey device, uint64_t item) {
  auto user = co_await world.store().read_user(mailbox.user);
  EXPECT_TRUE(user);
  store::JournalEntry entry;
  entry.key = {.mailbox = user->mailbox, .device = device, .item_hash = item};
  entry.record.user = mailbox.user;
  entry.record.first_seen = WallTime(std::chrono::milliseconds(1'700'000'000'123));
  entry.record.next_attempt = WallTime(std::chrono::milliseconds(1'700'000'600'456));
  entry.record.attempts = 4;
  EXPECT_TRUE(co_await world.store().add_journal({entry}));
  co_return entry;
}

Task<void> journal_differs(AdminWorld& world) {
  co_await wait_restored(world);
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example");
  co_await add_record(world, mailbox, mailbox.devices[0], 7);
  EXPECT_THAT((co_await world.ask("GET", "/v1/audit")).body, HasSubstr(R"("findings":["journal_differs"])"));
  // As after a start that has read it.
  shard(world, 0).add(metric::events_accepted, 1);
  shard(world, 0).raise(metric::journal_records, 1);
  Answer answer = co_await world.ask("GET", "/v1/audit");
  EXPECT_THAT(answer.body, HasSubstr(R"({"balanced":true,"findings":[],"imbalance":0,)"));
  EXPECT_THAT(answer.body, HasSubstr(R"("journal":{"counted":1,"stored":1,"restored":true,"lookedAt":1,"orphans":0})"));

  store::DeviceKey gone = mailbox.devices[0];
  gone.bytes[15] ^= 1;
  co_await add_record(world, mailbox, gone, 8);
  shard(world, 0).add(metric::events_accepted, 1);
  shard(world, 0).raise(metric::journal_records, 1);
  answer = co_await world.ask("GET", "/v1/audit");
  EXPECT_THAT(answer.body, HasSubstr(R"("findings":["journal_orphans"])"));
  EXPECT_THAT(answer.body, HasSubstr(R"("journal":{"counted":2,"stored":2,"restored":true,"lookedAt":2,"orphans":1})"));
}

TEST(Audit, ComparesTheJournalOfTheStoreWithTheLedgerAndWithTheDevices) { AdminWorld::run(&journal_differs); }

// ---- Explain ----

Task<void> a_mailbox(AdminWorld& world) {
  co_await wait_restored(world);
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example", 2);
  Mailbox other = co_await add_mailbox(world.store(), 2, "example", 1);
  co_await add_record(world, mailbox, mailbox.devices[1], 0xabc);
  co_await add_record(world, other, other.devices[0], 0xdef);
  std::string user = to_hex(mailbox.user), first = to_hex(mailbox.devices[0]), second = to_hex(mailbox.devices[1]);
  std::string subscription = subscription_id(mailbox.capability);

  Answer answer = co_await world.ask("GET", "/v1/explain/" + user);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(text_member(answer.body, "kind"), "user");
  EXPECT_EQ(text_member(answer.body, "tenant"), "example");
  EXPECT_THAT(text_member(answer.body, "summary"), HasSubstr("is pending. 1 pushes wait in the journal."));
  EXPECT_THAT(answer.body, HasSubstr(R"("what":"journal","text":"a push went into the journal; 4 attempts since","outcome":"journaled","device":")" + second));
  EXPECT_THAT(answer.body, HasSubstr(R"("what":"subscription","text":"a subscription was made at mail.example.com; it is pending now")"));
  EXPECT_THAT(answer.body, HasSubstr(R"("pendingCount":1,"pending":[{"device":")" + second +
                                     R"(","item":"0000000000000abc","firstSeen":"2023-11-14T22:13:20.123Z","attempts":4,)"
                                     R"("nextAttempt":"2023-11-14T22:23:20.456Z"}])"));
  EXPECT_THAT(answer.body, HasSubstr(R"("next":[{"at":"2023-11-14T22:23:20.456Z","what":"journal")"));
  EXPECT_THAT(answer.body, HasSubstr(R"("what":"heartbeat")"));
  EXPECT_THAT(answer.body, Not(HasSubstr("0def"))) << "of another mailbox";

  answer = co_await world.ask("GET", "/v1/explain/" + first);
  EXPECT_EQ(text_member(answer.body, "kind"), "device");
  EXPECT_EQ(text_member(answer.body, "user"), user);
  EXPECT_THAT(answer.body, HasSubstr(R"("pendingCount":0,"pending":[])"));
  EXPECT_THAT(answer.body, Not(HasSubstr(second)));
  EXPECT_THAT((co_await world.ask("GET", "/v1/explain/" + second)).body, HasSubstr(R"("pendingCount":1)"));

  answer = co_await world.ask("GET", "/v1/explain/" + subscription);
  EXPECT_EQ(text_member(answer.body, "kind"), "subscription");
  EXPECT_EQ(text_member(answer.body, "user"), user);
}

TEST(Explain, TellsOfAUserADeviceAndASubscriptionWhatWaitsAndUntilWhen) { AdminWorld::run(&a_mailbox); }

Task<void> trouble(AdminWorld& world) {
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example");
  store::SubscriptionPatch patch;
  patch.logon = store::LogonRule{.failed = 2, .next_allowed = io::wall_now() + std::chrono::hours(1)};
  EXPECT_TRUE(co_await world.store().update_subscription(mailbox.capability, patch));
  auto device = co_await world.store().read_device(mailbox.user, mailbox.devices[0]);
  CO_ASSERT(device);
  EXPECT_TRUE(co_await world.store().mark_token_gone(mailbox.user, mailbox.devices[0], device->registered_at));
  Answer answer = co_await world.ask("GET", "/v1/explain/" + to_hex(mailbox.user));
  EXPECT_THAT(text_member(answer.body, "summary"), HasSubstr("gets no pushes: the push service says that the app is not on the device any more"));
  EXPECT_THAT(text_member(answer.body, "summary"), HasSubstr("Exchange refuses its credentials"));
  EXPECT_THAT(answer.body, HasSubstr(R"("what":"logon","text":"Exchange refused the credentials 2 times)"));
}

TEST(Explain, SaysWhyNothingArrives) { AdminWorld::run(&trouble); }

Task<void> outcomes(AdminWorld& world) {
  shard(world, 0).add(metric::device_outcomes, DeviceOutcome::skipped_merged, 5);
  shard(world, 0).add(metric::events_accepted, 5);
  Answer answer = co_await world.ask("GET", "/v1/explain/skipped.merged");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"("kind":"outcome","list":"device","summary":"the mail is part of one push that stands for many")"));
  EXPECT_THAT(answer.body, HasSubstr(R"("count":5,"chain":[])"));
  for (std::string_view name : kDeviceOutcomeNames) EXPECT_EQ((co_await world.ask("GET", "/v1/explain/" + std::string(name))).status, 200) << name;
  for (std::string_view name : kCallbackOutcomeNames) EXPECT_EQ((co_await world.ask("GET", "/v1/explain/" + std::string(name))).status, 200) << name;
  for (std::string_view name : kApiOutcomeNames) EXPECT_EQ((co_await world.ask("GET", "/v1/explain/" + std::string(name))).status, 200) << name;
  for (std::string_view name : kGatewayOutcomeNames) EXPECT_EQ((co_await world.ask("GET", "/v1/explain/" + std::string(name))).status, 200) << name;
}

TEST(Explain, KnowsEveryOutcome) { AdminWorld::run(&outcomes); }

Task<void> nothing(AdminWorld& world) {
  for (std::string thing : {std::string("00"), std::string("nonsense"), std::string("delivered"), std::string(32, 'a'), std::string(64, 'b'),
                            std::string(31, 'a'), std::string(400, '0')}) {
    Answer answer = co_await world.ask("GET", "/v1/explain/" + thing);
    EXPECT_EQ(answer.status, 404) << thing;
    EXPECT_EQ(text_member(answer.body, "code"), "unknown") << thing;
  }
  EXPECT_EQ((co_await world.ask(Way::tcp, "GET", "/v1/explain/ok")).status, 403);
}

TEST(Explain, RefusesWhatIsNoThing) { AdminWorld::run(&nothing); }

}  // namespace
}  // namespace bellhop::service::admin_test
