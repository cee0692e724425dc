// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/base/error.h"
#include "crypto/record.h"
#include "crypto/rsa.h"
#include "crypto/tokens.h"

namespace bellhop::crypto {

// The forms of `creds` in a callback URL. Value = the version byte in front. `split` is made and opened in split.h.
enum class Envelope : uint8_t { rsa = 1, split = 2 };

inline constexpr size_t kCredsBytesMax = 1 + 384;        // `rsa` with a 3072-bit key
inline constexpr size_t kEns2CredentialsBytesMax = 512;  // of the base64 text: a 3072-bit key exactly

// What an envelope is bound to. All three are known again when the callback comes.
struct EnvelopeBinding {
  Capability capability;
  KeyId key_id;
  std::string_view ews_origin;  // scheme, host and port of the EWS URL, lower case: "https://mail.example.com:443"

  // SHA-256 over the three with their lengths: the OAEP label, or associated data.
  Digest label() const;
};

// SHA-256 of `creds`: kept with the subscription and compared before any private-key operation.
Digest creds_digest(Bytes creds);

// Makes `creds` of form rsa for a callback URL. Errors: too_large (the record does not fit; `split` takes it).
Result<std::vector<uint8_t>> envelope_seal(const RsaPublicKey& key, const CredentialRecord& record,
                                           const EnvelopeBinding& binding);

// An envelope ready for the RSA engine: decrypt `ciphertext` by RSAES-OAEP-SHA-256 with `label`.
struct EnvelopePrepared {
  Envelope envelope = Envelope::rsa;
  Bytes ciphertext;  // points into `creds`
  Digest label{};
};
// `key` is the one that the subscription names; binding.key_id is its id. Errors: decrypt_failed (version, length).
Result<EnvelopePrepared> envelope_prepare(Bytes creds, const RsaPublicKey& key, const EnvelopeBinding& binding);
// `decrypted` is what the private-key step gave. Errors: decrypt_failed.
Result<CredentialRecord> envelope_finish(const EnvelopePrepared& prepared, const Secret& decrypted);

// The ENS2 shape of `credentials` in `subscribe`: base64 of RSA-OAEP-SHA-256 of "username:password", empty label.
// Gives the ciphertext for the engine; read_ens2_credentials reads what comes out. Bound to neither device nor time:
// only where the tenant allows it. Errors: malformed.
Result<std::vector<uint8_t>> parse_ens2_credentials(std::string_view text, const RsaPublicKey& key);

}  // namespace bellhop::crypto
