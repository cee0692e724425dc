// SPDX-License-Identifier: Apache-2.0
// The operations on users, keys, devices, subscriptions and tombstones. What holds between their tables (store/check.h
// proves it on a file):
//  1. a user has its key in state `used`, and beside it only the one before, exactly while a live subscription names that;
//     and a mailbox number that no other user has;
//  2. user.devices = number of its device rows; each has a row in device_owners, and the other way round;
//  3. user.subscriptions = its subscription rows; they repeat its mailbox number and tenant;
//  4. a user without devices has a row in unused_users, and only such a one;
//  5. each tombstone has one row in tombstone_expiry; no capability has both a subscription and a tombstone.
#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store::operations {
namespace {

constexpr std::string_view kMailboxNextName = "store/mailbox_next";

Error not_found() {
  return store_error(StoreError::not_found);
}
Error conflict() {
  return store_error(StoreError::conflict);
}
Error limit() {
  return store_error(StoreError::limit);
}

Key unused_row(const StoredUserId& id, const UserRecord& user) {
  return {Key::time(user.last_used), id};
}
Key expiry_row(const CapabilityHash& capability, WallTime expires) {
  return {Key::time(expires), capability};
}

// ---- Keys ----

Result<std::optional<Key>> find_key_row(ReadView& view, const KeyId& id) {
  BH_TRY(std::optional<Bytes> number, view.get(Table::key_numbers, id));
  if (!number) return std::optional<Key>();
  if (number->size() != 8) return fail(corrupt(Table::key_numbers));
  return std::optional<Key>(Key::copy(*number));
}

Status load_key(ReadView& view, const KeyId& id, KeyRecord& record) {
  BH_TRY(std::optional<Key> row, find_key_row(view, id));
  if (!row) return fail(not_found());
  return load_certain(view, Table::keys, *row, record);
}

// Returns its row, which is above all others.
Result<Key> add_key(WriteView& view, const KeyRecord& record) {
  BH_TRY(std::optional<Key> same, find_key_row(view, record.id));
  if (same) return fail(conflict());
  BH_TRY(std::optional<Entry> last, view.last(Table::keys));
  if (last && last->key.size() != 8) return fail(corrupt(Table::keys));
  Key row = Key::be64(last ? load_be64(last->key.data()) + 1 : 0);
  BH_CHECKED(save(view, Table::keys, row, record));
  BH_CHECKED(view.put(Table::key_numbers, record.id, row));
  return row;
}

Status take_pool_key(WriteView& view, const StoredUserId& user, KeyRecord& record) {
  BH_TRY(std::optional<Entry> first, view.seek(Table::key_pool, Bytes()));
  if (!first) return fail(store_error(StoreError::pool_empty));
  if (first->key.size() != 8) return fail(corrupt(Table::key_pool));
  Key row = Key::copy(first->key);
  BH_CHECKED(load_certain(view, Table::keys, row, record));
  record.state = KeyState::used;
  record.user = user;
  BH_CHECKED(view.erase(Table::key_pool, row));
  return save(view, Table::keys, row, record);
}

Status erase_key(WriteView& view, const KeyId& id) {
  BH_TRY(std::optional<Key> row, find_key_row(view, id));
  if (!row) return fail(corrupt(Table::key_numbers));
  BH_CHECKED(view.erase(Table::keys, *row));
  return view.erase(Table::key_numbers, id);
}

// ---- Mailbox numbers ----

Result<MailboxNumber> take_mailbox_number(WriteView& view) {
  BH_TRY(std::optional<Entry> free, view.seek(Table::free_mailboxes, Bytes()));
  if (free) {
    if (free->key.size() != 4) return fail(corrupt(Table::free_mailboxes));
    Key row = Key::copy(free->key);
    BH_CHECKED(view.erase(Table::free_mailboxes, row));
    return load_be32(Bytes(row).data());
  }
  BH_TRY(std::optional<Bytes> next, view.get(Table::meta, as_bytes(kMailboxNextName)));
  if (next && next->size() != 4) return fail(corrupt(Table::meta));
  MailboxNumber number = next ? load_be32(next->data()) : 0;
  if (number == UINT32_MAX) return fail(store_error(StoreError::full));
  BH_CHECKED(view.put(Table::meta, as_bytes(kMailboxNextName), Key::be32(number + 1)));
  return number;
}

// Without a device so far.
Status add_user(WriteView& view, const StoredUserId& id, std::string_view tenant, WallTime now, const KeyId& key,
                UserRecord& user) {
  BH_TRY(MailboxNumber mailbox, take_mailbox_number(view));
  user = UserRecord{.tenant = std::string(tenant),
                    .mailbox = mailbox,
                    .key = key,
                    .created = now,
                    .last_used = now,
                    .devices = 0,
                    .subscriptions = {}};
  BH_CHECKED(save(view, Table::users, id, user));
  return view.put(Table::unused_users, unused_row(id, user), Bytes());
}

// ---- Users ----

// Deletes a user that has no devices and no subscriptions any more.
Status erase_user(WriteView& view, const StoredUserId& id, const UserRecord& user) {
  BH_CHECKED(erase_key(view, user.key));
  if (user.old_key != KeyId()) BH_CHECKED(erase_key(view, user.old_key));
  BH_CHECKED(view.erase(Table::hot, Key::be32(user.mailbox)));
  BH_CHECKED(view.put(Table::free_mailboxes, Key::be32(user.mailbox), Bytes()));
  return view.erase(Table::users, id);
}

// ---- Subscriptions ----

Status make_tombstone(WriteView& view, const CapabilityHash& capability, const SubscriptionRecord& record,
                      const Ending& ending) {
  TombstoneRecord tombstone{.reason = ending.reason,
                            .status_frequency_minutes = record.status_frequency_minutes,
                            .expires = ending.expires,
                            .digest = record.digest};
  BH_CHECKED(view.erase(Table::subscriptions, capability));
  BH_CHECKED(save(view, Table::tombstones, capability, tombstone));
  return view.put(Table::tombstone_expiry, expiry_row(capability, ending.expires), Bytes());
}

// The pair before the present one goes with the last live subscription that names it. `user` is saved by the caller.
Status drop_old_key(WriteView& view, UserRecord& user, std::optional<KeyId>& dropped) {
  dropped.reset();
  if (user.old_key == KeyId()) return {};
  for (const CapabilityHash& capability : user.subscriptions) {
    SubscriptionRecord record;
    BH_CHECKED(load_certain(view, Table::subscriptions, capability, record));
    if (record.key == user.old_key) return {};
  }
  BH_CHECKED(erase_key(view, user.old_key));
  dropped = std::exchange(user.old_key, KeyId());
  return {};
}

// Takes the capability out of its user's list and makes it a tombstone.
Status end_loaded_subscription(WriteView& view, const CapabilityHash& capability, const SubscriptionRecord& record,
                               const Ending& ending) {
  UserRecord user;
  BH_CHECKED(load_certain(view, Table::users, record.user, user));
  if (std::erase(user.subscriptions, capability) != 1) return fail(corrupt(Table::users));
  std::optional<KeyId> dropped;
  BH_CHECKED(drop_old_key(view, user, dropped));
  BH_CHECKED(save(view, Table::users, record.user, user));
  return make_tombstone(view, capability, record, ending);
}

void apply_patch(const SubscriptionPatch& patch, SubscriptionRecord& record) {
  if (patch.exchange_id) record.exchange_id = *patch.exchange_id;
  if (patch.state) record.state = *patch.state;
  if (patch.logon) record.logon = *patch.logon;
  if (patch.status_frequency_minutes) record.status_frequency_minutes = *patch.status_frequency_minutes;
  if (patch.split_ciphertext) record.split_ciphertext = *patch.split_ciphertext;
  if (patch.grant_begun) record.grant_begun = *patch.grant_begun;
}

Status add_subscription(WriteView& view, const StoredUserId& id, const NewSubscription& added, UserRecord& user) {
  if (user.subscriptions.size() >= kSubscriptionsPerUserMax) return fail(limit());
  BH_TRY(std::optional<Bytes> subscription, view.get(Table::subscriptions, added.capability));
  BH_TRY(std::optional<Bytes> tombstone, view.get(Table::tombstones, added.capability));
  if (subscription || tombstone) return fail(conflict());
  SubscriptionRecord record = added.record;
  record.user = id;
  record.mailbox = user.mailbox;
  record.tenant = user.tenant;
  record.state = SubscriptionState::pending;
  record.rekey_wished |= user.rekey_wished != WallTime();
  user.subscriptions.push_back(added.capability);
  return save(view, Table::subscriptions, added.capability, record);
}

// ---- Devices ----

Status erase_device_journal(WriteView& view, MailboxNumber mailbox, const DeviceKey& device) {
  Key prefix = {Key::be32(mailbox), device};
  for (;;) {
    BH_TRY(std::optional<Entry> entry, view.seek(Table::journal, prefix));
    if (!entry || !starts_with(entry->key, prefix)) return {};
    BH_CHECKED(view.erase(Table::journal, Key::copy(entry->key)));
  }
}

Status end_all_subscriptions(WriteView& view, const DeviceRemoval& removal, UserRecord& user, RemovedDevice& removed) {
  for (const CapabilityHash& capability : user.subscriptions) {
    SubscriptionRecord record;
    BH_CHECKED(load_certain(view, Table::subscriptions, capability, record));
    BH_CHECKED(make_tombstone(view, capability, record, removal.ending));
    removed.tombstoned.push_back(capability);
  }
  user.subscriptions.clear();
  return {};
}

// The subscriptions that carry the device's credentials: marked, to live until another device has subscribed, or ended
// where `ending` says so. `user` is saved by the caller.
Status leave_orphans(WriteView& view, UserRecord& user, const DeviceKey& device, const std::optional<Ending>& ending,
                     RemovedDevice& removed) {
  std::vector<CapabilityHash> all = user.subscriptions;
  for (const CapabilityHash& capability : all) {
    SubscriptionRecord record;
    BH_CHECKED(load_certain(view, Table::subscriptions, capability, record));
    if (record.source_device != device) continue;
    if (ending) {
      std::erase(user.subscriptions, capability);
      BH_CHECKED(make_tombstone(view, capability, record, *ending));
      removed.tombstoned.push_back(capability);
      continue;
    }
    record.source_left = true;
    BH_CHECKED(save(view, Table::subscriptions, capability, record));
    removed.orphaned.push_back(capability);
  }
  std::optional<KeyId> dropped;
  return drop_old_key(view, user, dropped);
}

}  // namespace

