// SPDX-License-Identifier: Apache-2.0
#include "core/tls/verify.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "core/base/check.h"
#include "core/tls/host_name.h"
#include "core/tls/pem.h"

namespace bellhop {
namespace {

TlsError code_of(int verify_error) {
  switch (verify_error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return TlsError::certificate_expired;
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return TlsError::certificate_not_yet_valid;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return TlsError::certificate_other_name;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return TlsError::certificate_unknown_authority;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return TlsError::certificate_self_signed;
    default:
      return TlsError::certificate_invalid;
  }
}

// Giant keys make one signature check cost seconds; small ones are broken.
Status check_key_size(X509* certificate) {
  bssl::UniquePtr<EVP_PKEY> key(X509_get_pubkey(certificate));
  if (!key) return fail(tls_error(TlsError::certificate_invalid, X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY));
  const RSA* rsa = EVP_PKEY_get0_RSA(key.get());
  if (!rsa) return {};
  unsigned bits = RSA_bits(rsa);
  if (bits < TlsContext::kRsaBitsMin || bits > TlsContext::kRsaBitsMax) {
    return fail(tls_error(TlsError::certificate_key_size, bits));
  }
  return {};
}

Status check_pins(const TlsContext& context, X509* certificate) {
  if (context.pins().empty()) return {};
  uint8_t* der = nullptr;
  int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return fail(tls_error(TlsError::certificate_invalid));
  bssl::UniquePtr<uint8_t> owner(der);
  SpkiPin pin;
  SHA256(der, static_cast<size_t>(size), pin.data());
  if (std::ranges::find(context.pins(), pin) == context.pins().end()) {
    return fail(tls_error(TlsError::certificate_pin_mismatch));
  }
  return {};
}

// What a chain check would also have looked at, for a certificate that is trusted by its key alone.
Status check_name_and_dates(X509* certificate, const std::string& host) {
  bool matches = valid_ip_literal(host) ? X509_check_ip_asc(certificate, host.c_str(), 0) == 1
                                        : X509_check_host(certificate, host.data(), host.size(),
                                                          X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1;
  if (!matches) return fail(tls_error(TlsError::certificate_other_name));
  CertificateDates dates;
  if (!certificate_dates(certificate, dates)) return fail(tls_error(TlsError::certificate_invalid));
  int64_t now = tls_clock_seconds();
  if (now < dates.from) return fail(tls_error(TlsError::certificate_not_yet_valid));
  if (now > dates.to) return fail(tls_error(TlsError::certificate_expired));
  return {};
}

// What an authority took back. The chain's last one is an authority that we trust by name. Of a user's certificate a list
// must speak; of those between it and us, where there is one.
Status check_revocations(const TlsRevocations& revocations, const STACK_OF(X509) * chain) {
  for (size_t i = 0; i + 1 < sk_X509_num(chain); ++i) {
    Status good = revocations.check(sk_X509_value(chain, i), sk_X509_value(chain, i + 1));
    bool unlisted = !good && is(good.error(), TlsError::certificate_revocation_unknown);
    if (!good && !(unlisted && i > 0)) return good;
  }
  // A certificate that is trusted by itself has nobody who could take it back but the operator.
  return {};
}

// `host`: of a server; null: it is a client's chain.
Status check_chain(const TlsContext& context, X509* certificate, STACK_OF(X509) * others, const std::string* host) {
  bssl::UniquePtr<X509_STORE_CTX> check(X509_STORE_CTX_new());
  BH_CHECK(X509_STORE_CTX_init(check.get(), context.authorities()->store(), certificate, others) == 1);
  BH_CHECK(X509_STORE_CTX_set_default(check.get(), host ? "ssl_server" : "ssl_client") == 1);
  X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(check.get());
  // A common name is no host name (RFC 6125 section 6.4.4); an anchor need not be self-signed.
  X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
  X509_VERIFY_PARAM_set_depth(rules, static_cast<int>(TlsContext::kPeerChainMax));
  X509_VERIFY_PARAM_set_time_posix(rules, tls_clock_seconds());
  if (host) {
    int named = valid_ip_literal(*host) ? X509_VERIFY_PARAM_set1_ip_asc(rules, host->c_str())
                                        : X509_VERIFY_PARAM_set1_host(rules, host->data(), host->size());
    BH_CHECK(named == 1);
  }
  if (X509_verify_cert(check.get()) == 1) {
    const TlsRevocations* revocations = host ? nullptr : context.revocations();
    return revocations ? check_revocations(*revocations, X509_STORE_CTX_get0_chain(check.get())) : Status();
  }
  int error = X509_STORE_CTX_get_error(check.get());
  TlsError code = code_of(error);
  // Without the right to sign certificates, which a server's own one lacks, the library does not see that it is alone.
  bool own_issuer = X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
  if (code == TlsError::certificate_unknown_authority && own_issuer) code = TlsError::certificate_self_signed;
  return fail(tls_error(code, static_cast<uint32_t>(error)));
}

struct PeerChain {
  bssl::UniquePtr<X509> certificate;
  bssl::UniquePtr<STACK_OF(X509)> others;
};

Result<PeerChain> parse_chain(const STACK_OF(CRYPTO_BUFFER) * chain) {
  size_t count = sk_CRYPTO_BUFFER_num(chain);
  if (count == 0) return fail(tls_error(TlsError::certificate_missing));
  if (count > TlsContext::kPeerChainMax) {
    return fail(tls_error(TlsError::certificate_chain_too_long, static_cast<uint32_t>(count)));
  }
  PeerChain peer;
  peer.others.reset(sk_X509_new_null());
  for (size_t i = 0; i < count; ++i) {
    bssl::UniquePtr<X509> parsed(X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(chain, i)));
    if (!parsed) return fail(tls_error(TlsError::certificate_invalid));
    BH_CHECKED(check_key_size(parsed.get()));
    if (i == 0) {
      peer.certificate = std::move(parsed);
    } else {
      BH_CHECK(bssl::PushToStack(peer.others.get(), std::move(parsed)));
    }
  }
  return peer;
}

}  // namespace

Status verify_server_chain(const TlsContext& context, std::string_view host, const STACK_OF(CRYPTO_BUFFER) * chain) {
  BH_TRY(const PeerChain peer, parse_chain(chain));
  std::string name(host);
  BH_CHECKED(check_pins(context, peer.certificate.get()));
  if (!context.authorities()) return check_name_and_dates(peer.certificate.get(), name);
  return check_chain(context, peer.certificate.get(), peer.others.get(), &name);
}

Status verify_client_chain(const TlsContext& context, const STACK_OF(CRYPTO_BUFFER) * chain) {
  BH_TRY(const PeerChain peer, parse_chain(chain));
  X509* own = peer.certificate.get();
  bool stated = (X509_get_extension_flags(own) & EXFLAG_XKUSAGE) != 0 &&
                (X509_get_extended_key_usage(own) & XKU_SSL_CLIENT) != 0;
  BH_CHECKED(check_chain(context, own, peer.others.get(), nullptr));
  if (context.client_use_stated() && !stated) return fail(tls_error(TlsError::certificate_use_unstated));
  return {};
}

uint8_t alert_of(const Error& error) {
  switch (static_cast<TlsError>(error.code)) {
    case TlsError::certificate_expired:
    case TlsError::certificate_not_yet_valid:
      return SSL_AD_CERTIFICATE_EXPIRED;
    case TlsError::certificate_unknown_authority:
    case TlsError::certificate_self_signed:
      return SSL_AD_UNKNOWN_CA;
    case TlsError::certificate_revoked:
      return SSL_AD_CERTIFICATE_REVOKED;
    case TlsError::certificate_use_unstated:
      return SSL_AD_UNSUPPORTED_CERTIFICATE;
    default:
      return SSL_AD_BAD_CERTIFICATE;
  }
}

}  // namespace bellhop
