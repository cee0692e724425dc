// SPDX-License-Identifier: Apache-2.0
// Which operations a plan gives to the lanes.
#include <gtest/gtest.h>

#include <chrono>

#include "crypto/rsa_lane_engine.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

using lanes::Kernel;
using lanes::kLanes;
using lanes::Workspace2048;
using lanes::Workspace3072;

// A clock that shows what is planned: a batch takes so long, and what is timed without a batch is half of BoringSSL's
// operation.
struct Plan {
  static inline Duration now, batch_2048, scalar_2048, batch_3072, scalar_3072, half_of_scalar;
  static inline bool timing, kernel_ran;
  static inline size_t calls_3072;

  static Instant clock() {
    if (timing && !kernel_ran) now += half_of_scalar;
    timing = !timing;
    kernel_ran = false;
    return Instant(now);
  }
  static uint8_t rsa2048(Workspace2048&) {
    now += batch_2048;
    half_of_scalar = scalar_2048 / 2;
    kernel_ran = true;
    return 0;
  }
  static uint8_t rsa3072(Workspace3072&) {
    now += batch_3072;
    half_of_scalar = scalar_3072 / 2;
    kernel_ran = true;
    ++calls_3072;
    return 0;
  }
  static LanePlan measure(Duration batch, Duration scalar, Duration larger_batch, Duration larger_scalar, Duration max) {
    static constexpr Kernel kKernel = {"planned", &rsa2048, &rsa3072};
    now = std::chrono::seconds(1000);
    batch_2048 = batch, scalar_2048 = scalar, batch_3072 = larger_batch, scalar_3072 = larger_scalar;
    timing = kernel_ran = false;
    calls_3072 = 0;
    return measure_lanes(kKernel, &clock, max);
  }
};

