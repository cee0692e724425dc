// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_response.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/proto/ews_fixture.h"

namespace bellhop::proto {
namespace {

using namespace std::chrono_literals;

const WallTime kTime = WallTime(std::chrono::sys_days(std::chrono::year(2026) / 3 / 1)) + 8h + 30min + 5s + 250ms;

const std::array kItems = {
    EwsItem{.element = "Message",
            .id = "AAMk<&>=",
            .subject = " Bells & \"whistles\" \xf0\x9f\x94\x94 ",
            .from = {"O'Neill", "oneill@example.com"},
            .sender = {"Assistant", "assistant@example.com"},
            .received = kTime,
            .item_class = "IPM.Note",
            .importance = Importance::high,
            .sensitivity = Sensitivity::private_,
            .conversation_id = "C=",
            .is_read = false,
            .preview = "line\nline",
            .has_attachments = true,
            .internet_message_id = "<1@example.com>"},
    EwsItem{.element = "MeetingRequest",
            .id = "B",
            .subject = "Standup",
            .from = {"Name only", ""},
            .item_class = "IPM.Schedule.Meeting.Request"},
    EwsItem{.element = "PostItem", .id = "C"},
};

EwsAnswer answer_of(EwsAnswerKind kind, std::span<const EwsResponseMessage> messages,
                    SoapVersion version = SoapVersion::soap11) {
  return {.kind = kind, .soap_version = version, .messages = messages};
}

std::string written(const EwsAnswer& answer) {
  std::string out;
  write_answer(answer, out);
  return out;
}

std::string read(std::string_view document) {
  EwsAnswerReader reader(kTestSalt);
  return read_whole(reader, document);
}

constexpr EwsResponseCode kOk = EwsResponseCode::no_error;

const std::array kSubscribed = {EwsResponseMessage{.code = kOk, .subscription_id = "S=", .watermark = "W="}};
const std::array kGot = {
    EwsResponseMessage{.code = kOk, .items = std::span(kItems).first(1)},
    EwsResponseMessage{.response_class = ResponseClass::error,
                       .code = EwsResponseCode::item_not_found,
                       .message_text = "Not <there>."},
    EwsResponseMessage{.code = kOk, .items = std::span(kItems).subspan(1, 1)},
    EwsResponseMessage{.response_class = ResponseClass::error,
                       .code = EwsResponseCode::internal_server_error,
                       .message_text = "Busy.",
                       .back_off_ms = 1500},
    EwsResponseMessage{.response_class = ResponseClass::warning, .code = EwsResponseCode::batch_processing_stopped},
};
const std::array kFound = {EwsResponseMessage{.code = kOk, .items = kItems, .total_items = 40, .includes_last = false}};
const std::array kFoundNone = {EwsResponseMessage{.code = kOk, .total_items = 0, .includes_last = true}};
const std::array kFolders = {
    EwsFolder{.element = "Folder", .id = "F&=", .display_name = "Inbox", .total = 12, .unread = 3}};
const std::array kGotFolder = {EwsResponseMessage{.code = kOk, .folders = kFolders}};
const std::array kChanges = {
    EwsItem{.change = EwsChange::created, .element = "MeetingRequest", .id = "A", .subject = "Standup"},
    EwsItem{.change = EwsChange::updated, .element = "Message", .id = "B", .is_read = true},
    EwsItem{.change = EwsChange::deleted, .id = "C"},
    EwsItem{.change = EwsChange::read_flag, .id = "D", .is_read = false},
};
const std::array kSynced = {
    EwsResponseMessage{.code = kOk, .items = kChanges, .sync_state = "H4sI=", .includes_last = false}};
constexpr ServerVersion kServer = {15, 1, 2507, 39};
const std::array kFindFailed = {
    EwsResponseMessage{.response_class = ResponseClass::error, .code = EwsResponseCode::access_denied}};

EwsAnswer busy_fault(SoapVersion version) {
  return {.kind = EwsAnswerKind::fault,
          .soap_version = version,
          .fault = {.fault_code = "ErrorServerBusy",
                    .fault_text = "Try <later>.",
                    .code = EwsResponseCode::server_busy,
                    .back_off_ms = 297749}};
}

std::vector<std::string> all_answers() {
  return {written(answer_of(EwsAnswerKind::subscribe, kSubscribed)),
          written(answer_of(EwsAnswerKind::get_item, kGot)),
          written(answer_of(EwsAnswerKind::find_item, kFound)),
          written(answer_of(EwsAnswerKind::find_item, kFoundNone)),
          written(answer_of(EwsAnswerKind::find_item, kFindFailed)),
          written(answer_of(EwsAnswerKind::get_item, kGot, SoapVersion::soap12)),
          written(answer_of(EwsAnswerKind::get_folder, kGotFolder)),
          written(answer_of(EwsAnswerKind::sync_folder_items, kSynced)),
          written({.kind = EwsAnswerKind::subscribe,
                   .server = kServer,
                   .server_schema = "V2017_07_11",
                   .messages = kSubscribed}),
          written(busy_fault(SoapVersion::soap11)),
          written(busy_fault(SoapVersion::soap12))};
}

TEST(EwsAnswerReader, ReadsASubscribeResponse) {
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::subscribe, kSubscribed))),
            "answer subscribe soap11 SubscribeResponse [Success NoError subscription=S= watermark=W=]");
}

