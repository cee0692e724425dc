// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/task.h"
#include "crypto/record.h"
#include "crypto/rsa.h"
#include "crypto/split.h"
#include "service/core.h"

namespace bellhop::service {

// Exchange refuses longer ones (ErrorInvalidPushSubscriptionUrl).
inline constexpr size_t kCallbackUrlBytesMax = 2082;

// An envelope whose credentials are in use.
struct OpenEnvelope {
  crypto::CredentialRecord record;
  crypto::SplitBinding binding;  // of a split envelope: views into the subscription that it was opened with
  crypto::Secret split_key;      // its K; else empty
};

// Opens what a callback brought, whose digest was the subscription's. Arguments outlive the task, the subscription also
// what it gives. Errors: crypto (overloaded: the queue is full; decrypt_failed, key_unknown: our own fault); store;
// CoreError::canceled.
Task<Result<OpenEnvelope>> open_envelope(Core& core, const crypto::Capability& capability, Bytes creds,
                                         const store::SubscriptionRecord& subscription, uint32_t tenant_number);

// A new capability with credentials sealed for it.
struct SealedEnvelope {
  SealedEnvelope() = default;
  SealedEnvelope(SealedEnvelope&&) = default;
  SealedEnvelope& operator=(SealedEnvelope&&) = default;
  ~SealedEnvelope() { wipe(callback_url); }

  store::CapabilityHash capability;
  std::string callback_url;  // holds capability and envelope
};

// Under which key, and for which EWS origin. Views outlive the call.
struct EnvelopeWish {
  const crypto::RsaPublicKey& key;
  store::KeyId key_name;
  std::string_view ews_url;
  bool split = false;  // also where it would fit into the URL
};

// Makes a capability, seals the record for it, and sets what a subscription must know of both: EWS URL, key, digest,
// envelope, split ciphertext, KEK. Form rsa where the record fits and `split` is not asked for. Errors: crypto.
Result<SealedEnvelope> seal_envelope(Core& core, const crypto::CredentialRecord& record, const EnvelopeWish& wish,
                                     store::SubscriptionRecord& subscription);

}  // namespace bellhop::service
