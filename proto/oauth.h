// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "proto/http.h"
#include "proto/json.h"

namespace bellhop::proto {

// The refresh grant of OAuth 2.0 (RFC 6749 section 6) as a public client makes it, and what a resource server says
// about a bearer token (RFC 6750 section 3).

inline constexpr std::string_view kFormMediaType = "application/x-www-form-urlencoded";

struct RefreshRequest {
  std::string_view refresh_token;
  std::string_view client_id;
  std::string_view scope;   // empty: what was granted first
  std::string_view claims;  // JSON that a resource server asked for (OpenID Connect Core section 5.5); empty: none
};
// Appends the form of the request. It holds a secret: the memory that `out` outgrows is wiped, the rest is the
// caller's.
void write_refresh_request(const RefreshRequest& request, std::string& out);

// Why a token endpoint says no (RFC 6749 section 5.2).
enum class TokenError : uint8_t {
  none,
  invalid_grant,         // the refresh token is expired, revoked or spent
  interaction_required,  // so are consent_required and login_required: only the user can help
  invalid_client,        // so are unauthorized_client, invalid_scope, invalid_request, unsupported_grant_type, others
  unavailable,           // temporarily_unavailable, server_error: later, perhaps
};
std::string_view token_error_name(TokenError error);

// The answer of a token endpoint. Its texts are views into it and wiped with it.
class TokenAnswer {
 public:
  static constexpr uint32_t kExpiresInMax_s = 24 * 60 * 60;  // more is taken as this
  static constexpr JsonLimits kLimits{.bytes_max = 64 * 1024, .depth_max = 8, .values_max = 512, .members_max = 64};

  // 200: a grant, else malformed (also where token_type is not Bearer). Any other status: a refusal with its error,
  // else malformed. Errors: json; JsonError::missing_member, wrong_type.
  static Result<TokenAnswer> parse(uint16_t status, Bytes body);

  TokenError error() const { return error_; }  // none: a grant
  std::string_view access_token() const { return access_token_; }
  std::string_view refresh_token() const { return refresh_token_; }  // empty: the old one stays
  uint32_t expires_in_s() const { return expires_in_s_; }            // 0: it was not said

 private:
  explicit TokenAnswer(JsonDocument document) : document_(std::move(document)) {}
  Status read_grant();
  Status read_refusal();

  JsonDocument document_;
  TokenError error_ = TokenError::none;
  std::string_view access_token_, refresh_token_;
  uint32_t expires_in_s_ = 0;
};

// What the WWW-Authenticate fields of an answer say under the scheme Bearer.
struct BearerChallenge {
  bool token_refused = false;  // error is invalid_token or insufficient_claims: another token may do
  std::string claims;          // JSON to be passed on to the token endpoint; empty: none
};
inline constexpr size_t kClaimsBytesMax = 4096;

// Reads every challenge of every field (RFC 9110 section 11.6.1). A field that breaks the grammar ends there; claims
// that are not base64 of a JSON object within the bound are left out. Nothing where Bearer is not offered.
std::optional<BearerChallenge> find_bearer_challenge(const HeaderBlock& headers);

}  // namespace bellhop::proto
