// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace bellhop {

// Memory of everything that TLS and cryptography touch: pools per thread, by size class, wiped when a block is freed.
//
// BoringSSL calls these functions for each of its allocations (memory.cc defines OPENSSL_memory_alloc and its
// siblings; the library's record buffers, which use plain malloc as published, are bound to them at build time, see
// cmake/dependencies.cmake). A record in steady state therefore takes blocks from the pool and asks the OS heap for
// nothing, and no plaintext, key or credential stays behind in freed memory.
//
// Threads: any thread may free any block; it joins the pool of the thread that frees it, so no lock and no message is
// needed. Before a thread's first and after its last use (destructors at its exit) blocks go to the OS heap directly.
// Limits: a pool keeps at most kPooledBytesMax free bytes; blocks above kPooledBlockBytesMax are never kept.
inline constexpr size_t kPooledBlockBytesMax = 128 * 1024;
inline constexpr size_t kPooledBytesMax = 32 * 1024 * 1024;

// At least `size` bytes, aligned to 16, not zeroed. Out of memory aborts. `size` may be 0.
[[nodiscard]] void* wiped_allocate(size_t size);
// Wipes and frees. Null is allowed.
void wiped_free(void* memory);
// The size that wiped_allocate was asked for.
size_t wiped_size(const void* memory);

struct WipedMemoryStats {
  int64_t blocks_live = 0;        // handed out, not yet freed
  int64_t bytes_live = 0;         // their size, with headers and rounding up to the class
  int64_t bytes_pooled = 0;       // free, kept for the next use
  uint64_t heap_allocations = 0;  // calls to the OS heap since the start
  uint64_t heap_frees = 0;
};
// The calling thread's share. `live` counts what this thread took minus what it gave back: with frees on another
// thread the two shares must be added.
WipedMemoryStats wiped_memory_stats_of_thread();
// Sum over all threads, ended ones included. Exact only while no other thread allocates.
WipedMemoryStats wiped_memory_stats();

}  // namespace bellhop
