// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/base/error.h"

namespace bellhop::crypto {

// What an arena holds and what it could not do. Bytes unless named otherwise.
struct ArenaStats {
  size_t blocks_in_use = 0;        // live allocations
  size_t bytes_committed = 0;      // slabs made readable and writable
  size_t bytes_locked = 0;         // of these, locked into RAM
  int lock_errno = 0;              // the first failure of mlock, 0 if none; the usual cause is RLIMIT_MEMLOCK
  int64_t spills_in_use = 0;       // live allocations outside the slabs: too large, or the arena was full
  uint64_t spills_full_total = 0;  // allocations that had to go outside because the arena was full
};

// Memory for secrets: locked into RAM (best effort), left out of core dumps, wiped when freed.
//
// A reserved span of slabs, an unmapped guard page after every sixteen, each cut into blocks of one size (powers of two,
// 32 bytes to 32 KiB). Sixteen, because each guard page splits a mapping, and the kernel allows 65,530 of them. Bookkeeping lies outside the span, so that an overrun hits another secret or a guard page, never a
// list. Free blocks hold zeros only. Larger blocks, and all when `slabs_max` is reached, get a mapping of their own:
// not locked, but still left out of dumps, fenced by guard pages and wiped. Any thread may call; one short lock. Memory
// that cannot be had at all aborts.
class Arena {
 public:
  static constexpr size_t kSlabBytes = 64 * 1024;
  static constexpr size_t kGuardedSlabs = 16;
  static constexpr size_t kBlockBytesMin = 32;
  static constexpr size_t kBlockBytesMax = 32 * 1024;
  static constexpr size_t kClasses = 11;

  // Reserves address space for `slabs_max` slabs; memory is committed as needed.
  explicit Arena(size_t slabs_max);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();  // everything must have been freed

  // `size` > 0. The block is zeroed and aligned to 32 bytes.
  void* allocate(size_t size);
  // `size` as it was asked for.
  void deallocate(void* block, size_t size);

  bool contains(const void* pointer) const;
  ArenaStats stats() const;

 private:
  struct Slab {
    uint8_t size_class = 0;
    uint32_t in_use = 0;
    std::array<uint64_t, kSlabBytes / kBlockBytesMin / 64> used{};  // one bit a block
  };

  void* allocate_block(size_t size_class);
  bool open_slab(size_t size_class);
  bool commit_slab();
  void close_slab(uint32_t slab);
  void* spill(size_t size);
  void unspill(void* block, size_t size);
  uint8_t* slab_start(size_t slab) const;
  size_t slab_of(const void* block) const;

  mutable std::mutex mutex_;
  const size_t slabs_max_;
  uint8_t* span_ = nullptr;
  size_t span_bytes_ = 0;
  std::vector<Slab> slabs_;                              // the committed ones, up to slabs_max_
  std::array<std::vector<uint32_t>, kClasses> partial_;  // slabs of a class that have room
  std::vector<uint32_t> empty_;                          // committed slabs without a live block
  ArenaStats stats_;
};

// The process's arenas: one per thread (up to 16, then shared), 4 GiB of address space each: the keys of a core's cache
// are in them. A block may be freed by another thread.
inline constexpr size_t kProcessArenas = 16;
inline constexpr size_t kProcessArenaSlabs = 65'536;
void* secret_allocate(size_t size);
void secret_deallocate(void* block, size_t size);
// Sums over all arenas.
ArenaStats arena_stats();

// Allocator for containers that hold secrets for a moment: parsers' text, scratch. Memory comes from the arenas.
template <class T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <class U>
  WipingAllocator(const WipingAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(secret_allocate(n * sizeof(T))); }
  void deallocate(T* block, size_t n) { secret_deallocate(block, n * sizeof(T)); }
  friend bool operator==(const WipingAllocator&, const WipingAllocator&) { return true; }
};

template <class T>
using WipingVector = std::vector<T, WipingAllocator<T>>;
using WipingBytes = WipingVector<uint8_t>;

// Turns off core dumps and ptrace by the same user (RLIMIT_CORE 0, PR_SET_DUMPABLE 0). Errors: errno of the call that
// failed.
Status harden_process();

}  // namespace bellhop::crypto
