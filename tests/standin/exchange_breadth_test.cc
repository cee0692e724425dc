// SPDX-License-Identifier: Apache-2.0
// What the stand-in knows beside mail and its notifications: versions, folders, other items, errors in callbacks.
#include "tests/standin/site.h"
#include "tools/standin/exchange.h"

namespace bellhop::standin::test {
namespace {

using ::testing::HasSubstr;

constexpr const char* kAlice = "alice@example.com";

WorldOptions quiet_options() {
  WorldOptions options;
  options.exchange.time_scale = fast();
  options.exchange.heartbeats = false;
  return options;
}

std::string get_item_body(std::string_view id, std::span<const proto::ItemField> fields) {
  std::string body;
  BH_CHECK(proto::write_get_item({.item_ids = {&id, 1}, .fields = fields}, body));
  return body;
}

Task<void> says_version(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  std::string body;
  BH_CHECK(proto::write_get_folder({.mailbox = kAlice}, body));
  EwsResult result = co_await site.ews(kAlice, "secret", body);
  EXPECT_THAT(result.body, HasSubstr("MajorVersion=\"14\""));
  EXPECT_THAT(result.body, HasSubstr("<t:UnreadCount>0</t:UnreadCount>"));
  EXPECT_FALSE(result.headers["request-id"].empty());
  BH_CHECK(proto::write_get_folder({.version = proto::ExchangeVersion::exchange2013}, body));
  result = co_await site.ews(kAlice, "secret", body);
  EXPECT_EQ(result.status, 500);
  EXPECT_EQ(read_answer(result.body)->code, "ErrorInvalidServerVersion");
}
TEST(ExchangeBreadth, AnOldServerSaysSoAndTakesNoLaterVersion) {
  WorldOptions options = quiet_options();
  options.exchange.version = proto::ExchangeVersion::exchange2010_sp2;
  run_site(options, says_version);
}

Task<void> counts_unread(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "mail"}));
  EXPECT_TRUE(co_await site.exchange.mark_read(kAlice, 1));
  std::string body;
  BH_CHECK(proto::write_get_folder({}, body));
  EwsResult result = co_await site.ews(kAlice, "secret", body);
  EXPECT_THAT(result.body, HasSubstr("<t:TotalCount>3</t:TotalCount><t:UnreadCount>2</t:UnreadCount>"));
  BH_CHECK(proto::write_get_folder({.mailbox = "bob@example.com"}, body));
  EXPECT_EQ(read_answer((co_await site.ews(kAlice, "secret", body)).body)->code, "ErrorAccessDenied");
}
TEST(ExchangeBreadth, AFolderHasItsCounts) { run_site(quiet_options(), counts_unread); }

Task<void> refuses_sender_of_task(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  std::string id = co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.peer.wait(1));
  EXPECT_TRUE(co_await site.exchange.deliver(
      kAlice, {.subject = "Buy bread", .element = "Task", .item_class = "IPM.Task"}));
  CO_ASSERT(co_await site.peer.wait(2));
  std::string item = site.peer.seen[1].item_ids[0];
  constexpr std::array kWithSender = {proto::ItemField::subject, proto::ItemField::from};
  EwsResult result = co_await site.ews(kAlice, "secret", get_item_body(item, kWithSender));
  EXPECT_EQ(read_answer(result.body)->code, "ErrorInvalidPropertyRequest");
  constexpr std::array kPlain = {proto::ItemField::subject, proto::ItemField::item_class};
  result = co_await site.ews(kAlice, "secret", get_item_body(item, kPlain));
  EXPECT_THAT(result.body, HasSubstr("<t:Task>"));
  EXPECT_THAT(result.body, HasSubstr("IPM.Task"));
}
TEST(ExchangeBreadth, ATaskHasNoSender) { run_site(quiet_options(), refuses_sender_of_task); }

Task<void> reports_error(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  EXPECT_FALSE(co_await site.exchange.report_error("nobody@example.com", "ErrorReadEventsFailed"));
  std::string id = co_await site.subscribe(kAlice);
  CO_ASSERT(co_await site.peer.wait(1));
  CO_ASSERT(co_await site.attempts.wait(1));
  EXPECT_TRUE(co_await site.exchange.report_error(kAlice, "ErrorServerBusy"));
  CO_ASSERT(co_await site.peer.wait(2));
  EXPECT_EQ(site.peer.seen[1].subscription_id, id);
  EXPECT_TRUE(site.peer.seen[1].kinds.empty());
  EXPECT_EQ((co_await site.exchange.subscriptions(kAlice))->size(), 1u);
  site.peer.otherwise = Answer::unsubscribe;
  EXPECT_TRUE(co_await site.exchange.report_error(kAlice, "ErrorReadEventsFailed"));
  CO_ASSERT(co_await site.peer.wait(3));
  while (!(co_await site.exchange.subscriptions(kAlice))->empty()) co_await yield_now();
  EXPECT_EQ((co_await site.exchange.mailbox_books(kAlice))->unsubscribed, 1u);
}
TEST(ExchangeBreadth, AnErrorIsANotificationAndUnsubscribeEndsIt) { run_site(quiet_options(), reports_error); }

}  // namespace
}  // namespace bellhop::standin::test
