// SPDX-License-Identifier: Apache-2.0
#include "core/sync.h"

#include "core/sleep.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

using test::run_on_cores;
using ::testing::ElementsAre;

Task<void> wait_for_event(Event& event, int number, std::vector<int>* order) {
  Status status = co_await event.wait();
  order->push_back(status ? number : -number);
}

Task<void> event_flow(unsigned) {
  Event event;
  std::vector<int> order;
  TaskScope scope(&co_await current_context()), stopped(&co_await current_context());
  scope.spawn(wait_for_event(event, 1, &order));
  stopped.spawn(wait_for_event(event, 2, &order));
  scope.spawn(wait_for_event(event, 3, &order));
  stopped.request_stop();
  co_await stopped.join();
  EXPECT_THAT(order, ElementsAre(-2));
  event.set();
  co_await scope.join();
  EXPECT_THAT(order, ElementsAre(-2, 1, 3));
  EXPECT_TRUE(co_await event.wait());  // set before the wait
  event.reset();
  EXPECT_FALSE(event.is_set());
  scope.spawn(wait_for_event(event, 4, &order));
  EXPECT_EQ(scope.live(), 1u);
  event.set();
  scope.request_stop();  // granted first: the stop comes too late
  co_await scope.join();
  EXPECT_EQ(order.back(), 4);
}

TEST(Event, WakesAllInOrderAndOnlyTheUnstopped) { run_on_cores(1, event_flow); }

Task<void> use_permit(Semaphore& semaphore, int number, int* inside, int* most, std::vector<int>* order) {
  Result<Semaphore::Permit> permit = co_await semaphore.acquire();
  if (!permit) {
    EXPECT_TRUE(is(permit.error(), CoreError::canceled));
    order->push_back(-number);
    co_return;
  }
  order->push_back(number);
  *most = std::max(*most, ++*inside);
  co_await yield_now();
  --*inside;
}

Task<void> semaphore_flow(unsigned) {
  Semaphore semaphore(2);
  std::vector<int> order;
  int inside = 0, most = 0;
  TaskScope scope(&co_await current_context()), stopped(&co_await current_context());
  for (int i = 1; i <= 3; ++i) scope.spawn(use_permit(semaphore, i, &inside, &most, &order));
  stopped.spawn(use_permit(semaphore, 4, &inside, &most, &order));
  scope.spawn(use_permit(semaphore, 5, &inside, &most, &order));
  EXPECT_EQ(semaphore.waiting(), 3u);
  EXPECT_FALSE(semaphore.try_acquire());
  stopped.request_stop();
  EXPECT_EQ(semaphore.waiting(), 2u);
  co_await stopped.join();
  co_await scope.join();
  EXPECT_EQ(most, 2);
  EXPECT_EQ(semaphore.available(), 2u);
  order.erase(std::find(order.begin(), order.end(), -4));
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 5));
}

TEST(Semaphore, HoldsItsBoundServesInOrderAndForgetsTheStopped) { run_on_cores(1, semaphore_flow); }

Task<void> permit_flow(unsigned) {
  Semaphore semaphore(1);
  {
    std::optional<Semaphore::Permit> first = semaphore.try_acquire();
    CO_ASSERT(first);
    Semaphore::Permit moved = std::move(*first);
    EXPECT_FALSE(*first);
    EXPECT_EQ(semaphore.available(), 0u);
    moved.release();
    moved.release();
    EXPECT_EQ(semaphore.available(), 1u);
  }
  EXPECT_EQ(semaphore.available(), 1u);
  // A permit that was granted and then met a stop still comes back.
  std::vector<int> order;
  int inside = 0, most = 0;
  TaskScope scope(&co_await current_context());
  std::optional<Semaphore::Permit> held = semaphore.try_acquire();
  scope.spawn(use_permit(semaphore, 1, &inside, &most, &order));
  held.reset();
  scope.request_stop();
  co_await scope.join();
  EXPECT_THAT(order, ElementsAre(1));
  EXPECT_EQ(semaphore.available(), 1u);
}

TEST(Semaphore, EachPermitComesBackOnce) { run_on_cores(1, permit_flow); }

Task<void> pop_all(Queue<int>& queue, std::vector<int>* out, bool* ended) {
  for (;;) {
    Result<std::optional<int>> item = co_await queue.pop();
    if (!item) co_return;
    if (!*item) {
      *ended = true;
      co_return;
    }
    out->push_back(**item);
  }
}

Task<void> queue_flow(unsigned) {
  Queue<int> queue(3);
  std::vector<int> out;
  bool ended = false;
  EXPECT_TRUE(queue.push(1) && queue.push(2) && queue.push(3));
  EXPECT_FALSE(queue.push(4));  // full
  TaskScope scope(&co_await current_context());
  scope.spawn(pop_all(queue, &out, &ended));
  EXPECT_THAT(out, ElementsAre(1, 2, 3));
  EXPECT_TRUE(queue.push(5));
  for (int turn = 0; turn < 3 && out.size() < 4; ++turn) co_await yield_now();
  EXPECT_THAT(out, ElementsAre(1, 2, 3, 5));
  EXPECT_TRUE(queue.push(6));
  queue.close();
  EXPECT_FALSE(queue.push(7));
  co_await scope.join();
  EXPECT_THAT(out, ElementsAre(1, 2, 3, 5, 6));
  EXPECT_TRUE(ended);
}

TEST(Queue, IsBoundedKeepsItsOrderAndEndsWhenClosed) { run_on_cores(1, queue_flow); }

Task<void> queue_stop_flow(unsigned) {
  Queue<int> queue(3);
  std::vector<int> first, second;
  bool first_ended = false, second_ended = false;
  TaskScope stopped(&co_await current_context()), scope(&co_await current_context());
  stopped.spawn(pop_all(queue, &first, &first_ended));
  scope.spawn(pop_all(queue, &second, &second_ended));
  stopped.request_stop();
  co_await stopped.join();
  EXPECT_FALSE(first_ended);
  EXPECT_TRUE(queue.push(1) && queue.push(2));
  queue.close();
  co_await scope.join();
  EXPECT_TRUE(first.empty());
  EXPECT_THAT(second, ElementsAre(1, 2));  // the stopped reader took nothing with it
}

TEST(Queue, AStoppedReaderLosesNothing) { run_on_cores(1, queue_stop_flow); }

}  // namespace
}  // namespace bellhop
