// SPDX-License-Identifier: Apache-2.0
#include "service/compliance.h"

#include <algorithm>

#include "core/cross_core.h"
#include "core/io.h"
#include "core/sleep.h"
#include "crypto/record.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

constexpr Duration kLook = std::chrono::seconds(1);
// Changes that a bulk has with the store's writer at once: they share a commit, and leave room for others.
constexpr size_t kWritesAtOnce = 4;

Task<bool> one_turn() { co_return true; }

Task<void> write_chunk(store::Store* store, const store::ComplianceWrite* write, Status* status) {
  *status = co_await store->write_compliance(*write);
}

}  // namespace

std::string_view name_of(SourceKind kind) {
  switch (kind) {
    case SourceKind::api:
      return "api";
    case SourceKind::file:
      return "file";
    case SourceKind::uem:
      return "uem";
  }
  check_failed("a source of the list", __FILE__, __LINE__);
}

std::string_view name_of(SourceState state) {
  switch (state) {
    case SourceState::fresh:
      return "fresh";
    case SourceState::waiting:
      return "waiting";
    case SourceState::unreachable:
      return "unreachable";
    case SourceState::broken:
      return "broken";
    case SourceState::stale:
      return "stale";
  }
  check_failed("a state of the list", __FILE__, __LINE__);
}

// One tenant's.
struct Compliance::Part {
  Part(std::string name, TextPool& texts)
      : tenant(std::move(name)), owned(std::make_unique<ComplianceTable>(texts)), table(owned.get()), holds(texts) {}

  const std::string tenant;
  std::unique_ptr<ComplianceTable> owned;
  std::atomic<const ComplianceTable*> table;
  ComplianceTable holds;
  std::atomic<int64_t> stale_at_ms{0};  // 0: never
  uint32_t set = 0;                     // 0: none yet
  WallTime replaced{}, changed{};
  SourceReport source;
  bool stale_noted = false;
};

Compliance::Compliance(store::Store& store, const Vault& vault) : store_(store), vault_(vault) {
  index_ = indexes_.emplace_back(std::make_unique<const Index>()).get();
}
Compliance::~Compliance() = default;

// ---- Any core ----

Compliance::Part* Compliance::part(std::string_view tenant) const {
  const Index& index = *index_.load(std::memory_order_acquire);
  auto found = index.find(tenant);
  return found == index.end() ? nullptr : found->second;
}

Compliance::Part& Compliance::certain_part(std::string_view tenant) const {
  Part* found = part(tenant);
  BH_CHECK(found != nullptr);
  return *found;
}

bool Compliance::find(std::string_view tenant, const store::ComplianceKey& device, DeviceFacts& facts) const {
  const Part* here = part(tenant);
  return here && here->table.load(std::memory_order_acquire)->find(device, facts);
}

ComplianceHold Compliance::hold(std::string_view tenant, const store::ComplianceKey& device, WallTime* since) const {
  DeviceFacts facts;
  const Part* here = part(tenant);
  if (!here || here->holds.size() == 0 || !here->holds.find(device, facts)) return ComplianceHold::none;
  if (since) *since = facts.updated;
  return facts.hold;
}

bool Compliance::any_hold(std::string_view tenant) const {
  const Part* here = part(tenant);
  return here && here->holds.size() > 0;
}

std::optional<WallTime> Compliance::stale_at(std::string_view tenant) const {
  const Part* here = part(tenant);
  int64_t at = here ? here->stale_at_ms.load(std::memory_order_acquire) : 0;
  return at == 0 ? std::nullopt : std::optional(WallTime(std::chrono::milliseconds(at)));
}

store::StoredUserId Compliance::account(std::string_view tenant, std::string_view address) const {
  return vault_.user_id(tenant, crypto::user_id_of_address(address));
}

// ---- The start ----

void Compliance::set_tenants(const std::vector<std::string>& tenants) {
  auto index = std::make_unique<Index>(*indexes_.back());
  for (const std::string& tenant : tenants) {
    if (index->contains(tenant)) continue;
    Part* made = parts_.emplace_back(std::make_unique<Part>(tenant, texts_)).get();
    index->emplace(made->tenant, made);
  }
  if (index->size() == indexes_.back()->size()) return;
  index_.store(indexes_.emplace_back(std::move(index)).get(), std::memory_order_release);
}

