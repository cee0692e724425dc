// SPDX-License-Identifier: Apache-2.0
// What every store does, run against each of them.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/sleep.h"
#include "tests/store/each_store.h"

namespace bellhop::store {
namespace {

class AnyStore : public EachStore {};
EACH_STORE(AnyStore);

#define STORE_TEST(name) EACH_STORE_TEST(AnyStore, name)

const Ending kEnding{.reason = TombstoneReason::removed, .expires = at_ms(100'000)};

Task<Status> make_user(TableStore& store, uint64_t number) {
  KeyRecord key = a_key(number);
  BH_CO_CHECKED(co_await store.add_pool_key(key));
  BH_CO_TRY(UserAndKey user, co_await store.get_or_create_user(id_of<StoredUserId>(number), "example", at_ms(1000)));
  co_return user.created ? Status() : fail(store_error(StoreError::conflict));
}

// A user `number` with device and subscription of the same number.
Task<Status> make_mailbox(TableStore& store, uint64_t number) {
  BH_CO_CHECKED(co_await make_user(store, number));
  Registration registration = a_registration(number, number, number);
  BH_CO_TRY(RegistrationResult result, co_await store.register_device(registration));
  co_return result.device_created ? Status() : fail(store_error(StoreError::conflict));
}

STORE_TEST(finds_lists_and_revokes_tokens) {
  TokenRecord record{.id = id_of<TokenId>(1), .tenant = "example", .scope = TokenScope::device, .created = at_ms(5)};
  EXPECT_TRUE(co_await store.add_token(id_of<TokenHash>(1), record));
  EXPECT_TRUE(failed_with(co_await store.add_token(id_of<TokenHash>(1), record), StoreError::conflict));
  EXPECT_TRUE(failed_with(co_await store.add_token(id_of<TokenHash>(2), record), StoreError::conflict)) << "same id";
  Result<TokenRecord> found = co_await store.find_token(id_of<TokenHash>(1));
  CO_ASSERT(found);
  EXPECT_EQ(*found, record);
  EXPECT_TRUE(failed_with(co_await store.find_token(id_of<TokenHash>(2)), StoreError::not_found));

  EXPECT_TRUE(failed_with(co_await store.revoke_token(id_of<TokenId>(9), at_ms(8)), StoreError::not_found));
  EXPECT_TRUE(co_await store.revoke_token(record.id, at_ms(8)));
  EXPECT_TRUE(co_await store.revoke_token(record.id, at_ms(9)));
  auto tokens = co_await store.list_tokens();
  CO_ASSERT(tokens && tokens->size() == 1);
  EXPECT_EQ((*tokens)[0].hash, id_of<TokenHash>(1));
  EXPECT_EQ((*tokens)[0].record.state, TokenState::revoked);
  EXPECT_EQ((*tokens)[0].record.revoked, at_ms(8));
}

STORE_TEST(refuses_more_tokens_than_its_bound) {
  for (size_t i = 0; i < kTokensMax; ++i) {
    TokenRecord record{.id = id_of<TokenId>(i), .tenant = "example"};
    Status added = co_await store.add_token(id_of<TokenHash>(i), record);
    CO_ASSERT(added);
  }
  TokenRecord record{.id = id_of<TokenId>(kTokensMax), .tenant = "example"};
  EXPECT_TRUE(failed_with(co_await store.add_token(id_of<TokenHash>(kTokensMax), record), StoreError::limit));
}

STORE_TEST(gives_each_user_a_key_of_the_pool_once) {
  EXPECT_TRUE(failed_with(co_await store.get_or_create_user(id_of<StoredUserId>(1), "example", at_ms(1)),
                          StoreError::pool_empty));
  for (uint64_t i = 0; i < 2; ++i) EXPECT_TRUE(co_await store.add_pool_key(a_key(i)));
  EXPECT_TRUE(failed_with(co_await store.add_pool_key(a_key(1)), StoreError::conflict));
  EXPECT_EQ(*co_await store.count_pool_keys(), 2u);

  auto first = co_await store.get_or_create_user(id_of<StoredUserId>(1), "example", at_ms(1));
  auto again = co_await store.get_or_create_user(id_of<StoredUserId>(1), "example", at_ms(2));
  auto second = co_await store.get_or_create_user(id_of<StoredUserId>(2), "example", at_ms(3));
  CO_ASSERT(first && again && second);
  EXPECT_TRUE(first->created);
  EXPECT_FALSE(again->created);
  EXPECT_EQ(first->user, again->user);
  EXPECT_EQ(first->key, again->key);
  EXPECT_NE(first->key.id, second->key.id);
  EXPECT_NE(first->user.mailbox, second->user.mailbox);
  EXPECT_EQ(first->key.user, id_of<StoredUserId>(1));
  EXPECT_EQ(*co_await store.count_pool_keys(), 0u);
  EXPECT_TRUE(
      failed_with(co_await store.get_or_create_user(id_of<StoredUserId>(1), "other", at_ms(2)), StoreError::conflict));
  auto key = co_await store.read_key(first->key.id);
  CO_ASSERT(key);
  EXPECT_EQ(*key, first->key);
  EXPECT_TRUE(failed_with(co_await store.read_key(id_of<KeyId>(77)), StoreError::not_found));
}

STORE_TEST(expires_users_who_never_subscribed_and_uses_their_numbers_again) {
  for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(co_await make_user(store, i));
  Registration registration = a_registration(1, 1, 1);
  EXPECT_TRUE(co_await store.register_device(registration));
  EXPECT_EQ((co_await store.counts())->users_unused, 2u);
  EXPECT_EQ(*co_await store.expire_unused_users(at_ms(1000)), 0u) << "made at 1000, not before";
  EXPECT_EQ(*co_await store.expire_unused_users(at_ms(1001)), 2u);
  Counts counts = *co_await store.counts();
  EXPECT_EQ(counts.users, 1u);
  EXPECT_EQ(counts.keys, 1u);
  EXPECT_TRUE(failed_with(co_await store.read_user(id_of<StoredUserId>(0)), StoreError::not_found));
  EXPECT_TRUE(co_await make_user(store, 9));
  EXPECT_LT((co_await store.read_user(id_of<StoredUserId>(9)))->mailbox, 3u);
}

STORE_TEST(expires_at_most_a_list_of_users_at_once) {
  for (uint64_t i = 0; i < kListMax + 3; ++i) {
    Status made = co_await make_user(store, i);
    CO_ASSERT(made);
  }
  EXPECT_EQ(*co_await store.expire_unused_users(at_ms(5000)), kListMax);
  EXPECT_EQ(*co_await store.expire_unused_users(at_ms(5000)), 3u);
}

STORE_TEST(registers_device_and_pending_subscription_together) {
  Registration registration = a_registration(1, 10, 20);
  EXPECT_TRUE(failed_with(co_await store.register_device(registration), StoreError::not_found));
  EXPECT_TRUE(co_await make_user(store, 1));
  registration.subscription->record.state = SubscriptionState::active;  // the store knows better
  auto result = co_await store.register_device(registration);
  CO_ASSERT(result);
  EXPECT_TRUE(result->device_created);
  EXPECT_EQ(result->user.devices, 1u);

  Route route;
  EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(20), route));
  EXPECT_EQ(route.kind, RouteKind::subscription);
  EXPECT_EQ(route.subscription.state, SubscriptionState::pending);
  EXPECT_EQ(route.subscription.user, id_of<StoredUserId>(1));
  EXPECT_EQ(route.subscription.tenant, "example");
  EXPECT_EQ(route.subscription.mailbox, result->user.mailbox);
  EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(21), route));
  EXPECT_EQ(route.kind, RouteKind::none);

