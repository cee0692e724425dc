// SPDX-License-Identifier: Apache-2.0
#include "crypto/rsa.h"

#include <algorithm>
#include <bit>

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/error.h"
#include "crypto/lane_key.h"

#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

namespace bellhop::crypto {
namespace {

constexpr uint8_t kStoredVersion = 1;
constexpr size_t kStoredHeadBytes = 3;  // version, bits
constexpr size_t stored_bytes(size_t modulus_bytes) {
  return kStoredHeadBytes + modulus_bytes + 5 * (modulus_bytes / 2);
}

using Number = bssl::UniquePtr<BIGNUM>;

Number number_from(Bytes bytes) {
  Number number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
  BH_CHECK(number != nullptr);
  return number;
}

Number public_exponent() {
  Number e(BN_new());
  BH_CHECK(e != nullptr && BN_set_word(e.get(), kRsaExponent) == 1);
  return e;
}

// BoringSSL keeps a queue of errors per thread; what we refuse must not lie there for the next caller.
std::unexpected<Error> refused(CryptoError code) {
  ERR_clear_error();
  return fail(crypto_error(code));
}

bool allowed(const RSA* rsa) {
  const BIGNUM *n = nullptr, *e = nullptr;
  RSA_get0_key(rsa, &n, &e, nullptr);
  return n && e && rsa_bits_allowed(BN_num_bits(n)) && BN_is_odd(n) && BN_is_word(e, kRsaExponent);
}

RsaHandle public_rsa(Bytes modulus) {
  RsaHandle rsa(RSA_new());
  BH_CHECK(rsa != nullptr);
  BH_CHECK(RSA_set0_key(rsa.get(), number_from(modulus).release(), public_exponent().release(), nullptr) == 1);
  return rsa;
}

bssl::UniquePtr<EVP_PKEY> as_evp(RsaHandle rsa) {
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  BH_CHECK(key != nullptr && EVP_PKEY_assign_RSA(key.get(), rsa.get()) == 1);
  (void)rsa.release();
  return key;
}

// The views of a stored key's numbers.
struct StoredParts {
  Bytes d, p, q, dp, dq, qinv;
};
StoredParts split_stored(Bytes stored, size_t modulus_bytes) {
  const size_t half = modulus_bytes / 2;
  Bytes rest = stored.subspan(kStoredHeadBytes);
  auto take = [&rest](size_t size) {
    Bytes part = rest.first(size);
    rest = rest.subspan(size);
    return part;
  };
  return {take(modulus_bytes), take(half), take(half), take(half), take(half), take(half)};
}

}  // namespace

void RsaFree::operator()(rsa_st* rsa) const {
  RSA_free(rsa);
}

std::optional<KeyId> KeyId::from_text(std::string_view text) {
  KeyId id;
  if (text.size() != base64url_size(id.bytes.size())) return std::nullopt;
  if (from_base64url(text, id.bytes) != id.bytes.size()) return std::nullopt;
  return id;
}

Result<RsaPublicKey> RsaPublicKey::from_modulus(Bytes modulus) {
  while (!modulus.empty() && modulus.front() == 0) modulus = modulus.subspan(1);
  const bool size_fits = rsa_bits_allowed(static_cast<unsigned>(modulus.size() * 8)) && modulus.front() >= 0x80;
  if (!size_fits || modulus.back() % 2 == 0) return fail(crypto_error(CryptoError::key_refused));
  RsaPublicKey key;
  key.modulus_.assign(modulus.begin(), modulus.end());
  // RFC 7638 section 3.2: the required members in lexical order, without white space.
  key.id_.bytes = sha256(R"({"e":"AQAB","kty":"RSA","n":")" + to_base64url(modulus) + "\"}");
  return key;
}

Result<RsaPublicKey> RsaPublicKey::from_spki(Bytes der) {
  CBS in;
  CBS_init(&in, der.data(), der.size());
  bssl::UniquePtr<EVP_PKEY> key(EVP_parse_public_key(&in));
  if (!key || CBS_len(&in) != 0) return refused(CryptoError::malformed);
  const RSA* rsa = EVP_PKEY_get0_RSA(key.get());
  if (!rsa || !allowed(rsa)) return refused(CryptoError::key_refused);
  std::vector<uint8_t> modulus(BN_num_bytes(RSA_get0_n(rsa)));
  BN_bn2bin(RSA_get0_n(rsa), modulus.data());
  return from_modulus(modulus);
}

