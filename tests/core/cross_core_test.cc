// SPDX-License-Identifier: Apache-2.0
#include "core/cross_core.h"
#include "core/errand.h"

#include <atomic>

#include "core/sleep.h"
#include "core/sync.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

using test::run_on_cores;

Task<unsigned> where() { co_return io::core(); }
Task<Result<int>> work_there(int value, bool wait) {
  if (wait) BH_CO_CHECKED(co_await sleep_for(1ms));
  co_return value * 10 + static_cast<int>(io::core());
}
Task<Result<std::string>> text_from(std::string text) { co_return text + " from core " + std::to_string(io::core()); }

Task<void> visit_flow(unsigned core) {
  for (unsigned target = 0; target < io::cores(); ++target) {
    EXPECT_EQ(co_await on_core(target, [] { return where(); }), target);
    Result<int> value = co_await on_core(target, [] { return work_there(4, true); });
    CO_ASSERT(value);
    EXPECT_EQ(*value, 40 + static_cast<int>(target));
    Result<std::string> text = co_await on_core(target, [core] { return text_from("for " + std::to_string(core)); });
    CO_ASSERT(text);
    EXPECT_EQ(*text, "for " + std::to_string(core) + " from core " + std::to_string(target));
    EXPECT_EQ(io::core(), core);
  }
}

TEST(OnCore, RunsThereAndBringsTheValueBack) {
  for (unsigned cores = 1; cores <= 4; ++cores) run_on_cores(cores, visit_flow);
}

struct Counters {
  uint64_t calls[4] = {};  // each written by its own core only
};
Task<uint64_t> count_call(Counters* counters) { co_return ++counters->calls[io::core()]; }

Task<void> call_around(Counters* counters, unsigned calls) {
  uint64_t last[4] = {};
  for (unsigned i = 0; i < calls; ++i) {
    unsigned target = (io::core() + 1 + i % (io::cores() - 1)) % io::cores();
    uint64_t count = co_await on_core(target, [counters] { return count_call(counters); });
    if (count <= last[target]) ADD_FAILURE() << "calls ran out of order";
    last[target] = count;
  }
}
Task<void> storm_flow(unsigned, Counters* counters, unsigned flows, unsigned calls) {
  TaskScope scope(&co_await current_context());
  for (unsigned i = 0; i < flows; ++i) scope.spawn(call_around(counters, calls));
  co_await scope.join();
}

TEST(OnCore, AHundredThousandCallsBetweenTwoToFourCoresAllArrive) {
  for (unsigned cores = 2; cores <= 4; ++cores) {
    Counters counters;
    constexpr unsigned kFlows = 10;
    const unsigned calls = 100'000 / (kFlows * cores * 3) + 1;
    run_on_cores(cores, [&](unsigned core) { return storm_flow(core, &counters, kFlows, calls); });
    EXPECT_EQ(counters.calls[0] + counters.calls[1] + counters.calls[2] + counters.calls[3], uint64_t{kFlows} * cores * calls);
  }
}

// A root flow that has ended must not take its core away from the others.
Task<void> late_caller_flow(unsigned core) {
  if (core != 0) co_return;
  EXPECT_TRUE(co_await sleep_for(20ms));
  for (unsigned target = 1; target < io::cores(); ++target) {
    EXPECT_EQ(co_await on_core(target, [] { return where(); }), target);
  }
}

TEST(OnCore, ReachesCoresWhoseRootFlowHasEnded) { run_on_cores(3, late_caller_flow); }

Task<void> stopped_call(unsigned target, Result<int>* result) {
  *result = co_await on_core(target, [] { return work_there(7, true); });
}
Task<void> stop_flow(unsigned core) {
  if (core != 0) co_return;
  Result<int> result = 0;
  TaskScope scope(&co_await current_context());
  scope.spawn(stopped_call(1, &result));
  scope.request_stop();
  co_await scope.join();
  CO_ASSERT(result);  // the flow over there is not stopped with its caller
  EXPECT_EQ(*result, 71);
}

TEST(OnCore, ACallGoesOnWhenItsCallerIsStopped) { run_on_cores(2, stop_flow); }

Task<Result<int>> wait_there(Event* begun, unsigned home, Event* never) {
  struct Tell {
    static Task<int> set(Event* event) {
      event->set();
      co_return 0;
    }
  };
  co_await on_core(home, [begun] { return Tell::set(begun); });
  Status ended = co_await never->wait();
  if (!ended) co_return fail(ended.error());
  co_return 1;
}
Task<void> stoppable_call(Event* begun, Event* never, Result<int>* result) {
  *result = co_await on_core_stoppable(1, [=] { return wait_there(begun, 0, never); });
}
Task<void> stoppable_flow(unsigned core) {
  if (core != 0) co_return;
  for (bool at_once : {false, true}) {
    Event begun, never;  // `never` is core 1's
    Result<int> result = 0;
    TaskScope scope(&co_await current_context());
    if (at_once) scope.request_stop();
    scope.spawn(stoppable_call(&begun, &never, &result));
    if (!at_once) CO_ASSERT(co_await begun.wait());
    scope.request_stop();
    co_await scope.join();
    CO_ASSERT(!result);
    EXPECT_TRUE(is(result.error(), CoreError::canceled));
  }
  Result<int> value = co_await on_core_stoppable(1, [] { return work_there(3, true); });
  CO_ASSERT(value);
  EXPECT_EQ(*value, 31);
}

TEST(OnCoreStoppable, StopsTheFlowOverThereAndAwaitsItsEnd) { run_on_cores(2, stoppable_flow); }