  Registration taken = a_registration(1, 11, 20);
  EXPECT_TRUE(failed_with(co_await store.register_device(taken), StoreError::conflict));
  EXPECT_TRUE(failed_with(co_await store.read_device(taken.user, taken.device), StoreError::not_found));
  EXPECT_EQ(*co_await store.find_device_owner(registration.device), registration.user);
  EXPECT_TRUE(failed_with(co_await store.find_device_owner(taken.device), StoreError::not_found));
}

STORE_TEST(lists_the_devices_of_one_user_only) {
  for (uint64_t user = 1; user <= 3; ++user) {
    EXPECT_TRUE(co_await make_user(store, user));
    for (uint64_t device = 0; device < user; ++device) {
      Registration registration = a_registration(user, user * 10 + device, std::nullopt);
      EXPECT_TRUE(co_await store.register_device(registration));
    }
  }
  for (uint64_t user = 1; user <= 3; ++user)
    EXPECT_EQ((co_await store.read_devices(id_of<StoredUserId>(user)))->size(), user);
  EXPECT_TRUE((co_await store.read_devices(id_of<StoredUserId>(4)))->empty());
}

STORE_TEST(bounds_devices_and_subscriptions_of_a_user) {
  EXPECT_TRUE(co_await make_user(store, 1));
  for (uint64_t i = 0; i < kDevicesPerUserMax; ++i) {
    Registration registration = a_registration(1, i, i < kSubscriptionsPerUserMax ? std::optional(i) : std::nullopt);
    EXPECT_TRUE(co_await store.register_device(registration));
  }
  EXPECT_TRUE(failed_with(co_await store.register_device(a_registration(1, 999, std::nullopt)), StoreError::limit));
  EXPECT_TRUE(failed_with(co_await store.register_device(a_registration(1, 0, 999)), StoreError::limit));
}

