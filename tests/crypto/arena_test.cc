// SPDX-License-Identifier: Apache-2.0
#include "crypto/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

using testing::Each;

TEST(Arena, WipesAFreedBlockOfEachSize) {
  Arena arena(16);
  for (size_t size : {1u, 31u, 32u, 33u, 64u, 1000u, 4096u, 20000u, 32768u}) {
    void* block = arena.allocate(size);
    ASSERT_TRUE(arena.contains(block));
    std::memset(block, 0xa5, size);
    arena.deallocate(block, size);
    EXPECT_THAT(peek(block, size), Each(0)) << size;
  }
  EXPECT_EQ(arena.stats().blocks_in_use, 0u);
}

TEST(Arena, HandsOutZeroedAlignedBlocksThatDoNotOverlap) {
  Arena arena(4);
  std::vector<uint8_t*> blocks;
  for (int i = 0; i < 3000; ++i) {
    auto* block = static_cast<uint8_t*>(arena.allocate(40));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(block) % 32, 0u);
    for (int j = 0; j < 40; ++j) ASSERT_EQ(block[j], 0);
    std::memset(block, i % 255 + 1, 40);
    blocks.push_back(block);
  }
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(blocks[i][0], i % 255 + 1);
    ASSERT_EQ(blocks[i][39], i % 255 + 1);
  }
  for (uint8_t* block : blocks) arena.deallocate(block, 40);
}

TEST(Arena, GivesAnEmptySlabToAnotherSize) {
  Arena arena(2);
  std::vector<void*> blocks;
  for (size_t i = 0; i < 2 * Arena::kSlabBytes / 32; ++i) blocks.push_back(arena.allocate(32));
  for (void* block : blocks) arena.deallocate(block, 32);
  void* large = arena.allocate(32768);
  EXPECT_TRUE(arena.contains(large));
  arena.deallocate(large, 32768);
  EXPECT_EQ(arena.stats().bytes_committed, 2 * Arena::kSlabBytes);
}

TEST(Arena, SpillsWhenItIsFullAndStillWipes) {
  Arena arena(1);
  void* a = arena.allocate(32768);
  void* b = arena.allocate(32768);
  auto* c = static_cast<uint8_t*>(arena.allocate(32768));
  EXPECT_TRUE(arena.contains(a));
  EXPECT_TRUE(arena.contains(b));
  EXPECT_FALSE(arena.contains(c));
  EXPECT_EQ(arena.stats().spills_in_use, 1);
  EXPECT_EQ(arena.stats().spills_full_total, 1u);
  c[0] = c[32767] = 1;
  arena.deallocate(c, 32768);
  arena.deallocate(b, 32768);
  arena.deallocate(a, 32768);
  EXPECT_EQ(arena.stats().spills_in_use, 0);
}

TEST(Arena, GivesALargeBlockAMappingOfItsOwn) {
  Arena arena(1);
  const size_t size = Arena::kBlockBytesMax + 1;
  auto* block = static_cast<uint8_t*>(arena.allocate(size));
  EXPECT_FALSE(arena.contains(block));
  EXPECT_EQ(arena.stats().spills_full_total, 0u);  // large, not full
  block[0] = block[size - 1] = 1;
  arena.deallocate(block, size);
}

TEST(Arena, LocksItsSlabsOrSaysWhyNot) {
  Arena arena(1);
  void* block = arena.allocate(32);
  const ArenaStats stats = arena.stats();
  EXPECT_EQ(stats.bytes_locked != 0, stats.lock_errno == 0);
  arena.deallocate(block, 32);
}

// The flags that the kernel shows for the mapping that holds `address`.
std::string mapping_flags(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) inside = wanted >= from && wanted < to;
    if (inside && line.starts_with("VmFlags:")) return line;
  }
  return {};
}

// Mappings of the kernel within [from, from + size).
size_t mappings(const void* at, size_t size) {
  std::ifstream maps("/proc/self/maps");
  const auto wanted = reinterpret_cast<uintptr_t>(at);
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) count += from < wanted + size && to > wanted;
  }
  return count;
}

