// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace bellhop {

// Memory of coroutine frames: per-thread free lists by size class (multiples of 128 bytes up to 4 KB; larger frames
// come from the heap). A frame is wiped when it is freed, so that locals which the compiler spilled go too.
// A frame must be freed on the thread that made it; the reactor guarantees it.
struct FramePool {
  static void* allocate(size_t size);
  static void free(void* frame, size_t size);

  struct Stats {
    uint64_t frames_live = 0;
    uint64_t bytes_live = 0;
    uint64_t heap_calls = 0;  // calls of the operating system's allocator so far
  };
  static const Stats& stats();  // of the calling thread
};

}  // namespace bellhop
