// SPDX-License-Identifier: Apache-2.0
// Compliance: what is held by name. A hold is of all names of a device: of those that are known when it is set, and of each
// that data links with one of them later, before anybody sees that data. On core 0.
#include <algorithm>

#include "core/io.h"
#include "service/compliance_part.h"

namespace bellhop::service {
namespace {

constexpr size_t kWritesAtOnce = 64;  // they share commits
constexpr size_t kSegmentsPerTurn = 4;

Task<void> write_one(store::Store* store, const std::string* tenant, store::ComplianceKey key, store::HoldRecord record,
                     Status* status) {
  *status = co_await store->put_hold(*tenant, key, record);
}

}  // namespace

// A wiped device stays wiped, and a hold keeps its time, until it is let go by name.
void Compliance::hold_now(Part& part, const store::ComplianceKey& key, ComplianceHold hold, WallTime since) {
  if (this->hold(part.tenant, key) >= hold) return;
  ComplianceRecord record;
  record.updated = since;
  part.holds.put(key, record, hold, &retired_holds_);
  part.unwritten.insert(key);
  ++part.holds_put;
  note_change();
  if (hold == ComplianceHold::wiped) wipes_.push_back({part.tenant, key});
}

// Two names of one device.
void Compliance::spread_hold(Part& part, const store::ComplianceKey& one, const store::ComplianceKey& other) {
  WallTime since{}, other_since{};
  ComplianceHold hold = this->hold(part.tenant, one, &since), other_hold = this->hold(part.tenant, other, &other_since);
  if (hold > other_hold) hold_now(part, other, hold, since);
  if (hold < other_hold) hold_now(part, one, other_hold, other_since);
}

// Until every device of which `names` knows several names is held by all of them or by none.
Task<void> Compliance::spread_over(Part& part, const ComplianceTable& names) {
  for (uint64_t before = part.holds_put + 1; before != part.holds_put;) {
    before = part.holds_put;
    for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) {
      names.for_each_other_name(segment, [&](const store::ComplianceKey& name, const store::ComplianceKey& first) {
        spread_hold(part, name, first);
      });
      if (segment % kSegmentsPerTurn == kSegmentsPerTurn - 1) co_await yield_now();
    }
  }
}

// Over the names that can be seen, and those that are about to be; and writes them. `coming`: null, or names that nobody
// sees yet. The caller has the turn of holds, so that no name is added or taken away meanwhile, and asks again while
// holds_put and holds_spread differ: then somebody has set a hold.
Task<Status> Compliance::spread_holds(Part& part, const ComplianceTable* coming) {
  uint64_t spread = 0;
  do {
    spread = part.holds_put;
    if (part.holds.size() == 0) break;
    if (coming) co_await spread_over(part, *coming);
    if (part.holds_spread != part.holds_put) co_await spread_over(part, *part.owned);
  } while (spread != part.holds_put);
  part.holds_spread = spread;
  co_return co_await write_holds(part);
}

// Other names of any of these devices, by one step or several.
Task<std::vector<store::ComplianceKey>> Compliance::other_names(const Part& part,
                                                                const std::vector<store::ComplianceKey>& firsts) const {
  std::set<store::ComplianceKey> wanted(firsts.begin(), firsts.end());
  std::vector<store::ComplianceKey> names;
  for (size_t before = SIZE_MAX; before != names.size();) {
    before = names.size();
    for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) {
      part.owned->for_each_other_name(segment, [&](const store::ComplianceKey& name, const store::ComplianceKey& first) {
        if (wanted.contains(first) && wanted.insert(name).second) names.push_back(name);
      });
      if (segment % kSegmentsPerTurn == kSegmentsPerTurn - 1) co_await yield_now();
    }
  }
  co_return names;
}

Task<std::vector<store::ComplianceKey>> Compliance::names_of(const Part& part, store::ComplianceKey device) const {
  DeviceFacts facts;
  if (!part.owned->find(device, facts)) facts.key = device;
  std::vector<store::ComplianceKey> names = co_await other_names(part, {facts.key});
  names.push_back(facts.key);
  if (std::ranges::find(names, device) == names.end()) names.push_back(device);
  co_return names;
}

// What is not written stays to be written with the next.
Task<Status> Compliance::write_holds(Part& part) {
  while (!part.unwritten.empty()) {
    std::vector<store::ComplianceKey> keys;
    for (const store::ComplianceKey& key : part.unwritten) {
      keys.push_back(key);
      if (keys.size() == kWritesAtOnce) break;
    }
    std::vector<Status> statuses(keys.size());
    {
      TaskScope running(&co_await current_context());
      for (size_t i = 0; i < keys.size(); ++i) {
        part.unwritten.erase(keys[i]);  // who holds it more strictly meanwhile puts it there again
        store::HoldRecord record;
        record.hold = hold(part.tenant, keys[i], &record.since);
        if (record.hold == ComplianceHold::none) continue;  // let go meanwhile
        running.spawn(write_one(&store_, &part.tenant, keys[i], record, &statuses[i]));
      }
      co_await running.join();
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!statuses[i]) part.unwritten.insert(keys[i]);
    }
    for (Status& status : statuses) {
      if (!status) co_return std::move(status);
    }
  }
  co_return Status();
}

Task<Status> Compliance::lift(Part& part, const std::vector<store::ComplianceKey>& names) {
  for (const store::ComplianceKey& name : names) {
    part.unwritten.erase(name);
    BH_CO_CHECKED(co_await store_.erase_hold(part.tenant, name));
    part.holds.erase(name);
  }
  note_change();
  co_return Status();
}

// Data names what was wiped again and again: only what is new is written.
Task<Status> Compliance::hold_wiped(Part& part, const std::vector<store::ComplianceKey>& devices) {
  if (devices.empty()) co_return Status();
  WallTime now = io::wall_now();
  for (const store::ComplianceKey& device : devices) hold_now(part, device, ComplianceHold::wiped, now);
  BH_CO_TRY(Semaphore::Permit turn, co_await holds_turn_.acquire());
  for (const store::ComplianceKey& device : devices) hold_now(part, device, ComplianceHold::wiped, now);  // as in set_hold()
  BH_CO_CHECKED(co_await spread_holds(part, nullptr));
  co_return Status();
}

Task<Result<std::vector<store::ComplianceKey>>> Compliance::set_hold(std::string tenant, store::ComplianceKey device,
                                                                     ComplianceHold hold) {
  if (!part(tenant)) set_tenants({tenant});
  Part& here = certain_part(tenant);
  WallTime now = io::wall_now();
  DeviceFacts facts;
  if (!here.owned->find(device, facts)) facts.key = device;
  auto hold_all = [&](const std::vector<store::ComplianceKey>& names) {
    if (hold == ComplianceHold::none) return;
    for (const store::ComplianceKey& name : names) hold_now(here, name, hold, now);
  };
  // Whoever has found facts asks for the first name too: so it counts by every name.
  hold_all({device, facts.key});
  BH_CO_TRY(Semaphore::Permit turn, co_await holds_turn_.acquire());
  std::vector<store::ComplianceKey> names = co_await names_of(here, device);
  if (hold == ComplianceHold::none) {
    BH_CO_CHECKED(co_await lift(here, names));
    co_return names;
  }
  // Again, for an earlier call that lifted may have ended meanwhile: the last one has the last word.
  hold_all(names);
  here.unwritten.insert(names.begin(), names.end());
  BH_CO_CHECKED(co_await write_holds(here));
  if (!retired_holds_.empty()) co_await rest();
  co_return names;
}

}  // namespace bellhop::service
