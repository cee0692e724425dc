// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/exchange.h"

#include "tests/standin/site.h"

namespace bellhop::standin::test {
namespace {

using proto::EventKind;
using ::testing::ElementsAre;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Outcome = NotificationAttempt::Outcome;

constexpr const char* kAlice = "alice@example.com";
constexpr const char* kBob = "bob@example.com";

WorldOptions fast_options() {
  WorldOptions options;
  options.exchange.time_scale = fast();
  options.exchange.heartbeats = false;
  return options;
}

Task<void> add(Site& site, std::string address) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({std::move(address), {}, "secret"}));
}
Mail mail_of(std::string subject) {
  return {.subject = std::move(subject), .sender_name = "Carol Example", .sender_address = "carol@example.com"};
}
std::string subscribe_body(const std::string& url, std::string_view mailbox = {}, uint32_t minutes = 30) {
  std::string body;
  BH_CHECK(proto::write_subscribe({.mailbox = mailbox, .status_frequency_minutes = minutes, .url = url}, body));
  return body;
}
std::string replaced(std::string text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  BH_CHECK(at != text.npos);
  return text.replace(at, from.size(), to);
}

// ---- The ordinary way ----

Task<void> mail_is_notified(Site& site) {
  co_await add(site, kAlice);
  std::string body = subscribe_body(site.callback_url());
  EwsResult result = co_await site.ews(kAlice, "secret", body);
  EXPECT_EQ(result.status, 200);
  auto subscribed = read_answer(result.body);
  CO_ASSERT(subscribed && subscribed->code == "NoError");
  CO_ASSERT(co_await site.peer.wait(1));
  EXPECT_THAT(site.peer.seen[0].kinds, ElementsAre(EventKind::status));
  EXPECT_EQ(site.peer.seen[0].previous_watermark, subscribed->watermark);
  EXPECT_EQ(site.peer.seen[0].subscription_id, subscribed->subscription_id);
  EXPECT_EQ(site.peer.seen[0].expects_continue, !site.http2());
  CO_ASSERT(co_await site.attempts.wait(1));

  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, mail_of("Lunch & <more>")));
  CO_ASSERT(co_await site.peer.wait(2));
  const Callback& callback = site.peer.seen[1];
  EXPECT_THAT(callback.kinds, ElementsAre(EventKind::new_mail, EventKind::modified, EventKind::modified));
  EXPECT_EQ(callback.previous_watermark, site.peer.seen[0].watermarks.back());
  EXPECT_EQ(callback.unread, 1);
  EXPECT_THAT(callback.item_ids, SizeIs(2));
  EXPECT_EQ(callback.item_ids[0], callback.item_ids[1]);
  EXPECT_FALSE(callback.more_events);

  EwsResult item = co_await site.get_item(kAlice, callback.item_ids[0]);
  auto reading = read_answer(item.body);
  CO_ASSERT(reading);
  EXPECT_EQ(reading->subject, "Lunch & <more>");
  EXPECT_EQ(reading->sender_address, "carol@example.com");
  CO_ASSERT(co_await site.attempts.wait(2));
  auto books = co_await site.exchange.mailbox_books(kAlice);
  CO_ASSERT(books);
  EXPECT_EQ(books->events_sent, 4u);
  EXPECT_EQ(books->events_acknowledged, 4u);
  EXPECT_EQ(books->new_mails_acknowledged, 1u);
  EXPECT_EQ(books->retries, 0u);
}
TEST(Exchange, NotifiesAMailWithItsItemAndTheUnreadCountInAChainOfWatermarks) { run_site(fast_options(), mail_is_notified); }

