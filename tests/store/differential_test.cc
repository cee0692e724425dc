// SPDX-License-Identifier: Apache-2.0
// Random operations against both stores: the same answers, and the same bytes in all tables in the end. The operations
// are shared code, so this compares the engines: order, replacement, roll-back, iteration while erasing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/store/support.h"

namespace bellhop::store {
namespace {

constexpr int kOperations = 20'000;
constexpr uint64_t kUsers = 40;   // few, so that operations meet
constexpr uint64_t kDevices = 4;  // per user

template <class T>
std::string outcome(const Result<T>& result) {
  return result ? "ok" : fmt::format("error {}", result.error().code);
}
std::string outcome(const Status& status) {
  return status ? "ok" : fmt::format("error {}", status.error().code);
}

// One operation, drawn from `random`; what it answered, as text.
class Driver {
 public:
  explicit Driver(TableStore& store) : store_(store) {}

  Task<std::string> step(std::mt19937_64& random) {
    uint64_t choice = random() % 22, user = random() % kUsers, device = user * kDevices + random() % kDevices;
    uint64_t capability = random() % (3 * kUsers);
    WallTime now = at_ms(int64_t(random() % 1'000'000));
    uint64_t extra = random();
    switch (choice) {
      case 0:
        co_return outcome(co_await store_.add_pool_key(a_key(extra % 5000)));
      case 1:
      case 2:
        co_return co_await create(user, now);
      case 3:
      case 4:
      case 5:
        co_return co_await add_device(user, device, extra % 2 ? std::optional(capability) : std::nullopt, now);
      case 6:
        co_return co_await remove(user, device, now, extra % 3 == 0);
      case 7:
        co_return outcome(co_await store_.end_subscription(id_of<CapabilityHash>(capability), {.expires = now}));
      case 8:
        co_return co_await replace(capability, extra % (3 * kUsers), now);
      case 9:
        co_return fmt::format("{}", *co_await store_.sweep_tombstones(at_ms(int64_t(extra % 1'000'000))));
      case 10:
        co_return fmt::format("{}", *co_await store_.expire_unused_users(at_ms(int64_t(extra % 200'000))));
      case 11:
        co_return co_await journal(user, device, extra % 9);
      case 12:
        co_return outcome(
            co_await store_.update_device(id_of<StoredUserId>(user), id_of<DeviceKey>(device),
                                          {.push_token = DevicePatch::PushToken{blob(extra % 300, extra), now}}));
      case 13:
        co_return co_await route(capability);
      case 14:
        co_return co_await hot(user, uint32_t(extra));
      case 15:
        co_return co_await begin_succession(capability, extra % (3 * kUsers));
      case 16:
        co_return co_await complete_succession(capability, now);
      case 17:
        co_return outcome(co_await store_.end_pending(id_of<CapabilityHash>(capability), {.expires = now}));
      case 18:
        co_return co_await rotate(user);
      case 19:
        co_return co_await wish(user, extra, now);
      case 20: {
        auto blocked = co_await store_.block_device(id_of<StoredUserId>(user), id_of<DeviceKey>(device), {.expires = now});
        co_return blocked ? fmt::format("{}", blocked->tombstoned.size()) : outcome(blocked);
      }
      default:
        co_return outcome(co_await store_.put_meta(fmt::format("m{}", extra % 20), blob(extra % 3000, extra)));
    }
  }

 private:
  Task<std::string> create(uint64_t user, WallTime now) {
    auto made = co_await store_.get_or_create_user(id_of<StoredUserId>(user), "example", now);
    co_return made ? fmt::format("{} {} {}", made->created, made->user.mailbox, to_hex(made->key.id)) : outcome(made);
  }
  Task<std::string> add_device(uint64_t user, uint64_t device, std::optional<uint64_t> capability, WallTime now) {
    Registration registration = a_registration(user, device, capability, now.time_since_epoch().count());
    auto owner = co_await store_.read_user(registration.user);
    if (owner && capability) registration.subscription->record.key = owner->key;
    auto made = co_await store_.register_device(registration);
    co_return made ? fmt::format("{} {}", made->device_created, made->user.devices) : outcome(made);
  }
  Task<std::string> remove(uint64_t user, uint64_t device, WallTime now, bool keep) {
    DeviceRemoval removal{.user = id_of<StoredUserId>(user),
                          .device = id_of<DeviceKey>(device),
                          .ending = {.expires = now},
                          .keep_user = keep,
                          .now = now};
    auto removed = co_await store_.remove_device(removal);
    co_return removed ? fmt::format("{} {} {}", removed->last, removed->tombstoned.size(), removed->orphaned.size())
                      : outcome(removed);
  }
  Task<std::string> replace(uint64_t from, uint64_t to, WallTime now) {
    SubscriptionPatch patch{.exchange_id = "x", .state = SubscriptionState::active};
    co_return outcome(co_await store_.replace_subscription(id_of<CapabilityHash>(from), id_of<CapabilityHash>(to),
                                                           patch,
                                                           {.reason = TombstoneReason::handed_over, .expires = now}));
  }
  Task<std::string> begin_succession(uint64_t from, uint64_t to) {
    Succession succession{.old_one = id_of<CapabilityHash>(from), .subscription = {}};
    Route route;
    EXPECT_TRUE(co_await store_.read_route(succession.old_one, route));
    succession.subscription = {id_of<CapabilityHash>(to), a_subscription(to, route.subscription.source_device)};
    auto user = co_await store_.read_user(route.subscription.user);
    if (user) succession.subscription.record.key = user->key;
    co_return outcome(co_await store_.begin_succession(succession));
  }
  Task<std::string> complete_succession(uint64_t capability, WallTime now) {
    auto over = co_await store_.complete_succession(id_of<CapabilityHash>(capability), {.expires = now});
    co_return over ? fmt::format("{} {}", over->ended.size(), over->dropped_key.has_value()) : outcome(over);
  }
  Task<std::string> rotate(uint64_t user) {
    auto rotated = co_await store_.rotate_key(id_of<StoredUserId>(user));
    co_return rotated ? fmt::format("{} {}", to_hex(rotated->key.id), to_hex(rotated->user.old_key)) : outcome(rotated);
  }
  Task<std::string> wish(uint64_t user, uint64_t extra, WallTime now) {
    RekeyWish wish{.user = {}, .tenant = "example", .after = {}, .users_max = 1 + extra % 7, .now = now};
    if (extra % 2) wish.user = id_of<StoredUserId>(user);
    auto wished = co_await store_.wish_new_keys(wish);
    co_return wished ? fmt::format("{} {}", wished->users, wished->subscriptions) : outcome(wished);
  }
  Task<std::string> journal(uint64_t user, uint64_t device, uint64_t item) {
    uint64_t row = item > 4 ? item - 4 : item;
    JournalEntry entry{{MailboxNumber(user), id_of<DeviceKey>(device), row}, {.user = id_of<StoredUserId>(user)}};
    if (item == 0) co_return outcome(co_await store_.erase_journal({MailboxNumber(user), id_of<DeviceKey>(device), 1}));
    entry.record.attempts = uint16_t(device);
    if (item > 4) co_return outcome(co_await store_.update_journal({entry}));
    co_return outcome(co_await store_.add_journal({entry}));
  }
  Task<std::string> route(uint64_t capability) {
    Route route;
    Status status = co_await store_.read_route(id_of<CapabilityHash>(capability), route);
    co_return fmt::format("{} {}", outcome(status), int(route.kind));
  }
  Task<std::string> hot(uint64_t mailbox, uint32_t unread) {
    StoredUserId user = id_of<StoredUserId>(mailbox);
    HotRecord before = *co_await store_.read_hot(MailboxNumber(mailbox), user);
    std::string text = fmt::format("{}", before.unread);
    before.unread = unread;
    EXPECT_TRUE(store_.write_hot(MailboxNumber(mailbox), user, before));
    if (unread % 8 == 0) EXPECT_TRUE(co_await store_.flush_hot());
    co_return text;
  }
  TableStore& store_;
};

std::unique_ptr<MemoryStore> twin;  // of the store that the flow is given

Task<void> compare(TableStore& store, unsigned) {
  std::mt19937_64 random_here(7), random_there(7);
  Driver here(store), there(*twin);
  size_t errors = 0;
  for (int i = 0; i < kOperations; ++i) {
    std::string a = co_await here.step(random_here);
    std::string b = co_await there.step(random_there);
    errors += a.starts_with("error");
    EXPECT_EQ(a, b) << "operation " << i;
    CO_ASSERT(a == b);
  }
  EXPECT_GT(errors, size_t{kOperations / 20});
  EXPECT_LT(errors, size_t{kOperations / 2}) << "most operations should do something";
  EXPECT_TRUE(co_await twin->leave_core());
}

TEST(Differential, MemoryAndLmdbGiveTheSameAnswersAndHoldTheSameRows) {
  TestFolder folder;
  auto lmdb = open_or_die(folder.file());
  twin = MemoryStore::create();
  run(*lmdb, &compare);
  EXPECT_EQ(all_rows(lmdb->engine()), all_rows(twin->engine()));
  expect_clean(lmdb->engine());
  expect_clean(twin->engine());
  twin.reset();
}

}  // namespace
}  // namespace bellhop::store
