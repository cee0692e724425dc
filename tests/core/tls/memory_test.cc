// SPDX-License-Identifier: Apache-2.0
#include "core/tls/memory.h"

#include <openssl/mem.h>

#include <cstring>
#include <thread>

#include "core/tls/boringssl.h"
#include "core/tls/byte_queue.h"
#include "tests/core/tls/tls_fixture.h"

namespace bellhop::tls_test {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BELLHOP_TEST_ASAN 1
#endif
#endif

TEST(WipedMemory, GivesEverySizeAlignedAndWritable) {
  auto before = wiped_memory_stats_of_thread();
  for (size_t size = 0; size <= 3 * kPooledBlockBytesMax; size = size < 5000 ? size + 1 : size + 4093) {
    void* memory = wiped_allocate(size);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(memory) % 16, 0u);
    ASSERT_EQ(wiped_size(memory), size);
    std::memset(memory, 0xab, size);
    wiped_free(memory);
  }
  auto after = wiped_memory_stats_of_thread();
  EXPECT_EQ(after.blocks_live, before.blocks_live);
  EXPECT_EQ(after.bytes_live, before.bytes_live);
}

TEST(WipedMemory, RoundsUpByAFifthAtMost) {
  for (size_t size : {129u, 1000u, 5000u, 16'700u, 40'000u, 100'000u}) {
    auto before = wiped_memory_stats_of_thread().bytes_live;
    void* memory = wiped_allocate(size);
    auto taken = static_cast<size_t>(wiped_memory_stats_of_thread().bytes_live - before);
    EXPECT_GE(taken, size + 16);
    EXPECT_LE(taken, (size + 16) * 5 / 4 + 16) << size;
    wiped_free(memory);
  }
}

#ifndef BELLHOP_TEST_ASAN  // ASan's poison forbids looking at freed blocks, which proves the same elsewhere
TEST(WipedMemory, WipesOnFreeAndGivesTheSameBlockAgain) {
  auto* memory = static_cast<uint8_t*>(wiped_allocate(3000));
  std::memset(memory, 0xab, 3000);
  wiped_free(memory);
  auto* again = static_cast<uint8_t*>(wiped_allocate(3000));
  ASSERT_EQ(again, memory);
  for (size_t i = 0; i < 3000; ++i) ASSERT_EQ(again[i], 0) << i;
  wiped_free(again);
}
#endif

TEST(WipedMemory, PoolsAtMostItsBound) {
  std::vector<void*> blocks;
  constexpr size_t kBlock = 100'000;
  for (size_t bytes = 0; bytes < kPooledBytesMax * 5 / 4; bytes += kBlock) blocks.push_back(wiped_allocate(kBlock));
  auto before = wiped_memory_stats_of_thread();
  for (void* block : blocks) wiped_free(block);
  auto after = wiped_memory_stats_of_thread();
  EXPECT_LE(after.bytes_pooled, static_cast<int64_t>(kPooledBytesMax));
  EXPECT_GT(after.bytes_pooled, static_cast<int64_t>(kPooledBytesMax) * 9 / 10);
  EXPECT_GT(after.heap_frees, before.heap_frees);
}

TEST(WipedMemory, NeverKeepsLargeBlocks) {
  auto before = wiped_memory_stats_of_thread();
  wiped_free(wiped_allocate(kPooledBlockBytesMax + 1));
  auto after = wiped_memory_stats_of_thread();
  EXPECT_EQ(after.bytes_pooled, before.bytes_pooled);
  EXPECT_EQ(after.heap_frees, before.heap_frees + 1);
}

TEST(WipedMemory, IsWhereBoringSslAllocates) {
  auto before = wiped_memory_stats_of_thread();
  void* memory = OPENSSL_malloc(1000);
  EXPECT_EQ(wiped_memory_stats_of_thread().blocks_live, before.blocks_live + 1);
  std::memset(memory, 7, 1000);
  memory = OPENSSL_realloc(memory, 5000);
  EXPECT_EQ(static_cast<uint8_t*>(memory)[999], 7);
  EXPECT_EQ(wiped_size(memory), 5000u);
  OPENSSL_free(memory);
  EXPECT_EQ(wiped_memory_stats_of_thread().blocks_live, before.blocks_live);
  EXPECT_EQ(OPENSSL_malloc(SIZE_MAX / 2), nullptr);
}

TEST(WipedMemory, BlocksMayBeFreedOnAnotherThreadAndAfterTheirsEnded) {
  auto before = wiped_memory_stats();
  constexpr int kThreads = 4, kBlocks = 2000;
  std::vector<std::vector<void*>> made(kThreads);
  {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kBlocks; ++i) {
          made[t].push_back(wiped_allocate(static_cast<size_t>(i)));
          if (i % 3 == 0) {
            wiped_free(made[t].back());
            made[t].pop_back();
          }
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (void* memory : made[(t + 1) % kThreads]) wiped_free(memory);
      });
    }
    for (auto& thread : threads) thread.join();
  }
  auto after = wiped_memory_stats();
  EXPECT_EQ(after.blocks_live, before.blocks_live);
  EXPECT_EQ(after.bytes_live, before.bytes_live);
  EXPECT_EQ(after.bytes_pooled, before.bytes_pooled) << "ended threads keep nothing";
  EXPECT_EQ(after.heap_allocations - before.heap_allocations, after.heap_frees - before.heap_frees);
}