Task<void> read_elsewhere_is_notified(Site& site) {
  co_await add(site, kAlice);
  EXPECT_FALSE((co_await site.subscribe(kAlice)).empty());
  CO_ASSERT(co_await site.attempts.wait(1));
  for (int i = 0; i < 3; ++i) {
    co_await site.exchange.deliver(kAlice, mail_of("m"));
    CO_ASSERT(co_await site.attempts.wait(2 + i));
  }
  EXPECT_EQ(site.peer.seen.back().unread, 3);
  EXPECT_TRUE(co_await site.exchange.mark_read(kAlice, 1));
  CO_ASSERT(co_await site.peer.wait(5));
  EXPECT_THAT(site.peer.seen.back().kinds, ElementsAre(EventKind::modified, EventKind::modified));
  EXPECT_EQ(site.peer.seen.back().unread, 2);
}
TEST(Exchange, SaysTheNewUnreadCountWhenMailIsReadElsewhere) { run_site(fast_options(), read_elsewhere_is_notified); }

Task<void> status_comes_first(Site& site) {
  co_await add(site, kAlice);
  std::string id = co_await site.subscribe(kAlice);
  EXPECT_THAT(site.peer.seen, SizeIs(1));  // already when the answer is here
  EXPECT_EQ(site.peer.seen[0].subscription_id, id);
  EXPECT_FALSE(id.empty());
}
TEST(Exchange, MaySendTheFirstStatusEventBeforeTheSubscribeAnswer) {
  WorldOptions options = fast_options();
  options.exchange.first_status = FirstStatus::before_answer;
  run_site(options, status_comes_first);
}

Task<void> heartbeats_come(Site& site) {
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice, 15);
  CO_ASSERT(co_await site.attempts.wait(4));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(site.attempts.all[i].heartbeat);
    if (i == 0) continue;
    EXPECT_EQ(site.attempts.all[i].previous_watermark, site.attempts.all[i - 1].watermark);
    Duration gap = site.attempts.all[i].begun - site.attempts.all[i - 1].ended;
    Duration frequency = std::chrono::duration_cast<Duration>(std::chrono::minutes(15) * fast());
    EXPECT_GE(gap, frequency);
    if (simulated()) EXPECT_LT(gap, frequency + 1s);
  }
}
TEST(Exchange, SendsAStatusEventEachStatusFrequencyWithoutMail) {
  WorldOptions options = fast_options();
  options.exchange.heartbeats = true;
  options.exchange.time_scale = simulated() ? 1.0 : 0.00005;
  if (!simulated()) GTEST_SKIP() << "its times are checked on the virtual clock";
  run_site(options, heartbeats_come);
}

// ---- Retries ----

Task<void> retries_run_out(Site& site) {
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice, 5);
  CO_ASSERT(co_await site.attempts.wait(1));
  site.peer.otherwise = Answer::unavailable;
  co_await site.exchange.deliver(kAlice, mail_of("lost"));
  CO_ASSERT(co_await site.attempts.wait(6));
  // 30, 60, 120 and 240 s; the next wait, 480 s, is longer than five minutes.
  const auto& all = site.attempts.all;
  double expected_s[] = {30, 60, 120, 240};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(all[1 + i].outcome, Outcome::failed);
    EXPECT_EQ(all[1 + i].status, 503);
    EXPECT_EQ(all[2 + i].attempt, i + 2);
    EXPECT_EQ(all[2 + i].watermark, all[1].watermark);
    double gap_s = std::chrono::duration<double>(all[2 + i].begun - all[1 + i].ended).count();
    EXPECT_GE(gap_s, expected_s[i] * fast());
    if (simulated()) EXPECT_LT(gap_s, expected_s[i] + 0.1);
  }
  EXPECT_EQ(all[5].outcome, Outcome::died);
  auto books = co_await site.exchange.mailbox_books(kAlice);
  EXPECT_EQ(books->dead, 1u);
  EXPECT_EQ(books->retries, 4u);
  EXPECT_EQ(books->failures, 5u);
  EXPECT_EQ(books->events_lost, 3u);
  EXPECT_EQ((co_await site.exchange.books()).subscriptions, 0u);
  // Nothing follows.
  site.peer.otherwise = Answer::ok;
  co_await site.exchange.deliver(kAlice, mail_of("unheard"));
  EXPECT_FALSE((co_await site.subscribe(kAlice)).empty());
  CO_ASSERT(co_await site.attempts.wait(7));
  EXPECT_TRUE(site.attempts.all[6].heartbeat);
}
TEST(Exchange, RepeatsAfter30And60And120SecondsAndDropsTheSubscriptionWhenStatusFrequencyIsUsedUp) {
  run_site(fast_options(), retries_run_out);
}