using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST(MeasureLanes, FindsTheFirstNumberOfRequestsForWhichABatchIsFaster) {
  struct Case {
    Duration batch, scalar;
    size_t from;
  };
  for (const Case& one : {Case{milliseconds(10), milliseconds(2), 6},       // five take as long
                          Case{microseconds(9'999), milliseconds(2), 5},    //
                          Case{milliseconds(7), milliseconds(1), 8},        //
                          Case{milliseconds(8), milliseconds(1), LanePlan::kNever},
                          Case{milliseconds(80), milliseconds(1), LanePlan::kNever},
                          Case{milliseconds(1), milliseconds(2), 1},
                          Case{Duration::zero(), milliseconds(2), 1},
                          Case{milliseconds(1), Duration::zero(), LanePlan::kNever},
                          Case{Duration::zero(), Duration::zero(), LanePlan::kNever}}) {
    const LanePlan plan = Plan::measure(one.batch, one.scalar, one.batch, one.scalar, std::chrono::seconds(1));
    EXPECT_EQ(plan.from_2048, one.from) << one.batch.count() << " / " << one.scalar.count();
    EXPECT_EQ(plan.from_3072, one.from);
    EXPECT_EQ(plan.useful(), one.from <= kLanes);
    EXPECT_EQ(plan.batch_2048, one.batch);
    EXPECT_EQ(plan.scalar_2048, one.scalar);
    EXPECT_EQ(plan.kernel->name, "planned");
  }
}

TEST(MeasureLanes, LeavesToBoringSslABatchThatHoldsACoreTooLong) {
  const LanePlan just = Plan::measure(milliseconds(4), milliseconds(1), milliseconds(9), milliseconds(3), milliseconds(8));
  EXPECT_EQ(just.from_2048, 5u);
  EXPECT_EQ(just.from_3072, LanePlan::kNever);
  EXPECT_EQ(just.batch_3072, milliseconds(9));
  EXPECT_TRUE(just.useful());

  const LanePlan both = Plan::measure(milliseconds(4), milliseconds(1), milliseconds(8), milliseconds(3), milliseconds(8));
  EXPECT_EQ(both.from_3072, 3u);

  // Already the smaller size is near the bound: the larger one is not tried.
  const LanePlan one = Plan::measure(milliseconds(5), milliseconds(1), milliseconds(1), milliseconds(3), milliseconds(8));
  EXPECT_EQ(one.from_2048, 6u);
  EXPECT_EQ(one.from_3072, LanePlan::kNever);
  EXPECT_EQ(one.batch_3072, Duration::zero());
  EXPECT_EQ(Plan::calls_3072, 0u);

  const LanePlan none = Plan::measure(milliseconds(9), milliseconds(5), milliseconds(1), milliseconds(3), milliseconds(8));
  EXPECT_FALSE(none.useful());
}

TEST(MeasureLanes, GivesAUsefulPlanForWhatIsThere) {
  for (const Kernel* kernel : available_kernels()) {
    EXPECT_EQ(find_kernel(kernel->name), kernel);
    const LanePlan plan = measure_lanes(*kernel, +[] { return Instant(std::chrono::steady_clock::now().time_since_epoch()); },
                                        std::chrono::seconds(10));
    EXPECT_EQ(plan.kernel, kernel);
    EXPECT_GT(plan.batch_2048, Duration::zero());
    EXPECT_GT(plan.scalar_2048, Duration::zero());
    EXPECT_GT(plan.batch_3072, plan.batch_2048);
    EXPECT_GT(plan.scalar_3072, plan.scalar_2048);
  }
  EXPECT_EQ(find_kernel("none such"), nullptr);
  EXPECT_EQ(find_kernel("portable"), nullptr);  // it is for tests
}

// A machine that is busy for the first batches. Between two looks at its clock pass half a millisecond, in which BoringSSL
// does half of an operation, and what a batch takes.
struct BusyMachine {
  static inline Duration now;
  static inline int batches, busy_batches, batches_3072, busy_batches_3072;

  static Instant clock() { return Instant(now += std::chrono::microseconds(500)); }
  static uint8_t rsa2048(lanes::Workspace2048&) {
    now += ++batches <= busy_batches ? milliseconds(6) : milliseconds(2);
    return 0;
  }
  static uint8_t rsa3072(lanes::Workspace3072&) {
    now += ++batches_3072 <= busy_batches_3072 ? milliseconds(30) : milliseconds(3);
    return 0;
  }
  static LanePlan measure(int busy, int busy_3072 = 1000, Duration batch_max = milliseconds(4)) {
    static constexpr lanes::Kernel kKernel = {"busy", &rsa2048, &rsa3072};
    now = std::chrono::seconds(1000);
    batches = batches_3072 = 0;
    busy_batches = busy;
    busy_batches_3072 = busy_3072;
    return measure_lanes(kKernel, &clock, batch_max);
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

TEST(MeasureLanesOnABusyMachine, AsksAgainForTheLargerSizeToo) {
  const LanePlan plan = BusyMachine::measure(0, 5, milliseconds(6));
  EXPECT_EQ(plan.from_3072, 4u);  // 3.5 ms a batch, 1 ms an operation
  EXPECT_EQ(plan.batch_3072, microseconds(3500));

  EXPECT_EQ(BusyMachine::measure(0, 1000, milliseconds(6)).from_3072, LanePlan::kNever);
  const int tries = BusyMachine::batches_3072;
  EXPECT_EQ(BusyMachine::measure(0, tries - 1, milliseconds(6)).from_3072, 4u);
  EXPECT_EQ(BusyMachine::measure(0, tries, milliseconds(6)).from_3072, LanePlan::kNever);
}

// A batch of 6.5 ms is a yes for 2048 bits, and no reason to try the larger size: that is asked again.
TEST(MeasureLanesOnABusyMachine, AsksAgainWhetherTheLargerSizeIsWorthATry) {
  const LanePlan plan = BusyMachine::measure(2, 0, milliseconds(12));
  EXPECT_EQ(plan.batch_2048, microseconds(2500));
  EXPECT_EQ(plan.from_2048, 3u);
  EXPECT_EQ(plan.from_3072, 4u);
}

}  // namespace
}  // namespace bellhop::crypto
