// SPDX-License-Identifier: Apache-2.0
// What differs between servers and between items: versions, gzip, fields that an item has not, ids for the operator.

#include <gmock/gmock.h>

#include "proto/ews_server.h"
#include "proto/gzip.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using proto::EwsAnswerKind;
using proto::EwsItem;
using proto::EwsResponseCode;
using proto::EwsResponseMessage;
using proto::ItemField;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

const std::vector<std::string_view> kIds = {"id-1", "id-2"};

EwsResponseMessage good(std::span<const EwsItem> items) { return {.code = EwsResponseCode::no_error, .items = items}; }
EwsResponseMessage bad(EwsResponseCode code) { return {.response_class = proto::ResponseClass::error, .code = code}; }

std::string got(const std::vector<EwsResponseMessage>& messages, proto::ServerVersion server = {}) {
  return soap_answer({.kind = EwsAnswerKind::get_item, .server = server, .messages = messages});
}
std::string subscribed_by(proto::ServerVersion server, std::string_view schema = "") {
  EwsResponseMessage message{.code = EwsResponseCode::no_error, .subscription_id = "sub", .watermark = "mark"};
  return soap_answer(
      {.kind = EwsAnswerKind::subscribe, .server = server, .server_schema = schema, .messages = {&message, 1}});
}

struct Asked {
  std::string version;
  std::vector<std::string> ids;
  std::vector<ItemField> fields;
};
// What the request that the peer saw as number `index` asked for.
Asked asked(const Scene& s, size_t index) {
  proto::EwsRequestReader reader(1);
  BH_CHECK(reader.feed(s.peer.seen[index].body));
  auto request = reader.finish();
  BH_CHECK(request);
  Asked out{.version = std::string((*request)->server_version), .ids = {}, .fields = (*request)->fields};
  for (std::string_view id : (*request)->item_ids) out.ids.emplace_back(id);
  return out;
}

// ---- Versions ----

Task<void> names_lowest_version(Scene& s) {
  std::array items = {EwsItem{.element = "Message", .id = "id-1"}};
  s.peer.otherwise = got({good(items)});
  std::span<const std::string_view> one(kIds.data(), 1);
  CO_ASSERT(co_await s.client->get_items(s.target(), one, false));
  CO_ASSERT(co_await s.client->get_items(s.target(), one, true));
  EXPECT_EQ(asked(s, 0).version, "Exchange2010_SP2");
  EXPECT_THAT(asked(s, 0).fields, Not(Contains(ItemField::preview)));
  EXPECT_EQ(asked(s, 1).version, "Exchange2013");
  EXPECT_THAT(asked(s, 1).fields, Contains(ItemField::preview));
}
TEST(EwsVersions, ARequestNamesTheLowestThatHasWhatItAsksFor) { run_scene(names_lowest_version); }

Task<void> knows_old_server(Scene& s) {
  s.peer.script.push_back({.bytes = subscribed_by({14, 3, 513, 0}, "Exchange2010_SP2")});
  CO_ASSERT(co_await s.client->subscribe(s.target(), "https://push.example.test/notify?id=1&creds=2"));
  EXPECT_THAT(s.log_text(), HasSubstr("\"product\":\"exchange2010\""));
  EXPECT_THAT(s.log_text(), HasSubstr("\"version\":\"14.3.513.0\""));
  EXPECT_THAT(s.log_text(), HasSubstr("\"schema\":\"Exchange2010_SP2\""));
  std::array items = {EwsItem{.element = "Message", .id = "id-1", .subject = "Lunch"}};
  s.peer.script.push_back({.bytes = got({good(items)})});
  auto reply = co_await s.client->get_items(s.target(), std::span(kIds).first(1), true);
  CO_ASSERT(reply);
  EXPECT_EQ((*reply)[0].subject, "Lunch");
  EXPECT_EQ(asked(s, 1).version, "Exchange2010_SP2");
  EXPECT_EQ(s.metrics.value(metric::ews_answers, proto::ExchangeProduct::exchange2010), 1u);
  // It was renewed: previews are back.
  s.peer.script.push_back({.bytes = got({good(items)}, {15, 2, 2562, 17})});
  s.peer.script.push_back({.bytes = got({good(items)}, {15, 2, 2562, 17})});
  CO_ASSERT(co_await s.client->get_items(s.target(), std::span(kIds).first(1), true));
  CO_ASSERT(co_await s.client->get_items(s.target(), std::span(kIds).first(1), true));
  EXPECT_EQ(asked(s, 2).version, "Exchange2010_SP2");
  EXPECT_EQ(asked(s, 3).version, "Exchange2013");
  EXPECT_EQ(s.metrics.value(metric::ews_answers, proto::ExchangeProduct::subscription_edition), 2u);
}
TEST(EwsVersions, AServerThatIsTooOldForPreviewsIsNotAskedForThem) { run_scene(knows_old_server); }