Task<Status> Compliance::load() {
  BH_CO_TRY(newest_set_, co_await store_.newest_compliance_set());
  BH_CO_TRY(auto sets, co_await store_.list_compliance_sets());
  std::vector<std::string> tenants;
  for (const store::ComplianceSetEntry& entry : sets) tenants.push_back(entry.tenant);
  set_tenants(tenants);
  for (const store::ComplianceSetEntry& entry : sets) {
    Part& here = certain_part(entry.tenant);
    here.set = entry.set.number;
    here.replaced = entry.set.replaced;
    BH_CO_CHECKED(co_await load_rows(here));
  }
  BH_CO_CHECKED(co_await load_holds());
  note_change();
  co_return Status();
}

Task<Status> Compliance::load_rows(Part& part) {
  std::optional<store::ComplianceKey> after;
  do {
    auto put = [&](const store::ComplianceKey& key, const ComplianceRecord& record) {
      part.owned->put(key, record, ComplianceHold::none, nullptr);
    };
    auto next = co_await store_.read_compliance_page(part.set, after, store::kComplianceMax, put);
    if (!next) co_return fail(next.error());
    after = *next;
    co_await yield_now();
  } while (after);
  for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) part.owned->trim(segment, nullptr);
  co_return Status();
}

Task<Status> Compliance::load_holds() {
  std::optional<store::HoldPlace> after;
  for (;;) {
    BH_CO_TRY(auto holds, co_await store_.list_holds(after));
    for (store::HoldEntry& entry : holds) {
      if (!part(entry.place.tenant)) set_tenants({entry.place.tenant});
      ComplianceRecord record;
      record.updated = entry.record.since;
      certain_part(entry.place.tenant).holds.put(entry.place.key, record, entry.record.hold, nullptr);
      if (entry.record.hold == ComplianceHold::wiped) wipes_.push_back({entry.place.tenant, entry.place.key});
    }
    if (holds.size() < store::kListMax) co_return Status();
    after = std::move(holds.back().place);
  }
}

// ---- Changes ----

// Until every core has begun another turn: what was replaced is read by nobody any more.
Task<void> Compliance::rest() {
  for (unsigned core = 0; core < io::cores(); ++core) co_await on_core(core, [] { return one_turn(); });
}

ComplianceBulk Compliance::begin(std::string_view tenant) { return ComplianceBulk(tenant, texts_); }

// `write` collects what the store is to be told; null where it gets the whole table later.
void Compliance::apply_line(ComplianceTable& table, const ComplianceLine& line, uint64_t account, WallTime now,
                            ComplianceTable::Retired* retired, store::ComplianceWrite* write) {
  store::ComplianceKey key = compliance_key(line.device_id);
  ComplianceRecord record;
  if (table.read(key, record) && !record.first_name.zero()) {
    key = record.first_name;  // another name of a device that is known
    record = {};
    (void)table.read(key, record);
  }
  if (line.removed) {
    table.erase(key);
    if (write) write->erased.push_back(key);
    return;
  }
  apply(line, account, now, record);
  table.put(key, record, ComplianceHold::none, retired);
  if (write) write->puts.push_back({key, record});
  ComplianceRecord leads;
  leads.first_name = key;
  leads.updated = now;
  for (const std::string& id : line.other_ids) {
    store::ComplianceKey other = compliance_key(id);
    if (other == key) continue;
    table.put(other, leads, ComplianceHold::none, retired);
    if (write) write->puts.push_back({other, leads});
  }
}

Status Compliance::add(ComplianceBulk& bulk, const ComplianceLine& line) {
  if (bulk.table_->size() + 1 + line.other_ids.size() > names_max_) {
    return fail(service_error(ServiceError::compliance_limit, static_cast<uint32_t>(names_max_)));
  }
  ++bulk.lines_;
  store::ComplianceKey key = compliance_key(line.device_id);
  bool known = line.account && !line.account->empty();
  uint64_t word = known ? account_word(account(bulk.tenant_, *line.account)) : 0;
  if (hold(bulk.tenant_, key) != ComplianceHold::none) ++bulk.held_;
  if (line.wiped) bulk.wiped_.push_back(key);
  apply_line(*bulk.table_, line, word, io::wall_now(), nullptr, nullptr);
  return {};
}

