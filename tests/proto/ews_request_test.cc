// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_request.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/proto/ews_fixture.h"

namespace bellhop::proto {
namespace {

using namespace std::chrono_literals;

const WallTime kTime = WallTime(std::chrono::sys_days(std::chrono::year(2026) / 3 / 1)) + 8h + 30min + 5s;
constexpr std::string_view kUrl = "https://push.example.com/notify?id=abc&creds=d_e-f";

std::string written(const SubscribeRequest& request) {
  std::string out;
  Status status = write_subscribe(request, out);
  return status ? out : out + describe(status.error());
}
std::string written(const GetItemRequest& request) {
  std::string out;
  Status status = write_get_item(request, out);
  return status ? out : out + describe(status.error());
}
std::string written(const FindItemRequest& request) {
  std::string out;
  Status status = write_find_item(request, out);
  return status ? out : out + describe(status.error());
}

std::string written(const GetFolderRequest& request) {
  std::string out;
  Status status = write_get_folder(request, out);
  return status ? out : out + describe(status.error());
}
std::string written(const SyncFolderItemsRequest& request) {
  std::string out;
  Status status = write_sync_folder_items(request, out);
  return status ? out : out + describe(status.error());
}

std::string read(std::string_view document) {
  EwsRequestReader reader(kTestSalt);
  return read_whole(reader, document);
}

const std::array<std::string_view, 2> kIds = {"AAMk<&>\"'=", "AQ=="};
const std::array kEveryField = {
    ItemField::subject,    ItemField::from,       ItemField::sender,          ItemField::date_time_received,
    ItemField::item_class, ItemField::importance, ItemField::sensitivity,     ItemField::conversation_id,
    ItemField::is_read,    ItemField::preview,    ItemField::has_attachments, ItemField::internet_message_id};
const std::array kEveryEvent = {EventKind::new_mail,         EventKind::created, EventKind::deleted,
                                EventKind::modified,         EventKind::moved,   EventKind::copied,
                                EventKind::free_busy_changed};

// Every kind of message that we send.
std::vector<std::string> all_requests() {
  return {
      written(SubscribeRequest{.url = kUrl}),
      written(SubscribeRequest{.version = ExchangeVersion::exchange2016,
                               .mailbox = "user@example.com",
                               .events = kEveryEvent,
                               .watermark = "AAAA=",
                               .status_frequency_minutes = 1440,
                               .url = kUrl}),
      written(GetItemRequest{.item_ids = std::span(kIds).first(1)}),
      written(GetItemRequest{.item_ids = kIds, .fields = kEveryField}),
      written(GetItemRequest{.item_ids = kIds, .fields = {}}),
      written(FindItemRequest{}),
      written(FindItemRequest{
          .mailbox = "user@example.com", .received_since = kTime, .entries_max = 1000, .fields = kEveryField}),
      written(GetFolderRequest{}),
      written(GetFolderRequest{.version = ExchangeVersion::exchange2007, .mailbox = "user@example.com"}),
      written(SyncFolderItemsRequest{}),
      written(SyncFolderItemsRequest{
          .mailbox = "user@example.com", .sync_state = "H4sI&=", .changes_max = 1, .fields = kEveryField}),
  };
}

TEST(SubscribeRequest, IsReadBackAsWritten) {
  EXPECT_EQ(read(written(SubscribeRequest{.url = kUrl})),
            fmt::format("request subscribe soap11 Subscribe version=Exchange2010_SP2 push folder=inbox "
                        "events=NewMailEvent,ModifiedEvent"
                        " frequency=30 url={}",
                        kUrl));
  EXPECT_EQ(
      read(written(SubscribeRequest{
          .mailbox = "o'user@example.com", .watermark = "W&=", .status_frequency_minutes = 15, .url = kUrl})),
      fmt::format(
          "request subscribe soap11 Subscribe version=Exchange2010_SP2 push folder=inbox mailbox=o'user@example.com"
          " events=NewMailEvent,ModifiedEvent watermark=W&= frequency=15 url={}",
          kUrl));
}

TEST(GetItemRequest, IsReadBackAsWritten) {
  EXPECT_EQ(read(written(GetItemRequest{.item_ids = kIds})),
            "request get_item soap11 GetItem version=Exchange2010_SP2 ids=AAMk<&>\"'=,AQ== "
            "fields=item:Subject,message:From,message:Sender,"
            "item:DateTimeReceived,item:ItemClass,item:Importance,item:Sensitivity,item:ConversationId,message:IsRead");
}

TEST(GetItemRequest, RaisesTheVersionForAPreview) {
  std::array fields = {ItemField::preview};
  EXPECT_EQ(read(written(GetItemRequest{.item_ids = kIds, .fields = fields})),
            "request get_item soap11 GetItem version=Exchange2013 ids=AAMk<&>\"'=,AQ== fields=item:Preview");
  EXPECT_EQ(read(written(GetItemRequest{.version = ExchangeVersion::exchange2016, .item_ids = kIds, .fields = fields})),
            "request get_item soap11 GetItem version=Exchange2016 ids=AAMk<&>\"'=,AQ== fields=item:Preview");
}

TEST(FindItemRequest, IsReadBackAsWritten) {
  EXPECT_EQ(
      read(written(FindItemRequest{})),
      "request find_item soap11 FindItem version=Exchange2010_SP2 folder=inbox fields=item:DateTimeReceived max=20");
  std::array fields = {ItemField::is_read, ItemField::date_time_received};
  EXPECT_EQ(read(written(FindItemRequest{
                .mailbox = "user@example.com", .received_since = kTime, .entries_max = 5, .fields = fields})),
            "request find_item soap11 FindItem version=Exchange2010_SP2 folder=inbox mailbox=user@example.com"
            " fields=item:DateTimeReceived,message:IsRead since=2026-03-01T08:30:05Z max=5");
}

TEST(GetFolderRequest, IsReadBackAsWritten) {
  EXPECT_EQ(read(written(GetFolderRequest{})),
            "request get_folder soap11 GetFolder version=Exchange2010_SP2 folder=inbox");
  EXPECT_EQ(read(written(GetFolderRequest{.mailbox = "user@example.com"})),
            "request get_folder soap11 GetFolder version=Exchange2010_SP2 folder=inbox mailbox=user@example.com");
}

TEST(SyncFolderItemsRequest, IsReadBackAsWritten) {
  EXPECT_EQ(read(written(SyncFolderItemsRequest{})),
            "request sync_folder_items soap11 SyncFolderItems version=Exchange2010_SP2 folder=inbox max=512");
  std::array fields = {ItemField::subject};
  EXPECT_EQ(read(written(SyncFolderItemsRequest{
                .mailbox = "user@example.com", .sync_state = "S<=", .changes_max = 7, .fields = fields})),
            "request sync_folder_items soap11 SyncFolderItems version=Exchange2010_SP2 folder=inbox "
            "mailbox=user@example.com fields=item:Subject max=7 state=S<=");
}

TEST(EwsRequests, AreValidAgainstTheSchema) {
  SKIP_WITHOUT_SCHEMA();
  EXPECT_EQ(schema_errors(all_requests()), "");
}

TEST(EwsRequests, RefuseWhatExchangeWouldRefuse) {
  std::string longest_url = "https://push.example.com/" + std::string(kCallbackUrlBytesMax - 25, 'u');
  EXPECT_TRUE(written(SubscribeRequest{.url = longest_url}).starts_with("<?xml"));
  EXPECT_EQ(written(SubscribeRequest{.url = longest_url + "u"}), "ews bad_value");
  EXPECT_EQ(written(SubscribeRequest{}), "ews missing_part");
  EXPECT_EQ(written(SubscribeRequest{.events = {}, .url = kUrl}), "ews missing_part");
  EXPECT_EQ(written(SubscribeRequest{.status_frequency_minutes = 0, .url = kUrl}), "ews bad_value");
  EXPECT_EQ(written(SubscribeRequest{.status_frequency_minutes = kStatusFrequencyMinutesMax + 1, .url = kUrl}),
            "ews bad_value");
  EXPECT_EQ(written(SubscribeRequest{.mailbox = std::string(kMailboxBytesMax + 1, 'm'), .url = kUrl}), "ews bad_value");
  std::array status = {EventKind::status};
  EXPECT_EQ(written(SubscribeRequest{.events = status, .url = kUrl}), "ews bad_value");

  std::vector<std::string_view> ids(kGetItemIdsMax, "id");
  EXPECT_TRUE(written(GetItemRequest{.item_ids = ids}).starts_with("<?xml"));
  ids.push_back("id");
  EXPECT_EQ(written(GetItemRequest{.item_ids = ids}), "ews too_many");
  EXPECT_EQ(written(GetItemRequest{}), "ews missing_part");
  std::array<std::string_view, 1> empty_id = {""};
  EXPECT_EQ(written(GetItemRequest{.item_ids = empty_id}), "ews missing_part");

  EXPECT_TRUE(written(FindItemRequest{.entries_max = kFindItemEntriesMax}).starts_with("<?xml"));
  EXPECT_EQ(written(FindItemRequest{.entries_max = kFindItemEntriesMax + 1}), "ews bad_value");
  EXPECT_EQ(written(FindItemRequest{.entries_max = 0}), "ews bad_value");

  EXPECT_EQ(written(GetFolderRequest{.mailbox = std::string(kMailboxBytesMax + 1, 'm')}), "ews bad_value");
  EXPECT_EQ(written(SyncFolderItemsRequest{.changes_max = 0}), "ews bad_value");
  EXPECT_EQ(written(SyncFolderItemsRequest{.changes_max = kSyncChangesMax + 1}), "ews bad_value");
  std::string longest_state(kSyncStateBytesMax, 's');
  EXPECT_TRUE(written(SyncFolderItemsRequest{.sync_state = longest_state}).starts_with("<?xml"));
  longest_state += "s";
  EXPECT_EQ(written(SyncFolderItemsRequest{.sync_state = longest_state}), "ews bad_value");
}

TEST(EwsRequests, RefuseTextThatXmlCannotExpress) {
  std::string id_max(kEwsIdBytesMax, 'i');
  for (std::string_view text : {"a\x01", "a\xff", "a\xef\xbf\xbf"}) {
    std::array<std::string_view, 2> ids = {id_max, text};
    EXPECT_EQ(written(GetItemRequest{.item_ids = ids}), "ews forbidden_text");
    EXPECT_EQ(written(SubscribeRequest{.mailbox = text, .url = kUrl}), "ews forbidden_text");
    EXPECT_EQ(written(SubscribeRequest{.watermark = text, .url = kUrl}), "ews forbidden_text");
    EXPECT_EQ(written(SubscribeRequest{.url = text}), "ews forbidden_text");
    EXPECT_EQ(written(FindItemRequest{.mailbox = text}), "ews forbidden_text");
    EXPECT_EQ(written(GetFolderRequest{.mailbox = text}), "ews forbidden_text");
    EXPECT_EQ(written(SyncFolderItemsRequest{.mailbox = text}), "ews forbidden_text");
    EXPECT_EQ(written(SyncFolderItemsRequest{.sync_state = text}), "ews forbidden_text");
  }
  id_max += "i";
  std::array<std::string_view, 1> ids = {id_max};
  EXPECT_EQ(written(GetItemRequest{.item_ids = ids}), "ews bad_value");
}

// Growing would leave pieces of the callback URL, with its credentials, in freed memory.
TEST(EwsRequests, NeverGrowTheirBufferWhileWriting) {
  std::string url = "https://" + std::string(kCallbackUrlBytesMax - 8, '&');
  std::string mailbox(kMailboxBytesMax, '"');
  std::string watermark(kEwsIdBytesMax, '\'');
  std::string out;
  ASSERT_TRUE(write_subscribe({.mailbox = mailbox, .events = kEveryEvent, .watermark = watermark, .url = url}, out));
  std::string reused;
  reused.reserve(out.capacity());
  const char* memory = reused.data();
  ASSERT_TRUE(write_subscribe({.mailbox = mailbox, .events = kEveryEvent, .watermark = watermark, .url = url}, reused));
  EXPECT_EQ(reused.data(), memory);
  EXPECT_EQ(reused, out);
  EXPECT_EQ(
      read(out),
      fmt::format(
          "request subscribe soap11 Subscribe version=Exchange2010_SP2 push folder=inbox mailbox={}"
          " events=NewMailEvent,CreatedEvent,DeletedEvent,ModifiedEvent,MovedEvent,CopiedEvent,FreeBusyChangedEvent"
          " watermark={} frequency=30 url={}",
          mailbox, watermark, url));
}

TEST(EwsRequestReader, GivesTheSameForAnySplitAndNeverAcceptsAPrefix) {
  EwsRequestReader reader(kTestSalt);
  for (const std::string& document : all_requests()) {
    EXPECT_TRUE(read_whole(reader, document).starts_with("request ")) << document;
    expect_splits_agree(reader, document);
    expect_no_prefix_is_accepted(reader, document);
  }
}

TEST(EwsRequestReader, SurvivesMutatedInput) {
  EwsRequestReader reader(kTestSalt);
  for (const std::string& document : all_requests()) expect_mutations_are_survived(reader, document, 300);
}

std::string request(std::string_view message) {
  return fmt::format(R"(<s:Envelope xmlns:s="{}" xmlns:m="{}" xmlns:t="{}"><s:Body>{}</s:Body></s:Envelope>)",
                     kSoap12Space, kEwsMessagesSpace, kEwsTypesSpace, message);
}

TEST(EwsRequestReader, NamesARequestThatItDoesNotRead) {
  EXPECT_EQ(read(request("<m:GetEvents><m:SubscriptionId/></m:GetEvents>")), "request other soap12 GetEvents");
}

TEST(EwsRequestReader, RefusesIncompleteRequests) {
  std::string events = "<t:EventTypes><t:EventType>NewMailEvent</t:EventType></t:EventTypes>";
  auto subscribe = [&](std::string_view inner) {
    return request(
        fmt::format("<m:Subscribe><m:PushSubscriptionRequest>{}</m:PushSubscriptionRequest></m:Subscribe>", inner));
  };
  EXPECT_TRUE(read(subscribe(events + "<t:StatusFrequency>1</t:StatusFrequency><t:URL>u</t:URL>"))
                  .starts_with("request subscribe"));
  EXPECT_EQ(read(subscribe(events + "<t:URL>u</t:URL>")), "ews missing_part");
  EXPECT_EQ(read(subscribe(events + "<t:StatusFrequency>1</t:StatusFrequency>")), "ews missing_part");
  EXPECT_EQ(read(subscribe("<t:StatusFrequency>1</t:StatusFrequency><t:URL>u</t:URL>")), "ews missing_part");
  EXPECT_EQ(read(subscribe("<t:StatusFrequency>1441</t:StatusFrequency>")), "ews bad_value");
  EXPECT_EQ(read(subscribe("<t:EventTypes><t:EventType>StatusEvent</t:EventType></t:EventTypes>")), "ews bad_value");
  EXPECT_EQ(read(subscribe("<t:URL>u</t:URL><t:URL>v</t:URL>")), "ews repeated_part");
  EXPECT_EQ(read(request("<m:GetItem><m:ItemIds/></m:GetItem>")), "ews missing_part");
  EXPECT_EQ(read(request("<m:FindItem/>")), "ews missing_part");
  EXPECT_EQ(read(request("<m:GetFolder><m:FolderIds/></m:GetFolder>")), "ews missing_part");
  EXPECT_EQ(read(request("<m:SyncFolderItems/>")), "ews missing_part");
  auto sync = [&](std::string_view changes) {
    return request(fmt::format("<m:SyncFolderItems><m:SyncFolderId><t:DistinguishedFolderId Id='inbox'/></m:SyncFolderId>"
                               "<m:MaxChangesReturned>{}</m:MaxChangesReturned></m:SyncFolderItems>",
                               changes));
  };
  EXPECT_TRUE(read(sync("512")).starts_with("request sync_folder_items"));
  for (std::string_view bad : {"0", "513", "many"}) EXPECT_EQ(read(sync(bad)), "ews bad_value");
  std::string ids;
  for (size_t i = 0; i <= kGetItemIdsMax; ++i) ids += "<t:ItemId Id='i'/>";
  EXPECT_EQ(read(request("<m:GetItem><m:ItemIds>" + ids + "</m:ItemIds></m:GetItem>")), "ews too_many");
}

}  // namespace
}  // namespace bellhop::proto
