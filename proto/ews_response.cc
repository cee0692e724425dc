// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_response.h"

#include <utility>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/ews_text.h"

namespace bellhop::proto {
namespace {

using Tag = EwsTag;

// The children of Items, of a change, of Folders and of any other response are given by resolve(): items, folders and
// messages of any class.
constexpr EwsGrammar kGrammar = {
    {Tag::header, {Tag::t_server_version_info}},
    {Tag::body,
     {Tag::m_subscribe_response, Tag::m_get_item_response, Tag::m_find_item_response, Tag::m_get_folder_response,
      Tag::m_sync_folder_items_response, Tag::fault}},
    {Tag::m_subscribe_response, {Tag::m_response_messages}},
    {Tag::m_get_item_response, {Tag::m_response_messages}},
    {Tag::m_find_item_response, {Tag::m_response_messages}},
    {Tag::m_get_folder_response, {Tag::m_response_messages}},
    {Tag::m_sync_folder_items_response, {Tag::m_response_messages}},
    {Tag::any_response, {Tag::m_response_messages}},
    {Tag::any_response_message,
     {Tag::m_message_text, Tag::m_response_code, Tag::m_message_xml, Tag::m_subscription_id, Tag::m_watermark,
      Tag::m_items, Tag::m_root_folder, Tag::m_sync_state, Tag::m_includes_last_item_in_range}},
    {Tag::m_message_xml, {Tag::t_value}},
    {Tag::m_root_folder, {Tag::t_items}},
    {Tag::m_changes, {Tag::t_create, Tag::t_update, Tag::t_delete, Tag::t_read_flag_change}},
    {Tag::t_delete, {Tag::t_item_id}},
    {Tag::t_read_flag_change, {Tag::t_item_id, Tag::t_is_read}},
    {Tag::any_folder, {Tag::t_folder_id, Tag::t_display_name, Tag::t_total_count, Tag::t_unread_count}},
    {Tag::any_item,
     {Tag::t_item_id, Tag::t_subject, Tag::t_from, Tag::t_sender, Tag::t_date_time_received, Tag::t_item_class,
      Tag::t_importance, Tag::t_sensitivity, Tag::t_conversation_id, Tag::t_is_read, Tag::t_preview,
      Tag::t_has_attachments, Tag::t_internet_message_id}},
    {Tag::t_from, {Tag::t_mailbox}},
    {Tag::t_sender, {Tag::t_mailbox}},
    {Tag::t_mailbox, {Tag::t_name, Tag::t_email_address}},
    {Tag::fault,
     {Tag::fault_code11, Tag::fault_text11, Tag::fault_detail11, Tag::fault_code12, Tag::fault_reason,
      Tag::fault_detail12}},
    {Tag::fault_code12, {Tag::fault_value, Tag::fault_subcode}},
    {Tag::fault_subcode, {Tag::fault_value, Tag::fault_subcode}},
    {Tag::fault_reason, {Tag::fault_text12}},
    {Tag::fault_detail11, {Tag::e_response_code, Tag::t_message_xml}},
    {Tag::fault_detail12, {Tag::e_response_code, Tag::t_message_xml}},
    {Tag::t_message_xml, {Tag::t_value}},
};

std::optional<Importance> parse_importance(std::string_view text) {
  if (text == "Low") return Importance::low;
  if (text == "Normal") return Importance::normal;
  if (text == "High") return Importance::high;
  return std::nullopt;
}

std::optional<Sensitivity> parse_sensitivity(std::string_view text) {
  if (text == "Normal") return Sensitivity::normal;
  if (text == "Personal") return Sensitivity::personal;
  if (text == "Private") return Sensitivity::private_;
  if (text == "Confidential") return Sensitivity::confidential;
  return std::nullopt;
}

Status missing() {
  return fail(ews_error(EwsError::missing_part));
}
Status bad_value() {
  return fail(ews_error(EwsError::bad_value));
}

// A parsed value that must be there.
template <class T>
Status set_parsed(std::optional<T>& field, std::optional<T> value) {
  field = value;
  return value ? Status() : bad_value();
}

// "a:ErrorServerBusy" → "ErrorServerBusy"
std::string_view without_prefix(std::string_view qualified_name) {
  size_t colon = qualified_name.find(':');
  return colon == qualified_name.npos ? qualified_name : qualified_name.substr(colon + 1);
}

}  // namespace

EwsAnswerReader::EwsAnswerReader(uint64_t hash_salt, uint32_t document_bytes_max)
    : SoapReader(kGrammar, document_bytes_max, hash_salt) {}

Result<const EwsAnswer*> EwsAnswerReader::finish() {
  BH_CHECKED(finish_envelope());
  bool needs_messages = answer_.kind != EwsAnswerKind::fault && answer_.kind != EwsAnswerKind::other;
  if (needs_messages && messages_.empty()) return fail(ews_error(EwsError::missing_part));
  for (size_t i = 0; i < messages_.size(); ++i) {
    messages_[i].items = std::span(items_).subspan(ranges_[i].first, ranges_[i].size);
    messages_[i].folders = std::span(folders_).subspan(folder_ranges_[i].first, folder_ranges_[i].size);
  }
  answer_.messages = messages_;
  answer_.soap_version = soap_version();
  if (answer_.fault.code == EwsResponseCode::none) {
    // Some faults have no detail; their fault code may still be one of EWS.
    EwsResponseCode code = parse_response_code(answer_.fault.fault_code);
    if (code != EwsResponseCode::other) answer_.fault.code = code;
  }
  return &answer_;
}

void EwsAnswerReader::reset() {
  reset_envelope();
  texts_.clear();
  messages_.clear();
  ranges_.clear();
  folder_ranges_.clear();
  items_.clear();
  folders_.clear();
  answer_ = {};
}

EwsTag EwsAnswerReader::resolve(EwsTag parent, EwsSpace space, XmlName name) {
  bool is_message = space == EwsSpace::messages;
  if (parent == Tag::body && is_message && name.local.ends_with("Response")) {
    answer_.element = texts_.store(name.local);
    return Tag::any_response;
  }
  if (parent == Tag::m_response_messages && is_message && name.local.ends_with("ResponseMessage")) {
    // The message of another operation does not answer this one.
    std::string_view operation =
        answer_.element.substr(0, answer_.element.size() - std::string_view("Response").size());
    return name.local.substr(0, name.local.size() - std::string_view("ResponseMessage").size()) == operation
               ? Tag::any_response_message
               : Tag::unknown;
  }
  if (parent == Tag::any_response_message) {
    // Other operations have elements of these names with other contents.
    EwsTag tag = ews_tag(space, name.local);
    bool wanted = (tag == Tag::m_folders && answer_.kind == EwsAnswerKind::get_folder) ||
                  (tag == Tag::m_changes && answer_.kind == EwsAnswerKind::sync_folder_items);
    return wanted ? tag : Tag::unknown;
  }
  if (space != EwsSpace::types) return Tag::unknown;
  bool in_items = parent == Tag::m_items || parent == Tag::t_items;
  bool in_change = parent == Tag::t_create || parent == Tag::t_update;
  if (in_items || in_change) {
    items_.push_back({.change = in_change ? change_ : EwsChange::none, .element = texts_.store(name.local)});
    return Tag::any_item;
  }
  if (parent == Tag::m_folders) {
    folders_.push_back({.element = texts_.store(name.local)});
    return Tag::any_folder;
  }
  return Tag::unknown;
}

Status EwsAnswerReader::other_message(EwsSpace, XmlName name) {
  answer_.element = texts_.store(name.local);
  return {};
}

Status EwsAnswerReader::part_started(EwsTag, EwsTag tag, const XmlAttributes& attributes) {
  switch (tag) {
    case Tag::fault:
      answer_.kind = EwsAnswerKind::fault;
      answer_.element = "Fault";
      return {};
    case Tag::m_subscribe_response:
      answer_.kind = EwsAnswerKind::subscribe;
      answer_.element = "SubscribeResponse";
      return {};
    case Tag::m_get_item_response:
      answer_.kind = EwsAnswerKind::get_item;
      answer_.element = "GetItemResponse";
      return {};
    case Tag::m_find_item_response:
      answer_.kind = EwsAnswerKind::find_item;
      answer_.element = "FindItemResponse";
      return {};
    case Tag::m_get_folder_response:
      answer_.kind = EwsAnswerKind::get_folder;
      answer_.element = "GetFolderResponse";
      return {};
    case Tag::m_sync_folder_items_response:
      answer_.kind = EwsAnswerKind::sync_folder_items;
      answer_.element = "SyncFolderItemsResponse";
      return {};
    case Tag::t_server_version_info:
      set_server(attributes);
      return {};
    case Tag::any_response_message:
      return message_started(attributes);
    case Tag::any_item:
      return item_started();
    case Tag::any_folder:
      return folders_.size() > kEwsFoldersMax ? fail(ews_error(EwsError::too_many)) : Status();
    case Tag::t_create:
    case Tag::t_update:
    case Tag::t_delete:
    case Tag::t_read_flag_change:
      return change_started(tag);
    case Tag::t_folder_id:
      return set_id(folders_.back().id, attributes);
    case Tag::t_item_id:
      return set_id(items_.back().id, attributes);
    case Tag::t_conversation_id:
      return set_id(items_.back().conversation_id, attributes);
    case Tag::m_root_folder:
      return set_root_folder(attributes);
    case Tag::t_value:
      value_is_back_off_ = attributes.find("Name") == std::string_view("BackOffMilliseconds");
      return {};
    default:
      return {};
  }
}

Status EwsAnswerReader::item_started() {
  return items_.size() > kEwsItemsMax ? fail(ews_error(EwsError::too_many)) : Status();
}

Status EwsAnswerReader::change_started(EwsTag tag) {
  change_ = tag == Tag::t_create ? EwsChange::created : EwsChange::updated;
  if (tag == Tag::t_create || tag == Tag::t_update) return {};
  items_.push_back({.change = tag == Tag::t_delete ? EwsChange::deleted : EwsChange::read_flag});
  return item_started();
}

// For the operator only, so what cannot be read is left out.
void EwsAnswerReader::set_server(const XmlAttributes& attributes) {
  auto number = [&](std::string_view name) {
    auto value = parse_ews_int(attributes.find(name).value_or(std::string_view()));
    return value && *value >= 0 && *value <= UINT16_MAX ? uint16_t(*value) : uint16_t(0);
  };
  answer_.server = {number("MajorVersion"), number("MinorVersion"), number("MajorBuildNumber"),
                    number("MinorBuildNumber")};
  answer_.server_schema = texts_.store(attributes.find("Version").value_or(std::string_view()));
}

Status EwsAnswerReader::message_started(const XmlAttributes& attributes) {
  if (messages_.size() == kEwsMessagesMax) return fail(ews_error(EwsError::too_many));
  auto text = attributes.find("ResponseClass");
  if (!text) return missing();
  auto response_class = parse_response_class(*text);
  if (!response_class) return bad_value();
  messages_.push_back({.response_class = *response_class, .code = EwsResponseCode::none});
  ranges_.push_back({uint32_t(items_.size()), 0});
  folder_ranges_.push_back({uint32_t(folders_.size()), 0});
  has_root_folder_ = false;
  return {};
}

Status EwsAnswerReader::part_ended(EwsTag parent, EwsTag tag, std::string_view text) {
  switch (parent) {
    case Tag::any_response_message:
      return message_part_ended(tag, text);
    case Tag::any_item:
    case Tag::t_delete:
    case Tag::t_read_flag_change:
      return item_part_ended(tag, text);
    case Tag::any_folder:
      return folder_part_ended(tag, text);
    case Tag::m_folders:
      return folders_.back().id.empty() ? missing() : Status();
    case Tag::m_changes:
      // An empty Create has made no item.
      return items_.size() > ranges_.back().first && items_.back().id.empty() ? missing() : Status();
    case Tag::t_mailbox:
      return mailbox_part_ended(tag, text);
    case Tag::m_message_xml:
      if (value_is_back_off_) set_back_off(messages_.back().back_off_ms, text);
      return {};
    case Tag::t_message_xml:
      if (value_is_back_off_) set_back_off(answer_.fault.back_off_ms, text);
      return {};
    case Tag::m_items:
    case Tag::t_items:
    case Tag::t_create:
    case Tag::t_update:
      return items_.back().id.empty() ? missing() : Status();
    case Tag::m_response_messages:
      return message_ended();
    default:
      return fault_part_ended(tag, text);
  }
}

Status EwsAnswerReader::message_part_ended(EwsTag tag, std::string_view text) {
  EwsResponseMessage& message = messages_.back();
  switch (tag) {
    case Tag::m_message_text:
      message.message_text = texts_.store(xml_trim(text));
      return {};
    case Tag::m_response_code:
      if (!message.code_text.empty()) return fail(ews_error(EwsError::repeated_part));
      message.code_text = texts_.store(xml_trim(text));
      message.code = parse_response_code(message.code_text);
      return {};
    case Tag::m_subscription_id:
      if (!message.subscription_id.empty()) return fail(ews_error(EwsError::repeated_part));
      message.subscription_id = texts_.store(xml_trim(text));
      return {};
    case Tag::m_watermark:
      message.watermark = texts_.store(xml_trim(text));
      return {};
    case Tag::m_sync_state:
      message.sync_state = texts_.store(xml_trim(text));
      return {};
    case Tag::m_includes_last_item_in_range:
      return set_parsed(message.includes_last, parse_ews_boolean(xml_trim(text)));
    default:
      return {};
  }
}

Status EwsAnswerReader::message_ended() {
  EwsResponseMessage& message = messages_.back();
  ranges_.back().size = uint32_t(items_.size()) - ranges_.back().first;
  folder_ranges_.back().size = uint32_t(folders_.size()) - folder_ranges_.back().first;
  if (message.code == EwsResponseCode::none) return missing();
  if (message.response_class != ResponseClass::success) return {};
  switch (answer_.kind) {
    case EwsAnswerKind::subscribe:
      return message.subscription_id.empty() ? missing() : Status();
    case EwsAnswerKind::get_item:
      return ranges_.back().size == 0 ? missing() : Status();
    case EwsAnswerKind::find_item:
      return has_root_folder_ ? Status() : missing();
    case EwsAnswerKind::get_folder:
      return folder_ranges_.back().size == 0 ? missing() : Status();
    case EwsAnswerKind::sync_folder_items:
      return message.sync_state.empty() ? missing() : Status();
    default:
      return {};
  }
}

Status EwsAnswerReader::item_part_ended(EwsTag tag, std::string_view text) {
  EwsItem& item = items_.back();
  switch (tag) {
    case Tag::t_subject:
      item.subject = texts_.store(text);
      return {};
    case Tag::t_date_time_received:
      return set_parsed(item.received, parse_ews_time(xml_trim(text)));
    case Tag::t_item_class:
      item.item_class = texts_.store(xml_trim(text));
      return {};
    case Tag::t_importance:
      return set_parsed(item.importance, parse_importance(xml_trim(text)));
    case Tag::t_sensitivity:
      return set_parsed(item.sensitivity, parse_sensitivity(xml_trim(text)));
    case Tag::t_is_read:
      return set_parsed(item.is_read, parse_ews_boolean(xml_trim(text)));
    case Tag::t_preview:
      item.preview = texts_.store(text);
      return {};
    case Tag::t_has_attachments:
      return set_parsed(item.has_attachments, parse_ews_boolean(xml_trim(text)));
    case Tag::t_internet_message_id:
      item.internet_message_id = texts_.store(xml_trim(text));
      return {};
    case Tag::t_from:
      item.from = std::exchange(mailbox_, {});
      return {};
    case Tag::t_sender:
      item.sender = std::exchange(mailbox_, {});
      return {};
    default:
      return {};
  }
}

Status EwsAnswerReader::folder_part_ended(EwsTag tag, std::string_view text) {
  EwsFolder& folder = folders_.back();
  switch (tag) {
    case Tag::t_display_name:
      folder.display_name = texts_.store(text);
      return {};
    case Tag::t_total_count:
      return set_parsed(folder.total, parse_ews_int(xml_trim(text)));
    case Tag::t_unread_count:
      return set_parsed(folder.unread, parse_ews_int(xml_trim(text)));
    default:
      return {};
  }
}

Status EwsAnswerReader::mailbox_part_ended(EwsTag tag, std::string_view text) {
  if (tag == Tag::t_name) mailbox_.name = texts_.store(text);
  if (tag == Tag::t_email_address) mailbox_.address = texts_.store(xml_trim(text));
  return {};
}

Status EwsAnswerReader::fault_part_ended(EwsTag tag, std::string_view text) {
  EwsFault& fault = answer_.fault;
  switch (tag) {
    case Tag::fault_code11:
    case Tag::fault_value:
      fault.fault_code = texts_.store(without_prefix(xml_trim(text)));
      return {};
    case Tag::fault_text11:
    case Tag::fault_text12:
      fault.fault_text = texts_.store(xml_trim(text));
      return {};
    case Tag::e_response_code:
      fault.code_text = texts_.store(xml_trim(text));
      fault.code = parse_response_code(fault.code_text);
      return {};
    default:
      return {};
  }
}

Status EwsAnswerReader::set_root_folder(const XmlAttributes& attributes) {
  if (has_root_folder_) return fail(ews_error(EwsError::repeated_part));
  has_root_folder_ = true;
  EwsResponseMessage& message = messages_.back();
  if (auto total = attributes.find("TotalItemsInView"))
    BH_CHECKED(set_parsed(message.total_items, parse_ews_int(*total)));
  if (auto last = attributes.find("IncludesLastItemInRange"))
    BH_CHECKED(set_parsed(message.includes_last, parse_ews_boolean(*last)));
  return {};
}

Status EwsAnswerReader::set_id(std::string_view& field, const XmlAttributes& attributes) {
  if (!field.empty()) return fail(ews_error(EwsError::repeated_part));
  field = texts_.store(attributes.find("Id").value_or(std::string_view()));
  return field.empty() ? missing() : Status();
}

// An unreadable back-off is none: the answer says to wait, and the caller has a default.
void EwsAnswerReader::set_back_off(std::optional<uint32_t>& field, std::string_view text) {
  auto value = parse_decimal(xml_trim(text));
  if (value && *value <= UINT32_MAX) field = uint32_t(*value);
}

}  // namespace bellhop::proto
