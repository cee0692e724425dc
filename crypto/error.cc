// SPDX-License-Identifier: Apache-2.0
#include "crypto/error.h"

#include <fmt/format.h>

namespace bellhop::crypto {
namespace {

std::string crypto_error_text(uint16_t code, uint32_t detail) {
  switch (static_cast<CryptoError>(code)) {
    case CryptoError::decrypt_failed:
      return "decryption failed";
    case CryptoError::malformed:
      return "malformed encoding";
    case CryptoError::unsupported:
      return "algorithm, envelope or version not supported";
    case CryptoError::unsupported_type:
      return "type of credential not supported";
    case CryptoError::key_refused:
      return "key refused: RSA-2048 or RSA-3072 with exponent 65537, or P-256, whose numbers fit together";
    case CryptoError::key_unknown:
      return "sealed under a key-encryption key that the keyring does not hold";
    case CryptoError::record_malformed:
      return "credential record malformed";
    case CryptoError::record_no_refresh_token:
      return "credential record holds an access token alone; a refresh token is needed";
    case CryptoError::record_wrong_user:
      return "credential record is of another user";
    case CryptoError::record_wrong_device:
      return "credential record is of another device";
    case CryptoError::record_stale:
      return "credential record too old, by its iat";
    case CryptoError::record_early:
      return "credential record from the future, by its iat; compare the clocks";
    case CryptoError::too_large:
      return "credential record too large for its envelope";
    case CryptoError::signature_invalid:
      return "signature invalid";
    case CryptoError::overloaded:
      return "decryption queue or key cache full";
    case CryptoError::keyring_syntax:
      return "keyring: a line must be 'kek <id> <base64 of 32 bytes> [current]', empty, or a comment that begins with '#'";
    case CryptoError::keyring_duplicate:
      return "keyring: this id was given on an earlier line";
    case CryptoError::keyring_current:
      return "keyring: exactly one key must be marked 'current'";
    case CryptoError::keyring_empty:
      return "keyring: no key in it; make one with 'bellhop keyring'";
    case CryptoError::keyring_permissions:
      return "keyring: the file must be readable by its owner only (mode 0400 or 0600); detail is the mode";
    case CryptoError::keyring_owner:
      return "keyring: the file belongs to another user; detail is that user's number";
    case CryptoError::pkcs12_malformed:
      return "PKCS#12 malformed";
    case CryptoError::pkcs12_too_large:
      return "PKCS#12 too large, or of too many parts";
    case CryptoError::pkcs12_unsupported:
      return "PKCS#12 of a form or with an algorithm that is not read";
    case CryptoError::pkcs12_iterations:
      return fmt::format("PKCS#12 asks for too much key derivation: {} iterations", detail);
    case CryptoError::pkcs12_password:
      return "PKCS#12: wrong password, or a damaged file";
    case CryptoError::pkcs12_no_key:
      return "PKCS#12 without a private key";
    case CryptoError::pkcs12_many_keys:
      return "PKCS#12 with more than one private key";
    case CryptoError::pkcs12_no_certificate:
      return "PKCS#12 without a certificate";
    case CryptoError::pkcs12_key_kind:
      return "PKCS#12: the private key is neither RSA nor EC P-256 or P-384";
    case CryptoError::pkcs12_key_size:
      return fmt::format("PKCS#12: an RSA key of {} bits (2048 to 8192 are accepted)", detail);
    case CryptoError::pkcs12_mismatch:
      return "PKCS#12: no certificate belongs to the private key";
    case CryptoError::pkcs12_expired:
      return "PKCS#12: the certificate has expired";
    case CryptoError::pkcs12_not_yet_valid:
      return "PKCS#12: the certificate is not valid yet";
    case CryptoError::pkcs12_not_for_clients:
      return "PKCS#12: the certificate is not for TLS clients (its key usage)";
    case CryptoError::certificate_no_user:
      return "the certificate names no user (no UPN in its subject alternative names)";
    case CryptoError::certificate_many_users:
      return "the certificate names more than one user";
    case CryptoError::certificate_bad_user:
      return "the user name in the certificate is not of the form user@domain";
    case CryptoError::context_stale:
      return fmt::format("the signed context is {} s old", detail);
    case CryptoError::context_early:
      return fmt::format("the signed context is {} s from the future; compare the clocks", detail);
    case CryptoError::jar_stale:
      return fmt::format("the cookie jar is {} s old", detail);
  }
  return fmt::format("code {}", code);
}

}  // namespace

void register_error_texts() {
  register_error_text(Domain::crypto, "crypto", crypto_error_text);
}

}  // namespace bellhop::crypto
