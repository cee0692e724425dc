// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_notification.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/ews_text.h"

namespace bellhop::proto {
namespace {

using Tag = EwsTag;

// t:NotificationType and what leads to it; t:BaseObjectChangedEventType and its kin share one list of children.
constexpr EwsGrammar kGrammar = {
    {Tag::body, {Tag::m_send_notification}},
    {Tag::m_send_notification, {Tag::m_response_messages}},
    {Tag::m_response_messages, {Tag::m_send_notification_response_message}},
    {Tag::m_send_notification_response_message, {Tag::m_response_code, Tag::m_notification}},
    {Tag::m_notification,
     {Tag::t_subscription_id, Tag::t_previous_watermark, Tag::t_more_events, Tag::t_status_event, Tag::t_new_mail_event,
      Tag::t_created_event, Tag::t_deleted_event, Tag::t_modified_event, Tag::t_moved_event, Tag::t_copied_event,
      Tag::t_free_busy_changed_event}},
    {Tag::t_status_event, {Tag::t_watermark}},
    {Tag::t_new_mail_event,
     {Tag::t_watermark, Tag::t_time_stamp, Tag::t_folder_id, Tag::t_item_id, Tag::t_parent_folder_id}},
    {Tag::t_created_event,
     {Tag::t_watermark, Tag::t_time_stamp, Tag::t_folder_id, Tag::t_item_id, Tag::t_parent_folder_id}},
    {Tag::t_deleted_event,
     {Tag::t_watermark, Tag::t_time_stamp, Tag::t_folder_id, Tag::t_item_id, Tag::t_parent_folder_id}},
    {Tag::t_free_busy_changed_event,
     {Tag::t_watermark, Tag::t_time_stamp, Tag::t_folder_id, Tag::t_item_id, Tag::t_parent_folder_id}},
    {Tag::t_modified_event,
     {Tag::t_watermark, Tag::t_time_stamp, Tag::t_folder_id, Tag::t_item_id, Tag::t_parent_folder_id,
      Tag::t_unread_count}},
    {Tag::t_moved_event,
     {Tag::t_watermark, Tag::t_time_stamp, Tag::t_folder_id, Tag::t_item_id, Tag::t_parent_folder_id,
      Tag::t_old_folder_id, Tag::t_old_item_id, Tag::t_old_parent_folder_id}},
    {Tag::t_copied_event,
     {Tag::t_watermark, Tag::t_time_stamp, Tag::t_folder_id, Tag::t_item_id, Tag::t_parent_folder_id,
      Tag::t_old_folder_id, Tag::t_old_item_id, Tag::t_old_parent_folder_id}},
};

std::optional<EventKind> event_of(EwsTag tag) {
  switch (tag) {
    case Tag::t_status_event:
      return EventKind::status;
    case Tag::t_new_mail_event:
      return EventKind::new_mail;
    case Tag::t_created_event:
      return EventKind::created;
    case Tag::t_deleted_event:
      return EventKind::deleted;
    case Tag::t_modified_event:
      return EventKind::modified;
    case Tag::t_moved_event:
      return EventKind::moved;
    case Tag::t_copied_event:
      return EventKind::copied;
    case Tag::t_free_busy_changed_event:
      return EventKind::free_busy_changed;
    default:
      return std::nullopt;
  }
}

Status missing() {
  return fail(ews_error(EwsError::missing_part));
}

}  // namespace

NotificationParser::NotificationParser(uint64_t hash_salt, uint32_t document_bytes_max)
    : SoapReader(kGrammar, document_bytes_max, hash_salt) {}

Result<const NotificationMessage*> NotificationParser::finish() {
  BH_CHECKED(finish_envelope());
  if (notifications_.empty()) return fail(ews_error(EwsError::missing_part));
  for (size_t i = 0; i < notifications_.size(); ++i) {
    notifications_[i].events = std::span(events_).subspan(ranges_[i].first, ranges_[i].size);
  }
  message_ = {soap_version(), notifications_};
  return &message_;
}

void NotificationParser::reset() {
  reset_envelope();
  texts_.clear();
  notifications_.clear();
  ranges_.clear();
  events_.clear();
  message_ = {};
}

Status NotificationParser::part_started(EwsTag, EwsTag tag, const XmlAttributes& attributes) {
  if (auto kind = event_of(tag)) return event_started(*kind);
  switch (tag) {
    case Tag::m_send_notification_response_message: {
      if (notifications_.size() == kNotificationMessagesMax) return fail(ews_error(EwsError::too_many));
      auto text = attributes.find("ResponseClass");
      if (!text) return missing();
      auto response_class = parse_response_class(*text);
      if (!response_class) return fail(ews_error(EwsError::bad_value));
      notifications_.push_back({.response_class = *response_class});
      ranges_.push_back({uint32_t(events_.size()), 0});
      return {};
    }
    case Tag::t_item_id:
      return set_id(events_.back().item_id, attributes);
    case Tag::t_folder_id:
      return set_id(events_.back().folder_id, attributes);
    case Tag::t_parent_folder_id:
      return set_id(events_.back().parent_folder_id, attributes);
    case Tag::t_old_item_id:
      return set_id(events_.back().old_item_id, attributes);
    case Tag::t_old_folder_id:
      return set_id(events_.back().old_folder_id, attributes);
    case Tag::t_old_parent_folder_id:
      return set_id(events_.back().old_parent_folder_id, attributes);
    default:
      return {};
  }
}

Status NotificationParser::part_ended(EwsTag parent, EwsTag tag, std::string_view text) {
  if (event_of(parent)) return event_part_ended(tag, text);
  if (event_of(tag)) return event_ended();
  switch (tag) {
    case Tag::m_send_notification_response_message:
      return message_ended();
    case Tag::m_response_code: {
      Notification& notification = notifications_.back();
      BH_CHECKED(set_once(notification.response_code_text, text));
      notification.response_code = parse_response_code(notification.response_code_text);
      return {};
    }
    case Tag::t_subscription_id:
      return set_once(notifications_.back().subscription_id, text);
    case Tag::t_previous_watermark:
      return set_once(notifications_.back().previous_watermark, text);
    case Tag::t_more_events: {
      auto more = parse_ews_boolean(xml_trim(text));
      if (!more) return fail(ews_error(EwsError::bad_value));
      notifications_.back().more_events = *more;
      return {};
    }
    default:
      return {};
  }
}

Status NotificationParser::message_ended() {
  Notification& notification = notifications_.back();
  ranges_.back().size = uint32_t(events_.size()) - ranges_.back().first;
  if (notification.response_code == EwsResponseCode::none) return missing();
  if (notification.response_class != ResponseClass::success) return {};
  return notification.subscription_id.empty() || ranges_.back().size == 0 ? missing() : Status();
}

Status NotificationParser::event_started(EventKind kind) {
  if (events_.size() == kNotificationEventsMax) return fail(ews_error(EwsError::too_many));
  events_.push_back({.kind = kind});
  return {};
}

Status NotificationParser::event_part_ended(EwsTag tag, std::string_view text) {
  NotificationEvent& event = events_.back();
  switch (tag) {
    case Tag::t_watermark:
      return set_once(event.watermark, text);
    case Tag::t_time_stamp:
      event.timestamp = parse_ews_time(xml_trim(text));
      return {};
    case Tag::t_unread_count: {
      if (event.unread_count) return fail(ews_error(EwsError::repeated_part));
      event.unread_count = parse_ews_int(xml_trim(text));
      if (!event.unread_count || *event.unread_count < 0) return fail(ews_error(EwsError::bad_value));
      return {};
    }
    default:
      return {};
  }
}

Status NotificationParser::event_ended() {
  const NotificationEvent& event = events_.back();
  if (event.kind == EventKind::status) return {};
  if (event.item_id.empty() == event.folder_id.empty()) return missing();
  if (event.kind == EventKind::new_mail && event.item_id.empty()) return missing();
  return {};
}

Status NotificationParser::set_once(std::string_view& field, std::string_view text) {
  if (!field.empty()) return fail(ews_error(EwsError::repeated_part));
  field = texts_.store(xml_trim(text));
  return field.empty() ? missing() : Status();
}

Status NotificationParser::set_id(std::string_view& field, const XmlAttributes& attributes) {
  return set_once(field, attributes.find("Id").value_or(std::string_view()));
}

namespace {

// Kept as constants: this is the answer to every callback.
constexpr std::string_view kOk11 =
    R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>)"
    R"(<SendNotificationResult xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">)"
    R"(<SubscriptionStatus>OK</SubscriptionStatus></SendNotificationResult></s:Body></s:Envelope>)";
constexpr std::string_view kUnsubscribe11 =
    R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>)"
    R"(<SendNotificationResult xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">)"
    R"(<SubscriptionStatus>Unsubscribe</SubscriptionStatus></SendNotificationResult></s:Body></s:Envelope>)";
constexpr std::string_view kOk12 =
    R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>)"
    R"(<SendNotificationResult xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">)"
    R"(<SubscriptionStatus>OK</SubscriptionStatus></SendNotificationResult></s:Body></s:Envelope>)";
constexpr std::string_view kUnsubscribe12 =
    R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>)"
    R"(<SendNotificationResult xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">)"
    R"(<SubscriptionStatus>Unsubscribe</SubscriptionStatus></SendNotificationResult></s:Body></s:Envelope>)";

}  // namespace

std::string_view send_notification_result(SoapVersion version, SubscriptionStatus status) {
  if (version == SoapVersion::soap11) return status == SubscriptionStatus::ok ? kOk11 : kUnsubscribe11;
  return status == SubscriptionStatus::ok ? kOk12 : kUnsubscribe12;
}

}  // namespace bellhop::proto
