// SPDX-License-Identifier: Apache-2.0
// What a registered device does later: check-in, a new push token, leaving. Runs on both back ends.

#include "tests/service/device_api_fixture.h"

namespace bellhop::service::device_api_test {
namespace {

Task<void> expect_check_in(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Answered unknown = co_await core.post("checkin", phone.identity().set("deviceSecret", "x").json());
  EXPECT_EQ(unknown.status, 200);
  EXPECT_EQ(unknown.text("status"), "unknown");
  EXPECT_EQ(unknown.text("action"), "resubscribe");
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  Answered pending = co_await core.post("checkin", phone.identity().json());
  EXPECT_EQ(pending.text("status"), "pending");
  EXPECT_EQ(pending.text("action"), "none");
  EXPECT_EQ(pending.text("lastSeen"), "");
  co_await call_back(bed, bed.exchange.callback_urls[0], "subscription-1");
  EXPECT_EQ((co_await core.post("checkin", phone.identity().json())).text("status"), "active");
  EXPECT_EQ((co_await core.post("checkin", phone.identity().set("deviceSecret", "x").json())).code(), "forbidden");

  store::DevicePatch block;
  block.state = store::DeviceState::blocked;
  EXPECT_TRUE(co_await bed.store->update_device(phone.stored_user(), phone.device_key(), block));
  Answered blocked = co_await core.post("checkin", phone.identity().json());
  EXPECT_EQ(blocked.text("status"), "blocked");
  EXPECT_EQ(blocked.text("action"), "none");
  // A blocked device can neither change anything nor leave and come back.
  store::Counts before = co_await bed.counts();
  for (std::string route : {"subscribe", "updatetoken", "unsubscribe"}) {
    Answered refused = co_await core.post(route, phone.subscribe_fields().json());
    EXPECT_EQ(refused.status, 403) << route;
    EXPECT_EQ(refused.code(), "blocked");
  }
  EXPECT_TRUE(co_await bed.counts() == before);
}

TEST(DeviceLifeTest, CheckInTellsTheSubscriptionsState) {
  run_bed({}, expect_check_in);
}

Task<void> expect_new_token(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  store::DevicePatch proven;
  proven.proven = true;
  EXPECT_TRUE(co_await bed.store->update_device(phone.stored_user(), phone.device_key(), proven));
  EXPECT_EQ((co_await core.post("updatetoken", phone.identity().json())).status, 422);
  EXPECT_EQ((co_await core.post("updatetoken", phone.identity().set("pushToken", "no hex").json())).status, 422);
  EXPECT_EQ((co_await core.post("updatetoken",
                                phone.identity().set("pushToken", kOtherPushToken).set("deviceSecret", "x").json()))
                .code(),
            "forbidden");
  EXPECT_EQ((co_await core.post("updatetoken",
                                phone.identity().set("pushToken", kOtherPushToken).set("deviceId", "x").json()))
                .code(),
            "forbidden");
  Answered done = co_await core.post("updatetoken", phone.identity().set("pushToken", kOtherPushToken).json());
  EXPECT_EQ(done.status, 204);
  EXPECT_EQ(done.body, "");
  auto device = co_await bed.store->read_device(phone.stored_user(), phone.device_key());
  CO_ASSERT(device);
  EXPECT_FALSE(device->proven);
  EXPECT_EQ(bed.vault->unseal_push_token(phone.stored_user(), phone.device_key(), *device)->reveal_text(),
            kOtherPushToken);
}

TEST(DeviceLifeTest, NewPushTokenTakesTheOldOnesPlace) {
  run_bed({}, expect_new_token);
}

Task<void> expect_leaving(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  store::Counts empty = co_await bed.counts();
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  EXPECT_EQ((co_await core.post("unsubscribe", phone.identity().set("deviceSecret", "x").json())).code(), "forbidden");
  EXPECT_EQ((co_await bed.counts()).devices, 1u);
  Answered gone = co_await core.post("unsubscribe", phone.identity().json());
  EXPECT_EQ(gone.status, 204);
  store::Counts after = co_await bed.counts();
  EXPECT_EQ(after.users, 0u);
  EXPECT_EQ(after.devices, 0u);
  EXPECT_EQ(after.subscriptions, 0u);
  EXPECT_EQ(after.keys, empty.keys - 1);
  store::Route route = co_await route_of(bed, bed.exchange.callback_urls[0]);
  CO_ASSERT(route.kind == store::RouteKind::tombstone);
  EXPECT_EQ(route.tombstone.reason, store::TombstoneReason::removed);
  EXPECT_GT(route.tombstone.expires, io::wall_now() + 59min);
  // The answer may have been lost: again is fine.
  EXPECT_EQ((co_await core.post("unsubscribe", phone.identity().json())).status, 204);
  // What was encrypted to the old key opens nothing any more.
  EXPECT_EQ((co_await core.post("subscribe", phone.subscribe_fields().drop("deviceSecret").json())).code(),
            "credentials");
}

TEST(DeviceLifeTest, LastDeviceEndsTheSubscriptionAndDestroysTheKey) {
  run_bed({}, expect_leaving);
}

}  // namespace
}  // namespace bellhop::service::device_api_test
