// SPDX-License-Identifier: Apache-2.0
#include "service/apns_faults.h"

#include <gtest/gtest.h>

namespace bellhop::service {
namespace {

using proto::ApnsReason;
constexpr Instant kStart{1000h};
const AppConfig kMail{.topic = "com.example.mail", .team_id = "TEAM000001", .key_id = "KEY0000001"};
const AppConfig kOther{.topic = "com.example.other", .team_id = "TEAM000001", .key_id = "KEY0000001"};
const AppConfig kStranger{.topic = "com.example.mail", .team_id = "TEAM000002", .key_id = "KEY0000002"};
const ApnsResult kBadKey{proto::ApnsVerdict::route_broken, ApnsReason::invalid_provider_token, 403};
const ApnsResult kBadTopic{proto::ApnsVerdict::route_broken, ApnsReason::topic_disallowed, 400};

TEST(ApnsFaults, ARefusedKeyHoldsBackAllItsTopicsAndNoOtherKey) {
  ApnsFaults faults;
  EXPECT_FALSE(faults.held_back(kMail, kStart));
  EXPECT_TRUE(faults.note_broken(kMail, kBadKey, kStart));
  EXPECT_FALSE(faults.note_broken(kOther, kBadKey, kStart + 1s));  // no news
  for (const AppConfig* app : {&kMail, &kOther}) {
    auto told = faults.held_back(*app, kStart + 1s);
    ASSERT_TRUE(told);
    EXPECT_EQ(told->reason, ApnsReason::invalid_provider_token);
  }
  EXPECT_FALSE(faults.held_back(kStranger, kStart + 1s));
  AppConfig sandbox = kMail;
  sandbox.environment = ApnsEnvironment::sandbox;
  EXPECT_FALSE(faults.held_back(sandbox, kStart + 1s));
}

TEST(ApnsFaults, ARefusedTopicHoldsBackItselfOnly) {
  ApnsFaults faults;
  EXPECT_TRUE(faults.note_broken(kMail, kBadTopic, kStart));
  EXPECT_TRUE(faults.held_back(kMail, kStart));
  EXPECT_FALSE(faults.held_back(kOther, kStart));
}

TEST(ApnsFaults, OnePushTriesAgainAndSuccessForgetsTheFault) {
  ApnsFaults faults;
  EXPECT_TRUE(faults.note_broken(kMail, kBadKey, kStart));
  Instant later = kStart + ApnsBreaker::kWaitFirst;
  EXPECT_FALSE(faults.held_back(kMail, later));  // the trial
  EXPECT_TRUE(faults.held_back(kMail, later));
  EXPECT_FALSE(faults.note_working(kStranger));
  EXPECT_TRUE(faults.note_working(kMail));
  EXPECT_FALSE(faults.note_working(kMail));
  EXPECT_FALSE(faults.held_back(kMail, later));
  EXPECT_TRUE(faults.note_broken(kMail, kBadKey, later));  // news again
}

}  // namespace
}  // namespace bellhop::service
