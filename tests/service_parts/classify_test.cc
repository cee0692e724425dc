// SPDX-License-Identifier: Apache-2.0
#include "service/classify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

namespace bellhop::service {
namespace {

using proto::EventKind;
using proto::Notification;
using proto::NotificationEvent;

uint64_t hash_of(std::string_view kind, std::string_view text) {
  return std::hash<std::string>{}(std::string(kind) + std::string(text)) | 1;
}
uint64_t item(std::string_view id) {
  return hash_of("item ", id);
}
uint64_t mark(std::string_view watermark) {
  return hash_of("watermark ", watermark);
}

const EventHashes kHashes = {.context = nullptr,
                             .item = [](const void*, std::string_view id) { return item(id); },
                             .watermark = [](const void*, std::string_view text) { return mark(text); }};

NotificationEvent new_mail(std::string_view watermark, std::string_view id) {
  return {.kind = EventKind::new_mail, .watermark = watermark, .item_id = id};
}
NotificationEvent status(std::string_view watermark) {
  return {.kind = EventKind::status, .watermark = watermark};
}
NotificationEvent unread(std::string_view watermark, std::optional<int32_t> count) {
  return {.kind = EventKind::modified, .watermark = watermark, .folder_id = "inbox", .unread_count = count};
}

// A message, with what it points to.
struct Message {
  Message& add(std::string_view previous, std::vector<NotificationEvent> events) {
    events_.push_back(std::make_unique<std::vector<NotificationEvent>>(std::move(events)));
    notifications_.push_back({.subscription_id = "id", .previous_watermark = previous, .events = *events_.back()});
    return *this;
  }
  Message& add_error(proto::EwsResponseCode code) {
    notifications_.push_back({.response_class = proto::ResponseClass::error, .response_code = code});
    return *this;
  }
  Classified classified(const store::HotRecord& hot) const { return classify(notifications_, hot, kHashes); }

