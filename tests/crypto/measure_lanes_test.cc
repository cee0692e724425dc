// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "crypto/rsa_lane_engine.h"

namespace bellhop::crypto {
namespace {

using std::chrono::milliseconds;

// A machine that is busy for the first batches. Between two looks at its clock pass half a millisecond, in which BoringSSL
// does half of an operation, and what a batch takes.
struct BusyMachine {
  static inline Duration now;
  static inline int batches, busy_batches;

  static Instant clock() { return Instant(now += std::chrono::microseconds(500)); }
  static uint8_t rsa2048(lanes::Workspace2048&) {
    now += ++batches <= busy_batches ? milliseconds(10) : milliseconds(2);
    return 0;
  }
  static uint8_t rsa3072(lanes::Workspace3072&) {
    now += milliseconds(7);
    return 0;
  }
  static LanePlan measure(int busy) {
    static constexpr lanes::Kernel kKernel = {"busy", &rsa2048, &rsa3072};
    now = std::chrono::seconds(1000);
    batches = 0;
    busy_batches = busy;
    return measure_lanes(kKernel, &clock, milliseconds(4));
  }
};

TEST(MeasureLanesOnABusyMachine, AsksAgainWhereTheAnswerIsNo) {
  const LanePlan plan = BusyMachine::measure(5);
  EXPECT_EQ(plan.from_2048, 3u);  // 2.5 ms a batch, 1 ms an operation
  EXPECT_EQ(plan.batch_2048, std::chrono::microseconds(2500));
}

TEST(MeasureLanesOnABusyMachine, AsksNoMoreThanItMust) {
  EXPECT_TRUE(BusyMachine::measure(0).useful());
  const int needed = BusyMachine::batches;
  EXPECT_TRUE(BusyMachine::measure(1).useful());
  EXPECT_EQ(BusyMachine::batches, needed);
}

TEST(MeasureLanesOnABusyMachine, TakesANoInTheEnd) {
  EXPECT_FALSE(BusyMachine::measure(1000).useful());
  const int tries = BusyMachine::batches;
  EXPECT_TRUE(BusyMachine::measure(tries - 1).useful());
  EXPECT_FALSE(BusyMachine::measure(tries).useful());
}

}  // namespace
}  // namespace bellhop::crypto
