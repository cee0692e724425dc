// SPDX-License-Identifier: Apache-2.0
// What a policy does to callbacks and pushes, and what a hold by name does to devices, subscriptions and key pairs.

#include "core/sim/world.h"
#include "core/sleep.h"
#include "service/compliance.h"
#include "service/device_holds.h"
#include "service/journal.h"
#include "service/policy.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

// A policy that is closed to unknown devices, on core 0 of a scene; gone before the scene closes.
class Guard {
 public:
  explicit Guard(Scene& scene, bool dry_run = false) : scene_(scene), compliance_(*scene.store, *scene.vault) {
    compliance_.set_tenants({"acme"});
    scene.config.policy.enabled = true;
    scene.config.policy.dry_run = dry_run;
    policy_.emplace(compliance_, PolicyRules::make(scene.config, *scene.vault));
    scene.node->compliance = &compliance_;
    for (auto& parts : scene.parts) parts->core.policy = &*policy_;
  }
  ~Guard() {
    scene_.node->compliance = nullptr;
    for (auto& parts : scene_.parts) parts->core.policy = nullptr;
  }
  // The subscriber's devices are called phone0, phone1 …
  Task<void> name_devices(const Subscriber& subscriber) {
    for (size_t i = 0; i < subscriber.devices.size(); ++i) {
      store::DevicePatch patch;
      patch.name = compliance_key("phone" + std::to_string(i));
      BH_CHECK((co_await scene_.store->update_device(subscriber.user, subscriber.devices[i], patch)).has_value());
    }
  }
  Task<void> say(std::vector<ComplianceLine> lines) {
    BH_CHECK((co_await compliance_.update("acme", std::move(lines))).has_value());
  }
  Compliance& compliance() { return compliance_; }

 private:
  Scene& scene_;
  Compliance compliance_;
  std::optional<Policy> policy_;
};

ComplianceLine allowed(std::string id) { return {.device_id = std::move(id)}; }
ComplianceLine blocked(std::string id) {
  return {.device_id = std::move(id), .override_to = ComplianceOverride::block};
}

// Pushes that the device's user sees; silent ones ask it to subscribe again.
size_t alerts(const std::string& token) {
  return static_cast<size_t>(std::ranges::count_if(fake_apns().sent, [&](const FakeApns::Sent& sent) {
    return sent.token == token && sent.type == proto::ApnsPushType::alert;
  }));
}

SCENE_TEST(PolicyPoints, CallbacksOfAMailboxWhoseDevicesAreAllBlockedAreAnsweredUnsubscribe) {
  Subscriber subscriber = co_await scene.subscribe("ann", {{}, {}});
  Guard guard(scene);
  co_await guard.name_devices(subscriber);
  co_await guard.say({allowed("phone0"), allowed("phone1")});
  have_mail("m1");
  have_mail("m2");
  (void)co_await scene.mail(subscriber, {"m1"});
  EXPECT_EQ(alerts(subscriber.tokens[0]), 1u);
  EXPECT_EQ(alerts(subscriber.tokens[1]), 1u);

  co_await guard.say({blocked("phone0"), blocked("phone1")});
  int logons = fake_exchange().logons();
  Scene::Reply reply = co_await scene.mail(subscriber, {"m2"});
  EXPECT_NE(reply.body.find("Unsubscribe"), std::string::npos);
  EXPECT_EQ(fake_exchange().logons(), logons) << "nothing is asked of Exchange";
  EXPECT_EQ(fake_apns().sent.size(), 2u);
  EXPECT_EQ(co_await scene.route_kind(subscriber), store::RouteKind::tombstone);
  reply = co_await scene.heartbeat(subscriber);
  EXPECT_NE(reply.body.find("Unsubscribe"), std::string::npos) << "and so are those that follow";
  EXPECT_EQ(scene.outcomes(CallbackOutcome::unsubscribe_blocked), 2u);
}

SCENE_TEST(PolicyPoints, AHeartbeatIsEnoughToEndABlockedMailbox) {
  Subscriber subscriber = co_await scene.subscribe("ann");
  Guard guard(scene);
  co_await guard.name_devices(subscriber);
  co_await guard.say({allowed("phone0")});
  (void)co_await scene.heartbeat(subscriber);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::heartbeat), 1u);
  co_await guard.say({{.device_id = "phone0", .removed = true}});
  (void)co_await scene.heartbeat(subscriber);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::unsubscribe_blocked), 1u) << "a device of which nothing is known is blocked";
}

