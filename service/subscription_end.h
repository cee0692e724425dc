// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/task.h"
#include "service/core.h"

namespace bellhop::service {

// Ends of subscriptions on their users' home core. The store erases the pair before a user's present one with the last
// live subscription that names it; what the core's cache has of it must go then, too.

// As Store::end_subscription and Store::end_pending.
Task<Status> end_subscription(Core& core, store::CapabilityHash capability, store::Ending ending);
Task<Status> end_pending(Core& core, store::CapabilityHash capability, store::Ending ending);

// Forgets a pair that a subscription named which has ended, where the store has erased it. `key` may be none.
Task<void> forget_if_erased(Core& core, store::KeyId key);

}  // namespace bellhop::service
