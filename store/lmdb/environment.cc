// SPDX-License-Identifier: Apache-2.0
#include "store/lmdb/environment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>

#include "core/reactor.h"
#include "store/lmdb/view.h"
#include "store/operations.h"

namespace bellhop::store {
namespace {

constexpr unsigned kReadersMax = 512;  // cores of all processes that have the file open, and tools
constexpr mode_t kFileMode = 0600;

// Which files this process has open. LMDB's locks break where one file is opened twice.
std::mutex open_files_mutex;
std::set<std::pair<uint64_t, uint64_t>>& open_files() {
  static std::set<std::pair<uint64_t, uint64_t>> files;
  return files;
}

std::pair<uint64_t, uint64_t> identity_of(const struct stat& info) {
  return {info.st_dev, info.st_ino};
}

std::unexpected<OpenFailure> refuse(StoreError code, uint32_t detail, std::string text) {
  return std::unexpected(OpenFailure{store_error(code, detail), std::move(text)});
}

std::string advice_for(int rc, const LmdbOptions& options) {
  switch (rc) {
    case ENOENT:
      return "create its folder, or correct store.path";
    case EACCES:
    case EPERM:
      return "give the file and its folder to the user that runs bellhop (chown)";
    case ENOSPC:
      return "free space on its file system";
    case ENOMEM:
      return fmt::format("store.map_size_bytes asks for {} bytes of address space; lower it, or raise `ulimit -v`",
                         options.map_size);
    case MDB_INVALID:
      return "this is not a bellhop store; correct store.path, or move the file away";
    case MDB_VERSION_MISMATCH:
      return "the file was made by another version of LMDB; dump it there and load it here";
    default:
      return "see the reason; `bellhop store check` tells whether the file is whole";
  }
}

std::unexpected<OpenFailure> refuse_lmdb(int rc, const LmdbOptions& options) {
  StoreError code = rc == ENOSPC || rc == MDB_MAP_FULL ? StoreError::full : StoreError::input_output;
  return refuse(
      code, rc > 0 ? uint32_t(rc) : 0,
      fmt::format("cannot open the store {}: {}; {}", options.path, mdb_strerror(rc), advice_for(rc, options)));
}

// The file may be missing: it is made. Where it exists it must be ours alone.
std::expected<void, OpenFailure> inspect_file(const LmdbOptions& options) {
  struct stat info;
  if (::stat(options.path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return refuse_lmdb(errno, options);
  }
  if (!S_ISREG(info.st_mode)) {
    return refuse(
        StoreError::input_output, EINVAL,
        fmt::format("cannot open the store {}: not a regular file; store.path names the file itself", options.path));
  }
  if (info.st_mode & 077) {
    return refuse(StoreError::input_output, EPERM,
                  fmt::format("cannot open the store {}: others may read or write it (mode {:04o}); run `chmod 600 {}`",
                              options.path, info.st_mode & 07777, options.path));
  }
  std::lock_guard lock(open_files_mutex);
  if (open_files().contains(identity_of(info))) {
    return refuse(
        StoreError::conflict, 0,
        fmt::format("cannot open the store {}: this process has it open already; open it once", options.path));
  }
  return {};
}

std::string schema_text(const Error& error, const LmdbOptions& options) {
  if (!is(error, StoreError::schema_unknown)) {
    return fmt::format("cannot open the store {}: {}; `bellhop store check` tells more", options.path,
                       error_text(error));
  }
  if (error.detail == 0) {
    return fmt::format(
        "cannot open the store {}: it holds data but no schema version; it is not a bellhop store, move it away",
        options.path);
  }
  if (error.detail < kSchemaVersion && error.detail >= kSchemaVersionOldest) {
    return fmt::format(
        "cannot open the store {}: a bellhopd that knows schema version {} only is using it, and this one would make it "
        "version {}; stop that one first",
        options.path, error.detail, kSchemaVersion);
  }
  return fmt::format(
      "cannot open the store {}: schema version {} is unknown, this bellhop knows {}; run the bellhop that "
      "wrote it, or upgrade bellhop",
      options.path, error.detail, kSchemaVersion);
}

}  // namespace

// One core's read transaction and cursors, kept between reads.
class LmdbEnvironment::Reader {
 public:
  Reader(MDB_env* env, const MDB_dbi* tables) : env_(env), tables_(tables) {}
  ~Reader() {
    cursors_.close();
    if (transaction_) mdb_txn_abort(transaction_);
  }

  Status run(FunctionRef<Status(ReadView&)> f) {
    BH_CHECK(!busy_);
    int rc = transaction_ ? mdb_txn_renew(transaction_) : mdb_txn_begin(env_, nullptr, MDB_RDONLY, &transaction_);
    if (rc != 0) return fail(lmdb_error(rc));
    busy_ = true;
    LmdbReadView view(transaction_, tables_, cursors_);
    Status status = f(view);
    cursors_.rest();
    mdb_txn_reset(transaction_);
    busy_ = false;
    return status;
  }

