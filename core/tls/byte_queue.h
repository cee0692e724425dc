// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/bytes.h"

namespace bellhop {

// First in, first out, in one contiguous block of wiped memory that exists only while something is queued: an idle
// connection owns none. The caller bounds it. One core.
class ByteQueue {
 public:
  ByteQueue() = default;
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;
  ~ByteQueue() { clear(); }

  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  // What is queued, oldest first; valid until the next append, consume or clear.
  Bytes peek() const { return {block_ + begin_, end_ - begin_}; }
  void append(Bytes bytes);
  void consume(size_t count);  // count <= size()
  void clear();

 private:
  uint8_t* block_ = nullptr;  // capacity_ bytes of wiped_allocate
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace bellhop
