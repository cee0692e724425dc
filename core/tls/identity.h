// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/time.h"
#include "core/tls/authorities.h"

namespace bellhop {

// Who we are to a server that asks for a certificate: views of DER, used while an engine is made and not kept. The
// engine lets go of the key when its handshake is over.
struct TlsIdentity {
  Bytes private_key;  // PKCS#8
  Bytes chain;        // certificates one after the other, the owner's first, each issued by the next
};

// The same from two PEM files of the operator's. Moves only; the key is wiped.
class TlsOwnIdentity {
 public:
  // Whether the dates are good is the caller's to judge: an expired one is read all the same. On failure `complaint` is
  // one line that names the file. Errors: invalid_chain, invalid_key, key_mismatch, certificate_key_size.
  static Result<TlsOwnIdentity> read(const TlsFile& chain, const TlsFile& key, std::string& complaint);

  TlsOwnIdentity(TlsOwnIdentity&&) = default;
  TlsOwnIdentity& operator=(TlsOwnIdentity&& other) noexcept;
  ~TlsOwnIdentity() { wipe(private_key_); }

  TlsIdentity view() const { return {private_key_, chain_}; }
  // Of the whole chain: the latest notBefore, the earliest notAfter.
  WallTime valid_from() const { return valid_from_; }
  WallTime expires() const { return expires_; }

 private:
  TlsOwnIdentity() = default;
  std::vector<uint8_t> private_key_, chain_;
  WallTime valid_from_{}, expires_{};
};

// What a client's certificate says of its owner: the first userPrincipalName or e-mail address of its subjectAltName,
// else its common name; lower case. Empty where it says none of them, or is no certificate.
std::string certificate_account(Bytes der);

// From when to when a certificate is good. Errors: certificate_invalid.
struct CertificateLife {
  WallTime from{}, to{};
};
Result<CertificateLife> certificate_life(Bytes der);

// tls-server-end-point (RFC 5929 section 4.1): the hash of a server's certificate, by the hash function of its signature,
// SHA-256 where that is MD5 or SHA-1. Empty where the certificate does not parse, or its signature has no such function.
std::vector<uint8_t> endpoint_hash(Bytes certificate);

}  // namespace bellhop
