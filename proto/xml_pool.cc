// SPDX-License-Identifier: Apache-2.0
#include "proto/xml_pool.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace bellhop::proto {
namespace {

thread_local XmlPool* current_pool = nullptr;

}  // namespace

XmlPoolScope::XmlPoolScope(XmlPool& pool) : previous_(current_pool) {
  current_pool = &pool;
}
XmlPoolScope::~XmlPoolScope() {
  current_pool = previous_;
}
XmlPool* XmlPoolScope::current() {
  return current_pool;
}

XmlPool::~XmlPool() {
  BH_CHECK(blocks_in_use_ == 0 && !large_);
  wipe_from(0);
}

void* XmlPool::allocate(size_t size) {
  if (size > bytes_max_) return nullptr;
  size_t rounded = std::bit_ceil(size | (size_t(1) << kSmallestShift));
  uint32_t size_class = uint32_t(std::countr_zero(rounded)) - kSmallestShift;
  void* memory = size_class < kClassCount ? allocate_small(size_class) : allocate_large(size);
  if (memory) ++blocks_in_use_;
  return memory;
}

void* XmlPool::allocate_small(uint32_t size_class) {
  if (FreeBlock* block = free_[size_class]) {
    free_[size_class] = block->next;
    return block;
  }
  size_t block_bytes = sizeof(BlockHeader) + (size_t(1) << (size_class + kSmallestShift));
  if (chunk_index_ < chunks_.size() && chunk_used_ + block_bytes > kChunkBytes) {
    ++chunk_index_;
    chunk_used_ = 0;
  }
  if (chunk_index_ == chunks_.size()) {
    if (bytes_ + kChunkBytes > bytes_max_) return nullptr;
    chunks_.push_back(std::make_unique_for_overwrite<unsigned char[]>(kChunkBytes));
    bytes_ += kChunkBytes;
    chunk_used_ = 0;
  }
  unsigned char* at = chunks_[chunk_index_].get() + chunk_used_;
  chunk_used_ += block_bytes;
  auto* header = new (at) BlockHeader{this, uint32_t(1) << (size_class + kSmallestShift), size_class};
  return header + 1;
}

void* XmlPool::allocate_large(size_t size) {
  size_t whole = sizeof(LargeBlock) + sizeof(BlockHeader) + size;
  if (bytes_ + whole > bytes_max_) return nullptr;
  void* memory = std::malloc(whole);
  if (!memory) return nullptr;
  bytes_ += whole;
  auto* block = new (memory) LargeBlock{nullptr, large_};
  if (large_) large_->previous = block;
  large_ = block;
  auto* header = new (block + 1) BlockHeader{this, uint32_t(size), kLargeClass};
  return header + 1;
}

void* XmlPool::reallocate(void* memory, size_t size) {
  BlockHeader* header = header_of(memory);
  if (size <= header->size) return memory;
  void* larger = header->pool->allocate(size);
  if (!larger) return nullptr;
  std::memcpy(larger, memory, header->size);
  release(memory);
  return larger;
}

void XmlPool::release(void* memory) {
  if (!memory) return;
  BlockHeader* header = header_of(memory);
  XmlPool* pool = header->pool;
  BH_CHECK(pool->blocks_in_use_ > 0);
  --pool->blocks_in_use_;
  if (header->size_class == kLargeClass) return release_large(header);
  pool->free_[header->size_class] = new (memory) FreeBlock{pool->free_[header->size_class]};
}

void XmlPool::release_large(BlockHeader* header) {
  XmlPool* pool = header->pool;
  LargeBlock* block = reinterpret_cast<LargeBlock*>(header) - 1;
  (block->previous ? block->previous->next : pool->large_) = block->next;
  if (block->next) block->next->previous = block->previous;
  pool->bytes_ -= sizeof(LargeBlock) + sizeof(BlockHeader) + header->size;
  wipe(header + 1, header->size);
  std::free(block);
}

std::optional<XmlPool::Kept> XmlPool::keep() const {
  if (large_ || chunk_index_ > 0 || chunks_.empty()) return std::nullopt;
  Kept kept;
  kept.bytes_ = std::make_unique_for_overwrite<unsigned char[]>(chunk_used_);
  std::memcpy(kept.bytes_.get(), chunks_[0].get(), chunk_used_);
  kept.size_ = chunk_used_;
  kept.blocks_in_use_ = blocks_in_use_;
  kept.free_ = free_;
  return kept;
}

void XmlPool::restore(const Kept& kept, size_t bytes_kept) {
  BH_CHECK(bytes_kept >= kChunkBytes);
  while (large_) release_large(reinterpret_cast<BlockHeader*>(large_ + 1));
  wipe_from(kept.size_);
  std::memcpy(chunks_[0].get(), kept.bytes_.get(), kept.size_);
  while (chunks_.size() * kChunkBytes > bytes_kept) {
    chunks_.pop_back();
    bytes_ -= kChunkBytes;
  }
  chunk_index_ = 0;
  chunk_used_ = kept.size_;
  blocks_in_use_ = kept.blocks_in_use_;
  free_ = kept.free_;
}

// All that was ever cut from the chunks but for the first `kept` bytes.
void XmlPool::wipe_from(size_t kept) {
  for (size_t i = 0; i < chunks_.size() && i <= chunk_index_; ++i) {
    size_t end = i == chunk_index_ ? chunk_used_ : kChunkBytes;
    if (end > kept) wipe(chunks_[i].get() + kept, end - kept);
    kept = 0;
  }
}

}  // namespace bellhop::proto
