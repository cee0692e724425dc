// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace bellhop::proto {

// Keeps the texts of one message. Views stay valid, wherever it grows, until clear(), which wipes what was stored and
// keeps the first block, so that small messages need no heap after the first. Bounded by what its owner stores (the
// document).
class TextArena {
 public:
  TextArena() = default;
  TextArena(const TextArena&) = delete;
  TextArena& operator=(const TextArena&) = delete;
  ~TextArena() { clear(); }

  std::string_view store(std::string_view text);
  void clear();

 private:
  struct Block {
    std::unique_ptr<char[]> memory;
    size_t size = 0;
    size_t used = 0;
  };
  std::vector<Block> blocks_;
};

}  // namespace bellhop::proto
