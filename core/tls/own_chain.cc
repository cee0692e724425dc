// SPDX-License-Identifier: Apache-2.0
#include "core/tls/own_chain.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "core/tls/context.h"

namespace bellhop {
namespace {

// Refuses with a line for the operator.
class Refusal {
 public:
  explicit Refusal(std::string& complaint) : complaint_(complaint) {}
  std::unexpected<Error> operator()(TlsError code, const TlsFile& file, std::string_view why, uint32_t detail = 0) {
    complaint_ = std::string(file.name) + ": " + std::string(why);
    return fail(tls_error(code, detail));
  }

 private:
  std::string& complaint_;
};

Status read_certificates(const TlsFile& file, OwnDates wanted, Refusal& refuse, OwnChain& own,
                         bssl::UniquePtr<EVP_PKEY>& public_key) {
  std::vector<bssl::UniquePtr<X509>> chain;
  size_t bytes = 0;
  int64_t now = tls_clock_seconds();
  for (auto& buffer : own.certificates) {
    std::string which = "certificate " + std::to_string(chain.size() + 1);
    chain.emplace_back(X509_parse_from_buffer(buffer.get()));
    X509* certificate = chain.back().get();
    CertificateDates dates;
    if (!certificate || !certificate_dates(certificate, dates)) {
      return refuse(TlsError::invalid_chain, file, which + " does not parse");
    }
    which += " (" + certificate_subject(certificate) + ")";
    if (wanted == OwnDates::must_be_good && now > dates.to) {
      return refuse(TlsError::own_certificate_expired, file, which + " has expired on " + date_text(dates.to));
    }
    if (wanted == OwnDates::must_be_good && now < dates.from) {
      return refuse(TlsError::own_certificate_not_yet_valid, file,
                    which + " is not valid before " + date_text(dates.from));
    }
    if (chain.size() > 1 && X509_check_issued(certificate, chain[chain.size() - 2].get()) != X509_V_OK) {
      return refuse(TlsError::invalid_chain, file, which + " did not issue the one before it");
    }
    own.valid_from = std::max(own.valid_from, dates.from);
    own.expires = std::min(own.expires, dates.to);
    bytes += CRYPTO_BUFFER_len(buffer.get());
  }
  if (bytes > TlsContext::kOwnChainBytesMax) {
    return refuse(TlsError::invalid_chain, file, "the chain is longer than 32 KB");
  }
  public_key.reset(X509_get_pubkey(chain[0].get()));
  return {};
}

}  // namespace

Result<OwnChain> read_own_chain(const TlsFile& chain, const TlsFile& key, OwnDates dates, CRYPTO_BUFFER_POOL* pool,
                                std::string& complaint) {
  Refusal refuse(complaint);
  OwnChain own;
  if (!read_pem_certificates(chain.content, TlsContext::kPeerChainMax, pool, own.certificates)) {
    bool too_many = own.certificates.size() == TlsContext::kPeerChainMax;
    return refuse(TlsError::invalid_chain, chain,
                  too_many ? "holds more than 8 certificates" : "the PEM text is damaged");
  }
  if (own.certificates.empty()) {
    return refuse(TlsError::invalid_chain, chain, "holds no PEM block of type CERTIFICATE");
  }
  bssl::UniquePtr<EVP_PKEY> public_key;
  BH_CHECKED(read_certificates(chain, dates, refuse, own, public_key));
  own.key = read_pem_key(key.content);
  if (!own.key) return refuse(TlsError::invalid_key, key, "holds no unencrypted private key in PEM");
  if (!public_key || EVP_PKEY_cmp(public_key.get(), own.key.get()) != 1) {
    return refuse(TlsError::key_mismatch, key, "does not belong to the first certificate in " + std::string(chain.name));
  }
  const RSA* rsa = EVP_PKEY_get0_RSA(own.key.get());
  if (rsa && (RSA_bits(rsa) < TlsContext::kRsaBitsMin || RSA_bits(rsa) > TlsContext::kRsaBitsMax)) {
    return refuse(TlsError::certificate_key_size, key, "RSA keys must have 2048 to 8192 bits", RSA_bits(rsa));
  }
  return own;
}

Status set_identity(SSL* ssl, const TlsIdentity& identity, CRYPTO_BUFFER_POOL* pool) {
  auto refuse = [](TlsError code) {
    ERR_clear_error();
    return fail(tls_error(code));
  };
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> owners;
  std::vector<CRYPTO_BUFFER*> chain;
  CBS rest;
  CBS_init(&rest, identity.chain.data(), identity.chain.size());
  while (CBS_len(&rest) > 0) {
    CBS certificate;
    bool good = chain.size() < TlsContext::kPeerChainMax &&
                CBS_get_asn1_element(&rest, &certificate, CBS_ASN1_SEQUENCE) == 1;
    if (!good) return refuse(TlsError::invalid_chain);
    owners.emplace_back(CRYPTO_BUFFER_new(CBS_data(&certificate), CBS_len(&certificate), pool));
    chain.push_back(owners.back().get());
  }
  if (chain.empty()) return refuse(TlsError::invalid_chain);
  CBS in;
  CBS_init(&in, identity.private_key.data(), identity.private_key.size());
  bssl::UniquePtr<EVP_PKEY> key(EVP_parse_private_key(&in));
  if (!key || CBS_len(&in) != 0) return refuse(TlsError::invalid_key);
  // Looks at the first certificate's key too.
  if (SSL_set_chain_and_key(ssl, chain.data(), chain.size(), key.get(), nullptr) != 1) {
    return refuse(TlsError::key_mismatch);
  }
  return {};
}

}  // namespace bellhop
