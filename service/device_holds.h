// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/task.h"
#include "service/compliance.h"
#include "service/core.h"

namespace bellhop::service {

// What became of the devices that are called by a name.
struct HeldDevices {
  uint64_t devices = 0;  // of bellhop; 0: the name is known elsewhere alone, or not at all
  uint64_t subscriptions_ended = 0;
  bool last_device = false;        // of a user: the key pair is deleted
  bool resubscribe_needed = false;  // another device of the user is asked to
};

// Blocks, wipes or lets go all that is called by any name of this device at a tenant: first for the policy of every core, then bellhop's
// own devices, whose subscriptions end as Registrar says. On core 0. Errors: store, canceled; what is to be kept out is
// kept out all the same, until the process ends.
Task<Result<HeldDevices>> hold_device(Core& core, std::string tenant, store::ComplianceKey name, ComplianceHold hold);

// The second half alone: what a hold that was set elsewhere means for bellhop's own devices.
Task<Result<HeldDevices>> apply_hold(Core& core, std::string tenant, store::ComplianceKey name, ComplianceHold hold);

// Of one device of bellhop that has not told its name.
Task<Result<HeldDevices>> hold_place(Core& core, store::DevicePlace place, ComplianceHold hold);

}  // namespace bellhop::service
