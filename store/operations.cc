// SPDX-License-Identifier: Apache-2.0
#include "store/operations.h"

#include "store/rows.h"

namespace bellhop::store::operations {
namespace {

// Names in `meta`: ours begin with "store/", the service's with "service/".
constexpr std::string_view kSchemaName = "store/schema";
constexpr std::string_view kServicePrefix = "service/";

Error not_found() {
  return store_error(StoreError::not_found);
}
Error conflict() {
  return store_error(StoreError::conflict);
}
Error limit() {
  return store_error(StoreError::limit);
}

Result<std::string> meta_row(std::string_view name) {
  if (name.empty() || name.size() > kMetaNameSizeMax) return fail(limit());
  return std::string(kServicePrefix) + std::string(name);
}

}  // namespace

Status prepare_schema(WriteView& view, bool upgrade) {
  BH_TRY(std::optional<Bytes> value, view.get(Table::meta, as_bytes(kSchemaName)));
  if (value) {
    if (value->size() != 4) return fail(corrupt(Table::meta));
    uint32_t version = load_be32(value->data());
    bool known = version >= kSchemaVersionOldest && version <= kSchemaVersion;
    if (!known) return fail(store_error(StoreError::schema_unknown, version));
    if (version == kSchemaVersion) return {};
    if (!upgrade) return fail(store_error(StoreError::schema_unknown, version));
    return view.put(Table::meta, as_bytes(kSchemaName), Key::be32(kSchemaVersion));
  }
  for (size_t t = 0; t < kTableCount; ++t) {
    BH_TRY(uint64_t count, view.count(Table(t)));
    if (count > 0) return fail(store_error(StoreError::schema_unknown, 0));
  }
  return view.put(Table::meta, as_bytes(kSchemaName), Key::be32(kSchemaVersion));
}

bool is_service_meta(std::string_view row) {
  return row.starts_with(kServicePrefix);
}

std::string_view service_meta_name(std::string_view row) {
  BH_CHECK(is_service_meta(row));
  return row.substr(kServicePrefix.size());
}

// ---- API tokens ----

Status add_token(WriteView& view, const TokenHash& hash, const TokenRecord& record) {
  BH_TRY(uint64_t tokens, view.count(Table::api_tokens));
  if (tokens >= kTokensMax) return fail(limit());
  BH_TRY(std::optional<Bytes> same_hash, view.get(Table::api_tokens, hash));
  BH_TRY(std::optional<Bytes> same_id, view.get(Table::token_ids, record.id));
  if (same_hash || same_id) return fail(conflict());
  BH_CHECKED(save(view, Table::api_tokens, hash, record));
  return view.put(Table::token_ids, record.id, hash);
}

Status find_token(ReadView& view, const TokenHash& hash, TokenRecord& record) {
  return load_existing(view, Table::api_tokens, hash, record);
}

Status list_tokens(ReadView& view, std::vector<TokenEntry>& tokens) {
  tokens.clear();
  return for_each(view, Table::api_tokens, [&](Bytes key, Bytes value) -> Result<bool> {
    TokenEntry& entry = tokens.emplace_back();
    if (key.size() != TokenHash::kBytes || !decode(value, entry.record)) return fail(corrupt(Table::api_tokens));
    entry.hash = TokenHash::from(key);
    return true;
  });
}

Status revoke_token(WriteView& view, const TokenId& id, WallTime now) {
  TokenHash hash;
  BH_TRY(bool found, load_id(view, Table::token_ids, id, hash));
  if (!found) return fail(not_found());
  TokenRecord record;
  BH_CHECKED(load_certain(view, Table::api_tokens, hash, record));
  if (record.state == TokenState::revoked) return {};
  record.state = TokenState::revoked;
  record.revoked = now;
  return save(view, Table::api_tokens, hash, record);
}

// ---- Hot state, journal, meta, counts ----

uint64_t hot_owner(const StoredUserId& user) {
  return load_be64(user.bytes.data());
}

Status read_hot(ReadView& view, MailboxNumber mailbox, HotRecord& record) {
  BH_TRY(bool found, load(view, Table::hot, Key::be32(mailbox), record));
  if (!found) record = HotRecord();
  return {};
}

Status write_hot(WriteView& view, MailboxNumber mailbox, const HotRecord& record) {
  return save(view, Table::hot, Key::be32(mailbox), record);
}

Status add_journal(WriteView& view, const std::vector<JournalEntry>& entries) {
  if (entries.size() > kJournalAddMax) return fail(limit());
  for (const JournalEntry& entry : entries) {
    BH_CHECKED(save(view, Table::journal, journal_row(entry.key), entry.record));
  }
  return {};
}

Status update_journal(WriteView& view, const std::vector<JournalEntry>& entries) {
  if (entries.size() > kListMax) return fail(limit());
  for (const JournalEntry& entry : entries) {
    Key row = journal_row(entry.key);
    BH_TRY(std::optional<Bytes> stored, view.get(Table::journal, row));
    if (stored) BH_CHECKED(save(view, Table::journal, row, entry.record));
  }
  return {};
}

Status list_journal(ReadView& view, const std::optional<JournalKey>& after, std::vector<JournalEntry>& entries) {
  entries.clear();
  Key from = after ? journal_row(*after).next() : Key{};
  return for_each(view, Table::journal, Bytes(), from, [&](Bytes key, Bytes value) -> Result<bool> {
    JournalEntry& entry = entries.emplace_back();
    std::optional<JournalKey> parsed = parse_journal_row(key);
    if (!parsed || !decode(value, entry.record)) return fail(corrupt(Table::journal));
    entry.key = *parsed;
    return entries.size() < kListMax;
  });
}

Status get_meta(ReadView& view, std::string_view name, std::vector<uint8_t>& value) {
  BH_TRY(std::string row, meta_row(name));
  BH_TRY(std::optional<Bytes> stored, view.get(Table::meta, as_bytes(row)));
  if (!stored) return fail(not_found());
  value.assign(stored->begin(), stored->end());
  return {};
}

Status put_meta(WriteView& view, std::string_view name, Bytes value) {
  if (value.size() > kMetaValueSizeMax) return fail(limit());
  BH_TRY(std::string row, meta_row(name));
  return view.put(Table::meta, as_bytes(row), value);
}

Status counts(ReadView& view, Counts& counts) {
  const std::pair<Table, uint64_t*> all[] = {
      {Table::api_tokens, &counts.tokens},           {Table::users, &counts.users},
      {Table::unused_users, &counts.users_unused},   {Table::devices, &counts.devices},
      {Table::device_names, &counts.devices_named},
      {Table::subscriptions, &counts.subscriptions}, {Table::keys, &counts.keys},
      {Table::key_pool, &counts.keys_pool},          {Table::hot, &counts.hot},
      {Table::tombstones, &counts.tombstones},       {Table::compliance, &counts.compliance},
      {Table::compliance_holds, &counts.holds},
      {Table::ews_url_cache, &counts.ews_urls},      {Table::journal, &counts.journal},
  };
  for (auto [table, number] : all) {
    BH_TRY(*number, view.count(table));
  }
  return {};
}

}  // namespace bellhop::store::operations