Task<void> learns_old_server(Scene& s) {
  std::array items = {EwsItem{.element = "Message", .id = "id-1", .subject = "Lunch"}};
  for (std::string_view code : {"ErrorInvalidServerVersion", "ErrorSchemaValidation", "ErrorIncorrectSchemaVersion"}) {
    s.make_client();  // knows nothing of the host
    s.peer.seen.clear();
    s.peer.script.push_back({.bytes = refused(EwsAnswerKind::get_item, code)});
    s.peer.otherwise = got({good(items)});
    for (int i = 0; i < 2; ++i) {
      auto reply = co_await s.client->get_items(s.target(), std::span(kIds).first(1), true);
      CO_ASSERT(reply);
      EXPECT_EQ((*reply)[0].subject, "Lunch");
    }
    CO_ASSERT(s.peer.seen.size() == 3);
    EXPECT_EQ(asked(s, 0).version, "Exchange2013");
    EXPECT_EQ(asked(s, 1).version, "Exchange2010_SP2");
    EXPECT_EQ(asked(s, 2).version, "Exchange2010_SP2") << "it is remembered";
    co_await s.client->close();
  }
  s.make_client();
}
TEST(EwsVersions, AServerThatRefusesThePreviewIsAskedWithoutIt) { run_scene(learns_old_server); }

// ---- Items ----

Task<void> asks_plain(Scene& s) {
  std::array mail = {EwsItem{.element = "Message", .id = "id-1", .subject = "Lunch", .from = {"Bob", ""}}};
  std::array task = {EwsItem{.element = "Task", .id = "id-2", .subject = "Buy bread", .item_class = "IPM.Task"}};
  s.peer.script.push_back({.bytes = got({good(mail), bad(EwsResponseCode::invalid_property_request)})});
  s.peer.script.push_back({.bytes = got({good(task)})});
  auto reply = co_await s.client->get_items(s.target(), kIds, false);
  CO_ASSERT(reply && reply->size() == 2);
  EXPECT_EQ((*reply)[0].sender_name, "Bob");
  EXPECT_EQ((*reply)[1].subject, "Buy bread");
  EXPECT_EQ((*reply)[1].kind, proto::ItemKind::task);
  EXPECT_FALSE((*reply)[1].unreadable);
  EXPECT_EQ(asked(s, 1).ids, std::vector<std::string>{"id-2"});
  EXPECT_THAT(asked(s, 1).fields, Not(Contains(ItemField::from)));
  EXPECT_THAT(asked(s, 1).fields, Contains(ItemField::sensitivity));
}
TEST(EwsItems, ThatHaveNoSenderAreAskedForWithoutOne) { run_scene(asks_plain); }

Task<void> asks_plain_alone(Scene& s) {
  std::array task = {EwsItem{.element = "Task", .id = "id-1", .subject = "Buy bread"}};
  s.peer.script.push_back({.bytes = refused(EwsAnswerKind::get_item, "ErrorInvalidPropertyRequest")});
  s.peer.script.push_back({.bytes = refused(EwsAnswerKind::get_item, "ErrorInvalidPropertyRequest")});
  s.peer.script.push_back({.bytes = got({good(task)})});
  auto reply = co_await s.client->get_items(s.target(), std::span(kIds).first(1), true);
  CO_ASSERT(reply);
  EXPECT_EQ((*reply)[0].subject, "Buy bread");
  EXPECT_THAT(s.peer.seen, SizeIs(3));
}
TEST(EwsItems, OneThatHasNoSenderIsAskedForWithoutOneToo) { run_scene(asks_plain_alone); }

Task<void> judges_alone(Scene& s) {
  std::array mail = {EwsItem{.element = "Message", .id = "id-1", .subject = "Lunch"}};
  s.peer.script.push_back({.bytes = got({good(mail), bad(EwsResponseCode::item_corrupt)})});
  auto reply = co_await s.client->get_items(s.target(), kIds, false);
  CO_ASSERT(reply);
  EXPECT_EQ((*reply)[0].subject, "Lunch");
  EXPECT_TRUE((*reply)[1].unreadable);
  EXPECT_FALSE((*reply)[1].gone);
  // An item that may come later is no such thing.
  s.peer.script.push_back({.bytes = got({good(mail), bad(EwsResponseCode::mailbox_store_unavailable)})});
  EXPECT_FALSE(co_await s.client->get_items(s.target(), kIds, false));
  // Nor where there is nothing else.
  s.peer.script.push_back({.bytes = got({bad(EwsResponseCode::item_corrupt), bad(EwsResponseCode::corrupt_data)})});
  auto none = co_await s.client->get_items(s.target(), kIds, false);
  CO_ASSERT(!none);
  EXPECT_EQ(none.error().code, EwsResponseCode::item_corrupt);
}
TEST(EwsItems, OneThatExchangeCannotShowDoesNotHideTheOthers) { run_scene(judges_alone); }

