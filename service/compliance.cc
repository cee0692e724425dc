// SPDX-License-Identifier: Apache-2.0
#include "service/compliance.h"

#include <algorithm>

#include "core/sleep.h"
#include "crypto/record.h"
#include "service/compliance_part.h"

namespace bellhop::service {
namespace {

constexpr Duration kLook = std::chrono::seconds(1);

}  // namespace

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
  for (const auto& here : parts_) {
    BH_CO_CHECKED(co_await spread_holds(*here, nullptr));
    BH_CO_CHECKED(co_await load_heard(*here));
  }
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
      Part& here = certain_part(entry.place.tenant);
      here.holds.put(entry.place.key, record, entry.record.hold, nullptr);
      ++here.holds_put;
      if (entry.record.hold == ComplianceHold::wiped) wipes_.push_back({entry.place.tenant, entry.place.key});
    }
    if (holds.size() < store::kListMax) co_return Status();
    after = std::move(holds.back().place);
  }
}

Task<void> Compliance::run() {
  while (co_await sleep_for(kLook)) {
    look_at_sources();
    co_await keep_heard();
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
