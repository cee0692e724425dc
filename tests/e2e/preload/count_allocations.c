// SPDX-License-Identifier: Apache-2.0
// For LD_PRELOAD: counts the calls of malloc and its kin (operator new among them) by the threads of the event loops, whose
// names begin with "bellhop-core". Used by allocations_test.py.
//
//   BELLHOP_ALLOCATIONS   a file of 4,096 bytes that is mapped: struct Page. Without it nothing is counted.
//
// While `armed` is not 0, the return addresses above the first kSitesMax allocations are noted, so that they can be found.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { kPageBytes = 4096, kDepth = 12, kSitesMax = 40 };

struct Page {
  _Atomic uint64_t armed;  // written by the test
  _Atomic uint64_t calls;  // since start; of the threads of the event loops
  _Atomic uint64_t threads;
  _Atomic uint64_t sites;    // noted, or left out for want of room
  uint64_t callers[kSitesMax][kDepth];
};
_Static_assert(sizeof(struct Page) <= kPageBytes, "fits into the file");

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static struct Page* _Atomic page;
static __thread int is_core __attribute__((tls_model("initial-exec")));
static __thread unsigned looked __attribute__((tls_model("initial-exec")));

__attribute__((constructor)) static void open_page(void) {
  const char* path = getenv("BELLHOP_ALLOCATIONS");
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* mapped = mmap(0, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED) return;
  page = mapped;
}

// A thread takes its name soon after its start: until it is one of the loops it is asked again, now and then.
static int on_core(void) {
  if (is_core) return 1;
  if (looked++ % 64 != 0) return 0;
  char name[16] = {0};
  if (pthread_getname_np(pthread_self(), name, sizeof name) != 0 || strncmp(name, "bellhop-core", 12) != 0) return 0;
  is_core = 1;
  atomic_fetch_add(&page->threads, 1);
  return 1;
}

// The program is built with frame pointers.
static void note_site(void) {
  uint64_t site = atomic_fetch_add(&page->sites, 1);
  if (site >= kSitesMax) return;
  uint64_t* frame = __builtin_frame_address(0);
  for (int i = 0; i < kDepth; ++i) {
    page->callers[site][i] = frame[1];
    uint64_t* above = (uint64_t*)frame[0];
    if (above <= frame || (char*)above - (char*)frame > 64 * 1024) return;
    frame = above;
  }
}

static void count(void) {
  if (!page || !on_core()) return;
  atomic_fetch_add(&page->calls, 1);
  if (page->armed) note_site();
}

EXPORT void* malloc(size_t size) {
  count();
  return __libc_malloc(size);
}
EXPORT void* calloc(size_t number, size_t size) {
  count();
  return __libc_calloc(number, size);
}
EXPORT void* realloc(void* old, size_t size) {
  count();
  return __libc_realloc(old, size);
}
EXPORT void* memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
EXPORT void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
EXPORT int posix_memalign(void** out, size_t alignment, size_t size) {
  void* memory = memalign(alignment, size);
  if (!memory) return ENOMEM;
  *out = memory;
  return 0;
}