Task<void> retry_counts(Site& site) {
  co_await add(site, kAlice);
  site.peer.otherwise = Answer::unavailable;
  co_await site.subscribe(kAlice, 30);
  CO_ASSERT(co_await site.attempts.wait(7));  // the first and six repeats: 30 … 960 s
  EXPECT_EQ(site.attempts.all[6].outcome, Outcome::died);
  co_await site.subscribe(kAlice, 15);
  CO_ASSERT(co_await site.attempts.wait(13));  // the first and five: 30 … 480 s
  EXPECT_EQ(site.attempts.all[11].outcome, Outcome::failed);
  EXPECT_EQ(site.attempts.all[12].outcome, Outcome::died);
}
TEST(Exchange, RepeatsSixTimesWithinThirtyMinutesAndFiveTimesWithinFifteen) {
  WorldOptions options = fast_options();
  if (!simulated()) options.exchange.time_scale = 0.0001;
  run_site(options, retry_counts);
}

Task<void> recovers(Site& site) {
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(1));
  site.peer.script = {Answer::garbage, Answer::drop};
  co_await site.exchange.deliver(kAlice, mail_of("first"));
  CO_ASSERT(co_await site.attempts.wait(2));
  co_await site.exchange.deliver(kAlice, mail_of("second"));  // waits behind the repeats
  CO_ASSERT(co_await site.attempts.wait(5));
  const auto& seen = site.peer.seen;
  CO_ASSERT(seen.size() == 5);
  EXPECT_EQ(seen[2].watermarks, seen[1].watermarks);
  EXPECT_EQ(seen[3].watermarks, seen[1].watermarks);
  EXPECT_EQ(seen[3].previous_watermark, seen[0].watermarks.back());
  EXPECT_EQ(seen[4].previous_watermark, seen[3].watermarks.back());
  EXPECT_EQ(seen[4].unread, 2);
  EXPECT_TRUE(seen[3].more_events);
  auto books = co_await site.exchange.mailbox_books(kAlice);
  EXPECT_EQ(books->new_mails_acknowledged, 2u);
  EXPECT_EQ(books->retries, 2u);
  EXPECT_EQ(books->events_lost, 0u);
}
TEST(Exchange, RepeatsTheSameEventsAndThenGoesOnWithTheLaterOnes) { run_site(fast_options(), recovers); }

Task<void> silence_times_out(Site& site) {
  co_await add(site, kAlice);
  site.peer.script = {Answer::hang};
  Instant before = io::now();
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(2));
  EXPECT_EQ(site.attempts.all[0].outcome, Outcome::failed);
  EXPECT_EQ(site.attempts.all[0].status, 0);
  EXPECT_GE(site.attempts.all[0].ended - before, 200ms);
  EXPECT_EQ(site.attempts.all[1].outcome, Outcome::ok);
}
TEST(Exchange, SendsItsCallbacksOverHttp2) {
  WorldOptions options = fast_options();
  options.exchange.callback_http2 = true;
  run_site(options, mail_is_notified);
  run_site(options, recovers);
  options.exchange.callback_timeout = 200ms;
  run_site(options, silence_times_out);
}

TEST(Exchange, TakesAnAnswerThatDoesNotComeInTimeAsAFailure) {
  WorldOptions options = fast_options();
  options.exchange.callback_timeout = 200ms;
  run_site(options, silence_times_out);
}

