// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

namespace bellhop::crypto {

// Codes of Domain::crypto. What an attacker could learn from is one code: decrypt_failed.
enum class CryptoError : uint16_t {
  decrypt_failed = 1,  // RSA, OAEP, AEAD tag, version or binding: the one answer for all of them
  malformed,           // text or DER that is not what it should be, before any key is touched
  unsupported,         // well formed, but an algorithm, envelope or version that we do not do
  unsupported_type,   // a credential record of a known type that this server does not take yet; detail = CredentialType
  key_refused,        // key of a size or exponent that is not allowed, or whose parts do not fit together
  key_unknown,        // sealed under a key-encryption key that the keyring does not hold; detail = its id
  record_malformed,   // credential record: not JSON of the agreed members
  record_no_refresh_token,  // credential record of type oauth with an access token alone
  record_wrong_user,  // address does not hash to the request's userId
  record_wrong_device,  // deviceId is not the request's
  record_stale,         // iat too long ago; detail = age in seconds
  record_early,         // iat in the future; detail = seconds
  too_large,            // does not fit in the envelope; detail = bytes needed
  signature_invalid,    // JWT or ECDSA signature
  overloaded,           // a queue or cache is full
  keyring_syntax,       // detail = line
  keyring_duplicate,    // the same id twice; detail = line
  keyring_current,      // not exactly one line says "current"; detail = line, or 0
  keyring_empty,        // no key at all
  keyring_permissions,  // readable by others than the owner; detail = mode
  keyring_owner,        // belongs to another user; detail = user id
  pkcs12_malformed,     // not a PKCS#12
  pkcs12_too_large,     // the file, or the number of its parts
  pkcs12_unsupported,   // an algorithm or form that is not read: signed, without a MAC
  pkcs12_iterations,    // asks for too much key derivation; detail = the count that was too much
  pkcs12_password,      // wrong, or the file is damaged
  pkcs12_no_key,
  pkcs12_many_keys,
  pkcs12_no_certificate,
  pkcs12_key_kind,      // neither RSA nor EC P-256 or P-384, or its numbers do not fit together
  pkcs12_key_size,      // detail = bits of the RSA modulus
  pkcs12_mismatch,      // no certificate belongs to the key
  pkcs12_expired,
  pkcs12_not_yet_valid,
  pkcs12_not_for_clients,  // extended key usage or key usage forbids it
  certificate_no_user,     // the certificate names no user in the form that is asked for
  certificate_many_users,  // it names more than one
  certificate_bad_user,    // the name is not text of the form user@domain
  context_stale,           // a signed context issued too long ago; detail = age in seconds
  context_early,           // issued in the future; detail = seconds
  jar_stale,               // a cookie jar sealed too long ago; detail = age in seconds
};

inline Error crypto_error(CryptoError code, uint32_t detail = 0) {
  return {Domain::crypto, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, CryptoError code) {
  return error.domain == Domain::crypto && error.code == static_cast<uint16_t>(code);
}

// Makes error_text() speak for Domain::crypto. Call once, at start.
void register_error_texts();

}  // namespace bellhop::crypto
