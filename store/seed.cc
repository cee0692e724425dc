// SPDX-License-Identifier: Apache-2.0
#include "store/seed.h"

#include "store/operations.h"

namespace bellhop::store {
namespace {

// The ways of the service, so that a seeded store is what a grown one would be.
Status seed_one(WriteView& view, const SeededMailbox& mailbox, std::string_view tenant, WallTime now) {
  BH_CHECKED(operations::add_pool_key(view, mailbox.key));
  UserAndKey user;
  BH_CHECKED(operations::get_or_create_user(view, mailbox.user, tenant, now, user));
  if (!user.created) return fail(store_error(StoreError::conflict));
  Registration registration{.user = mailbox.user,
                            .device = mailbox.device,
                            .record = mailbox.device_record,
                            .subscription = NewSubscription{mailbox.capability, mailbox.subscription},
                            .now = now};
  registration.subscription->record.key = user.key.id;
  RegistrationResult result;
  BH_CHECKED(operations::register_device(view, registration, result));
  BH_CHECKED(operations::activate_subscription(view, mailbox.capability, mailbox.subscription.exchange_id,
                                               SubscriptionState::active));
  HotRecord hot = mailbox.hot;
  hot.owner = operations::hot_owner(mailbox.user);
  return operations::write_hot(view, result.user.mailbox, hot);
}

}  // namespace

Status seed(Engine& engine, uint64_t mailboxes, std::string_view tenant, WallTime now,
            FunctionRef<void(uint64_t index, SeededMailbox& mailbox)> make) {
  SeededMailbox mailbox;
  for (uint64_t start = 0; start < mailboxes; start += kSeedBatch) {
    BH_CHECKED(engine.write([&](WriteView& view) -> Status {
      for (uint64_t i = start; i < std::min(mailboxes, start + kSeedBatch); ++i) {
        make(i, mailbox);
        BH_CHECKED(seed_one(view, mailbox, tenant, now));
      }
      return {};
    }));
  }
  return {};
}

}  // namespace bellhop::store
