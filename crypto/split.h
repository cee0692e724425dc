// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "core/base/error.h"
#include "crypto/record.h"
#include "crypto/sealing.h"
#include "crypto/tokens.h"

namespace bellhop::crypto {

// The envelope `split`, for records that do not fit into a URL or that change. It has two halves:
//
//   creds (in the callback URL)  version 2 ‖ KEK id (32) ‖ nonce (96) ‖ AES-256-GCM of K under HKDF(KEK, "split")
//   ciphertext (in our store)    nonce (96) ‖ AES-256-GCM(K, packed record)
//
// K is 32 random bytes, made with the envelope and kept nowhere else. Who has the URL has no record; who has the store
// and the keyring has no K. Both halves are bound to the same label. The creds of an envelope never change, the record
// may be sealed under K again and again, each time with a fresh random nonce: NIST's bound for one key, 2^32, is out of
// reach. No private key takes part.
inline constexpr size_t kSplitCredsBytes = 1 + 4 + kAeadNonceBytes + kAeadKeyBytes + kAeadTagBytes;
inline constexpr size_t kSplitCiphertextBytesMax = kAeadNonceBytes + kPackedBytesMax + kAeadTagBytes;

// What a split envelope is bound to. All three are known again when the callback comes.
struct SplitBinding {
  Capability capability;
  Bytes key_name;               // by which the subscription names its user's key pair
  std::string_view ews_origin;  // as in EnvelopeBinding

  Digest label() const;  // over the three with their lengths
};

// Opens and makes the half in the URL. Immutable after construction; any core.
class SplitKeys {
 public:
  explicit SplitKeys(const Keyring& keyring);

  // `key` is K. Under the current KEK.
  std::vector<uint8_t> make_creds(const Secret& key, const SplitBinding& binding) const;
  // K. Errors: decrypt_failed; key_unknown.
  Result<Secret> open_creds(Bytes creds, const SplitBinding& binding) const;
  uint32_t current() const { return current_; }
  // The KEK that creds name; nothing where they are no split envelope's.
  static std::optional<uint32_t> kek_of(Bytes creds);

 private:
  std::map<uint32_t, Secret> keys_;  // derived for "split"
  uint32_t current_ = 0;
};

// A new K.
Secret make_split_key();
// The half in the store. Errors: too_large (no record within the bounds of record.h is).
Result<std::vector<uint8_t>> split_seal(const Secret& key, const CredentialRecord& record, const SplitBinding& binding);
// Errors: decrypt_failed.
Result<CredentialRecord> split_open(const Secret& key, Bytes ciphertext, const SplitBinding& binding);

}  // namespace bellhop::crypto
