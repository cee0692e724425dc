// SPDX-License-Identifier: Apache-2.0
#include "service/circuit_breaker.h"

#include <gtest/gtest.h>

namespace bellhop::service {
namespace {

using Change = CircuitBreaker::Change;

const Instant kStart{std::chrono::hours(1)};

void succeed(CircuitBreaker& breaker, int count) {
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(breaker.admit(kStart));
    ASSERT_EQ(breaker.succeeded(), Change::none);
  }
}
Change fail_once(CircuitBreaker& breaker, Instant now = kStart) {
  EXPECT_TRUE(breaker.admit(now));
  return breaker.failed(now, 0ms);
}

TEST(CircuitBreaker, StaysClosedBelowTheShareOfFailures) {
  CircuitBreaker breaker(50, 20, 10s);
  for (int i = 0; i < 200; ++i) {
    if (i % 5 < 2) {
      EXPECT_EQ(fail_once(breaker), Change::none);
    } else {
      succeed(breaker, 1);
    }
  }
  EXPECT_FALSE(breaker.open());
}

TEST(CircuitBreaker, NeedsAWholeWindowToOpen) {
  CircuitBreaker breaker(50, 20, 10s);
  for (int i = 0; i < 19; ++i) EXPECT_EQ(fail_once(breaker), Change::none);
  EXPECT_EQ(fail_once(breaker), Change::opened);
  EXPECT_TRUE(breaker.refuses(kStart));
}

TEST(CircuitBreaker, OpensAtExactlyTheShareOfTheLastWindow) {
  CircuitBreaker breaker(50, 4, 10s);
  succeed(breaker, 100);
  EXPECT_EQ(fail_once(breaker), Change::none);
  EXPECT_EQ(fail_once(breaker), Change::opened);  // 2 of the last 4
}

TEST(CircuitBreaker, RefusesUntilItsTimeAndJitterAreOver) {
  CircuitBreaker breaker(100, 1, 10s);
  ASSERT_TRUE(breaker.admit(kStart));
  EXPECT_EQ(breaker.failed(kStart, 2s), Change::opened);
  EXPECT_EQ(breaker.open_until(), kStart + 12s);
  EXPECT_FALSE(breaker.admit(kStart + 11'999ms));
  EXPECT_TRUE(breaker.admit(kStart + 12s));
}

TEST(CircuitBreaker, LetsOneProbeThroughWhichDecides) {
  CircuitBreaker breaker(100, 1, 10s);
  EXPECT_EQ(fail_once(breaker), Change::opened);
  Instant later = kStart + 10s;
  ASSERT_TRUE(breaker.admit(later));
  EXPECT_FALSE(breaker.admit(later));
  EXPECT_EQ(breaker.failed(later, 0ms), Change::opened);
  EXPECT_FALSE(breaker.admit(later + 9s));
  ASSERT_TRUE(breaker.admit(later + 10s));
  EXPECT_EQ(breaker.succeeded(), Change::closed);
  EXPECT_FALSE(breaker.open());
  EXPECT_TRUE(breaker.admit(later + 10s));
}

TEST(CircuitBreaker, AProbeWithoutVerdictMakesRoomForTheNext) {
  CircuitBreaker breaker(100, 1, 10s);
  EXPECT_EQ(fail_once(breaker), Change::opened);
  Instant later = kStart + 10s;
  ASSERT_TRUE(breaker.admit(later));
  breaker.undecided();
  ASSERT_TRUE(breaker.admit(later));
  EXPECT_EQ(breaker.succeeded(), Change::closed);
}

TEST(CircuitBreaker, AProbeThatTakesLongKeepsNobodyAway) {
  CircuitBreaker breaker(100, 1, 10s);
  EXPECT_EQ(fail_once(breaker), Change::opened);
  Instant later = kStart + 10s;
  ASSERT_TRUE(breaker.admit(later));
  EXPECT_FALSE(breaker.admit(later + 9s));
  ASSERT_TRUE(breaker.admit(later + 10s));
  EXPECT_FALSE(breaker.admit(later + 10s));
  EXPECT_EQ(breaker.succeeded(), Change::closed);
  EXPECT_EQ(breaker.succeeded(), Change::none);  // of the first one
  EXPECT_TRUE(breaker.admit(later + 10s));
}

TEST(CircuitBreaker, LateResultsFromBeforeItOpenedChangeNothing) {
  CircuitBreaker breaker(100, 1, 10s);
  ASSERT_TRUE(breaker.admit(kStart));
  ASSERT_TRUE(breaker.admit(kStart));
  ASSERT_TRUE(breaker.admit(kStart));
  EXPECT_EQ(breaker.failed(kStart, 0ms), Change::opened);
  EXPECT_EQ(breaker.succeeded(), Change::none);
  EXPECT_EQ(breaker.failed(kStart + 1s, 0ms), Change::none);
  EXPECT_EQ(breaker.open_until(), kStart + 10s);
}

TEST(CircuitBreaker, ForgetsOldFailuresOnceItCloses) {
  CircuitBreaker breaker(50, 2, 10s);
  EXPECT_EQ(fail_once(breaker), Change::none);
  EXPECT_EQ(fail_once(breaker), Change::opened);
  ASSERT_TRUE(breaker.admit(kStart + 10s));
  EXPECT_EQ(breaker.succeeded(), Change::closed);
  EXPECT_EQ(fail_once(breaker, kStart + 10s), Change::none);
}

}  // namespace
}  // namespace bellhop::service
