// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

namespace bellhop {

// Codes of Domain::tls. `detail` is 0 where nothing else is said.
enum class TlsError : uint16_t {
  // Of a connection.
  peer_alert = 1,      // detail: alert number, RFC 8446 section 6
  not_tls,             // the peer's first bytes are no TLS (often: plain HTTP)
  version_not_shared,  // no common version; we speak 1.2 and 1.3
  cipher_not_shared,   // no common cipher suite or group
  alpn_not_shared,     // no common application protocol
  damaged_record,      // a record failed its authentication or is larger than allowed
  protocol,            // another breach of the protocol; detail: BoringSSL's reason code
  ended_in_handshake,  // the transport ended before the handshake did
  truncated,           // the transport ended without close_notify: data may be missing
  // Of a peer's certificate; detail: BoringSSL's X509_V_ERR_* where it was the library that refused.
  certificate_missing,
  certificate_expired,
  certificate_not_yet_valid,
  certificate_other_name,
  certificate_unknown_authority,
  certificate_self_signed,
  certificate_pin_mismatch,
  certificate_chain_too_long,  // detail: number of certificates
  certificate_key_size,        // detail: RSA modulus in bits
  certificate_invalid,
  // Of our own configuration; the complaint that comes along names the file.
  invalid_host_name,
  invalid_chain,
  invalid_key,
  key_mismatch,
  own_certificate_expired,
  own_certificate_not_yet_valid,
  invalid_authorities,
  invalid_alpn,
  // Of a connection again.
  renegotiation_asked,  // the server wants to begin anew, most often to ask for a certificate
  // Of a client's certificate again.
  certificate_revoked,             // detail: the reason, RFC 5280 section 5.3.1
  certificate_revocation_unknown,  // no revocation list of its issuer
  certificate_revocations_stale,   // the lists are too old to say that it was not taken back
  certificate_use_unstated,        // it does not say that it is for clients
  // Of our own configuration again.
  invalid_revocations,
};

inline Error tls_error(TlsError code, uint32_t detail = 0) {
  return {Domain::tls, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, TlsError code) {
  return error.domain == Domain::tls && error.code == static_cast<uint16_t>(code);
}

// The peer's alert says that it does not take our certificate, or wants one (RFC 8446 section 6.2).
bool is_certificate_refusal(const Error& error);

// Makes error_text() know Domain::tls. Once, at start, before threads.
void register_tls_error_texts();

}  // namespace bellhop
