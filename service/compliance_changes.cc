// SPDX-License-Identifier: Apache-2.0
// Compliance: what changes the data and the holds. On core 0.
#include <algorithm>

#include "core/cross_core.h"
#include "core/io.h"
#include "crypto/record.h"
#include "service/compliance_part.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

// Changes that a bulk has with the store's writer at once: they share a commit, and leave room for others.
constexpr size_t kWritesAtOnce = 4;
// From name to name as ComplianceTable::find() goes; what is beyond begins a device of its own.
constexpr unsigned kStepsMax = 8;

Task<bool> one_turn() { co_return true; }

// A device that was not known has been updated at no time.
bool same_but_for_contact(ComplianceRecord before, const ComplianceRecord& after) {
  if (before.updated == WallTime()) return false;
  before.updated = after.updated;
  before.last_contact = after.last_contact;
  return before == after;
}

// What a record does not say, from that of another name of the device. An exception is of the name that it was made for.
void fill(ComplianceRecord& record, const ComplianceRecord& other) {
  auto take = [](auto& to, const auto& from) {
    if (to == std::remove_cvref_t<decltype(to)>()) to = from;
  };
  take(record.account, other.account);
  take(record.managed, other.managed);
  take(record.compromised, other.compromised);
  take(record.encrypted, other.encrypted);
  take(record.activesync_profile, other.activesync_profile);
  if (other.override_to == ComplianceOverride::block) take(record.override_to, other.override_to);
  take(record.model, other.model);
  take(record.os, other.os);
  take(record.os_version, other.os_version);
  take(record.device_type, other.device_type);
  take(record.mail_client, other.mail_client);
  take(record.last_contact, other.last_contact);
}

Status within_limit(size_t count, size_t limit) {
  return count <= limit ? Status() : fail(service_error(ServiceError::compliance_limit, static_cast<uint32_t>(limit)));
}

// How many names there will be; exactly only where that is over the limit, for most deltas are of devices that are known.
size_t names_after(const ComplianceTable& known, const std::vector<ComplianceLine>& lines, size_t limit) {
  size_t names = known.size();
  for (const ComplianceLine& line : lines) names += 1 + line.other_ids.size();
  if (names <= limit) return names;
  names = known.size();
  DeviceFacts facts;
  for (const ComplianceLine& line : lines) {
    if (!line.removed && !known.find(compliance_key(line.device_id), facts)) ++names;
    for (const std::string& id : line.other_ids) names += !known.find(compliance_key(id), facts);
  }
  return names;
}

// What the line changes, as it is, into a table beside; the first name of its device.
store::ComplianceKey copy_device(const ComplianceTable& known, const ComplianceLine& line, ComplianceTable& beside) {
  store::ComplianceKey key = compliance_key(line.device_id);
  ComplianceRecord record;
  for (unsigned steps = 0; steps <= kStepsMax; ++steps) {  // by another name to the first one
    bool copied = beside.read(key, record) || known.read(key, record);
    if (!copied) break;
    beside.put(key, record, ComplianceHold::none, nullptr);
    if (record.first_name.zero() || steps == kStepsMax) break;
    key = record.first_name;
  }
  for (const std::string& id : line.other_ids) {
    store::ComplianceKey other = compliance_key(id);
    if (!beside.has(other) && known.read(other, record)) beside.put(other, record, ComplianceHold::none, nullptr);
  }
  return key;
}

Task<void> write_chunk(store::Store* store, const store::ComplianceWrite* write, Status* status) {
  *status = co_await store->write_compliance(*write);
}

}  // namespace

// ---- Changes ----

// Until every core has begun another turn: what was replaced is read by nobody any more.
Task<void> Compliance::rest() {
  ComplianceTable::Retired holds = std::exchange(retired_holds_, {});
  for (unsigned core = 0; core < io::cores(); ++core) co_await on_core(core, [] { return one_turn(); });
}

ComplianceBulk Compliance::begin(std::string_view tenant, Repeats repeats) { return ComplianceBulk(tenant, repeats, texts_); }