// All of a table under a set of its own, several changes at a time.
Task<Status> Compliance::write_rows(uint32_t set, const ComplianceTable& table) {
  std::vector<store::ComplianceWrite> writes(1);
  auto gather = [&](const store::ComplianceKey& key, const ComplianceRecord& record) {
    if (writes.back().puts.size() == store::kComplianceMax) writes.emplace_back();
    writes.back().puts.push_back({key, record});
  };
  for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) {
    table.for_each(segment, gather);
    bool last = segment + 1 == ComplianceTable::kSegments;
    while (writes.size() > kWritesAtOnce || (last && !writes.empty())) {
      size_t count = std::min(writes.size(), kWritesAtOnce);
      std::vector<Status> statuses(count);
      {
        TaskScope running(&co_await current_context());
        for (size_t i = 0; i < count; ++i) {
          writes[i].set = set;
          running.spawn(write_chunk(&store_, &writes[i], &statuses[i]));
        }
        co_await running.join();
      }
      for (const Status& status : statuses) {
        if (!status) co_return fail(status.error());
      }
      writes.erase(writes.begin(), writes.begin() + static_cast<ptrdiff_t>(count));
    }
    if (writes.empty() && !last) writes.emplace_back();
    co_await yield_now();
  }
  co_return Status();
}

Task<Result<ComplianceChange>> Compliance::replace(ComplianceBulk bulk) {
  BH_CO_TRY(Semaphore::Permit turn, co_await one_at_a_time_.acquire());
  Part& here = certain_part(bulk.tenant_);
  for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) {
    bulk.table_->trim(segment, nullptr);
    if (segment % 16 == 15) co_await yield_now();
  }
  BH_CO_CHECKED(co_await hold_wiped(here, bulk.wiped_));
  set_in_making_ = ++newest_set_;
  Status written = co_await write_rows(set_in_making_, *bulk.table_);
  store::ComplianceSet set{.number = set_in_making_, .replaced = io::wall_now()};
  if (written) written = co_await store_.put_compliance_set(here.tenant, set);
  set_in_making_ = 0;
  sweep_wanted_ = true;
  if (!written) co_return fail(written.error());

  ComplianceChange change{.lines = bulk.lines_, .names = bulk.table_->size(), .held = bulk.held_,
                          .texts_refused = texts_.refused(), .wiped = std::move(bulk.wiped_)};
  here.set = set.number;
  here.replaced = here.changed = set.replaced;
  std::swap(here.owned, bulk.table_);
  here.table.store(here.owned.get(), std::memory_order_release);
  note_change();
  co_await rest();  // and then the old table goes, with `bulk`
  co_return change;
}

Task<Status> Compliance::ensure_set(Part& part) {
  if (part.set != 0) co_return Status();
  store::ComplianceSet set{.number = ++newest_set_, .replaced = {}};
  BH_CO_CHECKED(co_await store_.put_compliance_set(part.tenant, set));
  part.set = set.number;
  co_return Status();
}

