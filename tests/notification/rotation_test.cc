// SPDX-License-Identifier: Apache-2.0
// Keys that are replaced while subscriptions live: users' pairs, OAuth tokens that a hand-over passes on, and the keyring's.
#include "crypto/sealing.h"
#include "service/kek_keeper.h"
#include "tests/notification/renewal_scene.h"

namespace bellhop::service {
namespace {

using store::RouteKind;
using testing::HasSubstr;
using testing::Not;

// ---- Key pairs ----

RENEWAL_TEST(KeyRotation, GivesTheSuccessorANewPairAndErasesTheOldOneWithTheOldSubscription) {
  Subscriber old_one = co_await scene.subscribe("anna");
  co_await scene.heartbeat(old_one);
  co_await scene.add_pool_key();  // before the wish: not to be used for it
  EXPECT_TRUE(co_await sleep_for(1s));
  co_await wish_new_key(scene, old_one);
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 0);
  EXPECT_EQ(counted(scene, RenewalResult::no_key), 1u);
  EXPECT_EQ(*co_await scene.store->count_pool_keys(), 0u);

  co_await scene.add_pool_key();
  co_await heartbeat_and_settle(scene, old_one);
  CO_ASSERT(fake_exchange().subscribes == 1);
  Subscriber successor = co_await scene.successor_of(old_one);
  store::UserRecord user = co_await scene.stored_user(old_one);
  EXPECT_NE(user.key, old_one.key);
  EXPECT_EQ(user.old_key, old_one.key);
  EXPECT_EQ(user.rekey_wished, WallTime());
  EXPECT_EQ(successor.key, user.key);
  expect_sound(scene);

  // Both pairs are needed while both subscriptions live.
  have_mail("by the old one");
  co_await scene.mail(old_one, {"by the old one"});
  EXPECT_TRUE(shows("Subject of by the old one"));
  EXPECT_TRUE(co_await scene.store->read_key(old_one.key));
  have_mail("by the successor");
  co_await scene.mail(successor, {"by the successor"});
  EXPECT_TRUE(shows("Subject of by the successor"));
  EXPECT_FALSE(co_await scene.store->read_key(old_one.key)) << "no live subscription names it";
  EXPECT_TRUE(co_await scene.store->read_key(successor.key));
  EXPECT_EQ((co_await scene.stored_user(old_one)).old_key, store::KeyId());
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::keys_rotated), 1u);
  // The wish is fulfilled.
  co_await heartbeat_and_settle(scene, successor);
  EXPECT_EQ(fake_exchange().subscribes, 1);
  expect_sound(scene);
}

RENEWAL_TEST(KeyRotation, ThatExchangeRefusesGoesOnWithTheSameNewPair) {
  Subscriber old_one = co_await scene.subscribe("anna");
  co_await scene.heartbeat(old_one);
  co_await grant_new_key(scene, old_one);
  fake_exchange().subscribe_failure = EwsFailureKind::unavailable;
  co_await heartbeat_and_settle(scene, old_one);
  store::UserRecord user = co_await scene.stored_user(old_one);
  EXPECT_EQ(user.old_key, old_one.key);
  have_mail("a");
  co_await scene.mail(old_one, {"a"});
  EXPECT_TRUE(shows("Subject of a"));
  expect_sound(scene);
  fake_exchange().subscribe_failure.reset();
  EXPECT_TRUE(co_await sleep_for(kRenewalRetryFirst));
  co_await heartbeat_and_settle(scene, old_one);
  CO_ASSERT(fake_exchange().callback_urls.size() == 1);
  EXPECT_EQ((co_await scene.successor_of(old_one)).key, user.key);
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::keys_rotated), 1u);
}

RENEWAL_TEST(KeyRotation, DoesNotHoldUpWhatCannotWaitWhereThePoolIsEmpty) {
  Subscriber old_one = co_await scene.subscribe("anna");
  co_await scene.heartbeat(old_one);
  co_await wish_new_key(scene, old_one);
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(counted(scene, RenewalResult::no_key), 1u);
  // Exchange drops the subscription while pairs are being made.
  co_await scene.post(old_one.target(), error_body(proto::EwsResponseCode::invalid_watermark, old_one));
  co_await settle();
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 1u);
  EXPECT_EQ(resubscribe_pushes(), 0u);
  Subscriber second = co_await scene.successor_of(old_one);
  EXPECT_EQ(second.key, old_one.key);
  // The wish stands.
  co_await scene.add_pool_key();
  co_await scene.heartbeat(second);
  EXPECT_TRUE(co_await sleep_for(1min));
  co_await heartbeat_and_settle(scene, second);
  EXPECT_NE((co_await scene.successor_of(second)).key, old_one.key);
  expect_sound(scene);
}

