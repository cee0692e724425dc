// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "crypto/aead.h"
#include "crypto/es256.h"
#include "crypto/flat_json.h"
#include "crypto/rsa.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// --- JWE compact (RFC 7516 section 3.1): alg RSA-OAEP-256, enc A256GCM, nothing else ---

inline constexpr size_t kJweBytesMax = 64 * 1024;    // of the whole text
inline constexpr size_t kJoseHeaderBytesMax = 1024;  // of a header's JSON

// A JWE whose private-key step is still to be done: decrypt `encrypted_key` by RSAES-OAEP-SHA-256 with an empty label.
struct JweParsed {
  std::string kid;              // may be empty
  std::string associated_data;  // the header as it was sent, base64url
  std::vector<uint8_t> encrypted_key;
  std::array<uint8_t, kAeadNonceBytes> nonce{};
  std::vector<uint8_t> sealed;  // ciphertext ‖ tag
};

// Strict base64url; the header has alg, enc, optionally kid, typ, cty, and nothing else (so no zip and no crit).
// Errors: malformed; unsupported (another alg or enc).
Result<JweParsed> parse_jwe_compact(std::string_view text);
// `cek` is what the private-key step gave, failed or not: where it failed, a random key takes its place, so that both
// failures look alike (RFC 7516 section 11.5). Errors: decrypt_failed.
Result<Secret> jwe_open(const JweParsed& jwe, const Result<Secret>& cek);
// Encrypts to a key; `kid` in the header is the key's id. Errors: too_large (the text would pass kJweBytesMax).
Result<std::string> jwe_encrypt(const RsaPublicKey& key, Bytes plaintext);

// --- JWT signed with ES256 (RFC 7515, 7519; RFC 7518 section 3.4) ---

// header {"alg":"ES256","kid":…}, claims {"iss":…,"iat":…}: what APNs takes as provider token.
// Errors: malformed (a text that is not UTF-8).
Result<std::string> sign_provider_jwt(const Es256PrivateKey& key, std::string_view kid, std::string_view issuer,
                                      int64_t issued_at_unix_s);

// A JWT whose signature is still to be checked: `kid` says with which key.
struct JwtParsed {
  std::string kid;
  FlatJson claims;
  std::string signing_input;
  std::vector<uint8_t> signature;  // r ‖ s, 64 bytes
};
// Errors: malformed; unsupported (alg other than ES256, "none" included).
Result<JwtParsed> parse_jwt(std::string_view text);
// Errors: signature_invalid.
Status verify_jwt(const JwtParsed& jwt, const Es256PublicKey& key);

}  // namespace bellhop::crypto
