// SPDX-License-Identifier: Apache-2.0
#include "crypto/pkcs12_walk.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "crypto/boringssl.h"
#include "crypto/error.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pkcs8.h>

// Two functions that BoringSSL's own PKCS#12 reader is made of, and that its public headers leave out. With the reader
// alone a bound on iterations would not hold: it takes 100 million for each part and sees the inner ones too late.
extern "C" {
// An AlgorithmIdentifier's content (PBES1 or PBES2), a password and a ciphertext to a plaintext of OPENSSL_malloc.
int pkcs8_pbe_decrypt(uint8_t** out, size_t* out_len, CBS* algorithm, const char* pass, size_t pass_len,
                      const uint8_t* in, size_t in_len);
// BER to DER; `*out_storage` is to be freed.
int CBS_asn1_ber_to_der(CBS* in, CBS* out, uint8_t** out_storage);
}

namespace bellhop::crypto {
namespace {

constexpr CBS_ASN1_TAG kExplicit0 = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 0;
constexpr uint64_t kSaltBytesMax = 1024;

// PKCS#7 content types, RFC 2315 section 14: 1.2.840.113549.1.7.n.
constexpr uint8_t kPkcs7[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07};
constexpr uint8_t kData = 1, kEncryptedData = 6;
// PBES1 for PKCS#12, RFC 7292 appendix C: 1.2.840.113549.1.12.1.n.
constexpr uint8_t kPkcs12Pbe[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01};
// Bags, RFC 7292 section 4.2: 1.2.840.113549.1.12.10.1.n.
constexpr uint8_t kBag[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01};
constexpr uint8_t kShroudedKeyBag = 2;
// RFC 8018: 1.2.840.113549.1.5.n, 13 is PBES2, 12 PBKDF2.
constexpr uint8_t kPkcs5[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05};
constexpr uint8_t kPbkdf2 = 12, kPbes2 = 13;

std::unexpected<Error> refuse(CryptoError code, uint32_t detail = 0) {
  ERR_clear_error();
  return fail(crypto_error(code, detail));
}
std::unexpected<Error> malformed() { return refuse(CryptoError::pkcs12_malformed); }

// The last arc of an identifier that begins with `prefix`.
template <size_t kSize>
std::optional<uint8_t> arc_of(const CBS& id, const uint8_t (&prefix)[kSize]) {
  bool within = CBS_len(&id) == kSize + 1 && std::equal(prefix, prefix + kSize, CBS_data(&id));
  if (!within) return std::nullopt;
  return CBS_data(&id)[kSize];
}

// DER of what may be BER.
class Der {
 public:
  bool convert(CBS in) { return CBS_asn1_ber_to_der(&in, &der_, &storage_) == 1; }
  ~Der() { OPENSSL_free(storage_); }
  CBS& operator*() { return der_; }

 private:
  CBS der_{};
  uint8_t* storage_ = nullptr;
};

// An implicitly tagged OCTET STRING [0]: one piece in DER, several where it was BER.
bool take_ciphertext(CBS& from, std::vector<uint8_t>& out) {
  CBS pieces, piece;
  if (CBS_get_asn1(&from, &piece, CBS_ASN1_CONTEXT_SPECIFIC | 0)) {
    out.assign(CBS_data(&piece), CBS_data(&piece) + CBS_len(&piece));
    return true;
  }
  ERR_clear_error();
  if (!CBS_get_asn1(&from, &pieces, kExplicit0)) return false;
  while (CBS_len(&pieces) > 0) {
    if (!CBS_get_asn1(&pieces, &piece, CBS_ASN1_OCTETSTRING)) return false;
    out.insert(out.end(), CBS_data(&piece), CBS_data(&piece) + CBS_len(&piece));
  }
  return true;
}

class Walk {
 public:
  explicit Walk(const std::string_view* password) : password_(password) {}

  Status file(Bytes bytes);
  uint64_t iterations() const { return iterations_; }

 private:
  Status authenticated_safe(CBS octets);
  Status content_info(CBS& info);
  Status encrypted_data(CBS& wrapped);
  Status encrypted_contents(CBS cipher, const std::vector<uint8_t>& text, const char* password);
  Status safe_contents(CBS octets);
  Status safe_bag(CBS& bag);
  Status algorithm(CBS algorithm, uint32_t times);
  Status add(uint64_t iterations, uint32_t times);
  Status count_part() {
    return ++parts_ > kPkcs12PartsMax ? refuse(CryptoError::pkcs12_too_large) : Status();
  }

