// SPDX-License-Identifier: Apache-2.0
#include "core/stream/block_pool.h"

#include <cstdlib>

#include "core/base/check.h"

namespace bellhop {
namespace {

struct Pool {
  uint8_t* blocks[Block::kKept];
  size_t count = 0;
  ~Pool() {
    while (count > 0) std::free(blocks[--count]);
  }
};
thread_local Pool pool;

}  // namespace

Block::Block() {
  memory_ = pool.count > 0 ? pool.blocks[--pool.count] : static_cast<uint8_t*>(std::malloc(kSize));
  BH_CHECK(memory_ != nullptr);
}

Block::~Block() {
  if (!memory_) return;
  wipe(memory_, used_);
  if (pool.count < kKept) {
    pool.blocks[pool.count++] = memory_;
  } else {
    std::free(memory_);
  }
}

}  // namespace bellhop
