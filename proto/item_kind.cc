// SPDX-License-Identifier: Apache-2.0
#include "proto/item_kind.h"

#include <array>

#include "core/base/bytes.h"

namespace bellhop::proto {
namespace {

using enum ItemKind;

struct Row {
  std::string_view name;
  ItemKind kind;
};

// The longer prefixes stand before the shorter ones.
constexpr std::array kClasses = {
    Row{"IPM.Schedule.Meeting.Request", meeting_request},
    Row{"IPM.Schedule.Meeting.Canceled", meeting_cancellation},
    Row{"IPM.Schedule.Meeting.Resp", meeting_response},
    Row{"IPM.Schedule.Meeting.Notification", meeting_response},  // "your invitation was forwarded"
    Row{"IPM.TaskRequest", task},
    Row{"IPM.Task", task},
    Row{"IPM.Contact", contact},
    Row{"IPM.DistList", contact},
    Row{"IPM.Post", post},
    Row{"IPM.Appointment", appointment},
    Row{"REPORT", report},  // "REPORT.IPM.Note.NDR": of what, then how it ended
    Row{"IPM.Report", report},
};

constexpr std::array kElements = {
    Row{"MeetingRequest", meeting_request},
    Row{"MeetingCancellation", meeting_cancellation},
    Row{"MeetingResponse", meeting_response},
    Row{"Task", task},
    Row{"Contact", contact},
    Row{"DistributionList", contact},
    Row{"PostItem", post},
    Row{"CalendarItem", appointment},
};

// Whole words of the class: "IPM.Task" is no prefix of "IPM.Tasks", but "IPM.Schedule.Meeting.Resp" is of "….Resp.Pos".
bool is_class(std::string_view item_class, std::string_view prefix) {
  if (item_class.size() < prefix.size()) return false;
  bool whole = item_class.size() == prefix.size() || item_class[prefix.size()] == '.';
  return whole && ascii_equal_ignoring_case(item_class.substr(0, prefix.size()), prefix);
}

}  // namespace

ItemKind item_kind(std::string_view element, std::string_view item_class) {
  for (const Row& row : kClasses) {
    if (is_class(item_class, row.name)) return row.kind;
  }
  for (const Row& row : kElements) {
    if (element == row.name) return row.kind;
  }
  return mail;
}

std::string_view item_kind_name(ItemKind kind) {
  constexpr std::array<std::string_view, kItemKindCount> kNames = {
      "mail", "meetingRequest", "meetingCancellation", "meetingResponse", "report", "task", "contact",
      "post", "appointment"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace bellhop::proto
