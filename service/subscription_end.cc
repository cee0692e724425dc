// SPDX-License-Identifier: Apache-2.0
#include "service/subscription_end.h"

namespace bellhop::service {
namespace {

// What the subscription names, for as long as it lives. None where it does not, or cannot be read: ending it tells why.
Task<store::KeyId> key_of(Core& core, store::CapabilityHash capability) {
  store::Route route;
  Status read = co_await core.node.store.read_route(capability, route);
  bool live = read && route.kind == store::RouteKind::subscription;
  co_return live ? route.subscription.key : store::KeyId();
}

}  // namespace

Task<Status> end_subscription(Core& core, store::CapabilityHash capability, store::Ending ending) {
  store::KeyId key = co_await key_of(core, capability);
  BH_CO_CHECKED(co_await core.node.store.end_subscription(capability, ending));
  co_await forget_if_erased(core, key);
  co_return Status();
}

Task<Status> end_pending(Core& core, store::CapabilityHash capability, store::Ending ending) {
  store::KeyId key = co_await key_of(core, capability);
  BH_CO_CHECKED(co_await core.node.store.end_pending(capability, ending));
  co_await forget_if_erased(core, key);
  co_return Status();
}

Task<void> forget_if_erased(Core& core, store::KeyId key) {
  if (key == store::KeyId()) co_return;
  Result<store::KeyRecord> stored = co_await core.node.store.read_key(key);
  if (!stored && is(stored.error(), store::StoreError::not_found)) core.decrypter.forget(key);
}

}  // namespace bellhop::service
