// SPDX-License-Identifier: Apache-2.0
// What is known of devices. A tenant's rows are those of one set; a bulk writes another one beside it.
#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store::operations {

Status write_compliance(WriteView& view, const ComplianceWrite& write) {
  if (write.puts.size() + write.erased.size() > kComplianceMax) return fail(store_error(StoreError::limit));
  for (const ComplianceEntry& entry : write.puts) {
    BH_CHECKED(save(view, Table::compliance, compliance_row(write.set, entry.key), entry.record));
  }
  for (const ComplianceKey& key : write.erased) {
    BH_CHECKED(view.erase(Table::compliance, compliance_row(write.set, key)));
  }
  return {};
}

Status read_compliance_page(ReadView& view, uint32_t set, const std::optional<ComplianceKey>& after, size_t rows_max,
                            FunctionRef<void(const ComplianceKey&, const ComplianceRecord&)> f,
                            std::optional<ComplianceKey>& next) {
  next.reset();
  if (rows_max == 0) return fail(store_error(StoreError::limit));
  Key prefix = Key::be32(set);
  Key from = after ? compliance_row(set, *after).next() : prefix;
  ComplianceRecord record;
  size_t rows = 0;
  return for_each(view, Table::compliance, prefix, from, [&](Bytes key, Bytes value) -> Result<bool> {
    bool good = key.size() == 4 + ComplianceKey::kBytes && decode(value, record);
    if (!good) return fail(corrupt(Table::compliance));
    ComplianceKey name = ComplianceKey::from(key.subspan(4));
    f(name, record);
    if (++rows < rows_max) return true;
    next = name;
    return false;
  });
}

Status list_compliance_sets(ReadView& view, std::vector<ComplianceSetEntry>& sets) {
  sets.clear();
  return for_each(view, Table::compliance_sets, [&](Bytes key, Bytes value) -> Result<bool> {
    ComplianceSetEntry& entry = sets.emplace_back();
    if (!decode(value, entry.set)) return fail(corrupt(Table::compliance_sets));
    entry.tenant = as_text(key);
    return true;
  });
}

Status newest_compliance_set(ReadView& view, uint32_t& newest) {
  newest = 0;
  std::vector<ComplianceSetEntry> sets;
  BH_CHECKED(list_compliance_sets(view, sets));
  for (const ComplianceSetEntry& entry : sets) newest = std::max(newest, entry.set.number);
  BH_TRY(std::optional<Entry> last, view.last(Table::compliance));
  if (!last) return {};
  if (last->key.size() != 4 + ComplianceKey::kBytes) return fail(corrupt(Table::compliance));
  newest = std::max(newest, load_be32(last->key.data()));
  return {};
}

Status sweep_compliance(WriteView& view, uint32_t kept, size_t& swept) {
  swept = 0;
  std::vector<ComplianceSetEntry> sets;
  BH_CHECKED(list_compliance_sets(view, sets));
  auto in_use = [&](uint32_t number) {
    return number == kept || std::ranges::find(sets, number, [](const auto& s) { return s.set.number; }) != sets.end();
  };
  Key from{};
  while (swept < kComplianceMax) {
    BH_TRY(std::optional<Entry> entry, view.seek(Table::compliance, from));
    if (!entry) return {};
    if (entry->key.size() != 4 + ComplianceKey::kBytes) return fail(corrupt(Table::compliance));
    uint32_t number = load_be32(entry->key.data());
    if (in_use(number)) {
      if (number == UINT32_MAX) return {};
      from = Key::be32(number + 1);
      continue;
    }
    from = Key::copy(entry->key);
    BH_CHECKED(view.erase(Table::compliance, from));
    ++swept;
  }
  return {};
}

Status list_holds(ReadView& view, const std::optional<HoldPlace>& after, std::vector<HoldEntry>& entries) {
  entries.clear();
  Key from = after ? hold_row(after->tenant, after->key).next() : Key{};
  return for_each(view, Table::compliance_holds, Bytes(), from, [&](Bytes key, Bytes value) -> Result<bool> {
    HoldEntry& entry = entries.emplace_back();
    if (key.size() <= ComplianceKey::kBytes || !decode(value, entry.record)) {
      return fail(corrupt(Table::compliance_holds));
    }
    entry.place = {ComplianceKey::from(key), std::string(as_text(key.subspan(ComplianceKey::kBytes)))};
    return entries.size() < kListMax;
  });
}

Status find_devices(ReadView& view, const ComplianceKey& name, std::vector<DevicePlace>& places) {
  places.clear();
  return for_each(view, Table::device_names, name, name, [&](Bytes key, Bytes) -> Result<bool> {
    constexpr size_t kName = ComplianceKey::kBytes, kUser = StoredUserId::kBytes;
    if (key.size() != kName + kUser + DeviceKey::kBytes) return fail(corrupt(Table::device_names));
    places.push_back({StoredUserId::from(key.subspan(kName)), DeviceKey::from(key.subspan(kName + kUser))});
    return places.size() < kListMax;
  });
}

}  // namespace bellhop::store::operations
