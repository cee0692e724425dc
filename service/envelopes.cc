// SPDX-License-Identifier: Apache-2.0
#include "service/envelopes.h"

#include "crypto/envelope.h"
#include "crypto/error.h"

namespace bellhop::service {
namespace {

Task<Result<OpenEnvelope>> open_rsa(Core& core, const crypto::Capability& capability, Bytes creds,
                                    const store::SubscriptionRecord& subscription, uint32_t tenant_number) {
  BH_CO_TRY(crypto::KeyCache::Pin key, co_await core.decrypter.key(subscription.key));
  const crypto::RsaPublicKey& public_key = key->key().public_key();
  crypto::EnvelopeBinding binding{
      .capability = capability, .key_id = public_key.id(), .ews_origin = subscription.ews_origin()};
  BH_CO_TRY(crypto::EnvelopePrepared envelope, crypto::envelope_prepare(creds, public_key, binding));
  BH_CO_TRY(crypto::Secret packed,
            co_await core.decrypter.decrypt(std::move(key), envelope.ciphertext, envelope.label, tenant_number));
  BH_CO_TRY(crypto::CredentialRecord record, crypto::envelope_finish(envelope, packed));
  co_return OpenEnvelope{.record = std::move(record), .binding = {}, .split_key = {}};
}

// Two symmetric steps and no private key: K from the URL, the record from the store.
Result<OpenEnvelope> open_split(Core& core, const crypto::Capability& capability, Bytes creds,
                                const store::SubscriptionRecord& subscription) {
  crypto::SplitBinding binding{
      .capability = capability, .key_name = subscription.key, .ews_origin = subscription.ews_origin()};
  BH_TRY(crypto::Secret key, core.node.vault.split_keys().open_creds(creds, binding));
  BH_TRY(const crypto::Secret ciphertext,
         core.node.vault.unseal_split(Vault::capability_hash(capability), subscription.split_ciphertext));
  BH_TRY(crypto::CredentialRecord record, crypto::split_open(key, ciphertext.reveal(), binding));
  return OpenEnvelope{.record = std::move(record), .binding = binding, .split_key = std::move(key)};
}

Result<std::vector<uint8_t>> seal_split(Core& core, const crypto::CredentialRecord& record,
                                        const crypto::Capability& capability, const store::CapabilityHash& hash,
                                        store::SubscriptionRecord& subscription) {
  const Vault& vault = core.node.vault;
  crypto::SplitBinding binding{
      .capability = capability, .key_name = subscription.key, .ews_origin = subscription.ews_origin()};
  crypto::Secret key = crypto::make_split_key();
  BH_TRY(std::vector<uint8_t> ciphertext, crypto::split_seal(key, record, binding));
  const crypto::SplitKeys& keys = vault.split_keys();  // one look: a reload may change what is current
  subscription.envelope = store::EnvelopeKind::split;
  subscription.split_ciphertext = vault.seal_split(hash, ciphertext);
  subscription.kek = keys.current();
  return keys.make_creds(key, binding);
}

// What does not fit into the URL goes into a split envelope.
Result<std::vector<uint8_t>> seal(Core& core, const crypto::CredentialRecord& record, const EnvelopeWish& wish,
                                  const crypto::Capability& capability, const store::CapabilityHash& hash,
                                  store::SubscriptionRecord& subscription) {
  subscription.envelope = store::EnvelopeKind::rsa;
  subscription.split_ciphertext.clear();
  subscription.kek = 0;
  if (wish.split) return seal_split(core, record, capability, hash, subscription);
  crypto::EnvelopeBinding binding{
      .capability = capability, .key_id = wish.key.id(), .ews_origin = subscription.ews_origin()};
  auto sealed = crypto::envelope_seal(wish.key, record, binding);
  if (sealed || !is(sealed.error(), crypto::CryptoError::too_large)) return sealed;
  return seal_split(core, record, capability, hash, subscription);
}

}  // namespace

Task<Result<OpenEnvelope>> open_envelope(Core& core, const crypto::Capability& capability, Bytes creds,
                                         const store::SubscriptionRecord& subscription, uint32_t tenant_number) {
  if (subscription.envelope == store::EnvelopeKind::split) co_return open_split(core, capability, creds, subscription);
  co_return co_await open_rsa(core, capability, creds, subscription, tenant_number);
}

Result<SealedEnvelope> seal_envelope(Core& core, const crypto::CredentialRecord& record, const EnvelopeWish& wish,
                                     store::SubscriptionRecord& subscription) {
  crypto::Capability capability = crypto::Capability::random();
  SealedEnvelope sealed;
  sealed.capability = Vault::capability_hash(capability);
  subscription.ews_url = wish.ews_url;
  subscription.key = wish.key_name;
  BH_TRY(std::vector<uint8_t> creds, seal(core, record, wish, capability, sealed.capability, subscription));
  subscription.digest = store::Digest::from(crypto::creds_digest(creds));
  std::string& url = sealed.callback_url;
  url.reserve(kCallbackUrlBytesMax);
  url += core.config().public_url;
  url += "/notify?id=";
  url += capability.text();
  url += "&creds=";
  url += to_base64url(creds);
  BH_CHECK(url.size() <= kCallbackUrlBytesMax);  // public_url is bounded, and so are both envelopes
  wipe(capability.bytes);
  return sealed;
}

}  // namespace bellhop::service
