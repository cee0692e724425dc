// SPDX-License-Identifier: Apache-2.0
#include "proto/apns_answer.h"

#include <simdjson.h>

#include <array>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

using enum ApnsVerdict;
constexpr size_t kUnknownNameBytesMax = 64;
constexpr uint16_t kGone = 410;

// Whom a fault hits decides: one push (drop_payload), one device (token_gone), every push of the app (route_broken).
constexpr auto kReasons = std::to_array<ApnsReasonInfo>({
    {ApnsReason::bad_collapse_id, "BadCollapseId", 400, drop_payload, true, "we made a collapse id that is too long"},
    {ApnsReason::bad_device_token, "BadDeviceToken", 400, token_gone, false,
     "the token is malformed, or of the other environment; it will never work on this route"},
    {ApnsReason::bad_expiration_date, "BadExpirationDate", 400, drop_payload, true, "we made a bad expiration"},
    {ApnsReason::bad_message_id, "BadMessageId", 400, drop_payload, true, "we made a bad apns-id"},
    {ApnsReason::bad_priority, "BadPriority", 400, drop_payload, true, "we made a bad priority"},
    {ApnsReason::bad_topic, "BadTopic", 400, route_broken, true, "the configured topic is not valid"},
    {ApnsReason::device_token_not_for_topic, "DeviceTokenNotForTopic", 400, token_gone, true,
     "the token belongs to another app than the one that the device registered with; loud, as a wrong topic looks the "
     "same"},
    {ApnsReason::duplicate_headers, "DuplicateHeaders", 400, drop_payload, true, "we sent a field twice"},
    {ApnsReason::idle_timeout, "IdleTimeout", 400, retry, false,
     "the connection was closed for idleness; nothing was done"},
    {ApnsReason::invalid_push_type, "InvalidPushType", 400, drop_payload, true,
     "we made a push type that does not fit"},
    {ApnsReason::missing_device_token, "MissingDeviceToken", 400, drop_payload, true, "we made a path without a token"},
    {ApnsReason::missing_topic, "MissingTopic", 400, route_broken, true,
     "the certificate holds several topics and none is configured"},
    {ApnsReason::payload_empty, "PayloadEmpty", 400, drop_payload, true, "we sent no payload"},
    {ApnsReason::topic_disallowed, "TopicDisallowed", 400, route_broken, true, "the key may not push to the topic"},
    {ApnsReason::bad_certificate, "BadCertificate", 403, route_broken, true, "the provider certificate is not valid"},
    {ApnsReason::bad_certificate_environment, "BadCertificateEnvironment", 403, route_broken, true,
     "the provider certificate is for the other environment"},
    {ApnsReason::expired_provider_token, "ExpiredProviderToken", 403, retry_new_token, false,
     "our JWT is older than an hour: make a new one"},
    {ApnsReason::forbidden, "Forbidden", 403, route_broken, true, "the account may not do this"},
    {ApnsReason::invalid_provider_token, "InvalidProviderToken", 403, route_broken, true,
     "key, key id or team id do not fit; a new token from the same key would not help"},
    {ApnsReason::missing_provider_token, "MissingProviderToken", 403, route_broken, true,
     "no key is configured and no certificate was sent"},
    {ApnsReason::bad_path, "BadPath", 404, drop_payload, true, "we made a path that APNs does not know"},
    {ApnsReason::method_not_allowed, "MethodNotAllowed", 405, drop_payload, true, "we did not send POST"},
    {ApnsReason::expired_token, "ExpiredToken", 410, token_gone, false, "the device token has expired"},
    {ApnsReason::unregistered, "Unregistered", 410, token_gone, false, "the app is gone from the device"},
    {ApnsReason::payload_too_large, "PayloadTooLarge", 413, drop_payload, true, "we made a payload over 4096 bytes"},
    {ApnsReason::too_many_provider_token_updates, "TooManyProviderTokenUpdates", 429, retry, true,
     "we change the JWT more often than every 20 minutes: wait, and keep the one that we have"},
    {ApnsReason::too_many_requests, "TooManyRequests", 429, retry, false, "too many pushes to this one device: wait"},
    {ApnsReason::internal_server_error, "InternalServerError", 500, retry, false, "a fault of APNs"},
    {ApnsReason::service_unavailable, "ServiceUnavailable", 503, retry, false, "APNs is overloaded"},
    {ApnsReason::shutdown, "Shutdown", 503, retry, false, "this server of APNs goes away: use another connection"},
});

