// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_tags.h"

#include "proto/ews.h"

namespace bellhop::proto {
namespace {

using Known = EwsElement;

using Space = EwsSpace;
using Tag = EwsTag;

constexpr std::array kKnown = {
    Known{Space::soap11, "Envelope", Tag::envelope},
    Known{Space::soap12, "Envelope", Tag::envelope},
    Known{Space::soap11, "Header", Tag::header},
    Known{Space::soap12, "Header", Tag::header},
    Known{Space::soap11, "Body", Tag::body},
    Known{Space::soap12, "Body", Tag::body},
    Known{Space::soap11, "Fault", Tag::fault},
    Known{Space::soap12, "Fault", Tag::fault},
    Known{Space::none, "faultcode", Tag::fault_code11},
    Known{Space::none, "faultstring", Tag::fault_text11},
    Known{Space::none, "detail", Tag::fault_detail11},
    Known{Space::soap12, "Code", Tag::fault_code12},
    Known{Space::soap12, "Value", Tag::fault_value},
    Known{Space::soap12, "Subcode", Tag::fault_subcode},
    Known{Space::soap12, "Reason", Tag::fault_reason},
    Known{Space::soap12, "Text", Tag::fault_text12},
    Known{Space::soap12, "Detail", Tag::fault_detail12},
    Known{Space::errors, "ResponseCode", Tag::e_response_code},
    Known{Space::messages, "Changes", Tag::m_changes},
    Known{Space::messages, "FindItem", Tag::m_find_item},
    Known{Space::messages, "FindItemResponse", Tag::m_find_item_response},
    Known{Space::messages, "FolderIds", Tag::m_folder_ids},
    Known{Space::messages, "FolderShape", Tag::m_folder_shape},
    Known{Space::messages, "Folders", Tag::m_folders},
    Known{Space::messages, "GetFolder", Tag::m_get_folder},
    Known{Space::messages, "GetFolderResponse", Tag::m_get_folder_response},
    Known{Space::messages, "GetItem", Tag::m_get_item},
    Known{Space::messages, "GetItemResponse", Tag::m_get_item_response},
    Known{Space::messages, "IncludesLastItemInRange", Tag::m_includes_last_item_in_range},
    Known{Space::messages, "IndexedPageItemView", Tag::m_indexed_page_item_view},
    Known{Space::messages, "ItemIds", Tag::m_item_ids},
    Known{Space::messages, "ItemShape", Tag::m_item_shape},
    Known{Space::messages, "Items", Tag::m_items},
    Known{Space::messages, "MaxChangesReturned", Tag::m_max_changes_returned},
    Known{Space::messages, "MessageText", Tag::m_message_text},
    Known{Space::messages, "MessageXml", Tag::m_message_xml},
    Known{Space::messages, "Notification", Tag::m_notification},
    Known{Space::messages, "ParentFolderIds", Tag::m_parent_folder_ids},
    Known{Space::messages, "PullSubscriptionRequest", Tag::m_pull_subscription_request},
    Known{Space::messages, "PushSubscriptionRequest", Tag::m_push_subscription_request},
    Known{Space::messages, "ResponseCode", Tag::m_response_code},
    Known{Space::messages, "ResponseMessages", Tag::m_response_messages},
    Known{Space::messages, "Restriction", Tag::m_restriction},
    Known{Space::messages, "RootFolder", Tag::m_root_folder},
    Known{Space::messages, "SendNotification", Tag::m_send_notification},
    Known{Space::messages, "SendNotificationResponseMessage", Tag::m_send_notification_response_message},
    Known{Space::messages, "StreamingSubscriptionRequest", Tag::m_streaming_subscription_request},
    Known{Space::messages, "Subscribe", Tag::m_subscribe},
    Known{Space::messages, "SubscribeResponse", Tag::m_subscribe_response},
    Known{Space::messages, "SubscriptionId", Tag::m_subscription_id},
    Known{Space::messages, "SyncFolderId", Tag::m_sync_folder_id},
    Known{Space::messages, "SyncFolderItems", Tag::m_sync_folder_items},
    Known{Space::messages, "SyncFolderItemsResponse", Tag::m_sync_folder_items_response},
    Known{Space::messages, "SyncState", Tag::m_sync_state},
    Known{Space::messages, "Watermark", Tag::m_watermark},
    Known{Space::types, "AdditionalProperties", Tag::t_additional_properties},
    Known{Space::types, "BaseShape", Tag::t_base_shape},
    Known{Space::types, "Constant", Tag::t_constant},
    Known{Space::types, "ConversationId", Tag::t_conversation_id},
    Known{Space::types, "CopiedEvent", Tag::t_copied_event},
    Known{Space::types, "Create", Tag::t_create},
    Known{Space::types, "CreatedEvent", Tag::t_created_event},
    Known{Space::types, "DateTimeReceived", Tag::t_date_time_received},
    Known{Space::types, "Delete", Tag::t_delete},
    Known{Space::types, "DeletedEvent", Tag::t_deleted_event},
    Known{Space::types, "DisplayName", Tag::t_display_name},
    Known{Space::types, "DistinguishedFolderId", Tag::t_distinguished_folder_id},
    Known{Space::types, "EmailAddress", Tag::t_email_address},
    Known{Space::types, "EventType", Tag::t_event_type},
    Known{Space::types, "EventTypes", Tag::t_event_types},
    Known{Space::types, "FieldURI", Tag::t_field_uri},
    Known{Space::types, "FieldURIOrConstant", Tag::t_field_uri_or_constant},
    Known{Space::types, "FolderId", Tag::t_folder_id},
    Known{Space::types, "FolderIds", Tag::t_folder_ids},
    Known{Space::types, "FreeBusyChangedEvent", Tag::t_free_busy_changed_event},
    Known{Space::types, "From", Tag::t_from},
    Known{Space::types, "HasAttachments", Tag::t_has_attachments},
    Known{Space::types, "Importance", Tag::t_importance},
    Known{Space::types, "InternetMessageId", Tag::t_internet_message_id},
    Known{Space::types, "IsGreaterThan", Tag::t_is_greater_than},
    Known{Space::types, "IsGreaterThanOrEqualTo", Tag::t_is_greater_than_or_equal_to},
    Known{Space::types, "IsRead", Tag::t_is_read},
    Known{Space::types, "ItemClass", Tag::t_item_class},
    Known{Space::types, "ItemId", Tag::t_item_id},
    Known{Space::types, "Items", Tag::t_items},
    Known{Space::types, "Mailbox", Tag::t_mailbox},
    Known{Space::types, "MessageXml", Tag::t_message_xml},
    Known{Space::types, "ModifiedEvent", Tag::t_modified_event},
    Known{Space::types, "MoreEvents", Tag::t_more_events},
    Known{Space::types, "MovedEvent", Tag::t_moved_event},
    Known{Space::types, "Name", Tag::t_name},
    Known{Space::types, "NewMailEvent", Tag::t_new_mail_event},
    Known{Space::types, "OldFolderId", Tag::t_old_folder_id},
    Known{Space::types, "OldItemId", Tag::t_old_item_id},
    Known{Space::types, "OldParentFolderId", Tag::t_old_parent_folder_id},
    Known{Space::types, "ParentFolderId", Tag::t_parent_folder_id},
    Known{Space::types, "Preview", Tag::t_preview},
    Known{Space::types, "PreviousWatermark", Tag::t_previous_watermark},
    Known{Space::types, "ReadFlagChange", Tag::t_read_flag_change},
    Known{Space::types, "RequestServerVersion", Tag::t_request_server_version},
    Known{Space::types, "Sender", Tag::t_sender},
    Known{Space::types, "Sensitivity", Tag::t_sensitivity},
    Known{Space::types, "ServerVersionInfo", Tag::t_server_version_info},
    Known{Space::types, "StatusEvent", Tag::t_status_event},
    Known{Space::types, "StatusFrequency", Tag::t_status_frequency},
    Known{Space::types, "Subject", Tag::t_subject},
    Known{Space::types, "SubscriptionId", Tag::t_subscription_id},
    Known{Space::types, "TimeStamp", Tag::t_time_stamp},
    Known{Space::types, "TotalCount", Tag::t_total_count},
    Known{Space::types, "URL", Tag::t_url},
    Known{Space::types, "UnreadCount", Tag::t_unread_count},
    Known{Space::types, "Update", Tag::t_update},
    Known{Space::types, "Value", Tag::t_value},
    Known{Space::types, "Watermark", Tag::t_watermark},
};

// Every tag but unknown and any_* has a name; the four of the envelope have two.
static_assert(kKnown.size() == kEwsTagCount - 5 + 4);

// An open hash table of the names, made at compile time: a lookup is one or two comparisons, on the path of each
// element.
constexpr size_t kSlots = 256;

constexpr size_t slot_of(EwsSpace space, std::string_view local) {
  uint32_t hash = uint32_t(space) * 31 + uint32_t(local.size());
  for (size_t i : {size_t(0), local.size() / 2, local.size() - 1}) hash = hash * 167 + uint8_t(local[i]);
  return (hash ^ hash >> 8) % kSlots;
}

consteval std::array<uint8_t, kSlots> make_slots() {
  std::array<uint8_t, kSlots> slots{};  // index + 1; 0 = free
  for (size_t i = 0; i < kKnown.size(); ++i) {
    size_t slot = slot_of(kKnown[i].space, kKnown[i].local);
    while (slots[slot] != 0) slot = (slot + 1) % kSlots;
    slots[slot] = uint8_t(i + 1);
  }
  return slots;
}

constexpr std::array<uint8_t, kSlots> kSlotTable = make_slots();

}  // namespace

EwsSpace ews_space(std::string_view uri) {
  if (uri.empty()) return Space::none;
  if (uri == kEwsTypesSpace) return Space::types;
  if (uri == kEwsMessagesSpace) return Space::messages;
  if (uri == kSoap11Space) return Space::soap11;
  if (uri == kSoap12Space) return Space::soap12;
  if (uri == kEwsErrorsSpace) return Space::errors;
  return Space::foreign;
}

std::span<const EwsElement> ews_elements() {
  return kKnown;
}

EwsTag ews_tag(EwsSpace space, std::string_view local) {
  if (space == Space::foreign || local.empty()) return Tag::unknown;
  for (size_t slot = slot_of(space, local); kSlotTable[slot] != 0; slot = (slot + 1) % kSlots) {
    const Known& known = kKnown[kSlotTable[slot] - 1];
    if (known.space == space && known.local == local) return known.tag;
  }
  return Tag::unknown;
}

}  // namespace bellhop::proto
