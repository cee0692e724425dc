// SPDX-License-Identifier: Apache-2.0
#include "service/silence_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace bellhop::service {
namespace {

std::vector<uint64_t> due(SilenceWheel& wheel, uint32_t now_s) {
  std::vector<uint64_t> owners;
  while (SilenceEntry* entry = wheel.next_due(now_s)) {
    owners.push_back(entry->owner());
    wheel.place(*entry, now_s + 100);
  }
  return owners;
}

TEST(SilenceWheelTest, GivesWhatIsDueAndNothingElse) {
  SilenceWheel wheel(100, 1'000);
  wheel.insert(1, 1'010);
  wheel.insert(2, 1'020);
  EXPECT_EQ(due(wheel, 1'009), std::vector<uint64_t>{});
  EXPECT_EQ(due(wheel, 1'010), std::vector<uint64_t>{1});
  EXPECT_EQ(due(wheel, 1'010), std::vector<uint64_t>{});
  EXPECT_EQ(due(wheel, 1'100), std::vector<uint64_t>{2});
  EXPECT_EQ(due(wheel, 1'110), std::vector<uint64_t>{1}) << "it was put back";
}

TEST(SilenceWheelTest, WhatIsDueAlreadyComesWithTheNextSecond) {
  SilenceWheel wheel(100, 1'000);
  wheel.insert(1, 5);
  EXPECT_EQ(due(wheel, 1'000), std::vector<uint64_t>{});
  EXPECT_EQ(due(wheel, 1'001), std::vector<uint64_t>{1});
}

TEST(SilenceWheelTest, WhatIsFurtherAwayThanTheWheelReachesComesEarlierAndNotLater) {
  SilenceWheel wheel(100, 1'000);
  wheel.insert(1, 1'000 + 10 * SilenceWheel::kSeconds);
  EXPECT_EQ(due(wheel, 1'000 + SilenceWheel::kSeconds - 2), std::vector<uint64_t>{});
  EXPECT_EQ(due(wheel, 1'000 + SilenceWheel::kSeconds - 1), std::vector<uint64_t>{1});
}

TEST(SilenceWheelTest, LooksAtEachEntryOnceAfterALongPause) {
  SilenceWheel wheel(1'000, 1'000);
  for (uint64_t i = 0; i < 1'000; ++i) wheel.insert(i, static_cast<uint32_t>(1'001 + i * 8));
  std::vector<uint64_t> owners;
  while (SilenceEntry* entry = wheel.next_due(900'000)) {
    owners.push_back(entry->owner());
    wheel.erase(*entry);
  }
  EXPECT_EQ(std::set(owners.begin(), owners.end()).size(), 1'000u);
  EXPECT_EQ(owners.size(), 1'000u);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(SilenceWheelTest, AnErasedEntryIsNeitherFoundNorGiven) {
  SilenceWheel wheel(100, 1'000);
  wheel.erase(*wheel.insert(7, 1'010));
  wheel.insert(8, 1'010);
  EXPECT_EQ(wheel.find(7), nullptr);
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(due(wheel, 1'050), std::vector<uint64_t>{8});
}

TEST(SilenceWheelTest, IsFullAtItsBoundUntilAnErasedEntrysSecondHasPassed) {
  SilenceWheel wheel(2, 1'000);
  SilenceEntry* first = wheel.insert(1, 1'010);
  wheel.insert(2, 1'500);
  EXPECT_EQ(wheel.insert(3, 1'020), nullptr);
  wheel.erase(*first);
  EXPECT_EQ(wheel.insert(3, 1'020), nullptr) << "its place is in the wheel still";
  due(wheel, 1'010);
  EXPECT_NE(wheel.insert(3, 1'020), nullptr);
  EXPECT_EQ(wheel.size(), 2u);
}

TEST(SilenceWheelTest, AnEntryThatMovesUpKeepsWhatIsKnownOfIt) {
  SilenceWheel wheel(10, 1'000);
  SilenceEntry* entry = wheel.insert(1, 3'000);
  entry->since_s = 900;
  entry->stage = SilenceStage::late;
  SilenceEntry& moved = wheel.move_up(*entry, 1'005);
  EXPECT_EQ(&moved, wheel.find(1));
  EXPECT_EQ(moved.since_s, 900u);
  EXPECT_EQ(moved.stage, SilenceStage::late);
  EXPECT_EQ(wheel.size(), 1u);
  SilenceEntry* given = wheel.next_due(1'005);
  ASSERT_EQ(given, &moved);
  wheel.place(*given, 1'006);
  EXPECT_EQ(due(wheel, 3'000), (std::vector<uint64_t>{1})) << "the old place gives nothing";
}

TEST(SilenceWheelTest, AnEntryThatFindsNoPlaceToMoveToStaysWhereItIs) {
  SilenceWheel wheel(1, 1'000);
  SilenceEntry* entry = wheel.insert(1, 1'050);
  EXPECT_EQ(&wheel.move_up(*entry, 1'005), entry);
  EXPECT_EQ(due(wheel, 1'049), std::vector<uint64_t>{});
  EXPECT_EQ(due(wheel, 1'050), std::vector<uint64_t>{1});
}

// Against a map, at random: what is due when, what is found, what is gone.
TEST(SilenceWheelTest, DoesWhatAMapOfDueTimesDoes) {
  std::mt19937_64 random(7);
  SilenceWheel wheel(100'000, 0);
  std::map<uint64_t, uint32_t> model;  // owner -> due
  for (uint32_t now = 1; now < 4'000; ++now) {
    for (int i = 0; i < 5; ++i) {
      uint64_t owner = random() % 4'000;
      uint32_t when = now + static_cast<uint32_t>(random() % 3'000);
      SilenceEntry* entry = wheel.find(owner);
      ASSERT_EQ(entry != nullptr, model.contains(owner));
      if (!entry) {
        wheel.insert(owner, when);
        model[owner] = std::max(when, now);
      } else if (random() % 3 == 0) {
        wheel.erase(*entry);
        model.erase(owner);
      } else if (when < model[owner]) {
        wheel.move_up(*entry, when);
        model[owner] = std::max(when, now);
      }
    }
    while (SilenceEntry* entry = wheel.next_due(now)) {
      uint64_t owner = entry->owner();
      ASSERT_TRUE(model.contains(owner));
      ASSERT_EQ(model[owner], now);
      if (random() % 4 == 0) {
        wheel.erase(*entry);
        model.erase(owner);
      } else {
        model[owner] = now + 1 + static_cast<uint32_t>(random() % 3'000);
        wheel.place(*entry, model[owner]);
      }
    }
    for (const auto& [owner, when] : model) ASSERT_GT(when, now) << "was not given in its second";
    ASSERT_EQ(wheel.size(), model.size());
  }
}

}  // namespace
}  // namespace bellhop::service
