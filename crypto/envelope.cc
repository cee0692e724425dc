// SPDX-License-Identifier: Apache-2.0
#include "crypto/envelope.h"

#include "core/base/check.h"
#include "crypto/error.h"

namespace bellhop::crypto {

Digest EnvelopeBinding::label() const {
  return sha256_of_parts({capability.bytes, key_id.bytes, as_bytes(ews_origin)});
}

Digest creds_digest(Bytes creds) {
  return sha256(creds);
}

Result<std::vector<uint8_t>> envelope_seal(const RsaPublicKey& key, const CredentialRecord& record,
                                           const EnvelopeBinding& binding) {
  BH_CHECK(binding.key_id == key.id());
  BH_TRY(const Secret packed, pack_record(record, oaep_capacity(key.modulus_bytes())));
  BH_TRY(const std::vector<uint8_t> ciphertext, key.encrypt_oaep(packed.reveal(), binding.label()));
  std::vector<uint8_t> creds;
  creds.reserve(1 + ciphertext.size());
  creds.push_back(static_cast<uint8_t>(Envelope::rsa));
  creds.insert(creds.end(), ciphertext.begin(), ciphertext.end());
  BH_CHECK(creds.size() <= kCredsBytesMax);
  return creds;
}

Result<EnvelopePrepared> envelope_prepare(Bytes creds, const RsaPublicKey& key, const EnvelopeBinding& binding) {
  const bool is_rsa = !creds.empty() && creds[0] == static_cast<uint8_t>(Envelope::rsa);
  if (!is_rsa || creds.size() != 1 + key.modulus_bytes() || binding.key_id != key.id()) {
    return fail(crypto_error(CryptoError::decrypt_failed));
  }
  return EnvelopePrepared{Envelope::rsa, creds.subspan(1), binding.label()};
}

Result<CredentialRecord> envelope_finish(const EnvelopePrepared& prepared, const Secret& decrypted) {
  BH_CHECK(prepared.envelope == Envelope::rsa);
  return unpack_record(decrypted);
}

Result<std::vector<uint8_t>> parse_ens2_credentials(std::string_view text, const RsaPublicKey& key) {
  if (text.size() > kEns2CredentialsBytesMax) return fail(crypto_error(CryptoError::malformed));
  auto ciphertext = from_base64(text);
  if (!ciphertext || ciphertext->size() != key.modulus_bytes()) return fail(crypto_error(CryptoError::malformed));
  return *std::move(ciphertext);
}

}  // namespace bellhop::crypto
