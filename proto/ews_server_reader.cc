// SPDX-License-Identifier: Apache-2.0
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/ews_server.h"
#include "proto/ews_text.h"

namespace bellhop::proto {
namespace {

using Tag = EwsTag;

constexpr EwsGrammar kGrammar = {
    {Tag::header, {Tag::t_request_server_version}},
    {Tag::body, {Tag::m_subscribe, Tag::m_get_item, Tag::m_find_item, Tag::m_get_folder, Tag::m_sync_folder_items}},
    {Tag::m_subscribe,
     {Tag::m_push_subscription_request, Tag::m_pull_subscription_request, Tag::m_streaming_subscription_request}},
    {Tag::m_push_subscription_request,
     {Tag::t_folder_ids, Tag::t_event_types, Tag::t_watermark, Tag::t_status_frequency, Tag::t_url}},
    {Tag::m_pull_subscription_request, {Tag::t_folder_ids, Tag::t_event_types, Tag::t_watermark}},
    {Tag::m_streaming_subscription_request, {Tag::t_folder_ids, Tag::t_event_types}},
    {Tag::t_folder_ids, {Tag::t_distinguished_folder_id, Tag::t_folder_id}},
    {Tag::t_distinguished_folder_id, {Tag::t_mailbox}},
    {Tag::t_mailbox, {Tag::t_email_address}},
    {Tag::t_event_types, {Tag::t_event_type}},
    {Tag::m_get_item, {Tag::m_item_shape, Tag::m_item_ids}},
    {Tag::m_item_shape, {Tag::t_base_shape, Tag::t_additional_properties}},
    {Tag::t_additional_properties, {Tag::t_field_uri}},
    {Tag::m_item_ids, {Tag::t_item_id}},
    {Tag::m_find_item,
     {Tag::m_item_shape, Tag::m_indexed_page_item_view, Tag::m_restriction, Tag::m_parent_folder_ids}},
    {Tag::m_restriction, {Tag::t_is_greater_than, Tag::t_is_greater_than_or_equal_to}},
    {Tag::t_is_greater_than, {Tag::t_field_uri, Tag::t_field_uri_or_constant}},
    {Tag::t_is_greater_than_or_equal_to, {Tag::t_field_uri, Tag::t_field_uri_or_constant}},
    {Tag::t_field_uri_or_constant, {Tag::t_constant}},
    {Tag::m_parent_folder_ids, {Tag::t_distinguished_folder_id, Tag::t_folder_id}},
    {Tag::m_get_folder, {Tag::m_folder_shape, Tag::m_folder_ids}},
    {Tag::m_folder_ids, {Tag::t_distinguished_folder_id, Tag::t_folder_id}},
    {Tag::m_sync_folder_items,
     {Tag::m_item_shape, Tag::m_sync_folder_id, Tag::m_sync_state, Tag::m_max_changes_returned}},
    {Tag::m_sync_folder_id, {Tag::t_distinguished_folder_id, Tag::t_folder_id}},
};

Status missing() {
  return fail(ews_error(EwsError::missing_part));
}
Status bad_value() {
  return fail(ews_error(EwsError::bad_value));
}

}  // namespace

EwsRequestReader::EwsRequestReader(uint64_t hash_salt, uint32_t document_bytes_max)
    : SoapReader(kGrammar, document_bytes_max, hash_salt) {}

Result<const EwsRequest*> EwsRequestReader::finish() {
  BH_CHECKED(finish_envelope());
  BH_CHECKED(check());
  request_.soap_version = soap_version();
  return &request_;
}

void EwsRequestReader::reset() {
  reset_envelope();
  texts_.clear();
  request_ = {};
  restricts_received_ = false;
}

Status EwsRequestReader::check() const {
  switch (request_.kind) {
    case EwsRequestKind::subscribe:
      if (request_.events.empty()) return missing();
      return request_.is_push && (request_.url.empty() || request_.status_frequency_minutes == 0) ? missing()
                                                                                                  : Status();
    case EwsRequestKind::get_item:
      return request_.item_ids.empty() ? missing() : Status();
    case EwsRequestKind::sync_folder_items:
      if (!request_.entries_max) return missing();
      [[fallthrough]];
    case EwsRequestKind::find_item:
    case EwsRequestKind::get_folder:
      return request_.folder.empty() && request_.folder_id.empty() ? missing() : Status();
    case EwsRequestKind::other:
      return {};
  }
  return {};
}

Status EwsRequestReader::other_message(EwsSpace, XmlName name) {
  request_.element = texts_.store(name.local);
  return {};
}

Status EwsRequestReader::part_started(EwsTag parent, EwsTag tag, const XmlAttributes& attributes) {
  switch (tag) {
    case Tag::t_request_server_version:
      return set_attribute(request_.server_version, attributes, "Version");
    case Tag::m_subscribe:
      set_kind(EwsRequestKind::subscribe, "Subscribe");
      return {};
    case Tag::m_get_item:
      set_kind(EwsRequestKind::get_item, "GetItem");
      return {};
    case Tag::m_find_item:
      set_kind(EwsRequestKind::find_item, "FindItem");
      return {};
    case Tag::m_get_folder:
      set_kind(EwsRequestKind::get_folder, "GetFolder");
      return {};
    case Tag::m_sync_folder_items:
      set_kind(EwsRequestKind::sync_folder_items, "SyncFolderItems");
      return {};
    case Tag::m_push_subscription_request:
      request_.is_push = true;
      return {};
    case Tag::m_streaming_subscription_request:
      request_.is_streaming = true;
      return {};
    case Tag::t_distinguished_folder_id:
      return set_attribute(request_.folder, attributes, "Id");
    case Tag::t_folder_id:
      return set_attribute(request_.folder_id, attributes, "Id");
    case Tag::t_item_id: {
      if (request_.item_ids.size() == kGetItemIdsMax) return fail(ews_error(EwsError::too_many));
      request_.item_ids.emplace_back();
      return set_attribute(request_.item_ids.back(), attributes, "Id");
    }
    case Tag::t_field_uri:
      return field_started(parent, attributes);
    case Tag::m_indexed_page_item_view:
      return page_started(attributes);
    case Tag::t_is_greater_than:
    case Tag::t_is_greater_than_or_equal_to:
      restricts_received_ = false;
      return {};
    case Tag::t_constant: {
      if (!restricts_received_) return {};
      auto text = attributes.find("Value");
      if (!text) return missing();
      request_.received_since = parse_ews_time(*text);
      return request_.received_since ? Status() : bad_value();
    }
    default:
      return {};
  }
}

Status EwsRequestReader::page_started(const XmlAttributes& attributes) {
  if (auto text = attributes.find("MaxEntriesReturned")) {
    auto value = parse_ews_int(*text);
    if (!value || *value < 1) return bad_value();
    request_.entries_max = uint32_t(*value);
  }
  if (auto text = attributes.find("Offset")) {
    auto value = parse_ews_int(*text);
    if (!value || *value < 0) return bad_value();
    request_.offset = uint32_t(*value);
  }
  return {};
}

// What restricts in another way is not read, and noted.
EwsTag EwsRequestReader::resolve(EwsTag parent, EwsSpace, XmlName) {
  if (parent == Tag::m_restriction) request_.restricted = true;
  return Tag::unknown;
}

void EwsRequestReader::set_kind(EwsRequestKind kind, std::string_view element) {
  request_.kind = kind;
  request_.element = element;
}

Status EwsRequestReader::field_started(EwsTag parent, const XmlAttributes& attributes) {
  auto text = attributes.find("FieldURI");
  if (!text) return missing();
  auto field = parse_item_field(*text);
  if (parent != Tag::t_additional_properties) {
    restricts_received_ = field == ItemField::date_time_received;
    if (!restricts_received_) request_.restricted = true;
    return {};
  }
  if (!field) return {};
  if (request_.fields.size() == kItemFieldCount) return fail(ews_error(EwsError::too_many));
  request_.fields.push_back(*field);
  return {};
}

Status EwsRequestReader::part_ended(EwsTag, EwsTag tag, std::string_view text) {
  text = xml_trim(text);
  switch (tag) {
    case Tag::t_email_address:
      request_.mailbox = texts_.store(text);
      return {};
    case Tag::t_event_type: {
      auto kind = parse_event_kind(text);
      if (!kind || *kind == EventKind::status) return bad_value();
      if (request_.events.size() == size_t(EventKind::free_busy_changed)) return fail(ews_error(EwsError::too_many));
      request_.events.push_back(*kind);
      return {};
    }
    case Tag::t_base_shape:
      request_.whole_items = text != "IdOnly";
      return {};
    case Tag::t_watermark:
      request_.watermark = texts_.store(text);
      return {};
    case Tag::t_status_frequency: {
      auto minutes = parse_ews_int(text);
      if (!minutes || *minutes < 1 || uint32_t(*minutes) > kStatusFrequencyMinutesMax) return bad_value();
      request_.status_frequency_minutes = uint32_t(*minutes);
      return {};
    }
    case Tag::m_sync_state:
      request_.sync_state = texts_.store(text);
      return {};
    case Tag::m_max_changes_returned: {
      auto changes = parse_ews_int(text);
      if (!changes || *changes < 1 || uint32_t(*changes) > kSyncChangesMax) return bad_value();
      request_.entries_max = uint32_t(*changes);
      return {};
    }
    case Tag::t_url:
      if (!request_.url.empty()) return fail(ews_error(EwsError::repeated_part));
      request_.url = texts_.store(text);
      return {};
    default:
      return {};
  }
}

Status EwsRequestReader::set_attribute(std::string_view& field, const XmlAttributes& attributes,
                                       std::string_view name) {
  if (!field.empty()) return fail(ews_error(EwsError::repeated_part));
  field = texts_.store(attributes.find(name).value_or(std::string_view()));
  return field.empty() ? missing() : Status();
}

}  // namespace bellhop::proto
