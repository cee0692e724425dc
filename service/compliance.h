// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "service/compliance_table.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// How the data of a tenant comes, and how it stands. The names are an interface: docs/policy.md.
enum class SourceKind : uint8_t { api, file, uem };
enum class SourceState : uint8_t {
  fresh,        // the last try succeeded; always so for what comes by the API
  waiting,      // nothing has been read yet
  unreachable,  // the source did not answer; the last data counts
  broken,       // it answered with what cannot be used; the last data counts
  stale,        // not read for longer than policy.source.stale_after_minutes: no decision is possible
};
std::string_view name_of(SourceKind kind);
std::string_view name_of(SourceState state);

// For operators.
struct SourceReport {
  SourceKind kind = SourceKind::api;
  SourceState state = SourceState::fresh;
  WallTime last_success{};  // the epoch: never
  WallTime last_attempt{};
  std::string complaint;  // of the last attempt, where it failed: what, why, what to do
};

// What a change came to.
struct ComplianceChange {
  uint64_t lines = 0;          // read
  uint64_t names = 0;          // of devices that the tenant has now
  uint64_t removed = 0;        // by a delta
  uint64_t held = 0;           // lines of devices that are blocked or wiped by name, and stay so
  uint64_t texts_refused = 0;  // models, versions … beyond TextPool::kTextsMax: taken as not known
  std::vector<store::ComplianceKey> wiped;  // by this change
};

// A device that two lines of a bulk name, by one name or two.
enum class Repeats : uint8_t {
  refused,       // a PUT and a file: which of the two is meant?
  later_counts,  // pages of a UEM: devices move from one to the next while they are read
};

// One tenant's whole data in the making. Used on core 0. Nobody sees it before Compliance::replace().
class ComplianceBulk {
 public:
  ComplianceBulk(ComplianceBulk&&) = default;
  const std::string& tenant() const { return tenant_; }
  size_t names() const { return table_->size(); }

 private:
  friend class Compliance;
  ComplianceBulk(std::string_view tenant, Repeats repeats, TextPool& texts)
      : tenant_(tenant), repeats_(repeats), table_(std::make_unique<ComplianceTable>(texts)) {}
  std::string tenant_;
  Repeats repeats_;
  std::unique_ptr<ComplianceTable> table_;
  std::vector<store::ComplianceKey> wiped_;
  uint64_t lines_ = 0, held_ = 0;
};

// What is known of devices: per tenant a table of facts, which bulks replace as a whole and deltas change, and a table of
// holds (blocked, wiped) that operators set by name and that nobody else lifts. One per process. Looked up on every core;
// changed on core 0 alone, one change after the other, each on the disk before it counts. Holds do not wait for a bulk
// that is under way. docs/decisions/0020-policy.md.
//
// Invariants:
//  1. what find() and hold() answer is on the disk, but for a hold whose write is under way, which counts at once;
//  2. a reader sees a bulk whole or not at all;
//  3. changes() rises after each change can be seen;
//  4. where one name of a device is held all are, by what any data that can be seen has ever said of its names.
class Compliance {
 public:
  Compliance(store::Store& store, const Vault& vault);
  ~Compliance();
  Compliance(const Compliance&) = delete;
  Compliance& operator=(const Compliance&) = delete;

  // ---- Any core; no wait, no lock ----
  bool find(std::string_view tenant, const store::ComplianceKey& device, DeviceFacts& facts) const;
  // By this name alone: whoever has found facts asks for facts.key too.
  ComplianceHold hold(std::string_view tenant, const store::ComplianceKey& device, WallTime* since = nullptr) const;
  // Some device of the tenant is blocked or wiped by name.
  bool any_hold(std::string_view tenant) const;
  // Rises with every change that may change a decision: of data, holds, and the state of sources. Who waits on a decision
  // that was "allow" looks at it at least once a second, and asks again where it is another.
  uint64_t changes() const { return changes_.load(std::memory_order_acquire); }
  // Other things that decisions rest on have changed: rules. Any core.
  void note_change() { changes_.fetch_add(1, std::memory_order_acq_rel); }
  // From when on the tenant's data is too old to decide by; nothing: never; the epoch: there has not been any yet.
  std::optional<WallTime> stale_at(std::string_view tenant) const;
  // The owner, by the address of the mailbox in any letter case.
  store::StoredUserId account(std::string_view tenant, std::string_view address) const;

  // ---- Core 0 ----
  // The tenants that there are, before load() and with every reload. Those that have left keep their data.
  void set_tenants(const std::vector<std::string>& tenants);
  // How many names of devices a tenant may have.
  void set_names_max(size_t names_max) { names_max_ = names_max; }
  // At the start, before anybody asks. Errors: store.
  Task<Status> load();
  // What has to be done now and then: rows of ended sets are erased, data that has become too old is noticed. Until it is
  // stopped.
  Task<void> run();

