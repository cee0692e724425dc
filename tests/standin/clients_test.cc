// SPDX-License-Identifier: Apache-2.0
// What mail clients ask of EWS besides what bellhop asks.
#include <algorithm>

#include "crypto/hash.h"
#include "tests/standin/site.h"
#include "tools/standin/exchange_clients.h"

namespace bellhop::standin::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kAlice = "alice@example.com";

WorldOptions quiet_options() {
  WorldOptions options;
  options.exchange.time_scale = fast();
  options.exchange.heartbeats = false;
  options.exchange.requests_kept = 100;
  return options;
}

std::string soap(std::string_view content) {
  std::string out = R"(<s:Envelope xmlns:s=")" + std::string(proto::kSoap11Space) + R"(" xmlns:m=")";
  out += std::string(proto::kEwsMessagesSpace) + R"(" xmlns:t=")" + std::string(proto::kEwsTypesSpace) + "\"><s:Body>";
  out += content;
  return out + "</s:Body></s:Envelope>";
}

std::string subscribe(std::string_view kind) {
  std::string name = "m:" + std::string(kind) + "SubscriptionRequest";
  return soap("<m:Subscribe><" + name +
              R"(><t:FolderIds><t:DistinguishedFolderId Id="inbox"/></t:FolderIds>)"
              "<t:EventTypes><t:EventType>NewMailEvent</t:EventType></t:EventTypes></" +
              name + "></m:Subscribe>");
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

Task<void> streams_to_the_end(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  EwsResult made = co_await site.ews(kAlice, "secret", subscribe("Streaming"));
  auto reading = read_answer(made.body);
  CO_ASSERT(reading);
  EXPECT_EQ(reading->watermark, "") << "streams have none";
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "One"}));
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "Two"}));
  std::string ask = soap(
      "<m:GetStreamingEvents><m:SubscriptionIds><t:SubscriptionId>" + reading->subscription_id +
      "</t:SubscriptionId></m:SubscriptionIds><m:ConnectionTimeout>2</m:ConnectionTimeout></m:GetStreamingEvents>");
  Instant begun = io::now();
  EwsResult stream = co_await site.ews(kAlice, "secret", ask);
  auto lasting = std::chrono::duration_cast<Duration>(std::chrono::minutes(2) * fast());
  EXPECT_GE(io::now() - begun, lasting);
  EXPECT_EQ(stream.status, 200);
  EXPECT_EQ(count_of(stream.body, "<t:NewMailEvent>"), 2u);
  EXPECT_EQ(count_of(stream.body, "ConnectionStatus>Closed<"), 1u);
  EXPECT_GE(count_of(stream.body, "<Envelope"), 2u) << "a document at once, and one at the end";
  EXPECT_EQ(count_of(stream.body, "<Envelope"), count_of(stream.body, "</Envelope>"));
  std::string end =
      soap("<m:Unsubscribe><m:SubscriptionId>" + reading->subscription_id + "</m:SubscriptionId></m:Unsubscribe>");
  EXPECT_THAT((co_await site.ews(kAlice, "secret", end)).body, HasSubstr("NoError"));
  EXPECT_THAT((co_await site.ews(kAlice, "secret", ask)).body, HasSubstr("ErrorSubscriptionNotFound"));
}
TEST(ExchangeClients, AStreamTellsOfMailAndCloses) {
  run_site(quiet_options(), streams_to_the_end);
}

Task<void> pulls(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  auto reading = read_answer((co_await site.ews(kAlice, "secret", subscribe("Pull"))).body);
  CO_ASSERT(reading);
  std::string ask = soap("<m:GetEvents><m:SubscriptionId>" + reading->subscription_id +
                         "</m:SubscriptionId><m:Watermark>" + reading->watermark + "</m:Watermark></m:GetEvents>");
  EwsResult none = co_await site.ews(kAlice, "secret", ask);
  EXPECT_THAT(none.body, HasSubstr("<t:StatusEvent>"));
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "One"}));
  EwsResult one = co_await site.ews(kAlice, "secret", ask);
  EXPECT_THAT(one.body, HasSubstr("<t:NewMailEvent>"));
  EXPECT_THAT(one.body, Not(HasSubstr("<t:StatusEvent>")));
  EXPECT_TRUE(co_await site.exchange.restart());
  EXPECT_THAT((co_await site.ews(kAlice, "secret", ask)).body, HasSubstr("ErrorSubscriptionNotFound"));
}
TEST(ExchangeClients, PulledEventsComeOnce) {
  run_site(quiet_options(), pulls);
}

