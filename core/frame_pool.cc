// SPDX-License-Identifier: Apache-2.0
#include "core/frame_pool.h"

#include <cstdlib>
#include <new>

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace bellhop {
namespace {

constexpr size_t kGrain = 128;
constexpr size_t kClasses = 32;

struct FreeFrame {
  FreeFrame* next;
};

struct ThreadFrames {
  FreeFrame* free[kClasses + 1] = {};
  FramePool::Stats stats;
  ~ThreadFrames() {
    for (FreeFrame*& list : free) {
      while (list) {
        FreeFrame* next = list->next;
        std::free(list);
        list = next;
      }
    }
  }
};

thread_local ThreadFrames thread_frames;

void* heap(size_t size) {
  void* memory = std::aligned_alloc(64, (size + 63) / 64 * 64);
  BH_CHECK(memory != nullptr);
  ++thread_frames.stats.heap_calls;
  return memory;
}

}  // namespace

void* FramePool::allocate(size_t size) {
  ThreadFrames& frames = thread_frames;
  ++frames.stats.frames_live;
  frames.stats.bytes_live += size;
  size_t index = (size + kGrain - 1) / kGrain;
  if (index > kClasses) return heap(size);
  if (FreeFrame* frame = frames.free[index]) {
    frames.free[index] = frame->next;
    return frame;
  }
  return heap(index * kGrain);
}

void FramePool::free(void* frame, size_t size) {
  ThreadFrames& frames = thread_frames;
  --frames.stats.frames_live;
  frames.stats.bytes_live -= size;
  wipe(frame, size);
  size_t index = (size + kGrain - 1) / kGrain;
  if (index > kClasses) {
    std::free(frame);
    return;
  }
  auto* head = static_cast<FreeFrame*>(frame);
  head->next = frames.free[index];
  frames.free[index] = head;
}

const FramePool::Stats& FramePool::stats() { return thread_frames.stats; }

}  // namespace bellhop
