// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace bellhop::proto {

// What an item of an Inbox is to the person who gets it. Mail of any form (signed, encrypted, voice mail, sharing
// invitations) is mail.
enum class ItemKind : uint8_t {
  mail,
  meeting_request,
  meeting_cancellation,
  meeting_response,
  report,  // delivery, non-delivery, read and not-read receipts
  task,
  contact,
  post,
  appointment,
};
inline constexpr uint32_t kItemKindCount = 9;

// By t:ItemClass where it says something, else by the element's name ("MeetingRequest"). Classes are prefixes: whoever
// makes a form adds to the end ("IPM.Note.Contoso").
ItemKind item_kind(std::string_view element, std::string_view item_class);

// "mail", "meetingRequest", ...: the member `kind` of a push.
std::string_view item_kind_name(ItemKind kind);

}  // namespace bellhop::proto