// The kernel allows 65,530 mappings: with one for each slab, a large cache of keys would end the process.
TEST(Arena, TakesFewMappingsHoweverLargeItGrows) {
  constexpr size_t kGroups = 8, kSlabs = kGroups * Arena::kGuardedSlabs;
  Arena arena(kSlabs);
  std::vector<void*> blocks;
  for (size_t i = 0; i < 2 * kSlabs; ++i) blocks.push_back(arena.allocate(32768));
  EXPECT_EQ(arena.stats().bytes_committed, kSlabs * Arena::kSlabBytes);
  EXPECT_EQ(arena.stats().spills_full_total, 0u);
  // Slabs and a guard page; one more where the limit of locked memory was reached.
  EXPECT_LE(mappings(blocks.front(), kSlabs * Arena::kSlabBytes), 2 * kGroups + 1);
  for (void* block : blocks) arena.deallocate(block, 32768);
}

TEST(Arena, LeavesItsMemoryOutOfCoreDumps) {
  Arena arena(1);
  void* small = arena.allocate(32);
  void* large = arena.allocate(100000);
  if (mapping_flags(small).empty()) GTEST_SKIP() << "/proc/self/smaps shows no flags here";
  EXPECT_THAT(mapping_flags(small), testing::HasSubstr(" dd"));
  EXPECT_THAT(mapping_flags(large), testing::HasSubstr(" dd"));
  arena.deallocate(large, 100000);
  arena.deallocate(small, 32);
}

TEST(ArenaDeathTest, StopsAtADoubleFreeAndAtAWrongSize) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Arena arena(1);
  void* block = arena.allocate(64);
  EXPECT_DEATH(arena.deallocate(block, 200), "check failed");
  EXPECT_DEATH(arena.deallocate(static_cast<uint8_t*>(block) + 32, 64), "check failed");
  arena.deallocate(block, 64);
  EXPECT_DEATH(arena.deallocate(block, 64), "check failed");
}

TEST(ArenaDeathTest, AnOverrunOfASlabHitsTheGuardPage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Arena arena(2);
  auto* first = static_cast<uint8_t*>(arena.allocate(32768));
  auto* second = static_cast<uint8_t*>(arena.allocate(32768));
  ASSERT_EQ(second, first + 32768);
  EXPECT_DEATH(*static_cast<volatile uint8_t*>(second + 32768) = 1, "");
  EXPECT_DEATH(*static_cast<volatile uint8_t*>(first - 1) = 1, "");
  arena.deallocate(first, 32768);
  arena.deallocate(second, 32768);
}

TEST(ArenaDeathTest, AnOverrunOfAFullGroupOfSlabsHitsTheGuardPage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Arena arena(2 * Arena::kGuardedSlabs);
  std::vector<uint8_t*> blocks;
  for (size_t i = 0; i < 4 * Arena::kGuardedSlabs; ++i) blocks.push_back(static_cast<uint8_t*>(arena.allocate(32768)));
  uint8_t* last_of_first_group = blocks[2 * Arena::kGuardedSlabs - 1];
  EXPECT_DEATH(*static_cast<volatile uint8_t*>(last_of_first_group + 32768) = 1, "");
  for (uint8_t* block : blocks) arena.deallocate(block, 32768);
}

TEST(ProcessArenas, TakeABlockBackFromAnotherThread) {
  const size_t before = arena_stats().blocks_in_use;
  std::vector<void*> blocks(100);
  std::thread maker([&] {
    for (void*& block : blocks) block = secret_allocate(100);
  });
  maker.join();
  EXPECT_EQ(arena_stats().blocks_in_use, before + 100);
  for (void* block : blocks) secret_deallocate(block, 100);
  EXPECT_EQ(arena_stats().blocks_in_use, before);
}

TEST(WipingVector, WipesWhatItLeavesBehindWhenItGrows) {
  WipingBytes bytes(32, 0xa5);
  const uint8_t* old = bytes.data();
  bytes.resize(1000, 0xa5);
  ASSERT_NE(bytes.data(), old);
  EXPECT_THAT(peek(old, 32), Each(0));
}

TEST(HardenProcess, ForbidsDumps) {
  ASSERT_TRUE(harden_process());
  std::ifstream limits("/proc/self/limits");
  std::string text((std::istreambuf_iterator<char>(limits)), {});
  EXPECT_THAT(text, testing::ContainsRegex("Max core file size +0 +0"));
  EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
  prctl(PR_SET_DUMPABLE, 1);  // other tests of this process read their own /proc entries
}

}  // namespace
}  // namespace bellhop::crypto
