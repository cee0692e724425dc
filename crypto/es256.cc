// SPDX-License-Identifier: Apache-2.0
#include "crypto/es256.h"

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/error.h"
#include "crypto/hash.h"

#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>

namespace bellhop::crypto {
namespace {

constexpr std::string_view kPemBegin = "-----BEGIN PRIVATE KEY-----";
constexpr std::string_view kPemEnd = "-----END PRIVATE KEY-----";
constexpr size_t kPemBytesMax = 4096;
constexpr size_t kPemLineBytes = 64;
constexpr size_t kScalarBytes = 32;

std::unexpected<Error> refused(CryptoError code) {
  ERR_clear_error();
  return fail(crypto_error(code));
}

EcKeyHandle new_p256() {
  EcKeyHandle key(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
  BH_CHECK(key != nullptr);
  return key;
}

// The EC_KEY inside, shared; null where it is another algorithm or curve.
EcKeyHandle p256_of(EVP_PKEY* evp) {
  EC_KEY* key = EVP_PKEY_get0_EC_KEY(evp);
  if (!key || EC_GROUP_get_curve_name(EC_KEY_get0_group(key)) != NID_X9_62_prime256v1) return nullptr;
  EC_KEY_up_ref(key);
  return EcKeyHandle(key);
}

bssl::UniquePtr<EVP_PKEY> as_evp(const EcKeyHandle& key) {
  bssl::UniquePtr<EVP_PKEY> evp(EVP_PKEY_new());
  BH_CHECK(evp != nullptr && EVP_PKEY_set1_EC_KEY(evp.get(), key.get()) == 1);
  return evp;
}

bool verify_parsed(const EcKeyHandle& key, Bytes message, const ECDSA_SIG* signature) {
  const Digest digest = sha256(message);
  const bool good = ECDSA_do_verify(digest.data(), digest.size(), signature, key.get()) == 1;
  if (!good) ERR_clear_error();
  return good;
}

// The base64 between the two marker lines, line breaks removed. Nothing where the markers are not there once, in order.
std::optional<WipingBytes> pem_body(std::string_view pem) {
  if (pem.size() > kPemBytesMax) return std::nullopt;
  const size_t begin = pem.find(kPemBegin);
  if (begin == std::string_view::npos) return std::nullopt;
  const size_t body = begin + kPemBegin.size();
  const size_t end = pem.find(kPemEnd, body);
  if (end == std::string_view::npos || pem.find(kPemBegin, body) != std::string_view::npos) return std::nullopt;
  WipingBytes text;
  text.reserve(end - body);
  for (char c : pem.substr(body, end - body)) {
    if (c != '\n' && c != '\r') text.push_back(static_cast<uint8_t>(c));
  }
  return text;
}

}  // namespace

void EcKeyFree::operator()(ec_key_st* key) const {
  EC_KEY_free(key);
}

Result<Es256PublicKey> Es256PublicKey::from_spki(Bytes der) {
  CBS in;
  CBS_init(&in, der.data(), der.size());
  bssl::UniquePtr<EVP_PKEY> evp(EVP_parse_public_key(&in));
  if (!evp || CBS_len(&in) != 0) return refused(CryptoError::malformed);
  EcKeyHandle key = p256_of(evp.get());
  if (!key) return refused(CryptoError::key_refused);
  return Es256PublicKey(std::move(key));
}

std::vector<uint8_t> Es256PublicKey::spki() const {
  bssl::ScopedCBB out;
  BH_CHECK(CBB_init(out.get(), 128) && EVP_marshal_public_key(out.get(), as_evp(key_).get()) == 1);
  return {CBB_data(out.get()), CBB_data(out.get()) + CBB_len(out.get())};
}

bool Es256PublicKey::verify(Bytes message, Bytes signature) const {
  if (signature.size() != 2 * kScalarBytes) return false;
  bssl::UniquePtr<ECDSA_SIG> parsed(ECDSA_SIG_new());
  BH_CHECK(parsed != nullptr);
  BIGNUM* r = BN_bin2bn(signature.data(), kScalarBytes, nullptr);
  BIGNUM* s = BN_bin2bn(signature.data() + kScalarBytes, kScalarBytes, nullptr);
  BH_CHECK(r != nullptr && s != nullptr && ECDSA_SIG_set0(parsed.get(), r, s) == 1);
  return verify_parsed(key_, message, parsed.get());
}

bool Es256PublicKey::verify_der(Bytes message, Bytes signature) const {
  bssl::UniquePtr<ECDSA_SIG> parsed(ECDSA_SIG_from_bytes(signature.data(), signature.size()));
  if (!parsed) {
    ERR_clear_error();
    return false;
  }
  return verify_parsed(key_, message, parsed.get());
}

Result<Es256PrivateKey> Es256PrivateKey::from_pem(std::string_view pem) {
  const auto body = pem_body(pem);
  if (!body) return refused(CryptoError::malformed);
  const auto der = secret_from_base64(as_text(*body));
  if (!der) return refused(CryptoError::malformed);
  CBS in;
  CBS_init(&in, der->reveal().data(), der->size());
  bssl::UniquePtr<EVP_PKEY> evp(EVP_parse_private_key(&in));
  if (!evp || CBS_len(&in) != 0) return refused(CryptoError::malformed);
  EcKeyHandle key = p256_of(evp.get());
  if (!key) return refused(CryptoError::key_refused);
  return Es256PrivateKey(std::move(key));
}

Es256PrivateKey Es256PrivateKey::generate() {
  EcKeyHandle key = new_p256();
  BH_CHECK(EC_KEY_generate_key(key.get()) == 1);
  return Es256PrivateKey(std::move(key));
}

Secret Es256PrivateKey::to_pem() const {
  bssl::ScopedCBB out;
  BH_CHECK(CBB_init(out.get(), 256) && EVP_marshal_private_key(out.get(), as_evp(key_).get()) == 1);
  const Secret text = base64_of(Secret::copy_of(Bytes(CBB_data(out.get()), CBB_len(out.get()))));
  SecretBuffer pem(kPemBytesMax);
  bool fits = pem.append(kPemBegin) && pem.append("\n");
  for (size_t at = 0; at < text.size(); at += kPemLineBytes) {
    fits = fits && pem.append(text.reveal_text().substr(at, kPemLineBytes)) && pem.append("\n");
  }
  BH_CHECK(fits && pem.append(kPemEnd) && pem.append("\n"));
  return pem.finish();
}

Es256PublicKey Es256PrivateKey::public_key() const {
  EcKeyHandle key = new_p256();
  BH_CHECK(EC_KEY_set_public_key(key.get(), EC_KEY_get0_public_key(key_.get())) == 1);
  return Es256PublicKey(std::move(key));
}

Es256Signature Es256PrivateKey::sign(Bytes message) const {
  const Digest digest = sha256(message);
  bssl::UniquePtr<ECDSA_SIG> made(ECDSA_do_sign(digest.data(), digest.size(), key_.get()));
  BH_CHECK(made != nullptr);
  Es256Signature signature;
  BH_CHECK(BN_bn2bin_padded(signature.data(), kScalarBytes, ECDSA_SIG_get0_r(made.get())) == 1);
  BH_CHECK(BN_bn2bin_padded(signature.data() + kScalarBytes, kScalarBytes, ECDSA_SIG_get0_s(made.get())) == 1);
  return signature;
}

}  // namespace bellhop::crypto
