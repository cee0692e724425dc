// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "store/table_store.h"

namespace bellhop::store {

// The store in memory, for the simulator and tests: the same behaviour as LMDB, durability included. What is committed
// plays the disk; what waits for the writer and the hot records not yet flushed are what a loss of power takes.
class MemoryStore : public TableStore {
 public:
  // Behaves as if the map were full once the tables hold more than `size_max` bytes of keys and values.
  static std::unique_ptr<MemoryStore> create(size_t size_max = SIZE_MAX);

  // Forgets all that is not committed; waiting changes end with StoreError::closed. The store then goes on, as if
  // opened again. Returns how many changes and hot records were lost. Simulator only (all cores on one thread).
  size_t power_cut() { return lose_uncommitted(); }

 private:
  using TableStore::TableStore;
};

}  // namespace bellhop::store
