// SPDX-License-Identifier: Apache-2.0
#include "proto/ews.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <utility>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

struct CodeRow {
  EwsResponseCode code;
  std::string_view text;
  EwsVerdict verdict;
};

using Code = EwsResponseCode;
using Verdict = EwsVerdict;

// Every code that somebody acts on. Names: m:ResponseCodeType.
constexpr std::array kCodes = {
    CodeRow{Code::no_error, "NoError", Verdict::ok},
    CodeRow{Code::access_denied, "ErrorAccessDenied", Verdict::credentials},
    CodeRow{Code::account_disabled, "ErrorAccountDisabled", Verdict::credentials},
    CodeRow{Code::ad_unavailable, "ErrorADUnavailable", Verdict::retry_later},
    CodeRow{Code::batch_processing_stopped, "ErrorBatchProcessingStopped", Verdict::retry_later},
    CodeRow{Code::connection_failed, "ErrorConnectionFailed", Verdict::retry_later},
    CodeRow{Code::content_conversion_failed, "ErrorContentConversionFailed", Verdict::permanent},
    CodeRow{Code::corrupt_data, "ErrorCorruptData", Verdict::permanent},
    CodeRow{Code::event_not_found, "ErrorEventNotFound", Verdict::subscription_lost},
    CodeRow{Code::exceeded_connection_count, "ErrorExceededConnectionCount", Verdict::retry_later},
    CodeRow{Code::exceeded_subscription_count, "ErrorExceededSubscriptionCount", Verdict::retry_later},
    CodeRow{Code::expired_subscription, "ErrorExpiredSubscription", Verdict::subscription_lost},
    CodeRow{Code::folder_not_found, "ErrorFolderNotFound", Verdict::permanent},
    CodeRow{Code::impersonate_user_denied, "ErrorImpersonateUserDenied", Verdict::credentials},
    CodeRow{Code::incorrect_schema_version, "ErrorIncorrectSchemaVersion", Verdict::permanent},
    CodeRow{Code::insufficient_resources, "ErrorInsufficientResources", Verdict::retry_later},
    CodeRow{Code::internal_server_error, "ErrorInternalServerError", Verdict::retry_later},
    CodeRow{Code::internal_server_transient_error, "ErrorInternalServerTransientError", Verdict::retry_later},
    CodeRow{Code::invalid_id_malformed, "ErrorInvalidIdMalformed", Verdict::permanent},
    CodeRow{Code::invalid_property_request, "ErrorInvalidPropertyRequest", Verdict::permanent},
    CodeRow{Code::invalid_push_subscription_url, "ErrorInvalidPushSubscriptionUrl", Verdict::permanent},
    CodeRow{Code::invalid_schema_version_for_mailbox_version, "ErrorInvalidSchemaVersionForMailboxVersion",
            Verdict::permanent},
    CodeRow{Code::invalid_server_version, "ErrorInvalidServerVersion", Verdict::permanent},
    CodeRow{Code::invalid_subscription, "ErrorInvalidSubscription", Verdict::subscription_lost},
    CodeRow{Code::invalid_sync_state_data, "ErrorInvalidSyncStateData", Verdict::permanent},
    CodeRow{Code::invalid_watermark, "ErrorInvalidWatermark", Verdict::subscription_lost},
    CodeRow{Code::item_corrupt, "ErrorItemCorrupt", Verdict::permanent},
    CodeRow{Code::item_not_found, "ErrorItemNotFound", Verdict::gone},
    CodeRow{Code::mailbox_failover, "ErrorMailboxFailover", Verdict::retry_later},
    CodeRow{Code::mailbox_logon_failed, "ErrorMailboxLogonFailed", Verdict::retry_later},
    CodeRow{Code::mailbox_move_in_progress, "ErrorMailboxMoveInProgress", Verdict::retry_later},
    CodeRow{Code::mailbox_store_unavailable, "ErrorMailboxStoreUnavailable", Verdict::retry_later},
    CodeRow{Code::missed_notification_events, "ErrorMissedNotificationEvents", Verdict::subscription_lost},
    CodeRow{Code::no_applicable_proxy_cas_servers_available, "ErrorNoApplicableProxyCASServersAvailable",
            Verdict::moved},
    // What the old server says of a mailbox that went to the cloud.
    CodeRow{Code::non_existent_mailbox, "ErrorNonExistentMailbox", Verdict::moved},
    CodeRow{Code::password_change_required, "ErrorPasswordChangeRequired", Verdict::credentials},
    CodeRow{Code::password_expired, "ErrorPasswordExpired", Verdict::credentials},
    CodeRow{Code::proxied_subscription_call_failure, "ErrorProxiedSubscriptionCallFailure", Verdict::retry_later},
    CodeRow{Code::proxy_request_not_allowed, "ErrorProxyRequestNotAllowed", Verdict::moved},
    CodeRow{Code::proxy_service_discovery_failed, "ErrorProxyServiceDiscoveryFailed", Verdict::moved},
    CodeRow{Code::read_events_failed, "ErrorReadEventsFailed", Verdict::subscription_lost},
    CodeRow{Code::schema_validation, "ErrorSchemaValidation", Verdict::permanent},
    CodeRow{Code::server_busy, "ErrorServerBusy", Verdict::retry_later},
    CodeRow{Code::service_discovery_failed, "ErrorServiceDiscoveryFailed", Verdict::moved},
    // Another user's mailbox: EWS lets only its owner subscribe, so these credentials never will.
    CodeRow{Code::subscription_access_denied, "ErrorSubscriptionAccessDenied", Verdict::credentials},
    CodeRow{Code::subscription_delegate_access_not_supported, "ErrorSubscriptionDelegateAccessNotSupported",
            Verdict::credentials},
    CodeRow{Code::subscription_not_found, "ErrorSubscriptionNotFound", Verdict::subscription_lost},
    CodeRow{Code::subscription_unsubscribed, "ErrorSubscriptionUnsubscribed", Verdict::subscription_lost},
    CodeRow{Code::timeout_expired, "ErrorTimeoutExpired", Verdict::retry_later},
    CodeRow{Code::wrong_server_version, "ErrorWrongServerVersion", Verdict::moved},
    CodeRow{Code::wrong_server_version_delegate, "ErrorWrongServerVersionDelegate", Verdict::moved},
};