constexpr ApnsReasonInfo kNone = {ApnsReason::none, "", 0, retry, false, "no reason given: the status decides"};
constexpr ApnsReasonInfo kUnknown = {
    ApnsReason::unknown, "", 0, retry, true, "a reason that we do not know: the status decides"};

// For answers without a reason that we know. Nothing may get lost, and no device be forgotten, on a mere guess.
ApnsVerdict verdict_of_status(uint16_t status) {
  switch (status) {
    case 200:
      return delivered;
    case 403:
      return route_broken;
    case 400:
    case 404:
    case 405:
    case 413:
      return drop_payload;
    case kGone:
      return token_gone;
    default:
      break;
  }
  // 429 and 5xx ask for patience. Anything else does not come from APNs: something in between answers.
  return status == 429 || (status >= 500 && status <= 599) ? retry : route_broken;
}

std::string printable(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, kUnknownNameBytesMax)) out.push_back(c > 0x20 && c < 0x7f ? c : '?');
  return out;
}

// False where the document is not an object with a string `reason` and, if at all, an integer `timestamp`.
bool read_body(ApnsAnswer& answer, Bytes body) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  simdjson::padded_string text(as_text(body));
  if (parser.parse(text).get_object().get(object) != simdjson::SUCCESS) return false;
  bool reason_seen = false;
  for (auto [name, value] : object) {
    if (name == "reason") {
      std::string_view reason;
      if (reason_seen || value.get_string().get(reason) != simdjson::SUCCESS) return false;
      reason_seen = true;
      answer.reason = apns_reason_of(reason);
      if (answer.reason == ApnsReason::unknown) answer.unknown_name = printable(reason);
    } else if (name == "timestamp") {
      int64_t milliseconds = 0;
      if (answer.timestamp || value.get_int64().get(milliseconds) != simdjson::SUCCESS || milliseconds < 0)
        return false;
      answer.timestamp = WallTime(std::chrono::milliseconds(milliseconds));
    }
  }
  return reason_seen;
}

}  // namespace

std::span<const ApnsReasonInfo> apns_reasons() {
  return kReasons;
}

const ApnsReasonInfo& apns_reason_info(ApnsReason reason) {
  if (reason == ApnsReason::none) return kNone;
  if (reason == ApnsReason::unknown) return kUnknown;
  const ApnsReasonInfo& info = kReasons[static_cast<size_t>(reason) - static_cast<size_t>(ApnsReason::bad_collapse_id)];
  BH_CHECK(info.reason == reason);
  return info;
}

ApnsReason apns_reason_of(std::string_view name) {
  for (const ApnsReasonInfo& info : kReasons) {
    if (info.name == name) return info.reason;
  }
  return ApnsReason::unknown;
}

ApnsAnswer parse_apns_answer(uint16_t status, Bytes body) {
  ApnsAnswer answer{.status = status};
  if (body.empty()) return answer;
  if (body.size() > kApnsAnswerBytesMax || !read_body(answer, body)) {
    answer = {.status = status};
    answer.malformed = true;
  }
  return answer;
}

ApnsVerdict classify_apns(const ApnsAnswer& answer, WallTime registered_at) {
  if (answer.status == 200) return delivered;
  bool named = answer.reason != ApnsReason::none && answer.reason != ApnsReason::unknown;
  ApnsVerdict verdict = named ? apns_reason_info(answer.reason).verdict : verdict_of_status(answer.status);
  bool by_time =
      answer.status == kGone || answer.reason == ApnsReason::expired_token || answer.reason == ApnsReason::unregistered;
  if (verdict == token_gone && by_time && (!answer.timestamp || *answer.timestamp <= registered_at)) return retry;
  return verdict;
}

bool apns_answer_loud(const ApnsAnswer& answer) {
  if (answer.malformed || apns_reason_info(answer.reason).loud) return true;
  bool named = answer.reason != ApnsReason::none;
  if (named) return answer.status != apns_reason_info(answer.reason).status && answer.status != 0;
  ApnsVerdict verdict = verdict_of_status(answer.status);
  return verdict == drop_payload || verdict == route_broken;
}

std::string write_apns_answer(ApnsReason reason, WallTime timestamp) {
  const ApnsReasonInfo& info = apns_reason_info(reason);
  std::string out = "{\"reason\":\"" + std::string(info.name) + "\"";
  if (info.status == kGone) out += ",\"timestamp\":" + std::to_string(timestamp.time_since_epoch().count());
  return out + "}";
}

}  // namespace bellhop::proto
