// SPDX-License-Identifier: Apache-2.0
#include "crypto/certificate_user.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "crypto/boringssl.h"
#include "crypto/error.h"

#include <openssl/asn1.h>
#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace bellhop::crypto {
namespace {

constexpr const char* kUpnOid = "1.3.6.1.4.1.311.20.2.3";
constexpr const char* kSidExtensionOid = "1.3.6.1.4.1.311.25.2";
// 1.3.6.1.4.1.311.25.2.1: the kind of name inside that extension.
constexpr uint8_t kSidNameOid[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x19, 0x02, 0x01};
constexpr size_t kNameBytesMax = 256;

std::unexpected<Error> refuse(CryptoError code) {
  ERR_clear_error();
  return fail(crypto_error(code));
}

bssl::UniquePtr<ASN1_OBJECT> object_of(const char* oid) {
  return bssl::UniquePtr<ASN1_OBJECT>(OBJ_txt2obj(oid, /*dont_search_names=*/1));
}

std::string_view text_of(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<size_t>(ASN1_STRING_length(string))};
}

// user@domain; both parts are there, and nothing that another reader would cut or change.
bool is_user_name(std::string_view text) {
  if (text.empty() || text.size() > kNameBytesMax || !utf8_valid(text)) return false;
  const size_t at = text.find('@');
  if (at == 0 || at == text.npos || at + 1 == text.size() || text.find('@', at + 1) != text.npos) return false;
  return std::ranges::none_of(text, [](char c) {
    return static_cast<uint8_t>(c) <= 0x20 || c == 0x7f || c == '\\' || c == '/';
  });
}

// The names of one kind among the subject's alternative names.
struct Names {
  std::optional<std::string_view> first;
  size_t count = 0;
  bool other_type = false;  // a UPN that is no UTF8String

  void add(std::string_view name) {
    if (!first) first = name;
    ++count;
  }
};

struct AlternativeNames {
  Names upn, rfc822;
};
AlternativeNames read_names(const GENERAL_NAMES* names) {
  const auto upn_oid = object_of(kUpnOid);
  AlternativeNames read;
  for (size_t i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_EMAIL) {
      read.rfc822.add(text_of(name->d.rfc822Name));
    } else if (name->type == GEN_OTHERNAME && OBJ_cmp(name->d.otherName->type_id, upn_oid.get()) == 0) {
      const ASN1_TYPE* value = name->d.otherName->value;
      if (value->type == V_ASN1_UTF8STRING) {
        read.upn.add(text_of(value->value.utf8string));
      } else {
        read.upn.other_type = true;
      }
    }
  }
  return read;
}

// SEQUENCE { [0] { OID 1.3.6.1.4.1.311.25.2.1, [0] { OCTET STRING "S-1-5-21-…" } } } (MS-WCCE 2.2.2.7.7.4).
std::string read_sid(const X509* certificate) {
  const auto oid = object_of(kSidExtensionOid);
  const int index = X509_get_ext_by_OBJ(certificate, oid.get(), -1);
  if (index < 0 || X509_get_ext_by_OBJ(certificate, oid.get(), index) >= 0) return {};
  const std::string_view value = text_of(X509_EXTENSION_get_data(X509_get_ext(certificate, index)));
  CBS in, names, name, kind, wrapped, sid;
  CBS_init(&in, reinterpret_cast<const uint8_t*>(value.data()), value.size());
  constexpr CBS_ASN1_TAG kTagged0 = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 0;
  const bool read = CBS_get_asn1(&in, &names, CBS_ASN1_SEQUENCE) && CBS_get_asn1(&names, &name, kTagged0) &&
                    CBS_get_asn1(&name, &kind, CBS_ASN1_OBJECT) && CBS_get_asn1(&name, &wrapped, kTagged0) &&
                    CBS_get_asn1(&wrapped, &sid, CBS_ASN1_OCTETSTRING);
  if (!read || CBS_len(&sid) > kNameBytesMax || !CBS_mem_equal(&kind, kSidNameOid, sizeof kSidNameOid)) return {};
  std::string text(reinterpret_cast<const char*>(CBS_data(&sid)), CBS_len(&sid));
  const bool plain = text.starts_with("S-1-") && text.find_first_not_of("0123456789-", 1) == text.npos;
  return plain ? text : std::string();
}

Result<CertificateUser> choose(const AlternativeNames& names, CertificateUserRules rules) {
  using Source = CertificateUser::Source;
  const auto take = [](const Names& found, Source source) -> Result<CertificateUser> {
    if (found.other_type) return refuse(CryptoError::certificate_bad_user);
    if (found.count > 1) return refuse(CryptoError::certificate_many_users);
    if (!is_user_name(*found.first)) return refuse(CryptoError::certificate_bad_user);
    return CertificateUser{.name = std::string(*found.first), .source = source, .sid = {}};
  };
  if (rules.upn && (names.upn.count > 0 || names.upn.other_type)) return take(names.upn, Source::upn);
  if (rules.rfc822_name && names.rfc822.count > 0) return take(names.rfc822, Source::rfc822_name);
  return refuse(CryptoError::certificate_no_user);
}

}  // namespace

Result<CertificateUser> certificate_user(Bytes der, CertificateUserRules rules) {
  const uint8_t* at = der.data();
  bssl::UniquePtr<X509> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!certificate || at != der.data() + der.size()) return refuse(CryptoError::malformed);
  int critical = 0;
  bssl::UniquePtr<GENERAL_NAMES> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, &critical, nullptr)));
  if (!names) {
    // -1: there is none; -2: several, of which two readers may take different ones; else it cannot be read.
    if (critical == -1) return refuse(CryptoError::certificate_no_user);
    return refuse(critical == -2 ? CryptoError::certificate_many_users : CryptoError::malformed);
  }
  BH_TRY(CertificateUser user, choose(read_names(names.get()), rules));
  user.sid = read_sid(certificate.get());
  return user;
}

}  // namespace bellhop::crypto