Task<Result<ComplianceChange>> Compliance::update(std::string tenant, std::vector<ComplianceLine> lines) {
  BH_CO_TRY(Semaphore::Permit turn, co_await one_at_a_time_.acquire());
  Part& here = certain_part(tenant);
  size_t names = here.owned->size();
  for (const ComplianceLine& line : lines) names += 1 + line.other_ids.size();
  if (names > names_max_ && names - here.owned->size() > 0) {
    // Most deltas are of devices that are known: only those that are not count.
    names = here.owned->size();
    DeviceFacts facts;
    for (const ComplianceLine& line : lines) {
      if (!line.removed && !here.owned->find(compliance_key(line.device_id), facts)) ++names;
      for (const std::string& id : line.other_ids) names += !here.owned->find(compliance_key(id), facts);
    }
    if (names > names_max_) co_return fail(service_error(ServiceError::compliance_limit, static_cast<uint32_t>(names_max_)));
  }
  BH_CO_CHECKED(co_await ensure_set(here));
  ComplianceChange change{.lines = lines.size()};
  WallTime now = io::wall_now();
  for (size_t at = 0; at < lines.size();) {
    // The changes are made beside, in a table of their own, so that the disk has them first.
    store::ComplianceWrite write{.set = here.set, .puts = {}, .erased = {}};
    ComplianceTable beside(texts_);
    ComplianceRecord record;
    const bool removing = lines[at].removed;  // one kind at a time: what is erased and put again must end as it should
    for (; at < lines.size() && lines[at].removed == removing &&
           write.puts.size() + write.erased.size() + 1 + kOtherIdsMax <= store::kComplianceMax; ++at) {
      const ComplianceLine& line = lines[at];
      store::ComplianceKey key = compliance_key(line.device_id);
      for (int step = 0; step < 2; ++step) {  // by another name to the first one
        bool copied = beside.read(key, record) || here.owned->read(key, record);
        if (!copied) break;
        beside.put(key, record, ComplianceHold::none, nullptr);
        if (record.first_name.zero()) break;
        key = record.first_name;
      }
      if (hold(tenant, key) != ComplianceHold::none || hold(tenant, compliance_key(line.device_id)) != ComplianceHold::none) {
        ++change.held;
      }
      if (line.wiped) change.wiped.push_back(compliance_key(line.device_id));
      if (line.removed) ++change.removed;
      bool known = line.account && !line.account->empty();
      uint64_t word = known ? account_word(account(tenant, *line.account)) : 0;
      apply_line(beside, line, word, now, nullptr, &write);
      if (line.removed) beside.erase(key);
    }
    BH_CO_CHECKED(co_await store_.write_compliance(write));
    ComplianceTable::Retired retired;
    for (const store::ComplianceKey& key : write.erased) here.owned->erase(key);
    for (const store::ComplianceEntry& entry : write.puts) {
      here.owned->put(entry.key, entry.record, ComplianceHold::none, &retired);
    }
    here.changed = now;
    note_change();
    if (!retired.empty()) co_await rest();
    co_await yield_now();
  }
  BH_CO_CHECKED(co_await hold_wiped(here, change.wiped));
  change.names = here.owned->size();
  change.texts_refused = texts_.refused();
  co_return change;
}

// ---- Holds ----

// Data names what was wiped again and again: only what is new is written.
Task<Status> Compliance::hold_wiped(const Part& part, const std::vector<store::ComplianceKey>& devices) {
  for (const store::ComplianceKey& device : devices) {
    if (hold(part.tenant, device) == ComplianceHold::wiped) continue;
    BH_CO_CHECKED(co_await set_hold(part.tenant, device, ComplianceHold::wiped));
  }
  co_return Status();
}

Task<Status> Compliance::write_hold(Part& part, store::ComplianceKey key, ComplianceHold hold, WallTime now) {
  if (hold == ComplianceHold::none) {
    BH_CO_CHECKED(co_await store_.erase_hold(part.tenant, key));
    part.holds.erase(key);
    co_return Status();
  }
  store::HoldRecord record{.hold = hold, .since = now};
  co_return co_await store_.put_hold(part.tenant, key, record);
}

Task<Status> Compliance::set_hold(std::string tenant, store::ComplianceKey device, ComplianceHold hold) {
  if (!part(tenant)) set_tenants({tenant});
  Part& here = certain_part(tenant);
  WallTime now = io::wall_now();
  DeviceFacts facts;
  std::vector<store::ComplianceKey> keys = {device};
  if (here.owned->find(device, facts) && facts.key != device) keys.push_back(facts.key);
  ComplianceTable::Retired retired;
  auto hold_now = [&](const store::ComplianceKey& key) {
    // A wiped device stays wiped, until it is let go by name.
    if (this->hold(tenant, key) == ComplianceHold::wiped) return;
    ComplianceRecord record;
    record.updated = now;
    here.holds.put(key, record, hold, &retired);
    note_change();
  };
  if (hold != ComplianceHold::none) std::ranges::for_each(keys, hold_now);
  if (hold == ComplianceHold::wiped) {
    for (const store::ComplianceKey& key : keys) wipes_.push_back({tenant, key});
  }
  Result<Semaphore::Permit> turn = co_await holds_turn_.acquire();
  Status written;
  if (!turn) written = fail(turn.error());
  for (const store::ComplianceKey& key : keys) {
    if (!written) break;
    // Again, for an earlier call that lifted may have ended meanwhile: the last one has the last word.
    if (hold != ComplianceHold::none) hold_now(key);
    ComplianceHold wanted = hold == ComplianceHold::none ? hold : this->hold(tenant, key);
    written = co_await write_hold(here, key, wanted, now);
  }
  if (hold == ComplianceHold::none) note_change();
  if (!retired.empty()) co_await rest();
  co_return written;
}

