// SPDX-License-Identifier: Apache-2.0
#include "service/audit.h"

#include <algorithm>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "service/journal.h"
#include "store/error.h"

namespace bellhop::service {
namespace {

Task<LedgerSnapshot> look_here(const Core* core) { co_return core->ledger.snapshot(); }
Task<bool> restored_here(const Core* core) { co_return core->journal->restored(); }

// Into `ledgers`, which keeps its memory from look to look. The caller keeps it until this has ended.
Task<void> read_ledgers(const Node& node, std::vector<LedgerSnapshot>& ledgers) {
  ledgers.clear();
  ledgers.reserve(node.cores.size());
  for (unsigned i = 0; i < node.cores.size(); ++i) {
    const Core* core = node.cores[i];
    ledgers.push_back(co_await on_core(i, [core] { return look_here(core); }));
  }
}

// What an earlier process left is counted by now, on every core.
Task<bool> journal_restored(const Node& node) {
  for (unsigned i = 0; i < node.cores.size(); ++i) {
    const Core* core = node.cores[i];
    if (!co_await on_core(i, [core] { return restored_here(core); })) co_return false;
  }
  co_return true;
}

// Records are written before the ledger hears of them, and erased after: while events are in flight, so many may differ.
bool agrees(uint64_t stored, const LedgerSnapshot& before, const LedgerSnapshot& after) {
  uint64_t low = std::min(before.journaled, after.journaled), high = std::max(before.journaled, after.journaled);
  uint64_t moving = std::max(before.in_flight, after.in_flight);
  return stored + moving >= low && stored <= high + moving;
}

LedgerSnapshot sum_of(const std::vector<LedgerSnapshot>& cores) {
  LedgerSnapshot sum;
  for (const LedgerSnapshot& core : cores) sum += core;
  return sum;
}

Task<Status> compare_journal(Core& core, AuditReport& report) {
  for (unsigned look = 0;; ++look) {
    report.journal_restored = co_await journal_restored(core.node);
    LedgerSnapshot before = sum_of(co_await exact_ledgers(core.node));
    BH_CO_TRY(store::Counts counts, co_await core.node.store.counts());
    LedgerSnapshot after = sum_of(co_await exact_ledgers(core.node));
    report.journal_stored = counts.journal;
    report.journal_counted = after.journaled;
    if (agrees(counts.journal, before, after)) co_return Status();
    if (!report.journal_restored) co_return Status();  // fewer are counted, rightly
    if (look + 1 == kJournalLooks) break;
    if (!co_await sleep_for(kJournalPause)) co_return fail(core_error(CoreError::canceled));
  }
  report.findings.push_back(AuditFinding::journal_differs);
  co_return Status();
}

Task<Status> find_orphans(Core& core, AuditReport& report) {
  std::optional<store::JournalKey> after;
  while (report.journal_looked_at < kJournalLookedAtMax) {
    BH_CO_TRY(auto entries, co_await core.node.store.list_journal(after));
    for (const store::JournalEntry& entry : entries) {
      after = entry.key;
      ++report.journal_looked_at;
      auto device = co_await core.node.store.read_device(entry.record.user, entry.key.device);
      if (!device && !is(device.error(), store::StoreError::not_found)) co_return fail(device.error());
      if (!device) ++report.journal_orphans;
    }
    if (entries.size() < store::kListMax) break;
    co_await yield_now();
  }
  if (report.journal_orphans > 0) report.findings.push_back(AuditFinding::journal_orphans);
  co_return Status();
}

}  // namespace

std::string_view name_of(AuditFinding finding) {
  switch (finding) {
    case AuditFinding::unbalanced: return "unbalanced";
    case AuditFinding::journal_differs: return "journal_differs";
    case AuditFinding::journal_orphans: return "journal_orphans";
  }
  return "unbalanced";
}

uint64_t AuditReport::imbalance() const {
  uint64_t sum = 0;
  for (const LedgerSnapshot& core : cores) sum += core.imbalance();
  return sum;
}

Task<std::vector<LedgerSnapshot>> exact_ledgers(const Node& node) {
  std::vector<LedgerSnapshot> ledgers;
  co_await read_ledgers(node, ledgers);
  co_return ledgers;
}

Task<Result<AuditReport>> audit(Core& core) {
  AuditReport report;
  report.cores = co_await exact_ledgers(core.node);
  report.all = sum_of(report.cores);
  if (report.imbalance() > 0) report.findings.push_back(AuditFinding::unbalanced);
  BH_CO_CHECKED(co_await compare_journal(core, report));
  BH_CO_CHECKED(co_await find_orphans(core, report));
  co_return report;
}

Task<void> watch_balance(Core& core) {
  uint64_t told = 0;
  std::vector<LedgerSnapshot> ledgers;
  while (co_await sleep_for(kBalanceLook)) {
    co_await read_ledgers(core.node, ledgers);
    uint64_t imbalance = 0;
    for (const LedgerSnapshot& ledger : ledgers) imbalance += ledger.imbalance();
    core.metrics.set(metric::ledger_imbalance, imbalance);
    if (imbalance == std::exchange(told, imbalance)) continue;
    LedgerSnapshot all = sum_of(ledgers);
    log_line(core.log, imbalance > 0 ? LogLevel::error : LogLevel::info, "ledger_imbalance", field("events", imbalance),
             field("accepted", all.accepted), field("handed_back", all.handed_back), field("in_flight", all.in_flight),
             field("journaled", all.journaled));
  }
}

}  // namespace bellhop::service