RENEWAL_TEST(KeyRotation, WaitsForTheOneBeforeIt) {
  Subscriber old_one = co_await scene.subscribe("anna");
  co_await scene.heartbeat(old_one);
  co_await grant_new_key(scene, old_one);
  Subscriber second = co_await renew(scene, old_one);
  co_await grant_new_key(scene, old_one);
  co_await scene.heartbeat(second);
  EXPECT_TRUE(co_await sleep_for(1min));
  Subscriber third = co_await renew(scene, second);
  EXPECT_EQ(fake_exchange().subscribes, 2);
  EXPECT_NE(third.key, second.key);
  co_await scene.heartbeat(third);
  EXPECT_FALSE(co_await scene.store->read_key(old_one.key));
  EXPECT_FALSE(co_await scene.store->read_key(second.key));
  expect_sound(scene);
}

// What the core has of a pair that the store has erased goes with it, however the last subscription that names it ends.
Task<bool> is_known(Scene& scene, store::KeyId key) {
  Result<crypto::KeyCache::Pin> pin = co_await scene.parts[0]->decrypter.key(key);
  EXPECT_TRUE(pin || is(pin.error(), store::StoreError::not_found));
  co_return pin.has_value();
}

// The old subscription with the old pair, and its successor with a new one, which has not yet taken over.
Task<Subscriber> subscriber_with_two_pairs(Scene& scene, std::vector<DeviceOptions> devices = {DeviceOptions()}) {
  Subscriber old_one = co_await scene.subscribe("anna", std::move(devices));
  co_await scene.heartbeat(old_one);
  co_await grant_new_key(scene, old_one);
  (void)co_await renew(scene, old_one);
  EXPECT_EQ((co_await scene.stored_user(old_one)).old_key, old_one.key);
  EXPECT_TRUE(co_await is_known(scene, old_one.key));
  co_return old_one;
}

Task<void> expect_forgotten(Scene& scene, const Subscriber& old_one) {
  store::UserRecord user = co_await scene.stored_user(old_one);
  EXPECT_EQ(user.old_key, store::KeyId());
  EXPECT_FALSE(co_await scene.store->read_key(old_one.key));
  EXPECT_FALSE(co_await is_known(scene, old_one.key));
  EXPECT_TRUE(co_await is_known(scene, user.key));
  expect_sound(scene);
}

RENEWAL_TEST(KeyRotation, ForgetsThePairOfASubscriptionThatTheOperatorEnds) {
  Subscriber old_one = co_await subscriber_with_two_pairs(scene);
  Registrar& registrar = *scene.parts[0]->registrar;
  store::CapabilityHash successor = (co_await scene.stored_user(old_one)).subscriptions.back();
  EXPECT_TRUE(co_await registrar.end_subscription(old_one.user, old_one.capability_hash));
  co_await expect_forgotten(scene, old_one);
  // The present pair stays without any subscription: the next one takes it.
  EXPECT_TRUE(co_await registrar.end_subscription(old_one.user, successor));
  EXPECT_TRUE(co_await is_known(scene, (co_await scene.stored_user(old_one)).key));
}

RENEWAL_TEST(KeyRotation, ForgetsThePairOfTheSubscriptionsOfABlockedDevice) {
  Subscriber old_one = co_await subscriber_with_two_pairs(scene);
  EXPECT_TRUE(co_await scene.parts[0]->registrar->block_device(old_one.user, old_one.devices[0]));
  co_await expect_forgotten(scene, old_one);
}

RENEWAL_TEST(KeyRotation, ForgetsThePairOfTheSubscriptionsOfAWipedDevice) {
  Subscriber old_one = co_await subscriber_with_two_pairs(scene, {DeviceOptions(), DeviceOptions()});
  EXPECT_TRUE(co_await scene.parts[0]->registrar->wipe_device(old_one.user, old_one.devices[0]));
  co_await expect_forgotten(scene, old_one);
}

RENEWAL_TEST(KeyRotation, ForgetsThePairOfASubscriptionThatExchangeHasDropped) {
  Subscriber old_one = co_await subscriber_with_two_pairs(scene);
  co_await scene.post(old_one.target(), error_body(proto::EwsResponseCode::subscription_not_found, old_one));
  co_await settle();
  co_await expect_forgotten(scene, old_one);
}

// ---- OAuth ----

