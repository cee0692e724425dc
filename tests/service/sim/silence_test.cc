// SPDX-License-Identifier: Apache-2.0
// What a device is told while Exchange is silent about its mailbox, over hours of the simulator's clock.

#include "core/sleep.h"
#include "tests/service/device_api_fixture.h"

namespace bellhop::service::device_api_test {
namespace {

constexpr Duration kLate = std::chrono::seconds(late_after_s(1'800));
constexpr Duration kLost = std::chrono::seconds(lost_after_s(1'800));

struct Told {
  std::string status, action;
};
Task<Told> check_in(BedCore& core, const Phone& phone) {
  Answered answer = co_await core.post("checkin", phone.identity().json());
  co_return Told{answer.text("status"), answer.text("action")};
}
void expect(const Told& told, std::string_view status, std::string_view action) {
  EXPECT_EQ(told.status, status);
  EXPECT_EQ(told.action, action);
}

Task<void> expect_silence_told(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  TaskScope flows(nullptr);
  flows.spawn(core.supervision->run());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  Instant begin = io::now();
  co_await call_back(bed, bed.exchange.callback_urls[0], "subscription-1");
  EXPECT_TRUE(co_await sleep_until(begin + kLate - 5s));
  expect(co_await check_in(core, phone), "active", "none");
  EXPECT_TRUE(co_await sleep_until(begin + kLate + 5s));
  expect(co_await check_in(core, phone), "late", "none");
  EXPECT_TRUE(co_await sleep_until(begin + kLost + 5s));
  expect(co_await check_in(core, phone), "lost", "resubscribe");

  // It does so: the old subscription ends, and the silence begins anew before Exchange has called.
  CO_ASSERT((co_await phone.subscribe()).status == 200);
  EXPECT_EQ((co_await bed.counts()).subscriptions, 1u);
  expect(co_await check_in(core, phone), "pending", "none");
  EXPECT_EQ(core.supervision->watch().size(), 1u);

  // Exchange never calls for the new one.
  EXPECT_TRUE(co_await sleep_for(kLate + 5s));
  expect(co_await check_in(core, phone), "lost", "resubscribe");
  flows.request_stop();
  co_await flows.join();
}

TEST(SilenceTest, CheckInTellsOfItAndANewSubscriptionEndsIt) { run_bed({}, expect_silence_told); }

Task<void> expect_forgotten(BedCore& core) {
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  EXPECT_EQ(core.supervision->watch().size(), 1u) << "from the moment that Exchange took the subscription";
  EXPECT_EQ((co_await core.post("unsubscribe", phone.identity().json())).status, 204);
  EXPECT_EQ(core.supervision->watch().size(), 0u);
}

TEST(SilenceTest, OfADeviceThatLeftIsNobodysConcern) { run_bed({}, expect_forgotten); }

}  // namespace
}  // namespace bellhop::service::device_api_test