STORE_TEST(keeps_a_blocked_device_blocked_when_it_registers_again) {
  EXPECT_TRUE(co_await make_mailbox(store, 1));
  EXPECT_TRUE(co_await store.update_device(id_of<StoredUserId>(1), id_of<DeviceKey>(1),
                                           DevicePatch{.state = DeviceState::blocked}));
  auto again = co_await store.register_device(a_registration(1, 1, std::nullopt));
  CO_ASSERT(again);
  EXPECT_FALSE(again->device_created);
  EXPECT_EQ((co_await store.read_device(id_of<StoredUserId>(1), id_of<DeviceKey>(1)))->state, DeviceState::blocked);
}

STORE_TEST(activates_in_whatever_order_exchange_answers_and_calls_back) {
  EXPECT_TRUE(co_await make_user(store, 1));
  Registration registration = a_registration(1, 1, 1);
  registration.subscription->record.exchange_id.clear();
  EXPECT_TRUE(co_await store.register_device(registration));
  CapabilityHash capability = id_of<CapabilityHash>(1);
  EXPECT_TRUE(co_await store.activate_subscription(capability, "exchange-id", SubscriptionState::active));
  EXPECT_TRUE(co_await store.activate_subscription(capability, "exchange-id", SubscriptionState::pending));
  EXPECT_TRUE(failed_with(co_await store.activate_subscription(capability, "another", SubscriptionState::active),
                          StoreError::conflict));
  Route route;
  EXPECT_TRUE(co_await store.read_route(capability, route));
  EXPECT_EQ(route.subscription.state, SubscriptionState::active);
  EXPECT_EQ(route.subscription.exchange_id, "exchange-id");
  EXPECT_TRUE(
      failed_with(co_await store.activate_subscription(id_of<CapabilityHash>(2), "x", SubscriptionState::active),
                  StoreError::not_found));
}

