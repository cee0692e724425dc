// SPDX-License-Identifier: Apache-2.0
#include "proto/wiping_buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

constexpr size_t kFirstCapacity = 256;

}  // namespace

void grow_wiped(std::string& text, size_t extra) {
  size_t needed = text.size() + extra;
  if (needed <= text.capacity()) return;
  std::string larger;
  larger.reserve(std::max(needed, text.capacity() * 2));
  larger.append(text);
  wipe(text);
  text.swap(larger);
}

WipingBuffer::WipingBuffer(WipingBuffer&& other) noexcept
    : memory_(std::move(other.memory_)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

WipingBuffer& WipingBuffer::operator=(WipingBuffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  memory_ = std::move(other.memory_);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

void WipingBuffer::reserve(size_t bytes) {
  if (bytes <= capacity_) return;
  size_t capacity = std::max({bytes, capacity_ * 2, kFirstCapacity});
  auto memory = std::make_unique_for_overwrite<uint8_t[]>(capacity);
  if (size_ > 0) std::memcpy(memory.get(), memory_.get(), size_);
  wipe(memory_.get(), size_);
  memory_ = std::move(memory);
  capacity_ = capacity;
}

void WipingBuffer::append(Bytes bytes) {
  if (bytes.empty()) return;
  reserve(size_ + bytes.size());
  std::memcpy(memory_.get() + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
}

void WipingBuffer::append_zeros(size_t count) {
  if (count == 0) return;
  reserve(size_ + count);
  std::memset(memory_.get() + size_, 0, count);
  size_ += count;
}

void WipingBuffer::truncate(size_t size) {
  BH_CHECK(size <= size_);
  wipe(mutable_bytes().subspan(size));
  size_ = size;
}

void WipingBuffer::clear() {
  truncate(0);
}

void WipingBuffer::release() {
  clear();
  memory_.reset();
  capacity_ = 0;
}

}  // namespace bellhop::proto
