// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "store/lmdb/environment.h"

namespace bellhop::tools {

// The store's file without a server. Each returns an exit code.

struct StoreTarget {
  std::string file;    // the LMDB file; or
  std::string config;  // the configuration that names it
};

// Opens the file that is there; never makes one. Null, with the reason on standard error, where it cannot.
std::unique_ptr<store::LmdbEnvironment> open_existing_store(const StoreTarget& target);

// Proves the store's invariants, row by row; may run beside a server.
int check_store(const StoreTarget& target);
// One JSON object a row, without anything that may not leave the host; may run beside a server.
int dump_store(const StoreTarget& target);

// Fills the store for tests of scale. No server may have it open.
struct SeedOptions {
  std::string config;  // names store, keyring and tenants
  std::string tenant;  // empty: the first
  uint64_t mailboxes = 0;
  uint32_t key_pairs = 16;  // that are really made, about 250 ms each; every mailbox gets one of them, sealed for it
};
inline constexpr uint32_t kSeedKeyPairsMax = 1024;
int seed_store(const SeedOptions& options);

}  // namespace bellhop::tools