STORE_TEST(hands_over_to_a_new_subscription) {
  EXPECT_TRUE(co_await make_mailbox(store, 1));
  EXPECT_TRUE(co_await make_mailbox(store, 2));
  EXPECT_TRUE(co_await store.register_device(a_registration(1, 1, 11)));
  SubscriptionPatch patch{.exchange_id = "new-id", .logon = LogonRule{1, at_ms(4)}};
  Ending ending{.reason = TombstoneReason::handed_over, .expires = at_ms(100'000)};
  CapabilityHash old_one = id_of<CapabilityHash>(1), new_one = id_of<CapabilityHash>(11),
                 foreign = id_of<CapabilityHash>(2);
  EXPECT_TRUE(failed_with(co_await store.replace_subscription(old_one, foreign, patch, ending), StoreError::conflict));
  EXPECT_TRUE(failed_with(co_await store.replace_subscription(old_one, old_one, patch, ending), StoreError::conflict));
  EXPECT_TRUE(failed_with(co_await store.replace_subscription(old_one, id_of<CapabilityHash>(3), patch, ending),
                          StoreError::not_found));
  EXPECT_TRUE(co_await store.replace_subscription(old_one, new_one, patch, ending));
  Route route;
  EXPECT_TRUE(co_await store.read_route(old_one, route));
  EXPECT_EQ(route.kind, RouteKind::tombstone);
  EXPECT_EQ(route.tombstone.reason, TombstoneReason::handed_over);
  EXPECT_EQ(route.tombstone.digest, id_of<Digest>(1));
  EXPECT_TRUE(co_await store.read_route(new_one, route));
  EXPECT_EQ(route.subscription.exchange_id, "new-id");
  EXPECT_EQ(route.subscription.logon.failed, 1);
  EXPECT_EQ((co_await store.read_user(id_of<StoredUserId>(1)))->subscriptions, std::vector{new_one});
}

STORE_TEST(removes_the_last_device_with_everything_of_the_user) {
  EXPECT_TRUE(co_await make_mailbox(store, 1));
  EXPECT_TRUE(co_await store.register_device(a_registration(1, 2, std::nullopt)));
  UserRecord user = *co_await store.read_user(id_of<StoredUserId>(1));
  for (uint64_t device : {1, 2}) {
    JournalEntry entry{{user.mailbox, id_of<DeviceKey>(device), 5}, {.user = id_of<StoredUserId>(1)}};
    EXPECT_TRUE(co_await store.add_journal({entry}));
  }
  DeviceRemoval removal{
      .user = id_of<StoredUserId>(1), .device = id_of<DeviceKey>(1), .ending = kEnding, .now = at_ms(10)};
  auto first = co_await store.remove_device(removal);
  CO_ASSERT(first);
  EXPECT_FALSE(first->last);
  EXPECT_EQ(first->orphaned, std::vector{id_of<CapabilityHash>(1)});
  EXPECT_TRUE(first->tombstoned.empty());
  EXPECT_EQ((co_await store.counts())->journal, 1u);
  EXPECT_TRUE(failed_with(co_await store.remove_device(removal), StoreError::not_found));

  removal.device = id_of<DeviceKey>(2);
  auto second = co_await store.remove_device(removal);
  CO_ASSERT(second);
  EXPECT_TRUE(second->last);
  EXPECT_EQ(second->tombstoned, std::vector{id_of<CapabilityHash>(1)});
  Counts left = *co_await store.counts();
  EXPECT_EQ(left, Counts{.tombstones = 1});
}

STORE_TEST(keeps_the_user_of_a_first_registration_that_failed) {
  EXPECT_TRUE(co_await make_mailbox(store, 1));
  KeyId key = (co_await store.read_user(id_of<StoredUserId>(1)))->key;
  DeviceRemoval removal{.user = id_of<StoredUserId>(1),
                        .device = id_of<DeviceKey>(1),
                        .ending = kEnding,
                        .keep_user = true,
                        .now = at_ms(50'000)};
  EXPECT_TRUE(co_await store.remove_device(removal));
  auto user = co_await store.get_or_create_user(id_of<StoredUserId>(1), "example", at_ms(60'000));
  CO_ASSERT(user);
  EXPECT_FALSE(user->created);
  EXPECT_EQ(user->key.id, key);
  EXPECT_EQ(*co_await store.expire_unused_users(at_ms(50'000)), 0u);
  EXPECT_EQ(*co_await store.expire_unused_users(at_ms(50'001)), 1u);
  EXPECT_EQ((co_await store.counts())->keys, 0u);
}

STORE_TEST(a_new_push_token_is_unproven_and_alive) {
  EXPECT_TRUE(co_await make_mailbox(store, 1));
  StoredUserId user = id_of<StoredUserId>(1);
  DeviceKey device = id_of<DeviceKey>(1);
  EXPECT_TRUE(co_await store.update_device(user, device, DevicePatch{.proven = true}));
  EXPECT_TRUE(co_await store.mark_token_gone(user, device, at_ms(5000)));
  EXPECT_TRUE((co_await store.read_device(user, device))->token_gone);
  DevicePatch patch{.push_token = DevicePatch::PushToken{blob(99, 1), at_ms(6000)}};
  EXPECT_TRUE(co_await store.update_device(user, device, patch));
  EXPECT_TRUE(failed_with(co_await store.mark_token_gone(user, device, at_ms(5000)), StoreError::conflict))
      << "about the old token";
  auto record = co_await store.read_device(user, device);
  CO_ASSERT(record);
  EXPECT_FALSE(record->token_gone);
  EXPECT_FALSE(record->proven);
  EXPECT_EQ(record->sealed_push_token, blob(99, 1));
  EXPECT_TRUE(failed_with(co_await store.update_device(user, id_of<DeviceKey>(2), patch), StoreError::not_found));
}

STORE_TEST(sweeps_tombstones_when_they_have_expired) {
  for (uint64_t i = 1; i <= 3; ++i) {
    EXPECT_TRUE(co_await make_mailbox(store, i));
    EXPECT_TRUE(co_await store.end_subscription(id_of<CapabilityHash>(i), Ending{.expires = at_ms(int64_t(i) * 1000)}));
  }
  EXPECT_TRUE(failed_with(co_await store.end_subscription(id_of<CapabilityHash>(1), Ending{}), StoreError::not_found));
  EXPECT_TRUE(co_await store.extend_tombstone(id_of<CapabilityHash>(1), at_ms(9000)));
  EXPECT_TRUE(co_await store.extend_tombstone(id_of<CapabilityHash>(3), at_ms(10))) << "never shortened";
  EXPECT_EQ(*co_await store.sweep_tombstones(at_ms(3000)), 2u);
  Route route;
  EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(1), route));
  EXPECT_EQ(route.kind, RouteKind::tombstone);
  EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(2), route));
  EXPECT_EQ(route.kind, RouteKind::none);
}

STORE_TEST(reads_hot_records_back_at_once_and_after_the_flush) {
  HotRecord record{.watermark_hash = 7, .unread = 3};
  StoredUserId user = id_of<StoredUserId>(1);
  EXPECT_TRUE(store.write_hot(5, user, record));
  EXPECT_EQ((co_await store.read_hot(5, user))->unread, 3u);
  EXPECT_EQ((co_await store.counts())->hot, 0u) << "still in memory";
  EXPECT_TRUE(co_await store.flush_hot());
  EXPECT_EQ((co_await store.counts())->hot, 1u);
  EXPECT_EQ((co_await store.read_hot(5, user))->watermark_hash, 7u);
  EXPECT_EQ((co_await store.read_hot(6, user))->watermark_hash, 0u);
  EXPECT_EQ((co_await store.read_hot(5, id_of<StoredUserId>(2)))->watermark_hash, 0u) << "the number's former owner";
}

STORE_TEST(coalesces_hot_records_and_flushes_them_by_itself) {
  StoredUserId user = id_of<StoredUserId>(1);
  for (uint32_t round = 1; round <= 100; ++round) {
    for (MailboxNumber mailbox = 0; mailbox < 10; ++mailbox)
      EXPECT_TRUE(store.write_hot(mailbox, user, HotRecord{.unread = round}));
  }
  while (store.hot_stats().committed < 10) EXPECT_TRUE(co_await sleep_for(1ms));
  EXPECT_EQ((co_await store.counts())->hot, 10u);
  EXPECT_EQ(store.hot_stats().written, 1000u);
  EXPECT_EQ(store.hot_stats().committed, 10u);
  EXPECT_EQ(store.hot_stats().flushes, 1u);
  EXPECT_EQ((co_await store.read_hot(9, user))->unread, 100u);
}

STORE_TEST(bounds_the_hot_records_that_wait) {
  StoredUserId user = id_of<StoredUserId>(1);
  // Without a wait in between: one buffer goes to the writer, the next fills up.
  for (MailboxNumber mailbox = 0; mailbox < 2 * kHotPendingMax; ++mailbox) {
    EXPECT_TRUE(store.write_hot(mailbox, user, HotRecord{.unread = mailbox}));
  }
  EXPECT_TRUE(failed_with(store.write_hot(2 * kHotPendingMax, user, HotRecord{}), StoreError::queue_full));
  EXPECT_TRUE(store.write_hot(kHotPendingMax, user, HotRecord{.unread = 1})) << "a mailbox that waits already";
  EXPECT_TRUE(co_await store.flush_hot());
  EXPECT_EQ((co_await store.counts())->hot, 2 * kHotPendingMax);
  EXPECT_TRUE(store.write_hot(2 * kHotPendingMax, user, HotRecord{}));
}

STORE_TEST(lists_the_journal_in_pages) {
  std::vector<JournalEntry> entries;
  for (uint64_t i = 0; i < kListMax; ++i) {
    entries.push_back(
        {{MailboxNumber(i / 7), id_of<DeviceKey>(i), i}, {.user = id_of<StoredUserId>(i), .attempts = uint16_t(i)}});
  }
  EXPECT_TRUE(co_await store.add_journal(entries));
  JournalEntry last{{9999, id_of<DeviceKey>(1), 1}, {}};
  EXPECT_TRUE(co_await store.add_journal({last}));
  entries.push_back(last);
  EXPECT_TRUE(failed_with(co_await store.update_journal(entries), StoreError::limit));
  auto page = co_await store.list_journal(std::nullopt);
  CO_ASSERT(page && page->size() == kListMax);
  auto next = co_await store.list_journal(page->back().key);
  CO_ASSERT(next && next->size() == 1);
  EXPECT_EQ((*next)[0].key, last.key);
  EXPECT_TRUE(co_await store.erase_journal(last.key));
  EXPECT_TRUE(co_await store.erase_journal(last.key));
  EXPECT_EQ((co_await store.counts())->journal, kListMax);
}

STORE_TEST(adds_to_the_journal_what_one_callback_may_need_and_no_more) {
  std::vector<JournalEntry> entries;
  for (uint64_t i = 0; i < kJournalAddMax; ++i) entries.push_back({{1, id_of<DeviceKey>(1), i}, {}});
  EXPECT_TRUE(co_await store.add_journal(entries));
  EXPECT_EQ((co_await store.counts())->journal, kJournalAddMax);
  entries.push_back({{1, id_of<DeviceKey>(1), kJournalAddMax}, {}});
  EXPECT_TRUE(failed_with(co_await store.add_journal(entries), StoreError::limit));
  EXPECT_EQ((co_await store.counts())->journal, kJournalAddMax);
}

STORE_TEST(updates_of_the_journal_bring_back_nothing_that_was_erased) {
  JournalEntry kept{{1, id_of<DeviceKey>(1), 1}, {.user = id_of<StoredUserId>(1)}};
  JournalEntry erased{{1, id_of<DeviceKey>(1), 2}, {.user = id_of<StoredUserId>(1)}};
  EXPECT_TRUE(co_await store.add_journal({kept, erased}));
  EXPECT_TRUE(co_await store.erase_journal(erased.key));
  kept.record.attempts = erased.record.attempts = 7;
  EXPECT_TRUE(co_await store.update_journal({erased, kept}));
  auto page = co_await store.list_journal(std::nullopt);
  CO_ASSERT(page && page->size() == 1);
  EXPECT_EQ((*page)[0].key, kept.key);
  EXPECT_EQ((*page)[0].record, kept.record);
}

STORE_TEST(lists_subscriptions_in_pages) {
  for (uint64_t i = 0; i < kListMax + 5; ++i) {
    Status made = co_await make_mailbox(store, i);
    CO_ASSERT(made);
  }
  auto page = co_await store.list_subscriptions(std::nullopt, kListMax);
  CO_ASSERT(page && page->size() == kListMax);
  auto rest = co_await store.list_subscriptions(page->back().capability, kListMax);
  CO_ASSERT(rest && rest->size() == 5);
  EXPECT_LT(page->back().capability, rest->front().capability);
  auto one = co_await store.list_subscriptions(std::nullopt, 1);
  CO_ASSERT(one && one->size() == 1);
  EXPECT_EQ(one->front().capability, page->front().capability);
}

STORE_TEST(lists_every_user_once_whatever_the_size_of_a_page) {
  constexpr uint64_t kUsers = 23;
  for (uint64_t i = 0; i < kUsers; ++i) {
    Status made = co_await make_user(store, i);
    CO_ASSERT(made);
  }
  for (size_t size : {size_t{1}, size_t{7}, size_t{kUsers}, kListMax}) {
    std::vector<StoredUserId> seen;
    std::optional<StoredUserId> after;
    for (;;) {
      auto page = co_await store.list_users(after, size);
      CO_ASSERT(page && page->size() <= size);
      for (const UserEntry& entry : *page) {
        EXPECT_EQ(entry.record, *co_await store.read_user(entry.id));
        seen.push_back(entry.id);
      }
      if (page->size() < size) break;
      after = page->back().id;
    }
    EXPECT_EQ(seen.size(), kUsers) << size;
    EXPECT_TRUE(std::ranges::is_sorted(seen) && std::ranges::adjacent_find(seen) == seen.end()) << size;
  }
}

STORE_TEST(goes_on_behind_a_user_who_left_meanwhile) {
  for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(co_await make_mailbox(store, i));
  auto all = co_await store.list_users(std::nullopt, kListMax);
  CO_ASSERT(all && all->size() == 3);
  auto devices = co_await store.read_devices((*all)[0].id);
  CO_ASSERT(devices && devices->size() == 1);
  DeviceRemoval removal{.user = (*all)[0].id, .device = devices->front().key, .ending = kEnding, .now = at_ms(9)};
  EXPECT_TRUE(co_await store.remove_device(removal));
  auto rest = co_await store.list_users((*all)[0].id, kListMax);
  CO_ASSERT(rest && rest->size() == 2);
  EXPECT_EQ((*rest)[0].id, (*all)[1].id);
}

STORE_TEST(lists_the_devices_of_all_users_in_pages) {
  for (uint64_t user = 0; user < 3; ++user) {
    EXPECT_TRUE(co_await make_user(store, user));
    for (uint64_t device = 0; device < 3; ++device) {
      EXPECT_TRUE(co_await store.register_device(a_registration(user, user * 10 + device, std::nullopt)));
    }
  }
  std::vector<DevicePlace> seen;
  std::optional<DevicePlace> after;
  for (;;) {
    auto page = co_await store.list_devices(after, 2);
    CO_ASSERT(page);
    for (const PlacedDevice& device : *page) {
      EXPECT_EQ(device.record, *co_await store.read_device(device.place.user, device.place.device));
      seen.push_back(device.place);
    }
    if (page->size() < 2) break;
    after = page->back().place;
  }
  EXPECT_EQ(seen.size(), 9u);
  EXPECT_TRUE(std::ranges::is_sorted(seen) && std::ranges::adjacent_find(seen) == seen.end());
}

STORE_TEST(finds_a_subscription_by_the_start_of_its_hash) {
  for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(co_await make_mailbox(store, i));
  for (uint64_t i = 0; i < 3; ++i) {
    CapabilityHash hash = id_of<CapabilityHash>(i);
    auto found = co_await store.find_subscription(Bytes(hash).first(16));
    CO_ASSERT(found);
    EXPECT_EQ(found->capability, hash);
    EXPECT_EQ(found->record.user, id_of<StoredUserId>(i));
  }
  CapabilityHash other = id_of<CapabilityHash>(9), last;
  last.bytes.fill(0xff);
  EXPECT_TRUE(failed_with(co_await store.find_subscription(Bytes(other).first(16)), StoreError::not_found));
  EXPECT_TRUE(failed_with(co_await store.find_subscription(Bytes(last).first(16)), StoreError::not_found));
}

STORE_TEST(tells_how_much_of_the_room_is_used) {
  auto before = store.file_use();
  CO_ASSERT(before);
  EXPECT_LT(before->table_bytes, before->map_bytes);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_TRUE(co_await make_mailbox(store, i));
  auto after = store.file_use();
  CO_ASSERT(after);
  EXPECT_GT(after->table_bytes, before->table_bytes);
  EXPECT_LE(after->table_bytes, after->file_bytes);
  EXPECT_EQ(after->map_bytes, before->map_bytes);
}

STORE_TEST(keeps_compliance_in_sets) {
  ComplianceRecord phone{.managed = Known::yes, .model = "Phone 9", .updated = at_ms(1)};
  ComplianceWrite write{.set = 7, .puts = {{id_of<ComplianceKey>(1), phone}, {id_of<ComplianceKey>(2), {}}}};
  EXPECT_TRUE(co_await store.write_compliance(write));
  write.set = 8;
  write.puts.pop_back();
  EXPECT_TRUE(co_await store.write_compliance(write));
  EXPECT_EQ(*co_await store.read_compliance(7, id_of<ComplianceKey>(1)), phone);
  EXPECT_TRUE(failed_with(co_await store.read_compliance(8, id_of<ComplianceKey>(2)), StoreError::not_found));
  EXPECT_EQ(*co_await store.newest_compliance_set(), 8u);

  size_t rows = 0;
  auto count = [&](const ComplianceKey&, const ComplianceRecord&) { ++rows; };
  auto next = co_await store.read_compliance_page(7, std::nullopt, 1, count);
  EXPECT_EQ(**next, id_of<ComplianceKey>(1));
  auto end = co_await store.read_compliance_page(7, *next, 2, count);
  EXPECT_FALSE(end->has_value());
  EXPECT_EQ(rows, 2u) << "the rows of another set are another's";

  EXPECT_TRUE(co_await store.put_compliance_set("acme", {.number = 8, .replaced = at_ms(3)}));
  auto sets = co_await store.list_compliance_sets();
  EXPECT_EQ(sets->size(), 1u);
  EXPECT_EQ(sets->at(0).tenant, "acme");
  EXPECT_EQ(*co_await store.sweep_compliance(7), 0u) << "7 is being made";
  EXPECT_EQ(*co_await store.sweep_compliance(0), 2u);
  EXPECT_TRUE(co_await store.read_compliance(8, id_of<ComplianceKey>(1))) << "the tenant's own stays";
  EXPECT_TRUE(co_await store.write_compliance({.set = 8, .puts = {}, .erased = {id_of<ComplianceKey>(1)}}));
  EXPECT_TRUE(failed_with(co_await store.read_compliance(8, id_of<ComplianceKey>(1)), StoreError::not_found));
  ComplianceWrite many{.set = 8, .puts = std::vector<ComplianceEntry>(kComplianceMax + 1)};
  EXPECT_TRUE(failed_with(co_await store.write_compliance(many), StoreError::limit));
}

STORE_TEST(keeps_holds_of_each_tenant) {
  HoldRecord wiped{.hold = ComplianceHold::wiped, .since = at_ms(5)};
  ComplianceKey key = id_of<ComplianceKey>(1);
  EXPECT_TRUE(co_await store.put_hold("acme", key, wiped));
  EXPECT_TRUE(co_await store.put_hold("other", key, {.hold = ComplianceHold::blocked, .since = at_ms(6)}));
  auto holds = co_await store.list_holds(std::nullopt);
  EXPECT_EQ(holds->size(), 2u);
  EXPECT_EQ(holds->at(0).place.tenant, "acme");
  EXPECT_EQ(holds->at(0).record, wiped);
  auto rest = co_await store.list_holds(holds->at(0).place);
  EXPECT_EQ(rest->size(), 1u);
  EXPECT_TRUE(co_await store.erase_hold("acme", key));
  EXPECT_EQ((*co_await store.counts()).holds, 1u);
  EXPECT_TRUE(failed_with(co_await store.put_hold("", key, wiped), StoreError::limit));
}

STORE_TEST(remembers_urls_and_meta) {

  EwsUrlRecord url{"https://mail.example.com/EWS/Exchange.asmx", at_ms(3)};
  EXPECT_TRUE(co_await store.put_ews_url(id_of<EwsUrlKey>(1), url));
  EXPECT_EQ(*co_await store.read_ews_url(id_of<EwsUrlKey>(1)), url);
  EXPECT_TRUE(co_await store.erase_ews_url(id_of<EwsUrlKey>(1)));
  EXPECT_TRUE(failed_with(co_await store.read_ews_url(id_of<EwsUrlKey>(1)), StoreError::not_found));

  EXPECT_TRUE(failed_with(co_await store.get_meta("index-key"), StoreError::not_found));
  EXPECT_EQ(*co_await store.get_or_put_meta("index-key", blob(60, 1)), blob(60, 1));
  EXPECT_EQ(*co_await store.get_or_put_meta("index-key", blob(60, 2)), blob(60, 1));
  EXPECT_TRUE(co_await store.put_meta("index-key", blob(9, 3)));
  EXPECT_EQ(*co_await store.get_meta("index-key"), blob(9, 3));
  EXPECT_TRUE(failed_with(co_await store.put_meta("", blob(1, 1)), StoreError::limit));
  EXPECT_TRUE(failed_with(co_await store.put_meta("x", blob(kMetaValueSizeMax + 1, 1)), StoreError::limit));
}

STORE_TEST(renews_tokens_and_logon_rule_of_a_subscription) {
  EXPECT_TRUE(co_await make_mailbox(store, 1));
  SubscriptionPatch patch{.logon = LogonRule{2, at_ms(9)}, .split_ciphertext = blob(700, 2)};
  EXPECT_TRUE(co_await store.update_subscription(id_of<CapabilityHash>(1), patch));
  Route route;
  EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(1), route));
  EXPECT_EQ(route.subscription.logon, (LogonRule{2, at_ms(9)}));
  EXPECT_EQ(route.subscription.split_ciphertext, blob(700, 2));
  EXPECT_EQ(route.subscription.status_frequency_minutes, 30);
  EXPECT_TRUE(failed_with(co_await store.update_subscription(id_of<CapabilityHash>(2), patch), StoreError::not_found));
}

Task<void> one_bad_registration(TableStore* store, uint64_t user, Status* status) {
  Registration registration = a_registration(user, user * 1000 + 500, 500);
  registration.record.topic = std::string(kTopicSizeMax + 1, 't');  // found out after the subscription was written
  auto result = co_await store->register_device(registration);
  *status = result ? Status() : fail(result.error());
}
Task<void> one_good_registration(TableStore* store, uint64_t user, uint64_t device, size_t* good) {
  auto result = co_await store->register_device(a_registration(user, device, std::nullopt));
  *good += result && result->device_created;
}

STORE_TEST(a_change_that_fails_half_done_hurts_no_other_of_its_batch) {
  // Which changes the writer takes together is its own affair: until the bad one was among others.
  constexpr uint64_t kRoundsMax = 1000;
  for (uint64_t user = 1; user <= kRoundsMax && store.writer_stats().repeated_singly == 0; ++user) {
    EXPECT_TRUE(co_await make_user(store, user));
    TaskScope scope(&co_await current_context());
    Status bad;
    size_t good = 0;
    for (uint64_t device = 0; device < 20; ++device) {
      scope.spawn(one_good_registration(&store, user, user * 1000 + device, &good));
      if (device == 10) scope.spawn(one_bad_registration(&store, user, &bad));
    }
    co_await scope.join();
    EXPECT_TRUE(failed_with(bad, StoreError::limit));
    EXPECT_EQ(good, 20u);
    EXPECT_EQ((co_await store.read_user(id_of<StoredUserId>(user)))->devices, 20u);
    EXPECT_EQ((co_await store.counts())->subscriptions, 0u);
  }
  EXPECT_GT(store.writer_stats().repeated_singly, 0u);
}

}  // namespace
}  // namespace bellhop::store
