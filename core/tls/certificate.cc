// SPDX-License-Identifier: Apache-2.0
#include "core/tls/certificate.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <utility>

#include "core/base/check.h"
#include "core/tls/host_name.h"
#include "core/tls/pem.h"

namespace bellhop {
namespace {

constexpr size_t kCommonNameBytesMax = 64;  // RFC 5280 appendix A.1, ub-common-name
constexpr size_t kSerialBytes = 16;

struct Issuer {
  X509* certificate;
  EVP_PKEY* key;
};

using KeyKind = ClientCertificateProfile::Key;

struct Profile {
  std::string_view common_name;
  std::string alternative_names;  // "DNS:a.example,IP:192.0.2.1"; empty for an authority
  CertificateValidity validity;
  KeyKind key = KeyKind::p256;
  const char* extended_key_usage = "serverAuth,clientAuth";
};

bssl::UniquePtr<EVP_PKEY> make_key(KeyKind kind) {
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  if (kind == KeyKind::rsa2048) {
    bssl::UniquePtr<RSA> pair(RSA_new());
    bssl::UniquePtr<BIGNUM> exponent(BN_new());
    BH_CHECK(pair && exponent && BN_set_word(exponent.get(), RSA_F4) == 1 &&
             RSA_generate_key_ex(pair.get(), 2048, exponent.get(), nullptr) == 1 &&
             EVP_PKEY_set1_RSA(key.get(), pair.get()) == 1);
    return key;
  }
  bssl::UniquePtr<EC_KEY> pair(EC_KEY_new_by_curve_name(kind == KeyKind::p384 ? NID_secp384r1 : NID_X9_62_prime256v1));
  BH_CHECK(pair && key && EC_KEY_generate_key(pair.get()) == 1 && EVP_PKEY_set1_EC_KEY(key.get(), pair.get()) == 1);
  return key;
}

bool is_account(std::string_view text) {
  auto fine = [](char c) {
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '.' || c == '-' ||
           c == '_' || c == '+' || c == '@';
  };
  return !text.empty() && text.size() <= kCommonNameBytesMax && std::ranges::all_of(text, fine);
}

void set_serial(X509* certificate) {
  uint8_t bytes[kSerialBytes];
  RAND_bytes(bytes, sizeof bytes);
  bytes[0] = static_cast<uint8_t>((bytes[0] & 0x7f) | 0x40);  // positive, full length
  bssl::UniquePtr<BIGNUM> number(BN_bin2bn(bytes, sizeof bytes, nullptr));
  BH_CHECK(number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)));
}

