// SPDX-License-Identifier: Apache-2.0
// Successors of subscriptions, key pairs that are replaced, sealed fields that are sealed anew: against both stores.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/store/each_store.h"

namespace bellhop::store {
namespace {

class SuccessionStore : public EachStore {};
EACH_STORE(SuccessionStore);

#define SUCCESSION_TEST(name) EACH_STORE_TEST(SuccessionStore, name)

const Ending kEnding{.reason = TombstoneReason::handed_over, .expires = at_ms(100'000)};

// User `number` with pair, device and live subscription of that number.
Task<bool> make_mailbox(TableStore& store, uint64_t number, std::string_view tenant = "example") {
  if (!co_await store.add_pool_key(a_key(number))) co_return false;
  auto user = co_await store.get_or_create_user(id_of<StoredUserId>(number), tenant, at_ms(1000));
  if (!user) co_return false;
  Registration registration = a_registration(number, number, number);
  registration.subscription->record.key = user->key.id;
  co_return (co_await store.register_device(registration)).has_value() &&
      (co_await store.activate_subscription(id_of<CapabilityHash>(number), "", SubscriptionState::active)).has_value();
}

// Succeeds the subscription `old_one` of user `number`, under that user's present key.
Task<Succession> succession(TableStore& store, uint64_t number, uint64_t old_one, uint64_t capability) {
  Succession made{.old_one = id_of<CapabilityHash>(old_one),
                  .subscription = {id_of<CapabilityHash>(capability),
                                   a_subscription(capability, id_of<DeviceKey>(number))}};
  auto user = co_await store.read_user(id_of<StoredUserId>(number));
  if (user) made.subscription.record.key = user->key;
  made.subscription.record.exchange_id.clear();
  co_return made;
}

Task<RouteKind> kind(TableStore& store, uint64_t capability) {
  Route route;
  EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(capability), route));
  co_return route.kind;
}

SUCCESSION_TEST(lets_both_live_until_the_hand_over_is_complete) {
  CO_ASSERT(co_await make_mailbox(store, 1));
  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 1, 2)));
  Route route;
  CO_ASSERT(co_await store.read_route(id_of<CapabilityHash>(2), route));
  EXPECT_TRUE(route.subscription.takes_over);
  EXPECT_EQ(route.subscription.state, SubscriptionState::pending);
  EXPECT_EQ(route.subscription.user, id_of<StoredUserId>(1));
  EXPECT_EQ(co_await kind(store, 1), RouteKind::subscription);
  CO_ASSERT(co_await store.activate_subscription(id_of<CapabilityHash>(2), "id", SubscriptionState::active));
  auto over = co_await store.complete_succession(id_of<CapabilityHash>(2), kEnding);
  CO_ASSERT(over);
  EXPECT_EQ(over->ended, std::vector{id_of<CapabilityHash>(1)});
  EXPECT_FALSE(over->dropped_key);
  EXPECT_EQ(co_await kind(store, 1), RouteKind::tombstone);
  CO_ASSERT(co_await store.read_route(id_of<CapabilityHash>(2), route));
  EXPECT_FALSE(route.subscription.takes_over);
  // Again: there is nothing left to do.
  over = co_await store.complete_succession(id_of<CapabilityHash>(2), kEnding);
  CO_ASSERT(over);
  EXPECT_TRUE(over->ended.empty());
}

SUCCESSION_TEST(begins_only_from_the_newest_and_for_a_device_that_may) {
  CO_ASSERT(co_await make_mailbox(store, 1));
  EXPECT_TRUE(failed_with(co_await store.begin_succession(co_await succession(store, 1, 9, 2)), StoreError::not_found));
  Succession other = co_await succession(store, 1, 1, 2);
  other.subscription.record.source_device = id_of<DeviceKey>(8);
  EXPECT_TRUE(failed_with(co_await store.begin_succession(other), StoreError::conflict));
  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 1, 2)));
  EXPECT_TRUE(failed_with(co_await store.begin_succession(co_await succession(store, 1, 1, 3)), StoreError::conflict));
  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 2, 3)));
  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 3, 4)));
  EXPECT_TRUE(failed_with(co_await store.begin_succession(co_await succession(store, 1, 4, 5)), StoreError::limit));
  auto over = co_await store.complete_succession(id_of<CapabilityHash>(4), kEnding);
  CO_ASSERT(over);
  EXPECT_EQ(over->ended.size(), 3u);

  CO_ASSERT(co_await make_mailbox(store, 11));
  DevicePatch block;
  block.state = DeviceState::blocked;
  CO_ASSERT(co_await store.update_device(id_of<StoredUserId>(11), id_of<DeviceKey>(11), block));
  EXPECT_TRUE(
      failed_with(co_await store.begin_succession(co_await succession(store, 11, 11, 12)), StoreError::conflict));
}

