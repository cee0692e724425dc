// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <sstream>

#include "proto/ews_tags.h"
#include "tests/proto/ews_fixture.h"

// What every file of recorded and documented EWS messages must give. A file without a row fails, and a row without a
// file.
namespace bellhop::proto {
namespace {

enum class Reads { notification, request, answer };

struct Row {
  std::string_view file;
  std::string_view outline;  // root element and the element in Body; or why it is no XML for us
  Reads reader;
  std::string_view result;
};

constexpr Row kRows[] = {
    {"exchangelib-send-notification-status.xml", "soap11:Envelope > m:SendNotification", Reads::notification,
     "notification soap11 [Success NoError subscription=XXXXX= previous=AAAAA= more=false (StatusEvent "
     "watermark=BBBBB=)]"},
    {"exchangelib-services-00.xml", "soap11:Envelope > m:DeleteItemResponse", Reads::answer,
     "answer other soap11 DeleteItemResponse [Error ErrorInternalServerError text=An internal server error occurred. "
     "The operation failed.]"},
    {"exchangelib-services-01.xml", "soap11:Envelope > m:DeleteItemResponse", Reads::answer,
     "answer other soap11 DeleteItemResponse [Error other:ErrorInvalidValueForProperty text=The specified value is "
     "invalid for property.]"},
    {"exchangelib-services-02.xml", "soap11:Envelope > soap11:Fault", Reads::answer,
     "answer fault soap11 Fault ErrorServerBusy fault_code=ErrorServerBusy text=The server cannot service this request "
     "right now. Try again later. back_off=297749"},
    {"exchangelib-services-03.xml", "soap11:Envelope > soap11:Fault", Reads::answer,
     "answer fault soap11 Fault ErrorSchemaValidation fault_code=ErrorSchemaValidation text=XXX"},
    // A template whose placeholders were not filled; its codes are unknown ones.
    {"exchangelib-services-04.xml", "soap11:Envelope > soap11:Fault", Reads::answer,
     "answer fault soap11 Fault other:{responsecode} fault_code={faultcode} text={faultstring}"},
    // Closes a Body that was never opened.
    {"exchangelib-services-05.xml", "xml malformed", Reads::answer, "xml malformed"},
    // A fault that says nothing at all.
    {"exchangelib-services-06.xml", "soap11:Envelope > soap11:Fault", Reads::answer, "answer fault soap11 Fault none"},
    {"exchangelib-services-07.xml", "soap11:Envelope > m:ResolveNamesResponse", Reads::answer,
     "answer other soap11 ResolveNamesResponse [Success NoError]"},
    {"exchangelib-services-08.xml", "soap11:Envelope > AAA", Reads::request, "request other soap11 AAA version=BBB"},
    // A template: braces in element names.
    {"exchangelib-services-09.xml", "xml malformed", Reads::request, "xml malformed"},
    {"exchangelib-streaming-error.xml", "soap11:Envelope > m:GetStreamingEventsResponse", Reads::answer,
     "answer other soap11 GetStreamingEventsResponse [Success NoError]"},
    {"msdocs-finditem-operation-0.xml", "soap11:Envelope > m:FindItem", Reads::request,
     "request find_item soap11 FindItem folder=deleteditems"},
    {"msdocs-finditem-operation-1.xml", "soap11:Envelope > m:FindItemResponse", Reads::answer,
     "answer find_item soap11 FindItemResponse [Success NoError total=10 last=true (Message id=AS4AUn=) (Message "
     "id=AS4AUM=)]"},
    {"msdocs-finditem-operation-2.xml", "soap11:Envelope > m:FindItemResponse", Reads::answer,
     "answer find_item soap11 FindItemResponse [Error ErrorInvalidIdMalformed text=Id is malformed.]"},
    {"msdocs-getfolder-operation-0.xml", "soap11:Envelope > m:GetFolder", Reads::request,
     "request get_folder soap11 GetFolder folder=inbox"},
    {"msdocs-getfolder-operation-1.xml", "soap11:Envelope > m:GetFolderResponse", Reads::answer,
     "answer get_folder soap11 GetFolderResponse [Success NoError (Folder id=AQApA= name=Inbox total=2 unread=2)]"},
    {"msdocs-getfolder-operation-2.xml", "soap11:Envelope > m:GetFolderResponse", Reads::answer,
     "answer get_folder soap11 GetFolderResponse [Error ErrorInvalidIdMalformed text=Id is malformed.]"},
    {"msdocs-getitem-operation-email-message-0.xml", "soap11:Envelope > m:GetItem", Reads::request,
     "request get_item soap11 GetItem ids=AAAlAF"},
    // HTML with an unclosed element pasted into the Body of a mail.
    {"msdocs-getitem-operation-email-message-1.xml", "xml malformed", Reads::answer, "xml malformed"},
    {"msdocs-getitem-operation-email-message-2.xml", "soap11:Envelope > m:GetItemResponse", Reads::answer,
     "answer get_item soap11 GetItemResponse [Error ErrorInvalidPropertyRequest text=Property is not valid for "
     "this object type.]"},
    {"msdocs-getusersettings-operation-soap-0.xml", "soap11:Envelope > autodiscover:GetUserSettingsRequestMessage",
     Reads::request, "request other soap11 GetUserSettingsRequestMessage"},
    {"msdocs-getusersettings-operation-soap-1.xml", "soap11:Envelope > autodiscover:GetUserSettingsResponseMessage",
     Reads::answer, "answer other soap11 GetUserSettingsResponseMessage"},
    // A pull subscription: no url, no status frequency.
    {"msdocs-how-to-pull-notifications-about-mailbox--0.xml", "soap11:Envelope > m:Subscribe", Reads::request,
     "request subscribe soap11 Subscribe version=Exchange2016 folder=inbox "
     "events=CopiedEvent,CreatedEvent,DeletedEvent,ModifiedEvent,MovedEvent,NewMailEvent"},
    // A fragment without envelope, in a namespace without its colon.
    {"msdocs-how-to-pull-notifications-about-mailbox--1.xml", "SubscribeResponse", Reads::answer, "ews not_soap"},
    {"msdocs-how-to-pull-notifications-about-mailbox--2.xml", "soap11:Envelope > m:GetEvents", Reads::request,
     "request other soap11 GetEvents version=Exchange2016"},
    // A fragment whose end tag is of another name; refused as SOAP at its root already.
    {"msdocs-how-to-pull-notifications-about-mailbox--3.xml", "xml malformed", Reads::answer, "ews not_soap"},
    // The next four have "https" in the namespace of SOAP, which no server sends.
    {"msdocs-how-to-stream-notifications-about-mailbo-0.xml",
     "{https://schemas.xmlsoap.org/soap/envelope/}Envelope > m:Subscribe", Reads::request, "ews not_soap"},
    {"msdocs-how-to-stream-notifications-about-mailbo-1.xml",
     "{https://schemas.xmlsoap.org/soap/envelope/}Envelope > m:SubscribeResponse", Reads::answer, "ews not_soap"},
    {"msdocs-how-to-stream-notifications-about-mailbo-2.xml",
     "{https://schemas.xmlsoap.org/soap/envelope/}Envelope > m:GetStreamingEvents", Reads::request, "ews not_soap"},
    // And this one is cut off.
    {"msdocs-how-to-stream-notifications-about-mailbo-3.xml", "xml truncated", Reads::answer, "ews not_soap"},
    {"msdocs-subscribe-operation-0.xml", "soap11:Envelope > m:Subscribe", Reads::request,
     "request subscribe soap11 Subscribe folder=inbox events=NewMailEvent,DeletedEvent"},
    {"msdocs-subscribe-operation-1.xml", "soap11:Envelope > m:SubscribeResponse", Reads::answer,
     "answer subscribe soap11 SubscribeResponse [Success NoError subscription=39ea5d0f-f062-455e-a1e9-89c0304390f4 "
     "watermark=AAAAAHgGAAAAAAAAAQ==]"},
    {"msdocs-subscribe-operation-2.xml", "soap11:Envelope > m:SubscribeResponse", Reads::answer,
     "answer subscribe soap11 SubscribeResponse [Error ErrorSubscriptionDelegateAccessNotSupported text=Subscriptions "
     "are not supported for delegate user access.]"},
    // A push subscription, but Subscribe is in no namespace, so Exchange would not know it either.
    {"msdocs-subscribe-operation-3.xml", "soap11:Envelope > Subscribe", Reads::request,
     "request other soap11 Subscribe"},
    {"msdocs-subscribe-operation-4.xml", "soap11:Envelope > m:SubscribeResponse", Reads::answer,
     "answer subscribe soap11 SubscribeResponse [Success NoError subscription=83826921-afdf-48be-b469-628cc02b5f49 "
     "watermark=AQAAAOpvG0LURVdOhQkPOWZLPcI8EgAAAAAAAAE=]"},
    {"msdocs-syncfolderitems-operation-0.xml", "soap11:Envelope > m:SyncFolderItems", Reads::request,
     "request sync_folder_items soap11 SyncFolderItems folder=sentitems max=100 state=AEbJ94eMOAAA="},
    {"msdocs-syncfolderitems-operation-1.xml", "soap11:Envelope > m:SyncFolderItemsResponse", Reads::answer,
     "answer sync_folder_items soap11 SyncFolderItemsResponse [Success NoError last=true state=H4sIAAAAA= (created "
     "MeetingRequest id=AQApAHRwA== subject=Budget Q3 sensitivity=0)]"},
    {"msdocs-syncfolderitems-operation-2.xml", "soap11:Envelope > m:SyncFolderItemsResponse", Reads::answer,
     "answer sync_folder_items soap11 SyncFolderItemsResponse [Error ErrorInvalidSyncStateData text=Synchronization "
     "state data is corrupt or otherwise invalid. last=true]"},
    {"msdocs-unsubscribe-operation-0.xml", "soap11:Envelope > m:Unsubscribe", Reads::request,
     "request other soap11 Unsubscribe"},
    {"msdocs-unsubscribe-operation-1.xml", "soap11:Envelope > m:UnsubscribeResponse", Reads::answer,
     "answer other soap11 UnsubscribeResponse [Success NoError]"},
    {"msdocs-unsubscribe-operation-2.xml", "soap11:Envelope > m:UnsubscribeResponse", Reads::answer,
     "answer other soap11 UnsubscribeResponse [Error ErrorSubscriptionNotFound text=The specified subscription was not "
     "found.]"},
};

// The expanded names of the root and of what stands in a Body, with any XML accepted.
class Outline : public XmlConsumer {
 public:
  Status element_started(XmlName name, const XmlAttributes&) override {
    ++depth_;
    if (depth_ == 1) text = short_name(name);
    if (depth_ == 2) in_body_ = name.local == "Body";
    if (depth_ == 3 && in_body_) text += " > " + short_name(name);
    return {};
  }
  Status element_ended(std::string_view) override {
    --depth_;
    return {};
  }

