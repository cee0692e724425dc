// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace bellhop::proto {

// Who a bearer token says that it is for. Not verified: Exchange does that. For policy it is what the client claims, as
// the user name of Basic is, and it must agree with everything else that the request says.
struct BearerClaims {
  static constexpr size_t kTokenBytesMax = 16 * 1024;
  static constexpr size_t kTextBytesMax = 256;

  std::string upn, preferred_username, unique_name, smtp;
  std::string app_id;  // appid (v1.0 tokens) or azp (v2.0)

  // The first of upn, smtp, preferred_username and unique_name that is there; empty: the token names nobody.
  std::string_view user() const;
};

// `token` is a JWT (RFC 7519) in compact form, signed or not; its payload is read alone. Encrypted and opaque tokens cannot
// be read. Errors: GatewayError::token (too large, not a JWT, claims of another type, repeated or too long).
Result<BearerClaims> read_bearer_claims(std::string_view token);

}  // namespace bellhop::proto
