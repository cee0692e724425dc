// SPDX-License-Identifier: Apache-2.0
#include "store/lmdb/view.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>

#include "core/io.h"

namespace bellhop::store {

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

Error commit_error(int rc, const std::string& path) {
  Error error = lmdb_error(rc);
  bool harmless = is(error, StoreError::full) || is(error, StoreError::limit) || rc == ENOMEM || rc == MDB_READERS_FULL;
  if (harmless) return error;
  io::write_log(fmt::format(
      "store: {}: writing or syncing failed: {}. What is on the disk is now unknown, so bellhop stops here; nothing "
      "that was "
      "acknowledged is lost. Check the disk (dmesg, smartctl) and then the file (bellhop store check --store {}).\n",
      path, mdb_strerror(rc), path));
  std::abort();
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