// The row of a code is found by its number: the list is complete and in the order of the enumeration.
consteval bool codes_are_in_order() {
  for (size_t i = 0; i < kCodes.size(); ++i) {
    if (size_t(kCodes[i].code) != i + size_t(Code::no_error)) return false;
  }
  return kCodes.back().code == Code::wrong_server_version_delegate;
}
static_assert(codes_are_in_order());

const CodeRow* row_of(EwsResponseCode code) {
  if (code == Code::none || code == Code::other) return nullptr;
  return &kCodes[size_t(code) - size_t(Code::no_error)];
}

constexpr std::array<std::string_view, 8> kExchangeVersions = {"Exchange2007",     "Exchange2007_SP1", "Exchange2010",
                                                               "Exchange2010_SP1", "Exchange2010_SP2", "Exchange2013",
                                                               "Exchange2013_SP1", "Exchange2016"};
constexpr std::array<std::string_view, 3> kResponseClasses = {"Success", "Warning", "Error"};
constexpr std::array<std::string_view, 8> kEventKinds = {"StatusEvent",  "NewMailEvent",        "CreatedEvent",
                                                         "DeletedEvent", "ModifiedEvent",       "MovedEvent",
                                                         "CopiedEvent",  "FreeBusyChangedEvent"};
constexpr std::array<std::string_view, kItemFieldCount> kItemFields = {
    "item:Subject",   "message:From",    "message:Sender",      "item:DateTimeReceived",
    "item:ItemClass", "item:Importance", "item:Sensitivity",    "item:ConversationId",
    "message:IsRead", "item:Preview",    "item:HasAttachments", "message:InternetMessageId"};

template <class Enum, size_t N>
std::optional<Enum> index_of(const std::array<std::string_view, N>& names, std::string_view text) {
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == text) return Enum(i);
  }
  return std::nullopt;
}

