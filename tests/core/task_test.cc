// SPDX-License-Identifier: Apache-2.0
#include "core/task.h"

#include <memory>

#include "core/sleep.h"
#include "core/sync.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

using test::run_on_cores;

Task<int> answer(int value) { co_return value; }
Task<std::unique_ptr<int>> boxed(int value) { co_return std::make_unique<int>(value); }
Task<int> answer_later(int value) {
  co_await yield_now();
  co_return value;
}
Task<int> sum_to(int n) {
  if (n == 0) co_return 0;
  int below = co_await sum_to(n - 1);
  co_return below + n;
}

Task<void> values_flow(unsigned) {
  EXPECT_EQ(co_await answer(7), 7);
  EXPECT_EQ(co_await answer_later(8), 8);
  EXPECT_EQ(*co_await boxed(9), 9);
  EXPECT_EQ(co_await sum_to(100), 5050);
}

TEST(Task, BringsItsValueWhetherItWaitsOrNot) { run_on_cores(1, values_flow); }

// No coroutines: they say at once what they know.
Task<int> known(int value) { return Task<int>::of(value); }
Task<std::unique_ptr<int>> known_or_boxed(int value) {
  return value < 0 ? Task<std::unique_ptr<int>>::of() : boxed(value);
}
Task<Status> checked(bool fine) {
  return fine ? Task<Status>::of() : Task<Status>::of(fail(core_error(CoreError::limit)));
}

Task<void> known_flow(unsigned) {
  uint64_t frames = FramePool::stats().frames_live;
  Task<int> seven = known(7);
  EXPECT_EQ(FramePool::stats().frames_live, frames) << "no frame";
  EXPECT_EQ(*seven.value(), 7);
  EXPECT_EQ(co_await std::move(seven), 7);
  EXPECT_EQ(answer(7).value(), nullptr) << "a coroutine has to run first";
  EXPECT_EQ(co_await known_or_boxed(-1), nullptr);
  EXPECT_EQ(*co_await known_or_boxed(9), 9);
  EXPECT_TRUE(co_await checked(true));
  EXPECT_EQ((co_await checked(false)).error(), core_error(CoreError::limit));
  Context stopped;
  stopped.request_stop();
  EXPECT_TRUE(co_await checked(true).under(stopped)) << "what is done is done";
  EXPECT_TRUE(co_await within(Duration::zero(), checked(true)));
  EXPECT_TRUE(co_await within_until(Instant(), checked(true))) << "a deadline long past";
  TaskScope scope(&co_await current_context());
  scope.spawn(Task<void>::of());
  EXPECT_EQ(scope.live(), 0u);
  co_await Task<void>::of();
}

TEST(Task, MayHaveItsValueWithoutAFrame) { run_on_cores(1, known_flow); }

Task<void> add_after_yield(std::vector<int>* order, int number, int yields) {
  for (int i = 0; i < yields; ++i) co_await yield_now();
  order->push_back(number);
}

Task<void> inline_flow(unsigned) {
  uint64_t resumed = Reactor::current().stats().resumed;
  std::vector<int> order;
  TaskScope scope(&co_await current_context());
  scope.spawn(add_after_yield(&order, 1, 1));
  // A child that does not wait ends inside the await: the other flow gets no turn in between.
  for (int i = 0; i < 100; ++i) EXPECT_EQ(co_await answer(i), i);
  EXPECT_TRUE(order.empty());
  EXPECT_EQ(Reactor::current().stats().resumed, resumed);
  co_await scope.join();
  EXPECT_THAT(order, ::testing::ElementsAre(1));
}

TEST(Task, AChildThatDoesNotWaitEndsInPlace) { run_on_cores(1, inline_flow); }

Task<void> stack_flow(unsigned, uintptr_t* lowest, uintptr_t* highest) {
  uint64_t total = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    total += static_cast<uint64_t>(co_await answer(i & 1));
    if (i % 1000 == 0) total += static_cast<uint64_t>(co_await answer_later(0));
    uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    *lowest = std::min(*lowest, here);
    *highest = std::max(*highest, here);
  }
  EXPECT_EQ(total, 500'000u);
}

