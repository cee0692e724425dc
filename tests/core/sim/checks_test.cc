// SPDX-License-Identifier: Apache-2.0

// What the simulator finds in a program that is wrong: each test breaks one rule and expects the message.

#include "tests/core/sim/scenario.h"

namespace bellhop {
namespace {

using sim::world;
using test::endpoint_of;
using test::loopback;
using test::options_of;

void run(Task<void> (*flow)()) {
  (void)io::run_cluster(options_of(77), [&](unsigned) { return flow(); });
}

Task<void> wait_forever() {
  Event never;
  (void)co_await never.wait();
}
Task<void> receive_forever() {
  Result<io::Handle> handle = io::open_listener(loopback());
  BH_CHECK(handle);
  Listener listener(*handle);
  (void)co_await listener.accept();
}
Task<void> tick_forever() {
  TaskScope scope(&co_await current_context());
  scope.spawn(wait_forever());
  for (;;) (void)co_await sleep_for(1min);
}

TEST(ChecksDeathTest, ADeadlockIsReportedWithItsSeed) {
  EXPECT_DEATH(run(wait_forever), "seed 77.*deadlock: nothing is ready");
  EXPECT_DEATH(run(receive_forever), "in flight: accept on socket 0 of core 0 listening at 127.0.0.1");
}

TEST(ChecksDeathTest, AnEndlessRunStopsAtTimeMax) {
  EXPECT_DEATH(
      {
        world().time_max = 1h;
        run(tick_forever);
      },
      "seed 77, after 35..\\..* s: time_max reached");
}

Task<void> leave_open() {
  Result<io::Handle> handle = io::open_listener(loopback());
  BH_CHECK(handle);
  co_return;
}
Task<void> keep_buffer(std::optional<Chunk>* kept) {
  Result<io::Handle> handle = io::open_listener(loopback());
  BH_CHECK(handle);
  Listener listener(*handle);
  Result<Socket> client = co_await connect(endpoint_of(*handle, loopback()));
  Result<Socket> server = co_await listener.accept();
  BH_CHECK(client && server);
  EXPECT_TRUE(co_await client->send(as_bytes("x")));
  Result<Chunk> chunk = co_await server->receive();
  BH_CHECK(chunk);
  kept->emplace(std::move(*chunk));
  co_await listener.close();
}
void run_keeping_a_buffer() {
  std::optional<Chunk> kept;
  (void)io::run_cluster(options_of(77), [&](unsigned) { return keep_buffer(&kept); });
}

TEST(ChecksDeathTest, OpenSocketsAndHeldBuffersAreLeaks) {
  EXPECT_DEATH(run(leave_open), "seed 77.*leak: all flows have ended, but sockets are open");
  EXPECT_DEATH(run_keeping_a_buffer(), "leak: all flows have ended, but receive buffers are held");
}

Task<void> close_twice() {
  Result<io::Handle> handle = io::open_listener(loopback());
  BH_CHECK(handle);
  io::close(*handle);
  io::close(*handle);
  co_return;
}
Task<void> close_under_operation() {
  Result<io::Handle> handle = io::open_listener(loopback());
  BH_CHECK(handle);
  Listener listener(*handle);
  io::close(*handle);
  co_return;
}
Task<void> read_after_release() {
  Result<io::Handle> handle = io::open_listener(loopback());
  BH_CHECK(handle);
  Listener listener(*handle);
  Result<Socket> client = co_await connect(endpoint_of(*handle, loopback()));
  Result<Socket> server = co_await listener.accept();
  BH_CHECK(client && server);
  EXPECT_TRUE(co_await client->send(as_bytes("secret")));
  const uint8_t* bytes = nullptr;
  {
    Result<Chunk> chunk = co_await server->receive();
    BH_CHECK(chunk);
    bytes = chunk->bytes().data();
  }
  // Without ASan the byte is scribbled over; under ASan the read itself is the report.
  if (*bytes == 0xdb) fprintf(stderr, "use-after-poison or scribbled\n");
  std::abort();
}

TEST(ChecksDeathTest, MisuseOfHandlesAndBuffersIsFound) {
  EXPECT_DEATH(run(close_twice), "check failed");
  EXPECT_DEATH(run(close_under_operation), "check failed");
  EXPECT_DEATH(run(read_after_release), "use-after-poison");
}

}  // namespace
}  // namespace bellhop