// ---- Elsewhere ----

Task<void> says_moved(Scene& s) {
  for (std::string_view code : {"ErrorWrongServerVersion", "ErrorProxyRequestNotAllowed", "ErrorNonExistentMailbox"}) {
    s.peer.script.push_back({.bytes = refused(EwsAnswerKind::find_item, code)});
    auto reply = co_await s.client->verify(s.target());
    CO_ASSERT(!reply);
    EXPECT_TRUE(reply.error().moved) << code;
    EXPECT_EQ(reply.error().kind, EwsFailureKind::ews_error);
  }
  for (uint16_t status : {301, 302, 307, 308}) {
    s.peer.script.push_back({.bytes = plain(status, "location: https://elsewhere.example.test/\r\n")});
    auto reply = co_await s.client->verify(s.target());
    CO_ASSERT(!reply);
    EXPECT_TRUE(reply.error().moved) << status;
  }
  for (uint16_t status : {304, 400, 401, 404, 500, 503}) {
    for (int i = 0; i < 2; ++i) s.peer.script.push_back({.bytes = plain(status)});
    auto reply = co_await s.client->verify(s.target());
    CO_ASSERT(!reply);
    EXPECT_FALSE(reply.error().moved) << status;
    s.peer.script.clear();
  }
}
TEST(EwsMoved, IsARedirectOrACodeThatSaysSoAndNoOtherFailure) {
  run_scene(says_moved, [](EwsConfig& config) { config.breaker_window_requests = 1000; });
}

// ---- GetFolder ----

Task<void> gets_inbox(Scene& s) {
  auto inbox = [](std::optional<int32_t> unread) {
    std::array folders = {proto::EwsFolder{.element = "Folder", .id = "F", .total = 9, .unread = unread}};
    EwsResponseMessage message{.code = EwsResponseCode::no_error, .folders = folders};
    return soap_answer({.kind = EwsAnswerKind::get_folder, .messages = {&message, 1}});
  };
  s.peer.script.push_back({.bytes = inbox(3)});
  auto counts = co_await s.client->inbox(s.target());
  CO_ASSERT(counts);
  EXPECT_EQ(counts->unread, 3u);
  EXPECT_EQ(counts->total, 9u);
  EXPECT_THAT(s.peer.seen[0].action, HasSubstr("/GetFolder\""));
  EXPECT_THAT(s.peer.seen[0].body, HasSubstr("ada@example.test"));
  for (std::optional<int32_t> none : {std::optional<int32_t>(), std::optional<int32_t>(-1)}) {
    s.peer.script.push_back({.bytes = inbox(none)});
    counts = co_await s.client->inbox(s.target());
    CO_ASSERT(counts);
    EXPECT_EQ(counts->unread, std::nullopt);
  }
  s.peer.script.push_back({.bytes = subscribed()});  // another answer
  EXPECT_FALSE(co_await s.client->inbox(s.target()));
}
TEST(EwsInbox, GivesTheCountsOfTheFolder) { run_scene(gets_inbox); }

// ---- Heads ----

Task<void> leaves_out_anchor(Scene& s) {
  s.peer.otherwise = found(0, true);
  CO_ASSERT(co_await s.client->verify(s.target()));
  EXPECT_EQ(s.peer.seen[0].anchor, "");
  EXPECT_THAT(s.peer.seen[0].body, HasSubstr("ada@example.test")) << "t:Mailbox is no matter of routing";
}
TEST(EwsHeads, HaveNoAnchorWhereTheConfigurationForbidsIt) {
  run_scene(leaves_out_anchor, [](EwsConfig& config) { config.anchor_mailbox = false; });
}

