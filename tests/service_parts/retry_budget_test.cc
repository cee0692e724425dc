// SPDX-License-Identifier: Apache-2.0
#include "service/retry_budget.h"

#include <gtest/gtest.h>

#include <random>

namespace bellhop::service {
namespace {

Instant at(Duration since_start) {
  return Instant(1000h + since_start);
}

TEST(RetryBudget, SomeRetriesAreFreeThenAShareOfTheRequestsCounts) {
  RetryBudget budget(10);
  for (uint32_t i = 0; i < RetryBudget::kRetriesFree; ++i) EXPECT_TRUE(budget.take_retry(at(0s)));
  EXPECT_FALSE(budget.take_retry(at(1s)));
  for (int i = 0; i < 10'000; ++i) budget.count_request(at(15s));
  uint32_t taken = 0;
  while (budget.take_retry(at(20s))) ++taken;
  EXPECT_EQ(taken + RetryBudget::kRetriesFree, 1000u);
}

TEST(RetryBudget, WhatIsTwoMinutesOldIsForgotten) {
  RetryBudget budget(10);
  for (int i = 0; i < 5'000; ++i) budget.count_request(at(0s));
  uint32_t taken = 0;
  while (budget.take_retry(at(0s))) ++taken;
  EXPECT_EQ(taken, 500u);
  EXPECT_FALSE(budget.take_retry(at(109s)));
  taken = 0;
  while (budget.take_retry(at(121s))) ++taken;
  EXPECT_EQ(taken, RetryBudget::kRetriesFree);  // requests and retries of then no longer count
}

// So many of `count` requests are let through, all ending alike.
int let_through(AdaptiveThrottle& throttle, Instant now, int count, bool accepted) {
  std::mt19937_64 random(11);
  int admitted = 0;
  for (int i = 0; i < count; ++i) {
    if (!throttle.admit(now, random())) continue;
    ++admitted;
    throttle.ended(now, accepted);
  }
  return admitted;
}

TEST(AdaptiveThrottle, HoldsNothingBackWhileHalfOfTheRequestsAreAccepted) {
  AdaptiveThrottle throttle;
  std::mt19937_64 random(7);
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_TRUE(throttle.admit(at(0s), random()));
    throttle.ended(at(0s), i % 2 == 0);
  }
}

TEST(AdaptiveThrottle, FewRequestsAreNeverHeldBack) {
  AdaptiveThrottle throttle;
  EXPECT_EQ(let_through(throttle, at(0s), static_cast<int>(AdaptiveThrottle::kRequestsFree), false),
            static_cast<int>(AdaptiveThrottle::kRequestsFree));
}

TEST(AdaptiveThrottle, OfManyThatFailSomeStillGoThrough) {
  AdaptiveThrottle throttle;
  int admitted = let_through(throttle, at(0s), 10'000, false);
  EXPECT_LT(admitted, 1'000);
  EXPECT_GT(admitted, static_cast<int>(AdaptiveThrottle::kRequestsFree));
}

TEST(AdaptiveThrottle, ARowOfSuccessesEndsIt) {
  AdaptiveThrottle throttle;
  (void)let_through(throttle, at(0s), 10'000, false);
  for (uint32_t i = 0; i < AdaptiveThrottle::kWellAfter; ++i) throttle.ended(at(1s), true);
  EXPECT_EQ(let_through(throttle, at(1s), 1'000, true), 1'000);
}

TEST(AdaptiveThrottle, AFailureInBetweenBeginsTheRowAnew) {
  AdaptiveThrottle throttle;
  (void)let_through(throttle, at(0s), 10'000, false);
  for (uint32_t i = 1; i < AdaptiveThrottle::kWellAfter; ++i) throttle.ended(at(1s), true);
  throttle.ended(at(1s), false);
  throttle.ended(at(1s), true);
  EXPECT_LT(let_through(throttle, at(1s), 1'000, false), 200);
}

TEST(AdaptiveThrottle, WhatIsLongerAgoThanTheWindowIsForgotten) {
  AdaptiveThrottle throttle;
  (void)let_through(throttle, at(0s), 10'000, false);
  Instant later = at(AdaptiveThrottle::kWindow + 1s);
  EXPECT_EQ(let_through(throttle, later, static_cast<int>(AdaptiveThrottle::kRequestsFree), false),
            static_cast<int>(AdaptiveThrottle::kRequestsFree));
}

}  // namespace
}  // namespace bellhop::service
