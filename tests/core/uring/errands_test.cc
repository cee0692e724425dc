// SPDX-License-Identifier: Apache-2.0
// What a library that waits for ever does to the process: nothing but a thread that waits.
#include <chrono>
#include <semaphore>

#include "core/errand.h"
#include "core/sleep.h"
#include "core/uring/errands.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

struct Hanging {
  std::binary_semaphore begun{0}, go_on{0}, over{0};
};

Task<void> leave_hanging(std::shared_ptr<Hanging> hanging) {
  Result<int> value = co_await within(50ms, run_errand(0, [hanging] {
    hanging->begun.release();
    hanging->go_on.acquire();
    hanging->over.release();
    return 1;
  }));
  EXPECT_TRUE(!value && is(value.error(), CoreError::timed_out));
  // Others of the lane can be left, too; those of other lanes go on.
  Result<int> behind = co_await within(10ms, run_errand(0, [] { return 2; }));
  EXPECT_TRUE(!behind && is(behind.error(), CoreError::timed_out));
  Result<int> beside = co_await run_errand(1, [] { return 3; });
  EXPECT_TRUE(beside && *beside == 3);
}

TEST(ErrandThreads, OneThatHangsIsLeftBehind) {
  auto hanging = std::make_shared<Hanging>();
  auto begin = std::chrono::steady_clock::now();
  test::run_on_cores(1, [&](unsigned) { return leave_hanging(hanging); });
  auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, uring::ErrandThreads::kPatience);
  EXPECT_LT(took, uring::ErrandThreads::kPatience + std::chrono::seconds(5));
  EXPECT_TRUE(hanging->begun.try_acquire());
  hanging->go_on.release();
  hanging->over.acquire();  // the thread is still there, and what it uses is, too
}

}  // namespace
}  // namespace bellhop
