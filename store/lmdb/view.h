// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lmdb.h>

#include "store/error.h"
#include "store/tables.h"

namespace bellhop::store {

// LMDB's and errno's codes where the transaction can be given up and the store stays usable.
Error lmdb_error(int rc);
// The same after a failed begin or commit of a write transaction. Does not return where the disk failed: what is on it
// is then unknown, and only a new process, which reads the file again, can tell. It ends this one with kExitDiskFailed.
Error commit_error(int rc, MDB_env* env, const std::string& path);

// One cursor per table, opened when first needed. In a read transaction they rest between its renewals.
class LmdbCursors {
 public:
  ~LmdbCursors() { close(); }
  Result<MDB_cursor*> get(MDB_txn* transaction, MDB_dbi table, size_t index);
  void rest() { stale_ = ~uint32_t{0}; }  // each is renewed at its next use
  void close();

 private:
  static_assert(kTableCount <= 32);
  MDB_cursor* cursors_[kTableCount] = {};
  uint32_t stale_ = 0;
};

template <class View>
class LmdbView : public View {
 public:
  LmdbView(MDB_txn* transaction, const MDB_dbi* tables, LmdbCursors& cursors)
      : transaction_(transaction), tables_(tables), cursors_(cursors) {}

  Result<std::optional<Bytes>> get(Table table, Bytes key) override {
    MDB_val k{key.size(), const_cast<uint8_t*>(key.data())}, v;
    int rc = mdb_get(transaction_, tables_[size_t(table)], &k, &v);
    if (rc == MDB_NOTFOUND) return std::optional<Bytes>();
    if (rc != 0) return fail(lmdb_error(rc));
    return std::optional<Bytes>(bytes(v));
  }
  Result<std::optional<Entry>> seek(Table table, Bytes from) override {
    MDB_val k{from.size(), const_cast<uint8_t*>(from.data())};
    return move(table, k, from.empty() ? MDB_FIRST : MDB_SET_RANGE);
  }
  Result<std::optional<Entry>> last(Table table) override {
    MDB_val k{};
    return move(table, k, MDB_LAST);
  }
  Result<uint64_t> count(Table table) override {
    MDB_stat stat;
    if (int rc = mdb_stat(transaction_, tables_[size_t(table)], &stat); rc != 0) return fail(lmdb_error(rc));
    return uint64_t{stat.ms_entries};
  }

 protected:
  static Bytes bytes(const MDB_val& v) { return {static_cast<const uint8_t*>(v.mv_data), v.mv_size}; }
  Result<std::optional<Entry>> move(Table table, MDB_val& k, MDB_cursor_op operation) {
    BH_TRY(MDB_cursor * cursor, cursors_.get(transaction_, tables_[size_t(table)], size_t(table)));
    MDB_val v;
    int rc = mdb_cursor_get(cursor, &k, &v, operation);
    if (rc == MDB_NOTFOUND) return std::optional<Entry>();
    if (rc != 0) return fail(lmdb_error(rc));
    return std::optional<Entry>(Entry{bytes(k), bytes(v)});
  }
  MDB_txn* transaction_;
  const MDB_dbi* tables_;
  LmdbCursors& cursors_;
};

using LmdbReadView = LmdbView<ReadView>;

class LmdbWriteView : public LmdbView<WriteView> {
 public:
  using LmdbView::LmdbView;
  Status put(Table table, Bytes key, Bytes value) override;
  Status erase(Table table, Bytes key) override;
};

}  // namespace bellhop::store