Task<void> unsubscribe_ends(Site& site) {
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(1));
  site.peer.script = {Answer::unsubscribe};
  co_await site.exchange.deliver(kAlice, mail_of("a"));
  CO_ASSERT(co_await site.attempts.wait(2));
  EXPECT_EQ(site.attempts.all[1].outcome, Outcome::unsubscribe);
  co_await site.exchange.deliver(kAlice, mail_of("b"));
  ExchangeBooks books = co_await site.exchange.books();
  EXPECT_EQ(books.all.unsubscribed, 1u);
  EXPECT_EQ(books.subscriptions, 0u);
  EXPECT_EQ(books.all.notifications, 2u);
  EXPECT_EQ(books.events_pending, 0u);
}
TEST(Exchange, EndsTheSubscriptionAtTheAnswerUnsubscribe) { run_site(fast_options(), unsubscribe_ends); }

Task<void> restart_forgets(Site& site) {
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(1));
  site.peer.script = {Answer::hang};
  co_await site.exchange.deliver(kAlice, mail_of("a"));
  CO_ASSERT(co_await site.peer.wait(2));
  co_await site.exchange.restart();  // while a callback is under way
  site.peer.released.set();
  CO_ASSERT(co_await site.attempts.wait(2));
  co_await site.exchange.deliver(kAlice, mail_of("b"));
  ExchangeBooks books = co_await site.exchange.books();
  EXPECT_EQ(books.all.forgotten, 1u);
  EXPECT_EQ(books.subscriptions, 0u);
  EXPECT_THAT(site.peer.seen, SizeIs(2));
}
TEST(Exchange, ForgetsSubscriptionsWhenItRestarts) { run_site(fast_options(), restart_forgets); }

Task<void> overflow_dies(Site& site) {
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(1));
  site.peer.script = {Answer::hang};
  for (int i = 0; i < 5; ++i) co_await site.exchange.deliver(kAlice, mail_of("m"));  // 15 events
  site.peer.released.set();
  CO_ASSERT(co_await site.attempts.wait(2));
  auto books = co_await site.exchange.mailbox_books(kAlice);
  EXPECT_EQ(books->dead, 1u);
  EXPECT_EQ(books->events_lost, 12u);
}
TEST(Exchange, DropsASubscriptionThatFallsTooFarBehind) {
  WorldOptions options = fast_options();
  options.exchange.pending_events_max = 12;
  run_site(options, overflow_dies);
}

Task<void> cap_holds(Site& site) {
  for (int i = 0; i < 10; ++i) {
    std::string address = "u" + std::to_string(i) + "@example.com";
    co_await add(site, address);
    EXPECT_FALSE((co_await site.subscribe(address)).empty());
  }
  CO_ASSERT(co_await site.attempts.wait(10));
  site.peer.otherwise = Answer::hang;
  for (int i = 0; i < 10; ++i) co_await site.exchange.deliver("u" + std::to_string(i) + "@example.com", mail_of("m"));
  CO_ASSERT(co_await site.peer.wait(13));
  EXPECT_EQ(site.peer.open, 3u);
  site.peer.released.set();
  CO_ASSERT(co_await site.attempts.wait(20));
  EXPECT_EQ(site.peer.open_max, 3u);
  EXPECT_EQ((co_await site.exchange.books()).all.failures, 0u);
}
TEST(Exchange, OpensNoMoreCallbackConnectionsThanItsCap) {
  WorldOptions options = fast_options();
  options.exchange.callback_connections_max = 3;
  run_site(options, cap_holds);
}

Task<void> strangers_are_not_called(Site& site) {
  site.use_foreign_certificate();
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice, 1);
  CO_ASSERT(co_await site.attempts.wait(3));
  EXPECT_THAT(site.peer.seen, SizeIs(0));
  EXPECT_EQ(site.attempts.all[2].outcome, Outcome::died);
}
TEST(Exchange, SendsNothingToAListenerWhoseCertificateItDoesNotTrust) { run_site(fast_options(), strangers_are_not_called); }

// ---- Subscribe's rules ----

