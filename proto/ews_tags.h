// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>

// The element names that our EWS readers know. Internal to proto.
namespace bellhop::proto {

// The namespaces that matter; everything else is `foreign`.
enum class EwsSpace : uint8_t { none, soap11, soap12, messages, types, errors, foreign };
EwsSpace ews_space(std::string_view uri);

// One known element. The prefix tells the namespace where a name exists in several: m messages, t types, e errors,
// fault those inside a SOAP fault. any_* are given by readers to elements whose name does not matter.
enum class EwsTag : uint8_t {
  unknown,
  envelope,
  header,
  body,
  fault,
  fault_code11,
  fault_text11,
  fault_detail11,
  fault_code12,
  fault_value,
  fault_subcode,
  fault_reason,
  fault_text12,
  fault_detail12,
  e_response_code,
  m_changes,
  m_find_item,
  m_find_item_response,
  m_folder_ids,
  m_folder_shape,
  m_folders,
  m_get_folder,
  m_get_folder_response,
  m_get_item,
  m_get_item_response,
  m_includes_last_item_in_range,
  m_indexed_page_item_view,
  m_item_ids,
  m_item_shape,
  m_items,
  m_max_changes_returned,
  m_message_text,
  m_message_xml,
  m_notification,
  m_parent_folder_ids,
  m_pull_subscription_request,
  m_push_subscription_request,
  m_response_code,
  m_response_messages,
  m_restriction,
  m_root_folder,
  m_send_notification,
  m_send_notification_response_message,
  m_streaming_subscription_request,
  m_subscribe,
  m_subscribe_response,
  m_subscription_id,
  m_sync_folder_id,
  m_sync_folder_items,
  m_sync_folder_items_response,
  m_sync_state,
  m_watermark,
  t_additional_properties,
  t_base_shape,
  t_constant,
  t_conversation_id,
  t_copied_event,
  t_create,
  t_created_event,
  t_date_time_received,
  t_delete,
  t_deleted_event,
  t_display_name,
  t_distinguished_folder_id,
  t_email_address,
  t_event_type,
  t_event_types,
  t_field_uri,
  t_field_uri_or_constant,
  t_folder_id,
  t_folder_ids,
  t_free_busy_changed_event,
  t_from,
  t_has_attachments,
  t_importance,
  t_internet_message_id,
  t_is_greater_than,
  t_is_greater_than_or_equal_to,
  t_is_read,
  t_item_class,
  t_item_id,
  t_items,
  t_mailbox,
  t_message_xml,
  t_modified_event,
  t_more_events,
  t_moved_event,
  t_name,
  t_new_mail_event,
  t_old_folder_id,
  t_old_item_id,
  t_old_parent_folder_id,
  t_parent_folder_id,
  t_preview,
  t_previous_watermark,
  t_read_flag_change,
  t_request_server_version,
  t_sender,
  t_sensitivity,
  t_server_version_info,
  t_status_event,
  t_status_frequency,
  t_subject,
  t_subscription_id,
  t_time_stamp,
  t_total_count,
  t_unread_count,
  t_update,
  t_url,
  t_value,
  t_watermark,
  any_response,
  any_response_message,
  any_folder,
  any_item,
};
inline constexpr size_t kEwsTagCount = size_t(EwsTag::any_item) + 1;
static_assert(kEwsTagCount <= 128, "EwsGrammar has 128 bits a row");

// Every name that has a tag, with its namespace; for tests of the documentation.
struct EwsElement {
  EwsSpace space;
  std::string_view local;
  EwsTag tag;
};
std::span<const EwsElement> ews_elements();

// The tag of a name; unknown where there is none.
EwsTag ews_tag(EwsSpace space, std::string_view local);

// Which element may stand in which: a bit matrix, made at compile time.
class EwsGrammar {
 public:
  struct Rule {
    EwsTag parent;
    std::initializer_list<EwsTag> children;
  };
  constexpr EwsGrammar(std::initializer_list<Rule> rules) {
    for (const Rule& rule : rules) {
      for (EwsTag child : rule.children)
        rows_[size_t(rule.parent)][size_t(child) / 64] |= uint64_t(1) << (size_t(child) % 64);
    }
  }
  constexpr bool allows(EwsTag parent, EwsTag child) const {
    return rows_[size_t(parent)][size_t(child) / 64] >> (size_t(child) % 64) & 1;
  }

 private:
  std::array<std::array<uint64_t, 2>, kEwsTagCount> rows_{};
};

}  // namespace bellhop::proto
