// SPDX-License-Identifier: Apache-2.0
#include "proto/item_kind.h"

#include <gtest/gtest.h>

#include <set>

namespace bellhop::proto {
namespace {

TEST(ItemKind, FollowsTheClassThenTheElement) {
  using enum ItemKind;
  struct Case {
    std::string_view element, item_class;
    ItemKind kind;
  };
  const Case cases[] = {
      {"Message", "IPM.Note", mail},
      {"Message", "", mail},
      {"", "", mail},
      {"Message", "IPM.Note.SMIME.MultipartSigned", mail},
      {"Message", "IPM.Note.Microsoft.Voicemail.UM.CA", mail},
      {"SharingMessage", "IPM.Sharing", mail},
      {"Item", "IPM.Unheard.Of", mail},
      {"MeetingRequest", "IPM.Schedule.Meeting.Request", meeting_request},
      {"MeetingRequest", "", meeting_request},
      {"Message", "ipm.schedule.meeting.request", meeting_request},
      {"MeetingCancellation", "IPM.Schedule.Meeting.Canceled", meeting_cancellation},
      {"MeetingResponse", "IPM.Schedule.Meeting.Resp.Pos", meeting_response},
      {"MeetingResponse", "IPM.Schedule.Meeting.Resp.Tent", meeting_response},
      {"MeetingMessage", "IPM.Schedule.Meeting.Notification.Forward", meeting_response},
      {"Message", "REPORT.IPM.Note.NDR", report},
      {"Message", "REPORT.IPM.Note.IPNRN", report},
      {"Message", "IPM.Report.DR", report},
      {"Message", "IPM.Reporting", mail},
      {"Task", "IPM.Task", task},
      {"Message", "IPM.TaskRequest.Accept", task},
      {"Item", "IPM.Tasks", mail},
      {"Contact", "IPM.Contact", contact},
      {"DistributionList", "IPM.DistList", contact},
      {"PostItem", "IPM.Post.Rss", post},
      {"CalendarItem", "IPM.Appointment", appointment},
  };
  for (const Case& c : cases) EXPECT_EQ(item_kind(c.element, c.item_class), c.kind) << c.element << " " << c.item_class;
}

TEST(ItemKind, EachHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (uint32_t i = 0; i < kItemKindCount; ++i) EXPECT_TRUE(names.insert(item_kind_name(ItemKind(i))).second);
  EXPECT_FALSE(names.contains(""));
}

}  // namespace
}  // namespace bellhop::proto
