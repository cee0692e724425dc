// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "crypto/aead.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// The key-encryption keys (KEKs), the same on every node. Text, one key a line:
//
//   # comment; empty lines are ignored
//   kek <id> <base64 of 32 bytes> [current]
//
// id is a decimal number from 1 to 4294967295. Words are separated by spaces or tabs. Exactly one line says "current".
class Keyring {
 public:
  static constexpr size_t kTextBytesMax = 64 * 1024;
  static constexpr size_t kKeysMax = 256;

  // Errors: keyring_*, with the line as detail.
  static Result<Keyring> parse(const Secret& text);
  // May this file be trusted? `mode` is st_mode; owner read, or owner read and write, and nothing else.
  // Errors: keyring_permissions, keyring_owner. A systemd credential that the service manager guards needs no check.
  static Status check_permissions(uint32_t mode, uint32_t owner, uint32_t self);

  uint32_t current() const { return current_; }
  bool has(uint32_t id) const { return keys_.contains(id); }
  std::vector<uint32_t> ids() const;
  // HKDF of the key for one purpose ("seal", "split"). Errors: key_unknown.
  Result<Secret> derive(uint32_t id, std::string_view purpose) const;

 private:
  std::map<uint32_t, Secret> keys_;
  uint32_t current_ = 0;
};

// A new keyring file's text with one random key.
Secret make_keyring(uint32_t id = 1);

// Seals records before they go into the store. A box: version 1 ‖ KEK id (32) ‖ nonce (96) ‖ AES-256-GCM under
// HKDF(KEK, "seal"), associated data = version, KEK id, table and record key, the latter two with their lengths. Nonces
// are random: a KEK is good for 2^32 boxes. Immutable after construction; any core.
class Sealer {
 public:
  static constexpr size_t kOverheadBytes = 1 + 4 + kAeadNonceBytes + kAeadTagBytes;

  explicit Sealer(const Keyring& keyring);

  std::vector<uint8_t> seal(std::string_view table, Bytes record_key, Bytes plaintext) const;
  // Errors: decrypt_failed (also where table or record key are not those it was sealed for); key_unknown.
  Result<Secret> unseal(std::string_view table, Bytes record_key, Bytes box) const;
  // The KEK that a box names; nothing where it is no box. For "may this KEK retire" and for sealing anew.
  static std::optional<uint32_t> kek_of(Bytes box);
  uint32_t current() const { return current_; }

 private:
  std::map<uint32_t, Secret> keys_;  // derived for "seal"
  uint32_t current_ = 0;
};

}  // namespace bellhop::crypto