void add_extension(X509* certificate, X509V3_CTX* context, int nid, const char* value) {
  bssl::UniquePtr<X509_EXTENSION> extension(X509V3_EXT_nconf_nid(nullptr, context, nid, value));
  BH_CHECK(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

std::string pem_text(BIO* bio) {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  BH_CHECK(BIO_mem_contents(bio, &bytes, &size) == 1);
  return std::string(as_text({bytes, size}));
}

// Without an issuer the certificate signs itself.
Result<CertificateAndKey> build(const Profile& profile, const Issuer* issuer) {
  int64_t from = to_unix_seconds(profile.validity.from), to = to_unix_seconds(profile.validity.to);
  if (from >= to) return fail(tls_error(TlsError::invalid_chain));
  auto key = make_key(profile.key);
  bssl::UniquePtr<X509> certificate(X509_new());
  X509* made = certificate.get();
  BH_CHECK(made && X509_set_version(made, X509_VERSION_3) == 1 && X509_set_pubkey(made, key.get()) == 1);
  set_serial(made);
  if (!ASN1_TIME_set_posix(X509_getm_notBefore(made), from) || !ASN1_TIME_set_posix(X509_getm_notAfter(made), to)) {
    ERR_clear_error();
    return fail(tls_error(TlsError::invalid_chain));
  }
  X509_NAME* subject = X509_get_subject_name(made);
  if (!X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                  reinterpret_cast<const uint8_t*>(profile.common_name.data()),
                                  static_cast<ossl_ssize_t>(profile.common_name.size()), -1, 0)) {
    ERR_clear_error();
    return fail(tls_error(TlsError::invalid_chain));
  }
  X509* signer = issuer ? issuer->certificate : made;
  BH_CHECK(X509_set_issuer_name(made, X509_get_subject_name(signer)) == 1);
  X509V3_CTX context;
  X509V3_set_ctx(&context, signer, made, nullptr, nullptr, 0);
  add_extension(made, &context, NID_subject_key_identifier, "hash");
  add_extension(made, &context, NID_authority_key_identifier, "keyid:always");
  if (profile.alternative_names.empty()) {
    add_extension(made, &context, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(made, &context, NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    add_extension(made, &context, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(made, &context, NID_key_usage, "critical,digitalSignature");
    if (profile.extended_key_usage) add_extension(made, &context, NID_ext_key_usage, profile.extended_key_usage);
    add_extension(made, &context, NID_subject_alt_name, profile.alternative_names.c_str());
  }
  BH_CHECK(X509_sign(made, issuer ? issuer->key : key.get(), EVP_sha256()) > 0);

  bssl::UniquePtr<BIO> chain_pem(BIO_new(BIO_s_mem())), key_pem(BIO_new(BIO_s_mem()));
  BH_CHECK(PEM_write_bio_X509(chain_pem.get(), made) == 1);
  BH_CHECK(PEM_write_bio_PKCS8PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  CertificateAndKey out;
  out.chain_pem = pem_text(chain_pem.get());
  out.key_pem = pem_text(key_pem.get());
  return out;
}

// "DNS:...,IP:...": the names are checked first, so none can smuggle in a comma.
Result<Profile> server_profile(std::span<const std::string> dns_names, std::span<const std::string> ip_addresses,
                               CertificateValidity validity) {
  Profile profile{.common_name = "bellhop", .alternative_names = {}, .validity = validity};
  auto add = [&](std::string_view kind, std::string_view value) {
    if (!profile.alternative_names.empty()) profile.alternative_names += ',';
    profile.alternative_names += kind;
    profile.alternative_names += value;
  };
  for (const std::string& name : dns_names) {
    std::string_view rest = name;
    if (rest.starts_with("*.")) rest.remove_prefix(2);
    if (!valid_dns_name(rest)) return fail(tls_error(TlsError::invalid_chain));
    add("DNS:", name);
  }
  for (const std::string& address : ip_addresses) {
    if (!valid_ip_literal(address)) return fail(tls_error(TlsError::invalid_chain));
    add("IP:", address);
  }
  if (profile.alternative_names.empty()) return fail(tls_error(TlsError::invalid_chain));
  return profile;
}

Result<bssl::UniquePtr<X509>> first_certificate(std::string_view pem) {
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> buffers;
  bool readable = read_pem_certificates(pem, TlsContext::kPeerChainMax, nullptr, buffers) && !buffers.empty();
  bssl::UniquePtr<X509> certificate(readable ? X509_parse_from_buffer(buffers[0].get()) : nullptr);
  ERR_clear_error();
  if (!certificate) return fail(tls_error(TlsError::invalid_chain));
  return certificate;
}

Result<CertificateAndKey> build_issued(const Profile& profile, const CertificateAndKey& authority) {
  BH_TRY(auto certificate, first_certificate(authority.chain_pem));
  auto key = read_pem_key(authority.key_pem);
  if (!key) return fail(tls_error(TlsError::invalid_chain));
  Issuer issuer{certificate.get(), key.get()};
  return build(profile, &issuer);
}

}  // namespace

CertificateAndKey::~CertificateAndKey() {
  wipe(key_pem);
}

CertificateAndKey& CertificateAndKey::operator=(CertificateAndKey&& other) noexcept {
  std::swap(chain_pem, other.chain_pem);
  std::swap(key_pem, other.key_pem);
  return *this;
}

Result<CertificateAndKey> make_authority(std::string_view name, CertificateValidity validity) {
  if (name.empty() || name.size() > kCommonNameBytesMax) return fail(tls_error(TlsError::invalid_chain));
  return build({.common_name = name, .alternative_names = {}, .validity = validity}, nullptr);
}

Result<CertificateAndKey> issue_certificate(const CertificateAndKey& authority, std::span<const std::string> dns_names,
                                            std::span<const std::string> ip_addresses, CertificateValidity validity) {
  BH_TRY(Profile profile, server_profile(dns_names, ip_addresses, validity));
  return build_issued(profile, authority);
}

Result<CertificateAndKey> issue_client_certificate(const CertificateAndKey& authority,
                                                   const ClientCertificateProfile& wanted) {
  if (!is_account(wanted.account)) return fail(tls_error(TlsError::invalid_chain));
  Profile profile{.common_name = wanted.account,
                  .alternative_names = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:" + wanted.account,
                  .validity = wanted.validity,
                  .key = wanted.key,
                  .extended_key_usage = !wanted.use_stated ? nullptr : wanted.for_clients ? "clientAuth" : "serverAuth"};
  if (wanted.account.contains('@')) profile.alternative_names += ",email:" + wanted.account;
  return build_issued(profile, authority);
}

Result<CertificateAndKey> make_self_signed(std::span<const std::string> dns_names,
                                           std::span<const std::string> ip_addresses, CertificateValidity validity) {
  BH_TRY(Profile profile, server_profile(dns_names, ip_addresses, validity));
  return build(profile, nullptr);
}

Result<std::string> make_revocation_list(const CertificateAndKey& authority, std::span<const std::string> certificates,
                                         CertificateValidity validity) {
  BH_TRY(auto issuer, first_certificate(authority.chain_pem));
  auto key = read_pem_key(authority.key_pem);
  int64_t from = to_unix_seconds(validity.from), to = to_unix_seconds(validity.to);
  bssl::UniquePtr<ASN1_TIME> begin(ASN1_TIME_new()), end(ASN1_TIME_new());
  if (!key || from >= to || !ASN1_TIME_set_posix(begin.get(), from) || !ASN1_TIME_set_posix(end.get(), to)) {
    ERR_clear_error();
    return fail(tls_error(TlsError::invalid_chain));
  }
  bssl::UniquePtr<X509_CRL> list(X509_CRL_new());
  BH_CHECK(list && X509_CRL_set_version(list.get(), X509_CRL_VERSION_2) == 1 &&
           X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(issuer.get())) == 1 &&
           X509_CRL_set1_lastUpdate(list.get(), begin.get()) == 1 && X509_CRL_set1_nextUpdate(list.get(), end.get()) == 1);
  for (const std::string& pem : certificates) {
    BH_TRY(auto certificate, first_certificate(pem));
    bssl::UniquePtr<X509_REVOKED> revoked(X509_REVOKED_new());
    bssl::UniquePtr<ASN1_ENUMERATED> reason(ASN1_ENUMERATED_new());
    constexpr long kKeyCompromise = 1;
    BH_CHECK(revoked && reason && ASN1_ENUMERATED_set(reason.get(), kKeyCompromise) == 1 &&
             X509_REVOKED_set_serialNumber(revoked.get(), X509_get0_serialNumber(certificate.get())) == 1 &&
             X509_REVOKED_set_revocationDate(revoked.get(), begin.get()) == 1 &&
             X509_REVOKED_add1_ext_i2d(revoked.get(), NID_crl_reason, reason.get(), 0, 0) == 1);
    BH_CHECK(X509_CRL_add0_revoked(list.get(), revoked.release()) == 1);
  }
  BH_CHECK(X509_CRL_sort(list.get()) == 1 && X509_CRL_sign(list.get(), key.get(), EVP_sha256()) > 0);
  bssl::UniquePtr<BIO> pem(BIO_new(BIO_s_mem()));
  BH_CHECK(PEM_write_bio_X509_CRL(pem.get(), list.get()) == 1);
  return pem_text(pem.get());
}

Result<SpkiPin> spki_pin(std::string_view pem) {
  BH_TRY(auto certificate, first_certificate(pem));
  uint8_t* der = nullptr;
  int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &der);
  if (size <= 0) return fail(tls_error(TlsError::invalid_chain));
  bssl::UniquePtr<uint8_t> owner(der);
  SpkiPin pin;
  SHA256(der, static_cast<size_t>(size), pin.data());
  return pin;
}

}  // namespace bellhop