Status add_pool_key(WriteView& view, const KeyRecord& record) {
  KeyRecord pooled = record;
  pooled.state = KeyState::pool;
  pooled.user = StoredUserId();
  BH_TRY(Key row, add_key(view, pooled));
  return view.put(Table::key_pool, row, Bytes());
}

Status read_key(ReadView& view, const KeyId& id, KeyRecord& record) {
  return load_key(view, id, record);
}

Result<bool> get_user(ReadView& view, const StoredUserId& id, std::string_view tenant, UserAndKey& user) {
  BH_TRY(bool found, load(view, Table::users, id, user.user));
  if (!found) return false;
  if (user.user.tenant != tenant) return fail(conflict());
  if (Status key = load_key(view, user.user.key, user.key); !key) {
    return fail(is(key.error(), StoreError::not_found) ? corrupt(Table::key_numbers) : key.error());
  }
  user.created = false;
  return true;
}

Status create_user(WriteView& view, const StoredUserId& id, std::string_view tenant, WallTime now, const KeyRecord& key,
                   UserRecord& user) {
  if (tenant.size() > kTenantSizeMax) return fail(limit());
  BH_TRY(bool known, load(view, Table::users, id, user));
  if (known) return fail(conflict());
  KeyRecord used = key;
  used.state = KeyState::used;
  used.user = id;
  if (Result<Key> row = add_key(view, used); !row) return fail(row.error());
  return add_user(view, id, tenant, now, key.id, user);
}