// Runs after the pool of its thread is gone, as BoringSSL's own thread destructors do.
struct LateUser {
  void* early = nullptr;
  ~LateUser() {
    wiped_free(early);
    wiped_free(wiped_allocate(100));
  }
};

TEST(WipedMemory, WorksInDestructorsThatRunAfterThePoolsEnd) {
  auto before = wiped_memory_stats();
  std::thread([] {
    static thread_local LateUser user;  // constructed before the pool's guard, so destroyed after it
    EXPECT_EQ(user.early, nullptr);
    user.early = wiped_allocate(500);
  }).join();
  auto after = wiped_memory_stats();
  EXPECT_EQ(after.blocks_live, before.blocks_live);
  EXPECT_EQ(after.bytes_live, before.bytes_live);
}

TEST(WipedMemoryDeathTest, CatchesADoubleFree) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        void* memory = wiped_allocate(100);
        wiped_free(memory);
        wiped_free(memory);
      },
      "check failed");
}

TEST(ByteQueueOf, KeepsOrderAcrossGrowthAndConsumption) {
  ByteQueue queue;
  uint32_t in = 0, out = 0, seed = 7;
  std::vector<uint8_t> piece;
  for (int round = 0; round < 5000; ++round) {
    seed = seed * 1664525 + 1013904223;
    piece.resize(seed >> 22);
    for (auto& byte : piece) byte = static_cast<uint8_t>(in++ * 31);
    queue.append(piece);
    size_t count = std::min<size_t>(queue.size(), (seed >> 10) % 1100);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(queue.peek()[i], static_cast<uint8_t>(out++ * 31));
    queue.consume(count);
    ASSERT_EQ(queue.size(), in - out);
  }
}

TEST(ByteQueueOf, OwnsNothingWhenEmpty) {
  auto before = wiped_memory_stats_of_thread().bytes_live;
  ByteQueue queue;
  queue.append(as_bytes("abc"));
  EXPECT_GT(wiped_memory_stats_of_thread().bytes_live, before);
  queue.consume(3);
  EXPECT_EQ(wiped_memory_stats_of_thread().bytes_live, before);
}

class MemoryOf : public ::testing::TestWithParam<TlsVersion> {
 protected:
  void SetUp() override {
    set_time(kNoon);
    auto options = server_options(server_certificate());
    options.ticket_keys = ticket_keys(1);
    options.alpn = {"h2", "http/1.1"};
    server_ = make_server(options);
    client_ = make_client();
    only(*client_, GetParam());
    Meeting warm(client_, server_);  // what the first handshake leaves in the contexts is not a connection's
    warm.shake();
    read_all(warm.client);
  }
  std::shared_ptr<TlsContext> server_, client_;
};
INSTANTIATE_TEST_SUITE_P(Version, MemoryOf, ::testing::Values(TlsVersion::v1_2, TlsVersion::v1_3),
                         [](const auto& info) { return info.param == TlsVersion::v1_3 ? "Tls13" : "Tls12"; });

