// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/time.h"
#include "core/tls/context.h"

namespace bellhop {

// Certificates for the demo, the stand-ins and tests: ECDSA P-256, SHA-256. Not a certificate authority's software:
// serial numbers and keys come from BoringSSL's own random source and nothing is recorded.

// From and to, seconds are what counts.
struct CertificateValidity {
  WallTime from;
  WallTime to;
};

// A chain, the owner's certificate first, and the key of that one, both PEM. Moves only; the key is wiped.
struct CertificateAndKey {
  std::string chain_pem;
  std::string key_pem;

  CertificateAndKey() = default;
  CertificateAndKey(CertificateAndKey&& other) noexcept { *this = std::move(other); }
  CertificateAndKey& operator=(CertificateAndKey&& other) noexcept;
  ~CertificateAndKey();
};

// A root that signs itself, common name `name`. Errors: invalid_chain (name empty or above 64 bytes, dates reversed).
Result<CertificateAndKey> make_authority(std::string_view name, CertificateValidity validity);

// A certificate for TLS servers and clients with these names in its subjectAltName (addresses are IP literals).
// The chain holds it alone: the authority is what the other side trusts.
// Errors: invalid_chain (the authority does not parse, no name at all, a malformed name or address, dates reversed).
Result<CertificateAndKey> issue_certificate(const CertificateAndKey& authority, std::span<const std::string> dns_names,
                                            std::span<const std::string> ip_addresses, CertificateValidity validity);

// A certificate of a person or an app, for TLS clients only.
struct ClientCertificateProfile {
  std::string account;  // userPrincipalName, e-mail address and common name: letters, digits, ".-_+@", at most 64
  CertificateValidity validity;
  enum class Key : uint8_t { p256, p384, rsa2048 } key = Key::p256;
  bool for_clients = true;  // false: its extended key usage names servers alone, so that clients cannot use it
  bool use_stated = true;   // false: it has no extended key usage
};
// Errors: invalid_chain (as issue_certificate, or a malformed account).
Result<CertificateAndKey> issue_client_certificate(const CertificateAndKey& authority,
                                                   const ClientCertificateProfile& profile);

// A server's certificate that signs itself: clients trust it by naming it as an authority, or by its pin.
// Errors: as issue_certificate.
Result<CertificateAndKey> make_self_signed(std::span<const std::string> dns_names,
                                           std::span<const std::string> ip_addresses, CertificateValidity validity);

// A list (PEM) that takes back the first certificate of each PEM text, in the authority's name; `validity`: from its date to the
// next list's. Errors: invalid_chain (something does not parse, dates reversed).
Result<std::string> make_revocation_list(const CertificateAndKey& authority, std::span<const std::string> certificates,
                                         CertificateValidity validity);

// SHA-256 of the public key of the first certificate in `pem`, as TlsClientOptions::pins wants it.
// Errors: invalid_chain.
Result<SpkiPin> spki_pin(std::string_view pem);

}  // namespace bellhop
