// SPDX-License-Identifier: Apache-2.0
#include "store/lmdb/view.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "core/io.h"
#include "store/lmdb/environment.h"

namespace bellhop::store {
namespace {

// More than the greatest commit writes: with less, a commit may be cut off in the middle.
constexpr uint64_t kFreeBytesMin = 4 << 20;

bool file_system_full(MDB_env* env) {
  int descriptor = -1;
  struct statvfs info;
  if (mdb_env_get_fd(env, &descriptor) != 0 || ::fstatvfs(descriptor, &info) != 0) return false;
  return uint64_t{info.f_bavail} * info.f_frsize < kFreeBytesMin;
}

// False once LMDB has given up the environment: it could not write the roots of its trees.
bool still_usable(MDB_env* env) {
  MDB_txn* transaction = nullptr;
  int rc = mdb_txn_begin(env, nullptr, MDB_RDONLY, &transaction);
  if (rc == 0) mdb_txn_abort(transaction);
  return rc != MDB_PANIC;
}

[[noreturn]] void end_process(int rc, const std::string& path) {
  WallTime now = io::wall_now();
  io::write_log(fmt::format("{{\"time\":\"{:%Y-%m-%dT%H:%M:%S}Z\",\"level\":\"error\",\"event\":\"store_broken\","
                            "\"error\":\"{}\"}}\n",
                            fmt::gmtime(std::chrono::floor<std::chrono::seconds>(now)), mdb_strerror(rc)));
  fmt::print(stderr,
             "error: {}: writing or syncing failed: {}. What is on the disk is now unknown, so bellhop stops here; "
             "nothing that was acknowledged is lost. Check the disk (dmesg, smartctl), then the file (bellhop store "
             "check), and start bellhop again.\n",
             path, mdb_strerror(rc));
  std::fflush(stderr);
  std::_Exit(kExitDiskFailed);
}

}  // namespace

Error lmdb_error(int rc) {
  switch (rc) {
    case MDB_MAP_FULL:
      return store_error(StoreError::full);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return store_error(StoreError::full, uint32_t(rc));
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_BAD_DBI:
    case MDB_INCOMPATIBLE:
      return store_error(StoreError::corrupt, kTableCount);
    case MDB_TXN_FULL:
      return store_error(StoreError::limit);
    case MDB_READERS_FULL:
      return store_error(StoreError::queue_full);
    default:
      return store_error(StoreError::input_output, rc > 0 ? uint32_t(rc) : 0);
  }
}

Error commit_error(int rc, MDB_env* env, const std::string& path) {
  // LMDB calls it EIO where a disk that becomes full takes only a part of a write. The pages belong to a transaction that
  // is given up, so nothing is lost where it was a real fault of the disk after all.
  if (rc == EIO && file_system_full(env)) rc = ENOSPC;
  Error error = lmdb_error(rc);
  bool harmless = is(error, StoreError::full) || is(error, StoreError::limit) || rc == ENOMEM || rc == MDB_READERS_FULL;
  if (harmless && still_usable(env)) return error;
  end_process(rc, path);
}

Result<MDB_cursor*> LmdbCursors::get(MDB_txn* transaction, MDB_dbi table, size_t index) {
  MDB_cursor*& cursor = cursors_[index];
  uint32_t bit = uint32_t{1} << index;
  int rc = 0;
  if (!cursor) {
    rc = mdb_cursor_open(transaction, table, &cursor);
  } else if (stale_ & bit) {
    rc = mdb_cursor_renew(transaction, cursor);
  }
  if (rc != 0) return fail(lmdb_error(rc));
  stale_ &= ~bit;
  return cursor;
}

void LmdbCursors::close() {
  for (MDB_cursor*& cursor : cursors_) {
    if (cursor) mdb_cursor_close(cursor);
    cursor = nullptr;
  }
}

Status LmdbWriteView::put(Table table, Bytes key, Bytes value) {
  ++changes_;
  BH_CHECK(!key.empty() && key.size() <= kKeySizeMax);
  MDB_val k{key.size(), const_cast<uint8_t*>(key.data())};
  MDB_val v{value.size(), const_cast<uint8_t*>(value.data())};
  // Rising keys are appended: LMDB then fills each page instead of leaving it half empty at the split.
  if (table == Table::keys || table == Table::hot) {
    int rc = mdb_put(transaction_, tables_[size_t(table)], &k, &v, MDB_APPEND);
    if (rc == 0) return {};
    if (rc != MDB_KEYEXIST) return fail(lmdb_error(rc));
  }
  if (int rc = mdb_put(transaction_, tables_[size_t(table)], &k, &v, 0); rc != 0) return fail(lmdb_error(rc));
  return {};
}

Status LmdbWriteView::erase(Table table, Bytes key) {
  ++changes_;
  MDB_val k{key.size(), const_cast<uint8_t*>(key.data())};
  int rc = mdb_del(transaction_, tables_[size_t(table)], &k, nullptr);
  if (rc != 0 && rc != MDB_NOTFOUND) return fail(lmdb_error(rc));
  return {};
}

}  // namespace bellhop::store