// Stops that meet the answer on its way: each call ends once, with one of the two.
Task<void> racing_call(unsigned target, unsigned* values, unsigned* stops) {
  Result<int> result = co_await on_core_stoppable(target, [] { return work_there(7, true); });
  ++(result ? *values : *stops);
}
Task<void> racing_flow(unsigned core, unsigned* values, unsigned* stops) {
  for (int round = 0; round < 200; ++round) {
    TaskScope scope(&co_await current_context());
    for (unsigned i = 0; i < 5; ++i) scope.spawn(racing_call(1 - core, values, stops));
    EXPECT_TRUE(co_await sleep_for(Duration(1ms) + (round - 100) * Duration(10us)));
    scope.request_stop();
    co_await scope.join();
  }
}

TEST(OnCoreStoppable, AStopMayMeetTheAnswer) {
  unsigned values[2] = {}, stops[2] = {};
  run_on_cores(2, [&](unsigned core) { return racing_flow(core, &values[core], &stops[core]); });
  for (unsigned core : {0, 1}) EXPECT_EQ(values[core] + stops[core], 1000u);
}

Task<void> offload_some(io::Worker worker, std::vector<int>* order, int number) {
  int value = co_await offload(worker, [order, number] {
    order->push_back(number);  // jobs of one kind run one after the other
    EXPECT_EQ(Reactor::current_or_null(), nullptr);
    return number * 2;
  });
  EXPECT_EQ(value, number * 2);
}
Task<void> offload_flow(unsigned) {
  std::vector<int> general, store;
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 50; ++i) {
    scope.spawn(offload_some(io::Worker::general, &general, i));
    scope.spawn(offload_some(io::Worker::store, &store, i));
  }
  scope.request_stop();  // work that was handed over is awaited all the same
  co_await scope.join();
  std::vector<int> expected(50);
  for (int i = 0; i < 50; ++i) expected[static_cast<size_t>(i)] = i;
  EXPECT_EQ(general, expected);
  EXPECT_EQ(store, expected);
}

TEST(Offload, RunsJobsOfOneKindInOrderAndAwaitsThem) { run_on_cores(1, offload_flow); }

Task<void> offload_everywhere(unsigned core, std::atomic<int>* total) {
  for (int i = 0; i < 20; ++i) {
    unsigned home = co_await offload(io::Worker::general, [total, core] {
      ++*total;
      return core;
    });
    EXPECT_EQ(home, io::core());
  }
}

TEST(Offload, BringsTheValueBackToTheCoreThatAsked) {
  std::atomic<int> total = 0;
  run_on_cores(3, [&](unsigned core) { return offload_everywhere(core, &total); });
  EXPECT_EQ(total, 60);
}

// ---- Errands ----

struct Lanes {
  std::vector<int> order[2];
  std::atomic<int> destroyed = 0;
};
// What an errand owns, to see when it goes.
struct Owned {
  explicit Owned(std::shared_ptr<Lanes> l) : lanes(std::move(l)) {}
  Owned(Owned&& other) = default;
  ~Owned() {
    if (lanes) ++lanes->destroyed;
  }
  std::shared_ptr<Lanes> lanes;
};

Task<void> send_errand(std::shared_ptr<Lanes> lanes, unsigned lane, int number) {
  Result<int> value = co_await run_errand(lane, [owned = Owned(lanes), lane, number] {
    EXPECT_EQ(Reactor::current_or_null(), nullptr);
    owned.lanes->order[lane].push_back(number);  // errands of one lane run one after the other
    return number * 2;
  });
  EXPECT_TRUE(value && *value == number * 2);
}
Task<void> errands_flow(std::shared_ptr<Lanes> lanes) {
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 50; ++i) {
    scope.spawn(send_errand(lanes, 0, i));
    scope.spawn(send_errand(lanes, 1, i));
  }
  co_await scope.join();
}

TEST(Errand, ThoseOfOneLaneRunInOrder) {
  auto lanes = std::make_shared<Lanes>();
  run_on_cores(1, [&](unsigned) { return errands_flow(lanes); });
  std::vector<int> expected(50);
  for (int i = 0; i < 50; ++i) expected[static_cast<size_t>(i)] = i;
  EXPECT_EQ(lanes->order[0], expected);
  EXPECT_EQ(lanes->order[1], expected);
  EXPECT_EQ(lanes->destroyed, 100);
}

Task<void> abandoned_errand(std::shared_ptr<Lanes> lanes, unsigned lane, int* canceled, int* values) {
  Result<int> value = co_await run_errand(lane, [owned = Owned(lanes)] { return 1; });
  if (value) {
    ++*values;
  } else if (is(value.error(), CoreError::canceled)) {
    ++*canceled;
  }
}
Task<void> abandoning_flow(std::shared_ptr<Lanes> lanes, int* canceled, int* values) {
  for (int round = 0; round < 200; ++round) {
    TaskScope scope(&co_await current_context());
    for (unsigned i = 0; i < 20; ++i) scope.spawn(abandoned_errand(lanes, i % 3, canceled, values));
    if (round % 2 == 0) EXPECT_TRUE(co_await sleep_for(Duration(1us) * round));
    scope.request_stop();
    co_await scope.join();
  }
}

TEST(Errand, AStopMayMeetTheEnd) {
  auto lanes = std::make_shared<Lanes>();
  int canceled = 0, values = 0;
  run_on_cores(1, [&](unsigned) { return abandoning_flow(lanes, &canceled, &values); });
  EXPECT_EQ(canceled + values, 200 * 20);
  EXPECT_GT(canceled, 0);
  EXPECT_EQ(lanes->destroyed, 200 * 20);  // run or not, none was forgotten
}

}  // namespace
}  // namespace bellhop
