// SPDX-License-Identifier: Apache-2.0
// The operations that list users, devices and subscriptions page by page, for operators.
#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store::operations {
namespace {

// One page: read(key, value, entry) fills an entry of each row after `from`; false where the row is not one of ours.
template <class E, class F>
Status list_page(ReadView& view, Table table, Bytes from, size_t entries_max, std::vector<E>& entries, F&& read) {
  BH_CHECK(entries_max >= 1 && entries_max <= kListMax);
  entries.clear();
  return for_each(view, table, Bytes(), from, [&](Bytes key, Bytes value) -> Result<bool> {
    if (!read(key, value, entries.emplace_back())) return fail(corrupt(table));
    return entries.size() < entries_max;
  });
}

bool read_subscription(Bytes key, Bytes value, SubscriptionEntry& entry) {
  if (key.size() != CapabilityHash::kBytes || !decode(value, entry.record)) return false;
  entry.capability = CapabilityHash::from(key);
  return true;
}

}  // namespace

Status find_subscription(ReadView& view, Bytes start, SubscriptionEntry& entry) {
  BH_TRY(std::optional<Entry> row, view.seek(Table::subscriptions, start));
  if (!row || !starts_with(row->key, start)) return fail(store_error(StoreError::not_found));
  if (!read_subscription(row->key, row->value, entry)) return fail(corrupt(Table::subscriptions));
  return {};
}

Status list_users(ReadView& view, const std::optional<StoredUserId>& after, size_t entries_max,
                  std::vector<UserEntry>& entries) {
  Key from = after ? Key::copy(*after).next() : Key{};
  return list_page(view, Table::users, from, entries_max, entries, [](Bytes key, Bytes value, UserEntry& entry) {
    if (key.size() != StoredUserId::kBytes || !decode(value, entry.record)) return false;
    entry.id = StoredUserId::from(key);
    return true;
  });
}

Status list_devices(ReadView& view, const std::optional<DevicePlace>& after, size_t entries_max,
                    std::vector<PlacedDevice>& entries) {
  Key from = after ? device_row(after->user, after->device).next() : Key{};
  return list_page(view, Table::devices, from, entries_max, entries, [](Bytes key, Bytes value, PlacedDevice& entry) {
    if (key.size() != StoredUserId::kBytes + DeviceKey::kBytes || !decode(value, entry.record)) return false;
    entry.place = {StoredUserId::from(key), DeviceKey::from(key.subspan(StoredUserId::kBytes))};
    return true;
  });
}

Status list_subscriptions(ReadView& view, const std::optional<CapabilityHash>& after, size_t entries_max,
                          std::vector<SubscriptionEntry>& entries) {
  Key from = after ? Key::copy(*after).next() : Key{};
  return list_page(view, Table::subscriptions, from, entries_max, entries, read_subscription);
}

}  // namespace bellhop::store::operations
