// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_notification.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "tests/proto/ews_fixture.h"
#include "tests/proto/heap_count_fixture.h"

namespace bellhop::proto {
namespace {

using namespace std::chrono_literals;

const WallTime kTime = WallTime(std::chrono::sys_days(std::chrono::year(2026) / 3 / 1)) + 8h;

// All kinds of events, as the schema has them.
const std::array kAllEvents = {
    NotificationEvent{.kind = EventKind::status, .watermark = "W0="},
    NotificationEvent{.kind = EventKind::new_mail,
                      .watermark = "W1=",
                      .timestamp = kTime,
                      .item_id = "I1=",
                      .parent_folder_id = "F="},
    NotificationEvent{
        .kind = EventKind::created, .watermark = "W2=", .timestamp = kTime, .item_id = "I2=", .parent_folder_id = "F="},
    NotificationEvent{.kind = EventKind::deleted,
                      .watermark = "W3=",
                      .timestamp = kTime,
                      .folder_id = "F2=",
                      .parent_folder_id = "F="},
    NotificationEvent{.kind = EventKind::modified,
                      .watermark = "W4=",
                      .timestamp = kTime,
                      .item_id = "I1=",
                      .parent_folder_id = "F="},
    NotificationEvent{.kind = EventKind::modified,
                      .watermark = "W5=",
                      .timestamp = kTime,
                      .folder_id = "F=",
                      .parent_folder_id = "R=",
                      .unread_count = 7},
    NotificationEvent{.kind = EventKind::moved,
                      .watermark = "W6=",
                      .timestamp = kTime,
                      .item_id = "I3=",
                      .parent_folder_id = "F=",
                      .old_item_id = "O3=",
                      .old_parent_folder_id = "G="},
    NotificationEvent{.kind = EventKind::copied,
                      .watermark = "W7=",
                      .timestamp = kTime,
                      .folder_id = "F3=",
                      .parent_folder_id = "F=",
                      .old_folder_id = "O4=",
                      .old_parent_folder_id = "G="},
    NotificationEvent{.kind = EventKind::free_busy_changed,
                      .watermark = "W8=",
                      .timestamp = kTime,
                      .item_id = "I4=",
                      .parent_folder_id = "F="},
};

std::string written(SoapVersion version, std::span<const NotificationEvent> events, bool more_events = false) {
  Notification notification{.response_code = EwsResponseCode::no_error,
                            .subscription_id = "S<&>\"'=",
                            .previous_watermark = "P=",
                            .more_events = more_events,
                            .events = events};
  std::string out;
  write_send_notification({version, {&notification, 1}}, ExchangeVersion::exchange2016, out);
  return out;
}

// A callback with `inner` as the content of its response message.
std::string callback(std::string_view inner, std::string_view response_class = "Success") {
  return fmt::format(
      R"(<s:Envelope xmlns:s="{}"><s:Body><m:SendNotification xmlns:m="{}" xmlns:t="{}"><m:ResponseMessages>)"
      R"(<m:SendNotificationResponseMessage ResponseClass="{}">{}</m:SendNotificationResponseMessage>)"
      R"(</m:ResponseMessages></m:SendNotification></s:Body></s:Envelope>)",
      kSoap11Space, kEwsMessagesSpace, kEwsTypesSpace, response_class, inner);
}

std::string with_notification(std::string_view inner) {
  return callback("<m:ResponseCode>NoError</m:ResponseCode><m:Notification>" + std::string(inner) +
                  "</m:Notification>");
}

constexpr std::string_view kId = "<t:SubscriptionId>S</t:SubscriptionId>";
constexpr std::string_view kStatus = "<t:StatusEvent><t:Watermark>W</t:Watermark></t:StatusEvent>";

std::string read(std::string_view document) {
  NotificationParser parser(kTestSalt);
  return read_whole(parser, document);
}

TEST(NotificationParser, ReadsEveryKindOfEventInBothSoapVersions) {
  for (SoapVersion version : {SoapVersion::soap11, SoapVersion::soap12}) {
    EXPECT_EQ(
        read(written(version, kAllEvents, true)),
        fmt::format(
            "notification {} [Success NoError subscription=S<&>\"'= previous=P= more=true (StatusEvent watermark=W0=)"
            " (NewMailEvent watermark=W1= time=2026-03-01T08:00:00Z item=I1= parent=F=)"
            " (CreatedEvent watermark=W2= time=2026-03-01T08:00:00Z item=I2= parent=F=)"
            " (DeletedEvent watermark=W3= time=2026-03-01T08:00:00Z folder=F2= parent=F=)"
            " (ModifiedEvent watermark=W4= time=2026-03-01T08:00:00Z item=I1= parent=F=)"
            " (ModifiedEvent watermark=W5= time=2026-03-01T08:00:00Z folder=F= parent=R= unread=7)"
            " (MovedEvent watermark=W6= time=2026-03-01T08:00:00Z item=I3= parent=F= old_item=O3= old_parent=G=)"
            " (CopiedEvent watermark=W7= time=2026-03-01T08:00:00Z folder=F3= parent=F= old_folder=O4= old_parent=G=)"
            " (FreeBusyChangedEvent watermark=W8= time=2026-03-01T08:00:00Z item=I4= parent=F=)]",
            version == SoapVersion::soap11 ? "soap11" : "soap12"));
  }
}

TEST(NotificationParser, GivesTheSameForAnySplitAndNeverAcceptsAPrefix) {
  NotificationParser parser(kTestSalt);
  std::string document = written(SoapVersion::soap12, kAllEvents);
  expect_splits_agree(parser, document);
  expect_no_prefix_is_accepted(parser, document);
}

TEST(NotificationParser, SurvivesMutatedInput) {
  NotificationParser parser(kTestSalt);
  expect_mutations_are_survived(parser, written(SoapVersion::soap11, kAllEvents), 2000);
}

TEST(NotificationParser, ReadsSeveralResponseMessages) {
  std::string one = with_notification(std::string(kId) + std::string(kStatus));
  size_t begin = one.find("<m:SendNotificationResponseMessage"), end = one.find("</m:ResponseMessages>");
  std::string message = one.substr(begin, end - begin);
  auto repeated = [&](size_t count) {
    std::string document = one;
    for (size_t i = 1; i < count; ++i) document.insert(end, message);
    return document;
  };
  EXPECT_EQ(read(repeated(2)),
            "notification soap11 [Success NoError subscription=S more=false (StatusEvent watermark=W)]"
            " [Success NoError subscription=S more=false (StatusEvent watermark=W)]");
  EXPECT_TRUE(read(repeated(kNotificationMessagesMax)).starts_with("notification"));
  EXPECT_EQ(read(repeated(kNotificationMessagesMax + 1)), "ews too_many");
}

TEST(NotificationParser, BoundsTheNumberOfEvents) {
  std::vector<NotificationEvent> events(kNotificationEventsMax);
  EXPECT_TRUE(read(written(SoapVersion::soap11, events)).starts_with("notification"));
  events.emplace_back();
  EXPECT_EQ(read(written(SoapVersion::soap11, events)), "ews too_many");
}

TEST(NotificationParser, BoundsTheDocument) {
  std::string document = written(SoapVersion::soap11, kAllEvents);
  std::string padded = document + std::string(kXmlCallbackBytesMax - document.size(), ' ');
  EXPECT_TRUE(read(padded).starts_with("notification"));
  EXPECT_EQ(read(padded + " "), "xml document");
}

TEST(NotificationParser, ReadsAnErrorWithoutNotification) {
  EXPECT_EQ(
      read(callback("<m:MessageText>x</m:MessageText><m:ResponseCode>ErrorMissedNotificationEvents</m:ResponseCode>",
                    "Error")),
      "notification soap11 [Error ErrorMissedNotificationEvents more=false]");
  EXPECT_EQ(read(callback("<m:ResponseCode>ErrorOfTomorrow</m:ResponseCode>", "Error")),
            "notification soap11 [Error other:ErrorOfTomorrow more=false]");
}

TEST(NotificationParser, SkipsWhatItDoesNotKnow) {
  std::string document = with_notification(fmt::format(
      "{}<t:Future><t:SubscriptionId>other</t:SubscriptionId></t:Future><t:StatusEvent><t:Watermark> W </t:Watermark>"
      "<t:ItemId Id='no'/><x xmlns='urn:x'><t:Watermark>no</t:Watermark></x></t:StatusEvent>",
      kId));
  EXPECT_EQ(read(document),
            "notification soap11 [Success NoError subscription=S more=false (StatusEvent watermark=W)]");
}

TEST(NotificationParser, KeepsAnEventWhoseTimeIsUnreadable) {
  EXPECT_EQ(read(with_notification(
                std::string(kId) +
                "<t:NewMailEvent><t:TimeStamp>yesterday</t:TimeStamp><t:ItemId Id='I'/></t:NewMailEvent>")),
            "notification soap11 [Success NoError subscription=S more=false (NewMailEvent item=I)]");
}

struct Refusal {
  std::string_view why;
  std::string document;
};

TEST(NotificationParser, RefusesWhatLacksAPartOrHasOneTwice) {
  std::string id(kId), status(kStatus);
  for (const Refusal& row : {
           Refusal{"ews missing_part", with_notification(status)},
           Refusal{"ews missing_part", with_notification("<t:SubscriptionId> </t:SubscriptionId>" + status)},
           Refusal{"ews missing_part", with_notification(id)},
           Refusal{"ews missing_part", callback("<m:Notification>" + id + status + "</m:Notification>")},
           Refusal{"ews missing_part", with_notification(id + "<t:StatusEvent><t:Watermark/></t:StatusEvent>")},
           Refusal{"ews missing_part",
                   with_notification(id + "<t:NewMailEvent><t:Watermark>W</t:Watermark></t:NewMailEvent>")},
           Refusal{"ews missing_part", with_notification(id + "<t:NewMailEvent><t:FolderId Id='F'/></t:NewMailEvent>")},
           Refusal{"ews missing_part", with_notification(id + "<t:NewMailEvent><t:ItemId/></t:NewMailEvent>")},
           Refusal{"ews missing_part",
                   with_notification(id + "<t:ModifiedEvent><t:ItemId Id='I'/><t:FolderId Id='F'/></t:ModifiedEvent>")},
           Refusal{"ews repeated_part", with_notification(id + id + status)},
           Refusal{"ews repeated_part",
                   with_notification(
                       id + "<t:StatusEvent><t:Watermark>W</t:Watermark><t:Watermark>V</t:Watermark></t:StatusEvent>")},
           Refusal{"ews bad_value", with_notification(id + "<t:MoreEvents>perhaps</t:MoreEvents>" + status)},
           Refusal{
               "ews bad_value",
               with_notification(
                   id + "<t:ModifiedEvent><t:FolderId Id='F'/><t:UnreadCount>-1</t:UnreadCount></t:ModifiedEvent>")},
           Refusal{
               "ews bad_value",
               with_notification(
                   id + "<t:ModifiedEvent><t:FolderId Id='F'/><t:UnreadCount>many</t:UnreadCount></t:ModifiedEvent>")},
           Refusal{"ews bad_value", callback("", "Fine")},
       }) {
    EXPECT_EQ(read(row.document), row.why) << row.document;
  }
}

TEST(NotificationParser, RefusesOtherEnvelopesMessagesAndNamespaces) {
  std::string good = with_notification(std::string(kId) + std::string(kStatus));
  auto replaced = [&](std::string_view what, std::string_view with) {
    std::string document = good;
    for (size_t at = 0; (at = document.find(what, at)) != document.npos; at += with.size())
      document.replace(at, what.size(), with);
    return document;
  };
  std::string body = good.substr(good.find("<s:Body>"), good.find("</s:Envelope>") - good.find("<s:Body>"));
  std::string message = body.substr(8, body.size() - 17);
  std::string both_soaps = fmt::format("<s:Envelope xmlns:s='{}'><s:Body xmlns:s='{}'>{}</s:Body></s:Envelope>",
                                       kSoap11Space, kSoap12Space, message);
  for (const Refusal& row : {
           Refusal{"ews not_soap", message},
           Refusal{"ews not_soap", replaced("http://schemas.xmlsoap.org", "https://schemas.xmlsoap.org")},
           Refusal{"ews unexpected_message", replaced("2006/messages", "2007/messages")},
           Refusal{"ews missing_part", replaced("2006/types", "2007/types")},
           Refusal{"ews unexpected_message", replaced("m:SendNotification ", "m:Subscribe ")},
           Refusal{"ews envelope", both_soaps},
           Refusal{"ews envelope", replaced(body, "")},
           Refusal{"ews envelope", replaced(message, "")},
           Refusal{"ews envelope", replaced(message, message + message)},
           Refusal{"ews envelope", replaced(body, body + body)},
           Refusal{"ews envelope", replaced(body, body + "<s:Header/>")},
           Refusal{"ews envelope", replaced(body, "<s:Header/><s:Header/>" + body)},
           Refusal{"xml doctype", "<!DOCTYPE x>" + good},
       }) {
    EXPECT_EQ(read(row.document), row.why) << row.document;
  }
  EXPECT_TRUE(read(replaced(body, "<s:Header><a><b/></a></s:Header>" + body + "<x/>")).starts_with("notification"));
}

TEST(NotificationParser, DoesNotTouchTheHeapForAHeartbeatAfterWarmUp) {
  if (!test::heap_is_counted()) GTEST_SKIP() << "the sanitizer has its own heap";
  std::string document = written(SoapVersion::soap11, std::span(kAllEvents).first(1));
  NotificationParser parser(kTestSalt);
  auto read_once = [&] {
    parser.reset();
    return parser.feed(std::string_view(document).substr(0, 300)) &&
           parser.feed(std::string_view(document).substr(300)) && parser.finish();
  };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(read_once());
  uint64_t before_control = test::heap_allocations();
  auto control = std::make_unique<int>(1);
  asm volatile("" : : "r"(control.get()) : "memory");  // the optimiser must not drop it
  ASSERT_GT(test::heap_allocations(), before_control) << "the count does not count";
  uint64_t before = test::heap_allocations();
  bool all_read = true;
  for (int i = 0; i < 1000; ++i) all_read &= bool(read_once());
  EXPECT_EQ(test::heap_allocations() - before, 0u);
  EXPECT_TRUE(all_read);
}

TEST(NotificationParser, WipesItsTextsOnReset) {
  NotificationParser parser(kTestSalt);
  ASSERT_TRUE(parser.feed(written(SoapVersion::soap11, kAllEvents)));
  auto message = parser.finish();
  ASSERT_TRUE(message);
  std::string_view watermark = (*message)->notifications[0].previous_watermark;
  ASSERT_EQ(watermark, "P=");
  parser.reset();  // keeps the block, so that the view still points into memory of the parser
  EXPECT_EQ(watermark, std::string_view("\0\0", 2));
}

TEST(SendNotification, IsValidAgainstTheSchema) {
  SKIP_WITHOUT_SCHEMA();
  std::vector<std::string> documents = {written(SoapVersion::soap11, kAllEvents),
                                        written(SoapVersion::soap12, kAllEvents, true)};
  for (const NotificationEvent& event : kAllEvents) documents.push_back(written(SoapVersion::soap11, {&event, 1}));
  EXPECT_EQ(schema_errors(documents), "");
  documents[0].replace(documents[0].find("t:MoreEvents"), 12, "t:LessEvents");
  EXPECT_NE(schema_errors(documents), "") << "the check must be able to fail";
}

TEST(SendNotificationResult, IsValidAgainstTheSchema) {
  SKIP_WITHOUT_SCHEMA();
  std::vector<std::string> documents;
  for (SoapVersion version : {SoapVersion::soap11, SoapVersion::soap12}) {
    for (SubscriptionStatus status : {SubscriptionStatus::ok, SubscriptionStatus::unsubscribe}) {
      documents.emplace_back(send_notification_result(version, status));
    }
  }
  EXPECT_EQ(schema_errors(documents), "");
}

TEST(SendNotificationResult, SaysItsStatusInItsSoapVersion) {
  EwsRequestReader reader(kTestSalt);
  for (SoapVersion version : {SoapVersion::soap11, SoapVersion::soap12}) {
    std::string soap = version == SoapVersion::soap11 ? "soap11" : "soap12";
    std::string_view ok = send_notification_result(version, SubscriptionStatus::ok);
    std::string_view unsubscribe = send_notification_result(version, SubscriptionStatus::unsubscribe);
    EXPECT_EQ(read_whole(reader, ok), "request other " + soap + " SendNotificationResult");
    EXPECT_EQ(read_whole(reader, unsubscribe), "request other " + soap + " SendNotificationResult");
    EXPECT_NE(ok.find("<SubscriptionStatus>OK</SubscriptionStatus>"), ok.npos);
    EXPECT_NE(unsubscribe.find("<SubscriptionStatus>Unsubscribe</SubscriptionStatus>"), ok.npos);
  }
}

}  // namespace
}  // namespace bellhop::proto