TEST_P(MemoryOf, AnIdleConnectionKeepsLessThanSixteenKilobytes) {
  auto live = [] { return wiped_memory_stats_of_thread().bytes_live; };
  client_->sessions().clear();
  const int64_t base = live();
  for (bool resumed : {false, true}) {
    if (resumed) {
      Meeting earlier(client_, server_);
      earlier.shake();
      read_all(earlier.client);
    }
    auto client = std::make_unique<TlsEngine>(client_, kHost);
    auto server = std::make_unique<TlsEngine>(server_);
    shake(*client, *server);
    say(*client, std::string(20'000, 'q'));
    say(*server, std::string(20'000, 'a'));
    shake(*client, *server);
    EXPECT_EQ(read_all(*server).size(), 20'000u);
    EXPECT_EQ(read_all(*client).size(), 20'000u);
    EXPECT_EQ(client->resumed(), resumed);
    client_->sessions().clear();  // they are the context's, not the connection's
    const int64_t both = live() - base;
    client.reset();
    const int64_t of_server = live() - base + static_cast<int64_t>(sizeof(TlsEngine));
    const int64_t of_client = both - (live() - base) + static_cast<int64_t>(sizeof(TlsEngine));
    std::printf("idle connection, %s handshake: server %ld bytes, client %ld bytes\n", resumed ? "resumed" : "full",
                static_cast<long>(of_server), static_cast<long>(of_client));
    EXPECT_GT(of_server, 500);
    EXPECT_LE(of_server, 16 * 1024);
    EXPECT_LE(of_client, 16 * 1024);
    server.reset();
    EXPECT_EQ(live(), base) << "something is left of a connection";
  }
}

TEST_P(MemoryOf, ARecordInSteadyStateAsksTheOsHeapForNothing) {
  Meeting m(client_, server_);
  m.shake();
  std::string question(300, 'q'), answer(20'000, 'a');
  std::vector<uint8_t> room(32'000);
  auto turn = [&] {
    ASSERT_EQ(m.client.write(as_bytes(question)), question.size());
    m.client.consume_output(m.server.feed(m.client.output()));
    ASSERT_EQ(m.server.read(room), question.size());
    ASSERT_EQ(m.server.write(as_bytes(answer)), answer.size());
    m.server.consume_output(m.client.feed(m.server.output()));
    ASSERT_EQ(m.client.read(room), answer.size());
  };
  for (int i = 0; i < 10; ++i) turn();
  auto before = wiped_memory_stats_of_thread();
  for (int i = 0; i < 1000; ++i) turn();
  auto after = wiped_memory_stats_of_thread();
  EXPECT_EQ(after.heap_allocations, before.heap_allocations);
  EXPECT_EQ(after.heap_frees, before.heap_frees);
  EXPECT_EQ(after.bytes_live, before.bytes_live);
}

TEST_P(MemoryOf, TheLibrarysRecordBuffersComeFromThePool) {
  Meeting m(client_, server_);
  m.shake();
  say(m.client, std::string(16'000, 'x'));
  int64_t before = wiped_memory_stats_of_thread().bytes_live;
  ASSERT_EQ(m.server.feed(m.client.output().first(100)), 100u);
  EXPECT_EQ(read_all(m.server), "");
  EXPECT_GT(wiped_memory_stats_of_thread().bytes_live, before + 16'000)
      << "libssl's malloc is not bound to OPENSSL_malloc: plaintext stays in freed memory";
}

TEST_P(MemoryOf, HandshakesAfterWarmUpAskTheOsHeapForNothing) {
  for (int i = 0; i < 5; ++i) {
    Meeting m(client_, server_);
    m.shake();
  }
  auto before = wiped_memory_stats_of_thread();
  for (int i = 0; i < 20; ++i) {
    Meeting m(client_, server_);
    m.shake();
  }
  EXPECT_EQ(wiped_memory_stats_of_thread().heap_allocations, before.heap_allocations);
}

TEST(TlsThreads, CoresShareTicketKeysAndAuthorities) {
  set_time(kNoon);
  auto keys = ticket_keys(1);
  auto roots = trusting(authority());
  server_certificate();
  auto core = [&] {
    auto options = server_options(server_certificate());
    options.ticket_keys = keys;
    TlsClientOptions client;
    client.authorities = roots;
    auto server = make_server(options), peer = make_client(client);
    for (int i = 0; i < 30; ++i) {
      Meeting m(peer, server);
      m.shake();
      EXPECT_EQ(m.client.state(), TlsState::open);
      if (i % 10 == 9) keys->rotate(time_now(), fresh_bytes(static_cast<uint8_t>(i)));
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) threads.emplace_back(core);
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace bellhop::tls_test
