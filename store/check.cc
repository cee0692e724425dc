// SPDX-License-Identifier: Apache-2.0
#include "store/check.h"

#include <fmt/format.h>

#include <unordered_set>

#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store {
namespace {

// How a row is named in a report: enough to find it, too little to be anybody's name.
std::string short_name(Bytes key) {
  return to_hex(key.first(std::min<size_t>(key.size(), 6)));
}

class Checker {
 public:
  Checker(ReadView& view, CheckReport& report) : view_(view), report_(report) {}

  Status run() {
    BH_CHECKED(operations::counts(view_, report_.counts));
    BH_CHECKED(check_schema_and_meta());
    BH_CHECKED(check_tokens());
    BH_CHECKED(check_users());
    BH_CHECKED(check_unused_users());
    BH_CHECKED(check_keys());
    BH_CHECKED(check_devices());
    BH_CHECKED(check_subscriptions());
    BH_CHECKED(check_tombstones());
    BH_CHECKED(check_mailbox_tables());
    BH_CHECKED(check_compliance());
    return check_records<EwsUrlRecord>(Table::ews_url_cache, EwsUrlKey::kBytes);
  }

 private:
  void problem(Table table, Bytes key, std::string_view what) {
    if (++report_.problems_found > kProblemsListedMax) return;
    report_.problems.push_back(fmt::format("{} {}: {}", table_name(table), short_name(key), what));
  }

  // Calls f(key, value) for each row whose key has `key_size` bytes; others are problems.
  template <class F>
  Status rows(Table table, size_t key_size, F f) {
    return for_each(view_, table, [&](Bytes key, Bytes value) -> Result<bool> {
      ++report_.rows;
      if (key.size() != key_size) {
        problem(table, key, "the key has a wrong size");
      } else {
        BH_CHECKED(f(key, value));
      }
      return true;
    });
  }
  // The same with decoded records; those that cannot be decoded are problems.
  template <class R, class F>
  Status records(Table table, size_t key_size, F f) {
    R record;
    return rows(table, key_size, [&](Bytes key, Bytes value) -> Status {
      if (decode(value, record)) return f(key, record);
      problem(table, key, "the record is damaged");
      return {};
    });
  }
  template <class R>
  Status check_records(Table table, size_t key_size) {
    return records<R>(table, key_size, [](Bytes, const R&) -> Status { return {}; });
  }
  // False where there is none, or a damaged one (which is reported at its own table).
  template <class R>
  Result<bool> find(Table table, Bytes key, R& record) {
    BH_TRY(std::optional<Bytes> value, view_.get(table, key));
    return value && decode(*value, record);
  }
  Status expect(Table table, Bytes key, Bytes value, Table of, Bytes of_key, std::string_view what) {
    BH_TRY(std::optional<Bytes> stored, view_.get(table, key));
    if (!stored || !std::equal(stored->begin(), stored->end(), value.begin(), value.end())) problem(of, of_key, what);
    return {};
  }

  Status check_schema_and_meta() {
    return for_each(view_, Table::meta, [&](Bytes key, Bytes value) -> Result<bool> {
      ++report_.rows;
      if (value.size() > kMetaValueSizeMax) problem(Table::meta, key, "the value is too long");
      return true;
    });
  }

  Status check_tokens() {
    BH_CHECKED(records<TokenRecord>(Table::api_tokens, TokenHash::kBytes, [&](Bytes key, const TokenRecord& token) {
      return expect(Table::token_ids, token.id, key, Table::api_tokens, key, "its id does not lead back to it");
    }));
    return rows(Table::token_ids, TokenId::kBytes, [&](Bytes key, Bytes value) -> Status {
      TokenRecord token;
      BH_TRY(bool found, find(Table::api_tokens, value, token));
      if (!found || !std::ranges::equal(Bytes(token.id), key)) problem(Table::token_ids, key, "leads to no such token");
      return {};
    });
  }

  Status check_users() {
    return records<UserRecord>(Table::users, StoredUserId::kBytes, [&](Bytes key, const UserRecord& user) -> Status {
      if (!mailboxes_.insert(user.mailbox).second) problem(Table::users, key, "another user has its mailbox number");
      KeyRecord pair;
      Status loaded = operations::read_key(view_, user.key, pair);
      if (!loaded || pair.state != KeyState::used || !std::ranges::equal(Bytes(pair.user), key)) {
        problem(Table::users, key, "its key is missing, or is not its own");
      }
      BH_CHECKED(check_old_key(key, user));
      BH_CHECKED(check_user_devices(key, user));
      return check_user_subscriptions(key, user);
    });
  }

