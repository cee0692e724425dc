// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>

#include "store/error.h"
#include "store/records.h"
#include "store/tables.h"

namespace bellhop::store {

inline Error corrupt(Table table) {
  return store_error(StoreError::corrupt, uint32_t(table));
}

// A key put together from parts, on the stack.
class Key {
 public:
  Key(std::initializer_list<Bytes> parts) {
    for (Bytes part : parts) append(part);
  }
  static Key be32(uint32_t number) {
    uint8_t bytes[4];
    store_be32(bytes, number);
    return {Bytes(bytes)};
  }
  static Key be64(uint64_t number) {
    uint8_t bytes[8];
    store_be64(bytes, number);
    return {Bytes(bytes)};
  }
  // A time before the epoch sorts as the epoch.
  static Key time(WallTime t) { return be64(uint64_t(std::max<int64_t>(0, t.time_since_epoch().count()))); }
  static Key copy(Bytes bytes) { return {bytes}; }

  operator Bytes() const { return {bytes_.data(), size_}; }
  // The smallest key that is greater than this one.
  Key next() const {
    static constexpr uint8_t zero[1] = {0};
    return {*this, Bytes(zero)};
  }

 private:
  void append(Bytes part) {
    BH_CHECK(size_ + part.size() <= bytes_.size());
    std::copy(part.begin(), part.end(), bytes_.begin() + size_);
    size_ += uint8_t(part.size());
  }
  std::array<uint8_t, 128> bytes_;
  uint8_t size_ = 0;
};

inline Key device_row(const StoredUserId& user, const DeviceKey& device) {
  return {user, device};
}
inline Key compliance_row(uint32_t set, const ComplianceKey& key) {
  return {Key::be32(set), key};
}
inline Key hold_row(std::string_view tenant, const ComplianceKey& key) {
  return {key, as_bytes(tenant)};
}
inline Key device_name_row(const ComplianceKey& name, const StoredUserId& user, const DeviceKey& device) {
  return {name, user, device};
}
inline Key journal_row(const JournalKey& key) {
  return {Key::be32(key.mailbox), key.device, Key::be64(key.item_hash)};
}
inline std::optional<JournalKey> parse_journal_row(Bytes row) {
  if (row.size() != 4 + DeviceKey::kBytes + 8) return std::nullopt;
  return JournalKey{load_be32(row.data()), DeviceKey::from(row.subspan(4)),
                    load_be64(row.data() + 4 + DeviceKey::kBytes)};
}
inline bool starts_with(Bytes bytes, Bytes prefix) {
  return bytes.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), bytes.begin());
}

// Reads one record. False where there is none. Errors: corrupt.
template <class R>
Result<bool> load(ReadView& view, Table table, Bytes key, R& record) {
  BH_TRY(std::optional<Bytes> value, view.get(table, key));
  if (!value) return false;
  if (!decode(*value, record)) return fail(corrupt(table));
  return true;
}

// The same where the record must exist. Errors: not_found, corrupt.
template <class R>
Status load_existing(ReadView& view, Table table, Bytes key, R& record) {
  BH_TRY(bool found, load(view, table, key, record));
  if (!found) return fail(store_error(StoreError::not_found));
  return {};
}

// The same where its absence contradicts another record. Errors: corrupt.
template <class R>
Status load_certain(ReadView& view, Table table, Bytes key, R& record) {
  BH_TRY(bool found, load(view, table, key, record));
  if (!found) return fail(corrupt(table));
  return {};
}

// An Id in an index table. False where there is none.
template <class I>
Result<bool> load_id(ReadView& view, Table table, Bytes key, I& id) {
  BH_TRY(std::optional<Bytes> value, view.get(table, key));
  if (!value) return false;
  if (value->size() != I::kBytes) return fail(corrupt(table));
  id = I::from(*value);
  return true;
}

template <class R>
Status save(WriteView& view, Table table, Bytes key, const R& record) {
  std::vector<uint8_t> bytes;
  BH_CHECKED(encode(record, bytes));
  return view.put(table, key, bytes);
}

// Calls f(key, value) -> Result<bool> (false: enough) for the entries whose keys begin with `prefix`, from `from` on.
template <class F>
Status for_each(ReadView& view, Table table, Bytes prefix, Bytes from, F&& f) {
  Key at = Key::copy(from);
  for (;;) {
    BH_TRY(std::optional<Entry> entry, view.seek(table, at));
    if (!entry || !starts_with(entry->key, prefix)) return {};
    if (entry->key.size() > 120) return fail(corrupt(table));  // no key of ours is that long
    at = Key::copy(entry->key).next();
    BH_TRY(bool go_on, f(entry->key, entry->value));
    if (!go_on) return {};
  }
}
template <class F>
Status for_each(ReadView& view, Table table, F&& f) {
  return for_each(view, table, Bytes(), Bytes(), std::forward<F>(f));
}

}  // namespace bellhop::store