 private:
  std::vector<std::unique_ptr<std::vector<NotificationEvent>>> events_;
  std::vector<Notification> notifications_;
};

store::HotRecord at(std::string_view watermark) {
  return {.watermark_hash = mark(watermark)};
}

std::vector<std::string_view> ids(const Classified& events) {
  std::vector<std::string_view> out;
  for (const NewMailEvent& event : events.fresh) out.push_back(event.item_id);
  return out;
}

TEST(Classify, AStatusEventIsAHeartbeatAndAdvancesTheWatermark) {
  Classified events = Message().add("w1", {status("w2")}).classified(at("w1"));
  EXPECT_TRUE(events.heartbeat);
  EXPECT_FALSE(events.gap);
  EXPECT_FALSE(events.first_contact);
  EXPECT_EQ(events.watermark_hash, mark("w2"));
  EXPECT_TRUE(events.fresh.empty());
}

TEST(Classify, AStatusEventBesideOthersIsNoHeartbeat) {
  EXPECT_FALSE(Message().add("w1", {status("w2"), new_mail("w3", "a")}).classified(at("w1")).heartbeat);
  EXPECT_FALSE(Message().add("w1", {unread("w2", 3)}).classified(at("w1")).heartbeat);
}

TEST(Classify, NewMailsKeepTheirOrderAndTheirTime) {
  NotificationEvent first = new_mail("w2", "a");
  first.timestamp = WallTime(1000ms);
  Classified events = Message().add("w1", {first, new_mail("w3", "b")}).classified(at("w1"));
  EXPECT_THAT(ids(events), testing::ElementsAre("a", "b"));
  EXPECT_EQ(events.fresh[0].hash, item("a"));
  EXPECT_EQ(events.fresh[0].at, WallTime(1000ms));
  EXPECT_EQ(events.fresh[1].at, std::nullopt);
  EXPECT_EQ(events.watermark_hash, mark("w3"));
}

TEST(Classify, MailsOfTheRingAndMailsNamedTwiceAreDuplicates) {
  store::HotRecord hot = at("w1");
  hot.add(item("old"));
  Classified events =
      Message().add("w1", {new_mail("w2", "old"), new_mail("w3", "a"), new_mail("w4", "a")}).classified(hot);
  EXPECT_THAT(ids(events), testing::ElementsAre("a"));
  EXPECT_EQ(events.duplicates, 2u);
}

TEST(Classify, AMailThatLeftTheRingIsNewAgain) {
  store::HotRecord hot = at("w1");
  hot.add(item("old"));
  for (size_t i = 0; i < store::HotRecord::kRingSize; ++i) hot.add(item(std::to_string(i)));
  EXPECT_THAT(ids(Message().add("w1", {new_mail("w2", "old")}).classified(hot)), testing::ElementsAre("old"));
}

TEST(Classify, OtherEventsBringNoMail) {
  std::vector<NotificationEvent> others;
  for (EventKind kind : {EventKind::created, EventKind::deleted, EventKind::modified, EventKind::moved,
                         EventKind::copied, EventKind::free_busy_changed}) {
    others.push_back({.kind = kind, .watermark = "w2", .item_id = "a"});
  }
  others.push_back({.kind = EventKind::new_mail, .watermark = "w2", .folder_id = "a folder is no mail"});
  Classified events = Message().add("w1", others).classified(at("w1"));
  EXPECT_TRUE(events.fresh.empty());
  EXPECT_EQ(events.duplicates, 0u);
  EXPECT_EQ(events.unread, std::nullopt);
  EXPECT_FALSE(events.heartbeat);
}

TEST(Classify, TheLastUnreadCountOfTheFolderWins) {
  EXPECT_EQ(Message().add("w1", {unread("w2", 5), unread("w3", 4)}).classified(at("w1")).unread, 4u);
  EXPECT_EQ(Message().add("w1", {unread("w2", 0)}).classified(at("w1")).unread, 0u);
  EXPECT_EQ(Message().add("w1", {unread("w2", 5), unread("w3", std::nullopt)}).classified(at("w1")).unread, 5u);
  EXPECT_EQ(Message().add("w1", {unread("w2", -1)}).classified(at("w1")).unread, std::nullopt);
  NotificationEvent of_item = {.kind = EventKind::modified, .watermark = "w2", .item_id = "a", .unread_count = 7};
  EXPECT_EQ(Message().add("w1", {of_item}).classified(at("w1")).unread, std::nullopt);
}

struct GapCase {
  const char* name;
  const char* stored;  // null: none yet
  const char* previous;
  std::vector<const char*> own;  // watermarks of new mails, which are named like them
  bool gap;
  bool first_contact;
  std::vector<std::string_view> fresh;
};

class GapRule : public testing::TestWithParam<GapCase> {};

TEST_P(GapRule, SaysWhatWasMissedAndWhatIsNew) {
  const GapCase& c = GetParam();
  std::vector<NotificationEvent> list;
  for (const char* watermark : c.own) list.push_back(new_mail(watermark, watermark));
  Classified events = Message().add(c.previous, list).classified(c.stored ? at(c.stored) : store::HotRecord());
  EXPECT_EQ(events.gap, c.gap);
  EXPECT_EQ(events.first_contact, c.first_contact);
  EXPECT_EQ(ids(events), c.fresh);
  EXPECT_EQ(events.duplicates, c.own.size() - c.fresh.size());
  EXPECT_EQ(events.watermark_hash, mark(c.own.back()));
}

INSTANTIATE_TEST_SUITE_P(
    Table, GapRule,
    testing::Values(GapCase{"FirstContact", nullptr, "w1", {"w2", "w3"}, false, true, {"w2", "w3"}},
                    GapCase{"FirstContactWithoutPrevious", nullptr, "", {"w2"}, false, true, {"w2"}},
                    GapCase{"Follows", "w1", "w1", {"w2", "w3"}, false, false, {"w2", "w3"}},
                    GapCase{"Repeat", "w3", "w1", {"w2", "w3"}, false, false, {}},
                    GapCase{"RepeatWithMore", "w2", "w1", {"w2", "w3"}, false, false, {"w3"}},
                    GapCase{"Missed", "w1", "w5", {"w6", "w7"}, true, false, {"w6", "w7"}},
                    GapCase{"PreviousIsMissing", "w1", "", {"w6"}, true, false, {"w6"}},
                    GapCase{"PreviousAndOwnAreTheStored", "w1", "w1", {"w1", "w2"}, false, false, {"w1", "w2"}},
                    GapCase{"SharedWatermark", "w2", "w1", {"w2", "w2", "w3"}, false, false, {"w3"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Classify, EachNotificationFollowsOnTheOneBefore) {
  Classified chained = Message().add("w1", {new_mail("w2", "a")}).add("w2", {new_mail("w3", "b")}).classified(at("w1"));
  EXPECT_FALSE(chained.gap);
  EXPECT_THAT(ids(chained), testing::ElementsAre("a", "b"));
  EXPECT_EQ(chained.watermark_hash, mark("w3"));

  Classified broken = Message().add("w1", {new_mail("w2", "a")}).add("w5", {new_mail("w6", "b")}).classified(at("w1"));
  EXPECT_TRUE(broken.gap);

  // The second of them tells more than "first contact": it must follow on the first.
  Classified fresh = Message().add("w1", {status("w2")}).add("w9", {status("w10")}).classified(store::HotRecord());
  EXPECT_TRUE(fresh.first_contact);
  EXPECT_TRUE(fresh.gap);
}

TEST(Classify, AHeartbeatCanShowAGap) {
  Classified events = Message().add("w5", {status("w5")}).classified(at("w1"));
  EXPECT_TRUE(events.heartbeat);
  EXPECT_TRUE(events.gap);
}

TEST(Classify, AnErrorIsAGapAndSomeOfThemKillTheSubscription) {
  using proto::EwsResponseCode;
  for (EwsResponseCode code : {EwsResponseCode::read_events_failed, EwsResponseCode::subscription_not_found,
                               EwsResponseCode::missed_notification_events}) {
    Classified events = Message().add_error(code).classified(at("w1"));
    EXPECT_TRUE(events.lost) << proto::response_code_text(code);
    EXPECT_EQ(events.watermark_hash, 0u);
    EXPECT_FALSE(events.heartbeat);
    EXPECT_TRUE(events.gap);
    EXPECT_EQ(events.error, code);
  }
  Classified busy = Message().add_error(EwsResponseCode::server_busy).classified(at("w1"));
  EXPECT_FALSE(busy.lost);
  EXPECT_TRUE(busy.gap);
  EXPECT_FALSE(busy.heartbeat);
  // What stands beside an error counts.
  Classified beside = Message()
                          .add_error(EwsResponseCode::internal_server_error)
                          .add("w1", {new_mail("w2", "a")})
                          .add_error(EwsResponseCode::read_events_failed)
                          .classified(at("w1"));
  EXPECT_THAT(ids(beside), testing::ElementsAre("a"));
  EXPECT_EQ(beside.error, EwsResponseCode::internal_server_error);
  EXPECT_TRUE(beside.lost);
  EXPECT_EQ(beside.watermark_hash, mark("w2"));
}

// MoreEvents says that the next message follows at once. It follows like any other: on its PreviousWatermark.
TEST(Classify, AMessageThatIsFollowedByMoreIsNoGapAndNorIsTheNext) {
  NotificationEvent first = new_mail("w2", "a"), second = new_mail("w3", "b");
  store::HotRecord hot = at("w1");
  for (const auto& [previous, event] : {std::pair("w1", first), std::pair("w2", second)}) {
    Notification notification{.subscription_id = "id", .previous_watermark = previous, .more_events = true,
                              .events = {&event, 1}};
    Classified events = classify({&notification, 1}, hot, kHashes);
    EXPECT_FALSE(events.gap);
    EXPECT_THAT(ids(events), testing::ElementsAre(event.item_id));
    hot.watermark_hash = events.watermark_hash;
  }
}

// Whatever is cut off, repeated or delivered in pieces: each mail is new exactly once, and a missed piece is noticed.
TEST(Classify, AHistoryDeliveredWithRepeatsAndLossesLosesNothing) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<std::string> marks;
    for (int i = 0; i <= 30; ++i) marks.push_back("w" + std::to_string(i));
    store::HotRecord hot = at(marks[0]);
    std::vector<int> pushed(31);
    size_t from = 1;
    while (from <= 30) {
      size_t to = std::min<size_t>(30, from + random() % 5);
      bool lost = random() % 5 == 0;
      bool repeated_with_older = random() % 3 == 0 && from > 2;
      size_t begin = repeated_with_older ? from - 1 - random() % 2 : from;
      std::vector<NotificationEvent> list;
      for (size_t i = begin; i <= to; ++i) list.push_back(new_mail(marks[i], marks[i]));
      if (!lost) {
        Classified events = Message().add(marks[begin - 1], list).classified(hot);
        bool complete = true;
        for (size_t i = 1; i < begin; ++i) complete &= pushed[i] > 0;
        EXPECT_TRUE(events.gap || complete) << "seed " << seed << ": a loss before " << marks[begin];
        if (events.gap) {  // what a listing would bring
          for (size_t i = 1; i < begin; ++i) pushed[i] = 1;
        }
        for (const NewMailEvent& event : events.fresh) {
          ++pushed[static_cast<size_t>(std::stoi(std::string(event.item_id.substr(1))))];
          hot.add(event.hash);
        }
        hot.watermark_hash = events.watermark_hash;
        for (size_t i = 1; i <= to; ++i) EXPECT_EQ(pushed[i], 1) << "seed " << seed << " mail " << i;
      }
      from = to + 1;
    }
  }
}

}  // namespace
}  // namespace bellhop::service
