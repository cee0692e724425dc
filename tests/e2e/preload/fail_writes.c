// SPDX-License-Identifier: Apache-2.0
// For LD_PRELOAD: a disk under one file that is full or broken, on demand. Used by store_faults_test.py.
//
//   BELLHOP_FAULT_STORE  the file whose writes fail
//   BELLHOP_FAULT        a file; while it exists its first word says what fails:
//     full     writes fail with ENOSPC, and the file system says that nothing is free; the first two pages have their place
//              and can be written
//     short    the same, but writes of several pages are cut off in the middle, as on a disk that is just becoming full
//     sync     fdatasync, fsync and msync fail with EIO; what was written counts as lost
//     meta     writes of the first two pages, where LMDB keeps the roots of its trees, fail with EIO
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { kPage = 4096, kMetaEnd = 2 * kPage };

// The next definition of the function that stands here.
#define NEXT(type, name, ...)       \
  static type (*next)(__VA_ARGS__); \
  if (!next) *(void**)(&next) = dlsym(RTLD_NEXT, name)

static int is_store(int fd) {
  const char* path = getenv("BELLHOP_FAULT_STORE");
  struct stat store, this_one;
  return path && stat(path, &store) == 0 && fstat(fd, &this_one) == 0 && store.st_ino == this_one.st_ino &&
         store.st_dev == this_one.st_dev;
}

static int fault_is(const char* name) {
  const char* path = getenv("BELLHOP_FAULT");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return 0;
  char text[16] = {0};
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  return size > 0 && strncmp(text, name, strlen(name)) == 0;
}

static int refuse(int error) {
  errno = error;
  return -1;
}

// How much of a write comes through: `size`, less, or -1 with errno.
static ssize_t permitted(int fd, size_t size, off_t offset) {
  int before = errno;
  if (!is_store(fd)) return (ssize_t)size;
  int roots = offset < kMetaEnd;
  if (!roots && fault_is("full")) return refuse(ENOSPC);
  if (!roots && fault_is("short")) return size > kPage ? (ssize_t)(size / 2 / kPage * kPage) : refuse(ENOSPC);
  if (roots && fault_is("meta")) return refuse(EIO);
  errno = before;
  return (ssize_t)size;
}

static int sync_fails(int fd) {
  int before = errno;
  int fails = is_store(fd) && fault_is("sync");
  errno = fails ? EIO : before;
  return fails;
}

EXPORT ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  NEXT(ssize_t, "pwrite", int, const void*, size_t, off_t);
  ssize_t through = permitted(fd, size, offset);
  return through < 0 ? -1 : next(fd, data, (size_t)through, offset);
}

EXPORT ssize_t pwrite64(int fd, const void* data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); }

EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  NEXT(ssize_t, "writev", int, const struct iovec*, int);
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  ssize_t through = permitted(fd, size, is_store(fd) ? lseek(fd, 0, SEEK_CUR) : 0);
  if (through < 0) return -1;
  if ((size_t)through == size) return next(fd, parts, count);
  ssize_t written = 0;
  for (int i = 0; i < count && written < through; ++i) {
    size_t room = (size_t)(through - written);
    struct iovec part = {parts[i].iov_base, parts[i].iov_len < room ? parts[i].iov_len : room};
    ssize_t done = next(fd, &part, 1);
    if (done < 0) return written > 0 ? written : -1;
    written += done;
  }
  return written;
}

EXPORT int fdatasync(int fd) {
  NEXT(int, "fdatasync", int);
  return sync_fails(fd) ? -1 : next(fd);
}

EXPORT int fsync(int fd) {
  NEXT(int, "fsync", int);
  return sync_fails(fd) ? -1 : next(fd);
}

EXPORT int msync(void* address, size_t size, int flags) {
  NEXT(int, "msync", void*, size_t, int);
  if (fault_is("sync")) return refuse(EIO);
  return next(address, size, flags);
}

EXPORT int fstatvfs(int fd, struct statvfs* info) {
  NEXT(int, "fstatvfs", int, struct statvfs*);
  int result = next(fd, info);
  if (result == 0 && is_store(fd) && (fault_is("full") || fault_is("short"))) info->f_bavail = 0;
  return result;
}