TEST(EwsAnswerReader, JudgesEachMessageOfAGetItemResponseAlone) {
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::get_item, kGot))),
            "answer get_item soap11 GetItemResponse"
            " [Success NoError (Message id=AAMk<&>= subject= Bells & \"whistles\" \xf0\x9f\x94\x94  from=O'Neill "
            "from_address=oneill@example.com"
            " sender=Assistant sender_address=assistant@example.com received=2026-03-01T08:30:05.250Z class=IPM.Note "
            "importance=2 sensitivity=2"
            " conversation=C= read=false preview=line\nline attachments=true message_id=<1@example.com>)]"
            " [Error ErrorItemNotFound text=Not <there>.]"
            " [Success NoError (MeetingRequest id=B subject=Standup from=Name only class=IPM.Schedule.Meeting.Request)]"
            " [Error ErrorInternalServerError text=Busy. back_off=1500]"
            " [Warning ErrorBatchProcessingStopped]");
}

TEST(EwsAnswerReader, ReadsAFindItemResponse) {
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::find_item, kFoundNone))),
            "answer find_item soap11 FindItemResponse [Success NoError total=0 last=true]");
  std::string found = read(written(answer_of(EwsAnswerKind::find_item, kFound)));
  EXPECT_TRUE(found.starts_with(
      "answer find_item soap11 FindItemResponse [Success NoError total=40 last=false (Message id=AAMk<&>="))
      << found;
  EXPECT_TRUE(found.ends_with("(PostItem id=C)]")) << found;
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::find_item, kFindFailed))),
            "answer find_item soap11 FindItemResponse [Error ErrorAccessDenied]");
}

TEST(EwsAnswerReader, ReadsAGetFolderResponse) {
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::get_folder, kGotFolder))),
            "answer get_folder soap11 GetFolderResponse [Success NoError (Folder id=F&= name=Inbox total=12 unread=3)]");
}

TEST(EwsAnswerReader, ReadsEveryKindOfChange) {
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::sync_folder_items, kSynced))),
            "answer sync_folder_items soap11 SyncFolderItemsResponse [Success NoError last=false state=H4sI="
            " (created MeetingRequest id=A subject=Standup) (updated Message id=B read=true) (deleted id=C)"
            " (read_flag id=D read=false)]");
}

TEST(EwsAnswerReader, ReadsWhichServerAnswered) {
  EwsAnswerReader reader(kTestSalt);
  std::string document = written(
      {.kind = EwsAnswerKind::subscribe, .server = kServer, .server_schema = "V2017_07_11", .messages = kSubscribed});
  ASSERT_TRUE(reader.feed(document));
  auto answer = reader.finish();
  ASSERT_TRUE(answer);
  EXPECT_EQ((*answer)->server, kServer);
  EXPECT_EQ((*answer)->server_schema, "V2017_07_11");
  // What cannot be read is left out, and spoils nothing.
  for (std::string_view bad : {"x", "-1", "65536", ""}) {
    std::string changed = document;
    changed.replace(changed.find("\"15\""), 4, fmt::format("\"{}\"", bad));
    reader.reset();
    ASSERT_TRUE(reader.feed(changed));
    answer = reader.finish();
    ASSERT_TRUE(answer);
    EXPECT_FALSE((*answer)->server.known());
    EXPECT_EQ((*answer)->messages[0].subscription_id, "S=");
  }
}

