// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "proto/ews.h"
#include "proto/ews_soap.h"
#include "proto/text_arena.h"

namespace bellhop::proto {

// Bounds of one callback. Exchange sends far fewer and says MoreEvents.
inline constexpr uint32_t kNotificationEventsMax = 1000;
inline constexpr uint32_t kNotificationMessagesMax = 100;

// One event of t:Notification. Views; empty = absent.
struct NotificationEvent {
  EventKind kind = EventKind::status;
  std::string_view watermark;
  std::optional<WallTime> timestamp;  // nothing where absent or unreadable: no decision depends on it
  std::string_view item_id;           // exactly one of item_id and folder_id is set, except in a status event
  std::string_view folder_id;
  std::string_view parent_folder_id;
  std::string_view old_item_id;  // moved and copied
  std::string_view old_folder_id;
  std::string_view old_parent_folder_id;
  std::optional<int32_t> unread_count;  // ModifiedEvent of a folder
};

// One m:SendNotificationResponseMessage.
struct Notification {
  ResponseClass response_class = ResponseClass::success;
  EwsResponseCode response_code = EwsResponseCode::none;
  std::string_view response_code_text;
  std::string_view subscription_id;  // not empty where response_class is success
  std::string_view previous_watermark;
  bool more_events = false;
  std::span<const NotificationEvent> events;  // at least one where response_class is success
};

struct NotificationMessage {
  SoapVersion soap_version = SoapVersion::soap11;
  std::span<const Notification> notifications;  // Exchange sends one; at least one
};

// Reads m:SendNotification, the body of an Exchange callback (SOAP 1.1 and 1.2). Reusable: after warm-up, a document of
// the usual size needs no heap. One document: feed()* finish(), reset(). Belongs to one core.
class NotificationParser : public SoapReader {
 public:
  // `hash_salt`: see XmlReader.
  explicit NotificationParser(uint64_t hash_salt, uint32_t document_bytes_max = kXmlCallbackBytesMax);

  // The whole message, owned by the parser and valid until reset(). Errors of Domain::xml and Domain::ews.
  Result<const NotificationMessage*> finish();
  // Forgets the message and wipes its texts.
  void reset();

 private:
  Status part_started(EwsTag parent, EwsTag tag, const XmlAttributes& attributes) override;
  Status part_ended(EwsTag parent, EwsTag tag, std::string_view text) override;
  Status message_ended();
  Status event_started(EventKind kind);
  Status event_part_ended(EwsTag tag, std::string_view text);
  Status event_ended();
  Status set_once(std::string_view& field, std::string_view text);
  Status set_id(std::string_view& field, const XmlAttributes& attributes);

  struct Range {
    uint32_t first, size;
  };
  TextArena texts_;
  std::vector<Notification> notifications_;
  std::vector<Range> ranges_;  // events of each notification; made into spans by finish()
  std::vector<NotificationEvent> events_;
  NotificationMessage message_;
};

// The whole body of our answer, m:SendNotificationResult, as a constant.
enum class SubscriptionStatus : uint8_t { ok, unsubscribe };
std::string_view send_notification_result(SoapVersion version, SubscriptionStatus status);

}  // namespace bellhop::proto
