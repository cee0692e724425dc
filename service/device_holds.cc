// SPDX-License-Identifier: Apache-2.0
#include "service/device_holds.h"

#include "core/cross_core.h"
#include "service/registration.h"
#include "store/error.h"

namespace bellhop::service {
namespace {

using Leaving = Task<Result<store::RemovedDevice>> (Registrar::*)(store::StoredUserId user, store::DeviceKey device);

Task<Result<store::RemovedDevice>> take_out(Core& core, store::DevicePlace place, Leaving leaving) {
  unsigned home = core.node.home_core(place.user);
  Registrar* registrar = core.node.cores[home]->registrar;
  co_return co_await on_core(home, [registrar, place, leaving] { return (registrar->*leaving)(place.user, place.device); });
}

Task<Result<store::RemovedDevice>> let_go(Core& core, store::DevicePlace place) {
  store::DevicePatch patch;
  patch.state = store::DeviceState::active;
  BH_CO_CHECKED(co_await core.node.store.update_device(place.user, place.device, patch));
  co_return store::RemovedDevice();
}

Task<Result<store::RemovedDevice>> apply_to(Core& core, store::DevicePlace place, ComplianceHold hold) {
  switch (hold) {
    case ComplianceHold::none:
      return let_go(core, place);
    case ComplianceHold::blocked:
      return take_out(core, place, &Registrar::block_device);
    case ComplianceHold::wiped:
      return take_out(core, place, &Registrar::wipe_device);
  }
  check_failed("a hold of the list", __FILE__, __LINE__);
}

}  // namespace

Task<Result<HeldDevices>> hold_place(Core& core, store::DevicePlace place, ComplianceHold hold) {
  BH_CO_TRY(store::RemovedDevice removed, co_await apply_to(core, place, hold));
  co_return HeldDevices{
      .devices = 1,
      .subscriptions_ended = removed.tombstoned.size(),
      .last_device = removed.last,
      .resubscribe_needed = !removed.last && (!removed.orphaned.empty() || !removed.tombstoned.empty())};
}

Task<Result<HeldDevices>> apply_hold(Core& core, std::string tenant, store::ComplianceKey name, ComplianceHold hold) {
  BH_CO_TRY(auto places, co_await core.node.store.find_devices(name));
  HeldDevices held;
  for (const store::DevicePlace& place : places) {
    auto user = co_await core.node.store.read_user(place.user);
    if (!user && is(user.error(), store::StoreError::not_found)) continue;
    if (!user) co_return fail(user.error());
    if (user->tenant != tenant) continue;
    Result<HeldDevices> removed = co_await hold_place(core, place, hold);
    if (!removed && is(removed.error(), store::StoreError::not_found)) continue;  // it has left meanwhile
    if (!removed) co_return fail(removed.error());
    held.devices += removed->devices;
    held.subscriptions_ended += removed->subscriptions_ended;
    held.last_device |= removed->last_device;
    held.resubscribe_needed |= removed->resubscribe_needed;
  }
  co_return held;
}

Task<Result<HeldDevices>> hold_device(Core& core, std::string tenant, store::ComplianceKey name, ComplianceHold hold) {
  std::vector<store::ComplianceKey> names = {name};
  if (core.node.compliance) {
    BH_CO_TRY(names, co_await core.node.compliance->set_hold(tenant, name, hold));
  }
  HeldDevices held;
  for (const store::ComplianceKey& each : names) {
    BH_CO_TRY(HeldDevices more, co_await apply_hold(core, tenant, each, hold));
    held.devices += more.devices;
    held.subscriptions_ended += more.subscriptions_ended;
    held.last_device |= more.last_device;
    held.resubscribe_needed |= more.resubscribe_needed;
  }
  co_return held;
}

}  // namespace bellhop::service
