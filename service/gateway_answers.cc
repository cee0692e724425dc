// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_answers.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "core/base/check.h"
#include "proto/gateway_error.h"
#include "proto/http_error.h"

namespace bellhop::service {
namespace {

using proto::GatewayError;
using proto::HttpError;

// As Exchange itself says it, so that clients understand (MS-OXWSCDATA, ResponseCodeType).
constexpr std::string_view kAccessDenied =
    R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>)"
    R"(<faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:ErrorAccessDenied</faultcode>)"
    R"(<faultstring xml:lang="en-US">Access is denied.</faultstring><detail>)"
    R"(<e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">ErrorAccessDenied</e:ResponseCode>)"
    R"(<e:Message xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">Access is denied.</e:Message>)"
    R"(</detail></s:Fault></s:Body></s:Envelope>)";

uint16_t status_of(GatewayOutcome outcome) {
  switch (outcome) {
    case GatewayOutcome::blocked_policy:
    case GatewayOutcome::blocked_parked:
    case GatewayOutcome::refused_certificate:
    case GatewayOutcome::refused_context:
    case GatewayOutcome::refused_operation: return 403;
    case GatewayOutcome::refused_host: return 421;
    case GatewayOutcome::refused_target: return 404;
    case GatewayOutcome::refused_method: return 405;
    case GatewayOutcome::refused_request:
    case GatewayOutcome::refused_ambiguous:
    case GatewayOutcome::refused_identity: return 400;
    case GatewayOutcome::refused_logon: return 401;
    case GatewayOutcome::refused_encoding: return 415;
    case GatewayOutcome::refused_too_large: return 413;
    case GatewayOutcome::refused_busy:
    case GatewayOutcome::refused_stopping:
    case GatewayOutcome::unavailable_policy:
    case GatewayOutcome::unavailable_logon:
    case GatewayOutcome::unavailable_breaker: return 503;
    case GatewayOutcome::unavailable_upstream:
    case GatewayOutcome::unavailable_redirect: return 502;
    case GatewayOutcome::unavailable_timeout: return 504;
    case GatewayOutcome::client_left: return 0;
    case GatewayOutcome::passed_ok:
    case GatewayOutcome::passed_unauthorized:
    case GatewayOutcome::passed_error:
    case GatewayOutcome::passed_cut: break;
  }
  check_failed("an outcome of a refused request", __FILE__, __LINE__);
}

// One constant for each: nothing that helps an attacker, nothing of the request.
std::string_view text_of(GatewayOutcome outcome) {
  switch (outcome) {
    case GatewayOutcome::refused_host: return "This server does not stand for that host.\n";
    case GatewayOutcome::refused_logon:
      return "NTLM and Negotiate are not accepted here, and neither are credentials that cannot be read. Use Basic, OAuth or a "
             "client certificate.\n";
    case GatewayOutcome::refused_certificate: return "A client certificate of a user who may come in is needed here.\n";
    case GatewayOutcome::refused_identity: return "The request names more than one user or way to log on, or a user by what is no name.\n";
    case GatewayOutcome::refused_encoding: return "A request body must be XML in UTF-8 (EWS) or WBXML (ActiveSync), and not compressed.\n";
    case GatewayOutcome::unavailable_logon: return "The gateway cannot log on for the user now.\n";
    case GatewayOutcome::unavailable_upstream:
    case GatewayOutcome::unavailable_redirect: return "Exchange cannot be reached.\n";
    case GatewayOutcome::unavailable_timeout: return "Exchange did not answer in time.\n";
    default: return "";
  }
}

bool is_denial(GatewayOutcome outcome) {
  return outcome == GatewayOutcome::blocked_policy || outcome == GatewayOutcome::blocked_parked ||
         outcome == GatewayOutcome::refused_operation || outcome == GatewayOutcome::refused_context;
}

GatewayOutcome outcome_of(GatewayError code) {
  switch (code) {
    case GatewayError::not_found: return GatewayOutcome::refused_target;
    case GatewayError::method: return GatewayOutcome::refused_method;
    case GatewayError::malformed:
    case GatewayError::query_refused:
    case GatewayError::query_malformed:
    case GatewayError::parameter:
    case GatewayError::command:
    case GatewayError::device_missing:
    case GatewayError::header_value:
    case GatewayError::headers_too_large:
    case GatewayError::envelope:
    case GatewayError::envelope_too_large:
    case GatewayError::operation: return GatewayOutcome::refused_request;
    case GatewayError::ambiguous:
    case GatewayError::header_repeated:
    case GatewayError::wbxml: return GatewayOutcome::refused_ambiguous;
    case GatewayError::credentials:
    case GatewayError::negotiate_refused:
    case GatewayError::token: return GatewayOutcome::refused_logon;
    case GatewayError::account:
    case GatewayError::contradiction: return GatewayOutcome::refused_identity;
    case GatewayError::content_type: return GatewayOutcome::refused_encoding;
    case GatewayError::soap_header: return GatewayOutcome::refused_operation;
    case GatewayError::location: return GatewayOutcome::unavailable_redirect;
  }
  return GatewayOutcome::refused_request;
}

}  // namespace

GatewayRefusal refusal(GatewayOutcome outcome, Error error) {
  return {.outcome = outcome, .status = status_of(outcome), .error = error};
}

GatewayRefusal refusal_of(const Error& error) {
  if (error.domain == Domain::gateway) {
    auto code = static_cast<GatewayError>(error.code);
    GatewayRefusal refused = refusal(outcome_of(code), error);
    bool refined = refused.outcome == GatewayOutcome::refused_request;  // 413, 431 and 501 among them
    if (refined) refused.status = proto::gateway_error_status(code);
    return refused;
  }
  if (error.domain == Domain::xml || is(error, HttpError::bad_query)) return refusal(GatewayOutcome::refused_request, error);
  if (is(error, HttpError::body_too_large)) return refusal(GatewayOutcome::refused_too_large, error);
  if (error.domain != Domain::http || is(error, HttpError::truncated)) return refusal(GatewayOutcome::client_left, error);
  GatewayRefusal refused = refusal(GatewayOutcome::refused_request, error);
  refused.status = proto::http_error_status(error);
  return refused;
}

Task<Status> respond(HttpExchange& exchange, GatewayAnswer answer) {
  const GatewayRefusal& refused = answer.refusal;
  std::vector<proto::HeaderField> fields;
  std::string retry_after, challenge;
  if (refused.status == 503) {
    retry_after = std::to_string(refused.retry_after_s > 0 ? refused.retry_after_s : answer.retry_after_s);
    fields.push_back({"retry-after", retry_after});
  }
  if (refused.status == 405 && answer.endpoint) fields.push_back({"allow", proto::endpoint_methods(*answer.endpoint)});
  if (refused.status == 401) {
    challenge = fmt::format("Basic realm=\"{}\", charset=\"UTF-8\"", answer.realm);
    fields.push_back({"www-authenticate", challenge});
  }
  HttpResponse response{.status = refused.status, .headers = fields};
  bool soap = answer.endpoint == proto::GatewayEndpoint::ews && refused.status == 403 && is_denial(refused.outcome);
  bool bare = answer.endpoint == proto::GatewayEndpoint::activesync && refused.outcome != GatewayOutcome::refused_logon;
  if (soap) {
    response.content_type = "text/xml; charset=utf-8";
    response.body = kAccessDenied;
  } else if (!bare && !text_of(refused.outcome).empty()) {
    response.content_type = "text/plain; charset=utf-8";
    response.body = text_of(refused.outcome);
  }
  co_return co_await exchange.respond(response);
}

}  // namespace bellhop::service
