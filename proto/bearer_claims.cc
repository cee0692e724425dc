// SPDX-License-Identifier: Apache-2.0
#include "proto/bearer_claims.h"

#include "core/base/bytes.h"
#include "proto/gateway_error.h"
#include "proto/json.h"

namespace bellhop::proto {
namespace {

constexpr JsonLimits kLimits{
    .bytes_max = BearerClaims::kTokenBytesMax, .depth_max = 8, .values_max = 512, .members_max = 128};

std::unexpected<Error> refuse() { return fail(gateway_error(GatewayError::token)); }

// Absent is an empty text.
Status read_claim(const JsonObject& claims, std::string_view name, std::string& out) {
  const auto value = claims.string(name);
  if (!value || (*value && (*value)->size() > BearerClaims::kTextBytesMax)) return refuse();
  if (*value) out = **value;
  return {};
}

}  // namespace

std::string_view BearerClaims::user() const {
  for (std::string_view name : {std::string_view(upn), std::string_view(smtp), std::string_view(preferred_username),
                                std::string_view(unique_name)}) {
    if (!name.empty()) return name;
  }
  return {};
}

Result<BearerClaims> read_bearer_claims(std::string_view token) {
  if (token.size() > BearerClaims::kTokenBytesMax) return refuse();
  const size_t first = token.find('.');
  if (first == 0 || first == token.npos) return refuse();
  const size_t second = token.find('.', first + 1);
  if (second == token.npos || token.find('.', second + 1) != token.npos) return refuse();
  auto payload = from_base64url(token.substr(first + 1, second - first - 1));
  if (!payload) return refuse();
  const auto document = JsonDocument::parse(*payload, kLimits);
  wipe(MutableBytes(*payload));
  if (!document) return refuse();
  const JsonObject claims = document->root();
  BearerClaims read;
  BH_CHECKED(read_claim(claims, "upn", read.upn));
  BH_CHECKED(read_claim(claims, "smtp", read.smtp));
  BH_CHECKED(read_claim(claims, "preferred_username", read.preferred_username));
  BH_CHECKED(read_claim(claims, "unique_name", read.unique_name));
  BH_CHECKED(read_claim(claims, "appid", read.app_id));
  if (read.app_id.empty()) BH_CHECKED(read_claim(claims, "azp", read.app_id));
  return read;
}

}  // namespace bellhop::proto
