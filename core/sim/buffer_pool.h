// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "core/io.h"

namespace bellhop::sim {

class Chance;

// The receive buffers of one simulated core. A buffer that is not handed out is scribbled over, and poisoned under
// ASan, so that use after release shows up.
class BufferPool {
 public:
  explicit BufferPool(unsigned count) : buffers_(count) {}
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Any free buffer; -1 where all are held.
  int32_t take(Chance& chance);
  MutableBytes bytes(int32_t id) const;  // of a buffer that is held
  void release(int32_t id);
  size_t held() const { return held_; }

 private:
  struct Buffer {
    std::unique_ptr<uint8_t[]> memory;  // made at first use
    bool held = false;
  };
  std::vector<Buffer> buffers_;
  std::vector<int32_t> free_;   // made and not held
  size_t made_ = 0;
  size_t held_ = 0;
};

}  // namespace bellhop::sim
