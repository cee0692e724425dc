// SPDX-License-Identifier: Apache-2.0
#include "crypto/error.h"

#include <fmt/format.h>

namespace bellhop::crypto {
namespace {

std::string crypto_error_text(uint16_t code, uint32_t) {
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
      return "keyring: a line must be 'kek <id> <base64 of 32 bytes> [current]', empty, or a comment that begins with "
             "'#'; "
             "detail is the line";
    case CryptoError::keyring_duplicate:
      return "keyring: this id was given on an earlier line; detail is the line";
    case CryptoError::keyring_current:
      return "keyring: exactly one key must be marked 'current'; detail is the second such line";
    case CryptoError::keyring_empty:
      return "keyring: no key in it; make one with 'bellhop keyring'";
    case CryptoError::keyring_permissions:
      return "keyring: the file must be readable by its owner only (mode 0400 or 0600); detail is the mode";
    case CryptoError::keyring_owner:
      return "keyring: the file belongs to another user; detail is that user's number";
  }
  return fmt::format("code {}", code);
}

}  // namespace

void register_error_texts() {
  register_error_text(Domain::crypto, "crypto", crypto_error_text);
}

}  // namespace bellhop::crypto
