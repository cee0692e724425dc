// SPDX-License-Identifier: Apache-2.0
#include "service/core_watch.h"

#include <gtest/gtest.h>

namespace bellhop::service {
namespace {

const Instant kStart{std::chrono::hours(5)};

// Cores begin one after the other; one that never does is as bad as one that stopped.
TEST(CoreWatchTest, ACoreHasTheSameTimeForItsFirstTick) {
  CoreWatch watch(3, 5s);
  watch.begin(kStart);
  watch.ticked(0, kStart);
  EXPECT_EQ(watch.silent(kStart), std::nullopt);
  watch.ticked(0, kStart + 4s);
  watch.ticked(2, kStart + 4s);
  EXPECT_EQ(watch.silent(kStart + 5s), std::nullopt);
  EXPECT_EQ(watch.silent(kStart + 5s + 1ns), 1u);
  watch.ticked(1, kStart + 6s);
  EXPECT_EQ(watch.silent(kStart + 6s), std::nullopt);
}

TEST(CoreWatchTest, ABlockedCoreIsFoundAndForgivenWhenItTurnsAgain) {
  CoreWatch watch(3, 5s);
  for (unsigned core = 0; core < 3; ++core) watch.ticked(core, kStart);
  EXPECT_EQ(watch.silent(kStart + 5s), std::nullopt);
  watch.ticked(0, kStart + 5s);
  watch.ticked(1, kStart + 5s);
  EXPECT_EQ(watch.silent(kStart + 5s + 1ns), 2u);
  watch.ticked(2, kStart + 8s);
  EXPECT_EQ(watch.silent(kStart + 8s), std::nullopt);
}

}  // namespace
}  // namespace bellhop::service
