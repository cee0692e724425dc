// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "store/check.h"
#include "store/rows.h"
#include "tests/store/support.h"

namespace {

std::atomic<int> syncs_before_failure = 0, syncs_to_fail = 0, sync_error = 0;
std::atomic<uint64_t> sync_count = 0;
std::atomic<bool> disk_is_full = false;
std::atomic<int> root_error = 0;

constexpr off_t kRootsEnd = 2 * 4096;  // LMDB's two meta pages

}  // namespace

// LMDB's syncs come through here, so that tests can count them and let them fail.
extern "C" __attribute__((visibility("default"))) int fdatasync(int descriptor) {
  sync_count.fetch_add(1);
  if (syncs_to_fail.load() > 0 && syncs_before_failure.fetch_sub(1) <= 0) {
    syncs_to_fail.fetch_sub(1);
    errno = sync_error.load();
    return -1;
  }
  return int(syscall(SYS_fdatasync, descriptor));
}

// On a full disk a write of one page fails, and one of several comes through by half.
extern "C" __attribute__((visibility("default"))) ssize_t pwrite(int descriptor, const void* data, size_t size,
                                                                 off_t offset) {
  int error = disk_is_full.load() ? ENOSPC : offset < kRootsEnd ? root_error.load() : 0;
  if (error == 0) return syscall(SYS_pwrite64, descriptor, data, size, offset);
  errno = error;
  return -1;
}
extern "C" __attribute__((visibility("default"))) ssize_t writev(int descriptor, const iovec* parts, int count) {
  return syscall(SYS_writev, descriptor, parts, disk_is_full.load() ? (count + 1) / 2 : count);
}
extern "C" __attribute__((visibility("default"))) int fstatvfs(int, struct statvfs* info) noexcept {
  *info = {};
  info->f_frsize = 4096;
  info->f_bavail = disk_is_full.load() ? 0 : 1 << 20;
  return 0;
}

namespace bellhop::store {

void fill_disk(bool full) {
  disk_is_full = full;
}
void fail_root_writes(int error_number) {
  root_error = error_number;
}
void fail_syncs(int after, int count, int error_number) {
  syncs_before_failure = after;
  sync_error = error_number;
  syncs_to_fail = count;
}
uint64_t syncs_made() {
  return sync_count.load();
}

TestFolder::TestFolder() {
  std::string base = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : ::testing::TempDir();
  path_ = base + "/bellhop-store-XXXXXX";
  BH_CHECK(mkdtemp(path_.data()) != nullptr);
}

std::unique_ptr<LmdbStore> open_or_die(const std::string& file, uint64_t map_size) {
  auto store = LmdbStore::open({.path = file, .map_size = map_size});
  if (!store) {
    fprintf(stderr, "%s\n", store.error().text.c_str());
    abort();
  }
  return *std::move(store);
}

namespace {
Task<void> run_and_leave(TableStore& store, StoreFlow flow, unsigned core) {
  co_await flow(store, core);
  Status left = co_await store.leave_core();
  EXPECT_TRUE(left);
}
}  // namespace

void run_on(TableStore& store, unsigned cores, StoreFlow flow) {
  io::ClusterOptions options{.cores = cores, .connections_max = 16, .receive_buffers = 16};
  Status ran = io::run_cluster(options, [&](unsigned core) { return run_and_leave(store, flow, core); });
  ASSERT_TRUE(ran) << io::explain_start_failure(ran.error());
}

std::string all_rows(Engine& engine) {
  std::string text;
  Status status = engine.read([&](ReadView& view) -> Status {
    for (size_t t = 0; t < kTableCount; ++t) {
      BH_CHECKED(for_each(view, Table(t), [&](Bytes key, Bytes value) -> Result<bool> {
        text += std::string(table_name(Table(t))) + " " + to_hex(key) + " " + to_hex(value) + "\n";
        return true;
      }));
    }
    return {};
  });
  EXPECT_TRUE(status);
  return text;
}

void expect_clean(Engine& engine) {
  Result<CheckReport> report = check(engine);
  ASSERT_TRUE(report) << error_text(report.error());
  for (const std::string& problem : report->problems) ADD_FAILURE() << problem;
  EXPECT_TRUE(report->clean());
}

}  // namespace bellhop::store