SCENE_TEST(PolicyPoints, PushesGoToAllowedDevicesAlone) {
  Subscriber subscriber = co_await scene.subscribe("ann", {{}, {}});
  Guard guard(scene);
  co_await guard.name_devices(subscriber);
  co_await guard.say({allowed("phone0"), blocked("phone1")});
  have_mail("m1", {.subject = "Hello", .sender = "Bob"});
  (void)co_await scene.mail(subscriber, {"m1"});
  EXPECT_EQ(alerts(subscriber.tokens[0]), 1u);
  EXPECT_EQ(alerts(subscriber.tokens[1]), 0u);
  EXPECT_TRUE(shows("Hello"));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_policy), 1u);
  EXPECT_EQ(co_await scene.route_kind(subscriber), store::RouteKind::subscription);
}

SCENE_TEST(PolicyPoints, CredentialsOfABlockedDeviceAreNotUsed) {
  Subscriber subscriber = co_await scene.subscribe("ann", {{}, {}});  // the first one's credentials
  Guard guard(scene);
  co_await guard.name_devices(subscriber);
  co_await guard.say({blocked("phone0"), allowed("phone1")});
  have_mail("m1", {.subject = "Hello"});
  Scene::Reply reply = co_await scene.mail(subscriber, {"m1"});
  EXPECT_EQ(reply.body.find("Unsubscribe"), std::string::npos);
  EXPECT_EQ(fake_exchange().logons(), 0);
  EXPECT_EQ(scene.decryptions(), 0u);
  EXPECT_EQ(alerts(subscriber.tokens[0]), 0u);
  EXPECT_EQ(alerts(subscriber.tokens[1]), 1u) << "who is allowed hears that there is mail";
  EXPECT_FALSE(shows("Hello"));
  EXPECT_TRUE(co_await sleep_for(1s));
  bool asked = std::ranges::any_of(fake_apns().sent, [&](const FakeApns::Sent& sent) {
    return sent.token == subscriber.tokens[1] && sent.type == proto::ApnsPushType::background;
  });
  EXPECT_TRUE(asked) << "and is asked to subscribe with its own credentials";

  co_await guard.say({{.device_id = "phone0", .override_to = ComplianceOverride::none}});
  have_mail("m2", {.subject = "Again"});
  (void)co_await scene.mail(subscriber, {"m2"});
  EXPECT_TRUE(shows("Again")) << "from the next callback on";
}

SCENE_TEST(PolicyPoints, WhatCannotBeDecidedEndsNothingAndIsPushedLater) {
  Subscriber subscriber = co_await scene.subscribe("ann");
  Guard guard(scene);
  co_await guard.name_devices(subscriber);
  co_await guard.say({allowed("phone0")});
  guard.compliance().note_failure("acme", SourceKind::uem, SourceState::unreachable, "no answer", 10min);
  EXPECT_TRUE(co_await sleep_for(11min));
  guard.compliance().note_change();
  have_mail("m1");
  Scene::Reply reply = co_await scene.mail(subscriber, {"m1"});
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body.find("Unsubscribe"), std::string::npos);
  EXPECT_EQ(fake_apns().sent.size(), 0u);
  EXPECT_EQ(fake_exchange().logons(), 0);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_policy), 0u);
  EXPECT_TRUE(co_await sleep_for(10min));
  EXPECT_EQ(fake_apns().sent.size(), 0u);
  EXPECT_EQ(scene.parts[0]->core.journal->size(), 1u) << "it waits";
  guard.compliance().note_success("acme", SourceKind::uem, std::chrono::hours(24));
  EXPECT_TRUE(co_await sleep_for(std::chrono::hours(1)));
  EXPECT_EQ(alerts(subscriber.tokens[0]), 1u);
  EXPECT_EQ(scene.parts[0]->core.journal->size(), 0u);
  have_mail("m2");
  (void)co_await scene.mail(subscriber, {"m2"});
  EXPECT_EQ(alerts(subscriber.tokens[0]), 2u);
}

SCENE_TEST(PolicyPoints, ADryRunKeepsNobodyOut) {
  Subscriber subscriber = co_await scene.subscribe("ann");
  Guard guard(scene, true);
  co_await guard.name_devices(subscriber);
  have_mail("m1");
  (void)co_await scene.mail(subscriber, {"m1"});
  EXPECT_EQ(alerts(subscriber.tokens[0]), 1u);
  EXPECT_GT(scene.parts[0]->metrics->value(metric::policy_dry_runs), 0u);
}