Status get_or_create_user(WriteView& view, const StoredUserId& id, std::string_view tenant, WallTime now,
                          UserAndKey& user) {
  BH_TRY(bool found, get_user(view, id, tenant, user));
  if (found) return {};
  if (tenant.size() > kTenantSizeMax) return fail(limit());
  BH_CHECKED(take_pool_key(view, id, user.key));
  user.created = true;
  return add_user(view, id, tenant, now, user.key.id, user.user);
}

Status expire_unused_users(WriteView& view, WallTime since, size_t& expired) {
  for (expired = 0; expired < kListMax; ++expired) {
    BH_TRY(std::optional<Entry> entry, view.seek(Table::unused_users, Bytes()));
    if (!entry) return {};
    if (entry->key.size() != 8 + StoredUserId::kBytes) return fail(corrupt(Table::unused_users));
    Key row = Key::copy(entry->key);
    if (load_be64(Bytes(row).data()) >= load_be64(Bytes(Key::time(since)).data())) return {};
    StoredUserId id = StoredUserId::from(Bytes(row).subspan(8));
    UserRecord user;
    BH_CHECKED(load_certain(view, Table::users, id, user));
    if (user.devices != 0 || !user.subscriptions.empty()) return fail(corrupt(Table::users));
    BH_CHECKED(view.erase(Table::unused_users, row));
    BH_CHECKED(erase_user(view, id, user));
  }
  return {};
}