  std::string text;

 private:
  static std::string short_name(XmlName name) {
    constexpr std::pair<std::string_view, std::string_view> kPrefixes[] = {
        {kSoap11Space, "soap11"},
        {kSoap12Space, "soap12"},
        {kEwsMessagesSpace, "m"},
        {kEwsTypesSpace, "t"},
        {"https://schemas.microsoft.com/exchange/2010/Autodiscover", "autodiscover"}};
    if (name.space.empty()) return std::string(name.local);
    for (auto [space, prefix] : kPrefixes) {
      if (space == name.space) return fmt::format("{}:{}", prefix, name.local);
    }
    return fmt::format("{{{}}}{}", name.space, name.local);
  }

  int depth_ = 0;
  bool in_body_ = false;
};

std::string outline_of(std::string_view document) {
  Outline outline;
  XmlReader reader(outline, kXmlEwsAnswerBytesMax, kTestSalt);
  Status status = reader.feed(document);
  if (status) status = reader.finish();
  return status ? outline.text : describe(status.error());
}

template <class Reader>
std::string read_and_check(std::string_view document) {
  Reader reader(kTestSalt);
  std::string result = read_whole(reader, document);
  expect_splits_agree(reader, document);
  expect_no_prefix_is_accepted(reader, document);
  expect_mutations_are_survived(reader, document, 50);
  return result;
}

std::string result_of(Reads reader, std::string_view document) {
  switch (reader) {
    case Reads::notification:
      return read_and_check<NotificationParser>(document);
    case Reads::request:
      return read_and_check<EwsRequestReader>(document);
    case Reads::answer:
      return read_and_check<EwsAnswerReader>(document);
  }
  return {};
}

TEST(EwsSamples, EveryFileIsReadOrRefusedAsTheTableSays) {
  auto folder = test_data_folder();
  if (!folder) GTEST_SKIP() << "needs BELLHOP_TEST_DATA with ews-samples";
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.file);
    std::string document = read_file(fmt::format("{}/ews-samples/{}", *folder, row.file));
    ASSERT_FALSE(document.empty());
    EXPECT_EQ(outline_of(document), row.outline);
    EXPECT_EQ(result_of(row.reader, document), row.result);
  }
}

