// SPDX-License-Identifier: Apache-2.0
#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/jose.h"
#include "crypto/jose_parts.h"

namespace bellhop::crypto {
namespace {

constexpr size_t kJwtBytesMax = 8 * 1024;
constexpr size_t kJwtClaimsBytesMax = 4 * 1024;

std::string encode_part(const WipingString& json) {
  return to_base64url(as_bytes(std::string_view(json)));
}

}  // namespace

Result<std::string> sign_provider_jwt(const Es256PrivateKey& key, std::string_view kid, std::string_view issuer,
                                      int64_t issued_at_unix_s) {
  if (!utf8_valid(kid) || !utf8_valid(issuer)) return fail(crypto_error(CryptoError::malformed));
  WipingString header = R"({"alg":"ES256","kid":)";
  append_json_string(header, kid);
  header += '}';
  WipingString claims = R"({"iss":)";
  append_json_string(claims, issuer);
  claims += R"(,"iat":)";
  claims += std::to_string(issued_at_unix_s);
  claims += '}';
  std::string text = encode_part(header) + '.' + encode_part(claims);
  const Es256Signature signature = key.sign(as_bytes(text));
  return text + '.' + to_base64url(signature);
}

Result<JwtParsed> parse_jwt(std::string_view text) {
  if (text.size() > kJwtBytesMax) return fail(crypto_error(CryptoError::malformed));
  BH_TRY(const auto parts, split_compact<3>(text));
  BH_TRY(const FlatJson header, read_jose_header(parts[0]));
  const WipingString *alg = header.text("alg"), *kid = header.text("kid");
  if (!alg || header.has("crit")) return fail(crypto_error(CryptoError::malformed));
  if (*alg != "ES256") return fail(crypto_error(CryptoError::unsupported));
  JwtParsed jwt;
  if (kid) jwt.kid = *kid;
  BH_TRY(jwt.claims, read_jose_part(parts[1], kJwtClaimsBytesMax));
  auto signature = from_base64url(parts[2]);
  if (!signature || signature->size() != Es256Signature().size()) return fail(crypto_error(CryptoError::malformed));
  jwt.signature = *std::move(signature);
  jwt.signing_input = text.substr(0, parts[0].size() + 1 + parts[1].size());
  return jwt;
}

Status verify_jwt(const JwtParsed& jwt, const Es256PublicKey& key) {
  if (!key.verify(as_bytes(jwt.signing_input), jwt.signature))
    return fail(crypto_error(CryptoError::signature_invalid));
  return {};
}

}  // namespace bellhop::crypto
