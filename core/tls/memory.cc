// SPDX-License-Identifier: Apache-2.0
#include "core/tls/memory.h"

#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>

#include "core/base/bytes.h"
#include "core/base/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace bellhop {
namespace {

// In front of each block. The marks catch a double free and a pointer that is not ours.
struct Header {
  uint32_t size;        // as asked for
  uint16_t size_class;  // or kUnpooled
  uint16_t mark;
  Header* next;  // in a pool's list
};
static_assert(sizeof(Header) == 16);

constexpr uint16_t kLive = 0x11fe;
constexpr uint16_t kFree = 0xf4ee;
constexpr uint16_t kUnpooled = 0xffff;

// Classes: multiples of 16 up to 128 bytes, then four steps to each doubling, so at most a fifth of a block is unused.
constexpr unsigned kSmallClasses = 9;
constexpr unsigned kSmallBytesMax = 128;
constexpr unsigned kClasses =
    kSmallClasses + 4 * (std::bit_width(kPooledBlockBytesMax) - std::bit_width(kSmallBytesMax));

struct SizeClass {
  uint16_t index;
  size_t bytes;
};

SizeClass class_of(size_t bytes) {
  if (bytes > kPooledBlockBytesMax) return {kUnpooled, bytes};
  if (bytes <= kSmallBytesMax) {
    size_t steps = (bytes + 15) / 16;
    return {static_cast<uint16_t>(steps), steps * 16};
  }
  unsigned width = static_cast<unsigned>(std::bit_width(bytes - 1));
  size_t base = size_t{1} << (width - 1), step = base / 4;
  size_t steps = (bytes - base + step - 1) / step;
  unsigned first = kSmallClasses + 4 * (width - std::bit_width(kSmallBytesMax));
  return {static_cast<uint16_t>(first + steps - 1), base + steps * step};
}

// Counters have one writer, the owning thread, and are read by any; those of the shared tail have many writers.
struct Counters {
  std::atomic<int64_t> blocks_live{0}, bytes_live{0}, bytes_pooled{0}, heap_allocations{0}, heap_frees{0};
};

struct Pool {
  std::array<Header*, kClasses> free{};
  Counters counters;
  std::atomic<bool> owned{true};
  Pool* next = nullptr;
};

// Pools outlive their threads and are taken over by later ones, so that counters stay and nothing is freed twice.
constinit std::atomic<Pool*> all_pools{nullptr};
// What threads without a pool do: before their first pool exists, and in destructors that run after ours.
constinit Counters tail;

constinit thread_local Pool* thread_pool = nullptr;
constinit thread_local bool thread_ended = false;

void add(Pool* pool, std::atomic<int64_t> Counters::* counter, int64_t amount) {
  if (pool) {
    auto& value = pool->counters.*counter;
    value.store(value.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  } else {
    (tail.*counter).fetch_add(amount, std::memory_order_relaxed);
  }
}

void return_to_heap(Pool* pool, Header* block, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(block, bytes);
  std::free(block);
  add(pool, &Counters::heap_frees, 1);
}

size_t class_bytes(uint16_t index) {
  if (index < kSmallClasses) return size_t{16} * index;
  unsigned above = index - kSmallClasses;
  size_t base = size_t{kSmallBytesMax} << (above / 4);
  return base + (above % 4 + 1) * (base / 4);
}

void empty_pool(Pool* pool) {
  for (uint16_t index = 0; index < kClasses; ++index) {
    while (Header* block = pool->free[index]) {
      pool->free[index] = block->next;
      return_to_heap(pool, block, class_bytes(index));
    }
  }
  pool->counters.bytes_pooled.store(0, std::memory_order_relaxed);
}

// Gives the pool back when its thread ends. BoringSSL's own thread destructors run later and find no pool.
struct PoolGuard {
  bool armed = false;
  ~PoolGuard() {
    Pool* pool = thread_pool;
    thread_pool = nullptr;
    thread_ended = true;
    if (!pool) return;
    empty_pool(pool);
    pool->owned.store(false, std::memory_order_release);
  }
};

[[gnu::noinline]] Pool* make_pool() {
  if (thread_ended) return nullptr;
  static thread_local PoolGuard guard;
  guard.armed = true;
  for (Pool* pool = all_pools.load(std::memory_order_acquire); pool; pool = pool->next) {
    bool owned = false;
    if (pool->owned.compare_exchange_strong(owned, true, std::memory_order_acquire)) return thread_pool = pool;
  }
  void* memory = std::malloc(sizeof(Pool));
  BH_CHECK(memory != nullptr);
  Pool* pool = new (memory) Pool;
  pool->next = all_pools.load(std::memory_order_relaxed);
  while (!all_pools.compare_exchange_weak(pool->next, pool, std::memory_order_release, std::memory_order_relaxed)) {
  }
  return thread_pool = pool;
}

Pool* own_pool() {
  return thread_pool ? thread_pool : make_pool();
}

Header* header_of(const void* memory) {
  return reinterpret_cast<Header*>(const_cast<uint8_t*>(static_cast<const uint8_t*>(memory)) - sizeof(Header));
}

void count(const Counters& from, WipedMemoryStats& to) {
  auto get = [](const std::atomic<int64_t>& value) { return value.load(std::memory_order_relaxed); };
  to.blocks_live += get(from.blocks_live);
  to.bytes_live += get(from.bytes_live);
  to.bytes_pooled += get(from.bytes_pooled);
  to.heap_allocations += static_cast<uint64_t>(get(from.heap_allocations));
  to.heap_frees += static_cast<uint64_t>(get(from.heap_frees));
}

}  // namespace

void* wiped_allocate(size_t size) {
  BH_CHECK(size <= UINT32_MAX - sizeof(Header));
  Pool* pool = own_pool();
  SizeClass wanted = class_of(size + sizeof(Header));
  Header* block = nullptr;
  if (pool && wanted.index != kUnpooled && (block = pool->free[wanted.index])) {
    BH_CHECK(block->mark == kFree);
    pool->free[wanted.index] = block->next;
    add(pool, &Counters::bytes_pooled, -static_cast<int64_t>(wanted.bytes));
  } else {
    block = static_cast<Header*>(std::malloc(wanted.bytes));
    BH_CHECK(block != nullptr);
    add(pool, &Counters::heap_allocations, 1);
  }
  *block = {static_cast<uint32_t>(size), wanted.index, kLive, nullptr};
  add(pool, &Counters::blocks_live, 1);
  add(pool, &Counters::bytes_live, static_cast<int64_t>(wanted.bytes));
  uint8_t* payload = reinterpret_cast<uint8_t*>(block + 1);
  ASAN_UNPOISON_MEMORY_REGION(payload, size);
  ASAN_POISON_MEMORY_REGION(payload + size, wanted.bytes - sizeof(Header) - size);
  return payload;
}

void wiped_free(void* memory) {
  if (!memory) return;
  Header* block = header_of(memory);
  BH_CHECK(block->mark == kLive);
  wipe(memory, block->size);
  size_t bytes = block->size_class == kUnpooled ? block->size + sizeof(Header) : class_bytes(block->size_class);
  Pool* pool = own_pool();
  add(pool, &Counters::blocks_live, -1);
  add(pool, &Counters::bytes_live, -static_cast<int64_t>(bytes));
  block->mark = kFree;
  bool keep =
      pool && block->size_class != kUnpooled &&
      static_cast<size_t>(pool->counters.bytes_pooled.load(std::memory_order_relaxed)) + bytes <= kPooledBytesMax;
  if (!keep) return return_to_heap(pool, block, bytes);
  block->next = pool->free[block->size_class];
  pool->free[block->size_class] = block;
  add(pool, &Counters::bytes_pooled, static_cast<int64_t>(bytes));
  ASAN_POISON_MEMORY_REGION(memory, bytes - sizeof(Header));
}

size_t wiped_size(const void* memory) {
  const Header* block = header_of(memory);
  BH_CHECK(block->mark == kLive);
  return block->size;
}

WipedMemoryStats wiped_memory_stats_of_thread() {
  WipedMemoryStats stats;
  if (Pool* pool = own_pool()) count(pool->counters, stats);
  return stats;
}

WipedMemoryStats wiped_memory_stats() {
  WipedMemoryStats stats;
  count(tail, stats);
  for (Pool* pool = all_pools.load(std::memory_order_acquire); pool; pool = pool->next) count(pool->counters, stats);
  return stats;
}

}  // namespace bellhop

// BoringSSL looks for these names (weak references in its crypto/mem.c) and uses all three or none.
extern "C" {
void* OPENSSL_memory_alloc(size_t size);
void OPENSSL_memory_free(void* memory);
size_t OPENSSL_memory_get_size(void* memory);

void* OPENSSL_memory_alloc(size_t size) {
  constexpr size_t kBytesMax = size_t{1} << 30;  // above it, BoringSSL reports its own out-of-memory error
  return size <= kBytesMax ? bellhop::wiped_allocate(size) : nullptr;
}
void OPENSSL_memory_free(void* memory) {
  bellhop::wiped_free(memory);
}
size_t OPENSSL_memory_get_size(void* memory) {
  return bellhop::wiped_size(memory);
}
}
