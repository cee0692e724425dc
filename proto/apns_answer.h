// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/time.h"

namespace bellhop::proto {

// Reasons of APNs, by their names in the provider API.
enum class ApnsReason : uint8_t {
  none,     // no body, or no `reason` in it
  unknown,  // a name that is not in this list: to be logged and counted
  bad_collapse_id,
  bad_device_token,
  bad_expiration_date,
  bad_message_id,
  bad_priority,
  bad_topic,
  device_token_not_for_topic,
  duplicate_headers,
  idle_timeout,
  invalid_push_type,
  missing_device_token,
  missing_topic,
  payload_empty,
  topic_disallowed,
  bad_certificate,
  bad_certificate_environment,
  expired_provider_token,
  forbidden,
  invalid_provider_token,
  missing_provider_token,
  bad_path,
  method_not_allowed,
  expired_token,
  unregistered,
  payload_too_large,
  too_many_provider_token_updates,
  too_many_requests,
  internal_server_error,
  service_unavailable,
  shutdown,
};

// What to do with a push after its answer.
enum class ApnsVerdict : uint8_t {
  delivered,        // APNs took it
  retry,            // later, by the retry rules
  retry_new_token,  // with a provider token made anew
  drop_payload,     // this push can never be taken; the device is fine
  token_gone,       // the device token is dead: forget it
  route_broken,     // configuration or account fault that hits every push of this app: loud, stop, keep the devices
};

struct ApnsReasonInfo {
  ApnsReason reason;
  std::string_view name;  // as APNs writes it
  uint16_t status;        // that APNs sends with it
  ApnsVerdict verdict;    // before the rule of the timestamp; see classify_apns
  bool loud;              // a fault of ours or of the operator, or unknown: log it, do not only count
  std::string_view why;
};

// All named reasons, in the order of the enum, without none and unknown.
std::span<const ApnsReasonInfo> apns_reasons();
const ApnsReasonInfo& apns_reason_info(ApnsReason reason);
ApnsReason apns_reason_of(std::string_view name);

struct ApnsAnswer {
  uint16_t status = 0;
  ApnsReason reason = ApnsReason::none;
  std::optional<WallTime> timestamp;  // with 410: when APNs learned that the token was dead
  std::string unknown_name;           // of ApnsReason::unknown, for the log: printable ASCII, at most 64 bytes
  bool malformed = false;             // the body was not the JSON object that it should be: loud
};

inline constexpr size_t kApnsAnswerBytesMax = 4096;

// Never fails: a body that is not understood leaves `reason` at none, and the status decides. A body of GOAWAY's debug
// data is read the same way, with status 0.
ApnsAnswer parse_apns_answer(uint16_t status, Bytes body);

// `registered_at`: when the device gave us this token. 410 means "gone" only where its timestamp is newer than that;
// an older or missing one says nothing about the registration that we have, and the push is tried again.
// Unknown and absent reasons are judged by their status.
ApnsVerdict classify_apns(const ApnsAnswer& answer, WallTime registered_at);
// True where an operator should see it.
bool apns_answer_loud(const ApnsAnswer& answer);

// Server side: the body of an answer. `timestamp` is written for 410 only.
std::string write_apns_answer(ApnsReason reason, WallTime timestamp);

}  // namespace bellhop::proto
