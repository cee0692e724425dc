// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/bytes.h"

namespace bellhop::proto {

// Makes room for `extra` more bytes. Where the string has to move, its old memory is wiped before it is freed; a plain
// append() would leave a copy behind. For texts that may hold a credential.
void grow_wiped(std::string& text, size_t extra);

// Growing bytes that never leave a copy behind: memory is wiped when it moves, is cleared or dies. Not bounded by
// itself; its users are.
class WipingBuffer {
 public:
  WipingBuffer() = default;
  WipingBuffer(WipingBuffer&& other) noexcept;
  WipingBuffer& operator=(WipingBuffer&& other) noexcept;
  ~WipingBuffer() { release(); }

  void append(Bytes bytes);
  void append(std::string_view text) { append(as_bytes(text)); }
  // Wipes what was used and keeps the memory.
  void clear();
  // Wipes and gives the memory back.
  void release();
  // Capacity is at least `bytes` afterwards.
  void reserve(size_t bytes);
  // Wipes what is behind the first `size` bytes, which there must be.
  void truncate(size_t size);
  // Appends `count` zero bytes.
  void append_zeros(size_t count);

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  const uint8_t* data() const { return memory_.get(); }
  // Valid until the next append(), clear() or release().
  Bytes bytes() const { return {memory_.get(), size_}; }
  MutableBytes mutable_bytes() { return {memory_.get(), size_}; }
  std::string_view text() const { return as_text(bytes()); }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace bellhop::proto
