// SPDX-License-Identifier: Apache-2.0
#include "core/frame_pool.h"

#include "core/socket.h"
#include "core/sleep.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

using test::endpoint_of;
using test::loopback;
using test::run_on_cores;

TEST(FramePool, ReusesFramesOfOneSizeClass) {
  void* first = FramePool::allocate(200);
  uint64_t heap_calls = FramePool::stats().heap_calls;
  FramePool::free(first, 200);
  void* second = FramePool::allocate(129);  // the same multiple of 128
  EXPECT_EQ(second, first);
  EXPECT_EQ(FramePool::stats().heap_calls, heap_calls);
  FramePool::free(second, 129);
}

TEST(FramePool, WipesWhatItTakesBack) {
  constexpr size_t kSize = 1000;
  auto* frame = static_cast<uint8_t*>(FramePool::allocate(kSize));
  memset(frame, 0x5a, kSize);
  FramePool::free(frame, kSize);
  // The same memory comes back: but for the link of the free list, it is all zero.
  auto* again = static_cast<uint8_t*>(FramePool::allocate(kSize));
  ASSERT_EQ(again, frame);
  for (size_t i = sizeof(void*); i < kSize; ++i) ASSERT_EQ(again[i], 0) << i;
  FramePool::free(again, kSize);
}

TEST(FramePool, CountsWhatLivesAlsoBeyondItsClasses) {
  FramePool::Stats before = FramePool::stats();
  void* large = FramePool::allocate(100'000);
  EXPECT_EQ(FramePool::stats().frames_live, before.frames_live + 1);
  EXPECT_EQ(FramePool::stats().bytes_live, before.bytes_live + 100'000);
  EXPECT_EQ(FramePool::stats().heap_calls, before.heap_calls + 1);
  FramePool::free(large, 100'000);
  EXPECT_EQ(FramePool::stats().frames_live, before.frames_live);
  EXPECT_EQ(FramePool::stats().bytes_live, before.bytes_live);
}

Task<Status> exchange(Socket& socket, bool first, int rounds) {
  const uint8_t ball[1] = {42};
  for (int i = 0; i < rounds; ++i) {
    if (first) BH_CO_CHECKED(co_await socket.send(ball));
    {
      BH_CO_TRY(Chunk chunk, co_await socket.receive());
      if (chunk.bytes().size() != 1 || chunk.bytes()[0] != 42) co_return fail(core_error(CoreError::closed));
    }
    if (!first) BH_CO_CHECKED(co_await socket.send(ball));
  }
  co_return Status();
}
Task<void> play(Socket& socket, bool first, int rounds) { EXPECT_TRUE(co_await exchange(socket, first, rounds)); }

Task<void> ping_pong_flow(unsigned) {
  Result<io::Handle> handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  Listener listener(*handle);
  Result<Socket> client = co_await connect(endpoint_of(*handle, loopback()));
  CO_ASSERT(client);
  Result<Socket> server = co_await listener.accept();
  CO_ASSERT(server);
  TaskScope scope(&co_await current_context());
  for (int part = 0; part < 2; ++part) {
    uint64_t heap_calls = FramePool::stats().heap_calls;
    int rounds = part == 0 ? 20 : 2000;
    scope.spawn(play(*client, true, rounds));
    scope.spawn(play(*server, false, rounds));
    co_await scope.join();
    if (part == 1) EXPECT_EQ(FramePool::stats().heap_calls, heap_calls);
  }
  co_await listener.close();
}

TEST(FramePool, APingPongAsksTheHeapForNothingAfterItsStart) { run_on_cores(1, ping_pong_flow); }

}  // namespace
}  // namespace bellhop
