// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "core/base/bytes.h"

namespace bellhop {

// A block of scratch memory of the calling thread, for bytes on their way in or out. Wiped up to what was used before it
// goes back; taken and returned on one thread. After warm-up no allocation: at most kKept blocks are kept.
class Block {
 public:
  static constexpr size_t kSize = 16 * 1024;
  static constexpr size_t kKept = 256;

  Block();  // takes one
  Block(Block&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)), used_(other.used_) {}
  Block& operator=(Block&&) = delete;
  ~Block();

  MutableBytes all() { return {memory_, kSize}; }
  // What to wipe: grows to the largest size named.
  void used(size_t size) { used_ = size > used_ ? size : used_; }

 private:
  uint8_t* memory_;
  size_t used_ = 0;
};

}  // namespace bellhop
