// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/time.h"

// What all Exchange Web Services messages share. Element names as in messages.xsd and types.xsd.
namespace bellhop::proto {

// Why an EWS message is refused. Error.detail = byte position in the document (0 from writers).
enum class EwsError : uint16_t {
  not_soap = 1,        // the root is no SOAP 1.1 or 1.2 Envelope
  envelope,            // Header or Body repeated or misplaced, Body missing, or not exactly one element in Body
  unexpected_message,  // the element in Body is not the one that this reader reads
  missing_part,        // a required element or attribute is absent or empty
  repeated_part,       // an element occurs twice that the schema allows once
  bad_value,           // not a number, boolean or word that the schema allows there
  too_many,            // a list is longer than its named limit
  forbidden_text,      // writers: the text holds characters that XML 1.0 cannot express
};
Error ews_error(EwsError code, uint32_t position = 0);
bool is(const Error& error, EwsError code);

inline constexpr std::string_view kSoap11Space = "http://schemas.xmlsoap.org/soap/envelope/";
inline constexpr std::string_view kSoap12Space = "http://www.w3.org/2003/05/soap-envelope";
inline constexpr std::string_view kEwsMessagesSpace = "http://schemas.microsoft.com/exchange/services/2006/messages";
inline constexpr std::string_view kEwsTypesSpace = "http://schemas.microsoft.com/exchange/services/2006/types";
inline constexpr std::string_view kEwsErrorsSpace = "http://schemas.microsoft.com/exchange/services/2006/errors";

// Values of the SOAPAction header field, with their quotes (SOAP 1.1 section 6.1.1).
inline constexpr std::string_view kSubscribeAction =
    "\"http://schemas.microsoft.com/exchange/services/2006/messages/Subscribe\"";
inline constexpr std::string_view kGetItemAction =
    "\"http://schemas.microsoft.com/exchange/services/2006/messages/GetItem\"";
inline constexpr std::string_view kFindItemAction =
    "\"http://schemas.microsoft.com/exchange/services/2006/messages/FindItem\"";
inline constexpr std::string_view kGetFolderAction =
    "\"http://schemas.microsoft.com/exchange/services/2006/messages/GetFolder\"";
inline constexpr std::string_view kSyncFolderItemsAction =
    "\"http://schemas.microsoft.com/exchange/services/2006/messages/SyncFolderItems\"";
inline constexpr std::string_view kSendNotificationAction =
    "\"http://schemas.microsoft.com/exchange/services/2006/messages/SendNotification\"";

enum class SoapVersion : uint8_t { soap11, soap12 };
// "text/xml; charset=utf-8" or "application/soap+xml; charset=utf-8".
std::string_view soap_content_type(SoapVersion version);

// t:RequestServerVersion/@Version. Ascending: a later one has the features of the earlier.
enum class ExchangeVersion : uint8_t {
  exchange2007,
  exchange2007_sp1,
  exchange2010,
  exchange2010_sp1,
  exchange2010_sp2,
  exchange2013,
  exchange2013_sp1,
  exchange2016
};
std::string_view exchange_version_text(ExchangeVersion version);
// Nothing for a text that is none of those above.
std::optional<ExchangeVersion> parse_exchange_version(std::string_view text);

// t:ServerVersionInfo: which build answered.
struct ServerVersion {
  uint16_t major = 0, minor = 0, build = 0, revision = 0;
  bool known() const { return major != 0; }
  std::string text() const;  // "15.1.2507.39"
  friend bool operator==(const ServerVersion&, const ServerVersion&) = default;
};
// The product that a build belongs to.
enum class ExchangeProduct : uint8_t {
  unknown,
  exchange2007,
  exchange2010,
  exchange2013,
  exchange2016,
  exchange2019,
  subscription_edition,
  online
};
ExchangeProduct exchange_product(const ServerVersion& version);

// @ResponseClass
enum class ResponseClass : uint8_t { success, warning, error };
std::string_view response_class_text(ResponseClass value);
std::optional<ResponseClass> parse_response_class(std::string_view text);

// m:ResponseCode and e:ResponseCode: the codes that somebody here acts on. `other` is any further one; its text is kept
// beside the code. `none` is an absent code (a SOAP fault that is not of EWS).
enum class EwsResponseCode : uint8_t {
  none,
  other,
  no_error,
  access_denied,
  account_disabled,
  ad_unavailable,
  batch_processing_stopped,
  connection_failed,
  content_conversion_failed,
  corrupt_data,
  event_not_found,
  exceeded_connection_count,
  exceeded_subscription_count,
  expired_subscription,
  folder_not_found,
  impersonate_user_denied,
  incorrect_schema_version,
  insufficient_resources,
  internal_server_error,
  internal_server_transient_error,
  invalid_id_malformed,
  invalid_property_request,
  invalid_push_subscription_url,
  invalid_schema_version_for_mailbox_version,
  invalid_server_version,
  invalid_subscription,
  invalid_sync_state_data,
  invalid_watermark,
  item_corrupt,
  item_not_found,
  mailbox_failover,
  mailbox_logon_failed,
  mailbox_move_in_progress,
  mailbox_store_unavailable,
  missed_notification_events,
  no_applicable_proxy_cas_servers_available,
  non_existent_mailbox,
  password_change_required,
  password_expired,
  proxied_subscription_call_failure,
  proxy_request_not_allowed,
  proxy_service_discovery_failed,
  read_events_failed,
  schema_validation,
  server_busy,
  service_discovery_failed,
  subscription_access_denied,
  subscription_delegate_access_not_supported,
  subscription_not_found,
  subscription_unsubscribed,
  timeout_expired,
  wrong_server_version,
  wrong_server_version_delegate,
};
// `other` for an unknown text, `none` for an empty one.
EwsResponseCode parse_response_code(std::string_view text);
// "NoError", "ErrorServerBusy", ...; empty for none and other.
std::string_view response_code_text(EwsResponseCode code);

// What a response code asks of us.
enum class EwsVerdict : uint8_t {
  ok,
  retry_later,        // the server or mailbox is busy, moving or down: again after the back-off
  credentials,        // these credentials do not open this mailbox: no retry with them
  gone,               // the item does not exist any more
  moved,              // this server does not serve the mailbox: ask where it is (Autodiscover)
  subscription_lost,  // the subscription or its watermark is dead: make a new one
  permanent,          // this request will never work, or we do not know the code
};
EwsVerdict classify(EwsResponseCode code);

// xs:dateTime, with optional fraction; a time without zone is UTC. Nothing where it is not a time of the years
// 1970-9999.
std::optional<WallTime> parse_ews_time(std::string_view text);
// "2026-01-31T08:15:30Z", or with ".123" where the milliseconds are not 0.
std::string format_ews_time(WallTime time);
// xs:boolean: true, false, 1, 0.
std::optional<bool> parse_ews_boolean(std::string_view text);
// xs:int.
std::optional<int32_t> parse_ews_int(std::string_view text);

// Event elements of t:Notification; t:EventType holds the same names, except that status is never subscribed.
enum class EventKind : uint8_t { status, new_mail, created, deleted, modified, moved, copied, free_busy_changed };
std::string_view event_kind_text(EventKind kind);  // "NewMailEvent"
std::optional<EventKind> parse_event_kind(std::string_view text);

// t:FieldURI/@FieldURI: the item properties that we ask for.
enum class ItemField : uint8_t {
  subject,
  from,
  sender,
  date_time_received,
  item_class,
  importance,
  sensitivity,
  conversation_id,
  is_read,
  preview,
  has_attachments,
  internet_message_id,
};
inline constexpr uint32_t kItemFieldCount = 12;
std::string_view item_field_text(ItemField field);  // "item:Subject"
std::optional<ItemField> parse_item_field(std::string_view text);

// Registers the texts of Domain::ews with error_text(); called once, at start.
void register_ews_error_texts();

}  // namespace bellhop::proto
