// SPDX-License-Identifier: Apache-2.0
#include "proto/text_arena.h"

#include <algorithm>
#include <cstring>

#include "core/base/bytes.h"

namespace bellhop::proto {
namespace {

constexpr size_t kFirstBlockBytes = 4096;
constexpr size_t kBlockBytesMax = 64 * 1024;

}  // namespace

std::string_view TextArena::store(std::string_view text) {
  if (text.empty()) return {};
  if (blocks_.empty() || blocks_.back().size - blocks_.back().used < text.size()) {
    size_t size = blocks_.empty() ? kFirstBlockBytes : std::min(2 * blocks_.back().size, kBlockBytesMax);
    size = std::max(size, text.size());
    blocks_.push_back({std::make_unique_for_overwrite<char[]>(size), size, 0});
  }
  Block& block = blocks_.back();
  char* at = block.memory.get() + block.used;
  std::memcpy(at, text.data(), text.size());
  block.used += text.size();
  return {at, text.size()};
}

void TextArena::clear() {
  for (Block& block : blocks_) {
    wipe(block.memory.get(), block.used);
    block.used = 0;
  }
  if (!blocks_.empty() && blocks_[0].size > kBlockBytesMax) blocks_.clear();
  if (blocks_.size() > 1) blocks_.resize(1);
}

}  // namespace bellhop::proto
