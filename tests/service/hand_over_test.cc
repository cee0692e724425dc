// SPDX-License-Identifier: Apache-2.0
// Further devices of a mailbox, and new subscriptions in the place of old ones. Runs on both back ends.

#include "tests/service/device_api_fixture.h"

namespace bellhop::service::device_api_test {
namespace {

Task<void> expect_second_device(BedCore& core) {
  Bed& bed = core.bed;
  Phone first{core};
  CO_ASSERT(co_await first.fetch_key());
  Answered made = co_await first.subscribe();
  CO_ASSERT(made.status == 201);
  Phone second{.core = core, .device_id = "phone-2"};
  CO_ASSERT(co_await second.fetch_key());
  EXPECT_EQ(second.key_id, first.key_id);

  Answered refused = co_await second.subscribe("wrong");
  EXPECT_EQ(refused.code(), "credentials");
  EXPECT_EQ((co_await bed.counts()).devices, 1u);

  Answered joined = co_await second.subscribe();
  EXPECT_EQ(joined.status, 201) << joined.body;
  EXPECT_EQ(joined.text("subscriptionId"), made.text("subscriptionId"));
  EXPECT_FALSE(second.secret.empty());
  EXPECT_EQ(bed.exchange.subscribes, 1);
  EXPECT_EQ(bed.exchange.verifies, 1);
  EXPECT_EQ((co_await bed.counts()).devices, 2u);
  EXPECT_EQ((co_await bed.counts()).subscriptions, 1u);

  // The source leaves: the other device is asked to subscribe, and takes over.
  EXPECT_EQ((co_await core.post("unsubscribe", first.identity().json())).status, 204);
  Answered asked = co_await core.post("checkin", second.identity().json());
  EXPECT_EQ(asked.text("action"), "resubscribe");
  Answered taken = co_await second.subscribe();
  EXPECT_EQ(taken.status, 200) << taken.body;
  EXPECT_EQ(bed.exchange.subscribes, 2);
  EXPECT_EQ((co_await bed.counts()).subscriptions, 1u);
  EXPECT_EQ((co_await route_of(bed, bed.exchange.callback_urls.at(0))).kind, store::RouteKind::tombstone);
  EXPECT_EQ((co_await core.post("checkin", second.identity().json())).text("action"), "none");
}

TEST(SubscribeTest, SecondDeviceJoinsTheLiveSubscriptionOnceExchangeTookItsCredentials) {
  run_bed({}, expect_second_device);
}

Task<void> expect_second_device_without_url(BedCore& core) {
  Bed& bed = core.bed;
  Phone first{core}, second{.core = core, .device_id = "phone-2"};
  CO_ASSERT(co_await first.fetch_key());
  CO_ASSERT((co_await first.subscribe()).status == 201);
  CO_ASSERT(co_await second.fetch_key());
  Answered joined = co_await second.send(second.subscribe_fields().drop("ewsUrl"));
  EXPECT_EQ(joined.status, 201) << joined.body;
  EXPECT_EQ(bed.exchange.verifies, 1);
  EXPECT_EQ(core.metrics.value(metric::autodiscovers, AutodiscoverResult::off), 0u) << "nobody was asked";
  // The first one takes its subscription's place, and for that it must be found.
  Answered off = co_await first.send(first.subscribe_fields().drop("ewsUrl"));
  EXPECT_EQ(off.code(), "malformed");
  EXPECT_EQ(core.metrics.value(metric::autodiscovers, AutodiscoverResult::off), 1u);
}

TEST(SubscribeTest, ADeviceThatJoinsNeedsNoEwsUrl) { run_bed({}, expect_second_device_without_url); }

Task<void> expect_known_url(BedCore& core) {
  Bed& bed = core.bed;
  std::string domain = *domain_of_address(kAddress);
  store::EwsUrlKey key = bed.vault->ews_url_key(kTenant, domain);
  EXPECT_TRUE(co_await bed.store->put_ews_url(key, {bed.ews_url, io::wall_now() + 1h}));
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Answered made = co_await phone.send(phone.subscribe_fields().drop("ewsUrl"));
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(core.metrics.value(metric::autodiscovers, AutodiscoverResult::cached), 1u);
  store::Route route = co_await route_of(bed, bed.exchange.callback_urls.at(0));
  EXPECT_EQ(route.subscription.ews_url, bed.ews_url);
  EXPECT_THAT(core.lines, testing::Not(testing::HasSubstr(domain)));
}

TEST(SubscribeTest, WhatIsKnownOfTheDomainServesADeviceWithoutEwsUrl) {
  BedOptions options;
  options.configure = [](Config& config) { config.tenants[0].autodiscover_domains = {*domain_of_address(kAddress)}; };
  run_bed(options, expect_known_url);
}

Task<void> expect_hand_over(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  for (int i = 1; i <= 3; ++i) {
    Answered again = co_await phone.subscribe();
    EXPECT_EQ(again.status, 200) << again.body;
    EXPECT_EQ((co_await bed.counts()).subscriptions, 1u);
    store::Route old_one = co_await route_of(bed, bed.exchange.callback_urls.at(i - 1));
    EXPECT_EQ(old_one.kind, store::RouteKind::tombstone);
    EXPECT_EQ(old_one.tombstone.reason, store::TombstoneReason::handed_over);
    store::Route new_one = co_await route_of(bed, bed.exchange.callback_urls.at(i));
    EXPECT_EQ(new_one.kind, store::RouteKind::subscription);
    EXPECT_EQ(new_one.subscription.exchange_id, "subscription-" + std::to_string(i + 1));
  }
  Answered fourth = co_await phone.subscribe();
  EXPECT_EQ(fourth.status, 429);
  EXPECT_EQ(fourth.code(), "throttled");
  EXPECT_FALSE(fourth.headers["retry-after"].empty());
  EXPECT_EQ(bed.exchange.subscribes, 4);
}

TEST(SubscribeTest, SameDeviceHandsOverAtMostThreeTimesAnHour) {
  run_bed({}, expect_hand_over);
}

Task<void> expect_failed_hand_over(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  store::UserRecord before = co_await phone.stored();
  bed.exchange.mood = FakeExchangeServer::Mood::refusing;
  Answered failed = co_await phone.send(phone.subscribe_fields().set("pushToken", kOtherPushToken));
  EXPECT_EQ(failed.status, 502);
  store::UserRecord after = co_await phone.stored();
  EXPECT_EQ(after.subscriptions, before.subscriptions);
  EXPECT_EQ(after.devices, 1u);
  auto device = co_await bed.store->read_device(phone.stored_user(), phone.device_key());
  CO_ASSERT(device);
  EXPECT_EQ(bed.vault->unseal_push_token(phone.stored_user(), phone.device_key(), *device)->reveal_text(), kPushToken);
  EXPECT_EQ((co_await core.post("checkin", phone.identity().json())).text("action"), "none");
}

TEST(SubscribeTest, FailedHandOverKeepsTheOldSubscriptionAndPushToken) {
  run_bed({}, expect_failed_hand_over);
}

Task<void> expect_refused_source_replaced(BedCore& core) {
  Bed& bed = core.bed;
  Phone first{core};
  CO_ASSERT(co_await first.fetch_key());
  CO_ASSERT((co_await first.subscribe()).status == 201);
  store::SubscriptionPatch refused;
  refused.logon = {.failed = 1, .next_allowed = io::wall_now() + 1h};
  EXPECT_TRUE(co_await bed.store->update_subscription(capability_of(bed.exchange.callback_urls[0]), refused));
  EXPECT_EQ((co_await core.post("checkin", first.identity().json())).text("action"), "resubscribe");
  Phone second{.core = core, .device_id = "phone-2"};
  CO_ASSERT(co_await second.fetch_key());
  // A stranger's device is stored only after Exchange took its credentials.
  EXPECT_EQ((co_await second.subscribe("wrong")).code(), "credentials");
  EXPECT_EQ(bed.exchange.subscribes, 1);
  EXPECT_EQ((co_await bed.counts()).devices, 1u);
  EXPECT_EQ((co_await second.subscribe()).status, 201);
  EXPECT_EQ(bed.exchange.verifies, 1);
  EXPECT_EQ(bed.exchange.subscribes, 2);
  EXPECT_EQ((co_await bed.counts()).subscriptions, 1u);
  EXPECT_EQ((co_await core.post("checkin", first.identity().json())).text("action"), "none");
}

TEST(SubscribeTest, SubscriptionWithRefusedCredentialsIsReplacedByTheNextDevice) {
  run_bed({}, expect_refused_source_replaced);
}

Task<void> expect_leftovers_ended(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  store::UserRecord user = co_await phone.stored();
  auto device = co_await bed.store->read_device(phone.stored_user(), phone.device_key());
  CO_ASSERT(device);
  // What crashes in the middle of a subscribe leave.
  while (user.subscriptions.size() < store::kSubscriptionsPerUserMax) {
    store::SubscriptionRecord record{.ews_url = bed.ews_url, .source_device = phone.device_key(), .key = user.key};
    auto left = co_await bed.store->register_device(
        {.user = phone.stored_user(),
         .device = phone.device_key(),
         .record = *device,
         .subscription = store::NewSubscription{Vault::capability_hash(crypto::Capability::random()), record},
         .now = io::wall_now()});
    CO_ASSERT(left);
    user = left->user;
  }
  EXPECT_EQ((co_await phone.subscribe()).status, 200);
  EXPECT_EQ((co_await phone.stored()).subscriptions.size(), 1u);
}

TEST(SubscribeTest, AttemptsThatWereCutShortDoNotFillTheUsersList) {
  run_bed({}, expect_leftovers_ended);
}

Task<void> expect_key_before(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  store::KeyId before = (co_await phone.stored()).key;
  auto rotated = co_await bed.store->rotate_key(phone.stored_user());
  CO_ASSERT(rotated && rotated->created);
  EXPECT_EQ(rotated->user.old_key, before);
  // The phone knows the key of before, which is still in use.
  Answered again = co_await phone.subscribe();
  EXPECT_EQ(again.status, 200) << again.body;
  store::Route route = co_await route_of(bed, bed.exchange.callback_urls.at(1));
  EXPECT_EQ(route.subscription.key, rotated->key.id) << "what is sealed anew is sealed under the present one";
  EXPECT_EQ((co_await phone.stored()).old_key, store::KeyId());
  EXPECT_FALSE(co_await bed.store->read_key(before)) << "it went with the subscription that named it";
  // Now it has to ask again.
  EXPECT_EQ((co_await phone.subscribe()).code(), "credentials");
  CO_ASSERT(co_await phone.fetch_key());
  EXPECT_EQ((co_await phone.subscribe()).status, 200);
}

TEST(SubscribeTest, TakesCredentialsForTheKeyBeforeWhileItIsInUse) { run_bed({.pool_keys = 3}, expect_key_before); }

}  // namespace
}  // namespace bellhop::service::device_api_test
