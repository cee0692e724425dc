// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/time.h"
#include "core/tls/authorities.h"

struct asn1_string_st;
struct x509_st;

namespace bellhop {

// Certificates that their authorities took back: the revocation lists (RFC 5280 section 5) of an operator's files, read
// and verified once. Immutable, shared by contexts and threads; a reload makes a new one. Serial numbers stand sorted in
// 20 bytes each, so that a list with a million of them is a look-up in 20 MB.
class TlsRevocations {
 public:
  static constexpr size_t kListsMax = 100;
  static constexpr size_t kSerialBytes = 20;  // RFC 5280 section 4.1.2.2

  // All lists of all files: PEM blocks of type "X509 CRL", or one list in DER a file. Each must be signed by one of the
  // authorities, whole (no delta, no indirect list, none for some reasons only). One past its date is read all the same:
  // what it takes back stays so. On failure `complaint` says what is wrong in which file.
  // Errors: invalid_revocations.
  static Result<std::shared_ptr<const TlsRevocations>> parse(std::span<const TlsFile> files,
                                                             const TlsAuthorities& authorities,
                                                             std::string& complaint);

  // Judges a certificate whose signature by `issuer` was verified before. Errors: certificate_revoked (detail: the reason of
  // RFC 5280 section 5.3.1), certificate_revocation_unknown (no list of this issuer).
  Status check(x509_st* certificate, x509_st* issuer) const;
  // The same by the issuer's name, for a certificate that passed check() earlier, maybe against an older list.
  Status check_again(Bytes certificate) const;

  TlsRevocations(const TlsRevocations&) = delete;
  TlsRevocations& operator=(const TlsRevocations&) = delete;
  ~TlsRevocations();

  size_t lists() const;
  size_t size() const;  // serial numbers in all
  // When the first list that ends does so (nextUpdate); WallTime::max() where none says.
  WallTime next_update() const { return next_update_; }

 private:
  using Serial = std::array<uint8_t, kSerialBytes>;
  struct Entry {
    Serial serial;
    uint8_t reason;
  };
  struct List;
  struct Reader;

  TlsRevocations();
  static bool serial_of(const asn1_string_st* number, Serial& out);
  static Status look_up(const List& list, const Serial& serial);

  std::vector<List> lists_;
  WallTime next_update_ = WallTime::max();
};

}  // namespace bellhop
