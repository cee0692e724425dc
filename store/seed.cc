// SPDX-License-Identifier: Apache-2.0
#include "store/seed.h"

#include <algorithm>
#include <span>

#include "store/operations.h"

namespace bellhop::store {
namespace {

// The ways of the service, so that a seeded store is what a grown one would be; but the users' pairs never lie in the
// pool, where others may wait. Step by step for the whole batch: the table that ends empty (the unused users) then fills
// and empties once, not once a mailbox, each of which would cost a page that LMDB cannot use again in the same
// transaction.
Status create_users(WriteView& view, std::span<const SeededMailbox> batch, std::string_view tenant, WallTime now,
                    std::vector<UserRecord>& users) {
  users.clear();
  for (const SeededMailbox& mailbox : batch) {
    BH_CHECKED(operations::create_user(view, mailbox.user, tenant, now, mailbox.key, users.emplace_back()));
  }
  return {};
}

Status subscribe(WriteView& view, const SeededMailbox& mailbox, const UserRecord& user, WallTime now) {
  Registration registration{.user = mailbox.user,
                            .device = mailbox.device,
                            .record = mailbox.device_record,
                            .subscription = NewSubscription{mailbox.capability, mailbox.subscription},
                            .now = now};
  registration.subscription->record.key = user.key;
  RegistrationResult result;
  BH_CHECKED(operations::register_device(view, registration, result));
  BH_CHECKED(operations::activate_subscription(view, mailbox.capability, mailbox.subscription.exchange_id,
                                               SubscriptionState::active));
  HotRecord hot = mailbox.hot;
  hot.owner = operations::hot_owner(mailbox.user);
  return operations::write_hot(view, user.mailbox, hot);
}

}  // namespace

Status seed(Engine& engine, uint64_t mailboxes, std::string_view tenant, WallTime now,
            FunctionRef<void(uint64_t index, SeededMailbox& mailbox)> make) {
  std::vector<SeededMailbox> batch;
  std::vector<UserRecord> users;
  for (uint64_t start = 0; start < mailboxes; start += batch.size()) {
    batch.resize(std::min(kSeedBatch, mailboxes - start));
    for (uint64_t i = 0; i < batch.size(); ++i) make(start + i, batch[i]);
    BH_CHECKED(engine.write([&](WriteView& view) -> Status {
      BH_CHECKED(create_users(view, batch, tenant, now, users));
      for (size_t i = 0; i < batch.size(); ++i) BH_CHECKED(subscribe(view, batch[i], users[i], now));
      return {};
    }));
  }
  return {};
}

}  // namespace bellhop::store
