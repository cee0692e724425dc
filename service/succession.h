// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "core/sync.h"
#include "crypto/rsa.h"
#include "service/envelopes.h"
#include "service/ews_client.h"
#include "service/mailbox_cache.h"
#include "service/renewal.h"

namespace bellhop::service {

// What a renewal takes with it from the callback that began it.
struct RenewalJob {
  store::CapabilityHash capability_hash;
  crypto::Secret capability;
  crypto::Secret creds;
  store::StoredUserId user;
  store::MailboxNumber mailbox = 0;
  store::DeviceKey source;
  std::string tenant;
  RenewalReason reason = RenewalReason::age;
};

// How a subscription ends that Exchange has never called, or calls no more.
store::Ending taken_back(uint16_t status_frequency_minutes);

// One renewal, from the opening of the envelope to Exchange's answer; on the user's home core, the user locked. Lives in
// one frame.
// Each step goes on with nothing, or ends the story.
class Succession {
 public:
  using End = std::optional<RenewalResult>;

  Succession(Core& core, const Tenant& tenant, Mailbox& mailbox, RenewalJob& job)
      : core_(core), tenant_(tenant), mailbox_(mailbox), job_(job) {}
  Succession(const Succession&) = delete;
  Succession& operator=(const Succession&) = delete;

  Task<RenewalResult> run();

 private:
  Task<End> read_user();
  Task<End> clear_leftovers();
  Task<End> choose_key();
  Task<End> open();
  Task<End> fresh_token();
  Task<End> find_exchange();
  Task<End> store_successor();
  Task<RenewalResult> subscribe();
  Task<RenewalResult> take_back(const EwsFailure& failure);
  RenewalResult store_failed(const Error& error);

  Core& core_;
  const Tenant& tenant_;
  Mailbox& mailbox_;
  RenewalJob& job_;

  store::UserRecord user_;
  store::SubscriptionRecord old_one_;  // opened_ has views into it
  std::optional<crypto::RsaPublicKey> key_;
  Semaphore::Permit turn_;  // of the mailbox, while tokens may be granted
  std::optional<OpenEnvelope> opened_;
  std::string ews_url_;
  SealedEnvelope sealed_;
  store::SubscriptionRecord successor_;
};

}  // namespace bellhop::service
