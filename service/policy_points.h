// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "service/core.h"
#include "service/outcome.h"
#include "service/policy.h"
#include "store/store.h"

namespace bellhop::service {

// Where this process asks the policy of a core about devices of its own: at registration and subscription (SubscribeFlow,
// check-in), at a callback (Mailboxes) and before each push (Delivery, Journal, Badges, Pusher). A core without a policy
// lets all in. The gateway asks by itself.

// Of one device of bellhop's. `name`: zero where it has not told its id yet, and is then one of which nothing is known.
PolicyDecision decide_device(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                             const store::ComplianceKey& name, DecisionPoint point);

// The device that a subscription has its credentials from is kept out for certain, by its record or by the policy: another
// one is to take its place.
bool source_kept_out(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                     const store::DeviceRecord& source);

// Whether a device gets pushes, by its record and the policy. Where it cannot be decided now they wait.
struct PushVerdict {
  std::optional<DeviceOutcome> refusal;  // for certain: how every event ends for it
  bool undecided = false;
};
PushVerdict judge_push(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                       const store::DeviceRecord& device);

// The same for what need not wait: how every event ends for a device that gets no pushes, by its record or by the policy; nothing where it gets them.
std::optional<DeviceOutcome> push_refusal(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                                          const store::DeviceRecord& device);

// What a callback comes to.
struct MailboxVerdict {
  bool all_blocked = false;     // none of the devices, and there are some, may hear of mail; that is certain
  bool source_blocked = false;  // the credentials' device is kept out: Exchange is not asked with them
};
MailboxVerdict judge_mailbox(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                             const std::vector<store::DeviceEntry>& devices, const store::DeviceKey& source);

}  // namespace bellhop::service