// Whose first mail made the server ask for an access token.
Task<Subscriber> subscriber_with_access_token(Scene& scene, Duration lifetime) {
  fake_tokens().lifetime = lifetime;
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  have_mail("a");
  co_await scene.mail(subscriber, {"a"});
  co_return subscriber;
}

RENEWAL_TEST(RenewalOauth, HandsTheRefreshTokenToTheSuccessorAlone) {
  Subscriber old_one = co_await subscriber_with_access_token(scene, 10min);
  EXPECT_EQ(fake_tokens().grants, 1);
  co_await grant_new_key(scene, old_one);
  EXPECT_TRUE(co_await sleep_for(1min));
  co_await heartbeat_and_settle(scene, old_one);
  CO_ASSERT(fake_exchange().callback_urls.size() == 1);
  EXPECT_EQ(fake_tokens().grants, 1) << "the access token is good for long enough";
  Subscriber successor = co_await scene.successor_of(old_one);

  // With the access token that it has, the old one serves.
  have_mail("b");
  co_await scene.mail(old_one, {"b"});
  EXPECT_TRUE(shows("Subject of b"));
  // Past its end it may not ask for another: the refresh token is the successor's.
  EXPECT_TRUE(co_await sleep_for(10min));
  have_mail("c");
  EXPECT_EQ((co_await scene.mail(old_one, {"c"})).status, 200);
  EXPECT_FALSE(shows("Subject of c"));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
  EXPECT_EQ(fake_tokens().asked, 1);

  have_mail("d");
  EXPECT_EQ((co_await scene.mail(successor, {"d"})).status, 200);
  EXPECT_TRUE(shows("Subject of d"));
  EXPECT_EQ(fake_tokens().grants, 2);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
  EXPECT_EQ(fake_tokens().reuses, 0);
  EXPECT_EQ(alerts(), 4u);
  expect_sound(scene);
}

RENEWAL_TEST(RenewalOauth, GivesTheRefreshTokenBackWhereTheSuccessorIsNeverCalled) {
  Subscriber old_one = co_await subscriber_with_access_token(scene, 10min);
  co_await grant_new_key(scene, old_one);
  Subscriber successor = co_await renew(scene, old_one);
  EXPECT_TRUE(co_await sleep_for(31min));  // more than a status frequency
  have_mail("b");
  co_await scene.mail(old_one, {"b"});
  EXPECT_TRUE(shows("Subject of b"));
  EXPECT_EQ(co_await scene.route_kind(successor), RouteKind::tombstone);
  EXPECT_THAT((co_await scene.heartbeat(successor)).body, HasSubstr("Unsubscribe"));
  EXPECT_EQ(fake_tokens().reuses, 0);
  expect_sound(scene);
}

RENEWAL_TEST(RenewalOauth, GrantsFirstWhereTheAccessTokenIsAboutToEnd) {
  Subscriber old_one = co_await subscriber_with_access_token(scene, 10min);
  co_await grant_new_key(scene, old_one);
  EXPECT_TRUE(co_await sleep_for(6min));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_tokens().grants, 2);
  Subscriber successor = co_await scene.successor_of(old_one);
  have_mail("b");
  co_await scene.mail(successor, {"b"});
  EXPECT_TRUE(shows("Subject of b"));
  EXPECT_EQ(fake_tokens().grants, 2);
  EXPECT_EQ(fake_tokens().reuses, 0);
}

// A callback that needs a grant, and a renewal that needs one, at the same moment: one after the other.
RENEWAL_TEST(RenewalOauth, NeverGrantsBesideACallback) {
  fake_tokens().delay = 500ms;
  Subscriber old_one = co_await scene.subscribe_oauth("anna");
  co_await scene.heartbeat(old_one);
  co_await grant_new_key(scene, old_one);
  have_mail("a");
  co_await scene.heartbeat(old_one);
  EXPECT_EQ((co_await scene.mail(old_one, {"a"})).status, 200);
  co_await settle();
  EXPECT_EQ(fake_tokens().asked_at_once_max, 1);
  EXPECT_EQ(fake_tokens().reuses, 0);
  EXPECT_EQ(fake_exchange().callback_urls.size(), 1u);
}

// ---- Key-encryption keys ----

// The scene's vault gets a keyring in which another key is current, as by a reload.
std::unique_ptr<const VaultKeys> make_new_key_current(Scene& scene) {
  std::string lines = scene.keyring_text;
  lines.erase(lines.find(" current"), 8);
  lines += "kek 2 " + to_base64(std::vector<uint8_t>(32, 2)) + " current\n";
  auto ring = crypto::Keyring::parse(crypto::Secret::copy_of(lines));
  BH_CHECK(ring);
  return scene.vault->replace(std::make_unique<const VaultKeys>(*ring));
}

