// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/ews.h"

// Writers of the EWS requests that we send, SOAP 1.1, elements in the order of the schema. Each replaces `out` (wiped
// first, and reserved in one step, so that no copy of a secret is left behind by growth). The caller wipes `out`.
// Errors: EwsError::missing_part, bad_value, too_many, forbidden_text; `out` is then empty.
namespace bellhop::proto {

inline constexpr uint32_t kCallbackUrlBytesMax = 2082;        // Exchange refuses longer ones
inline constexpr uint32_t kStatusFrequencyMinutesMax = 1440;  // schema: 1..1440
inline constexpr uint32_t kGetItemIdsMax = 100;
inline constexpr uint32_t kFindItemEntriesMax = 1000;  // EWSFindCountLimit
inline constexpr uint32_t kMailboxBytesMax = 320;
inline constexpr uint32_t kEwsIdBytesMax = 1024;
inline constexpr uint32_t kSyncChangesMax = 512;           // schema: MaxSyncChangesReturnedType
inline constexpr uint32_t kSyncStateBytesMax = 64 * 1024;  // it grows with the folder

inline constexpr std::array kSubscribedEvents = {EventKind::new_mail, EventKind::modified};
inline constexpr std::array kNotifiedFields = {
    ItemField::subject,    ItemField::from,       ItemField::sender,      ItemField::date_time_received,
    ItemField::item_class, ItemField::importance, ItemField::sensitivity, ItemField::conversation_id,
    ItemField::is_read};

// m:Subscribe with m:PushSubscriptionRequest on the Inbox.
struct SubscribeRequest {
  ExchangeVersion version = ExchangeVersion::exchange2010_sp2;
  std::string_view mailbox;  // t:Mailbox/t:EmailAddress of the Inbox; empty = the mailbox of the credentials
  std::span<const EventKind> events = kSubscribedEvents;
  std::string_view watermark;  // where to go on; empty = from now
  uint32_t status_frequency_minutes = 30;
  std::string_view url;  // holds credentials
};
Status write_subscribe(const SubscribeRequest& request, std::string& out);

// m:GetItem, BaseShape IdOnly. A Preview among the fields raises the version to Exchange2013, which brought it.
struct GetItemRequest {
  ExchangeVersion version = ExchangeVersion::exchange2010_sp2;
  std::span<const std::string_view> item_ids;  // 1..kGetItemIdsMax
  std::span<const ItemField> fields = kNotifiedFields;
};
Status write_get_item(const GetItemRequest& request, std::string& out);

// m:FindItem in the Inbox, Shallow, newest first: item ids, received times and `fields` (never bodies or addresses:
// FindItem gives senders' names only, and cuts texts at 255).
struct FindItemRequest {
  ExchangeVersion version = ExchangeVersion::exchange2010_sp2;
  std::string_view mailbox;                // as in SubscribeRequest
  std::optional<WallTime> received_since;  // inclusive: items of the same second are not lost
  uint32_t entries_max = 20;               // 1..kFindItemEntriesMax
  std::span<const ItemField> fields = {};  // besides date_time_received
};
Status write_find_item(const FindItemRequest& request, std::string& out);

// m:GetFolder of the Inbox: its id, total and unread count.
struct GetFolderRequest {
  ExchangeVersion version = ExchangeVersion::exchange2010_sp2;
  std::string_view mailbox;  // as in SubscribeRequest
};
Status write_get_folder(const GetFolderRequest& request, std::string& out);

// m:SyncFolderItems of the Inbox: what changed since `sync_state`, at most `changes_max`.
struct SyncFolderItemsRequest {
  ExchangeVersion version = ExchangeVersion::exchange2010_sp2;
  std::string_view mailbox;     // as in SubscribeRequest
  std::string_view sync_state;  // of the answer before; empty = from the beginning
  uint32_t changes_max = kSyncChangesMax;
  std::span<const ItemField> fields = {};
};
Status write_sync_folder_items(const SyncFolderItemsRequest& request, std::string& out);

}  // namespace bellhop::proto
