// SPDX-License-Identifier: Apache-2.0
// The words between two processes, both played here; tests/e2e/handover_test.py does it with real ones.
#include "service/handover.h"

#include <cstdio>

#include "core/sleep.h"
#include "core/sync.h"
#include "service/listeners.h"
#include "service/metrics.h"
#include "tests/core/run.h"

namespace bellhop::service {
namespace {

using test::loopback;
using test::run_on_cores;

// The one who runs.
struct Running {
  std::string lock_path = test::unix_endpoint().unix_path + "-owner";
  std::string socket_path = test::unix_endpoint().unix_path;
  MetricsShard metrics;
  std::string lines;
  Log log{options()};
  Handover handover{{.lock_path = lock_path, .socket_path = socket_path}};
  Event winding_down, quiet, left, stayed;
  int taken_back = 0;
  io::Handle listener;

  LogOptions options() {
    LogOptions made;
    made.sink = {.write = [](void* text, std::string_view line) { static_cast<std::string*>(text)->append(line); },
                 .context = &lines};
    made.wall_now = &io::wall_now;
    made.metrics = &metrics;
    return made;
  }
  ~Running() {
    std::remove(lock_path.c_str());
    std::remove(socket_path.c_str());
  }
  HandoverOptions successor_options() { return {.lock_path = lock_path, .socket_path = socket_path, .take_over = true}; }