namespace {

// Keeps device_names true where a record's name changes; zero: none.
Status rename_device(WriteView& view, const DevicePlace& place, const ComplianceKey& from, const ComplianceKey& to) {
  if (from == to) return {};
  if (!from.zero()) BH_CHECKED(view.erase(Table::device_names, device_name_row(from, place.user, place.device)));
  if (to.zero()) return {};
  return view.put(Table::device_names, device_name_row(to, place.user, place.device), Bytes());
}

}  // namespace

Status register_device(WriteView& view, const Registration& registration, RegistrationResult& result) {
  UserRecord& user = result.user;
  BH_CHECKED(load_existing(view, Table::users, registration.user, user));
  Key row = device_row(registration.user, registration.device);
  DeviceRecord old;
  BH_TRY(bool known, load(view, Table::devices, row, old));
  result.device_created = !known;
  if (!known && user.devices >= kDevicesPerUserMax) return fail(limit());
  // It was blocked while its subscribe was under way.
  bool blocked = known && old.state == DeviceState::blocked;
  if (blocked && registration.subscription) return fail(conflict());

  if (registration.subscription) {
    BH_CHECKED(add_subscription(view, registration.user, *registration.subscription, user));
  }
  DeviceRecord record = registration.record;
  record.created = known ? old.created : registration.now;
  if (blocked) record.state = DeviceState::blocked;
  BH_CHECKED(save(view, Table::devices, row, record));
  BH_CHECKED(rename_device(view, {registration.user, registration.device}, known ? old.name : ComplianceKey(), record.name));
  if (!known) {
    BH_CHECKED(view.put(Table::device_owners, registration.device, registration.user));
    if (user.devices == 0) BH_CHECKED(view.erase(Table::unused_users, unused_row(registration.user, user)));
    ++user.devices;
  }
  user.last_used = registration.now;
  return save(view, Table::users, registration.user, user);
}

Status update_subscription(WriteView& view, const CapabilityHash& capability, const SubscriptionPatch& patch) {
  SubscriptionRecord record;
  BH_CHECKED(load_existing(view, Table::subscriptions, capability, record));
  apply_patch(patch, record);
  return save(view, Table::subscriptions, capability, record);
}

Status activate_subscription(WriteView& view, const CapabilityHash& capability, std::string_view exchange_id,
                             SubscriptionState state) {
  SubscriptionRecord record;
  BH_CHECKED(load_existing(view, Table::subscriptions, capability, record));
  if (!record.exchange_id.empty() && !exchange_id.empty() && record.exchange_id != exchange_id) return fail(conflict());
  if (!exchange_id.empty()) record.exchange_id = exchange_id;
  // The first callback may overtake Exchange's own answer: active stays active.
  if (record.state == SubscriptionState::pending) record.state = state;
  return save(view, Table::subscriptions, capability, record);
}