Task<void> subscribe_rules(Site& site) {
  co_await add(site, kAlice);
  co_await add(site, kBob);
  std::string good = subscribe_body(site.callback_url());
  auto code_of = [](const EwsResult& result) {
    auto reading = read_answer(result.body);
    return std::to_string(result.status) + " " + (reading ? reading->code : "unreadable");
  };
  EXPECT_EQ((co_await site.ews(kAlice, "wrong", good)).status, 401);
  EXPECT_EQ((co_await site.ews("nobody@example.com", "secret", good)).status, 401);
  EwsResult refused = co_await site.ews(kAlice, "", good);
  EXPECT_THAT(refused.headers["www-authenticate"], HasSubstr("Basic"));
  EXPECT_EQ(code_of(co_await site.ews("EXAMPLE\\alice", "secret", good)), "200 NoError");
  EXPECT_EQ(code_of(co_await site.ews(kAlice, "secret", subscribe_body(site.callback_url(), kBob))),
            "200 ErrorSubscriptionDelegateAccessNotSupported");

  std::string base = site.callback_url("id=");
  std::string longest = base + std::string(2082 - base.size(), 'a');
  EXPECT_EQ(code_of(co_await site.ews(kAlice, "secret", subscribe_body(longest))), "200 NoError");
  std::string xml = subscribe_body(longest);
  EXPECT_EQ(code_of(co_await site.ews(kAlice, "secret", replaced(xml, "aaa", "aaaa"))),
            "200 ErrorInvalidPushSubscriptionUrl");
  std::string escaped = good.substr(good.find("<t:URL>"), good.find("</t:URL>") - good.find("<t:URL>"));
  for (std::string_view bad : {"ftp://host.example.com/", "https://", "https:///x", "nothing", "https://h.example.com:0/",
                               "https://h.example.com/#f", "https://a b/"}) {
    EXPECT_EQ(code_of(co_await site.ews(kAlice, "secret", replaced(good, escaped, "<t:URL>" + std::string(bad)))),
              "200 ErrorInvalidPushSubscriptionUrl")
        << bad;
  }
  for (std::string_view minutes : {"0", "1441", "x"}) {
    std::string body = replaced(good, "<t:StatusFrequency>30", "<t:StatusFrequency>" + std::string(minutes));
    EXPECT_EQ(code_of(co_await site.ews(kAlice, "secret", body)), "500 ErrorSchemaValidation") << minutes;
  }
  EXPECT_EQ(code_of(co_await site.ews(kAlice, "secret", "<no>soap</no>")), "500 ErrorSchemaValidation");
  EXPECT_EQ(code_of(co_await site.ews(kAlice, "secret", replaced(good, "Id=\"inbox\"", "Id=\"calendar\""))),
            "200 ErrorFolderNotFound");
}
TEST(Exchange, JudgesSubscribeAsExchangeDoes) { run_site(fast_options(), subscribe_rules); }

Task<void> watermark_resumes(Site& site) {
  co_await add(site, kAlice);
  co_await add(site, kBob);
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(1));
  std::string from = site.peer.seen[0].watermarks[0];
  co_await site.exchange.restart();
  co_await site.exchange.deliver(kAlice, mail_of("missed"));
  std::string url = site.callback_url(), body;
  BH_CHECK(proto::write_subscribe({.watermark = from, .url = url}, body));
  EXPECT_EQ((co_await site.ews(kAlice, "secret", body)).status, 200);
  CO_ASSERT(co_await site.peer.wait(2));
  EXPECT_THAT(site.peer.seen[1].kinds, ElementsAre(EventKind::new_mail, EventKind::status));
  EXPECT_EQ(site.peer.seen[1].previous_watermark, from);
  // Somebody else's, and one that nobody made.
  for (std::string who : {kBob, kAlice}) {
    std::string watermark = who == kBob ? from : "AQAAAA==";
    BH_CHECK(proto::write_subscribe({.watermark = watermark, .url = url}, body));
    auto reading = read_answer((co_await site.ews(who, "secret", body)).body);
    EXPECT_TRUE(reading && reading->code == "ErrorInvalidWatermark");
  }
}
TEST(Exchange, GoesOnFromAWatermarkOfTheSameMailboxOnly) { run_site(fast_options(), watermark_resumes); }

