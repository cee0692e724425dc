// SPDX-License-Identifier: Apache-2.0
// For LD_PRELOAD: a disk that only says that it has written. fdatasync and fsync return at once, without a system call.
// Used by durability_test.py, whose check must then fail.

#define EXPORT __attribute__((visibility("default")))

EXPORT int fdatasync(int fd) {
  (void)fd;
  return 0;
}

EXPORT int fsync(int fd) {
  (void)fd;
  return 0;
}
