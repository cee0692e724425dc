// SPDX-License-Identifier: Apache-2.0
#include "core/tls/identity.h"

#include <openssl/asn1.h>
#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/x509v3.h>

#include <utility>

#include "core/base/check.h"
#include "core/tls/error.h"
#include "core/tls/own_chain.h"

namespace bellhop {
namespace {

constexpr char kUserPrincipalName[] = "1.3.6.1.4.1.311.20.2.3";

std::string lower_text(const ASN1_STRING* text) {
  std::string_view view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                        static_cast<size_t>(ASN1_STRING_length(text)));
  // A NUL inside has fooled others: such a name is none.
  return view.find('\0') == view.npos ? ascii_lower(view) : std::string();
}

std::string alternative_name(const X509* certificate) {
  bssl::UniquePtr<GENERAL_NAMES> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  bssl::UniquePtr<ASN1_OBJECT> upn(OBJ_txt2obj(kUserPrincipalName, 1));
  std::string email;
  for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_OTHERNAME && OBJ_cmp(name->d.otherName->type_id, upn.get()) == 0) {
      const ASN1_TYPE* value = name->d.otherName->value;
      if (value->type == V_ASN1_UTF8STRING) return lower_text(value->value.utf8string);
    }
    if (name->type == GEN_EMAIL && email.empty()) email = lower_text(name->d.rfc822Name);
  }
  return email;
}

std::string common_name(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return {};
  return lower_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

}  // namespace

Result<TlsOwnIdentity> TlsOwnIdentity::read(const TlsFile& chain, const TlsFile& key, std::string& complaint) {
  BH_TRY(OwnChain own, read_own_chain(chain, key, OwnDates::may_be_past, nullptr, complaint));
  TlsOwnIdentity identity;
  for (const auto& certificate : own.certificates) {
    const uint8_t* data = CRYPTO_BUFFER_data(certificate.get());
    identity.chain_.insert(identity.chain_.end(), data, data + CRYPTO_BUFFER_len(certificate.get()));
  }
  bssl::ScopedCBB out;
  BH_CHECK(CBB_init(out.get(), 256) && EVP_marshal_private_key(out.get(), own.key.get()) == 1);
  identity.private_key_.assign(CBB_data(out.get()), CBB_data(out.get()) + CBB_len(out.get()));
  identity.valid_from_ = WallTime(std::chrono::seconds(own.valid_from));
  identity.expires_ = WallTime(std::chrono::seconds(own.expires));
  return identity;
}

TlsOwnIdentity& TlsOwnIdentity::operator=(TlsOwnIdentity&& other) noexcept {
  std::swap(private_key_, other.private_key_);
  std::swap(chain_, other.chain_);
  valid_from_ = other.valid_from_;
  expires_ = other.expires_;
  return *this;
}

std::string certificate_account(Bytes der) {
  const uint8_t* at = der.data();
  bssl::UniquePtr<X509> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  std::string account;
  if (certificate) account = alternative_name(certificate.get());
  if (certificate && account.empty()) account = common_name(certificate.get());
  ERR_clear_error();
  return account;
}

Result<CertificateLife> certificate_life(Bytes der) {
  const uint8_t* at = der.data();
  bssl::UniquePtr<X509> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  CertificateDates dates;
  bool good = certificate && certificate_dates(certificate.get(), dates);
  ERR_clear_error();
  if (!good) return fail(tls_error(TlsError::certificate_invalid));
  return CertificateLife{WallTime(std::chrono::seconds(dates.from)), WallTime(std::chrono::seconds(dates.to))};
}

std::vector<uint8_t> endpoint_hash(Bytes der) {
  const uint8_t* at = der.data();
  bssl::UniquePtr<X509> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  int digest = NID_undef, key = NID_undef;
  bool known = certificate && OBJ_find_sigid_algs(X509_get_signature_nid(certificate.get()), &digest, &key) == 1;
  ERR_clear_error();
  if (!known) return {};
  if (digest == NID_md5 || digest == NID_sha1) digest = NID_sha256;
  const EVP_MD* function = EVP_get_digestbynid(digest);
  if (!function) return {};
  std::vector<uint8_t> out(EVP_MAX_MD_SIZE);
  unsigned size = 0;
  BH_CHECK(EVP_Digest(der.data(), der.size(), out.data(), &size, function, nullptr) == 1);
  out.resize(size);
  return out;
}

}  // namespace bellhop