TEST(EwsAnswerReader, ReadsFaultsOfBothSoapVersions) {
  EXPECT_EQ(read(written(busy_fault(SoapVersion::soap11))),
            "answer fault soap11 Fault ErrorServerBusy fault_code=ErrorServerBusy text=Try <later>. back_off=297749");
  EXPECT_EQ(read(written(busy_fault(SoapVersion::soap12))),
            "answer fault soap12 Fault ErrorServerBusy fault_code=ErrorServerBusy text=Try <later>. back_off=297749");
}

std::string envelope(std::string_view message) {
  return fmt::format(R"(<s:Envelope xmlns:s="{}" xmlns="{}" xmlns:t="{}"><s:Body>{}</s:Body></s:Envelope>)",
                     kSoap11Space, kEwsMessagesSpace, kEwsTypesSpace, message);
}

TEST(EwsAnswerReader, TakesTheCodeOfAFaultFromItsFaultCodeWhereNoDetailSaysIt) {
  EXPECT_EQ(read(envelope("<s:Fault><faultcode xmlns='' xmlns:a='urn:a'>a:ErrorAccessDenied</faultcode></s:Fault>")),
            "answer fault soap11 Fault ErrorAccessDenied fault_code=ErrorAccessDenied");
  EXPECT_EQ(read(envelope("<s:Fault><faultcode xmlns=''>s:Client</faultcode></s:Fault>")),
            "answer fault soap11 Fault none fault_code=Client");
}

TEST(EwsAnswerReader, IgnoresABackOffThatIsNoNumber) {
  std::string document = written(busy_fault(SoapVersion::soap11));
  for (std::string_view bad : {"soon", "-1", "4294967296", ""}) {
    std::string changed = document;
    changed.replace(changed.find("297749"), 6, bad);
    EXPECT_EQ(read(changed), "answer fault soap11 Fault ErrorServerBusy fault_code=ErrorServerBusy text=Try <later>.");
  }
}

TEST(EwsAnswerReader, ReadsClassAndCodeOfOtherOperations) {
  EXPECT_EQ(read(envelope("<FindFolderResponse><ResponseMessages><FindFolderResponseMessage ResponseClass='Error'>"
                          "<ResponseCode>ErrorFolderNotFound</ResponseCode></FindFolderResponseMessage></"
                          "ResponseMessages></FindFolderResponse>")),
            "answer other soap11 FindFolderResponse [Error ErrorFolderNotFound]");
  // Its changes are folders, which have no ItemId.
  EXPECT_EQ(read(envelope("<SyncFolderHierarchyResponse><ResponseMessages><SyncFolderHierarchyResponseMessage "
                          "ResponseClass='Success'><ResponseCode>NoError</ResponseCode><Changes><t:Create><t:Folder/>"
                          "</t:Create></Changes></SyncFolderHierarchyResponseMessage></ResponseMessages>"
                          "</SyncFolderHierarchyResponse>")),
            "answer other soap11 SyncFolderHierarchyResponse [Success NoError]");
  EXPECT_EQ(read(envelope("<x xmlns='urn:x'><Response/></x>")), "answer other soap11 x");
}