SUCCESSION_TEST(takes_back_only_what_exchange_has_not_called) {
  CO_ASSERT(co_await make_mailbox(store, 1));
  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 1, 2)));
  CO_ASSERT(co_await store.activate_subscription(id_of<CapabilityHash>(2), "id", SubscriptionState::pending));
  CO_ASSERT(co_await store.end_pending(id_of<CapabilityHash>(2), kEnding));
  EXPECT_EQ(co_await kind(store, 2), RouteKind::tombstone);
  EXPECT_TRUE(failed_with(co_await store.end_pending(id_of<CapabilityHash>(2), kEnding), StoreError::not_found));
  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 1, 3)));
  CO_ASSERT(co_await store.activate_subscription(id_of<CapabilityHash>(3), "id", SubscriptionState::active));
  EXPECT_TRUE(failed_with(co_await store.end_pending(id_of<CapabilityHash>(3), kEnding), StoreError::conflict));
  EXPECT_EQ(co_await kind(store, 3), RouteKind::subscription);
}

KeyRecord later_key(uint64_t number) {
  KeyRecord key = a_key(number);
  key.created = at_ms(20'000);
  return key;
}

SUCCESSION_TEST(keeps_the_key_before_exactly_while_a_live_subscription_names_it) {
  CO_ASSERT(co_await make_mailbox(store, 1));
  StoredUserId user = id_of<StoredUserId>(1);
  auto wished = co_await store.wish_new_keys({.user = user, .tenant = {}, .after = {}, .now = at_ms(10'000)});
  CO_ASSERT(wished);
  EXPECT_EQ(wished->users, 1u);
  EXPECT_EQ(wished->subscriptions, 1u);
  CO_ASSERT(co_await store.add_pool_key(a_key(50)));  // made before the wish
  CO_ASSERT(co_await store.add_pool_key(later_key(51)));
  auto rotated = co_await store.rotate_key(user);
  CO_ASSERT(rotated);
  EXPECT_EQ(rotated->key.id, later_key(51).id);
  EXPECT_EQ(rotated->user.old_key, a_key(1).id);
  EXPECT_EQ(rotated->user.rekey_wished, WallTime());
  EXPECT_TRUE(failed_with(co_await store.read_key(a_key(50).id), StoreError::not_found));
  EXPECT_TRUE(co_await store.read_key(a_key(1).id));
  EXPECT_TRUE(failed_with(co_await store.rotate_key(user), StoreError::conflict));

  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 1, 2)));
  EXPECT_TRUE(co_await store.read_key(a_key(1).id));
  auto over = co_await store.complete_succession(id_of<CapabilityHash>(2), kEnding);
  CO_ASSERT(over);
  EXPECT_EQ(over->dropped_key, a_key(1).id);
  EXPECT_TRUE(failed_with(co_await store.read_key(a_key(1).id), StoreError::not_found));
  EXPECT_EQ((co_await store.read_user(user))->old_key, KeyId());
  auto again = co_await store.rotate_key(user);
  CO_ASSERT(again);
  EXPECT_FALSE(again->created) << "the pool is empty";
}

// However the last subscription that names it ends.
SUCCESSION_TEST(erases_the_key_before_with_whatever_ends_its_last_subscription) {
  for (uint64_t way = 0; way < 5; ++way) {
    uint64_t user = 10 * (way + 1), next = user + 1, pair = user + 2;
    CO_ASSERT(co_await make_mailbox(store, user));
    CO_ASSERT(co_await store.add_pool_key(later_key(pair)));
    CO_ASSERT(co_await store.rotate_key(id_of<StoredUserId>(user)));
    CO_ASSERT(co_await store.begin_succession(co_await succession(store, user, user, next)));
    EXPECT_TRUE(co_await store.read_key(a_key(user).id));
    CapabilityHash old_one = id_of<CapabilityHash>(user), successor = id_of<CapabilityHash>(next);
    DeviceRemoval removal{.user = id_of<StoredUserId>(user), .device = id_of<DeviceKey>(user), .ending = kEnding};
    switch (way) {
      case 0:
        EXPECT_TRUE(co_await store.end_subscription(old_one, kEnding));
        break;
      case 1:
        EXPECT_TRUE(co_await store.replace_subscription(old_one, successor, {}, kEnding));
        break;
      case 2:
        EXPECT_TRUE(co_await store.remove_device(removal));
        EXPECT_TRUE(failed_with(co_await store.read_key(later_key(pair).id), StoreError::not_found));
        break;
      case 3:
        removal.keep_user = true;
        EXPECT_TRUE(co_await store.remove_device(removal));
        EXPECT_TRUE(co_await store.read_key(later_key(pair).id));
        break;
      default:
        EXPECT_TRUE(co_await store.block_device(removal.user, removal.device, kEnding));
    }
    EXPECT_TRUE(failed_with(co_await store.read_key(a_key(user).id), StoreError::not_found)) << way;
  }
}

SUCCESSION_TEST(marks_what_a_device_leaves_or_ends_it_where_it_was_wiped_or_blocked) {
  for (uint64_t way = 0; way < 3; ++way) {
    uint64_t user = 10 * (way + 1);
    CO_ASSERT(co_await make_mailbox(store, user));
    CO_ASSERT(co_await store.register_device(a_registration(user, user + 1, std::nullopt)));
    DeviceRemoval removal{.user = id_of<StoredUserId>(user),
                          .device = id_of<DeviceKey>(user),
                          .ending = kEnding,
                          .end_orphaned = way == 1};
    auto left = way == 2 ? co_await store.block_device(removal.user, removal.device, kEnding)
                         : co_await store.remove_device(removal);
    CO_ASSERT(left);
    EXPECT_FALSE(left->last);
    EXPECT_EQ(left->orphaned.size(), way == 0 ? 1u : 0u);
    EXPECT_EQ(left->tombstoned.size(), way == 0 ? 0u : 1u);
    Route route;
    CO_ASSERT(co_await store.read_route(id_of<CapabilityHash>(user), route));
    EXPECT_EQ(route.kind, way == 0 ? RouteKind::subscription : RouteKind::tombstone);
    if (way == 0) EXPECT_TRUE(route.subscription.source_left);
  }
}

SUCCESSION_TEST(takes_no_subscription_of_a_device_that_was_blocked_during_its_subscribe) {
  CO_ASSERT(co_await make_mailbox(store, 1));
  CO_ASSERT(co_await store.block_device(id_of<StoredUserId>(1), id_of<DeviceKey>(1), kEnding));
  auto again = co_await store.register_device(a_registration(1, 1, 2));
  CO_ASSERT(!again);
  EXPECT_TRUE(is(again.error(), StoreError::conflict));
  EXPECT_EQ(co_await kind(store, 2), RouteKind::none);
  // Its record alone may change, and it stays blocked.
  CO_ASSERT(co_await store.register_device(a_registration(1, 1, std::nullopt)));
  auto device = co_await store.read_device(id_of<StoredUserId>(1), id_of<DeviceKey>(1));
  CO_ASSERT(device);
  EXPECT_EQ(device->state, DeviceState::blocked);
}

SUCCESSION_TEST(notes_wishes_page_by_page) {
  for (uint64_t number = 1; number <= 5; ++number) {
    CO_ASSERT(co_await make_mailbox(store, number, number == 3 ? "other" : "example"));
  }
  CO_ASSERT(co_await store.add_pool_key(a_key(60)));
  RekeyWish wish{.user = {}, .tenant = "example", .after = {}, .users_max = 2, .now = at_ms(10'000)};
  uint64_t users = 0, pages = 0;
  for (;;) {
    auto wished = co_await store.wish_new_keys(wish);
    CO_ASSERT(wished);
    users += wished->users;
    ++pages;
    EXPECT_EQ(wished->pool_keys, 0u) << "the pool is no tenant's";
    if (!wished->next) break;
    wish.after = wished->next;
  }
  EXPECT_EQ(users, 4u);
  EXPECT_EQ(pages, 3u);
  EXPECT_EQ((co_await store.read_user(id_of<StoredUserId>(3)))->rekey_wished, WallTime());
  EXPECT_EQ((co_await store.read_user(id_of<StoredUserId>(4)))->rekey_wished, at_ms(10'000));
  auto all = co_await store.wish_new_keys({.user = {}, .tenant = {}, .after = {}, .users_max = 256, .now = at_ms(10'001)});
  CO_ASSERT(all);
  EXPECT_EQ(all->users, 5u);
  EXPECT_EQ(all->subscriptions, 5u);
  EXPECT_EQ(all->pool_keys, 1u);
  // What is made while a million users are gone through is for them.
  CO_ASSERT(co_await store.add_pool_key(a_key(61)));
  auto rest = co_await store.wish_new_keys(
      {.user = {}, .tenant = {}, .after = id_of<StoredUserId>(2), .users_max = kListMax, .now = at_ms(1'000'000)});
  CO_ASSERT(rest);
  EXPECT_EQ(rest->pool_keys, 0u);
  EXPECT_FALSE(all->next);
  EXPECT_TRUE(failed_with(
      co_await store.wish_new_keys({.user = id_of<StoredUserId>(9), .tenant = {}, .after = {}, .now = at_ms(1)}),
      StoreError::not_found));
  EXPECT_TRUE(failed_with(
      co_await store.wish_new_keys({.user = {}, .tenant = {}, .after = {}, .users_max = kListMax + 1, .now = at_ms(1)}),
      StoreError::limit));
  // A subscription that is made while the wish is open carries it too.
  CO_ASSERT(co_await store.begin_succession(co_await succession(store, 1, 1, 70)));
  Route route;
  CO_ASSERT(co_await store.read_route(id_of<CapabilityHash>(70), route));
  EXPECT_TRUE(route.subscription.rekey_wished);
}

SUCCESSION_TEST(lists_every_sealed_field_once_and_replaces_what_is_unchanged) {
  constexpr uint64_t kMailboxes = 7;
  for (uint64_t number = 1; number <= kMailboxes; ++number) CO_ASSERT(co_await make_mailbox(store, number));
  CO_ASSERT(co_await store.put_meta("index_key", blob(40, 1)));
  std::vector<ResealedField> fields;
  std::optional<SealedPlace> place;
  size_t pages = 0;
  for (;; ++pages) {
    auto page = co_await store.list_sealed(place, 3);
    CO_ASSERT(page);
    for (SealedField& field : page->fields) fields.push_back({std::move(field), blob(33, fields.size())});
    if (!page->next) break;
    place = page->next;
  }
  EXPECT_GT(pages, 5u);
  EXPECT_EQ(fields.size(), kMailboxes * 3 + 1);
  // One of them is written meanwhile, and one goes.
  DevicePatch patch;
  patch.push_token = DevicePatch::PushToken{blob(20, 9), at_ms(1)};
  CO_ASSERT(co_await store.update_device(id_of<StoredUserId>(1), id_of<DeviceKey>(1), patch));
  DeviceRemoval removal{.user = id_of<StoredUserId>(2), .device = id_of<DeviceKey>(2), .ending = kEnding};
  CO_ASSERT(co_await store.remove_device(removal));
  auto replaced = co_await store.replace_sealed(fields);
  CO_ASSERT(replaced);
  EXPECT_EQ(*replaced, fields.size() - 1 - 3);
  EXPECT_EQ((co_await store.read_device(id_of<StoredUserId>(1), id_of<DeviceKey>(1)))->sealed_push_token, blob(20, 9));
  EXPECT_EQ(*co_await store.replace_sealed(fields), 0u) << "they hold other boxes now";
  fields.resize(kListMax + 1, fields[0]);
  EXPECT_TRUE(failed_with(co_await store.replace_sealed(fields), StoreError::limit));
}

}  // namespace
}  // namespace bellhop::store
