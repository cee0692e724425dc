// SPDX-License-Identifier: Apache-2.0
// Answers of token endpoints, and what Exchange says about bearer tokens.
#include "proto/http.h"
#include "proto/oauth.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

BELLHOP_FUZZ_TARGET(input) {
  if (Result<TokenAnswer> grant = TokenAnswer::parse(200, input)) {
    BH_CHECK(grant->error() == TokenError::none && grant->expires_in_s() <= TokenAnswer::kExpiresInMax_s);
  }
  if (Result<TokenAnswer> refusal = TokenAnswer::parse(400, input)) BH_CHECK(refusal->error() != TokenError::none);
  HeaderBlock headers;
  if (!headers.add("www-authenticate", as_text(input))) return;
  if (std::optional<BearerChallenge> challenge = find_bearer_challenge(headers)) {
    BH_CHECK(challenge->claims.size() <= kClaimsBytesMax);
    BH_CHECK(challenge->claims.empty() || JsonDocument::parse(challenge->claims));
  }
}