Status replace_subscription(WriteView& view, const CapabilityHash& old_one, const CapabilityHash& new_one,
                            const SubscriptionPatch& patch, const Ending& ending) {
  SubscriptionRecord before, after;
  BH_CHECKED(load_existing(view, Table::subscriptions, old_one, before));
  BH_CHECKED(load_existing(view, Table::subscriptions, new_one, after));
  if (before.user != after.user || old_one == new_one) return fail(conflict());
  apply_patch(patch, after);
  BH_CHECKED(save(view, Table::subscriptions, new_one, after));
  return end_loaded_subscription(view, old_one, before, ending);
}

Status end_subscription(WriteView& view, const CapabilityHash& capability, const Ending& ending) {
  SubscriptionRecord record;
  BH_CHECKED(load_existing(view, Table::subscriptions, capability, record));
  return end_loaded_subscription(view, capability, record, ending);
}

Status remove_device(WriteView& view, const DeviceRemoval& removal, RemovedDevice& removed) {
  removed = RemovedDevice();
  UserRecord user;
  BH_CHECKED(load_existing(view, Table::users, removal.user, user));
  Key row = device_row(removal.user, removal.device);
  DeviceRecord device;
  BH_CHECKED(load_existing(view, Table::devices, row, device));
  if (user.devices == 0) return fail(corrupt(Table::users));

  BH_CHECKED(rename_device(view, {removal.user, removal.device}, device.name, ComplianceKey()));
  BH_CHECKED(view.erase(Table::devices, row));
  BH_CHECKED(view.erase(Table::device_owners, removal.device));
  BH_CHECKED(erase_device_journal(view, user.mailbox, removal.device));
  removed.last = --user.devices == 0;
  if (!removed.last) {
    std::optional<Ending> at_once;
    if (removal.end_orphaned) at_once = removal.ending;
    BH_CHECKED(leave_orphans(view, user, removal.device, at_once, removed));
    return save(view, Table::users, removal.user, user);
  }
  BH_CHECKED(end_all_subscriptions(view, removal, user, removed));
  if (!removal.keep_user) return erase_user(view, removal.user, user);
  std::optional<KeyId> dropped;
  BH_CHECKED(drop_old_key(view, user, dropped));
  user.last_used = removal.now;
  BH_CHECKED(view.put(Table::unused_users, unused_row(removal.user, user), Bytes()));
  return save(view, Table::users, removal.user, user);
}

Status block_device(WriteView& view, const StoredUserId& id, const DeviceKey& device, const Ending& ending,
                    RemovedDevice& removed) {
  removed = RemovedDevice();
  UserRecord user;
  BH_CHECKED(load_existing(view, Table::users, id, user));
  Key row = device_row(id, device);
  DeviceRecord record;
  BH_CHECKED(load_existing(view, Table::devices, row, record));
  record.state = DeviceState::blocked;
  BH_CHECKED(save(view, Table::devices, row, record));
  BH_CHECKED(leave_orphans(view, user, device, ending, removed));
  return save(view, Table::users, id, user);
}

// ---- Hand-over at a heartbeat ----

Status begin_succession(WriteView& view, const Succession& succession) {
  SubscriptionRecord old_one;
  BH_CHECKED(load_existing(view, Table::subscriptions, succession.old_one, old_one));
  UserRecord user;
  BH_CHECKED(load_certain(view, Table::users, old_one.user, user));
  // Only the newest can have a successor, so that there is one at a time.
  if (user.subscriptions.empty() || user.subscriptions.back() != succession.old_one) return fail(conflict());
  DeviceRecord source;
  BH_TRY(bool there, load(view, Table::devices, device_row(old_one.user, old_one.source_device), source));
  bool good = there && source.state == DeviceState::active &&
              succession.subscription.record.source_device == old_one.source_device;
  if (!good) return fail(conflict());
  NewSubscription added = succession.subscription;
  added.record.takes_over = true;
  BH_CHECKED(add_subscription(view, old_one.user, added, user));
  return save(view, Table::users, old_one.user, user);
}

Status end_pending(WriteView& view, const CapabilityHash& capability, const Ending& ending) {
  SubscriptionRecord record;
  BH_CHECKED(load_existing(view, Table::subscriptions, capability, record));
  if (record.state != SubscriptionState::pending) return fail(conflict());
  return end_loaded_subscription(view, capability, record, ending);
}