std::vector<uint8_t> RsaPublicKey::spki() const {
  bssl::UniquePtr<EVP_PKEY> key = as_evp(public_rsa(modulus_));
  bssl::ScopedCBB out;
  BH_CHECK(CBB_init(out.get(), 512) && EVP_marshal_public_key(out.get(), key.get()) == 1);
  return {CBB_data(out.get()), CBB_data(out.get()) + CBB_len(out.get())};
}

std::string RsaPublicKey::jwk() const {
  return R"({"kty":"RSA","n":")" + to_base64url(modulus_) + R"(","e":"AQAB","alg":"RSA-OAEP-256","use":"enc","kid":")" +
         id_.text() + "\"}";
}

Result<std::vector<uint8_t>> RsaPublicKey::encrypt_oaep(Bytes message, Bytes label, OaepHashes hashes) const {
  BH_TRY(const Secret encoded, oaep_encode(message, label, modulus_bytes(), hashes));
  const RsaHandle rsa = public_rsa(modulus_);
  std::vector<uint8_t> ciphertext(modulus_bytes());
  size_t size = 0;
  // Cannot fail: the encoded message starts with a zero byte, so it is smaller than the modulus.
  BH_CHECK(RSA_encrypt(rsa.get(), &size, ciphertext.data(), ciphertext.size(), encoded.reveal().data(), encoded.size(),
                       RSA_NO_PADDING) == 1);
  BH_CHECK(size == ciphertext.size());
  return ciphertext;
}

Result<RsaPrivateKey> RsaPrivateKey::from_boringssl(const rsa_st* rsa) {
  if (!allowed(rsa)) return refused(CryptoError::key_refused);
  const BIGNUM *n, *d, *p, *q, *dp, *dq, *qinv;
  RSA_get0_key(rsa, &n, nullptr, &d);
  RSA_get0_factors(rsa, &p, &q);
  RSA_get0_crt_params(rsa, &dp, &dq, &qinv);
  if (!d || !p || !q || !dp || !dq || !qinv) return refused(CryptoError::key_refused);

  const size_t modulus_bytes = BN_num_bytes(n);
  Secret stored = Secret::of_size(stored_bytes(modulus_bytes));
  uint8_t* at = stored.reveal_mutable().data();
  *at++ = kStoredVersion;
  store_be16(at, static_cast<uint16_t>(modulus_bytes * 8));
  at += 2;
  auto put = [&at](const BIGNUM* number, size_t size) {
    const bool fits = BN_bn2bin_padded(at, size, number) == 1;
    at += size;
    return fits;
  };
  const size_t half = modulus_bytes / 2;
  const bool fits =
      put(d, modulus_bytes) && put(p, half) && put(q, half) && put(dp, half) && put(dq, half) && put(qinv, half);
  if (!fits) return refused(CryptoError::key_refused);  // primes of unequal size

  std::vector<uint8_t> modulus(modulus_bytes);
  BN_bn2bin(n, modulus.data());
  BH_TRY(RsaPublicKey public_key, RsaPublicKey::from_modulus(modulus));
  return RsaPrivateKey(std::move(stored), std::move(public_key));
}

Result<RsaPrivateKey> RsaPrivateKey::generate(unsigned bits) {
  if (!rsa_bits_allowed(bits)) return fail(crypto_error(CryptoError::key_refused));
  RsaHandle rsa(RSA_new());
  BH_CHECK(rsa != nullptr);
  const Number e = public_exponent();
  BH_CHECK(RSA_generate_key_ex(rsa.get(), static_cast<int>(bits), e.get(), nullptr) == 1);
  return from_boringssl(rsa.get());
}

Result<RsaPrivateKey> RsaPrivateKey::from_pkcs8(const Secret& der) {
  CBS in;
  CBS_init(&in, der.reveal().data(), der.size());
  bssl::UniquePtr<EVP_PKEY> key(EVP_parse_private_key(&in));  // checks the numbers, too
  if (!key || CBS_len(&in) != 0) return refused(CryptoError::malformed);
  const RSA* rsa = EVP_PKEY_get0_RSA(key.get());
  if (!rsa) return refused(CryptoError::key_refused);
  return from_boringssl(rsa);
}

Result<RsaPrivateKey> RsaPrivateKey::from_components(const RsaComponents& c) {
  RsaHandle rsa(RSA_new());
  BH_CHECK(rsa != nullptr);
  BH_CHECK(
      RSA_set0_key(rsa.get(), number_from(c.n).release(), number_from(c.e).release(), number_from(c.d).release()) == 1);
  BH_CHECK(RSA_set0_factors(rsa.get(), number_from(c.p).release(), number_from(c.q).release()) == 1);
  BH_CHECK(RSA_set0_crt_params(rsa.get(), number_from(c.dp).release(), number_from(c.dq).release(),
                               number_from(c.qinv).release()) == 1);
  // The size first: the check's cost grows with it.
  if (!allowed(rsa.get()) || RSA_check_key(rsa.get()) != 1) return refused(CryptoError::key_refused);
  return from_boringssl(rsa.get());
}