  Task<void> wind_down() {
    winding_down.set();
    (void)co_await quiet.wait();
  }
  Task<void> take_back() {
    ++taken_back;
    stayed.set();
    co_return;
  }
  Task<void> leave() {
    left.set();
    co_return;
  }
  Task<void> offer() {
    return handover.offer({.share =
                               [this] {
                                 std::vector<NamedDescriptor> shared;
                                 for (int i = 0; i < 3; ++i) {
                                   shared.push_back({*io::share_listener(listener), "own@" + std::to_string(i)});
                                 }
                                 return shared;
                               },
                           .wind_down = [this] { return wind_down(); },
                           .take_back = [this] { return take_back(); },
                           .leave = [this] { return leave(); }},
                          log);
  }
  Task<bool> begin(TaskScope& scope) {
    auto opened = io::open_listener(loopback());
    EXPECT_TRUE(opened);
    if (!opened) co_return false;
    listener = *opened;
    bool owned = (co_await handover.own()).has_value();
    EXPECT_TRUE(owned);
    scope.spawn(offer());
    co_return owned;
  }
};

Task<void> own_and_tell(Handover* successor, Status* owned, Event* told) {
  *owned = co_await successor->own();
  told->set();
}

Task<void> whole(unsigned) {
  Running running;
  TaskScope scope(&co_await current_context());
  CO_ASSERT(co_await running.begin(scope));
  Handover successor(running.successor_options());
  std::vector<NamedDescriptor> given;
  Result<bool> asked = co_await successor.ask(given);
  CO_ASSERT(asked && *asked);
  CO_ASSERT(given.size() == 3);
  EXPECT_EQ(given[2].name, "own@2");
  EXPECT_TRUE(io::inherited_endpoint(given[2].descriptor.get()));

  Status owned = fail(Error());
  Event told;
  scope.spawn(own_and_tell(&successor, &owned, &told));
  CO_ASSERT(co_await running.winding_down.wait());
  EXPECT_FALSE(running.left.is_set());
  running.quiet.set();
  CO_ASSERT(co_await running.left.wait());
  EXPECT_TRUE(running.handover.handing_over());
  (void)co_await sleep_for(10ms);
  EXPECT_FALSE(told.is_set()) << "the place is not ours before the last write is done";
  running.handover.let_go();
  CO_ASSERT(co_await told.wait());
  EXPECT_TRUE(owned);
  EXPECT_EQ(running.taken_back, 0);
  co_await scope.join();
  io::close(running.listener);
}

TEST(HandoverTest, ThePlaceIsLeftThenTheLockIsLetGoThenTheSuccessorOwns) { run_on_cores(1, whole); }

Task<void> successor_dies(unsigned) {
  Running running;
  TaskScope scope(&co_await current_context());
  CO_ASSERT(co_await running.begin(scope));
  {
    Handover early(running.successor_options());
    std::vector<NamedDescriptor> given;
    CO_ASSERT(co_await early.ask(given));
  }  // dies after it asked
  {
    Context stopped;
    Handover late(running.successor_options());
    std::vector<NamedDescriptor> given;
    CO_ASSERT(co_await late.ask(given));
    EXPECT_EQ(running.taken_back, 0) << "nothing had begun";
    Status owned = fail(Error());
    Event told;
    TaskScope own(&stopped);
    own.spawn(own_and_tell(&late, &owned, &told));
    CO_ASSERT(co_await running.winding_down.wait());
    own.request_stop();
    co_await own.join();
    EXPECT_FALSE(owned);
  }  // dies while the other one winds down
  CO_ASSERT(co_await running.stayed.wait());
  EXPECT_FALSE(running.left.is_set());
  EXPECT_THAT(running.lines, testing::HasSubstr("handover_abandoned"));

  // The next one is served as if nothing had been.
  running.winding_down.reset();
  running.quiet.set();
  Handover next(running.successor_options());
  std::vector<NamedDescriptor> given;
  CO_ASSERT(co_await next.ask(given));
  Status owned = fail(Error());
  Event told;
  scope.spawn(own_and_tell(&next, &owned, &told));
  CO_ASSERT(co_await running.left.wait());
  running.handover.let_go();
  CO_ASSERT(co_await told.wait());
  EXPECT_TRUE(owned);
  co_await scope.join();
  io::close(running.listener);
}

TEST(HandoverTest, ASuccessorThatDiesLeavesNoTrace) { run_on_cores(1, successor_dies); }

Task<void> server_dies(unsigned) {
  auto running = std::make_unique<Running>();
  HandoverOptions options = running->successor_options();
  Context life;
  auto scope = std::make_unique<TaskScope>(&life);
  CO_ASSERT(co_await running->begin(*scope));
  Handover successor(options);
  std::vector<NamedDescriptor> given;
  CO_ASSERT(co_await successor.ask(given));
  Status owned = fail(Error());
  Event told;
  TaskScope own(&co_await current_context());
  own.spawn(own_and_tell(&successor, &owned, &told));
  CO_ASSERT(co_await running->winding_down.wait());
  EXPECT_FALSE(told.is_set());
  scope->request_stop();
  co_await scope->join();
  running->handover = Handover({});  // the kernel closes what a dead process had
  CO_ASSERT(co_await told.wait());
  EXPECT_TRUE(owned);
  co_await own.join();
  io::close(running->listener);
}

TEST(HandoverTest, WhereTheServerDiesTheSuccessorOwns) { run_on_cores(1, server_dies); }

Task<void> nobody_runs(unsigned) {
  Running running;
  Handover first(running.successor_options());
  std::vector<NamedDescriptor> given;
  Result<bool> asked = co_await first.ask(given);
  CO_ASSERT(asked);
  EXPECT_FALSE(*asked);
  EXPECT_FALSE(first.asked());
  EXPECT_TRUE(co_await first.own());
  // A second one that asks nobody finds the store taken.
  Handover second({.lock_path = running.lock_path, .socket_path = running.socket_path});
  Status owned = co_await second.own();
  CO_ASSERT(!owned);
  EXPECT_TRUE(is(owned.error(), CoreError::limit));
}

TEST(HandoverTest, WhereNobodyRunsItOwnsAtOnceAndASecondOneDoesNot) { run_on_cores(1, nobody_runs); }

Task<void> strangers(unsigned) {
  Running running;
  TaskScope scope(&co_await current_context());
  CO_ASSERT(co_await running.begin(scope));
  auto connected = io::connect_channel(running.socket_path);
  CO_ASSERT(connected);
  Channel stranger(*std::move(connected));
  EXPECT_TRUE(stranger.send("hello"));
  auto answer = co_await within(10s, stranger.receive());
  CO_ASSERT(!answer);
  EXPECT_TRUE(is(answer.error(), CoreError::closed));
  EXPECT_THAT(running.lines, testing::HasSubstr("handover_refused"));
  scope.request_stop();
  co_await scope.join();
  io::close(running.listener);
}

TEST(HandoverTest, WhoSpeaksOtherwiseGetsNothing) { run_on_cores(1, strangers); }

// A connection that the kernel lets wait in a socket of ours is served by nobody else: so none may wait there before we
// own the place.
Task<void> more_cores(unsigned) {
  auto before = io::open_listener(loopback(), /*shared=*/true);
  CO_ASSERT(before);
  auto address = io::local_address(*before);
  CO_ASSERT(address);
  Config config;
  config.listen_public.addresses = {{"127.0.0.1", address->port}};
  config.listen_admin.address = {"127.0.0.1", 0};
  config.listen_admin.unix_socket = test::unix_endpoint().unix_path;
  std::vector<NamedDescriptor> given;
  given.push_back({*io::share_listener(*before), "own@whatever"});
  Listeners listeners;
  EXPECT_TRUE(listeners.take(std::move(given), config));
  CO_ASSERT(listeners.open(config, 3));
  EXPECT_EQ(listeners.public_handles(0).size(), 1u);
  EXPECT_TRUE(listeners.public_handles(1).empty() && listeners.public_handles(2).empty());
  EXPECT_EQ(listeners.share(/*own_only=*/true).size(), 3u) << "and two of the admin interface";
  CO_ASSERT(listeners.open_beside());
  for (unsigned core = 0; core < 3; ++core) EXPECT_EQ(listeners.public_handles(core).size(), 1u);
  EXPECT_EQ(listeners.share(/*own_only=*/true).size(), 5u);
  CO_ASSERT(listeners.open_beside());
  EXPECT_EQ(listeners.public_handles(2).size(), 1u) << "once";
  listeners.close_all();
  io::close(*before);
  std::remove(config.listen_admin.unix_socket.c_str());
}

TEST(ListenersTest, ACoreMoreThanBeforeGetsItsSocketWhenThePlaceIsOurs) { run_on_cores(1, more_cores); }

}  // namespace
}  // namespace bellhop::service