Status complete_succession(WriteView& view, const CapabilityHash& capability, const Ending& ending, HandedOver& over) {
  over = HandedOver();
  SubscriptionRecord successor;
  BH_CHECKED(load_existing(view, Table::subscriptions, capability, successor));
  UserRecord user;
  BH_CHECKED(load_certain(view, Table::users, successor.user, user));
  while (!user.subscriptions.empty() && user.subscriptions.front() != capability) {
    CapabilityHash older = user.subscriptions.front();
    SubscriptionRecord record;
    BH_CHECKED(load_certain(view, Table::subscriptions, older, record));
    user.subscriptions.erase(user.subscriptions.begin());
    BH_CHECKED(make_tombstone(view, older, record, ending));
    over.ended.push_back(older);
  }
  successor.takes_over = false;
  BH_CHECKED(save(view, Table::subscriptions, capability, successor));
  BH_CHECKED(drop_old_key(view, user, over.dropped_key));
  return save(view, Table::users, successor.user, user);
}

namespace {

// At most kListMax of them.
Status erase_pool_made_before(WriteView& view, WallTime now, uint64_t& erased) {
  while (erased < kListMax) {
    BH_TRY(std::optional<Entry> first, view.seek(Table::key_pool, Bytes()));
    if (!first) return {};
    if (first->key.size() != 8) return fail(corrupt(Table::key_pool));
    Key row = Key::copy(first->key);
    KeyRecord key;
    BH_CHECKED(load_certain(view, Table::keys, row, key));
    if (key.created >= now) return {};
    BH_CHECKED(view.erase(Table::key_pool, row));
    BH_CHECKED(erase_key(view, key.id));
    ++erased;
  }
  return {};
}

}  // namespace

Status rotate_key(WriteView& view, const StoredUserId& id, UserAndKey& rotated) {
  rotated = UserAndKey();
  UserRecord& user = rotated.user;
  BH_CHECKED(load_existing(view, Table::users, id, user));
  if (user.old_key != KeyId()) return fail(conflict());
  // Pairs that lay in the pool when the wish was made may be known to whom the wish is a protection from.
  uint64_t erased = 0;
  BH_CHECKED(erase_pool_made_before(view, user.rekey_wished, erased));
  BH_TRY(std::optional<Entry> any, view.seek(Table::key_pool, Bytes()));
  if (!any || erased == kListMax) return {};
  BH_CHECKED(take_pool_key(view, id, rotated.key));
  rotated.created = true;
  user.old_key = std::exchange(user.key, rotated.key.id);
  user.rekey_wished = WallTime();
  std::optional<KeyId> dropped;
  BH_CHECKED(drop_old_key(view, user, dropped));
  return save(view, Table::users, id, user);
}

namespace {

Status wish_for(WriteView& view, const StoredUserId& id, UserRecord& user, WallTime now, RekeyWished& wished) {
  user.rekey_wished = std::max(user.rekey_wished, now);
  BH_CHECKED(save(view, Table::users, id, user));
  ++wished.users;
  for (const CapabilityHash& capability : user.subscriptions) {
    SubscriptionRecord record;
    BH_CHECKED(load_certain(view, Table::subscriptions, capability, record));
    record.rekey_wished = true;
    BH_CHECKED(save(view, Table::subscriptions, capability, record));
    ++wished.subscriptions;
  }
  return {};
}

}  // namespace

Status wish_new_keys(WriteView& view, const RekeyWish& wish, RekeyWished& wished) {
  wished = RekeyWished();
  if (wish.user) {
    UserRecord user;
    BH_CHECKED(load_existing(view, Table::users, *wish.user, user));
    return wish_for(view, *wish.user, user, wish.now, wished);
  }
  if (wish.users_max == 0 || wish.users_max > kListMax) return fail(limit());
  if (wish.tenant.empty() && !wish.after) BH_CHECKED(erase_pool_made_before(view, wish.now, wished.pool_keys));
  std::vector<UserEntry> page;
  BH_CHECKED(list_users(view, wish.after, wish.users_max, page));
  for (UserEntry& entry : page) {
    if (!wish.tenant.empty() && entry.record.tenant != wish.tenant) continue;
    BH_CHECKED(wish_for(view, entry.id, entry.record, wish.now, wished));
  }
  if (page.size() == wish.users_max) wished.next = page.back().id;
  return {};
}