Task<void> takes_large_bodies(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  std::string upload =
      soap("<m:CreateAttachment><t:Content>" + std::string(1 << 20, 'A') + "</t:Content></m:CreateAttachment>");
  EwsResult result = co_await site.ews(kAlice, "secret", upload);
  EXPECT_EQ(result.status, 200);
  EXPECT_THAT(result.body, HasSubstr("CreateAttachmentResponse"));
  auto page = co_await site.exchange.requests_after(0, 10);
  CO_ASSERT(page.requests.size() == 1);
  EXPECT_EQ(page.requests[0].body_sha256, to_hex(crypto::sha256(upload)));
  EXPECT_EQ(page.requests[0].operation, "CreateAttachment");
  EXPECT_EQ((co_await site.ews(kAlice, "wrong", upload)).status, 401);
  result =
      co_await site.ews(kAlice, "secret", soap("<m:UploadItems>" + std::string(1 << 20, 'A') + "</m:UploadItems>"));
  EXPECT_EQ(result.status, 500) << "an operation that it does not know";
  result = co_await site.ews(
      kAlice, "secret",
      soap(R"(<m:GetAttachment><m:AttachmentIds><t:AttachmentId Id="size:6"/></m:AttachmentIds></m:GetAttachment>)"));
  EXPECT_THAT(result.body, HasSubstr("<t:Content>AAECAwQF</t:Content>"));
}
TEST(ExchangeClients, LongRequestsAreToldByTheirFirstBytes) {
  run_site(quiet_options(), takes_large_bodies);
}

Task<void> pages(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  for (int i = 1; i <= 5; ++i)
    EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "mail " + std::to_string(i)}));
  auto find = [](std::string_view offset) {
    return soap(
        R"(<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape></m:ItemShape>)"
        R"(<m:IndexedPageItemView MaxEntriesReturned="2" Offset=")" +
        std::string(offset) +
        R"(" BasePoint="Beginning"/><m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem>)");
  };
  EwsResult second = co_await site.ews(kAlice, "secret", find("2"));
  EXPECT_THAT(second.body,
              HasSubstr(R"(IndexedPagingOffset="4" TotalItemsInView="5" IncludesLastItemInRange="false")"));
  EXPECT_THAT(second.body, HasSubstr("mail 3"));
  EXPECT_THAT(second.body, HasSubstr("mail 2"));
  EwsResult last = co_await site.ews(kAlice, "secret", find("4"));
  EXPECT_THAT(last.body, HasSubstr(R"(<m:RootFolder TotalItemsInView="5" IncludesLastItemInRange="true")"));
  EXPECT_THAT(last.body, HasSubstr("mail 1"));
  EwsResult beyond = co_await site.ews(kAlice, "secret", find("9"));
  EXPECT_THAT(beyond.body, HasSubstr(R"(IncludesLastItemInRange="true")"));
  EXPECT_THAT(beyond.body, Not(HasSubstr("mail")));
}
TEST(ExchangeClients, ListsComeInPages) {
  run_site(quiet_options(), pages);
}

TEST(ClientRequestReader, ReadsWhatItKnowsAndNothingElse) {
  ClientRequestReader reader(1);
  auto request = reader.read(soap("<m:ResolveNames><m:UnresolvedEntry> bob </m:UnresolvedEntry></m:ResolveNames>"));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->operation, ClientOperation::resolve_names);
  EXPECT_EQ(request->entry, "bob");
  request =
      reader.read(soap("<m:GetStreamingEvents><m:SubscriptionIds><t:SubscriptionId>a</t:SubscriptionId>"
                       "<t:SubscriptionId>b</t:SubscriptionId></m:SubscriptionIds>"
                       "<m:ConnectionTimeout>99</m:ConnectionTimeout></m:GetStreamingEvents>"));
  ASSERT_TRUE(request);
  EXPECT_THAT(request->subscriptions, ElementsAre("a", "b"));
  EXPECT_EQ(request->timeout_minutes, 30u);
  request = reader.read(soap("<m:FindFolder/>"));
  EXPECT_TRUE(!request || request->operation == ClientOperation::other);
  EXPECT_FALSE(reader.read("<m:GetEvents/>"));
  EXPECT_EQ(operation_in(soap("<m:CreateItem a='b'>")), "CreateItem");
  EXPECT_EQ(operation_in(soap("<CreateItem/>")), "CreateItem");
  EXPECT_EQ(operation_in("<x>"), "");
}

}  // namespace
}  // namespace bellhop::standin::test
