// SPDX-License-Identifier: Apache-2.0
#include "core/sim/buffer_pool.h"

#include <cstring>

#include "core/sim/chance.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace bellhop::sim {
namespace {

constexpr int kScribble = 0xdb;

}  // namespace

BufferPool::~BufferPool() {
  for (Buffer& buffer : buffers_) {
    if (buffer.memory) ASAN_UNPOISON_MEMORY_REGION(buffer.memory.get(), io::kReceiveBufferSize);
  }
}

int32_t BufferPool::take(Chance& chance) {
  if (free_.empty()) {
    if (made_ == buffers_.size()) return -1;
    buffers_[made_].memory = std::make_unique<uint8_t[]>(io::kReceiveBufferSize);
    free_.push_back(static_cast<int32_t>(made_++));
  }
  std::swap(free_[chance.below(free_.size())], free_.back());
  int32_t id = free_.back();
  free_.pop_back();
  Buffer& buffer = buffers_[static_cast<size_t>(id)];
  buffer.held = true;
  ++held_;
  ASAN_UNPOISON_MEMORY_REGION(buffer.memory.get(), io::kReceiveBufferSize);
  std::memset(buffer.memory.get(), kScribble, io::kReceiveBufferSize);
  return id;
}

MutableBytes BufferPool::bytes(int32_t id) const {
  BH_CHECK(id >= 0 && static_cast<size_t>(id) < buffers_.size());
  const Buffer& buffer = buffers_[static_cast<size_t>(id)];
  BH_CHECK(buffer.held);
  return {buffer.memory.get(), io::kReceiveBufferSize};
}

void BufferPool::release(int32_t id) {
  MutableBytes memory = bytes(id);
  std::memset(memory.data(), kScribble, memory.size());
  ASAN_POISON_MEMORY_REGION(memory.data(), memory.size());
  buffers_[static_cast<size_t>(id)].held = false;
  --held_;
  free_.push_back(id);
}

}  // namespace bellhop::sim