// `write` collects what the store is to be told; null where it gets the whole table later.
void Compliance::apply_line(ComplianceTable& table, const ComplianceLine& line, uint64_t account, WallTime now,
                            ComplianceTable::Retired* retired, store::ComplianceWrite* write) {
  store::ComplianceKey key = compliance_key(line.device_id);
  ComplianceRecord record;
  bool known = table.read(key, record);
  for (unsigned steps = 0; known && !record.first_name.zero() && steps < kStepsMax; ++steps) {
    key = record.first_name;  // another name of a device that is known
    record = {};
    known = table.read(key, record);
  }
  if (line.removed) {
    table.erase(key);
    if (write) write->erased.push_back(key);
    return;
  }
  for (const std::string& id : line.other_ids) {  // those that had a record of their own: it stays, as this device's
    store::ComplianceKey other = compliance_key(id);
    ComplianceRecord own;
    if (other == key || !table.read(other, own) || !own.first_name.zero()) continue;
    if (known) fill(record, own);
    if (!std::exchange(known, true)) record = own;
  }
  if (write) {
    ComplianceRecord before = record;
    apply(line, account, now, record);
    if (same_but_for_contact(before, record)) record.updated = before.updated;
  } else {
    apply(line, account, now, record);  // keep_times() follows
  }
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
  store::ComplianceKey key = compliance_key(line.device_id);
  if (bulk.repeats_ == Repeats::refused) {
    // Whatever the table has, an earlier line has put there.
    bool again = bulk.table_->has(key);
    for (const std::string& id : line.other_ids) again = again || bulk.table_->has(compliance_key(id));
    if (again) return fail(service_error(ServiceError::compliance_repeated));
  }
  ++bulk.lines_;
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
    bulk.table_->keep_times(segment, *here.owned);
    if (segment % 16 == 15) co_await yield_now();
  }
  size_t wiped = static_cast<size_t>(std::ranges::count_if(bulk.wiped_, [&](const store::ComplianceKey& device) {
    return hold(bulk.tenant_, device) == ComplianceHold::none;
  }));
  if (wiped > 0) BH_CO_CHECKED(within_limit(here.holds.size() + wiped, names_max_));  // as in update()
  BH_CO_CHECKED(co_await hold_wiped(here, bulk.wiped_));
  set_in_making_ = ++newest_set_;
  Status written = co_await write_rows(set_in_making_, *bulk.table_);
  store::ComplianceSet set{.number = set_in_making_, .replaced = io::wall_now()};
  // From here until the data can be seen, who sets a hold waits for its end; the hold itself counts.
  Semaphore::Permit holds_turn;
  if (written) {
    Result<Semaphore::Permit> taken = co_await holds_turn_.acquire();
    written = taken ? co_await spread_holds(here, bulk.table_.get()) : fail(taken.error());
    if (taken) holds_turn = *std::move(taken);
  }
  if (written) written = co_await store_.put_compliance_set(here.tenant, set);
  // Set meanwhile: whoever did so waits for the turn, and writes what cannot be written here.
  while (written && here.holds_spread != here.holds_put) (void)co_await spread_holds(here, bulk.table_.get());
  set_in_making_ = 0;
  sweep_wanted_ = true;
  if (!written) co_return fail(written.error());

  ComplianceChange change{.lines = bulk.lines_, .names = bulk.table_->size(), .held = bulk.held_,
                          .texts_refused = texts_.refused(), .wiped = std::move(bulk.wiped_)};
  here.set = set.number;
  here.replaced = here.changed = set.replaced;
  std::swap(here.owned, bulk.table_);
  here.table.store(here.owned.get(), std::memory_order_release);
  holds_turn.release();
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

