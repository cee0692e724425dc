// SPDX-License-Identifier: Apache-2.0
#include "service/grant_answer.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "crypto/record.h"
#include "proto/http_error.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

constexpr Duration kWaitDefault = 1s;

GrantTrouble trouble(GrantFailureKind kind, GrantResult result, uint16_t status, Error error) {
  GrantTrouble made;
  made.failure.kind = kind;
  made.failure.error = error;
  made.result = result;
  made.status = status;
  return made;
}

GrantTrouble unreadable(uint16_t status, Error error) {
  GrantTrouble made = trouble(GrantFailureKind::garbage, GrantResult::malformed, status, error);
  made.failure.maybe_spent = status >= 200 && status < 300;
  made.host_failed = true;
  return made;
}

GrantTrouble wait(uint16_t status, std::string_view retry_after, Duration wait_max) {
  GrantTrouble made = trouble(GrantFailureKind::throttled, GrantResult::throttled, status,
                              service_error(ServiceError::token_endpoint_failed, status));
  Duration asked = kWaitDefault;
  if (auto seconds = parse_decimal(retry_after)) asked = std::chrono::seconds(std::min<uint64_t>(*seconds, 1'000'000));
  made.failure.retry_after = std::clamp(asked, Duration(1ms), wait_max);
  return made;
}

GrantTrouble server_error(uint16_t status) {
  GrantTrouble made = trouble(GrantFailureKind::unavailable, GrantResult::http_error, status,
                              service_error(ServiceError::token_endpoint_failed, status));
  made.failure.maybe_spent = status == 502 || status == 504;
  made.host_failed = true;
  return made;
}

GrantTrouble refusal(uint16_t status, Bytes body) {
  if (status >= 300 && status < 400) {
    GrantTrouble made = trouble(GrantFailureKind::garbage, GrantResult::redirected, status,
                                service_error(ServiceError::token_endpoint_failed, status));
    made.host_failed = true;
    return made;
  }
  Result<proto::TokenAnswer> answer = proto::TokenAnswer::parse(status, body);
  if (!answer) {
    GrantTrouble made = unreadable(status, answer.error());
    if (status >= 400) made.failure.error = service_error(ServiceError::token_endpoint_failed, status);
    return made;
  }
  bool later = answer->error() == proto::TokenError::unavailable;
  GrantTrouble made = later ? server_error(status)
                            : trouble(GrantFailureKind::refused, GrantResult::refused, status,
                                      service_error(ServiceError::grant_refused, status));
  made.failure.maybe_spent = false;
  made.token_error = answer->error();
  return made;
}

}  // namespace

std::expected<Granted, GrantTrouble> judge_grant_answer(uint16_t status, std::string_view retry_after, Bytes body,
                                                        Duration wait_max) {
  if (status == 429 || (status == 503 && !retry_after.empty())) {
    return std::unexpected(wait(status, retry_after, wait_max));
  }
  if (status >= 500) return std::unexpected(server_error(status));
  if (status != 200) return std::unexpected(refusal(status, body));
  Result<proto::TokenAnswer> answer = proto::TokenAnswer::parse(status, body);
  if (!answer) return std::unexpected(unreadable(status, answer.error()));
  bool usable = crypto::is_access_token(answer->access_token()) &&
                (answer->refresh_token().empty() || crypto::is_refresh_token(answer->refresh_token()));
  if (!usable) return std::unexpected(unreadable(status, service_error(ServiceError::token_endpoint_failed, status)));
  Granted granted;
  granted.access_token = crypto::Secret::copy_of(answer->access_token());
  if (!answer->refresh_token().empty()) granted.refresh_token = crypto::Secret::copy_of(answer->refresh_token());
  granted.lifetime =
      answer->expires_in_s() == 0 ? kTokenLifetimeDefault : Duration(std::chrono::seconds(answer->expires_in_s()));
  return granted;
}

GrantTrouble judge_grant_failure(const Error& error, bool sent) {
  GrantTrouble made = trouble(GrantFailureKind::unavailable, GrantResult::http_error, 0, error);
  made.failure.maybe_spent = sent;
  made.host_failed = true;
  if (is(error, ServiceError::address_not_allowed)) {
    made.failure.kind = GrantFailureKind::not_allowed;
    made.result = GrantResult::not_allowed;
    made.host_failed = false;
  } else if (is(error, CoreError::canceled) || is(error, CoreError::timed_out)) {
    made.result = GrantResult::timed_out;
  } else if (!sent) {
    made.result = GrantResult::connect_failed;
  } else if (is(error, proto::HttpError::unwritable)) {
    // A client id or scope that no request can hold: nothing was sent.
    made.failure.kind = GrantFailureKind::garbage;
    made.result = GrantResult::malformed;
    made.failure.maybe_spent = made.host_failed = false;
  } else if (is(error, proto::HttpError::body_too_large) || is(error, proto::HttpError::header_too_large)) {
    made.failure.kind = GrantFailureKind::garbage;
    made.result = GrantResult::too_large;
  } else if (error.domain == Domain::http && !is(error, proto::HttpError::truncated)) {
    made.failure.kind = GrantFailureKind::garbage;
    made.result = GrantResult::malformed;
  }
  return made;
}

}  // namespace bellhop::service
