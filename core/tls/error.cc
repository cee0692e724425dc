// SPDX-License-Identifier: Apache-2.0
#include "core/tls/error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "core/tls/boringssl.h"

namespace bellhop {
namespace {

std::string with(std::string_view phrase, std::string_view extra) {
  std::string text(phrase);
  text += ": ";
  text += extra;
  return text;
}

std::string connection_text(TlsError code, uint32_t detail) {
  switch (code) {
    case TlsError::peer_alert:
      return with("the peer refused with alert " + std::to_string(detail), SSL_alert_desc_string_long(int(detail)));
    case TlsError::not_tls:
      return "the peer does not speak TLS on this port";
    case TlsError::version_not_shared:
      return "no TLS version in common (1.2 and 1.3 are spoken)";
    case TlsError::cipher_not_shared:
      return "no cipher suite in common (AEAD with ECDHE is spoken)";
    case TlsError::alpn_not_shared:
      return "no application protocol in common";
    case TlsError::damaged_record:
      return "a record is damaged";
    case TlsError::protocol: {
      const char* reason = ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, detail));
      return with("protocol violated", reason ? reason : "unknown reason " + std::to_string(detail));
    }
    case TlsError::ended_in_handshake:
      return "the connection ended during the handshake";
    case TlsError::truncated:
      return "the connection ended without close_notify";
    default:
      return "code " + std::to_string(static_cast<unsigned>(code));
  }
}

std::string tls_error_text(uint16_t code, uint32_t detail) {
  switch (static_cast<TlsError>(code)) {
    case TlsError::certificate_missing:
      return "the peer sent no certificate";
    case TlsError::certificate_expired:
      return "certificate has expired";
    case TlsError::certificate_not_yet_valid:
      return "certificate is not valid yet";
    case TlsError::certificate_other_name:
      return "certificate is for another name";
    case TlsError::certificate_unknown_authority:
      return "certificate is from an unknown authority";
    case TlsError::certificate_self_signed:
      return "certificate is self-signed and not among the trusted ones";
    case TlsError::certificate_pin_mismatch:
      return "certificate has none of the pinned keys";
    case TlsError::certificate_chain_too_long:
      return "certificate chain is too long: " + std::to_string(detail) + " certificates";
    case TlsError::certificate_key_size:
      return "certificate has an RSA key of " + std::to_string(detail) + " bits (2048 to 8192 are accepted)";
    case TlsError::certificate_invalid:
      return with("certificate is invalid", X509_verify_cert_error_string(detail));
    case TlsError::invalid_host_name:
      return "host name is malformed";
    case TlsError::invalid_chain:
      return "certificate chain is unusable";
    case TlsError::invalid_key:
      return "private key is unusable";
    case TlsError::key_mismatch:
      return "private key does not belong to the certificate";
    case TlsError::own_certificate_expired:
      return "our certificate has expired";
    case TlsError::own_certificate_not_yet_valid:
      return "our certificate is not valid yet";
    case TlsError::invalid_authorities:
      return "trusted certificates are unusable";
    case TlsError::invalid_alpn:
      return "list of application protocols is unusable";
    case TlsError::renegotiation_asked:
      return "the server asks to renegotiate, most often for a certificate; it must ask in the first handshake";
    case TlsError::certificate_revoked:
      return "certificate was revoked (reason " + std::to_string(detail) + ")";
    case TlsError::certificate_revocation_unknown:
      return "no revocation list of the certificate's issuer is there";
    case TlsError::certificate_revocations_stale:
      return "the revocation lists are too old to trust";
    case TlsError::certificate_use_unstated:
      return "certificate does not name clientAuth among its uses";
    case TlsError::invalid_revocations:
      return "revocation lists are unusable";
    default:
      return connection_text(static_cast<TlsError>(code), detail);
  }
}

}  // namespace

bool is_certificate_refusal(const Error& error) {
  if (!is(error, TlsError::peer_alert)) return false;
  switch (error.detail) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
      return true;
    default:
      return false;
  }
}

void register_tls_error_texts() {
  register_error_text(Domain::tls, "tls", tls_error_text);
}

}  // namespace bellhop