Result<RsaPrivateKey> RsaPrivateKey::from_stored(Secret stored) {
  const Bytes bytes = stored.reveal();
  if (bytes.size() < kStoredHeadBytes || bytes[0] != kStoredVersion) return fail(crypto_error(CryptoError::malformed));
  const unsigned bits = load_be16(bytes.data() + 1);
  if (!rsa_bits_allowed(bits) || bytes.size() != stored_bytes(bits / 8))
    return fail(crypto_error(CryptoError::malformed));

  const StoredParts parts = split_stored(bytes, bits / 8);
  const Number p = number_from(parts.p), q = number_from(parts.q);
  Number n(BN_new());
  bssl::UniquePtr<BN_CTX> scratch(BN_CTX_new());
  BH_CHECK(n != nullptr && scratch != nullptr && BN_mul(n.get(), p.get(), q.get(), scratch.get()) == 1);
  std::vector<uint8_t> modulus(BN_num_bytes(n.get()));
  BN_bn2bin(n.get(), modulus.data());
  auto public_key = RsaPublicKey::from_modulus(modulus);
  if (!public_key || public_key->modulus_bytes() * 8 != bits) return fail(crypto_error(CryptoError::malformed));
  return RsaPrivateKey(std::move(stored), *std::move(public_key));
}

unsigned RsaPrivateKey::bits() const {
  return static_cast<unsigned>(public_key_.modulus_bytes() * 8);
}

RsaHandle RsaPrivateKey::to_boringssl() const {
  const StoredParts parts = split_stored(stored_.reveal(), public_key_.modulus_bytes());
  RsaHandle rsa(RSA_new());
  BH_CHECK(rsa != nullptr);
  BH_CHECK(RSA_set0_key(rsa.get(), number_from(public_key_.modulus()).release(), public_exponent().release(),
                        number_from(parts.d).release()) == 1);
  BH_CHECK(RSA_set0_factors(rsa.get(), number_from(parts.p).release(), number_from(parts.q).release()) == 1);
  BH_CHECK(RSA_set0_crt_params(rsa.get(), number_from(parts.dp).release(), number_from(parts.dq).release(),
                               number_from(parts.qinv).release()) == 1);
  return rsa;
}

Secret RsaPrivateKey::to_pkcs8() const {
  bssl::UniquePtr<EVP_PKEY> key = as_evp(to_boringssl());
  bssl::ScopedCBB out;
  BH_CHECK(CBB_init(out.get(), 4096) && EVP_marshal_private_key(out.get(), key.get()) == 1);
  return Secret::copy_of(Bytes(CBB_data(out.get()), CBB_len(out.get())));  // BoringSSL wipes its copy when it frees it
}

ConvertedKey::ConvertedKey(RsaPrivateKey key) : key_(std::move(key)) {}
ConvertedKey::ConvertedKey(ConvertedKey&&) noexcept = default;
ConvertedKey::~ConvertedKey() = default;

rsa_st* ConvertedKey::rsa() const {
  if (!rsa_) rsa_ = key_.to_boringssl();
  return rsa_.get();
}

const LaneKey& ConvertedKey::lanes() const {
  if (!lanes_) {
    const StoredParts parts = split_stored(key_.stored().reveal(), modulus_bytes());
    lanes_ = std::make_unique<LaneKey>(LaneKey::Numbers{.n = key_.public_key().modulus(),
                                                        .p = parts.p,
                                                        .q = parts.q,
                                                        .dp = parts.dp,
                                                        .dq = parts.dq,
                                                        .qinv = parts.qinv});
  }
  return *lanes_;
}

// Of BoringSSL's structures: the numbers themselves, their fixed-width copies, three Montgomery contexts and one pair of
// blinding values come to about 20 times the modulus. Secrets take blocks of a power of two.
size_t ConvertedKey::memory_bytes() const {
  size_t bytes = sizeof(*this) + std::bit_ceil(key_.stored().size()) + modulus_bytes();
  if (rsa_) bytes += 20 * modulus_bytes();
  if (lanes_) bytes += sizeof(LaneKey) + std::bit_ceil(lanes_->memory_bytes());
  return bytes;
}

}  // namespace bellhop::crypto
