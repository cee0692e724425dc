// SPDX-License-Identifier: Apache-2.0
#include "core/tls/revocations.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "core/tls/error.h"
#include "core/tls/pem.h"

namespace bellhop {
namespace {

constexpr uint8_t kReasonUnspecified = 0, kReasonRemoved = 8;  // RFC 5280 section 5.3.1

std::vector<uint8_t> key_of(const X509* certificate) {
  uint8_t* der = nullptr;
  int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return {};
  bssl::UniquePtr<uint8_t> owner(der);
  return {der, der + size};
}

// What would make a list speak for less, or for others, than all certificates of its issuer. Null: nothing.
const char* refuse_scope(const X509_CRL* crl) {
  for (int at = -1; (at = X509_CRL_get_ext_by_critical(crl, 1, at)) >= 0;) {
    switch (OBJ_obj2nid(X509_EXTENSION_get_object(X509_CRL_get_ext(crl, at)))) {
      case NID_issuing_distribution_point:
      case NID_authority_key_identifier:
      case NID_crl_number: break;
      case NID_delta_crl: return "is a delta list; name the whole one";
      default: return "has a critical extension that is not understood";
    }
  }
  int fault = 0;
  struct Free {
    void operator()(ISSUING_DIST_POINT* point) const { ISSUING_DIST_POINT_free(point); }
  };
  std::unique_ptr<ISSUING_DIST_POINT, Free> scope(
      static_cast<ISSUING_DIST_POINT*>(X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &fault, nullptr)));
  if (!scope) return fault == -1 ? nullptr : "has a damaged issuing distribution point";
  if (scope->indirectCRL > 0) return "is an indirect list; name those of the issuers";
  if (scope->onlysomereasons) return "is for some reasons only; name one for all";
  // One part of several says nothing of the certificates in the others.
  if (scope->distpoint) return "may be one part of several, for it names its distribution point; name the authority's full list";
  if (scope->onlyCA > 0 || scope->onlyattr > 0) return "is not about users' certificates";
  return nullptr;
}

uint8_t reason_of(const X509_REVOKED* revoked) {
  bssl::UniquePtr<ASN1_ENUMERATED> reason(
      static_cast<ASN1_ENUMERATED*>(X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, nullptr, nullptr)));
  long value = reason ? ASN1_ENUMERATED_get(reason.get()) : kReasonUnspecified;
  return value >= 0 && value <= 255 ? static_cast<uint8_t>(value) : kReasonUnspecified;
}

}  // namespace

struct TlsRevocations::List {
  bssl::UniquePtr<X509_NAME> issuer;
  std::vector<uint8_t> issuer_key;  // DER of its SubjectPublicKeyInfo: authorities may share a name
  std::vector<Entry> entries;       // by serial number
};

// Reads the lists of one file after the other.
struct TlsRevocations::Reader {
  TlsRevocations& out;
  const TlsAuthorities& authorities;
  std::string& complaint;

  std::unexpected<Error> refuse(const TlsFile& file, std::string_view why) {
    ERR_clear_error();
    std::string which = out.lists_.empty() ? "" : "list " + std::to_string(out.lists_.size() + 1) + " ";
    complaint = std::string(file.name) + ": " + which + std::string(why);
    return fail(tls_error(TlsError::invalid_revocations));
  }

