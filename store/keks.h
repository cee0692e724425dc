// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "store/tables.h"

namespace bellhop::store {

// What needs a key-encryption key.
struct KekUse {
  uint64_t records = 0;  // fields of records that are sealed under it
  uint64_t urls = 0;     // callback URLs of live subscriptions that name it: no record can be sealed anew for these
};

struct KekReport {
  std::map<uint32_t, KekUse> keks;  // by id
  uint64_t nameless = 0;            // sealed fields that name no key: damaged
};

// Reads every row that holds something sealed, in one snapshot. A key may retire when it is not in the report. `kek_of`
// tells which key a sealed field names. Blocking, and long on a big store: for commands. Errors: corrupt, input_output.
Result<KekReport> kek_use(Engine& engine, FunctionRef<std::optional<uint32_t>(Bytes box)> kek_of);

}  // namespace bellhop::store
