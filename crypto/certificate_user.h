// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "core/base/bytes.h"
#include "core/base/error.h"

namespace bellhop::crypto {

// Where a client certificate may name its user.
struct CertificateUserRules {
  bool upn = true;           // SAN otherName 1.3.6.1.4.1.311.20.2.3 (UTF8String)
  bool rfc822_name = false;  // SAN rfc822Name, where there is no UPN
};

struct CertificateUser {
  enum class Source : uint8_t { upn, rfc822_name };
  std::string name;  // user@domain as the certificate spells it
  Source source = Source::upn;
  std::string sid;  // extension 1.3.6.1.4.1.311.25.2, "S-1-5-21-…"; empty: absent
};

// Reads the user of a certificate that was verified already: chain, dates and purpose are not looked at here. The common
// name is never taken. `der` is one certificate.
// Errors: malformed (no certificate); certificate_no_user; certificate_many_users; certificate_bad_user (NUL, control,
// ill-formed UTF-8, longer than 256 bytes, not user@domain).
Result<CertificateUser> certificate_user(Bytes der, CertificateUserRules rules = {});

}  // namespace bellhop::crypto