TEST(EwsAnswerReader, RefusesIncompleteAnswers) {
  auto message = [](std::string_view operation, std::string_view attributes, std::string_view inner) {
    return envelope(
        fmt::format("<{0}Response><ResponseMessages><{0}ResponseMessage "
                    "{1}>{2}</{0}ResponseMessage></ResponseMessages></{0}Response>",
                    operation, attributes, inner));
  };
  constexpr std::string_view kSuccess = "ResponseClass='Success'";
  constexpr std::string_view kNoError = "<ResponseCode>NoError</ResponseCode>";
  auto with_item = [&](std::string_view item) {
    return message("GetItem", kSuccess, fmt::format("{}<Items>{}</Items>", kNoError, item));
  };
  EXPECT_TRUE(read(with_item("<t:Message><t:ItemId Id='I'/></t:Message>")).starts_with("answer get_item"));

  EXPECT_EQ(read(envelope("<SubscribeResponse/>")), "ews missing_part");
  EXPECT_EQ(read(envelope("<SubscribeResponse><ResponseMessages/></SubscribeResponse>")), "ews missing_part");
  EXPECT_EQ(read(message("Subscribe", "", kNoError)), "ews missing_part");
  EXPECT_EQ(read(message("Subscribe", "ResponseClass='Great'", kNoError)), "ews bad_value");
  EXPECT_EQ(read(message("Subscribe", kSuccess, "<SubscriptionId>S</SubscriptionId>")), "ews missing_part");
  EXPECT_EQ(read(message("Subscribe", kSuccess, kNoError)), "ews missing_part");
  EXPECT_EQ(read(message("Subscribe", kSuccess, fmt::format("{0}{0}", kNoError))), "ews repeated_part");
  EXPECT_EQ(
      read(message("Subscribe", kSuccess,
                   fmt::format("{}<SubscriptionId>S</SubscriptionId><SubscriptionId>T</SubscriptionId>", kNoError))),
      "ews repeated_part");
  EXPECT_EQ(read(message("FindItem", kSuccess, kNoError)), "ews missing_part");
  EXPECT_EQ(read(message("FindItem", kSuccess, fmt::format("{}<RootFolder TotalItemsInView='x'/>", kNoError))),
            "ews bad_value");
  EXPECT_EQ(read(message("FindItem", kSuccess, fmt::format("{}<RootFolder IncludesLastItemInRange='x'/>", kNoError))),
            "ews bad_value");
  EXPECT_EQ(read(message("FindItem", kSuccess, fmt::format("{}<RootFolder/><RootFolder/>", kNoError))),
            "ews repeated_part");
  EXPECT_EQ(read(with_item("")), "ews missing_part");
  EXPECT_EQ(read(with_item("<t:Message/>")), "ews missing_part");
  EXPECT_EQ(read(with_item("<t:Message><t:ItemId/></t:Message>")), "ews missing_part");
  EXPECT_EQ(read(with_item("<t:Message><t:ItemId Id='I'/><t:ItemId Id='J'/></t:Message>")), "ews repeated_part");
  EXPECT_EQ(read(with_item("<t:Message><t:ItemId Id='I'/><t:DateTimeReceived>x</t:DateTimeReceived></t:Message>")),
            "ews bad_value");
  EXPECT_EQ(read(with_item("<t:Message><t:ItemId Id='I'/><t:Importance>x</t:Importance></t:Message>")),
            "ews bad_value");
  EXPECT_EQ(read(with_item("<t:Message><t:ItemId Id='I'/><t:Sensitivity>x</t:Sensitivity></t:Message>")),
            "ews bad_value");
  EXPECT_EQ(read(with_item("<t:Message><t:ItemId Id='I'/><t:IsRead>x</t:IsRead></t:Message>")), "ews bad_value");
  EXPECT_EQ(read(message("GetFolder", kSuccess, kNoError)), "ews missing_part");
  EXPECT_EQ(read(message("GetFolder", kSuccess, fmt::format("{}<Folders><t:Folder/></Folders>", kNoError))),
            "ews missing_part");
  EXPECT_EQ(read(message("SyncFolderItems", kSuccess, kNoError)), "ews missing_part");
  auto with_changes = [&](std::string_view changes) {
    return message("SyncFolderItems", kSuccess,
                   fmt::format("{}<SyncState>S</SyncState><Changes>{}</Changes>", kNoError, changes));
  };
  EXPECT_TRUE(read(with_changes("<t:Create/><t:Delete><t:ItemId Id='I'/></t:Delete>")).ends_with("(deleted id=I)]"));
  for (std::string_view bad :
       {"<t:Create><t:Message/></t:Create>", "<t:Update><t:Message/></t:Update>", "<t:Delete/>", "<t:ReadFlagChange/>"}) {
    EXPECT_EQ(read(with_changes(bad)), "ews missing_part") << bad;
  }
  EXPECT_EQ(read(with_changes("<t:Delete><t:ItemId Id='I'/><t:ItemId Id='J'/></t:Delete>")), "ews repeated_part");
  // The message of another operation is none.
  EXPECT_EQ(read(envelope("<GetItemResponse><ResponseMessages><SubscribeResponseMessage "
                          "ResponseClass='Success'/></ResponseMessages></GetItemResponse>")),
            "ews missing_part");
  EXPECT_EQ(read("<html><body>502</body></html>"), "ews not_soap");
}