// Reads exactly `digits` digits from the front of `text`.
std::optional<int> take_number(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  for (char c : text.substr(0, digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

// ".123456" → 123; digits past the third are dropped.
std::optional<std::chrono::milliseconds> take_fraction(std::string_view& text) {
  size_t digits = 0;
  int milliseconds = 0;
  for (int weight = 100; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1), ++digits) {
    milliseconds += (text[0] - '0') * weight;
    weight /= 10;
  }
  if (digits == 0) return std::nullopt;
  return std::chrono::milliseconds(milliseconds);
}

// "", "Z", "+01:30", "-08:00".
std::optional<std::chrono::minutes> take_zone(std::string_view& text) {
  if (text.empty() || take(text, 'Z')) return std::chrono::minutes(0);
  bool negative = text[0] == '-';
  if (!negative && text[0] != '+') return std::nullopt;
  text.remove_prefix(1);
  auto hours = take_number(text, 2);
  if (!hours || !take(text, ':')) return std::nullopt;
  auto minutes = take_number(text, 2);
  if (!minutes || *hours > 14 || *minutes > 59) return std::nullopt;
  std::chrono::minutes offset(*hours * 60 + *minutes);
  return negative ? -offset : offset;
}

std::string text_of(uint16_t code, uint32_t detail) {
  std::string at = detail ? " at byte " + std::to_string(detail) : std::string();
  switch (static_cast<EwsError>(code)) {
    case EwsError::not_soap:
      return "the root element is no SOAP 1.1 or 1.2 envelope" + at;
    case EwsError::envelope:
      return "the SOAP envelope has not exactly one body with one message" + at;
    case EwsError::unexpected_message:
      return "another message was expected in the SOAP body" + at;
    case EwsError::missing_part:
      return "a required element or attribute is missing or empty" + at;
    case EwsError::repeated_part:
      return "an element occurs twice that may occur once" + at;
    case EwsError::bad_value:
      return "a value is not what the schema allows" + at;
    case EwsError::too_many:
      return "a list is too long" + at;
    case EwsError::forbidden_text:
      return "a text holds characters that XML cannot express" + at;
  }
  return "code " + std::to_string(code);
}

}  // namespace

Error ews_error(EwsError code, uint32_t position) {
  return {Domain::ews, 0, static_cast<uint16_t>(code), position};
}
bool is(const Error& error, EwsError code) {
  return error.domain == Domain::ews && error.code == static_cast<uint16_t>(code);
}

std::string_view soap_content_type(SoapVersion version) {
  return version == SoapVersion::soap11 ? "text/xml; charset=utf-8" : "application/soap+xml; charset=utf-8";
}

std::string_view exchange_version_text(ExchangeVersion version) {
  return kExchangeVersions[size_t(version)];
}
std::optional<ExchangeVersion> parse_exchange_version(std::string_view text) {
  return index_of<ExchangeVersion>(kExchangeVersions, text);
}

std::string ServerVersion::text() const {
  return fmt::format("{}.{}.{}.{}", major, minor, build, revision);
}

ExchangeProduct exchange_product(const ServerVersion& version) {
  constexpr uint16_t kFirstOnlineMinor = 20;
  constexpr uint16_t kSubscriptionEditionBuild = 2562;  // 15.2.2562.17, its first release
  switch (version.major) {
    case 0:
      return ExchangeProduct::unknown;
    case 8:
      return ExchangeProduct::exchange2007;
    case 14:
      return ExchangeProduct::exchange2010;
    case 15:
      if (version.minor == 0) return ExchangeProduct::exchange2013;
      if (version.minor == 1) return ExchangeProduct::exchange2016;
      if (version.minor >= kFirstOnlineMinor) return ExchangeProduct::online;
      return version.minor == 2 && version.build < kSubscriptionEditionBuild ? ExchangeProduct::exchange2019
                                                                             : ExchangeProduct::subscription_edition;
    default:
      return version.major > 15 ? ExchangeProduct::online : ExchangeProduct::unknown;
  }
}

std::string_view response_class_text(ResponseClass value) {
  return kResponseClasses[size_t(value)];
}
std::optional<ResponseClass> parse_response_class(std::string_view text) {
  return index_of<ResponseClass>(kResponseClasses, text);
}

EwsResponseCode parse_response_code(std::string_view text) {
  if (text.empty()) return Code::none;
  for (const CodeRow& row : kCodes) {
    if (row.text == text) return row.code;
  }
  return Code::other;
}

std::string_view response_code_text(EwsResponseCode code) {
  const CodeRow* row = row_of(code);
  return row ? row->text : std::string_view();
}

EwsVerdict classify(EwsResponseCode code) {
  const CodeRow* row = row_of(code);
  return row ? row->verdict : Verdict::permanent;
}

std::optional<WallTime> parse_ews_time(std::string_view text) {
  auto year = take_number(text, 4);
  if (!year || *year < 1970 || !take(text, '-')) return std::nullopt;
  auto month = take_number(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  auto day = take_number(text, 2);
  if (!day || !take(text, 'T')) return std::nullopt;
  std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(unsigned(*month)),
                                   std::chrono::day(unsigned(*day))};
  auto hour = take_number(text, 2);
  if (!date.ok() || !hour || !take(text, ':')) return std::nullopt;
  auto minute = take_number(text, 2);
  if (!minute || !take(text, ':')) return std::nullopt;
  auto second = take_number(text, 2);
  if (!second || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
  std::chrono::milliseconds fraction{0};
  if (take(text, '.')) {
    auto digits = take_fraction(text);
    if (!digits) return std::nullopt;
    fraction = *digits;
  }
  auto zone = take_zone(text);
  if (!zone || !text.empty()) return std::nullopt;
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) + fraction - *zone;
}

std::string format_ews_time(WallTime time) {
  auto days = std::chrono::floor<std::chrono::days>(time);
  std::chrono::year_month_day date(days);
  std::chrono::hh_mm_ss clock(time - days);
  std::string text =
      fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", int(date.year()), unsigned(date.month()), unsigned(date.day()),
                  clock.hours().count(), clock.minutes().count(), clock.seconds().count());
  if (clock.subseconds().count() != 0) text += fmt::format(".{:03}", clock.subseconds().count());
  return text + "Z";
}

std::optional<bool> parse_ews_boolean(std::string_view text) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return std::nullopt;
}

std::optional<int32_t> parse_ews_int(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  int32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view event_kind_text(EventKind kind) {
  return kEventKinds[size_t(kind)];
}
std::optional<EventKind> parse_event_kind(std::string_view text) {
  return index_of<EventKind>(kEventKinds, text);
}

std::string_view item_field_text(ItemField field) {
  return kItemFields[size_t(field)];
}
std::optional<ItemField> parse_item_field(std::string_view text) {
  return index_of<ItemField>(kItemFields, text);
}

void register_ews_error_texts() {
  register_error_text(Domain::ews, "ews", text_of);
}

}  // namespace bellhop::proto