KekKeeper keeper_of(Scene& scene) {
  Scene::Parts& parts = *scene.parts[0];
  return KekKeeper(*scene.store, *scene.vault, parts.log, *parts.metrics);
}

RENEWAL_TEST(KekRotation, SealsFieldsAnewOnlineAndRenewsWhatUrlsName) {
  Subscriber anna = co_await scene.subscribe_oauth("anna"), berta = co_await scene.subscribe("berta");
  co_await scene.heartbeat(anna);
  co_await scene.heartbeat(berta);
  auto kept = make_new_key_current(scene);
  KekKeeper keeper = keeper_of(scene);
  auto walked = co_await keeper.walk();
  CO_ASSERT(walked);
  EXPECT_EQ(walked->resealed, 2u + 2u + 1u + 1u) << "keys, push tokens, split ciphertext, index key";
  EXPECT_EQ(walked->unopened, 0u);
  EXPECT_TRUE(walked->fields.empty());
  EXPECT_EQ(walked->urls, (std::map<uint32_t, uint64_t>{{1, 1}}));
  // All of it still opens.
  for (Subscriber* subscriber : {&anna, &berta}) {
    have_mail("to " + subscriber->exchange_id);
    co_await scene.mail(*subscriber, {"to " + subscriber->exchange_id});
    EXPECT_TRUE(shows("Subject of to " + subscriber->exchange_id));
  }
  EXPECT_EQ((co_await keeper.walk())->resealed, 0u);

  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 1) << "an envelope under the user's own key names none";
  Subscriber successor = co_await scene.successor_of(anna);
  EXPECT_EQ((co_await scene.stored_subscription(successor)).kek, 2u);
  EXPECT_EQ((co_await keeper.walk())->urls, (std::map<uint32_t, uint64_t>{{1, 1}})) << "while both live";
  co_await scene.heartbeat(successor);
  EXPECT_TRUE((co_await keeper.walk())->urls.empty());
  auto use = scene.store->kek_use([](Bytes box) { return crypto::Sealer::kek_of(box); });
  CO_ASSERT(use);
  EXPECT_FALSE(use->keks.contains(1)) << "the old key may retire";
}

RENEWAL_TEST(KekRotation, LeavesAFieldThatWasWrittenMeanwhile) {
  Subscriber anna = co_await scene.subscribe("anna");
  auto kept = make_new_key_current(scene);
  auto page = co_await scene.store->list_sealed({}, 64);
  CO_ASSERT(page);
  auto token = std::ranges::find(page->fields, store::SealedKind::push_token, &store::SealedField::kind);
  CO_ASSERT(token != page->fields.end());
  auto box = scene.vault->reseal(*token);
  CO_ASSERT(box && *box);
  std::vector<uint8_t> newest = scene.vault->seal_push_token(anna.user, anna.devices[0], "a new token");
  store::DevicePatch patch;
  patch.push_token = store::DevicePatch::PushToken{.sealed = newest, .registered_at = io::wall_now()};
  CO_ASSERT(co_await scene.store->update_device(anna.user, anna.devices[0], patch));
  auto replaced = co_await scene.store->replace_sealed({{*token, **box}});
  CO_ASSERT(replaced);
  EXPECT_EQ(*replaced, 0u);
  EXPECT_EQ((co_await scene.stored_device(anna)).sealed_push_token, newest);
}

Task<void> keep_keks(KekKeeper& keeper) { co_await keeper.run(); }

RENEWAL_TEST(KekRotation, SaysWhenAKeyMayRetire) {
  Subscriber anna = co_await scene.subscribe("anna");
  KekKeeper keeper = keeper_of(scene);
  TaskScope flows(&co_await current_context());
  flows.spawn(keep_keks(keeper));
  EXPECT_TRUE(co_await sleep_for(1h));
  EXPECT_THAT(scene.log_lines, Not(HasSubstr("resealed"))) << "with one key there is nothing to do";
  auto kept = make_new_key_current(scene);
  EXPECT_TRUE(co_await sleep_for(2 * kKekLook));
  EXPECT_THAT(scene.log_lines, HasSubstr("\"event\":\"resealed\""));
  EXPECT_TRUE(co_await sleep_for(2min));
  EXPECT_THAT(scene.log_lines, HasSubstr("keyring_key_may_retire"));
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::old_kek_fields), 0u);
  flows.request_stop();
  co_await flows.join();
}

}  // namespace
}  // namespace bellhop::service