// ---- Sources ----

void Compliance::note_success(std::string_view tenant, SourceKind kind, Duration stale_after) {
  Part& here = certain_part(tenant);
  WallTime now = io::wall_now();
  bool was_stale = here.stale_noted;
  here.source = {.kind = kind, .state = SourceState::fresh, .last_success = now, .last_attempt = now, .complaint = {}};
  int64_t at = 0;
  if (stale_after > Duration::zero()) {
    at = (now + std::chrono::duration_cast<std::chrono::milliseconds>(stale_after)).time_since_epoch().count();
  }
  here.stale_at_ms.store(at, std::memory_order_release);
  here.stale_noted = false;
  if (was_stale) note_change();
}

void Compliance::note_failure(std::string_view tenant, SourceKind kind, SourceState state, std::string complaint,
                              Duration stale_after) {
  Part& here = certain_part(tenant);
  WallTime now = io::wall_now();
  here.source.kind = kind;
  here.source.state = state;
  here.source.last_attempt = now;
  here.source.complaint = std::move(complaint);
  if (stale_after == Duration::zero()) {
    here.stale_at_ms.store(0, std::memory_order_release);
  } else if (here.stale_at_ms.load(std::memory_order_relaxed) == 0) {
    // Never reached since the start: the time counts from when the data was last replaced, or from now.
    WallTime from = here.replaced == WallTime() ? now : std::min(here.replaced, now);
    if (here.source.last_success != WallTime()) from = here.source.last_success;
    WallTime at = from + std::chrono::duration_cast<std::chrono::milliseconds>(stale_after);
    here.stale_at_ms.store(std::max<int64_t>(1, at.time_since_epoch().count()), std::memory_order_release);
  }
}

void Compliance::forget_source(std::string_view tenant) {
  Part& here = certain_part(tenant);
  here.source = {};
  here.stale_at_ms.store(0, std::memory_order_release);
  here.stale_noted = false;
  note_change();
}

SourceReport Compliance::source(std::string_view tenant) const {
  const Part* here = part(tenant);
  if (!here) return {};
  SourceReport report = here->source;
  std::optional<WallTime> stale = stale_at(tenant);
  if (stale && io::wall_now() >= *stale) report.state = SourceState::stale;
  return report;
}

void Compliance::look_at_sources() {
  WallTime now = io::wall_now();
  for (const auto& here : parts_) {
    int64_t at = here->stale_at_ms.load(std::memory_order_relaxed);
    bool stale = at != 0 && now.time_since_epoch().count() >= at;
    if (stale == here->stale_noted) continue;
    here->stale_noted = stale;
    note_change();
  }
}

Task<void> Compliance::run() {
  while (co_await sleep_for(kLook)) {
    look_at_sources();
    if (!sweep_wanted_) continue;
    sweep_wanted_ = false;
    // One batch after the other: others write meanwhile.
    for (;;) {
      Result<size_t> swept = co_await store_.sweep_compliance(set_in_making_);
      if (!swept) sweep_wanted_ = true;  // with the next look
      if (!swept || *swept < store::kComplianceMax) break;
    }
  }
}

Compliance::Counts Compliance::counts(std::string_view tenant) const {
  const Part* here = part(tenant);
  if (!here) return {};
  return {.names = here->owned->size(),
          .held = here->holds.size(),
          .bytes = here->owned->bytes(),
          .replaced = here->replaced,
          .changed = here->changed};
}

void Compliance::for_each(std::string_view tenant, size_t segment,
                          store::FunctionRef<void(const store::ComplianceKey&, const ComplianceRecord&)> f) const {
  if (const Part* here = part(tenant)) here->owned->for_each(segment, f);
}

void Compliance::for_each_hold(std::string_view tenant,
                               store::FunctionRef<void(const store::ComplianceKey&, ComplianceHold)> f) const {
  const Part* here = part(tenant);
  if (!here) return;
  for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) {
    here->holds.for_each(segment, [&](const store::ComplianceKey& key, const ComplianceRecord&) {
      f(key, hold(tenant, key));
    });
  }
}

}  // namespace bellhop::service