  // The pair before is kept exactly while a live subscription names it.
  Status check_old_key(Bytes key, const UserRecord& user) {
    bool named = false;
    for (const CapabilityHash& capability : user.subscriptions) {
      SubscriptionRecord record;
      BH_TRY(bool found, find(Table::subscriptions, capability, record));
      if (!found) continue;  // reported elsewhere
      bool own = record.key == user.key || (user.old_key != KeyId() && record.key == user.old_key);
      if (!own && record.key != KeyId()) problem(Table::users, key, "a subscription names a key that is not its user's");
      named |= record.key == user.old_key;
    }
    if (user.old_key == KeyId()) return {};
    KeyRecord pair;
    Status loaded = operations::read_key(view_, user.old_key, pair);
    if (!loaded || pair.state != KeyState::used || !std::ranges::equal(Bytes(pair.user), key)) {
      problem(Table::users, key, "its key before is missing, or is not its own");
    }
    if (!named) problem(Table::users, key, "keeps a key that no subscription names");
    return {};
  }

  Status check_user_devices(Bytes key, const UserRecord& user) {
    uint32_t devices = 0;
    BH_CHECKED(
        for_each(view_, Table::devices, key, key, [&](Bytes, Bytes) -> Result<bool> { return ++devices, true; }));
    if (devices != user.devices)
      problem(Table::users, key, fmt::format("counts {} devices, has {}", user.devices, devices));
    if (devices > 0) return {};
    if (!user.subscriptions.empty()) problem(Table::users, key, "has subscriptions but no device");
    return expect(Table::unused_users, Key{Key::time(user.last_used), key}, Bytes(), Table::users, key,
                  "has no device and is not in unused_users");
  }

  Status check_user_subscriptions(Bytes key, const UserRecord& user) {
    for (const CapabilityHash& capability : user.subscriptions) {
      SubscriptionRecord record;
      BH_TRY(bool found, find(Table::subscriptions, capability, record));
      if (!found || !std::ranges::equal(Bytes(record.user), key) || record.mailbox != user.mailbox ||
          record.tenant != user.tenant) {
        problem(Table::users, key, "lists a subscription that is missing or not its own");
      }
    }
    return {};
  }

  Status check_unused_users() {
    return rows(Table::unused_users, 8 + StoredUserId::kBytes, [&](Bytes key, Bytes) -> Status {
      UserRecord user;
      BH_TRY(bool found, find(Table::users, key.subspan(8), user));
      if (!found || user.devices != 0 || !starts_with(key, Key::time(user.last_used))) {
        problem(Table::unused_users, key, "no such user without devices");
      }
      return {};
    });
  }

  Status check_keys() {
    BH_CHECKED(records<KeyRecord>(Table::keys, 8, [&](Bytes key, const KeyRecord& pair) -> Status {
      BH_CHECKED(expect(Table::key_numbers, pair.id, key, Table::keys, key, "its id does not lead back to it"));
      BH_TRY(std::optional<Bytes> pooled, view_.get(Table::key_pool, key));
      if (pooled.has_value() != (pair.state == KeyState::pool))
        problem(Table::keys, key, "its state and key_pool differ");
      if (pair.state == KeyState::pool) return {};
      UserRecord user;
      BH_TRY(bool found, find(Table::users, pair.user, user));
      if (!found || (user.key != pair.id && user.old_key != pair.id)) problem(Table::keys, key, "belongs to nobody");
      return {};
    }));
    BH_CHECKED(rows(Table::key_numbers, KeyId::kBytes, [&](Bytes key, Bytes value) -> Status {
      KeyRecord pair;
      BH_TRY(bool found, find(Table::keys, value, pair));
      if (!found || !std::ranges::equal(Bytes(pair.id), key)) problem(Table::key_numbers, key, "leads to no such key");
      return {};
    }));
    return rows(Table::key_pool, 8, [&](Bytes key, Bytes) -> Status {
      BH_TRY(std::optional<Bytes> pair, view_.get(Table::keys, key));
      if (!pair) problem(Table::key_pool, key, "leads to no key");
      return {};
    });
  }

  Status check_devices() {
    constexpr size_t kUser = StoredUserId::kBytes;
    BH_CHECKED(
        records<DeviceRecord>(Table::devices, kUser + DeviceKey::kBytes, [&](Bytes key, const DeviceRecord& device) -> Status {
          BH_TRY(std::optional<Bytes> user, view_.get(Table::users, key.first(kUser)));
          if (!user) problem(Table::devices, key, "its user is missing");
          if (!device.name.zero()) {
            BH_CHECKED(expect(Table::device_names, Key{device.name, key}, Bytes(), Table::devices, key,
                              "device_names does not lead to it"));
          }
          return expect(Table::device_owners, key.subspan(kUser), key.first(kUser), Table::devices, key,
                        "device_owners does not lead back to it");
        }));
    return rows(Table::device_owners, DeviceKey::kBytes, [&](Bytes key, Bytes value) -> Status {
      if (value.size() != kUser) {
        problem(Table::device_owners, key, "the record is damaged");
        return {};
      }
      BH_TRY(std::optional<Bytes> device, view_.get(Table::devices, Key{value, key}));
      if (!device) problem(Table::device_owners, key, "leads to no device");
      return {};
    });
  }

