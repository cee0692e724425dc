// SPDX-License-Identifier: Apache-2.0
#include "service/trail.h"

#include <gtest/gtest.h>

#include <set>

#include "service/outcome_texts.h"

namespace bellhop::service {
namespace {

store::StoredUserId user(uint8_t number) {
  store::StoredUserId id;
  id.bytes.fill(number);
  return id;
}
TrailEntry push(uint8_t whose, uint64_t item, DeviceOutcome outcome = DeviceOutcome::delivered_apns) {
  return {.at = WallTime(std::chrono::milliseconds(item)), .user = user(whose), .outcome = outcome, .item = item, .events = 1};
}

TEST(Trail, TellsOfAUserTheNewestFirstAndNoMoreThanAsked) {
  Trail trail;
  for (uint64_t item = 1; item <= 10; ++item) trail.note(push(item % 2, item));
  auto found = trail.of_user(user(1), 3);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].item, 9u);
  EXPECT_EQ(found[1].item, 7u);
  EXPECT_EQ(found[2].item, 5u);
  EXPECT_EQ(trail.of_user(user(0), 100).size(), 5u);
  EXPECT_TRUE(trail.of_user(user(2), 100).empty());
}

TEST(Trail, ForgetsTheOldestOfAll) {
  Trail trail;
  trail.note(push(1, 1));
  for (size_t i = 0; i < Trail::kRecentMax - 1; ++i) trail.note(push(2, 2 + i));
  EXPECT_EQ(trail.of_user(user(1), 10).size(), 1u);
  trail.note(push(2, 9));
  EXPECT_TRUE(trail.of_user(user(1), 10).empty());
  EXPECT_EQ(trail.of_user(user(2), Trail::kRecentMax + 1).size(), Trail::kRecentMax);
}

TEST(Trail, KeepsTheLastOfARareOutcomeWhateverComesSince) {
  Trail trail;
  for (uint64_t item = 1; item <= Trail::kExamplesMax + 2; ++item) trail.note(push(1, item, DeviceOutcome::dropped_payload));
  TrailEntry refused{.user = user(3), .outcome = CallbackOutcome::refused_overload};
  trail.note(refused);
  for (size_t i = 0; i < 3 * Trail::kRecentMax; ++i) trail.note(push(2, 1));
  auto dropped = trail.of_outcome(DeviceOutcome::dropped_payload);
  ASSERT_EQ(dropped.size(), Trail::kExamplesMax);
  EXPECT_EQ(dropped[0].item, Trail::kExamplesMax + 2);
  EXPECT_EQ(dropped.back().item, 3u);
  EXPECT_EQ(trail.of_outcome(CallbackOutcome::refused_overload), std::vector{refused});
  EXPECT_TRUE(trail.of_outcome(CallbackOutcome::ok).empty());
  EXPECT_TRUE(trail.of_outcome(DeviceOutcome::journaled).empty());
}

TEST(OutcomeTexts, EveryOutcomeHasAMeaningOfItsOwn) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < kDeviceOutcomes; ++i) {
    std::string_view meaning = explain(DeviceOutcome(i)).meaning;
    EXPECT_FALSE(meaning.empty()) << kDeviceOutcomeNames[i];
    EXPECT_TRUE(seen.insert(meaning).second) << kDeviceOutcomeNames[i];
  }
  for (size_t i = 0; i < kCallbackOutcomes; ++i) {
    std::string_view meaning = explain(CallbackOutcome(i)).meaning;
    EXPECT_FALSE(meaning.empty()) << kCallbackOutcomeNames[i];
    EXPECT_TRUE(seen.insert(meaning).second) << kCallbackOutcomeNames[i];
    bool refused = kCallbackOutcomeNames[i].starts_with("refused.");
    if (refused) EXPECT_FALSE(explain(CallbackOutcome(i)).todo.empty() && CallbackOutcome(i) != CallbackOutcome::refused_draining);
  }
  for (size_t i = 0; i < kApiOutcomes; ++i) {
    EXPECT_TRUE(seen.insert(explain(ApiOutcome(i)).meaning).second) << kApiOutcomeNames[i];
  }
  for (size_t i = 0; i < kGatewayOutcomes; ++i) {
    EXPECT_TRUE(seen.insert(explain(GatewayOutcome(i)).meaning).second) << kGatewayOutcomeNames[i];
  }
  EXPECT_TRUE(explain(GatewayOutcome::refused_host).meaning.starts_with("421"));
  EXPECT_TRUE(explain(GatewayOutcome::unavailable_timeout).meaning.starts_with("504"));
  EXPECT_TRUE(explain(DeviceOutcome::skipped_merged).meaning.contains("many"));
  EXPECT_TRUE(explain(DeviceOutcome::dropped_payload).meaning.contains("refuses this push"));
  EXPECT_TRUE(explain(CallbackOutcome::refused_malformed).meaning.starts_with("400"));
  EXPECT_TRUE(explain(CallbackOutcome::refused_not_ready).meaning.contains("starts"));
  EXPECT_TRUE(explain(ApiOutcome::exchange).meaning.starts_with("502"));
  EXPECT_TRUE(explain(ApiOutcome::unavailable).meaning.starts_with("503"));
}

}  // namespace
}  // namespace bellhop::service