SCENE_TEST(PolicyPoints, ABlockByNameEndsWhatTheDeviceBroughtAndLetsItBackByName) {
  Subscriber subscriber = co_await scene.subscribe("ann", {{}, {}});
  Guard guard(scene);
  co_await guard.name_devices(subscriber);
  co_await guard.say({allowed("phone0"), allowed("phone1")});
  auto held = co_await hold_device(scene.parts[0]->core, "acme", compliance_key("PHONE0"), ComplianceHold::blocked);
  EXPECT_TRUE(held.has_value());
  EXPECT_EQ(held->devices, 1u);
  EXPECT_EQ(held->subscriptions_ended, 1u);
  EXPECT_EQ((co_await scene.stored_device(subscriber, 0)).state, store::DeviceState::blocked);
  EXPECT_EQ((co_await scene.stored_device(subscriber, 1)).state, store::DeviceState::active);
  Scene::Reply reply = co_await scene.heartbeat(subscriber);
  EXPECT_NE(reply.body.find("Unsubscribe"), std::string::npos);
  held = co_await hold_device(scene.parts[0]->core, "acme", compliance_key("phone0"), ComplianceHold::none);
  EXPECT_TRUE(held.has_value());
  EXPECT_EQ((co_await scene.stored_device(subscriber, 0)).state, store::DeviceState::active);
  EXPECT_EQ(guard.compliance().hold("acme", compliance_key("phone0")), ComplianceHold::none);
}

SCENE_TEST(PolicyPoints, AWipeRemovesTheDeviceAndRekeysOrDeletesThePair) {
  Subscriber subscriber = co_await scene.subscribe("ann", {{}, {}});
  Guard guard(scene);
  co_await guard.name_devices(subscriber);
  co_await guard.say({allowed("phone0"), allowed("phone1")});
  auto held = co_await hold_device(scene.parts[0]->core, "acme", compliance_key("phone0"), ComplianceHold::wiped);
  EXPECT_TRUE(held.has_value());
  EXPECT_EQ(held->devices, 1u);
  EXPECT_FALSE(held->last_device);
  store::UserRecord user = co_await scene.stored_user(subscriber);
  EXPECT_EQ(user.devices, 1u);
  EXPECT_NE(user.rekey_wished, WallTime()) << "its credentials were the subscription's";
  held = co_await hold_device(scene.parts[0]->core, "acme", compliance_key("phone1"), ComplianceHold::wiped);
  EXPECT_TRUE(held.has_value());
  EXPECT_TRUE(held->last_device);
  EXPECT_FALSE((co_await scene.store->read_key(subscriber.key)).has_value()) << "with the last device goes the pair";
  held = co_await hold_device(scene.parts[0]->core, "acme", compliance_key("phone1"), ComplianceHold::wiped);
  EXPECT_EQ(held->devices, 0u);
  EXPECT_EQ(guard.compliance().hold("acme", compliance_key("phone1")), ComplianceHold::wiped) << "it stays out";
  held = co_await hold_device(scene.parts[0]->core, "other", compliance_key("phone1"), ComplianceHold::blocked);
  EXPECT_EQ(held->devices, 0u) << "another tenant's device";
}

// Wherever the process dies: a wiped device that is gone has left the wish for another pair, and one that is not is wiped again.
SCENE_TEST(PolicyPoints, TheWishForAnotherPairIsOnTheDiskBeforeAWipedDeviceGoes) {
  bool whole = false, half = false;
  for (unsigned commits = 0; !whole; ++commits) {
    CO_ASSERT(commits < 20);
    Subscriber subscriber = co_await scene.subscribe("ann" + std::to_string(commits), {{}, {}});
    {
      Guard guard(scene);
      std::string name = "tablet" + std::to_string(commits);
      store::DevicePatch patch;
      patch.name = compliance_key(name);
      CO_ASSERT(co_await scene.store->update_device(subscriber.user, subscriber.devices[0], patch));
      scene.store->take_disk_after(commits);
      whole = (co_await hold_device(scene.parts[0]->core, "acme", compliance_key(name), ComplianceHold::wiped)).has_value();
    }
    scene.die();
    co_await scene.start_again();
    store::UserRecord user = co_await scene.stored_user(subscriber);
    bool gone = user.devices == 1, wished = user.rekey_wished != WallTime();
    EXPECT_TRUE(wished || !gone) << "after " << commits << " commits";
    EXPECT_TRUE(gone || !whole);
    half |= wished && !gone;
    // What the next start does with all that is wiped: also where the hold itself did not come so far.
    EXPECT_TRUE(gone || co_await scene.parts[0]->registrar->wipe_device(subscriber.user, subscriber.devices[0]));
    user = co_await scene.stored_user(subscriber);
    EXPECT_EQ(user.devices, 1u);
    EXPECT_NE(user.rekey_wished, WallTime()) << "after " << commits << " commits";
  }
  EXPECT_TRUE(half) << "one of them was cut between the two";
}

}  // namespace
}  // namespace bellhop::service
