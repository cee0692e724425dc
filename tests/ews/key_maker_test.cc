// SPDX-License-Identifier: Apache-2.0
#include "service/key_maker.h"

#include "core/cross_core.h"
#include "core/sleep.h"
#include "store/memory/memory_store.h"
#include "tests/core/run.h"

namespace bellhop::service {
namespace {

struct Stage {
  explicit Stage(Context* parent) : flows(parent) {}
  Task<bool> open(size_t store_bytes_max = SIZE_MAX) {
    auto keyring = crypto::Keyring::parse(crypto::make_keyring());
    BH_CHECK(keyring);
    store = store::MemoryStore::create(store_bytes_max);
    Result<Vault> opened = co_await Vault::open(*keyring, *store);
    EXPECT_TRUE(opened);
    if (!opened) co_return false;
    vault.emplace(*std::move(opened));
    maker = std::make_unique<KeyMaker>(config, *store, *vault, metrics);
    co_return true;
  }
  // Waits until the pool has at least so many keys; each look lets the helper thread work.
  Task<bool> until_pool(uint64_t keys) {
    for (int i = 0; i < 20'000; ++i) {
      Result<uint64_t> count = co_await store->count_pool_keys();
      if (count && *count >= keys) co_return true;
      if (!co_await sleep_for(2ms)) co_return false;
    }
    co_return false;
  }
  Task<void> close() {
    flows.request_stop();
    co_await flows.join();
    maker.reset();
    EXPECT_TRUE(co_await store->leave_core());
  }

  KeysConfig config;
  MetricsShard metrics;
  std::unique_ptr<store::MemoryStore> store;
  std::optional<Vault> vault;
  std::unique_ptr<KeyMaker> maker;
  TaskScope flows;
};

store::StoredUserId user_of(uint8_t number) {
  store::StoredUserId user;
  user.bytes[0] = number;
  return user;
}

Task<void> fills(unsigned) {
  Stage stage(&co_await current_context());
  stage.config.pool_target = 2;
  CO_ASSERT(co_await stage.open());
  stage.flows.spawn(stage.maker->run());
  CO_ASSERT(co_await stage.until_pool(2));

  // A key of the pool works: the store's public key encrypts what the unsealed private key opens.
  auto made = co_await stage.store->get_or_create_user(user_of(1), "tenant", io::wall_now());
  CO_ASSERT(made && made->created);
  auto public_key = crypto::RsaPublicKey::from_spki(made->key.public_key);
  CO_ASSERT(public_key);
  EXPECT_EQ(public_key->modulus_bytes(), 256u);
  EXPECT_EQ(Vault::key_id(public_key->id()), made->key.id);
  auto private_key = stage.vault->unseal_private_key(made->key);
  CO_ASSERT(private_key);
  EXPECT_EQ(private_key->public_key().id(), public_key->id());
  EXPECT_GT(made->key.created, WallTime());

  // One was taken: after a nudge there are two again. Nudges while one is on its way are one.
  for (int i = 0; i < 100; ++i) stage.maker->nudge();
  CO_ASSERT(co_await stage.until_pool(2));
  CO_ASSERT(co_await sleep_for(5ms));
  EXPECT_EQ(stage.metrics.value(metric::key_pool_keys), 2u);
  co_await stage.close();
}
TEST(KeyMaker, FillsThePoolAgainWhenItIsNudgedAndStops) { test::run_on_cores(1, fills); }

Task<void> stops_early(unsigned) {
  Stage stage(&co_await current_context());
  stage.config.pool_target = 1000;
  CO_ASSERT(co_await stage.open());
  stage.flows.spawn(stage.maker->run());
  CO_ASSERT(co_await stage.until_pool(1));
  co_await stage.close();  // awaits one pair at most
}
TEST(KeyMaker, StopsBetweenTwoPairs) { test::run_on_cores(1, stops_early); }

Task<void> survives_full_store(unsigned) {
  Stage stage(&co_await current_context());
  stage.config.pool_target = 1;
  CO_ASSERT(co_await stage.open(600));  // room for the index key, not for a pair
  stage.flows.spawn(stage.maker->run());
  for (int i = 0; i < 20'000 && stage.store->write_health().failures == 0; ++i) CO_ASSERT(co_await sleep_for(2ms));
  EXPECT_GE(stage.store->write_health().failures, 1u);
  EXPECT_EQ(co_await stage.store->count_pool_keys(), 0u);
  co_await stage.close();
}
TEST(KeyMaker, AFullStoreIsTriedAgainLater) { test::run_on_cores(1, survives_full_store); }

Task<void> expires(unsigned) {
  Stage stage(&co_await current_context());
  stage.config.pool_target = 1;
  stage.config.unused_expiry_hours = 24;
  CO_ASSERT(co_await stage.open());
  stage.flows.spawn(stage.maker->run());
  WallTime now = io::wall_now();
  // The first round fills the pool; then both users are made, one of them long ago, and a second maker sweeps.
  CO_ASSERT(co_await stage.until_pool(1));
  CO_ASSERT(co_await stage.store->get_or_create_user(user_of(1), "tenant", now - std::chrono::hours(25)));
  stage.maker->nudge();
  CO_ASSERT(co_await stage.until_pool(1));
  CO_ASSERT(co_await stage.store->get_or_create_user(user_of(2), "tenant", now - std::chrono::hours(23)));
  stage.flows.request_stop();
  co_await stage.flows.join();

  TaskScope second_run(&co_await current_context());
  KeyMaker second(stage.config, *stage.store, *stage.vault, stage.metrics);
  second_run.spawn(second.run());
  Result<store::UserRecord> gone = co_await stage.store->read_user(user_of(1));
  for (int i = 0; i < 20'000 && gone; ++i) {
    CO_ASSERT(co_await sleep_for(2ms));
    gone = co_await stage.store->read_user(user_of(1));
  }
  CO_ASSERT(!gone);
  EXPECT_EQ(gone.error(), store::store_error(store::StoreError::not_found));
  EXPECT_TRUE(co_await stage.store->read_user(user_of(2)));
  second_run.request_stop();
  co_await second_run.join();
  co_await stage.close();
}
TEST(KeyMaker, UsersWhoNeverSubscribedExpire) { test::run_on_cores(1, expires); }

// Core 1 takes keys and nudges; core 0 makes them.
Task<void> across(unsigned core, Event* ready, Stage** shared) {
  if (core == 1) co_return;
  Stage stage(&co_await current_context());
  *shared = &stage;
  stage.config.pool_target = 1;
  CO_ASSERT(co_await stage.open());
  stage.flows.spawn(stage.maker->run());
  CO_ASSERT(co_await stage.until_pool(1));
  ready->set();
  CO_ASSERT(co_await stage.store->get_or_create_user(user_of(1), "tenant", io::wall_now()));
  struct Elsewhere {
    static Task<bool> nudge(KeyMaker& maker) {
      for (int i = 0; i < 1000; ++i) maker.nudge();
      co_return io::core() == 1;
    }
  };
  KeyMaker& maker = *stage.maker;
  EXPECT_TRUE(co_await on_core(1, [&maker] { return Elsewhere::nudge(maker); }));
  CO_ASSERT(co_await stage.until_pool(1));
  co_await stage.close();
}
TEST(KeyMaker, AnotherCoreMayNudge) {
  Event ready;
  Stage* shared = nullptr;
  test::run_on_cores(2, [&](unsigned core) { return across(core, &ready, &shared); });
}

}  // namespace
}  // namespace bellhop::service