  Status check_subscriptions() {
    return records<SubscriptionRecord>(
        Table::subscriptions, CapabilityHash::kBytes, [&](Bytes key, const SubscriptionRecord& record) -> Status {
          UserRecord user;
          BH_TRY(bool found, find(Table::users, record.user, user));
          if (!found) {
            problem(Table::subscriptions, key, "its user is missing");
          } else if (std::ranges::find(user.subscriptions, CapabilityHash::from(key)) == user.subscriptions.end()) {
            problem(Table::subscriptions, key, "its user does not list it");
          }
          BH_TRY(std::optional<Bytes> tombstone, view_.get(Table::tombstones, key));
          if (tombstone) problem(Table::subscriptions, key, "has a tombstone and lives");
          return {};
        });
  }

  Status check_tombstones() {
    BH_CHECKED(
        records<TombstoneRecord>(Table::tombstones, CapabilityHash::kBytes, [&](Bytes key, const TombstoneRecord& t) {
          return expect(Table::tombstone_expiry, Key{Key::time(t.expires), key}, Bytes(), Table::tombstones, key,
                        "is not in tombstone_expiry");
        }));
    return rows(Table::tombstone_expiry, 8 + CapabilityHash::kBytes, [&](Bytes key, Bytes) -> Status {
      TombstoneRecord tombstone;
      BH_TRY(bool found, find(Table::tombstones, key.subspan(8), tombstone));
      if (!found || !starts_with(key, Key::time(tombstone.expires))) {
        problem(Table::tombstone_expiry, key, "leads to no tombstone");
      }
      return {};
    });
  }

  // Rows of a set that no tenant has are no problem: a bulk that did not end, swept at the next start.
  Status check_compliance() {
    BH_CHECKED(check_records<ComplianceRecord>(Table::compliance, 4 + ComplianceKey::kBytes));
    BH_CHECKED(check_named<ComplianceSet>(Table::compliance_sets, 0));
    BH_CHECKED(check_named<HoldRecord>(Table::compliance_holds, ComplianceKey::kBytes));
    constexpr size_t kName = ComplianceKey::kBytes;
    constexpr size_t kDevice = StoredUserId::kBytes + DeviceKey::kBytes;
    return rows(Table::device_names, kName + kDevice, [&](Bytes key, Bytes) -> Status {
      DeviceRecord device;
      BH_TRY(bool found, find(Table::devices, key.subspan(kName), device));
      if (!found || !std::ranges::equal(Bytes(device.name), key.first(kName))) {
        problem(Table::device_names, key, "leads to no device of this name");
      }
      return {};
    });
  }
  // Records whose key ends with a tenant, after `prefix` bytes.
  template <class R>
  Status check_named(Table table, size_t prefix) {
    R record;
    return for_each(view_, table, [&](Bytes key, Bytes value) -> Result<bool> {
      ++report_.rows;
      if (key.size() <= prefix || key.size() > prefix + kTenantSizeMax) {
        problem(table, key, "the key has a wrong size");
      } else if (!decode(value, record)) {
        problem(table, key, "the record is damaged");
      }
      return true;
    });
  }

  // A hot record whose mailbox is gone is no problem: it may have been on its way, and its owner's name makes it void.
  Status check_mailbox_tables() {
    BH_CHECKED(check_records<HotRecord>(Table::hot, 4));
    BH_CHECKED(rows(Table::free_mailboxes, 4, [&](Bytes key, Bytes) -> Status {
      if (mailboxes_.contains(load_be32(key.data()))) problem(Table::free_mailboxes, key, "is in use");
      return {};
    }));
    return check_records<JournalRecord>(Table::journal, 4 + DeviceKey::kBytes + 8);
  }

  ReadView& view_;
  CheckReport& report_;
  std::unordered_set<MailboxNumber> mailboxes_;
};

}  // namespace

Result<CheckReport> check(Engine& engine) {
  CheckReport report;
  BH_CHECKED(engine.read([&](ReadView& view) { return Checker(view, report).run(); }));
  return report;
}

}  // namespace bellhop::store