  const std::string_view* password_;
  uint64_t iterations_ = 0;
  uint32_t parts_ = 0;
};

Status Walk::add(uint64_t iterations, uint32_t times) {
  // No part of it can overflow: the first comparison bounds the product.
  if (iterations == 0) return malformed();
  bool within = iterations <= kPkcs12IterationsMax && iterations_ + iterations * times <= kPkcs12IterationsMax;
  if (!within) {
    return refuse(CryptoError::pkcs12_iterations, static_cast<uint32_t>(std::min<uint64_t>(iterations, UINT32_MAX)));
  }
  iterations_ += iterations * times;
  return {};
}

// An AlgorithmIdentifier's content. The parameters of both schemes begin with a salt and an iteration count.
Status Walk::algorithm(CBS algorithm, uint32_t times) {
  CBS id, parameters;
  if (!CBS_get_asn1(&algorithm, &id, CBS_ASN1_OBJECT) || !CBS_get_asn1(&algorithm, &parameters, CBS_ASN1_SEQUENCE)) {
    return malformed();
  }
  if (arc_of(id, kPkcs5) == kPbes2) {
    CBS derivation, derivation_id;
    bool whole = CBS_get_asn1(&parameters, &derivation, CBS_ASN1_SEQUENCE) &&
                 CBS_get_asn1(&derivation, &derivation_id, CBS_ASN1_OBJECT) &&
                 CBS_get_asn1(&derivation, &parameters, CBS_ASN1_SEQUENCE);
    if (!whole) return malformed();
    if (arc_of(derivation_id, kPkcs5) != kPbkdf2) return refuse(CryptoError::pkcs12_unsupported);
  } else if (!arc_of(id, kPkcs12Pbe)) {
    return refuse(CryptoError::pkcs12_unsupported);
  }
  CBS salt;
  uint64_t iterations = 0;
  if (!CBS_get_asn1(&parameters, &salt, CBS_ASN1_OCTETSTRING) || !CBS_get_asn1_uint64(&parameters, &iterations)) {
    return malformed();
  }
  if (CBS_len(&salt) > kSaltBytesMax) return refuse(CryptoError::pkcs12_too_large);
  return add(iterations, times);
}

Status Walk::safe_bag(CBS& bag) {
  BH_CHECKED(count_part());
  CBS id, value, key, cipher;
  if (!CBS_get_asn1(&bag, &id, CBS_ASN1_OBJECT) || !CBS_get_asn1(&bag, &value, kExplicit0)) return malformed();
  if (arc_of(id, kBag) != kShroudedKeyBag) return {};
  if (!CBS_get_asn1(&value, &key, CBS_ASN1_SEQUENCE) || !CBS_get_asn1(&key, &cipher, CBS_ASN1_SEQUENCE)) {
    return malformed();
  }
  return algorithm(cipher, 1);
}

Status Walk::safe_contents(CBS octets) {
  Der der;
  CBS bags;
  if (!der.convert(octets) || !CBS_get_asn1(&*der, &bags, CBS_ASN1_SEQUENCE) || CBS_len(&*der) != 0) return malformed();
  while (CBS_len(&bags) > 0) {
    CBS bag;
    if (!CBS_get_asn1(&bags, &bag, CBS_ASN1_SEQUENCE)) return malformed();
    BH_CHECKED(safe_bag(bag));
  }
  return {};
}

// RFC 2315 section 13.
Status Walk::encrypted_data(CBS& wrapped) {
  CBS content, version, info, type, cipher;
  bool whole = CBS_get_asn1(&wrapped, &content, CBS_ASN1_SEQUENCE) &&
               CBS_get_asn1(&content, &version, CBS_ASN1_INTEGER) && CBS_get_asn1(&content, &info, CBS_ASN1_SEQUENCE) &&
               CBS_get_asn1(&info, &type, CBS_ASN1_OBJECT) && CBS_get_asn1(&info, &cipher, CBS_ASN1_SEQUENCE);
  std::vector<uint8_t> text;
  if (!whole || !take_ciphertext(info, text)) return malformed();
  // Of an empty password there are two encodings (RFC 7292 appendix B.1): a NUL, and nothing. The reader takes the one
  // that makes the MAC right; which that is we do not know, so what either of them shows is counted.
  const bool two_encodings = password_ && password_->empty();
  BH_CHECKED(algorithm(cipher, two_encodings ? 3 : 2));
  if (!password_) return {};
  Status walked = encrypted_contents(cipher, text, two_encodings ? "" : password_->data());
  // An encoding that decrypts to nonsense is no more than that; whatever else is found under one of them decides.
  bool decided = !two_encodings || (!walked && !is(walked.error(), CryptoError::pkcs12_password));
  if (decided) return walked;
  Status other = encrypted_contents(cipher, text, nullptr);
  return other || !is(other.error(), CryptoError::pkcs12_password) ? other : walked;
}

// `password`: null for the encoding of an empty one as nothing.
Status Walk::encrypted_contents(CBS cipher, const std::vector<uint8_t>& text, const char* password) {
  uint8_t* plain = nullptr;
  size_t plain_bytes = 0;
  bool decrypted = pkcs8_pbe_decrypt(&plain, &plain_bytes, &cipher, password, password_->size(), text.data(),
                                     text.size()) == 1;
  if (!decrypted) return fail(pkcs12_error_of_library(CryptoError::pkcs12_password));
  CBS inner;
  CBS_init(&inner, plain, plain_bytes);
  Status walked = safe_contents(inner);
  OPENSSL_free(plain);
  // A wrong password sometimes leaves good padding, and then nonsense.
  if (!walked && is(walked.error(), CryptoError::pkcs12_malformed)) return refuse(CryptoError::pkcs12_password);
  return walked;
}

Status Walk::content_info(CBS& info) {
  BH_CHECKED(count_part());
  CBS type, wrapped, octets;
  if (!CBS_get_asn1(&info, &type, CBS_ASN1_OBJECT) || !CBS_get_asn1(&info, &wrapped, kExplicit0)) return malformed();
  std::optional<uint8_t> kind = arc_of(type, kPkcs7);
  if (kind == kEncryptedData) return encrypted_data(wrapped);
  if (kind != kData) return refuse(CryptoError::pkcs12_unsupported);  // to certificates, not to a password
  if (!CBS_get_asn1(&wrapped, &octets, CBS_ASN1_OCTETSTRING)) return malformed();
  return safe_contents(octets);
}

Status Walk::authenticated_safe(CBS octets) {
  Der der;
  CBS infos;
  if (!der.convert(octets) || !CBS_get_asn1(&*der, &infos, CBS_ASN1_SEQUENCE) || CBS_len(&*der) != 0) {
    return malformed();
  }
  while (CBS_len(&infos) > 0) {
    CBS info;
    if (!CBS_get_asn1(&infos, &info, CBS_ASN1_SEQUENCE)) return malformed();
    BH_CHECKED(content_info(info));
  }
  return {};
}

// PFX, RFC 7292 section 4.
Status Walk::file(Bytes bytes) {
  CBS in, pfx, content, type, wrapped, octets, mac, digest, salt;
  CBS_init(&in, bytes.data(), bytes.size());
  Der der;
  uint64_t version = 0;
  bool whole = der.convert(in) && CBS_get_asn1(&*der, &pfx, CBS_ASN1_SEQUENCE) && CBS_len(&*der) == 0 &&
               CBS_get_asn1_uint64(&pfx, &version) && CBS_get_asn1(&pfx, &content, CBS_ASN1_SEQUENCE) &&
               CBS_get_asn1(&content, &type, CBS_ASN1_OBJECT) && CBS_get_asn1(&content, &wrapped, kExplicit0);
  if (!whole) return malformed();
  bool known = version == 3 && arc_of(type, kPkcs7) == kData && CBS_len(&pfx) > 0;
  if (!known) return refuse(CryptoError::pkcs12_unsupported);  // signed, or without a MAC
  whole = CBS_get_asn1(&wrapped, &octets, CBS_ASN1_OCTETSTRING) && CBS_get_asn1(&pfx, &mac, CBS_ASN1_SEQUENCE) &&
          CBS_get_asn1(&mac, &digest, CBS_ASN1_SEQUENCE) && CBS_get_asn1(&mac, &salt, CBS_ASN1_OCTETSTRING);
  if (!whole) return malformed();
  if (CBS_len(&salt) > kSaltBytesMax) return refuse(CryptoError::pkcs12_too_large);
  uint64_t iterations = 1;
  if (CBS_len(&mac) > 0 && !CBS_get_asn1_uint64(&mac, &iterations)) return malformed();
  BH_CHECKED(add(iterations, password_ && password_->empty() ? 2 : 1));
  return authenticated_safe(octets);
}

}  // namespace

Error pkcs12_error_of_library(CryptoError otherwise) {
  uint32_t first = ERR_peek_error();
  ERR_clear_error();
  if (ERR_GET_LIB(first) != ERR_LIB_PKCS8) return crypto_error(otherwise);
  switch (ERR_GET_REASON(first)) {
    case PKCS8_R_INCORRECT_PASSWORD:
    case PKCS8_R_INVALID_CHARACTERS:  // no text at all
      return crypto_error(CryptoError::pkcs12_password);
    case PKCS8_R_MULTIPLE_PRIVATE_KEYS_IN_PKCS12:
      return crypto_error(CryptoError::pkcs12_many_keys);
    case PKCS8_R_UNKNOWN_ALGORITHM:
    case PKCS8_R_UNKNOWN_CIPHER:
    case PKCS8_R_UNKNOWN_CIPHER_ALGORITHM:
    case PKCS8_R_UNKNOWN_DIGEST:
    case PKCS8_R_UNKNOWN_HASH:
    case PKCS8_R_UNSUPPORTED_CIPHER:
    case PKCS8_R_UNSUPPORTED_KEYLENGTH:
    case PKCS8_R_UNSUPPORTED_KEY_DERIVATION_FUNCTION:
    case PKCS8_R_UNSUPPORTED_PRF:
    case PKCS8_R_UNSUPPORTED_SALT_TYPE:
      return crypto_error(CryptoError::pkcs12_unsupported);
    default:
      return crypto_error(otherwise);
  }
}

Result<uint64_t> walk_pkcs12(Bytes file, const std::string_view* password) {
  if (file.empty()) return malformed();
  if (file.size() > kPkcs12BytesMax) return refuse(CryptoError::pkcs12_too_large, static_cast<uint32_t>(file.size()));
  Walk walk(password);
  BH_CHECKED(walk.file(file));
  return walk.iterations();
}

}  // namespace bellhop::crypto
