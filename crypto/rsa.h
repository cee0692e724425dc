// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "crypto/hash.h"
#include "crypto/oaep.h"
#include "crypto/secret.h"

struct rsa_st;  // BoringSSL's RSA

namespace bellhop::crypto {

struct RsaFree {
  void operator()(rsa_st* rsa) const;
};
using RsaHandle = std::unique_ptr<rsa_st, RsaFree>;

// RSA-2048 by default, 3072 allowed; the public exponent is always 65537.
inline constexpr unsigned kRsaBitsDefault = 2048;
inline constexpr unsigned kRsaExponent = 65537;
constexpr bool rsa_bits_allowed(unsigned bits) {
  return bits == 2048 || bits == 3072;
}

// Names a key pair: the SHA-256 thumbprint of its JWK (RFC 7638). As text: 43 characters of base64url.
struct KeyId {
  Digest bytes{};
  std::string text() const { return to_base64url(bytes); }
  static std::optional<KeyId> from_text(std::string_view text);
  friend bool operator==(const KeyId&, const KeyId&) = default;
};
struct KeyIdHash {  // the bytes are a hash already
  size_t operator()(const KeyId& id) const {
    size_t value;
    std::memcpy(&value, id.bytes.data(), sizeof value);
    return value;
  }
};

// A public key. Immutable; may be used on any core.
class RsaPublicKey {
 public:
  // SubjectPublicKeyInfo, DER. Errors: malformed, key_refused (size, exponent).
  static Result<RsaPublicKey> from_spki(Bytes der);
  // Big-endian modulus; the exponent is 65537. Errors: key_refused.
  static Result<RsaPublicKey> from_modulus(Bytes modulus);

  size_t modulus_bytes() const { return modulus_.size(); }
  Bytes modulus() const { return modulus_; }
  const KeyId& id() const { return id_; }
  std::vector<uint8_t> spki() const;
  // {"kty":"RSA","n":…,"e":"AQAB","alg":"RSA-OAEP-256","use":"enc","kid":…} (RFC 7517, 7518)
  std::string jwk() const;

  // RSAES-OAEP encryption; the result has modulus_bytes() bytes. Errors: too_large.
  Result<std::vector<uint8_t>> encrypt_oaep(Bytes message, Bytes label, OaepHashes hashes = {}) const;

 private:
  std::vector<uint8_t> modulus_;  // no leading zero
  KeyId id_;
};

// Big-endian numbers as RFC 8017 section 3.2 names them. Leading zeros do not matter.
struct RsaComponents {
  Bytes n, e, d, p, q, dp, dq, qinv;
};

// A private key as its CRT numbers, in locked memory. Not yet ready for work: ConvertedKey is.
class RsaPrivateKey {
 public:
  // Makes a pair. Takes about 250 ms for 2048 bits: never on a reactor thread. Errors: key_refused (size).
  static Result<RsaPrivateKey> generate(unsigned bits = kRsaBitsDefault);
  // Imports, with a full check of the numbers (about 0.2 ms). Errors: malformed, key_refused.
  static Result<RsaPrivateKey> from_pkcs8(const Secret& der);
  static Result<RsaPrivateKey> from_components(const RsaComponents& components);
  // What stored() gave, once it was unsealed. Checks sizes only: the seal has proved that the numbers are ours, and
  // the check would cost a hundred times the rest. Errors: malformed.
  static Result<RsaPrivateKey> from_stored(Secret stored);

  // The form to seal: version 1 ‖ bits (16) ‖ d ‖ p ‖ q ‖ dP ‖ dQ ‖ qInv, big-endian, padded to full or half width.
  // 899 bytes for 2048 bits.
  const Secret& stored() const { return stored_; }
  Secret to_pkcs8() const;

  unsigned bits() const;
  const RsaPublicKey& public_key() const { return public_key_; }
  RsaPrivateKey clone() const { return RsaPrivateKey(stored_.clone(), public_key_); }

 private:
  friend class ConvertedKey;
  RsaPrivateKey(Secret stored, RsaPublicKey public_key)
      : stored_(std::move(stored)), public_key_(std::move(public_key)) {}
  RsaHandle to_boringssl() const;
  static Result<RsaPrivateKey> from_boringssl(const rsa_st* rsa);

  Secret stored_;
  RsaPublicKey public_key_;
};

class LaneKey;

// A private key in the forms that the engines work on. Each form is made when an engine first asks for it, and stays: so
// keep it in a KeyCache. One core at a time. Wiped on destruction.
class ConvertedKey {
 public:
  explicit ConvertedKey(RsaPrivateKey key);
  ConvertedKey(ConvertedKey&&) noexcept;
  ~ConvertedKey();

  const RsaPrivateKey& key() const { return key_; }
  size_t modulus_bytes() const { return key_.public_key().modulus_bytes(); }
  // About what it takes of memory now, in bytes.
  size_t memory_bytes() const;

  // BoringSSL's form. Its first operation sets up Montgomery and blinding values, about 0.4 ms more.
  rsa_st* rsa() const;
  // The lanes' form, about 0.05 ms.
  const LaneKey& lanes() const;

 private:
  RsaPrivateKey key_;
  mutable RsaHandle rsa_;
  mutable std::unique_ptr<LaneKey> lanes_;
};

}  // namespace bellhop::crypto
