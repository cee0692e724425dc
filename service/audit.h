// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/task.h"
#include "service/core.h"
#include "service/outcome.h"

namespace bellhop::service {

// Whether every event that was ever accepted has ended, waits in the journal or is in flight: the third promise's proof,
// while the server runs. Each core's ledger is read on its own core, between two turns, so that its balance is exact.

inline constexpr Duration kBalanceLook = std::chrono::seconds(10);  // between two looks of watch_balance()
// The journal is compared with the ledger so often before a difference counts: records are written and erased meanwhile.
inline constexpr unsigned kJournalLooks = 5;
inline constexpr Duration kJournalPause = std::chrono::milliseconds(100);
// Records of the journal whose device is looked up, at most; the first ones in the order of their keys.
inline constexpr size_t kJournalLookedAtMax = 4'096;

enum class AuditFinding : uint8_t {
  unbalanced,       // a core's ledger does not balance
  journal_differs,  // the ledger counts other records than the store holds
  journal_orphans,  // records of devices that are gone: nobody will ever make those pushes
};
std::string_view name_of(AuditFinding finding);

struct AuditReport {
  std::vector<LedgerSnapshot> cores;
  LedgerSnapshot all;
  uint64_t journal_counted = 0;  // by the ledger
  uint64_t journal_stored = 0;
  bool journal_restored = false;  // all that an earlier process left is counted; until then fewer are than stored
  uint64_t journal_looked_at = 0;
  uint64_t journal_orphans = 0;  // of those
  std::vector<AuditFinding> findings;  // empty: all is well

  // Sum of what each core cannot account for, whatever its sign.
  uint64_t imbalance() const;
};

// Each core's ledger, exact. Any core.
Task<std::vector<LedgerSnapshot>> exact_ledgers(const Node& node);
// All of it. Any core; takes up to kJournalLooks * kJournalPause, and reads the journal in short transactions. Errors: store.
Task<Result<AuditReport>> audit(Core& core);
// Looks every kBalanceLook until it is stopped: the metric bellhop_ledger_imbalance, and an error in the log when it
// changes. Core 0.
Task<void> watch_balance(Core& core);

}  // namespace bellhop::service
