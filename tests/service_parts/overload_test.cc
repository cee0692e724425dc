// SPDX-License-Identifier: Apache-2.0
#include "service/overload.h"

#include <gtest/gtest.h>

#include <vector>

namespace bellhop::service {
namespace {

const Instant kStart{std::chrono::hours(5)};
const DelayWatch::Limits kLimits;

// Observes `delay` every 20 ms for `length`, and returns the level at the end.
OverloadLevel observe(DelayWatch& watch, Instant& now, Duration delay, Duration length) {
  OverloadLevel level = watch.level();
  for (Instant end = now + length; now < end; now += 20ms) level = watch.observe(kLimits, now, delay);
  return level;
}

TEST(DelayWatchTest, OneLateTurnIsNoOverload) {
  DelayWatch watch;
  Instant now = kStart;
  EXPECT_EQ(observe(watch, now, 5s, 80ms), OverloadLevel::none);
  EXPECT_EQ(observe(watch, now, 1ms, 20ms), OverloadLevel::none);
  EXPECT_EQ(observe(watch, now, 5s, 80ms), OverloadLevel::none);  // the time began anew
}

TEST(DelayWatchTest, WhatLastsCountsAndTheLeastOfItDecides) {
  DelayWatch watch;
  Instant now = kStart;
  EXPECT_EQ(observe(watch, now, 500ms, 400ms), OverloadLevel::none);  // not over the limit
  EXPECT_EQ(observe(watch, now, 501ms, 120ms), OverloadLevel::high);
  DelayWatch mixed;
  now = kStart;
  observe(mixed, now, 3s, 60ms);
  EXPECT_EQ(observe(mixed, now, 600ms, 60ms), OverloadLevel::high);
  EXPECT_EQ(observe(mixed, now, 3s, 140ms), OverloadLevel::severe);
}

TEST(DelayWatchTest, GoesDownWhenTheDelayIsHalfOfTheLimit) {
  DelayWatch watch;
  Instant now = kStart;
  EXPECT_EQ(observe(watch, now, 3s, 120ms), OverloadLevel::severe);
  EXPECT_EQ(observe(watch, now, 1100ms, 400ms), OverloadLevel::severe);
  EXPECT_EQ(observe(watch, now, 900ms, 140ms), OverloadLevel::high);
  EXPECT_EQ(observe(watch, now, 260ms, 400ms), OverloadLevel::high);
  EXPECT_EQ(observe(watch, now, 240ms, 80ms), OverloadLevel::high);
  EXPECT_EQ(observe(watch, now, 240ms, 60ms), OverloadLevel::none);
}

// As many places as `tenant` gets.
std::vector<FairShare::Place> take_all(FairShare& share, uint32_t tenant, size_t places_max, Instant now,
                                       OverloadLevel level = OverloadLevel::none) {
  std::vector<FairShare::Place> places;
  for (;;) {
    FairShare::Place place = share.take(tenant, places_max, level, now);
    if (!place) return places;
    places.push_back(std::move(place));
  }
}

TEST(FairShareTest, ATenantAloneGetsAllPlacesAndGivesThemBack) {
  FairShare share;
  {
    auto all = take_all(share, 1, 100, kStart);
    EXPECT_EQ(all.size(), 100u);
    EXPECT_EQ(share.taken(), 100u);
  }
  EXPECT_EQ(share.taken(), 0u);
  EXPECT_TRUE(share.take(1, 1, OverloadLevel::none, kStart));
}

TEST(FairShareTest, FromHalfOnATenantGetsAnEqualPart) {
  FairShare share;
  EXPECT_TRUE(share.take(1, 100, OverloadLevel::none, kStart));
  EXPECT_TRUE(share.take(2, 100, OverloadLevel::none, kStart));
  auto first = take_all(share, 1, 100, kStart);
  EXPECT_EQ(first.size(), 50u);
  auto second = take_all(share, 2, 100, kStart);
  EXPECT_EQ(second.size(), 50u);
}

TEST(FairShareTest, WhoHeldAllMakesRoomForWhoComes) {
  FairShare share;
  auto first = take_all(share, 1, 100, kStart);
  EXPECT_EQ(first.size(), 100u);
  EXPECT_FALSE(share.take(2, 100, OverloadLevel::none, kStart));  // nothing is free, but it is known now
  first.pop_back();
  EXPECT_FALSE(share.take(1, 100, OverloadLevel::none, kStart));
  EXPECT_TRUE(share.take(2, 100, OverloadLevel::none, kStart));
  // Two seconds without a word of the other: it may have all of them again.
  EXPECT_TRUE(share.take(1, 100, OverloadLevel::none, kStart + 3s));
}

TEST(FairShareTest, UnderOverloadOnlyThoseBelowTheAverageGetOne) {
  FairShare share;
  auto busy = take_all(share, 1, 90, kStart);
  FairShare::Place small = share.take(2, 200, OverloadLevel::none, kStart);
  EXPECT_FALSE(share.take(1, 200, OverloadLevel::high, kStart));
  EXPECT_TRUE(share.take(2, 200, OverloadLevel::high, kStart));
  EXPECT_FALSE(share.take(2, 200, OverloadLevel::severe, kStart));
  FairShare alone;
  EXPECT_FALSE(alone.take(1, 200, OverloadLevel::high, kStart));
}

TEST(FairShareTest, UrgentOnesHaveABoundToo) {
  FairShare share;
  std::vector<FairShare::Place> places;
  for (int i = 0; i < 20; ++i) {
    places.push_back(share.take_urgently(1, 10));
    EXPECT_TRUE(places.back());
  }
  EXPECT_FALSE(share.take_urgently(1, 10));
}

store::CapabilityHash hash(uint64_t number) {
  store::CapabilityHash hash;
  for (size_t i = 0; i < sizeof number; ++i) hash.bytes[i] = hash.bytes[i + 8] = static_cast<uint8_t>(number >> (8 * i));
  return hash;
}

TEST(RefusalsTest, CountFromTheFirstSinceTheSubscriptionWasServed) {
  Refusals refusals;
  EXPECT_EQ(refusals.refused_for(hash(1), kStart), 0s);
  refusals.refused(hash(1), kStart);
  EXPECT_EQ(refusals.refused_for(hash(1), kStart), 0s);
  refusals.refused(hash(1), kStart + 30s);
  EXPECT_EQ(refusals.refused_for(hash(1), kStart + 449s), 449s);
  EXPECT_EQ(refusals.refused_for(hash(2), kStart + 449s), 0s);  // another one
  refusals.served(hash(1));
  EXPECT_EQ(refusals.refused_for(hash(1), kStart + 450s), 0s);
  refusals.refused(hash(1), kStart + 500s);
  EXPECT_EQ(refusals.refused_for(hash(1), kStart + 501s), 1s);
}

TEST(RefusalsTest, WhatFindsNoRoomIsRefusedUnremembered) {
  Refusals refusals;
  // All of one bucket: the place is the lower half's remainder, the tag the upper half.
  auto same_bucket = [](uint32_t tag) {
    store::CapabilityHash made;
    made.bytes[8] = static_cast<uint8_t>(tag);
    return made;
  };
  for (uint32_t tag = 1; tag <= 9; ++tag) refusals.refused(same_bucket(tag), kStart);
  for (uint32_t tag = 1; tag <= 8; ++tag) EXPECT_EQ(refusals.refused_for(same_bucket(tag), kStart + 10s), 10s);
  EXPECT_EQ(refusals.refused_for(same_bucket(9), kStart + 10s), 0s);
  refusals.served(same_bucket(3));
  refusals.refused(same_bucket(9), kStart + 11s);
  EXPECT_EQ(refusals.refused_for(same_bucket(9), kStart + 21s), 10s);  // it had found room
}

TEST(RefusalsTest, IsForgottenAfterDays) {
  Refusals refusals;
  refusals.refused(hash(1), kStart);
  EXPECT_EQ(refusals.refused_for(hash(1), kStart + std::chrono::hours(24 * 3)), 0s);
}

}  // namespace
}  // namespace bellhop::service
