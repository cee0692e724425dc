// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "crypto/envelope.h"
#include "crypto/jose.h"
#include "service/autodiscover.h"
#include "service/envelopes.h"
#include "service/ews_contexts.h"
#include "service/policy_rules.h"
#include "service/registration.h"

namespace bellhop::service {

// One `subscribe`, from the device's words to Exchange's answer. run() tells the story; each step below it either goes
// on or gives the problem that the device is told. Runs on the user's home core while the user is locked; lives in the
// frame of Registrar::subscribe.
//
// Invariants:
//  1. nothing is stored before the credentials were opened and found to be this user's, for this device, of just now;
//  2. a device that joins a user who has devices is stored only after Exchange took its credentials;
//  3. what a known device changes is stored only after Exchange took its credentials;
//  4. a PKCS#12 is opened once, here: what is stored, sealed, is the key and the certificates in it, not its password;
//  5. an OAuth refresh token is presented only when nothing but Exchange can still refuse, and what the endpoint gave
//     in its place is what is stored;
//  6. after a failure the user, devices and live subscriptions are what they were; the attempt leaves a tombstone, for
//     Exchange may have made the subscription although its answer did not come.
class SubscribeFlow {
 public:
  // `openings`: PKCS#12 files that this core may have opened at once.
  SubscribeFlow(Core& core, RateLimits& limits, Semaphore& openings, const SubscribeRequest& request);
  ~SubscribeFlow();
  SubscribeFlow(const SubscribeFlow&) = delete;
  SubscribeFlow& operator=(const SubscribeFlow&) = delete;

  Task<ApiResult<Subscribed>> run();

 private:
  struct Existing {
    store::CapabilityHash capability;
    store::SubscriptionRecord record;
  };
  // The new subscription on its way.
  struct Attempt {
    store::SubscriptionRecord record;
    SealedEnvelope envelope;
    bool device_created = false;
  };

  Task<ApiStatus> read_user_and_device();
  ApiStatus ask_policy(DecisionPoint point);
  ApiStatus ask_policy_again();
  Task<ApiStatus> open_credentials();
  Task<ApiResult<crypto::Secret>> decrypt(Bytes ciphertext, const crypto::JweParsed* jwe);
  Task<ApiStatus> open_jwe();
  Task<ApiStatus> open_ens2();
  Task<ApiStatus> open_certificate();
  Task<ApiStatus> find_live_subscription();
  bool joins() const { return live_ && live_->record.source_device != who_.device; }
  // What the device did not say is asked of Autodiscover.
  Task<ApiStatus> find_exchange(bool cache_allowed);
  Task<ApiStatus> subscribe_at_exchange();
  // Exchange said that the mailbox is elsewhere, and the URL was not the device's own.
  Task<bool> found_elsewhere();
  std::unexpected<ApiProblem> not_found(AutodiscoverResult result);
  void note_refusal();
  Task<ApiStatus> join_live_subscription();
  Task<ApiStatus> verify_at_exchange();
  Task<ApiStatus> log_on();
  Task<ApiStatus> grant_token(std::string_view claims);
  bool uses_oauth() const { return credentials_->type() == crypto::CredentialType::oauth; }

  Task<ApiStatus> make_subscription();
  ApiStatus seal_envelope(Attempt& attempt);
  Task<ApiStatus> end_leftovers();
  Task<ApiStatus> store_pending(Attempt& attempt);
  Task<ApiStatus> settle(Attempt& attempt, EwsReply<EwsSubscribed> reply);
  Task<ApiStatus> hand_over(Attempt& attempt, std::string_view exchange_id);
  Task<void> roll_back(Attempt& attempt);

  Task<ApiStatus> store_device();
  void give_secret();
  store::DeviceRecord wished_record() const;
  EwsTarget target() const;
  std::unexpected<ApiProblem> credentials_not_good(const char* why, const Error& error);
  std::unexpected<ApiProblem> exchange_failed(const EwsFailure& failure);
  std::unexpected<ApiProblem> grant_failed(const GrantFailure& failure);
  std::unexpected<ApiProblem> store_failed(const Error& error);

  Core& core_;
  RateLimits& limits_;
  Semaphore& openings_;
  const SubscribeRequest& request_;
  const DeviceIdentity& who_;
  const EwsOwner owner_;
  std::string ews_url_;
  bool url_cached_ = false;  // an earlier search of Autodiscover found ews_url_
  bool moved_ = false;       // Exchange said that the mailbox is not there
  const crypto::Digest credentials_digest_;

  store::UserRecord user_;
  std::optional<store::DeviceRecord> device_;  // as it is stored
  bool secret_proven_ = false;
  store::KeyId opening_key_;  // that the credentials were encrypted to: the user's, or the one before
  std::optional<crypto::RsaPublicKey> public_key_;  // the user's
  std::optional<crypto::CredentialRecord> credentials_;
  bool address_bound_ = true;  // the credentials say whose mailbox they are for
  std::optional<Existing> live_;
  store::DeviceRecord wished_;
  Subscribed answer_;
};

}  // namespace bellhop::service
