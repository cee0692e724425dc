// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lmdb.h>

#include <atomic>
#include <expected>
#include <memory>
#include <string>

#include "store/tables.h"

namespace bellhop::store {

struct LmdbOptions {
  std::string path;                 // the file; its folder exists. A second file, path + "-lock", lies beside it
  uint64_t map_size = 64ull << 30;  // bytes of address space and the file's greatest size; sparse
  // A store of an earlier schema version is taken over. False: it is refused, and stays as it is, for a program of that
  // version is using it.
  bool upgrade = true;
};

// The exit code of a process whose disk failed while the store was being written.
inline constexpr int kExitDiskFailed = 3;

// Why a store could not be opened: for programs, and the whole message for the operator (path, reason, what to do).
struct OpenFailure {
  Error error;
  std::string text;
};

// An open LMDB file: default sync flags, mode 0600, one named database per Table. Reads on a core use that core's own
// transaction, reset and renewed; reads elsewhere begin one. At most one LmdbEnvironment per file and process (LMDB's
// rule: closing one descriptor drops the other's locks); several processes may have it open.
class LmdbEnvironment : public Engine {
 public:
  static std::expected<std::unique_ptr<LmdbEnvironment>, OpenFailure> open(const LmdbOptions& options);
  ~LmdbEnvironment() override;

  Status read(FunctionRef<Status(ReadView&)> f) override;
  Status write(FunctionRef<Status(WriteView&)> f) override;

  // Frees the slots of readers whose processes died; they would keep old pages from being used again. Any thread.
  Result<unsigned> clear_stale_readers();

  Result<FileUse> file_use() override;
  uint64_t commits() const { return commits_.load(std::memory_order_relaxed); }  // write transactions with changes

  // Reads up to `size` bytes of the file from `offset` on, so that the page cache has them. Blocking. 0 at the end.
  Result<size_t> read_ahead(uint64_t offset, size_t size);

 private:
  LmdbEnvironment() = default;
  Status create_tables(bool upgrade);
  class Reader;
  static constexpr size_t kCoresMax = 256;

  MDB_env* env_ = nullptr;
  MDB_dbi tables_[kTableCount] = {};
  std::unique_ptr<Reader> readers_[kCoresMax];  // each made and used by its own core
  std::atomic<uint64_t> commits_{0};
  std::string path_;
  std::pair<uint64_t, uint64_t> identity_;  // device and inode
};

}  // namespace bellhop::store
