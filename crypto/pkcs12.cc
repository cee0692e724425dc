// SPDX-License-Identifier: Apache-2.0
#include "crypto/pkcs12.h"

#include <algorithm>
#include <vector>

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/error.h"
#include "crypto/flat_json.h"
#include "crypto/pkcs12_walk.h"

#include <openssl/asn1.h>
#include <openssl/bytestring.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pkcs8.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace bellhop::crypto {
namespace {

std::unexpected<Error> refuse(CryptoError code, uint32_t detail = 0) {
  ERR_clear_error();
  return fail(crypto_error(code, detail));
}

struct Contents {
  bssl::UniquePtr<EVP_PKEY> key;
  bssl::UniquePtr<STACK_OF(X509)> certificates;
};

// What the library's reader found wrong. Where it came as far as a key, MAC and password were right, and the key's form is
// what it does not take.
Error error_of_reader() {
  int library = ERR_GET_LIB(ERR_peek_error());
  bool of_key = library == ERR_LIB_EVP || library == ERR_LIB_RSA || library == ERR_LIB_EC || library == ERR_LIB_BN;
  return pkcs12_error_of_library(of_key ? CryptoError::pkcs12_key_kind : CryptoError::pkcs12_malformed);
}

Result<Contents> read_contents(Bytes file, std::string_view password) {
  const WipingString text(password);  // the library wants its NUL
  Contents contents;
  contents.certificates.reset(sk_X509_new_null());
  CBS in;
  CBS_init(&in, file.data(), file.size());
  EVP_PKEY* key = nullptr;
  ERR_clear_error();
  bool read = PKCS12_get_key_and_certs(&key, contents.certificates.get(), &in, text.c_str()) == 1;
  if (!read) return fail(error_of_reader());
  contents.key.reset(key);
  if (!key) return refuse(CryptoError::pkcs12_no_key);
  if (sk_X509_num(contents.certificates.get()) == 0) return refuse(CryptoError::pkcs12_no_certificate);
  return contents;
}

Status check_key(const EVP_PKEY* key) {
  if (const RSA* rsa = EVP_PKEY_get0_RSA(key)) {
    unsigned bits = RSA_bits(rsa);
    if (bits < kClientRsaBitsMin || bits > kClientRsaBitsMax) return refuse(CryptoError::pkcs12_key_size, bits);
    return {};
  }
  const EC_KEY* ec = EVP_PKEY_get0_EC_KEY(key);
  int curve = ec ? EC_GROUP_get_curve_name(EC_KEY_get0_group(ec)) : NID_undef;
  if (curve != NID_X9_62_prime256v1 && curve != NID_secp384r1) return refuse(CryptoError::pkcs12_key_kind);
  return {};
}

X509* own_certificate(const Contents& contents) {
  for (X509* certificate : contents.certificates.get()) {
    bssl::UniquePtr<EVP_PKEY> public_key(X509_get_pubkey(certificate));
    if (public_key && EVP_PKEY_cmp(public_key.get(), contents.key.get()) == 1) return certificate;
  }
  return nullptr;
}

Status check_dates(const X509* certificate, WallTime now) {
  int64_t from = 0, to = 0, now_s = to_unix_seconds(now);
  bool readable = ASN1_TIME_to_posix(X509_get0_notBefore(certificate), &from) == 1 &&
                  ASN1_TIME_to_posix(X509_get0_notAfter(certificate), &to) == 1;
  if (!readable) return refuse(CryptoError::pkcs12_malformed);
  if (now_s < from) return refuse(CryptoError::pkcs12_not_yet_valid);
  if (now_s > to) return refuse(CryptoError::pkcs12_expired);
  return {};
}

// Extended key usage and key usage, where they are there, allow it.
Status check_purpose(X509* certificate) {
  const uint32_t extended = X509_get_extended_key_usage(certificate);
  const uint32_t usage = X509_get_key_usage(certificate);
  bool may_log_on = extended == UINT32_MAX || (extended & XKU_SSL_CLIENT) != 0;
  bool may_sign = usage == UINT32_MAX || (usage & KU_DIGITAL_SIGNATURE) != 0;
  if (!may_log_on || !may_sign) return refuse(CryptoError::pkcs12_not_for_clients);
  return {};
}

bool signs_itself(X509* certificate) {
  return X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
}

// The owner's certificate, then each time the issuer of the one before, as far as the file goes. Roots stay out: who
// trusts them has them.
std::vector<X509*> chain_from(X509* own, const Contents& contents) {
  std::vector<X509*> chain{own};
  while (chain.size() < kClientChainMax && !signs_itself(chain.back())) {
    X509* next = nullptr;
    for (X509* certificate : contents.certificates.get()) {
      bool is_next = X509_check_issued(certificate, chain.back()) == X509_V_OK && !signs_itself(certificate);
      if (is_next && std::ranges::find(chain, certificate) == chain.end()) next = certificate;
    }
    if (!next) break;
    chain.push_back(next);
  }
  return chain;
}

Result<Secret> chain_of(const std::vector<X509*>& chain) {
  SecretBuffer out(kPkcs12BytesMax);
  for (X509* certificate : chain) {
    uint8_t* der = nullptr;
    int size = i2d_X509(certificate, &der);
    if (size <= 0) return refuse(CryptoError::pkcs12_malformed);
    bool fits = out.append(Bytes(der, static_cast<size_t>(size)));
    OPENSSL_free(der);
    if (!fits) return refuse(CryptoError::pkcs12_too_large);
  }
  return out.finish();
}

Secret key_of(const EVP_PKEY* key) {
  bssl::ScopedCBB out;
  BH_CHECK(CBB_init(out.get(), 2048) && EVP_marshal_private_key(out.get(), key) == 1);
  return Secret::copy_of(Bytes(CBB_data(out.get()), CBB_len(out.get())));
}

}  // namespace

