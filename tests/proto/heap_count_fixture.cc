// SPDX-License-Identifier: Apache-2.0
#include "tests/proto/heap_count_fixture.h"

#include <cstddef>

namespace {

thread_local uint64_t allocations = 0;

}  // namespace

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer) && !__has_feature(memory_sanitizer)

// glibc's own functions under their other names: the program's malloc stands before them and counts.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void __libc_free(void* memory);

__attribute__((visibility("default"))) void* malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
__attribute__((visibility("default"))) void* calloc(size_t count, size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
__attribute__((visibility("default"))) void* realloc(void* memory, size_t size) {
  ++allocations;
  return __libc_realloc(memory, size);
}
__attribute__((visibility("default"))) void free(void* memory) {
  __libc_free(memory);
}
}

namespace bellhop::test {
bool heap_is_counted() {
  return true;
}
}  // namespace bellhop::test

#else

namespace bellhop::test {
bool heap_is_counted() {
  return false;
}
}  // namespace bellhop::test

#endif

namespace bellhop::test {
uint64_t heap_allocations() {
  return allocations;
}
}  // namespace bellhop::test