 private:
  MDB_env* env_;
  const MDB_dbi* tables_;
  MDB_txn* transaction_ = nullptr;
  LmdbCursors cursors_;
  bool busy_ = false;
};

std::expected<std::unique_ptr<LmdbEnvironment>, OpenFailure> LmdbEnvironment::open(const LmdbOptions& options) {
  if (auto fine = inspect_file(options); !fine) return std::unexpected(fine.error());
  std::unique_ptr<LmdbEnvironment> self(new LmdbEnvironment);
  self->path_ = options.path;
  int rc = mdb_env_create(&self->env_);
  if (rc != 0) return refuse_lmdb(rc, options);
  rc = mdb_env_set_mapsize(self->env_, options.map_size);
  if (rc == 0) rc = mdb_env_set_maxdbs(self->env_, kTableCount);
  if (rc == 0) rc = mdb_env_set_maxreaders(self->env_, kReadersMax);
  // NOTLS binds readers to cores and not to threads. No NOMEMINIT: unset memory must not reach the disk.
  if (rc == 0) rc = mdb_env_open(self->env_, options.path.c_str(), MDB_NOSUBDIR | MDB_NOTLS, kFileMode);
  if (rc != 0) {
    mdb_env_close(std::exchange(self->env_, nullptr));
    return refuse_lmdb(rc, options);
  }
  int descriptor = -1;
  struct stat info;
  if (mdb_env_get_fd(self->env_, &descriptor) == 0 && ::fstat(descriptor, &info) == 0) {
    std::lock_guard lock(open_files_mutex);
    self->identity_ = identity_of(info);
    open_files().insert(self->identity_);
  }
  if (Result<unsigned> cleared = self->clear_stale_readers(); !cleared) {
    return std::unexpected(OpenFailure{cleared.error(), schema_text(cleared.error(), options)});
  }
  if (Status made = self->create_tables(options.upgrade); !made) {
    return std::unexpected(OpenFailure{made.error(), schema_text(made.error(), options)});
  }
  return self;
}

LmdbEnvironment::~LmdbEnvironment() {
  for (auto& reader : readers_) reader.reset();
  if (!env_) return;
  mdb_env_close(env_);
  std::lock_guard lock(open_files_mutex);
  open_files().erase(identity_);
}

Status LmdbEnvironment::create_tables(bool upgrade) {
  MDB_txn* transaction = nullptr;
  if (int rc = mdb_txn_begin(env_, nullptr, 0, &transaction); rc != 0) return fail(lmdb_error(rc));
  for (size_t t = 0; t < kTableCount; ++t) {
    if (int rc = mdb_dbi_open(transaction, kTableNames[t], MDB_CREATE, &tables_[t]); rc != 0) {
      mdb_txn_abort(transaction);
      return fail(lmdb_error(rc));
    }
  }
  LmdbCursors cursors;
  LmdbWriteView view(transaction, tables_, cursors);
  Status status = operations::prepare_schema(view, upgrade);
  cursors.close();
  if (!status) {
    mdb_txn_abort(transaction);  // an unknown file stays as it was
    return status;
  }
  if (int rc = mdb_txn_commit(transaction); rc != 0) return fail(commit_error(rc, env_, path_));
  return {};
}

Status LmdbEnvironment::read(FunctionRef<Status(ReadView&)> f) {
  Reactor* reactor = Reactor::current_or_null();
  if (!reactor) return Reader(env_, tables_).run(f);
  BH_CHECK(reactor->core() < kCoresMax);
  auto& reader = readers_[reactor->core()];
  if (!reader) reader = std::make_unique<Reader>(env_, tables_);
  return reader->run(f);
}

Status LmdbEnvironment::write(FunctionRef<Status(WriteView&)> f) {
  MDB_txn* transaction = nullptr;
  if (int rc = mdb_txn_begin(env_, nullptr, 0, &transaction); rc != 0) return fail(commit_error(rc, env_, path_));
  LmdbCursors cursors;
  LmdbWriteView view(transaction, tables_, cursors);
  Status status = f(view);
  cursors.close();
  if (!status || view.changes() == 0) {
    mdb_txn_abort(transaction);
    return status;
  }
  if (int rc = mdb_txn_commit(transaction); rc != 0) return fail(commit_error(rc, env_, path_));
  commits_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Result<unsigned> LmdbEnvironment::clear_stale_readers() {
  int dead = 0;
  if (int rc = mdb_reader_check(env_, &dead); rc != 0) return fail(lmdb_error(rc));
  return unsigned(dead);
}

Result<FileUse> LmdbEnvironment::file_use() {
  MDB_envinfo info;
  MDB_stat stat;
  mdb_env_info(env_, &info);
  mdb_env_stat(env_, &stat);
  FileUse use{.file_bytes = (info.me_last_pgno + 1) * stat.ms_psize, .map_bytes = info.me_mapsize};
  uint64_t pages = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages + 2;  // and the two meta pages
  MDB_txn* transaction = nullptr;
  if (int rc = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &transaction); rc != 0) return fail(lmdb_error(rc));
  for (MDB_dbi table : tables_) {
    if (int rc = mdb_stat(transaction, table, &stat); rc != 0) {
      mdb_txn_abort(transaction);
      return fail(lmdb_error(rc));
    }
    pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
  }
  mdb_txn_abort(transaction);
  use.table_bytes = pages * stat.ms_psize;
  return use;
}

Result<size_t> LmdbEnvironment::read_ahead(uint64_t offset, size_t size) {
  int descriptor = -1;
  mdb_env_get_fd(env_, &descriptor);
  std::vector<uint8_t> scratch(std::min<size_t>(size, 1 << 20));
  size_t done = 0;
  while (done < size) {
    ssize_t n = ::pread(descriptor, scratch.data(), std::min(scratch.size(), size - done), off_t(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(store_error(StoreError::input_output, uint32_t(errno)));
    if (n == 0) break;
    done += size_t(n);
  }
  return done;
}

}  // namespace bellhop::store
