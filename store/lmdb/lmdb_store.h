// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "store/lmdb/environment.h"
#include "store/table_store.h"

namespace bellhop::store {

// The embedded store: one LMDB file. Opened before the cores start, destroyed after all have left (Store::leave_core).
class LmdbStore : public TableStore {
 public:
  static std::expected<std::unique_ptr<LmdbStore>, OpenFailure> open(const LmdbOptions& options);

  // Brings the file into the page cache, slice by slice on the general helper thread, so that the first callbacks after
  // a start need not wait for the disk. Ends by itself, or with `canceled` when its flow is stopped. One core runs it.
  Task<Status> warm();

  // Worth calling once a minute: slots of readers that died. See LmdbEnvironment.
  Result<unsigned> clear_stale_readers() { return environment_->clear_stale_readers(); }
  uint64_t commits() const { return environment_->commits(); }

 private:
  explicit LmdbStore(std::unique_ptr<LmdbEnvironment> environment);

  LmdbEnvironment* environment_;  // TableStore owns it
};

}  // namespace bellhop::store
