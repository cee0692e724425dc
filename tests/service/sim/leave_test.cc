// SPDX-License-Identifier: Apache-2.0
// A whole server that is asked to end by a successor, by a signal, and by both, while a connection still needs its time.

#include "core/sleep.h"
#include "service/handover.h"
#include "tests/service/admin_fixture.h"

namespace bellhop::service::admin_test {
namespace {

// A client that has connected, and was accepted, and takes its time; it may take all of the drain's patience.
Task<Result<Socket>> connect_slowly(AdminWorld& world) {
  BH_CO_TRY(Socket socket, co_await connect({world.server().public_addresses()[0], {}}));
  auto accepted = [&] {
    uint64_t sum = 0;
    for (const MetricsShard* shard : world.server().shards()) sum += shard->value(metric::connections_accepted);
    return sum;
  };
  while (accepted() == 0) BH_CO_CHECKED(co_await sleep_for(10ms));
  co_return std::move(socket);
}

// Whether the server has let the connection be for so long.
Task<bool> lives_for(Socket& socket, Duration time) {
  Result<Chunk> heard = co_await within(time, socket.receive());
  co_return !heard && is(heard.error(), CoreError::timed_out);
}

struct Successor {
  explicit Successor(AdminWorld& world) : handover(world.successor_options()) {}
  Task<void> take_over() {
    std::vector<NamedDescriptor> given;
    Result<bool> asked = co_await handover.ask(given);
    EXPECT_TRUE(asked && *asked);
    owned = (co_await handover.own()).has_value();
  }
  Handover handover;
  bool owned = false;
};

Task<void> wait_leaving(AdminWorld& world) {
  while ((co_await world.ask("GET", "/readyz")).status == 200) EXPECT_TRUE(co_await sleep_for(10ms));
}

Task<void> signal_after_successor(AdminWorld& world) {
  Result<Socket> slow = co_await connect_slowly(world);
  CO_ASSERT(slow);
  Successor successor(world);
  TaskScope scope(&co_await current_context());
  scope.spawn(successor.take_over());
  co_await wait_leaving(world);
  world.drain_asked = true;
  co_await world.server().drain();
  EXPECT_TRUE(co_await lives_for(*slow, 1s)) << "what is in work keeps its time";
  co_await world.server().drain();  // the second one means it
  EXPECT_FALSE(co_await lives_for(*slow, 1s));
  co_await scope.join();
  EXPECT_TRUE(successor.owned);
}

TEST(LeaveTest, ASignalDuringAHandOverCutsNothingShortAndASecondOneDoes) {
  AdminWorld::run(&signal_after_successor, true);
}

Task<void> successor_after_signal(AdminWorld& world) {
  Result<Socket> slow = co_await connect_slowly(world);
  CO_ASSERT(slow);
  Successor successor(world);
  TaskScope scope(&co_await current_context());
  scope.spawn(successor.take_over());
  EXPECT_TRUE(co_await sleep_for(500ms));  // the first step of the hand-over
  EXPECT_EQ((co_await world.ask("GET", "/readyz")).status, 200);
  world.drain_asked = true;
  co_await world.server().drain();
  EXPECT_TRUE(co_await lives_for(*slow, 2s)) << "what is in work keeps its time";
  slow = fail(core_error(CoreError::closed));
  co_await scope.join();
  EXPECT_TRUE(successor.owned);
}

TEST(LeaveTest, AHandOverThatASignalOvertakesCutsNothingShort) { AdminWorld::run(&successor_after_signal, true); }

}  // namespace
}  // namespace bellhop::service::admin_test