  // Whole data: begin(), add() for each line, replace(). The tenant is one of set_tenants(). Errors of add:
  // compliance_limit, compliance_repeated.
  ComplianceBulk begin(std::string_view tenant, Repeats repeats = Repeats::refused);
  Status add(ComplianceBulk& bulk, const ComplianceLine& line);
  // On the disk first, then for all to see, at once. Errors: store, CoreError::canceled.
  Task<Result<ComplianceChange>> replace(ComplianceBulk bulk);
  // In the order of the lines. Devices that are not known yet get a record. Errors: compliance_limit, store, canceled; where the store fails half
  // way, what is on the disk counts, and the same delta may be given again.
  Task<Result<ComplianceChange>> update(std::string tenant, std::vector<ComplianceLine> lines);
  // By an operator. A block or wipe counts on every core when the call begins to wait, also where the store then fails;
  // `none` lifts, once it is on the disk. Of all names that are known of the device: answers with them. Errors: store,
  // canceled.
  Task<Result<std::vector<store::ComplianceKey>>> set_hold(std::string tenant, store::ComplianceKey device, ComplianceHold hold);

  struct Wipe {
    std::string tenant;
    store::ComplianceKey device;
  };
  // Devices whose wipe has begun to count, by whatever way, since the last call: whoever takes them removes them from
  // bellhop. After a start all that are wiped.
  std::vector<Wipe> take_wipes() { return std::exchange(wipes_, {}); }

  // What a source tells of itself. `stale_after`: zero: its data never gets too old. Before it has been read once nothing is
  // decided.
  void note_success(std::string_view tenant, SourceKind kind, Duration stale_after);
  void note_failure(std::string_view tenant, SourceKind kind, SourceState state, std::string complaint,
                    Duration stale_after);
  // It is not asked any more: what it told counts for ever.
  void forget_source(std::string_view tenant);
  SourceReport source(std::string_view tenant) const;
  SourceState source_state(std::string_view tenant) const;  // the same, without its texts: takes no memory

  struct Counts {
    uint64_t names = 0;  // of devices
    uint64_t held = 0;
    uint64_t bytes = 0;
    WallTime replaced{};  // by the last bulk; the epoch: never
    WallTime changed{};   // since the start
  };
  Counts counts(std::string_view tenant) const;
  // Everything of one of ComplianceTable::kSegments segments, for listings that yield between two of them.
  void for_each(std::string_view tenant, size_t segment,
                store::FunctionRef<void(const store::ComplianceKey&, const ComplianceRecord&)> f) const;
  void for_each_hold(std::string_view tenant, store::FunctionRef<void(const store::ComplianceKey&, ComplianceHold)> f) const;

 private:
  struct Part;
  using Index = std::unordered_map<std::string_view, Part*>;
  Part* part(std::string_view tenant) const;
  Part& certain_part(std::string_view tenant) const;
  Task<Status> load_rows(Part& part);
  Task<Status> load_holds();
  Task<Status> write_rows(uint32_t set, const ComplianceTable& table);
  Task<Status> ensure_set(Part& part);
  Task<Status> erase_other_names(Part& part, const std::vector<store::ComplianceKey>& firsts);
  // Holds: compliance_holds.cc.
  void hold_now(Part& part, const store::ComplianceKey& key, ComplianceHold hold, WallTime since);
  void spread_hold(Part& part, const store::ComplianceKey& one, const store::ComplianceKey& other);
  Task<void> spread_over(Part& part, const ComplianceTable& names);
  Task<Status> spread_holds(Part& part, const ComplianceTable* coming);
  Task<std::vector<store::ComplianceKey>> names_of(const Part& part, store::ComplianceKey device) const;
  Task<std::vector<store::ComplianceKey>> other_names(const Part& part, const std::vector<store::ComplianceKey>& firsts) const;
  Task<Status> write_holds(Part& part);
  Task<Status> lift(Part& part, const std::vector<store::ComplianceKey>& names);
  Task<Status> hold_wiped(Part& part, const std::vector<store::ComplianceKey>& devices);
  Task<void> rest();
  void apply_line(ComplianceTable& table, const ComplianceLine& line, uint64_t account, WallTime now,
                  ComplianceTable::Retired* retired, store::ComplianceWrite* write);
  static int64_t stale_from_start(const Part& here, WallTime now, Duration stale_after);
  void look_at_sources();
  Task<void> keep_heard();
  Task<Status> load_heard(Part& part);

  store::Store& store_;
  const Vault& vault_;
  TextPool texts_;
  std::atomic<const Index*> index_;
  std::atomic<uint64_t> changes_{0};
  std::vector<std::unique_ptr<const Index>> indexes_;  // the last is in use; readers may be in those before
  std::vector<std::unique_ptr<Part>> parts_;
  size_t names_max_ = 4'000'000;
  uint32_t newest_set_ = 0;
  uint32_t set_in_making_ = 0;
  bool sweep_wanted_ = true;
  std::vector<Wipe> wipes_;
  ComplianceTable::Retired retired_holds_;  // segments of holds that have been replaced
  Semaphore one_at_a_time_{1};
  Semaphore holds_turn_{1};
};

}  // namespace bellhop::service