Status update_device(WriteView& view, const StoredUserId& user, const DeviceKey& device, const DevicePatch& patch) {
  Key row = device_row(user, device);
  DeviceRecord record;
  BH_CHECKED(load_existing(view, Table::devices, row, record));
  if (patch.push_token) {
    record.sealed_push_token = patch.push_token->sealed;
    record.registered_at = patch.push_token->registered_at;
    record.proven = record.token_gone = false;
  }
  if (patch.sealed_secret_hash) record.sealed_secret_hash = *patch.sealed_secret_hash;
  if (patch.state) record.state = *patch.state;
  if (patch.proven) record.proven = *patch.proven;
  if (patch.preview) record.preview = *patch.preview;
  if (patch.badge) record.badge = *patch.badge;
  if (patch.locale) record.locale = *patch.locale;
  if (patch.name) {
    BH_CHECKED(rename_device(view, {user, device}, record.name, *patch.name));
    record.name = *patch.name;
  }
  return save(view, Table::devices, row, record);
}

Status mark_token_gone(WriteView& view, const StoredUserId& user, const DeviceKey& device, WallTime registered_at) {
  Key row = device_row(user, device);
  DeviceRecord record;
  BH_CHECKED(load_existing(view, Table::devices, row, record));
  if (record.registered_at != registered_at) return fail(conflict());
  record.token_gone = true;
  return save(view, Table::devices, row, record);
}

Status read_route(ReadView& view, const CapabilityHash& capability, Route& route) {
  BH_TRY(bool live, load(view, Table::subscriptions, capability, route.subscription));
  if (live) {
    route.kind = RouteKind::subscription;
    return {};
  }
  BH_TRY(bool ended, load(view, Table::tombstones, capability, route.tombstone));
  route.kind = ended ? RouteKind::tombstone : RouteKind::none;
  return {};
}

Status read_devices(ReadView& view, const StoredUserId& user, std::vector<DeviceEntry>& devices) {
  devices.clear();
  return for_each(view, Table::devices, user, user, [&](Bytes key, Bytes value) -> Result<bool> {
    DeviceEntry& entry = devices.emplace_back();
    if (key.size() != StoredUserId::kBytes + DeviceKey::kBytes || !decode(value, entry.record))
      return fail(corrupt(Table::devices));
    entry.key = DeviceKey::from(key.subspan(StoredUserId::kBytes));
    return true;
  });
}

Status extend_tombstone(WriteView& view, const CapabilityHash& capability, WallTime expires) {
  TombstoneRecord record;
  BH_CHECKED(load_existing(view, Table::tombstones, capability, record));
  if (expires <= record.expires) return {};
  BH_CHECKED(view.erase(Table::tombstone_expiry, expiry_row(capability, record.expires)));
  record.expires = expires;
  BH_CHECKED(save(view, Table::tombstones, capability, record));
  return view.put(Table::tombstone_expiry, expiry_row(capability, expires), Bytes());
}

Status sweep_tombstones(WriteView& view, WallTime now, size_t& swept) {
  for (swept = 0; swept < kListMax; ++swept) {
    BH_TRY(std::optional<Entry> entry, view.seek(Table::tombstone_expiry, Bytes()));
    if (!entry) return {};
    if (entry->key.size() != 8 + CapabilityHash::kBytes) return fail(corrupt(Table::tombstone_expiry));
    Key row = Key::copy(entry->key);
    if (load_be64(Bytes(row).data()) > load_be64(Bytes(Key::time(now)).data())) return {};
    BH_CHECKED(view.erase(Table::tombstone_expiry, row));
    BH_CHECKED(view.erase(Table::tombstones, Bytes(row).subspan(8)));
  }
  return {};
}

}  // namespace bellhop::store::operations
