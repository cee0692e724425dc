// SPDX-License-Identifier: Apache-2.0
#include "store/dump.h"

#include <fmt/format.h>

#include "store/rows.h"

namespace bellhop::store {
namespace {

std::string short_id(Bytes id) {
  return to_hex(id.first(std::min<size_t>(id.size(), 6)));
}
int64_t ms(WallTime t) {
  return t.time_since_epoch().count();
}

// A tenant's or topic's name is the operator's own text.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : utf8_repaired(text)) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (uint8_t(c) < 0x20 || uint8_t(c) == 0x7f) {
      out += fmt::format("\\u{:04x}", uint8_t(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string members(const TokenRecord& r) {
  return fmt::format(R"("id":"{}","tenant":{},"scope":{},"revoked":{},"created":{})", short_id(r.id), quoted(r.tenant),
                     int(r.scope), r.state == TokenState::revoked, ms(r.created));
}
std::string members(const UserRecord& r) {
  return fmt::format(
      R"("tenant":{},"mailbox":{},"keyId":"{}","created":{},"lastUsed":{},"devices":{},"subscriptions":{})",
      quoted(r.tenant), r.mailbox, short_id(r.key), ms(r.created), ms(r.last_used), r.devices, r.subscriptions.size());
}
std::string members(const KeyRecord& r) {
  return fmt::format(R"("id":"{}","state":"{}","user":"{}","created":{},"publicSize":{},"sealedSize":{})",
                     short_id(r.id), r.state == KeyState::pool ? "pool" : "used", short_id(r.user), ms(r.created),
                     r.public_key.size(), r.sealed_private_key.size());
}
std::string members(const DeviceRecord& r) {
  return fmt::format(
      R"("platform":{},"environment":{},"preview":{},"blocked":{},"badge":{},"proven":{},"tokenGone":{},"topic":{},)"
      R"("secretSize":{},"tokenSize":{},"registeredAt":{},"created":{})",
      int(r.platform), int(r.environment), int(r.preview), r.state == DeviceState::blocked, r.badge, r.proven,
      r.token_gone, quoted(r.topic), r.sealed_secret_hash.size(), r.sealed_push_token.size(), ms(r.registered_at),
      ms(r.created));
}
std::string members(const SubscriptionRecord& r) {
  return fmt::format(
      R"("user":"{}","mailbox":{},"tenant":{},"state":"{}","envelope":"{}","sourceDevice":"{}","keyId":"{}",)"
      R"("urlSize":{},"exchangeIdSize":{},"splitSize":{},"statusFrequencyMinutes":{},"created":{},"failedLogons":{},)"
      R"("nextLogonAt":{},"kek":{},"grantBegun":{})",
      short_id(r.user), r.mailbox, quoted(r.tenant), r.state == SubscriptionState::active ? "active" : "pending",
      r.envelope == EnvelopeKind::rsa ? "rsa" : "split", short_id(r.source_device), short_id(r.key), r.ews_url.size(),
      r.exchange_id.size(), r.split_ciphertext.size(), r.status_frequency_minutes, ms(r.created), r.logon.failed,
      ms(r.logon.next_allowed), r.kek, ms(r.grant_begun));
}
std::string members(const HotRecord& r) {
  size_t items = size_t(std::ranges::count_if(r.ring, [](uint64_t item) { return item != 0; }));
  return fmt::format(R"("watermark":{},"items":{},"lastSeen":{},"newestReceived":{},"unread":{})",
                     r.watermark_hash != 0, items, ms(r.last_seen), ms(r.newest_received), r.unread);
}
std::string members(const TombstoneRecord& r) {
  return fmt::format(R"("reason":{},"statusFrequencyMinutes":{},"expires":{})", int(r.reason),
                     r.status_frequency_minutes, ms(r.expires));
}
std::string members(const ComplianceRecord& r) {
  return fmt::format(
      R"("account":{},"otherName":{},"managed":{},"compromised":{},"encrypted":{},"activeSyncProfile":{},"override":{},)"
      R"("model":{},"os":{},"osVersion":{},"deviceType":{},"mailClient":{},"lastContact":{},"updated":{})",
      r.account != 0, !r.first_name.zero(), int(r.managed), int(r.compromised), int(r.encrypted),
      int(r.activesync_profile), int(r.override_to), quoted(r.model), quoted(r.os), quoted(r.os_version),
      quoted(r.device_type), quoted(r.mail_client), ms(r.last_contact), ms(r.updated));
}
std::string members(const ComplianceSet& r) {
  return fmt::format(R"("set":{},"replaced":{})", r.number, ms(r.replaced));
}
std::string members(const HoldRecord& r) {
  return fmt::format(R"("hold":{},"since":{})", int(r.hold), ms(r.since));
}
std::string members(const EwsUrlRecord& r) {
  return fmt::format(R"("urlSize":{},"expires":{})", r.url.size(), ms(r.expires));
}
std::string members(const JournalRecord& r) {
  return fmt::format(R"("user":"{}","firstSeen":{},"nextAttempt":{},"attempts":{})", short_id(r.user), ms(r.first_seen),
                     ms(r.next_attempt), r.attempts);
}

std::string start_of_line(Table table, Bytes key) {
  // The names in meta are the program's own; numbers and hashes are given in hex.
  std::string name = table == Table::meta ? quoted(as_text(key)) : "\"" + short_id(key) + "\"";
  return fmt::format(R"({{"table":"{}","key":{})", table_name(table), name);
}

template <class R>
std::string row(Table table, Bytes key, Bytes value) {
  R record;
  if (!decode(value, record)) return start_of_line(table, key) + ",\"damaged\":true}\n";
  return start_of_line(table, key) + "," + members(record) + "}\n";
}

std::string row_of(Table table, Bytes key, Bytes value) {
  switch (table) {
    case Table::api_tokens:
      return row<TokenRecord>(table, key, value);
    case Table::users:
      return row<UserRecord>(table, key, value);
    case Table::keys:
      return row<KeyRecord>(table, key, value);
    case Table::devices:
      return row<DeviceRecord>(table, key, value);
    case Table::subscriptions:
      return row<SubscriptionRecord>(table, key, value);
    case Table::hot:
      return row<HotRecord>(table, key, value);
    case Table::tombstones:
      return row<TombstoneRecord>(table, key, value);
    case Table::compliance:
      return row<ComplianceRecord>(table, key, value);
    case Table::compliance_sets:
      return row<ComplianceSet>(table, key, value);
    case Table::compliance_holds:
      return row<HoldRecord>(table, key, value);
    case Table::ews_url_cache:
      return row<EwsUrlRecord>(table, key, value);
    case Table::journal:
      return row<JournalRecord>(table, key, value);
    case Table::meta:
      return fmt::format("{},\"size\":{}}}\n", start_of_line(table, key), value.size());
    case Table::token_ids:
    case Table::unused_users:
    case Table::key_numbers:
    case Table::key_pool:
    case Table::device_owners:
    case Table::free_mailboxes:
    case Table::tombstone_expiry:
    case Table::device_names:
      break;  // indices: they repeat what is printed above
  }
  return {};
}

}  // namespace

Status dump_redacted(Engine& engine, FunctionRef<void(std::string_view line)> line) {
  return engine.read([&](ReadView& view) -> Status {
    for (size_t t = 0; t < kTableCount; ++t) {
      BH_CHECKED(for_each(view, Table(t), [&](Bytes key, Bytes value) -> Result<bool> {
        std::string text = row_of(Table(t), key, value);
        if (!text.empty()) line(text);
        return true;
      }));
    }
    return {};
  });
}

}  // namespace bellhop::store