TEST(EwsSamples, TheTableHasEveryFileOnce) {
  auto folder = test_data_folder();
  if (!folder) GTEST_SKIP() << "needs BELLHOP_TEST_DATA with ews-samples";
  std::set<std::string> files, rows;
  for (const auto& entry : std::filesystem::directory_iterator(*folder + "/ews-samples"))
    files.insert(entry.path().filename());
  for (const Row& row : kRows) EXPECT_TRUE(rows.emplace(row.file).second) << row.file;
  EXPECT_EQ(files, rows);
}

// The words in backticks of the first column of a table of docs/ews.md.
std::set<std::string> documented(std::string_view section) {
  std::string text = read_file(BELLHOP_SOURCE_DIR "/docs/ews.md");
  size_t begin = text.find(fmt::format("\n## {}\n", section));
  EXPECT_NE(begin, text.npos);
  std::istringstream lines(text.substr(begin, text.find("\n## ", begin + 1) - begin));
  std::set<std::string> words;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| `")) continue;
    std::string column = line.substr(2, line.find(" | ") - 2);
    for (size_t at = column.find('`'); at != column.npos; at = column.find('`', at + 1)) {
      size_t end = column.find('`', at + 1);
      EXPECT_TRUE(words.insert(column.substr(at + 1, end - at - 1)).second) << line;
      at = end;
    }
  }
  return words;
}

TEST(EwsDocument, NamesEverySample) {
  std::set<std::string> rows;
  for (const Row& row : kRows) rows.emplace(row.file);
  EXPECT_EQ(documented("Samples"), rows);
}

TEST(EwsDocument, NamesEveryElement) {
  std::set<std::string> names;
  for (const EwsElement& element : ews_elements()) {
    constexpr std::string_view kPrefixes[] = {"", "soap:", "soap:", "m:", "t:", "e:", ""};
    names.insert(std::string(kPrefixes[size_t(element.space)]) + std::string(element.local));
  }
  EXPECT_EQ(documented("Elements"), names);
}

// No reader takes a message that another one is for.
TEST(EwsSamples, OnlyACallbackIsReadAsNotification) {
  auto folder = test_data_folder();
  if (!folder) GTEST_SKIP() << "needs BELLHOP_TEST_DATA with ews-samples";
  NotificationParser parser(kTestSalt);
  for (const Row& row : kRows) {
    std::string result = read_whole(parser, read_file(fmt::format("{}/ews-samples/{}", *folder, row.file)));
    EXPECT_EQ(result.starts_with("notification"), row.reader == Reads::notification) << row.file << ": " << result;
  }
}

}  // namespace
}  // namespace bellhop::proto
