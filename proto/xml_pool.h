// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace bellhop::proto {

// The memory of one Expat parser: blocks of power-of-two sizes from chunks that stay, with a free list per size; larger
// blocks come from the heap and go back to it. Bounded: allocate() gives null past `bytes_max`. Internal to the XML
// reader, one core.
//
// keep() copies what the pool holds, and restore() brings it back: a parser that was made once is new again for the price
// of a copy, since all it has are blocks of the pool, which come back to where they were. What was written since is wiped,
// by restore() for all small blocks at once, and in large ones when they are freed.
//
// Expat's memory functions carry no context, so the pool that serves them is the one named by the innermost
// XmlPoolScope of the thread; a block knows its pool.
class XmlPool {
 public:
  explicit XmlPool(size_t bytes_max) : bytes_max_(bytes_max) {}
  XmlPool(const XmlPool&) = delete;
  XmlPool& operator=(const XmlPool&) = delete;
  ~XmlPool();

  void* allocate(size_t size);
  static void* reallocate(void* memory, size_t size);
  static void release(void* memory);

  // What is in use now; of this pool alone, which must not die before it.
  class Kept;
  // Nothing where there are large blocks or a second chunk.
  std::optional<Kept> keep() const;
  // The pool as it was then: blocks made since are gone, those freed since are back. Chunks beyond the first `bytes_kept`
  // bytes go to the heap.
  void restore(const Kept& kept, size_t bytes_kept);

  size_t bytes() const { return bytes_; }
  size_t blocks_in_use() const { return blocks_in_use_; }

 private:
  static constexpr size_t kChunkBytes = 32 * 1024;
  static constexpr uint32_t kSmallestShift = 5;  // 32 bytes
  static constexpr uint32_t kClassCount = 9;     // ... 8 KiB
  static constexpr uint32_t kLargeClass = kClassCount;

  struct alignas(16) BlockHeader {
    XmlPool* pool;
    uint32_t size;        // of the memory behind the header
    uint32_t size_class;  // kLargeClass: from the heap
  };
  struct FreeBlock {
    FreeBlock* next;
  };
  struct alignas(16) LargeBlock {  // before the header of a large block
    LargeBlock* previous;
    LargeBlock* next;
  };
  static BlockHeader* header_of(void* memory) { return static_cast<BlockHeader*>(memory) - 1; }
  void* allocate_small(uint32_t size_class);
  void* allocate_large(size_t size);
  static void release_large(BlockHeader* header);
  void wipe_from(size_t kept);

  size_t bytes_max_;
  size_t bytes_ = 0;  // taken from the heap
  size_t blocks_in_use_ = 0;
  std::array<FreeBlock*, kClassCount> free_{};
  std::vector<std::unique_ptr<unsigned char[]>> chunks_;
  size_t chunk_index_ = 0;  // the chunk that blocks are cut from
  size_t chunk_used_ = 0;
  LargeBlock* large_ = nullptr;
};

class XmlPool::Kept {
  friend XmlPool;
  std::unique_ptr<unsigned char[]> bytes_;  // the beginning of the first chunk
  size_t size_ = 0;
  size_t blocks_in_use_ = 0;
  std::array<FreeBlock*, kClassCount> free_{};
};

// While it lives, allocations of Expat on this thread come from `pool`.
class XmlPoolScope {
 public:
  explicit XmlPoolScope(XmlPool& pool);
  XmlPoolScope(const XmlPoolScope&) = delete;
  XmlPoolScope& operator=(const XmlPoolScope&) = delete;
  ~XmlPoolScope();

  static XmlPool* current();

 private:
  XmlPool* previous_;
};

}  // namespace bellhop::proto
