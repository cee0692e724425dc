// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "store/store.h"
#include "store/tables.h"

namespace bellhop::store {

inline constexpr size_t kProblemsListedMax = 100;

struct CheckReport {
  std::vector<std::string> problems;  // the first kProblemsListedMax; no personal data
  uint64_t problems_found = 0;
  uint64_t rows = 0;
  Counts counts;
  bool clean() const { return problems_found == 0; }
};

// Reads every row of the store in one snapshot and proves the invariants at the top of mailboxes.cc, that every row can
// be decoded, and that the indices agree with what they index, both ways. Blocking, and long on a big store: for
// `bellhop store check`, on a copy or beside a running server. Fails only where the store cannot be read at all.
Result<CheckReport> check(Engine& engine);

}  // namespace bellhop::store
