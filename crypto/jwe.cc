// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/jose.h"
#include "crypto/jose_parts.h"
#include "crypto/random.h"

namespace bellhop::crypto {
namespace {

constexpr std::string_view kAlgorithm = "RSA-OAEP-256";
constexpr std::string_view kEncryption = "A256GCM";

// Errors: malformed (a member that is none of ours, crit and zip among them), unsupported (another alg or enc).
Result<std::string> read_jwe_header(std::string_view encoded) {
  BH_TRY(const FlatJson header, read_jose_header(encoded));
  for (const auto& member : header.members()) {
    const std::string_view name = member.name;
    if (name != "alg" && name != "enc" && name != "kid" && name != "typ" && name != "cty") {
      return fail(crypto_error(CryptoError::malformed));
    }
    if (!header.text(name)) return fail(crypto_error(CryptoError::malformed));
  }
  const WipingString *alg = header.text("alg"), *enc = header.text("enc"), *kid = header.text("kid");
  if (!alg || !enc) return fail(crypto_error(CryptoError::malformed));
  if (*alg != kAlgorithm || *enc != kEncryption) return fail(crypto_error(CryptoError::unsupported));
  return kid ? std::string(*kid) : std::string();
}

}  // namespace

Result<JweParsed> parse_jwe_compact(std::string_view text) {
  if (text.size() > kJweBytesMax) return fail(crypto_error(CryptoError::malformed));
  BH_TRY(const auto parts, split_compact<5>(text));
  JweParsed jwe;
  BH_TRY(jwe.kid, read_jwe_header(parts[0]));
  jwe.associated_data = parts[0];
  auto key = from_base64url(parts[1]);
  auto ciphertext = from_base64url(parts[3]);
  uint8_t tag[kAeadTagBytes];
  if (!key || key->empty() || !ciphertext || from_base64url(parts[2], jwe.nonce) != kAeadNonceBytes ||
      from_base64url(parts[4], tag) != kAeadTagBytes) {
    return fail(crypto_error(CryptoError::malformed));
  }
  jwe.encrypted_key = *std::move(key);
  jwe.sealed = *std::move(ciphertext);
  jwe.sealed.insert(jwe.sealed.end(), tag, tag + sizeof tag);
  return jwe;
}

Result<Secret> jwe_open(const JweParsed& jwe, const Result<Secret>& cek) {
  const Secret instead = random_secret(kAeadKeyBytes);
  const Secret& key = cek && cek->size() == kAeadKeyBytes ? *cek : instead;
  return aead_open(key.reveal(), jwe.nonce, as_bytes(jwe.associated_data), jwe.sealed);
}

Result<std::string> jwe_encrypt(const RsaPublicKey& key, Bytes plaintext) {
  if (plaintext.size() > kJweBytesMax / 2) {
    return fail(
        crypto_error(CryptoError::too_large, static_cast<uint32_t>(std::min<size_t>(plaintext.size(), UINT32_MAX))));
  }
  const std::string header = R"({"alg":"RSA-OAEP-256","enc":"A256GCM","kid":")" + key.id().text() + "\"}";
  const Secret cek = random_secret(kAeadKeyBytes);
  BH_TRY(const std::vector<uint8_t> encrypted_key, key.encrypt_oaep(cek.reveal(), {}));
  std::array<uint8_t, kAeadNonceBytes> nonce;
  random_bytes(nonce);
  std::string text = to_base64url(as_bytes(header));
  const std::vector<uint8_t> sealed = aead_seal(cek.reveal(), nonce, as_bytes(text), plaintext);
  const Bytes ciphertext = Bytes(sealed).first(plaintext.size()), tag = Bytes(sealed).subspan(plaintext.size());
  text += '.' + to_base64url(encrypted_key) + '.' + to_base64url(nonce) + '.' + to_base64url(ciphertext) + '.' +
          to_base64url(tag);
  BH_CHECK(text.size() <= kJweBytesMax);
  return text;
}

}  // namespace bellhop::crypto