TEST(Task, AMillionAwaitsInALoopKeepTheStackFlat) {
  uintptr_t lowest = UINTPTR_MAX, highest = 0;
  run_on_cores(1, [&](unsigned core) { return stack_flow(core, &lowest, &highest); });
  EXPECT_LT(highest - lowest, 16u * 1024);
}

Task<void> yield_flow(unsigned) {
  std::vector<int> order;
  TaskScope scope(&co_await current_context());
  scope.spawn(add_after_yield(&order, 3, 3));
  scope.spawn(add_after_yield(&order, 1, 1));
  scope.spawn(add_after_yield(&order, 2, 2));
  scope.spawn(add_after_yield(&order, 0, 0));
  EXPECT_EQ(scope.live(), 3u);
  co_await scope.join();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3));
  co_await scope.join();  // with no child it does not wait
}

TEST(TaskScope, ChildrenTakeTurnsAndJoinAwaitsAll) { run_on_cores(1, yield_flow); }

Task<void> wait_until_stopped(int* stopped) {
  Status status = co_await sleep_for(24h);
  EXPECT_FALSE(status);
  if (!status && is(status.error(), CoreError::canceled)) ++*stopped;
}
Task<void> nested_scope(int* stopped) {
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 3; ++i) scope.spawn(wait_until_stopped(stopped));
  co_await scope.join();
  EXPECT_TRUE(scope.stop_requested());
}

Task<void> stop_flow(unsigned) {
  int stopped = 0;
  TaskScope outer(&co_await current_context());
  for (int i = 0; i < 4; ++i) outer.spawn(nested_scope(&stopped));
  co_await yield_now();
  EXPECT_EQ(stopped, 0);
  outer.request_stop();
  EXPECT_EQ(stopped, 0);  // a request: nobody runs inside the call
  outer.request_stop();   // again: nothing more
  co_await outer.join();
  EXPECT_EQ(stopped, 12);
  // A child that starts under a stopped scope finds the stop at its first wait.
  outer.spawn(wait_until_stopped(&stopped));
  EXPECT_EQ(outer.live(), 0u);
  EXPECT_EQ(stopped, 13);
}

TEST(TaskScope, AStopReachesGrandchildrenAndIsAwaited) { run_on_cores(1, stop_flow); }

Task<void> sibling_flow(unsigned) {
  int left = 0, right = 0;
  Context& mine = co_await current_context();
  TaskScope first(&mine), second(&mine);
  first.spawn(wait_until_stopped(&left));
  second.spawn(wait_until_stopped(&right));
  first.request_stop();
  co_await first.join();
  EXPECT_EQ(left, 1);
  EXPECT_EQ(right, 0);
  EXPECT_FALSE(second.stop_requested());
  EXPECT_FALSE(mine.stop_requested());
  second.request_stop();
  co_await second.join();
}

TEST(TaskScope, AStopLeavesSiblingsAndParentAlone) { run_on_cores(1, sibling_flow); }

struct CountingHook : StopHook {
  explicit CountingHook(std::vector<int>* o, int n) : StopHook(&CountingHook::run), order(o), number(n) {}
  static void run(StopHook& hook) {
    auto& self = static_cast<CountingHook&>(hook);
    self.order->push_back(self.number);
  }
  std::vector<int>* order;
  int number;
};

TEST(Context, StopsItsTreeOnceWithItsOwnHooksFirst) {
  std::vector<int> order;
  Context root;
  Context child(&root), grandchild(&child), other(&root);
  CountingHook at_root(&order, 0), at_child(&order, 1), at_grandchild(&order, 2), at_other(&order, 3), gone(&order, 4);
  grandchild.add(&at_grandchild);
  other.add(&at_other);
  child.add(&at_child);
  root.add(&at_root);
  root.add(&gone);
  gone.unlink();
  root.request_stop();
  root.request_stop();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(grandchild.stop_requested() && other.stop_requested());
  Context late(&child);
  EXPECT_TRUE(late.stop_requested());
}

TEST(Context, AStoppedChildDoesNotStopItsParent) {
  Context root;
  Context child(&root);
  child.request_stop();
  EXPECT_FALSE(root.stop_requested());
  Context sibling(&root);
  EXPECT_FALSE(sibling.stop_requested());
}

}  // namespace
}  // namespace bellhop