// Of devices that are about to be removed: a name that led nowhere would lead to the next device of that first name.
Task<Status> Compliance::erase_other_names(Part& part, const std::vector<store::ComplianceKey>& firsts) {
  std::vector<store::ComplianceKey> names = co_await other_names(part, firsts);
  for (size_t at = 0; at < names.size(); at += store::kComplianceMax) {
    auto first = names.begin() + static_cast<ptrdiff_t>(at);
    auto last = names.begin() + static_cast<ptrdiff_t>(std::min(names.size(), at + store::kComplianceMax));
    BH_CO_CHECKED(co_await store_.write_compliance({.set = part.set, .puts = {}, .erased = {first, last}}));
  }
  for (const store::ComplianceKey& name : names) part.owned->erase(name);
  co_return Status();
}

Task<Result<ComplianceChange>> Compliance::update(std::string tenant, std::vector<ComplianceLine> lines) {
  BH_CO_TRY(Semaphore::Permit turn, co_await one_at_a_time_.acquire());
  Part& here = certain_part(tenant);
  // A reload may have set a limit below what there is: that goes on to change.
  size_t names = names_after(*here.owned, lines, names_max_);
  if (names > here.owned->size()) BH_CO_CHECKED(within_limit(names, names_max_));
  // What data wipes stays for ever: it has a bound, too. What an operator holds has none.
  size_t wiped = static_cast<size_t>(std::ranges::count_if(lines, [&](const ComplianceLine& line) {
    return line.wiped && hold(tenant, compliance_key(line.device_id)) == ComplianceHold::none;
  }));
  if (wiped > 0) BH_CO_CHECKED(within_limit(here.holds.size() + wiped, names_max_));
  BH_CO_CHECKED(co_await ensure_set(here));
  ComplianceChange change{.lines = lines.size()};
  WallTime now = io::wall_now();
  for (size_t at = 0; at < lines.size();) {
    // The changes are made beside, in a table of their own, so that the disk has them first.
    store::ComplianceWrite write{.set = here.set, .puts = {}, .erased = {}};
    ComplianceTable beside(texts_);
    const size_t wiped_before = change.wiped.size();
    const bool removing = lines[at].removed;  // one kind at a time: what is erased and put again must end as it should
    for (; at < lines.size() && lines[at].removed == removing &&
           write.puts.size() + write.erased.size() + 1 + kOtherIdsMax <= store::kComplianceMax; ++at) {
      const ComplianceLine& line = lines[at];
      store::ComplianceKey key = copy_device(*here.owned, line, beside);
      if (hold(tenant, key) != ComplianceHold::none || hold(tenant, compliance_key(line.device_id)) != ComplianceHold::none) {
        ++change.held;
      }
      if (line.wiped) {
        change.wiped.push_back(compliance_key(line.device_id));
        hold_now(here, change.wiped.back(), ComplianceHold::wiped, now);
      }
      if (line.removed) ++change.removed;
      bool known = line.account && !line.account->empty();
      uint64_t word = known ? account_word(account(tenant, *line.account)) : 0;
      apply_line(beside, line, word, now, nullptr, &write);
      if (line.removed) beside.erase(key);
    }
    BH_CO_TRY(Semaphore::Permit holds_turn, co_await holds_turn_.acquire());
    for (size_t i = wiped_before; i < change.wiped.size(); ++i) {
      hold_now(here, change.wiped[i], ComplianceHold::wiped, now);  // again, as in set_hold()
    }
    BH_CO_CHECKED(co_await spread_holds(here, &beside));
    if (removing) BH_CO_CHECKED(co_await erase_other_names(here, write.erased));
    BH_CO_CHECKED(co_await store_.write_compliance(write));
    while (here.holds_spread != here.holds_put) (void)co_await spread_holds(here, &beside);  // set meanwhile: as in replace()
    ComplianceTable::Retired retired;
    for (const store::ComplianceKey& key : write.erased) here.owned->erase(key);
    for (const store::ComplianceEntry& entry : write.puts) {
      here.owned->put(entry.key, entry.record, ComplianceHold::none, &retired);
    }
    holds_turn.release();
    here.changed = now;
    note_change();
    if (!retired.empty()) co_await rest();
    co_await yield_now();
  }
  change.names = here.owned->size();
  change.texts_refused = texts_.refused();
  co_return change;
}

}  // namespace bellhop::service
