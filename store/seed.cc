// SPDX-License-Identifier: Apache-2.0
#include "store/seed.h"

#include <algorithm>
#include <span>

#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store {
namespace {

// Empties the pool, and says what was in it. Pairs that wait there for real users must not go to seeded ones, whose own, that
// nobody has the right id of, would be left for the real.
Status set_pool_aside(WriteView& view, std::vector<Key>& rows) {
  rows.clear();
  for (;;) {
    BH_TRY(std::optional<Entry> first, view.seek(Table::key_pool, Bytes()));
    if (!first) return {};
    rows.push_back(Key::copy(first->key));
    BH_CHECKED(view.erase(Table::key_pool, rows.back()));
  }
}

// The ways of the service, so that a seeded store is what a grown one would be. Step by step for the whole batch: the
// tables that end empty (the pool, the unused users) then fill and empty once, not once a mailbox, each of which would
// cost a page that LMDB cannot use again in the same transaction.
Status create_users(WriteView& view, std::span<const SeededMailbox> batch, std::string_view tenant, WallTime now,
                    std::vector<UserRecord>& users) {
  std::vector<Key> aside;
  BH_CHECKED(set_pool_aside(view, aside));
  for (const SeededMailbox& mailbox : batch) BH_CHECKED(operations::add_pool_key(view, mailbox.key));
  users.clear();
  for (const SeededMailbox& mailbox : batch) {
    UserAndKey user;
    BH_CHECKED(operations::get_or_create_user(view, mailbox.user, tenant, now, user));
    if (!user.created) return fail(store_error(StoreError::conflict));
    users.push_back(user.user);
  }
  for (const Key& row : aside) BH_CHECKED(view.put(Table::key_pool, row, Bytes()));
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