TEST(EwsAnswerReader, BoundsMessagesAndItems) {
  std::vector<EwsItem> items(kEwsItemsMax, EwsItem{.element = "Message", .id = "I"});
  std::array found = {EwsResponseMessage{.code = kOk, .items = items}};
  EXPECT_TRUE(read(written(answer_of(EwsAnswerKind::find_item, found))).starts_with("answer find_item"));
  items.push_back(items[0]);
  found[0].items = items;
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::find_item, found))), "ews too_many");

  std::vector<EwsItem> changes(kEwsItemsMax, kChanges[2]);
  std::array synced = {EwsResponseMessage{.code = kOk, .items = changes, .sync_state = "S"}};
  EXPECT_TRUE(read(written(answer_of(EwsAnswerKind::sync_folder_items, synced))).starts_with("answer sync"));
  changes.push_back(changes[0]);
  synced[0].items = changes;
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::sync_folder_items, synced))), "ews too_many");

  std::vector<EwsFolder> folders(kEwsFoldersMax, kFolders[0]);
  std::array got = {EwsResponseMessage{.code = kOk, .folders = folders}};
  EXPECT_TRUE(read(written(answer_of(EwsAnswerKind::get_folder, got))).starts_with("answer get_folder"));
  folders.push_back(folders[0]);
  got[0].folders = folders;
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::get_folder, got))), "ews too_many");

  std::vector<EwsResponseMessage> messages(kEwsMessagesMax, kSubscribed[0]);
  EXPECT_TRUE(read(written(answer_of(EwsAnswerKind::subscribe, messages))).starts_with("answer subscribe"));
  messages.push_back(messages[0]);
  EXPECT_EQ(read(written(answer_of(EwsAnswerKind::subscribe, messages))), "ews too_many");
}

TEST(EwsAnswerReader, GivesTheSameForAnySplitAndNeverAcceptsAPrefix) {
  EwsAnswerReader reader(kTestSalt);
  for (const std::string& document : all_answers()) {
    EXPECT_TRUE(read_whole(reader, document).starts_with("answer ")) << document;
    expect_splits_agree(reader, document);
    expect_no_prefix_is_accepted(reader, document);
  }
}

TEST(EwsAnswerReader, SurvivesMutatedInput) {
  EwsAnswerReader reader(kTestSalt);
  for (const std::string& document : all_answers()) expect_mutations_are_survived(reader, document, 300);
}

TEST(EwsAnswerReader, WipesItsTextsOnReset) {
  EwsAnswerReader reader(kTestSalt);
  ASSERT_TRUE(reader.feed(written(answer_of(EwsAnswerKind::get_item, kGot))));
  auto answer = reader.finish();
  ASSERT_TRUE(answer);
  std::string_view subject = (*answer)->messages[0].items[0].subject;
  ASSERT_EQ(subject, kItems[0].subject);
  reader.reset();  // keeps the block, so that the view still points into memory of the reader
  EXPECT_EQ(subject, std::string(subject.size(), '\0'));
}

TEST(EwsAnswers, AreValidAgainstTheSchema) {
  SKIP_WITHOUT_SCHEMA();
  std::vector<std::string> documents = all_answers();
  std::erase_if(documents, [](const std::string& document) { return document.find("s:Fault") != document.npos; });
  ASSERT_EQ(documents.size(), 9u);
  EXPECT_EQ(schema_errors(documents), "");
}

TEST(EwsAnswers, StayWellFormedWhateverTextTheyHold) {
  EwsItem item = kItems[0];
  item.subject = "a\x01<\xff";
  std::array messages = {EwsResponseMessage{.code = kOk, .items = {&item, 1}}};
  EwsAnswerReader reader(kTestSalt);
  ASSERT_TRUE(reader.feed(written(answer_of(EwsAnswerKind::get_item, messages))));
  auto answer = reader.finish();
  ASSERT_TRUE(answer);
  EXPECT_EQ((*answer)->messages[0].items[0].subject, "a\xef\xbf\xbd<\xef\xbf\xbd");
}

}  // namespace
}  // namespace bellhop::proto
