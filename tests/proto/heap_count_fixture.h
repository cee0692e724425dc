// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace bellhop::test {

// How often this thread has asked the heap for memory since it started (malloc, calloc, realloc, operator new).
// Not available under a sanitizer, which has its own heap.
uint64_t heap_allocations();
bool heap_is_counted();

}  // namespace bellhop::test
