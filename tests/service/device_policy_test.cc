// SPDX-License-Identifier: Apache-2.0
// What a policy means for devices that subscribe.
#include "service/compliance.h"
#include "service/device_holds.h"
#include "service/policy.h"
#include "tests/service/device_api_fixture.h"

namespace bellhop::service::device_api_test {
namespace {

// A policy over data of "acme", for as long as it lives.
struct Guard {
  explicit Guard(BedCore& bed_core) : core(bed_core), compliance(*core.bed.store, *core.bed.vault) {
    compliance.set_tenants({"acme"});
    policy.emplace(compliance, PolicyRules::make(core.core.config(), *core.bed.vault));
    core.bed.node->compliance = &compliance;
    core.core.policy = &*policy;
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard() {
    core.bed.node->compliance = nullptr;
    core.core.policy = nullptr;
  }

  BedCore& core;
  Compliance compliance;
  std::optional<Policy> policy;
};

BedOptions enabled() {
  return {.configure = [](Config& config) { config.policy.enabled = true; }};
}

// Two devices of one user are known to the policy, and the first of them is there.
Task<bool> first_subscribes(BedCore& core, Guard& guard) {
  EXPECT_TRUE(co_await guard.compliance.update("acme", {{.device_id = "phone-1"}, {.device_id = "phone-2"}}));
  Phone first{core};
  co_return co_await first.fetch_key() && (co_await first.subscribe()).status == 201;
}

Task<void> expect_another_subscription(BedCore& core) {
  Bed& bed = core.bed;
  Guard guard(core);
  CO_ASSERT(co_await first_subscribes(core, guard));
  co_await call_back(bed, bed.exchange.callback_urls[0], "subscription-1");
  Phone second{.core = core, .device_id = "phone-2"};
  CO_ASSERT(co_await second.fetch_key());
  CO_ASSERT((co_await second.subscribe()).status == 201);
  EXPECT_EQ(bed.exchange.subscribes, 1) << "it joined";
  EXPECT_EQ((co_await core.post("checkin", second.identity().json())).text("action"), "none");
  EXPECT_TRUE(co_await guard.compliance.update("acme", {{.device_id = "phone-1", .override_to = ComplianceOverride::block}}));
  EXPECT_EQ((co_await core.post("checkin", second.identity().json())).text("action"), "resubscribe");
  EXPECT_EQ((co_await second.subscribe()).status, 200);
  EXPECT_EQ(bed.exchange.subscribes, 2) << "with its own credentials";
  co_await call_back(bed, bed.exchange.callback_urls[1], "subscription-2");
  EXPECT_EQ((co_await core.post("checkin", second.identity().json())).text("action"), "none");
}

TEST(DevicePolicyTest, WhoIsAskedBecauseTheSourceIsBlockedDoesNotJoinItsSubscription) {
  run_bed(enabled(), expect_another_subscription);
}

Task<void> ask_in(Phone* phone, Answered* answer) { *answer = co_await phone->subscribe(); }

Task<void> expect_wipe_under_way(BedCore& core) {
  Bed& bed = core.bed;
  Guard guard(core);
  CO_ASSERT(co_await first_subscribes(core, guard));
  Phone second{.core = core, .device_id = "phone-2"};
  CO_ASSERT(co_await second.fetch_key());
  Event go;
  bed.exchange.hold_verifies = &go;
  bed.exchange.arrived.reset();
  Answered answer;
  TaskScope scope(&co_await current_context());
  scope.spawn(ask_in(&second, &answer));
  EXPECT_TRUE(co_await bed.exchange.arrived.wait());
  auto held = co_await hold_device(core.core, "acme", compliance_key("phone-2"), ComplianceHold::wiped);
  EXPECT_TRUE(held && held->devices == 0) << "it is not registered yet";
  go.set();
  co_await scope.join();
  bed.exchange.hold_verifies = nullptr;
  EXPECT_EQ(answer.status, 403) << answer.body;
  EXPECT_EQ(answer.code(), "blocked");
  EXPECT_EQ((co_await bed.counts()).devices, 1u);
}

TEST(DevicePolicyTest, AWipeWhileADeviceSubscribesKeepsItOut) {
  run_bed(enabled(), expect_wipe_under_way);
}

// The hold counts at once, the rest of the wipe a moment later: who leaves in between is not forgotten.
Task<void> expect_wiped_before_it_leaves(BedCore& core) {
  Bed& bed = core.bed;
  Guard guard(core);
  EXPECT_TRUE(co_await guard.compliance.update("acme", {{.device_id = "phone-1"}, {.device_id = "phone-2"}}));
  Phone first{core};
  CO_ASSERT(co_await first.fetch_key());
  CO_ASSERT((co_await first.subscribe()).status == 201);
  co_await call_back(bed, bed.exchange.callback_urls[0], "subscription-1");
  Phone second{.core = core, .device_id = "phone-2"};
  CO_ASSERT(co_await second.fetch_key());
  CO_ASSERT((co_await second.subscribe()).status == 201);
  EXPECT_TRUE(co_await guard.compliance.update("acme", {{.device_id = "phone-1", .wiped = true}}));
  Answered left = co_await core.post("unsubscribe", first.identity().json());
  EXPECT_EQ(left.status, 403) << left.body;
  EXPECT_EQ(left.code(), "blocked");
  auto wiped = co_await apply_hold(core.core, "acme", compliance_key("phone-1"), ComplianceHold::wiped);
  EXPECT_TRUE(wiped && wiped->devices == 1 && wiped->subscriptions_ended == 1);
  store::UserRecord user = co_await first.stored();
  EXPECT_EQ(user.devices, 1u);
  EXPECT_NE(user.rekey_wished, WallTime());
  EXPECT_EQ((co_await core.post("unsubscribe", second.identity().json())).status, 204) << "others may";
}

TEST(DevicePolicyTest, AWipedDeviceCannotLeaveBeforeItIsRemoved) {
  run_bed(enabled(), expect_wiped_before_it_leaves);
}

}  // namespace
}  // namespace bellhop::service::device_api_test
