// SPDX-License-Identifier: Apache-2.0
#include "proto/oauth.h"

#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "proto/wiping_buffer.h"

namespace bellhop::proto {
namespace {

// What application/x-www-form-urlencoded leaves as it is.
bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

void append_encoded(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  for (char c : text) {
    if (is_unreserved(c)) {
      out += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
}

void append_parameter(std::string& out, std::string_view name, std::string_view value) {
  if (value.empty()) return;
  out += '&';
  out += name;
  out += '=';
  append_encoded(out, value);
}

TokenError token_error_of(std::string_view text) {
  if (text == "invalid_grant") return TokenError::invalid_grant;
  if (text == "interaction_required" || text == "consent_required" || text == "login_required") {
    return TokenError::interaction_required;
  }
  if (text == "temporarily_unavailable" || text == "server_error") return TokenError::unavailable;
  return TokenError::invalid_client;
}

// A number, or the digits of one as some endpoints write them.
Result<uint32_t> read_expires_in(const JsonObject& object) {
  auto value = object.find("expires_in");
  if (!value || value->kind() == JsonKind::null) return 0u;
  uint64_t seconds = 0;
  if (value->kind() == JsonKind::string) {
    BH_TRY(std::string_view text, value->string());
    auto digits = parse_decimal(text);
    if (!digits) return fail(json_error(JsonError::wrong_type));
    seconds = *digits;
  } else {
    BH_TRY(double number, value->number());
    if (!(number >= 0)) return fail(json_error(JsonError::wrong_type));
    seconds = static_cast<uint64_t>(std::min(number, static_cast<double>(TokenAnswer::kExpiresInMax_s)));
  }
  return static_cast<uint32_t>(std::min<uint64_t>(seconds, TokenAnswer::kExpiresInMax_s));
}

}  // namespace

void write_refresh_request(const RefreshRequest& request, std::string& out) {
  constexpr size_t kNamesMax = 128;
  // Three bytes for each, so that nothing moves while a secret is in it.
  grow_wiped(out, kNamesMax + 3 * (request.refresh_token.size() + request.client_id.size() + request.scope.size() +
                                   request.claims.size()));
  out += "grant_type=refresh_token";
  append_parameter(out, "refresh_token", request.refresh_token);
  append_parameter(out, "client_id", request.client_id);
  append_parameter(out, "scope", request.scope);
  append_parameter(out, "claims", request.claims);
}

std::string_view token_error_name(TokenError error) {
  switch (error) {
    case TokenError::none:
      return "none";
    case TokenError::invalid_grant:
      return "invalid_grant";
    case TokenError::interaction_required:
      return "interaction_required";
    case TokenError::invalid_client:
      return "invalid_client";
    case TokenError::unavailable:
      return "unavailable";
  }
  return "";
}

Result<TokenAnswer> TokenAnswer::parse(uint16_t status, Bytes body) {
  BH_TRY(JsonDocument document, JsonDocument::parse(body, kLimits));
  TokenAnswer answer(std::move(document));
  BH_CHECKED(status == 200 ? answer.read_grant() : answer.read_refusal());
  return answer;
}

Status TokenAnswer::read_grant() {
  const JsonObject object = document_.root();
  BH_TRY(access_token_, object.required_string("access_token"));
  BH_TRY(const std::string_view type, object.required_string("token_type"));
  if (!ascii_equal_ignoring_case(type, "bearer")) return fail(json_error(JsonError::wrong_type));
  BH_TRY(const std::optional<std::string_view> refresh_token, object.string("refresh_token"));
  refresh_token_ = refresh_token.value_or(std::string_view());
  BH_TRY(expires_in_s_, read_expires_in(object));
  return {};
}

Status TokenAnswer::read_refusal() {
  BH_TRY(const std::string_view error, document_.root().required_string("error"));
  error_ = token_error_of(error);
  return {};
}

}  // namespace bellhop::proto
