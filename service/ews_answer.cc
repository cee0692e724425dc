// SPDX-License-Identifier: Apache-2.0
#include "service/ews_answer.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/tls/error.h"
#include "proto/http_error.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

using proto::EwsAnswer;
using proto::EwsAnswerKind;
using proto::EwsResponseCode;
using proto::EwsVerdict;

// A date (the other form of RFC 9110 section 10.2.3) is read as "wait": Exchange and IIS send seconds.
std::optional<Duration> parse_retry_after(std::string_view text) {
  if (text.empty()) return std::nullopt;
  auto seconds = parse_decimal(text);
  if (!seconds) return kEwsBackOffDefault;
  return std::chrono::seconds(std::min<uint64_t>(*seconds, 1'000'000));
}

// Response codes are words of letters; what else comes is nobody's to repeat.
std::string clean_code(std::string_view text) {
  std::string clean;
  for (char c : text.substr(0, kEwsCodeTextBytesMax)) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) clean += c;
  }
  return clean;
}

EwsAnswerKind expected_kind(EwsOperation operation) {
  switch (operation) {
    case EwsOperation::subscribe: return EwsAnswerKind::subscribe;
    case EwsOperation::get_item: return EwsAnswerKind::get_item;
    case EwsOperation::find_item: return EwsAnswerKind::find_item;
    case EwsOperation::get_folder: return EwsAnswerKind::get_folder;
  }
  return EwsAnswerKind::other;
}

EwsTrouble trouble(EwsFailureKind kind, EwsResult result, uint16_t status, Error error) {
  EwsTrouble made;
  made.failure.kind = kind;
  made.failure.error = error;
  made.result = result;
  made.status = status;
  return made;
}

EwsTrouble wait(uint16_t status, std::optional<Duration> asked, Duration wait_max) {
  Duration duration = std::clamp(asked.value_or(kEwsBackOffDefault), Duration(1ms), wait_max);
  auto seconds = std::chrono::ceil<std::chrono::seconds>(duration).count();
  EwsTrouble made = trouble(EwsFailureKind::throttled, EwsResult::throttled, status,
                            service_error(ServiceError::exchange_throttled, static_cast<uint32_t>(seconds)));
  made.failure.retry_after = duration;
  made.back_off = true;
  return made;
}

// A code inside a fault or a response message.
struct Refusal {
  EwsResponseCode code = EwsResponseCode::none;
  std::string_view code_text;
  std::optional<uint32_t> back_off_ms;
};

EwsTrouble judge_refusal(const Refusal& refusal, const EwsReceived& received, Duration wait_max) {
  std::optional<Duration> asked = parse_retry_after(received.retry_after);
  if (refusal.back_off_ms) asked = std::chrono::milliseconds(*refusal.back_off_ms);
  bool busy = refusal.back_off_ms || refusal.code == EwsResponseCode::server_busy ||
              refusal.code == EwsResponseCode::exceeded_connection_count;
  EwsVerdict verdict = classify(refusal.code);
  Error error = service_error(ServiceError::exchange_failed, received.status);
  // Exchange throttles with ErrorInternalServerError in a 200 as well; without a hint it may be the mailbox's own
  // trouble, so only this request waits, not the host.
  bool maybe_busy = refusal.code == EwsResponseCode::internal_server_error && received.status == 200;
  EwsTrouble made =
      busy || maybe_busy ? wait(received.status, asked, wait_max)
      : verdict == EwsVerdict::credentials
          ? trouble(EwsFailureKind::unauthorized, EwsResult::unauthorized, received.status,
                    service_error(ServiceError::credentials_refused))
          : trouble(EwsFailureKind::ews_error, EwsResult::ews_error, received.status, error);
  made.back_off = busy;
  made.failure.moved = verdict == EwsVerdict::moved;
  made.failure.code = refusal.code;
  made.failure.code_text = clean_code(refusal.code_text);
  // A fault with status 500 that is no busy signal and no fault of ours is the server's own trouble.
  made.host_failed = !busy && received.status >= 500 && verdict == EwsVerdict::retry_later;
  return made;
}

EwsTrouble judge_status(const EwsReceived& received, Duration wait_max) {
  uint16_t status = received.status;
  std::optional<Duration> asked = parse_retry_after(received.retry_after);
  Error failed = service_error(ServiceError::exchange_failed, status);
  // 403: the account may not use this service. For the account it is as good as a 401: no second try with it.
  if (status == 401 || status == 403) {
    return trouble(EwsFailureKind::unauthorized, EwsResult::unauthorized, status,
                   service_error(ServiceError::credentials_refused));
  }
  if (status == 429) return wait(status, asked, wait_max);
  if (status == 503) {
    EwsTrouble made = wait(status, asked, wait_max);
    made.may_retry = !asked;
    return made;
  }
  bool server_error = status >= 500;
  bool redirect = status >= 301 && status <= 308 && status != 304;
  EwsTrouble made = trouble(server_error ? EwsFailureKind::unavailable : EwsFailureKind::garbage, EwsResult::http_error,
                            status, failed);
  made.host_failed = true;
  made.failure.moved = redirect;
  return made;
}

EwsTrouble garbage(uint16_t status, Error error) {
  EwsTrouble made = trouble(EwsFailureKind::garbage, EwsResult::malformed, status, error);
  made.host_failed = true;
  return made;
}