Task<void> too_many(Site& site) {
  co_await add(site, kAlice);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE((co_await site.subscribe(kAlice)).empty());
  auto reading = read_answer((co_await site.ews(kAlice, "secret", subscribe_body(site.callback_url()))).body);
  EXPECT_TRUE(reading && reading->code == "ErrorExceededSubscriptionCount");
}
TEST(Exchange, RefusesMoreSubscriptionsThanAMailboxMayHave) {
  WorldOptions options = fast_options();
  options.exchange.subscriptions_per_mailbox_max = 3;
  run_site(options, too_many);
}

// ---- Items ----

Task<void> items_are_found(Site& site) {
  co_await add(site, kAlice);
  co_await add(site, kBob);
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(1));
  for (int i = 0; i < 3; ++i) co_await site.exchange.deliver(kAlice, mail_of("mail " + std::to_string(i)));
  std::string body;
  const proto::ItemField subject[] = {proto::ItemField::subject, proto::ItemField::from};
  BH_CHECK(proto::write_find_item({.entries_max = 2, .fields = subject}, body));
  auto found = read_answer((co_await site.ews(kAlice, "secret", body)).body);
  CO_ASSERT(found);
  EXPECT_EQ(found->items, 2u);
  EXPECT_EQ(found->subject, "mail 2");
  EXPECT_EQ(found->sender_name, "Carol Example");
  EXPECT_EQ(found->sender_address, "");  // FindItem gives names only
  BH_CHECK(proto::write_find_item({.mailbox = kBob}, body));
  auto denied = read_answer((co_await site.ews(kAlice, "secret", body)).body);
  EXPECT_TRUE(denied && denied->code == "ErrorAccessDenied");

  CO_ASSERT(co_await site.peer.wait(2));
  std::string item = site.peer.seen[1].item_ids[0];
  EXPECT_EQ(read_answer((co_await site.get_item(kAlice, item)).body)->code, "NoError");
  EXPECT_EQ(read_answer((co_await site.get_item(kBob, item)).body)->code, "ErrorItemNotFound");
  EXPECT_EQ(read_answer((co_await site.get_item(kAlice, "bm90IGFuIGlk")).body)->code, "ErrorInvalidIdMalformed");
  EXPECT_TRUE(co_await site.exchange.delete_items(kAlice, 3));
  EXPECT_EQ(read_answer((co_await site.get_item(kAlice, item)).body)->code, "ErrorItemNotFound");
}
TEST(Exchange, FindsAndGetsTheItemsOfTheOwnMailboxOnly) { run_site(fast_options(), items_are_found); }

Task<void> gone_at_once(Site& site) {
  co_await add(site, kAlice);
  co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.attempts.wait(1));
  Mail mail = mail_of("gone");
  mail.gone = true;
  co_await site.exchange.deliver(kAlice, std::move(mail));
  CO_ASSERT(co_await site.peer.wait(2));
  EXPECT_EQ(read_answer((co_await site.get_item(kAlice, site.peer.seen[1].item_ids[0])).body)->code, "ErrorItemNotFound");
}
TEST(Exchange, NotifiesAnItemThatIsDeletedBeforeItCanBeFetched) { run_site(fast_options(), gone_at_once); }

Task<void> old_items_go(Site& site) {
  co_await add(site, kAlice);
  for (int i = 0; i < 30; ++i) co_await site.exchange.deliver(kAlice, mail_of("m"));
  std::string body;
  BH_CHECK(proto::write_find_item({.entries_max = 1000}, body));
  auto found = read_answer((co_await site.ews(kAlice, "secret", body)).body);
  CO_ASSERT(found);
  EXPECT_GE(found->items, 8u);
  EXPECT_LE(found->items, 10u);
}
TEST(Exchange, KeepsABoundedNumberOfItems) {
  WorldOptions options = fast_options();
  options.exchange.items_per_mailbox_max = 8;
  run_site(options, old_items_go);
}

// ---- Faults on demand ----

