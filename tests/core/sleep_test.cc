// SPDX-License-Identifier: Apache-2.0
#include "core/sleep.h"

#include "core/sync.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

using test::run_on_cores;

Task<void> note_after(Duration duration, int number, std::vector<int>* order) {
  Instant start = io::now();
  Status status = co_await sleep_for(duration);
  EXPECT_TRUE(status);
  EXPECT_GE(io::now() - start, duration);
  order->push_back(number);
}

Task<void> order_flow(unsigned) {
  std::vector<int> order;
  TaskScope scope(&co_await current_context());
  scope.spawn(note_after(30ms, 3, &order));
  scope.spawn(note_after(10ms, 1, &order));
  scope.spawn(note_after(300ms, 4, &order));  // on the second level of the wheel
  scope.spawn(note_after(20ms, 2, &order));
  scope.spawn(note_after(0ms, 0, &order));
  co_await scope.join();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST(Sleep, EndsInTheOrderOfTheExpiriesAndNeverEarly) { run_on_cores(1, order_flow); }

Task<void> stopped_sleep(Status* status) { *status = co_await sleep_for(1h); }

Task<void> stop_flow(unsigned) {
  Status status;
  TaskScope scope(&co_await current_context());
  scope.spawn(stopped_sleep(&status));
  scope.request_stop();
  co_await scope.join();
  CO_ASSERT(!status);
  EXPECT_TRUE(is(status.error(), CoreError::canceled));
}

TEST(Sleep, AStopEndsItAtOnce) { run_on_cores(1, stop_flow); }

Task<Result<int>> value_after(Duration duration, int value) {
  BH_CO_CHECKED(co_await sleep_for(duration));
  co_return value;
}
Task<Result<int>> deaf_value(Event& event, int value) {
  // Notes the stop, and has its value all the same.
  (void)co_await event.wait();
  co_return value;
}
Task<Result<int>> failing_value() { co_return fail(core_error(CoreError::limit, 5)); }
Task<Result<int>> own_cancel() { co_return fail(core_error(CoreError::canceled)); }

Task<void> within_flow(unsigned) {
  Result<int> in_time = co_await within(10s, value_after(1ms, 5));
  CO_ASSERT(in_time);
  EXPECT_EQ(*in_time, 5);

  Instant start = io::now();
  Result<int> late = co_await within(5ms, value_after(1h, 5));
  CO_ASSERT(!late);
  EXPECT_TRUE(is(late.error(), CoreError::timed_out));
  EXPECT_GE(io::now() - start, 5ms);

  Result<int> past = co_await within_until(io::now() - 1s, value_after(1h, 5));
  CO_ASSERT(!past);
  EXPECT_TRUE(is(past.error(), CoreError::timed_out));

  Event never;
  Result<int> had = co_await within(5ms, deaf_value(never, 6));
  CO_ASSERT(had);
  EXPECT_EQ(*had, 6);

  Result<int> failed = co_await within(1h, failing_value());
  CO_ASSERT(!failed);
  EXPECT_EQ(failed.error(), core_error(CoreError::limit, 5));

  Result<int> canceled = co_await within(1h, own_cancel());
  CO_ASSERT(!canceled);
  EXPECT_TRUE(is(canceled.error(), CoreError::canceled));
}

TEST(Within, TellsValueErrorAndDeadlineApart) { run_on_cores(1, within_flow); }

Task<void> run_within(Result<int>* result) { *result = co_await within(1h, value_after(2h, 1)); }

Task<void> stop_within_flow(unsigned) {
  Result<int> result = 0;
  TaskScope scope(&co_await current_context());
  scope.spawn(run_within(&result));
  scope.request_stop();
  co_await scope.join();
  CO_ASSERT(!result);
  EXPECT_TRUE(is(result.error(), CoreError::canceled));
}

TEST(Within, AStopFromOutsideIsNoTimeOut) { run_on_cores(1, stop_within_flow); }

Task<Result<int>> inner_deadline() {
  Result<int> inner = co_await within(1ms, value_after(1h, 1));
  EXPECT_FALSE(inner);
  EXPECT_TRUE(!inner && is(inner.error(), CoreError::timed_out));
  co_return co_await value_after(1ms, 2);  // the outer deadline still has time
}
Task<void> nested_flow(unsigned) {
  Result<int> outer = co_await within(1h, inner_deadline());
  CO_ASSERT(outer);
  EXPECT_EQ(*outer, 2);
}

TEST(Within, AnInnerDeadlineLeavesTheOuterFlowGoing) { run_on_cores(1, nested_flow); }

}  // namespace
}  // namespace bellhop