std::optional<EwsTrouble> judge_messages(EwsOperation operation, const EwsReceived& received, Duration wait_max) {
  bool of_items = operation == EwsOperation::get_item;
  auto good = [of_items](const proto::EwsResponseMessage& message) {
    return (message.response_class != proto::ResponseClass::error && message.code == EwsResponseCode::no_error) ||
           (of_items && classify(message.code) == EwsVerdict::gone);
  };
  // One item that Exchange cannot show says nothing of the others; where it shows none, it is the request.
  bool some_good = of_items && std::ranges::any_of(received.answer->messages, good);
  for (const proto::EwsResponseMessage& message : received.answer->messages) {
    if (good(message) || (some_good && classify(message.code) == EwsVerdict::permanent)) continue;
    return judge_refusal({message.code, message.code_text, message.back_off_ms}, received, wait_max);
  }
  return std::nullopt;
}

}  // namespace

std::string_view ews_operation_name(EwsOperation operation) {
  switch (operation) {
    case EwsOperation::subscribe: return "Subscribe";
    case EwsOperation::get_item: return "GetItem";
    case EwsOperation::find_item: return "FindItem";
    case EwsOperation::get_folder: return "GetFolder";
  }
  return "";
}

bool is_gateway_denial(uint16_t status, std::string_view body) {
  return status == 403 && body.find(":Fault>") != body.npos && body.find(">ErrorAccessDenied<") != body.npos;
}

EwsTrouble denied_by_gateway() {
  return trouble(EwsFailureKind::blocked, EwsResult::blocked, 403, service_error(ServiceError::gateway_denied));
}

bool may_be_ews_answer(uint16_t status) {
  return status == 200 || status == 500 || status == 503;
}

std::optional<EwsTrouble> judge_ews_answer(EwsOperation operation, const EwsReceived& received, Duration wait_max) {
  const EwsAnswer* answer = received.answer;
  if (!may_be_ews_answer(received.status) || (received.status != 200 && !answer)) return judge_status(received, wait_max);
  if (!answer) return garbage(received.status, received.parse_error);
  if (answer->kind == EwsAnswerKind::fault) {
    const proto::EwsFault& fault = answer->fault;
    bool names_nothing = fault.code == EwsResponseCode::none && !fault.back_off_ms;
    if (names_nothing && received.status != 200) return judge_status(received, wait_max);
    if (names_nothing) return garbage(200, service_error(ServiceError::exchange_failed, 200));
    return judge_refusal({fault.code, fault.code_text.empty() ? fault.fault_code : fault.code_text, fault.back_off_ms},
                         received, wait_max);
  }
  if (received.status != 200) return judge_status(received, wait_max);
  if (answer->kind != expected_kind(operation)) {
    return garbage(200, proto::ews_error(proto::EwsError::unexpected_message));
  }
  return judge_messages(operation, received, wait_max);
}

EwsTrouble judge_http_failure(const Http1Failure& failure, bool with_certificate) {
  const Error& error = failure.error;
  // Of TLS 1.3 a refusal comes with what should be the answer. It says something of the user, or of the user's lack of a
  // certificate, and nothing of how the host is.
  if (is_certificate_refusal(error)) {
    return trouble(with_certificate ? EwsFailureKind::unauthorized : EwsFailureKind::unavailable,
                   EwsResult::certificate_refused, 0, error);
  }
  // What a gateway has to be told could not be found out: nothing was sent.
  if (error.domain == Domain::store || error.domain == Domain::crypto) {
    return trouble(EwsFailureKind::unavailable, EwsResult::connect_failed, 0, error);
  }
  bool own_fault = is(error, TlsError::invalid_chain) || is(error, TlsError::invalid_key) ||
                   is(error, TlsError::key_mismatch);
  if (own_fault) return trouble(EwsFailureKind::unauthorized, EwsResult::certificate_refused, 0, error);
  if (is(error, CoreError::canceled)) return trouble(EwsFailureKind::unavailable, EwsResult::timed_out, 0, error);
  if (is(error, ServiceError::address_not_allowed)) {
    return trouble(EwsFailureKind::refused, EwsResult::connect_failed, 0, error);
  }
  EwsTrouble made = trouble(EwsFailureKind::unavailable, EwsResult::http_error, 0, error);
  made.host_failed = true;
  if (failure.stage == Http1Stage::connecting) {
    made.result = EwsResult::connect_failed;
    // A certificate does not change within a second, nor does a proxy's opinion of us.
    bool lasting = error.domain == Domain::tls || is_proxy_fault(error);
    made.may_retry = !lasting || is(error, ServiceError::proxy_unreachable) || is(error, ServiceError::proxy_closed);
    return made;
  }
  if (is(error, proto::HttpError::unwritable)) {
    // An address or user name that no header field can hold: the fault of this request alone.
    made.failure.kind = EwsFailureKind::garbage;
    made.result = EwsResult::malformed;
    made.host_failed = false;
  } else if (is(error, proto::HttpError::body_too_large) || is(error, proto::HttpError::header_too_large)) {
    made.failure.kind = EwsFailureKind::garbage;
    made.result = EwsResult::too_large;
  } else if (error.domain == Domain::http && !is(error, proto::HttpError::truncated)) {
    made.failure.kind = EwsFailureKind::garbage;
    made.result = EwsResult::malformed;
  }
  return made;
}

}  // namespace bellhop::service