Task<void> faults_table(Site& site) {
  co_await add(site, kAlice);
  std::string find;
  BH_CHECK(proto::write_find_item({}, find));
  struct Case {
    EwsFaultKind kind;
    uint16_t status;
    const char* code;  // null: no EWS answer
  };
  for (Case one : {Case{EwsFaultKind::unauthorized, 401, nullptr}, Case{EwsFaultKind::unavailable, 503, nullptr},
                   Case{EwsFaultKind::server_busy, 500, "ErrorServerBusy"},
                   Case{EwsFaultKind::server_error, 500, "ErrorInternalServerError"},
                   Case{EwsFaultKind::inner_busy, 200, "ErrorServerBusy"},
                   Case{EwsFaultKind::response_code, 200, "ErrorMailboxMoveInProgress"},
                   Case{EwsFaultKind::garbage, 200, nullptr}, Case{EwsFaultKind::truncated, 200, nullptr},
                   Case{EwsFaultKind::redirect, 302, nullptr}, Case{EwsFaultKind::drop, 0, nullptr}}) {
    SCOPED_TRACE(ews_fault_name(one.kind));
    EXPECT_EQ(parse_ews_fault(ews_fault_name(one.kind)), one.kind);
    EXPECT_TRUE(co_await site.exchange.add_fault({.kind = one.kind,
                                                  .operation = EwsOperation::find_item,
                                                  .count = 1,
                                                  .back_off = 2500ms,
                                                  .code = "ErrorMailboxMoveInProgress"}));
    EwsResult result = co_await site.ews(kAlice, "secret", find);
    EXPECT_EQ(result.status, one.status);
    auto reading = read_answer(result.body);
    EXPECT_EQ(reading.has_value(), one.code != nullptr);
    if (reading && one.code) EXPECT_EQ(reading->code, one.code);
    if (one.kind == EwsFaultKind::server_busy || one.kind == EwsFaultKind::inner_busy) {
      EXPECT_EQ(reading->back_off_ms, 2500u);
    }
    if (one.kind == EwsFaultKind::unavailable) EXPECT_EQ(result.headers["retry-after"], "3");
    // Once was enough.
    EXPECT_EQ((co_await site.ews(kAlice, "secret", find)).status, 200);
  }
  EXPECT_EQ((co_await site.exchange.books()).faulted, 10u);
}
TEST(Exchange, AnswersWithEachFaultAsOftenAsItIsTold) { run_site(fast_options(), faults_table); }

Task<void> faults_fit(Site& site) {
  co_await add(site, kAlice);
  co_await add(site, kBob);
  std::string find;
  BH_CHECK(proto::write_find_item({}, find));
  EXPECT_TRUE(co_await site.exchange.add_fault({.kind = EwsFaultKind::unavailable, .mailbox = kBob}));
  EXPECT_TRUE(co_await site.exchange.add_fault(
      {.kind = EwsFaultKind::none, .operation = EwsOperation::find_item, .mailbox = kAlice, .delay = 300ms}));
  EXPECT_EQ((co_await site.ews(kBob, "secret", find)).status, 503);
  EXPECT_EQ((co_await site.ews(kBob, "secret", find)).status, 503);
  Instant before = io::now();
  EXPECT_EQ((co_await site.ews(kAlice, "secret", find)).status, 200);
  EXPECT_GE(io::now() - before, 300ms);
  co_await site.exchange.clear_faults();
  EXPECT_EQ((co_await site.ews(kBob, "secret", find)).status, 200);
  uint32_t added = 0;
  while (co_await site.exchange.add_fault({.kind = EwsFaultKind::redirect, .operation = EwsOperation::other})) ++added;
  EXPECT_EQ(added, 64u);
}
TEST(Exchange, LetsFaultsMeetOneMailboxOrOneOperationUntilTheyAreCleared) { run_site(fast_options(), faults_fit); }

// ---- Several cores, and the control API ----

