// SPDX-License-Identifier: Apache-2.0
#include "service/logon_rule.h"

#include <gtest/gtest.h>

namespace bellhop::service {
namespace {

const WallTime kNow = WallTime(std::chrono::hours(500'000));

TEST(LogonRule, WithoutARefusalEveryLogonIsAllowed) {
  EXPECT_TRUE(logon_allowed({}, kNow, EwsConfig()));
}

TEST(LogonRule, AfterARefusalAllowsOneAnHourAndThreeInAll) {
  EwsConfig config;
  store::LogonRule rule;
  int logons = 0;
  // One mail a minute for a day, and every logon is refused.
  for (int minute = 0; minute < 24 * 60; ++minute) {
    WallTime now = kNow + std::chrono::minutes(minute);
    if (!logon_allowed(rule, now, config)) continue;
    ++logons;
    rule = logon_refused(rule, now, config);
    EXPECT_FALSE(logon_allowed(rule, now + 59min, config));
  }
  EXPECT_EQ(logons, 1 + 3);
}

TEST(LogonRule, FollowsItsConfiguration) {
  EwsConfig none;
  none.logons_after_refusal_per_hour_max = 0;
  EXPECT_FALSE(logon_allowed(logon_refused({}, kNow, none), kNow + 1000h, none));

  EwsConfig never;
  never.logons_after_refusal_max = 0;
  EXPECT_FALSE(logon_allowed(logon_refused({}, kNow, never), kNow + 1000h, never));

  EwsConfig often;
  often.logons_after_refusal_per_hour_max = 4;
  store::LogonRule rule = logon_refused({}, kNow, often);
  EXPECT_FALSE(logon_allowed(rule, kNow + 14min, often));
  EXPECT_TRUE(logon_allowed(rule, kNow + 15min, often));
}

TEST(LogonRule, ItsCounterDoesNotWrap) {
  EwsConfig config;
  config.logons_after_refusal_max = 10;
  store::LogonRule rule{.failed = 255};
  rule = logon_refused(rule, kNow, config);
  EXPECT_EQ(rule.failed, 255);
  EXPECT_FALSE(logon_allowed(rule, kNow + 1000h, config));
}

}  // namespace
}  // namespace bellhop::service
