// SPDX-License-Identifier: Apache-2.0
#include "service/apns_rules.h"

#include <gtest/gtest.h>

namespace bellhop::service {
namespace {

Instant at(Duration since_start) {
  return Instant(1000h + since_start);
}

TEST(ApnsTokenRules, ATokenIsFreshUntilItsRefreshIsDue) {
  EXPECT_TRUE(apns_token_fresh({0s, 0s}, 40min));
  EXPECT_TRUE(apns_token_fresh({39min, 39min}, 40min));
  EXPECT_FALSE(apns_token_fresh({40min, 40min}, 40min));
}

TEST(ApnsTokenRules, AClockThatWasSetRefreshesNoYoungToken) {
  EXPECT_TRUE(apns_token_fresh({19min, 5h}, 40min));
  EXPECT_TRUE(apns_token_fresh({19min, -5h}, 40min));
  EXPECT_FALSE(apns_token_fresh({20min, 5h}, 40min));   // the host slept, or the clock was behind
  EXPECT_FALSE(apns_token_fresh({20min, -5h}, 40min));  // it was ahead when the token was signed
  EXPECT_TRUE(apns_token_fresh({20min, -30s}, 40min));
}

TEST(ApnsTokenRules, AnOldTokenServesUntilShortlyBeforeApnsRefusesIt) {
  EXPECT_TRUE(apns_token_bearable({54min, 54min}));
  EXPECT_FALSE(apns_token_bearable({55min, 10min}));
  EXPECT_FALSE(apns_token_bearable({10min, 55min}));
}

TEST(ApnsTokenRules, AStoredTokenIsUsedAgainWhileYoungAndNotFromTheFuture) {
  EXPECT_TRUE(apns_token_reusable(39min, 40min));
  EXPECT_FALSE(apns_token_reusable(40min, 40min));
  EXPECT_TRUE(apns_token_reusable(-30s, 40min));
  EXPECT_FALSE(apns_token_reusable(-2min, 40min));
}

TEST(ApnsRetryWait, TheLongestWaitGrowsToItsBound) {
  EXPECT_EQ(apns_retry_wait_max(1, 200ms, 2s), 800ms);
  EXPECT_EQ(apns_retry_wait_max(2, 200ms, 2s), 2s);
  EXPECT_EQ(apns_retry_wait_max(50, 200ms, 2s), 2s);
  EXPECT_EQ(apns_retry_wait_max(1, 1s, 1s), 1s);
}

TEST(ApnsBreaker, OneTrialAfterAWaitThatDoublesUpToTenMinutes) {
  ApnsBreaker breaker;
  EXPECT_TRUE(breaker.allow(at(0s)));
  EXPECT_TRUE(breaker.fail(at(0s)));
  EXPECT_FALSE(breaker.fail(at(1s)));  // was on its way already
  EXPECT_FALSE(breaker.allow(at(29s)));
  Duration now = 30s, wait = 30s;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(breaker.allow(at(now))) << i;   // the trial
    EXPECT_FALSE(breaker.allow(at(now))) << i;  // no second one
    EXPECT_FALSE(breaker.fail(at(now)));
    wait = std::min<Duration>(wait * 2, 10min);
    EXPECT_FALSE(breaker.allow(at(now + wait - 1s))) << i;
    now += wait;
  }
}

}  // namespace
}  // namespace bellhop::service
