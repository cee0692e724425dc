// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_response.h"

#include <utility>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/ews_text.h"

namespace bellhop::proto {
namespace {

using Tag = EwsTag;

// The children of Items and of any other response are given by resolve(): items and messages of any class.
constexpr EwsGrammar kGrammar = {
    {Tag::body, {Tag::m_subscribe_response, Tag::m_get_item_response, Tag::m_find_item_response, Tag::fault}},
    {Tag::m_subscribe_response, {Tag::m_response_messages}},
    {Tag::m_get_item_response, {Tag::m_response_messages}},
    {Tag::m_find_item_response, {Tag::m_response_messages}},
    {Tag::any_response, {Tag::m_response_messages}},
    {Tag::any_response_message,
     {Tag::m_message_text, Tag::m_response_code, Tag::m_message_xml, Tag::m_subscription_id, Tag::m_watermark,
      Tag::m_items, Tag::m_root_folder}},
    {Tag::m_message_xml, {Tag::t_value}},
    {Tag::m_root_folder, {Tag::t_items}},
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
  for (size_t i = 0; i < messages_.size(); ++i)
    messages_[i].items = std::span(items_).subspan(ranges_[i].first, ranges_[i].size);
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
  items_.clear();
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
  bool in_items = parent == Tag::m_items || parent == Tag::t_items;
  if (in_items && space == EwsSpace::types) {
    items_.push_back({.element = texts_.store(name.local)});
    return Tag::any_item;
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
    case Tag::any_response_message:
      return message_started(attributes);
    case Tag::any_item:
      return items_.size() > kEwsItemsMax ? fail(ews_error(EwsError::too_many)) : Status();
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

Status EwsAnswerReader::message_started(const XmlAttributes& attributes) {
  if (messages_.size() == kEwsMessagesMax) return fail(ews_error(EwsError::too_many));
  auto text = attributes.find("ResponseClass");
  if (!text) return missing();
  auto response_class = parse_response_class(*text);
  if (!response_class) return bad_value();
  messages_.push_back({.response_class = *response_class, .code = EwsResponseCode::none});
  ranges_.push_back({uint32_t(items_.size()), 0});
  has_root_folder_ = false;
  return {};
}

Status EwsAnswerReader::part_ended(EwsTag parent, EwsTag tag, std::string_view text) {
  switch (parent) {
    case Tag::any_response_message:
      return message_part_ended(tag, text);
    case Tag::any_item:
      return item_part_ended(tag, text);
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
    default:
      return {};
  }
}

Status EwsAnswerReader::message_ended() {
  EwsResponseMessage& message = messages_.back();
  ranges_.back().size = uint32_t(items_.size()) - ranges_.back().first;
  if (message.code == EwsResponseCode::none) return missing();
  if (message.response_class != ResponseClass::success) return {};
  switch (answer_.kind) {
    case EwsAnswerKind::subscribe:
      return message.subscription_id.empty() ? missing() : Status();
    case EwsAnswerKind::get_item:
      return ranges_.back().size == 0 ? missing() : Status();
    case EwsAnswerKind::find_item:
      return has_root_folder_ ? Status() : missing();
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