Task<void> two_cores(Site& site) {
  for (int i = 0; i < 16; ++i) {
    std::string address = "u" + std::to_string(i) + "@example.com";
    co_await add(site, address);
    EXPECT_FALSE((co_await site.subscribe(address)).empty());
  }
  CO_ASSERT(co_await site.peer.wait(16));
  EXPECT_TRUE(co_await site.exchange.deliver_many(160, 0));
  // The last answers may still be on their way to the other core.
  Instant deadline = io::now() + 30s;
  while ((co_await site.exchange.books()).all.new_mails_acknowledged < 160) {
    CO_ASSERT(io::now() < deadline);
    co_await yield_now();
  }
  ExchangeBooks books = co_await site.exchange.books();
  EXPECT_EQ(books.mailboxes, 16u);
  EXPECT_EQ(books.all.mails, 160u);
  EXPECT_EQ(books.all.failures, 0u);
}

TEST(Exchange, ServesMailboxesOnAllItsCores) { run_site(fast_options(), two_cores, 2); }

Task<std::string> control(Site& site, std::string method, std::string target, std::string body) {
  service::Http1ClientOptions options;
  service::Http1Origin origin;
  origin.host = "127.0.0.1";
  origin.port = site.exchange.control_address().port;
  auto client = co_await service::Http1Client::open(origin, options);
  if (!client) co_return "no connection";
  auto response = co_await (*client)->exchange(
      {.method = method, .target = target, .host = "localhost", .headers = {}, .body = body});
  std::string text = response ? std::to_string(response->status) + " " + std::string(response->text()) : "no answer";
  co_await (*client)->close();
  co_return text;
}

Task<void> control_works(Site& site) {
  EXPECT_EQ(co_await control(site, "POST", "/mailboxes", R"({"count":3,"prefix":"user","domain":"example.com","password":"secret"})"),
            R"(200 {"made":3})");
  EXPECT_THAT(co_await control(site, "POST", "/mailboxes", R"({"address":"user1@example.com","password":"x"})"), HasSubstr("409"));
  EXPECT_FALSE((co_await site.subscribe("user2@example.com")).empty());
  CO_ASSERT(co_await site.attempts.wait(1));
  EXPECT_THAT(co_await control(site, "POST", "/deliver", R"({"address":"user2@example.com","subject":"Hi"})"),
              HasSubstr(R"("delivered":1)"));
  CO_ASSERT(co_await site.attempts.wait(2));
  EXPECT_THAT(co_await control(site, "POST", "/deliver", R"({"mails":[{"address":"user2@example.com","subject":"a"},{"address":"nobody@example.com"}]})"),
              HasSubstr(R"("delivered":1)"));
  CO_ASSERT(co_await site.attempts.wait(3));
  EXPECT_THAT(co_await control(site, "GET", "/books?address=user2@example.com", ""), HasSubstr(R"("newMailsAcknowledged":2)"));
  EXPECT_THAT(co_await control(site, "GET", "/books", ""), HasSubstr(R"("mailboxes":3)"));
  EXPECT_THAT(co_await control(site, "POST", "/read", R"({"address":"user2@example.com"})"), HasSubstr("200"));
  EXPECT_THAT(co_await control(site, "POST", "/delete", R"({"address":"nobody@example.com"})"), HasSubstr("404"));
  EXPECT_THAT(co_await control(site, "POST", "/faults", R"({"kind":"redirect","count":1})"), HasSubstr("200"));
  EXPECT_THAT(co_await control(site, "POST", "/faults", R"({"kind":"earthquake"})"), HasSubstr("400"));
  EXPECT_EQ((co_await site.get_item("user2@example.com", "x")).status, 302);
  EXPECT_THAT(co_await control(site, "DELETE", "/faults", ""), HasSubstr("200"));
  EXPECT_THAT(co_await control(site, "POST", "/restart", ""), HasSubstr("200"));
  EXPECT_THAT(co_await control(site, "POST", "/nothing", ""), HasSubstr("404"));
  EXPECT_THAT(co_await control(site, "POST", "/deliver", "{"), HasSubstr("400"));
}
TEST(Exchange, IsControlledOverPlainHttp) {
  WorldOptions options = fast_options();
  options.exchange.control = SocketAddress{.ip = *IpAddress::parse("127.0.0.1"), .port = 0};
  run_site(options, control_works);
}

}  // namespace
}  // namespace bellhop::standin::test
