// SPDX-License-Identifier: Apache-2.0
#include "core/tls/byte_queue.h"

#include <algorithm>

#include "core/base/check.h"
#include "core/tls/memory.h"

namespace bellhop {
namespace {

constexpr size_t kFirstBytes = 1024;

}  // namespace

void ByteQueue::append(Bytes bytes) {
  if (bytes.empty()) return;
  if (bytes.size() > capacity_ - end_) {
    size_t needed = size() + bytes.size();
    if (needed <= capacity_ && begin_ >= capacity_ / 2) {
      // The front half is free: one move, at most as long as what was consumed since the last.
      std::memmove(block_, block_ + begin_, size());
    } else {
      size_t capacity = std::max({kFirstBytes, needed, capacity_ * 2});
      auto* block = static_cast<uint8_t*>(wiped_allocate(capacity));
      if (!empty()) std::memcpy(block, block_ + begin_, size());
      wiped_free(block_);
      block_ = block;
      capacity_ = capacity;
    }
    end_ = size();
    begin_ = 0;
  }
  std::memcpy(block_ + end_, bytes.data(), bytes.size());
  end_ += bytes.size();
}

void ByteQueue::consume(size_t count) {
  BH_CHECK(count <= size());
  begin_ += count;
  if (begin_ == end_) clear();
}

void ByteQueue::clear() {
  wiped_free(block_);
  block_ = nullptr;
  capacity_ = begin_ = end_ = 0;
}

}  // namespace bellhop
