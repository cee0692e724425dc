// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "crypto/secret.h"

struct ec_key_st;  // BoringSSL's EC_KEY

namespace bellhop::crypto {

struct EcKeyFree {
  void operator()(ec_key_st* key) const;
};
using EcKeyHandle = std::unique_ptr<ec_key_st, EcKeyFree>;
using Es256Signature = std::array<uint8_t, 64>;  // r ‖ s (RFC 7518 section 3.4)

// ECDSA P-256 with SHA-256: the public half. Immutable; any core.
class Es256PublicKey {
 public:
  // SubjectPublicKeyInfo, DER. Errors: malformed, key_refused (another curve).
  static Result<Es256PublicKey> from_spki(Bytes der);
  std::vector<uint8_t> spki() const;
  bool verify(Bytes message, Bytes signature) const;      // r ‖ s
  bool verify_der(Bytes message, Bytes signature) const;  // DER of X9.62, strict

 private:
  friend class Es256PrivateKey;
  explicit Es256PublicKey(EcKeyHandle key) : key_(std::move(key)) {}
  EcKeyHandle key_;
};

// The private half: signs APNs provider tokens. Immutable; any core.
class Es256PrivateKey {
 public:
  // PEM of PKCS#8 ("-----BEGIN PRIVATE KEY-----"): the .p8 file that Apple gives. Errors: malformed, key_refused.
  static Result<Es256PrivateKey> from_pem(std::string_view pem);
  static Es256PrivateKey generate();
  Secret to_pem() const;
  Es256PublicKey public_key() const;
  Es256Signature sign(Bytes message) const;  // about 25 µs

 private:
  explicit Es256PrivateKey(EcKeyHandle key) : key_(std::move(key)) {}
  EcKeyHandle key_;
};

}  // namespace bellhop::crypto