  Status read_file(const TlsFile& file) {
    if (file.content.starts_with('\x30')) return read_list(file, as_bytes(file.content));
    bssl::UniquePtr<BIO> bio(BIO_new_mem_buf(file.content.data(), static_cast<ossl_ssize_t>(file.content.size())));
    size_t before = out.lists_.size();
    for (;;) {
      char* name = nullptr;
      char* header = nullptr;
      uint8_t* data = nullptr;
      long size = 0;
      if (!PEM_read_bio(bio.get(), &name, &header, &data, &size)) {
        uint32_t error = ERR_peek_last_error();
        if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
          return refuse(file, "the PEM text is damaged");
        }
        ERR_clear_error();
        break;
      }
      bssl::UniquePtr<char> name_owner(name), header_owner(header);
      bssl::UniquePtr<uint8_t> data_owner(data);
      if (std::string_view(name) != PEM_STRING_X509_CRL) continue;
      BH_CHECKED(read_list(file, {data, static_cast<size_t>(size)}));
    }
    if (out.lists_.size() == before) return refuse(file, "holds no revocation list (PEM block X509 CRL, or DER)");
    return {};
  }

  Status read_list(const TlsFile& file, Bytes der) {
    if (out.lists_.size() == kListsMax) return refuse(file, "is one too many; at most 100 are read");
    const uint8_t* at = der.data();
    bssl::UniquePtr<X509_CRL> crl(d2i_X509_CRL(nullptr, &at, static_cast<long>(der.size())));
    if (!crl || at != der.data() + der.size()) return refuse(file, "does not parse");
    if (const char* why = refuse_scope(crl.get())) return refuse(file, why);
    List list;
    if (!find_signer(crl.get(), list)) {
      return refuse(file, "is not signed by an authority for users' certificates; add its authority to those");
    }
    BH_CHECKED(read_entries(file, crl.get(), list));
    int64_t ends = 0;
    const ASN1_TIME* next = X509_CRL_get0_nextUpdate(crl.get());
    if (next && ASN1_TIME_to_posix(next, &ends) != 1) return refuse(file, "has a date that does not parse");
    if (next) out.next_update_ = std::min(out.next_update_, WallTime(std::chrono::seconds(ends)));
    out.lists_.push_back(std::move(list));
    return {};
  }

  bool find_signer(X509_CRL* crl, List& list) {
    const STACK_OF(X509_OBJECT)* objects = X509_STORE_get0_objects(authorities.store());
    for (size_t i = 0; i < sk_X509_OBJECT_num(objects); ++i) {
      X509* authority = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
      if (!authority || X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(crl)) != 0) continue;
      bool may_sign = (X509_get_key_usage(authority) & KU_CRL_SIGN) != 0;
      bssl::UniquePtr<EVP_PKEY> key(X509_get_pubkey(authority));
      bool good = may_sign && key && X509_CRL_verify(crl, key.get()) == 1;
      ERR_clear_error();
      if (!good) continue;
      list.issuer.reset(X509_NAME_dup(X509_get_subject_name(authority)));
      list.issuer_key = key_of(authority);
      return list.issuer && !list.issuer_key.empty();
    }
    return false;
  }

  Status read_entries(const TlsFile& file, X509_CRL* crl, List& list) {
    const STACK_OF(X509_REVOKED)* all = X509_CRL_get_REVOKED(crl);
    size_t count = all ? sk_X509_REVOKED_num(all) : 0;
    list.entries.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const X509_REVOKED* revoked = sk_X509_REVOKED_value(all, i);
      Entry entry{.serial = {}, .reason = kReasonUnspecified};
      if (!serial_of(X509_REVOKED_get0_serialNumber(revoked), entry.serial)) {
        return refuse(file, "has a serial number of more than 20 bytes");
      }
      if (X509_REVOKED_get_ext_count(revoked) > 0) {
        if (X509_REVOKED_get_ext_by_NID(revoked, NID_certificate_issuer, -1) >= 0) {
          return refuse(file, "is an indirect list; name those of the issuers");
        }
        entry.reason = reason_of(revoked);
      }
      if (entry.reason != kReasonRemoved) list.entries.push_back(entry);
    }
    std::ranges::sort(list.entries, {}, &Entry::serial);
    return {};
  }
};

TlsRevocations::TlsRevocations() = default;
TlsRevocations::~TlsRevocations() = default;

Result<std::shared_ptr<const TlsRevocations>> TlsRevocations::parse(std::span<const TlsFile> files,
                                                                    const TlsAuthorities& authorities,
                                                                    std::string& complaint) {
  std::shared_ptr<TlsRevocations> out(new TlsRevocations);
  Reader reader{*out, authorities, complaint};
  for (const TlsFile& file : files) BH_CHECKED(reader.read_file(file));
  return out;
}

bool TlsRevocations::serial_of(const ASN1_INTEGER* number, Serial& out) {
  size_t size = static_cast<size_t>(ASN1_STRING_length(number));
  if (size > kSerialBytes) return false;
  out = {};
  std::copy_n(ASN1_STRING_get0_data(number), size, out.end() - static_cast<ptrdiff_t>(size));
  return true;
}

Status TlsRevocations::look_up(const List& list, const Serial& serial) {
  auto found = std::ranges::lower_bound(list.entries, serial, {}, &Entry::serial);
  if (found == list.entries.end() || found->serial != serial) return {};
  return fail(tls_error(TlsError::certificate_revoked, found->reason));
}

Status TlsRevocations::check(X509* certificate, X509* issuer) const {
  Serial serial;
  if (!serial_of(X509_get0_serialNumber(certificate), serial)) return fail(tls_error(TlsError::certificate_invalid));
  std::vector<uint8_t> key = key_of(issuer);
  bool found = false;
  for (const List& list : lists_) {
    if (list.issuer_key != key || X509_NAME_cmp(list.issuer.get(), X509_get_subject_name(issuer)) != 0) continue;
    found = true;
    BH_CHECKED(look_up(list, serial));
  }
  if (!found) return fail(tls_error(TlsError::certificate_revocation_unknown));
  return {};
}

Status TlsRevocations::check_again(Bytes der) const {
  const uint8_t* at = der.data();
  bssl::UniquePtr<X509> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  ERR_clear_error();
  Serial serial;
  if (!certificate || !serial_of(X509_get0_serialNumber(certificate.get()), serial)) {
    return fail(tls_error(TlsError::certificate_invalid));
  }
  bool found = false;
  for (const List& list : lists_) {
    if (X509_NAME_cmp(list.issuer.get(), X509_get_issuer_name(certificate.get())) != 0) continue;
    found = true;
    BH_CHECKED(look_up(list, serial));
  }
  if (!found) return fail(tls_error(TlsError::certificate_revocation_unknown));
  return {};
}

size_t TlsRevocations::lists() const { return lists_.size(); }

size_t TlsRevocations::size() const {
  size_t count = 0;
  for (const List& list : lists_) count += list.entries.size();
  return count;
}

}  // namespace bellhop