Result<uint64_t> count_pkcs12_iterations(Bytes file) { return walk_pkcs12(file, nullptr); }

Result<ClientCertificate> open_pkcs12(Bytes file, std::string_view password, WallTime now) {
  BH_CHECKED(walk_pkcs12(file, nullptr));
  // The library takes its password as text with an end.
  if (password.find('\0') != password.npos) return refuse(CryptoError::pkcs12_password);
  BH_CHECKED(walk_pkcs12(file, &password));
  BH_TRY(const Contents contents, read_contents(file, password));
  BH_CHECKED(check_key(contents.key.get()));
  X509* own = own_certificate(contents);
  if (!own) return refuse(CryptoError::pkcs12_mismatch);
  BH_CHECKED(check_dates(own, now));
  BH_CHECKED(check_purpose(own));
  BH_TRY(Secret chain, chain_of(chain_from(own, contents)));
  ClientCertificate opened{.private_key = key_of(contents.key.get()), .chain = std::move(chain)};
  ERR_clear_error();
  if (opened.private_key.size() + opened.chain.size() > kPkcs12BytesMax) return refuse(CryptoError::pkcs12_too_large);
  return opened;
}

Result<Secret> make_pkcs12(const ClientCertificate& certificate, std::string_view password, unsigned iterations) {
  CBS in;
  CBS_init(&in, certificate.private_key.reveal().data(), certificate.private_key.size());
  bssl::UniquePtr<EVP_PKEY> key(EVP_parse_private_key(&in));
  bssl::UniquePtr<STACK_OF(X509)> issuers(sk_X509_new_null());
  bssl::UniquePtr<X509> own;
  Bytes rest = certificate.chain.reveal();
  while (!rest.empty()) {
    const uint8_t* at = rest.data();
    bssl::UniquePtr<X509> next(d2i_X509(nullptr, &at, static_cast<long>(rest.size())));
    if (!next) return refuse(CryptoError::pkcs12_malformed);
    rest = rest.subspan(static_cast<size_t>(at - rest.data()));
    if (!own) {
      own = std::move(next);
    } else {
      BH_CHECK(bssl::PushToStack(issuers.get(), std::move(next)));
    }
  }
  if (!key || !own) return refuse(CryptoError::pkcs12_malformed);
  const WipingString text(password);
  bssl::UniquePtr<PKCS12> made(PKCS12_create(text.c_str(), nullptr, key.get(), own.get(), issuers.get(),
                                             NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
                                             NID_pbe_WithSHA1And3_Key_TripleDES_CBC, static_cast<int>(iterations),
                                             static_cast<int>(iterations), 0));
  uint8_t* der = nullptr;
  int size = made ? i2d_PKCS12(made.get(), &der) : -1;
  if (size <= 0) return refuse(CryptoError::pkcs12_mismatch);
  Secret file = Secret::copy_of(Bytes(der, static_cast<size_t>(size)));
  OPENSSL_free(der);
  return file;
}

}  // namespace bellhop::crypto
