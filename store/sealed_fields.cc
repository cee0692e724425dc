// SPDX-License-Identifier: Apache-2.0
// The operations by which sealed fields are found, and sealed anew under another key-encryption key.
#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store::operations {
namespace {

// The tables that hold sealed fields, in the order of a walk.
constexpr Table kSealedTables[] = {Table::keys, Table::devices, Table::subscriptions, Table::meta};

std::vector<uint8_t> copy(Bytes bytes) {
  return {bytes.begin(), bytes.end()};
}

void add(SealedPage& page, SealedKind kind, Bytes name, Bytes box) {
  if (!box.empty()) page.fields.push_back({kind, copy(name), copy(box)});
}

// The sealed fields of one row.
Status read_row(Table table, Bytes key, Bytes value, SealedPage& page) {
  switch (table) {
    case Table::keys: {
      KeyRecord record;
      if (!decode(value, record)) return fail(corrupt(table));
      add(page, SealedKind::private_key, record.id, record.sealed_private_key);
      return {};
    }
    case Table::devices: {
      DeviceRecord record;
      if (!decode(value, record)) return fail(corrupt(table));
      add(page, SealedKind::device_secret, key, record.sealed_secret_hash);
      add(page, SealedKind::push_token, key, record.sealed_push_token);
      return {};
    }
    case Table::subscriptions: {
      SubscriptionRecord record;
      if (!decode(value, record)) return fail(corrupt(table));
      if (record.envelope != EnvelopeKind::split) return {};
      add(page, SealedKind::split_ciphertext, key, record.split_ciphertext);
      page.url_keks.push_back(record.kek);
      return {};
    }
    default:
      BH_CHECK(table == Table::meta);
      if (is_service_meta(as_text(key))) add(page, SealedKind::meta, as_bytes(service_meta_name(as_text(key))), value);
      return {};
  }
}

bool same(Bytes a, Bytes b) {
  return std::ranges::equal(a, b);
}

// True where the field held the old box and holds the new one now. A record that is gone, or holds another box, is none
// of this walk's any more.
template <class R>
Result<bool> replace(WriteView& view, Table table, Bytes row, std::vector<uint8_t> R::*member, const ResealedField& field) {
  R record;
  BH_TRY(bool found, load(view, table, row, record));
  if (!found || !same(record.*member, field.field.box)) return false;
  record.*member = field.box;
  BH_CHECKED(save(view, table, row, record));
  return true;
}

Result<bool> replace_private_key(WriteView& view, const ResealedField& field) {
  BH_TRY(std::optional<Bytes> number, view.get(Table::key_numbers, field.field.name));
  if (!number) return false;
  Key row = Key::copy(*number);
  return replace(view, Table::keys, row, &KeyRecord::sealed_private_key, field);
}

Result<bool> replace_meta(WriteView& view, const ResealedField& field) {
  std::vector<uint8_t> stored;
  Status found = get_meta(view, as_text(field.field.name), stored);
  if (!found && !is(found.error(), StoreError::not_found)) return fail(found.error());
  if (!found || !same(stored, field.field.box)) return false;
  BH_CHECKED(put_meta(view, as_text(field.field.name), field.box));
  return true;
}

Result<bool> replace_field(WriteView& view, const ResealedField& field) {
  Bytes row = field.field.name;
  switch (field.field.kind) {
    case SealedKind::private_key:
      return replace_private_key(view, field);
    case SealedKind::device_secret:
      return replace(view, Table::devices, row, &DeviceRecord::sealed_secret_hash, field);
    case SealedKind::push_token:
      return replace(view, Table::devices, row, &DeviceRecord::sealed_push_token, field);
    case SealedKind::split_ciphertext:
      return replace(view, Table::subscriptions, row, &SubscriptionRecord::split_ciphertext, field);
    case SealedKind::meta:
      return replace_meta(view, field);
  }
  return false;
}

}  // namespace

Status list_sealed(ReadView& view, const std::optional<SealedPlace>& after, size_t fields_max, SealedPage& page) {
  BH_CHECK(fields_max >= 1 && fields_max <= kListMax);
  page = SealedPage();
  size_t first = after ? after->table : 0;
  if (first >= std::size(kSealedTables)) return {};
  for (size_t t = first; t < std::size(kSealedTables); ++t) {
    bool within = after && t == first;
    if (within && after->row.size() > 120) return fail(corrupt(kSealedTables[t]));
    Key from = within ? Key::copy(after->row).next() : Key{};
    bool full = false;
    size_t rows = 0;
    BH_CHECKED(for_each(view, kSealedTables[t], Bytes(), from, [&](Bytes key, Bytes value) -> Result<bool> {
      BH_CHECKED(read_row(kSealedTables[t], key, value, page));
      // Rows without a sealed field count too: a page is one short transaction.
      full = page.fields.size() >= fields_max || ++rows >= kListMax;
      if (full) page.next = SealedPlace{static_cast<uint8_t>(t), copy(key)};
      return !full;
    }));
    if (full) return {};
  }
  return {};
}

Status replace_sealed(WriteView& view, const std::vector<ResealedField>& fields, size_t& replaced) {
  if (fields.size() > kListMax) return fail(store_error(StoreError::limit));
  replaced = 0;
  for (const ResealedField& field : fields) {
    BH_TRY(bool done, replace_field(view, field));
    replaced += done;
  }
  return {};
}

}  // namespace bellhop::store::operations