Task<void> logs_ids(Scene& s) {
  std::string ids = "request-id: 5f0c3a52-0e0c-4f0e-9d0a-111111111111\r\nx-feserver: EX01.corp\r\n";
  std::string answer = found(0, true);
  answer.insert(answer.find("\r\n") + 2, ids);
  s.peer.script.push_back({.bytes = answer});
  CO_ASSERT(co_await s.client->verify(s.target()));
  EXPECT_THAT(s.log_text(), HasSubstr("\"event\":\"ews_request\""));
  EXPECT_THAT(s.log_text(), HasSubstr("\"client_request_id\":\"" + s.peer.seen[0].request_id + "\""));
  EXPECT_THAT(s.log_text(), HasSubstr("\"request_id\":\"5f0c3a52-0e0c-4f0e-9d0a-111111111111\""));
  EXPECT_THAT(s.log_text(), HasSubstr("\"front_end\":\"EX01.corp\""));
  s.peer.script.push_back(
      {.bytes = plain(401, "request-id: 7\r\nx-ms-diagnostics: 2000001;reason=\"ada@example.test is unknown\"\r\n")});
  CO_ASSERT(!co_await s.client->verify(s.target()));
  EXPECT_THAT(s.log_text(), HasSubstr("\"request_id\":\"7\""));
  EXPECT_THAT(s.log_text(), HasSubstr("\"diagnostics\":\"2000001\""));
  EXPECT_THAT(s.log_text(), Not(HasSubstr("ada@")));  // three letters of an id in hex may be "ada", too
  EXPECT_THAT(s.log_text(), Not(HasSubstr("unknown")));
  // What a hostile server writes there is cut to what an id may be.
  s.peer.script.push_back({.bytes = plain(500, "request-id: <a>\"\\ada@example.test{}\r\nx-feserver: " +
                                                   std::string(200, 'x') + "\r\n")});
  CO_ASSERT(!co_await s.client->verify(s.target()));
  EXPECT_THAT(s.log_text(), HasSubstr("\"front_end\":\"" + std::string(64, 'x') + "\""));
  EXPECT_THAT(s.log_text(), Not(HasSubstr("@")));
}
TEST(EwsHeads, LeaveBothIdsInTheLogAndNothingPersonal) { run_scene(logs_ids); }

// ---- gzip ----

std::string zipped(std::string_view text, std::string_view more = "content-encoding: gzip\r\n") {
  return http_answer(200, text, more);
}
std::string body_of(const std::string& answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }

Task<void> takes_gzip(Scene& s) {
  std::string text = body_of(found(20, true));
  for (bool slow : {false, true}) {
    s.peer.script.push_back({.bytes = zipped(proto::gzip(text)), .slow = slow});
    auto items = co_await s.client->find_items(s.target(), WallTime(), 20);
    CO_ASSERT(items);
    EXPECT_THAT(items->items, SizeIs(20));
  }
  EXPECT_EQ(s.peer.seen[0].encoding, "gzip");
  s.peer.script.push_back({.bytes = http_answer(200, text)});  // a server need not
  EXPECT_TRUE(co_await s.client->find_items(s.target(), WallTime(), 20));
  EXPECT_EQ(s.peer.connections, 1u);
}
TEST(EwsGzip, IsTaken) { run_scene(takes_gzip); }

Task<void> refuses_bad_gzip(Scene& s) {
  std::string good = proto::gzip(body_of(found(1, true)));
  std::string bomb = proto::gzip(std::string(10 << 20, ' '));
  for (const std::string& answer :
       {zipped(good.substr(0, good.size() - 1)), zipped(good + "x"), zipped("<not gzip>"), zipped(bomb),
        zipped(good, "content-encoding: br\r\n"), zipped(good, "content-encoding: gzip, gzip\r\n"),
        zipped(good, "content-encoding: gzip\r\ncontent-encoding: gzip\r\n"), zipped(good, "")}) {
    s.peer.script.push_back({.bytes = answer});
    auto reply = co_await s.client->verify(s.target());
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, EwsFailureKind::garbage);
    EXPECT_EQ(s.open_connections(), 0u) << "such a server is not asked on the same connection";
  }
  EXPECT_EQ(s.counted(EwsResult::too_large), 1u);
}
TEST(EwsGzip, ThatIsBrokenABombOrAnotherCodingIsGarbage) {
  run_scene(refuses_bad_gzip, [](EwsConfig& config) { config.breaker_window_requests = 1000; });
}

Task<void> takes_none(Scene& s) {
  s.peer.script.push_back({.bytes = zipped(proto::gzip(body_of(found(1, true))))});
  EXPECT_FALSE(co_await s.client->verify(s.target()));
  EXPECT_EQ(s.peer.seen[0].encoding, "identity");
}
TEST(EwsGzip, IsRefusedWhereTheConfigurationTakesNone) {
  run_scene(takes_none, [](EwsConfig& config) { config.gzip = false; });
}

}  // namespace
}  // namespace bellhop::service
