// SPDX-License-Identifier: Apache-2.0
#pragma once

// What bellhop keeps, as the service sees it: records (records.h) and the changes that are made to them, each atomic.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/task.h"
#include "store/error.h"
#include "store/ids.h"
#include "store/keks.h"
#include "store/records.h"
#include "store/tables.h"

namespace bellhop::store {

// When a change is safe:
//  synced:  co_await returns after the commit that holds the change was synced. All changes but hot.
//  grouped: write_hot returns at once; the change is committed within 50 ms. A crash may lose the tail.
enum class Durability : uint8_t { synced, grouped };
inline constexpr Duration kHotFlushDelay = 40ms;   // then the commit begins
inline constexpr Duration kHotRetryDelay = 1s;     // after a commit of hot records that failed
inline constexpr size_t kHotPendingMax = 4096;     // mailboxes with uncommitted hot records, per core
inline constexpr size_t kWritesQueuedMax = 16384;  // changes that wait for the writer, all cores
inline constexpr size_t kBatchMax = 256;           // changes in one commit

// Most entries that one list_*, update_journal or sweep call handles.
inline constexpr size_t kListMax = 256;
// Most entries that one add_journal takes: all pushes of one callback to all devices of its user.
inline constexpr size_t kJournalAddMax = 8192;
inline constexpr size_t kTokensMax = 4096;  // API tokens, revoked ones included
// Most rows that one call for compliance data handles.
inline constexpr size_t kComplianceMax = 1024;

// A user as `getpublickey` needs it.
struct UserAndKey {
  UserRecord user;
  KeyRecord key;
  bool created = false;
};

// A new EWS push subscription, pending until its first callback.
struct NewSubscription {
  CapabilityHash capability;
  SubscriptionRecord record;  // user, mailbox and tenant are set by the store
};

struct Registration {
  StoredUserId user;
  DeviceKey device;
  DeviceRecord record;
  // Absent where the device joins the mailbox's live subscription.
  std::optional<NewSubscription> subscription;
  WallTime now{};
};

struct RegistrationResult {
  bool device_created = false;
  UserRecord user;  // after the change
};

// Changes to a subscription; what is absent stays as it is.
struct SubscriptionPatch {
  std::optional<std::string> exchange_id;
  std::optional<SubscriptionState> state;
  std::optional<LogonRule> logon;
  std::optional<uint16_t> status_frequency_minutes;
  std::optional<std::vector<uint8_t>> split_ciphertext;  // renewed OAuth tokens
  std::optional<WallTime> grant_begun;
};

// Changes to a device; what is absent stays. A new push token makes the token unproven and not gone.
struct DevicePatch {
  struct PushToken {
    std::vector<uint8_t> sealed;
    WallTime registered_at{};
  };
  std::optional<PushToken> push_token;
  std::optional<std::vector<uint8_t>> sealed_secret_hash;
  std::optional<DeviceState> state;
  std::optional<bool> proven;
  std::optional<Preview> preview;
  std::optional<bool> badge;
  std::optional<std::string> locale;
  std::optional<ComplianceKey> name;
};

// How a subscription ends.
struct Ending {
  TombstoneReason reason = TombstoneReason::removed;
  WallTime expires{};  // of the tombstone: 2 x StatusFrequency after the last contact
};

struct DeviceRemoval {
  StoredUserId user;
  DeviceKey device;
  Ending ending;  // for the subscription, where this is the last device
  // Not the last device: subscriptions that carry its credentials end at once too, because it was wiped.
  bool end_orphaned = false;
  // Last device: false deletes user and key pair; true keeps them as a user who has not subscribed yet (a first
  // registration that failed), to expire as such.
  bool keep_user = false;
  WallTime now{};
};

// A live subscription's successor, made with the credentials that it carries.
struct Succession {
  CapabilityHash old_one;
  NewSubscription subscription;  // its source device must be the old one's, still there and not blocked
};

struct HandedOver {
  std::vector<CapabilityHash> ended;  // older subscriptions of the user, tombstones now
  std::optional<KeyId> dropped_key;   // that no live subscription named any more
};

// Whose key pairs are to be replaced.
struct RekeyWish {
  std::optional<StoredUserId> user;  // this one alone; else, page by page:
  std::string tenant;                // of this tenant; empty: of all
  std::optional<StoredUserId> after;
  size_t users_max = 0;  // looked at in this page, 1 to kListMax
  WallTime now{};
};
struct RekeyWished {
  uint64_t users = 0;          // that have the wish now
  uint64_t subscriptions = 0;  // of theirs: each is renewed at a heartbeat
  uint64_t pool_keys = 0;      // made before the wish, and erased, with the first page for all
  std::optional<StoredUserId> next;  // absent: that was the last page
};

// A field that is sealed under a key-encryption key.
enum class SealedKind : uint8_t { private_key, device_secret, push_token, split_ciphertext, meta };
struct SealedField {
  SealedKind kind = SealedKind::meta;
  std::vector<uint8_t> name;  // of its record, as it was sealed for: KeyId, user ‖ device, capability, name in `meta`
  std::vector<uint8_t> box;
};
// Where a walk over them stands: a table and a row in it, opaque.
struct SealedPlace {
  uint8_t table = 0;
  std::vector<uint8_t> row;
};
struct SealedPage {
  std::vector<SealedField> fields;
  std::vector<uint32_t> url_keks;   // of the page's live subscriptions with envelope split
  std::optional<SealedPlace> next;  // absent: that was the last page
};
struct ResealedField {
  SealedField field;  // as it was read
  std::vector<uint8_t> box;
};

struct RemovedDevice {
  bool last = false;                       // no device is left
  std::vector<CapabilityHash> tombstoned;  // subscriptions that ended
  // Subscriptions that live on but carry the removed device's credentials: another device must subscribe again.
  std::vector<CapabilityHash> orphaned;
};

enum class RouteKind : uint8_t { none, subscription, tombstone };

// What a capability leads to. Kept by the caller and used again, so that reading allocates nothing.
struct Route {
  RouteKind kind = RouteKind::none;
  SubscriptionRecord subscription;  // with RouteKind::subscription
  TombstoneRecord tombstone;        // with RouteKind::tombstone
};

struct DeviceEntry {
  DeviceKey key;
  DeviceRecord record;
};
struct UserEntry {
  StoredUserId id;
  UserRecord record;
};
// Where a device stands among all of them.
struct DevicePlace {
  StoredUserId user;
  DeviceKey device;
  friend auto operator<=>(const DevicePlace&, const DevicePlace&) = default;
};
struct PlacedDevice {
  DevicePlace place;
  DeviceRecord record;
};
struct SubscriptionEntry {
  CapabilityHash capability;
  SubscriptionRecord record;
};
struct ComplianceEntry {
  ComplianceKey key;
  ComplianceRecord record;
};
// Changes of one set, in one transaction; at most kComplianceMax rows together.
struct ComplianceWrite {
  uint32_t set = 0;
  std::vector<ComplianceEntry> puts;
  std::vector<ComplianceKey> erased;  // fine where there is none
};
struct ComplianceSetEntry {
  std::string tenant;
  ComplianceSet set;
};
// Where a walk over holds stands.
struct HoldPlace {
  ComplianceKey key;
  std::string tenant;
};
struct HoldEntry {
  HoldPlace place;
  HoldRecord record;
};
struct TokenEntry {
  TokenHash hash;
  TokenRecord record;
};
struct JournalEntry {
  JournalKey key;
  JournalRecord record;
};

// How writing goes, since start.
struct WriteHealth {
  uint64_t commits = 0;   // transactions that changed something and are on the disk
  uint64_t failures = 0;  // changes that failed because the map or the disk is full, or the file cannot be used
  Error failure;          // the latest of these
};

// Numbers of records, for metrics, the admin page and the key maker.
struct Counts {
  uint64_t tokens = 0;
  uint64_t users = 0;
  uint64_t users_unused = 0;  // without a device so far
  uint64_t devices = 0;
  uint64_t devices_named = 0;  // of these, by what they are called: DeviceRecord::name
  uint64_t subscriptions = 0;
  uint64_t keys = 0;  // pool included
  uint64_t keys_pool = 0;
  uint64_t hot = 0;
  uint64_t tombstones = 0;
  uint64_t compliance = 0;  // rows of all sets
  uint64_t holds = 0;
  uint64_t ews_urls = 0;
  uint64_t journal = 0;
  friend bool operator==(const Counts&, const Counts&) = default;
};

// The store. One object per process, used by all cores; it outlives them. Reads and writes are awaited on any core; hot
// records are read and written on the mailbox's home core only. Reference arguments must live until the call is
// awaited. Besides the errors named, every read may fail with corrupt, and every write with corrupt, full, queue_full,
// limit, closed. A write that failed changed nothing. A write goes on when its flow is stopped, and its flow awaits it.
// A failed sync of the disk ends the process: nobody knows then what is on it.
class Store {
 public:
  virtual ~Store() = default;

  // ---- API tokens ----
  virtual Task<Status> add_token(const TokenHash& hash,
                                 const TokenRecord& record) = 0;            // conflict: hash or id exists; limit
  virtual Task<Result<TokenRecord>> find_token(const TokenHash& hash) = 0;  // not_found; revoked ones are found
  virtual Task<Result<std::vector<TokenEntry>>> list_tokens() = 0;          // all, revoked included
  virtual Task<Status> revoke_token(const TokenId& id, WallTime now) = 0;   // not_found; idempotent

  // ---- Keys made ahead ----
  virtual Task<Status> add_pool_key(const KeyRecord& record) = 0;  // conflict: the id exists
  virtual Task<Result<uint64_t>> count_pool_keys() = 0;
  virtual Task<Result<KeyRecord>> read_key(const KeyId& id) = 0;  // not_found

  // ---- Users ----
  // The user with its key; made with a key of the pool where there is none yet. Errors: pool_empty; conflict where the
  // user exists under another tenant.
  virtual Task<Result<UserAndKey>> get_or_create_user(const StoredUserId& id, std::string_view tenant,
                                                      WallTime now) = 0;
  virtual Task<Result<UserRecord>> read_user(const StoredUserId& id) = 0;  // not_found
  // Deletes users, with their keys, who have had no device since before `since`. Returns how many; call again while it
  // is kListMax.
  virtual Task<Result<size_t>> expire_unused_users(WallTime since) = 0;

  // ---- Devices and subscriptions ----
  // Writes the device (new, or over the old record; a blocked device stays blocked) and the pending subscription, in
  // one transaction. Errors: not_found (user), conflict (the capability is in use; or a blocked device brings a
  // subscription), limit (subscriptions or devices per user).
  virtual Task<Result<RegistrationResult>> register_device(const Registration& registration) = 0;
  virtual Task<Status> update_subscription(const CapabilityHash& capability,
                                           const SubscriptionPatch& patch) = 0;  // not_found
  // Exchange answered (or called back): its subscription id and the new state. Errors: not_found; conflict where
  // another exchange id is recorded.
  virtual Task<Status> activate_subscription(const CapabilityHash& capability, std::string_view exchange_id,
                                             SubscriptionState state) = 0;
  // Hand-over: `old_one` becomes a tombstone, in one transaction with the patch of `new_one`. not_found: either is
  // missing; conflict: they belong to different users.
  virtual Task<Status> replace_subscription(const CapabilityHash& old_one, const CapabilityHash& new_one,
                                            const SubscriptionPatch& patch, const Ending& ending) = 0;
  virtual Task<Status> end_subscription(const CapabilityHash& capability, const Ending& ending) = 0;  // not_found

  // ---- Hand-over at a heartbeat; docs/decisions/0017-renewal.md ----
  // Stores the successor, pending, beside the old one. Errors: not_found (the old one has ended); conflict (its device
  // has left or is blocked, a successor is under way, or the capability is in use); limit.
  virtual Task<Status> begin_succession(const Succession& succession) = 0;
  // Takes a subscription back that Exchange has never called. Errors: not_found; conflict: it was called back, and lives.
  virtual Task<Status> end_pending(const CapabilityHash& capability, const Ending& ending) = 0;
  // A callback of the successor left no gap: all older subscriptions of its user end, and the key that only they named
  // is erased. Errors: not_found.
  virtual Task<Result<HandedOver>> complete_succession(const CapabilityHash& capability, const Ending& ending) = 0;
  // Gives the user a pair of the pool that was made after its wish, which is fulfilled by that; older pairs of the pool
  // are erased. `created` false: the pool has no such pair, and nothing else has changed. The pair before stays as
  // old_key where a live subscription names it. Errors: not_found; conflict: the pair before the present one is in use.
  virtual Task<Result<UserAndKey>> rotate_key(const StoredUserId& user) = 0;
  // Notes the wish at users and their live subscriptions. not_found: the one user is not there.
  virtual Task<Result<RekeyWished>> wish_new_keys(const RekeyWish& wish) = 0;
  // The device is blocked; subscriptions that carry its credentials end at once. not_found.
  virtual Task<Result<RemovedDevice>> block_device(const StoredUserId& user, const DeviceKey& device,
                                                   const Ending& ending) = 0;

  virtual Task<Result<RemovedDevice>> remove_device(const DeviceRemoval& removal) = 0;                // not_found
  virtual Task<Status> update_device(const StoredUserId& user, const DeviceKey& device,
                                     const DevicePatch& patch) = 0;  // not_found
  // The provider said that the token given at `registered_at` is dead. A token given since stays: conflict.
  virtual Task<Status> mark_token_gone(const StoredUserId& user, const DeviceKey& device, WallTime registered_at) = 0;

  // The one read of the notification path: no allocation once `route` is warm. Never fails with not_found.
  virtual Task<Status> read_route(const CapabilityHash& capability, Route& route) = 0;
  virtual Task<Result<std::vector<DeviceEntry>>> read_devices(const StoredUserId& user) = 0;  // empty where none
  virtual Task<Result<DeviceRecord>> read_device(const StoredUserId& user, const DeviceKey& device) = 0;  // not_found
  virtual Task<Result<StoredUserId>> find_device_owner(const DeviceKey& device) = 0;                      // not_found
  // The subscription whose capability hash begins with `start`, which is long enough to be the only one's. not_found.
  virtual Task<Result<SubscriptionEntry>> find_subscription(Bytes start) = 0;

  // ---- Listings, page by page, each page one short transaction ----
  // Up to `entries_max` (1 to kListMax) entries after `after` (absent: from the first), in the order of their keys. Less
  // than that many: there are no more. What is added or removed between two pages may be in neither.
  virtual Task<Result<std::vector<UserEntry>>> list_users(const std::optional<StoredUserId>& after,
                                                          size_t entries_max) = 0;
  virtual Task<Result<std::vector<PlacedDevice>>> list_devices(const std::optional<DevicePlace>& after,
                                                               size_t entries_max) = 0;
  virtual Task<Result<std::vector<SubscriptionEntry>>> list_subscriptions(const std::optional<CapabilityHash>& after,
                                                                          size_t entries_max) = 0;

  // ---- Tombstones ----
  virtual Task<Status> extend_tombstone(const CapabilityHash& capability,
                                        WallTime expires) = 0;      // not_found; never shortens
  virtual Task<Result<size_t>> sweep_tombstones(WallTime now) = 0;  // as expire_unused_users

  // ---- Hot state; home core only ----
  // A fresh record where none of this user is stored: numbers are used again, so the record names its owner.
  virtual Task<Result<HotRecord>> read_hot(MailboxNumber mailbox, const StoredUserId& user) = 0;
  // Durability::grouped, coalesced by mailbox. queue_full: the records of kHotPendingMax mailboxes wait (the disk is
  // full or slow); keep the record in memory and try with its next change.
  virtual Status write_hot(MailboxNumber mailbox, const StoredUserId& user, const HotRecord& record) = 0;
  // Awaits the commit of all hot records that the calling core has written.
  virtual Task<Status> flush_hot() = 0;

  // ---- Journal ----
  virtual Task<Status> add_journal(const std::vector<JournalEntry>& entries) = 0;  // all or none; overwrites; limit
  // Where an entry is still there it is overwritten; the others are left out, so that what was erased stays so. limit.
  virtual Task<Status> update_journal(const std::vector<JournalEntry>& entries) = 0;
  virtual Task<Status> erase_journal(const JournalKey& key) = 0;                   // fine where it is gone
  virtual Task<Result<std::vector<JournalEntry>>> list_journal(const std::optional<JournalKey>& after) = 0;

  // ---- Compliance: sets of records, one of which is a tenant's ----
  virtual Task<Status> write_compliance(const ComplianceWrite& write) = 0;                             // limit
  virtual Task<Result<ComplianceRecord>> read_compliance(uint32_t set, const ComplianceKey& key) = 0;  // not_found
  // Calls f for up to `rows_max` rows after `after` (absent: from the first), in the order of their keys, whose record is
  // used again for the next. Returns where to go on; nothing at the end. Blocks for as long as f takes.
  virtual Task<Result<std::optional<ComplianceKey>>> read_compliance_page(
      uint32_t set, const std::optional<ComplianceKey>& after, size_t rows_max,
      FunctionRef<void(const ComplianceKey&, const ComplianceRecord&)> f) = 0;
  virtual Task<Result<std::vector<ComplianceSetEntry>>> list_compliance_sets() = 0;  // of all tenants
  virtual Task<Status> put_compliance_set(std::string_view tenant, const ComplianceSet& set) = 0;
  // The highest number that any row or tenant has; 0: none.
  virtual Task<Result<uint32_t>> newest_compliance_set() = 0;
  // Erases up to kComplianceMax rows of sets that no tenant has, but for `kept`. Returns how many; call again while it is
  // kComplianceMax.
  virtual Task<Result<size_t>> sweep_compliance(uint32_t kept) = 0;
  virtual Task<Status> put_hold(std::string_view tenant, const ComplianceKey& key, const HoldRecord& record) = 0;
  virtual Task<Status> erase_hold(std::string_view tenant, const ComplianceKey& key) = 0;  // fine where there is none
  virtual Task<Result<std::vector<HoldEntry>>> list_holds(const std::optional<HoldPlace>& after) = 0;  // kListMax
  // The devices that are called so, of all tenants; at most kListMax.
  virtual Task<Result<std::vector<DevicePlace>>> find_devices(const ComplianceKey& name) = 0;

  // ---- Autodiscover's results ----
  virtual Task<Status> put_ews_url(const EwsUrlKey& key, const EwsUrlRecord& record) = 0;
  virtual Task<Result<EwsUrlRecord>> read_ews_url(const EwsUrlKey& key) = 0;  // not_found
  virtual Task<Status> erase_ews_url(const EwsUrlKey& key) = 0;

  // ---- Meta: small named values (the sealed index key, the sealed APNs token) ----
  virtual Task<Result<std::vector<uint8_t>>> get_meta(std::string_view name) = 0;  // not_found
  virtual Task<Status> put_meta(std::string_view name, Bytes value) = 0;
  // The stored value: `value` where there was none. How several nodes agree on one index key.
  virtual Task<Result<std::vector<uint8_t>>> get_or_put_meta(std::string_view name, Bytes value) = 0;

  virtual Task<Result<Counts>> counts() = 0;

  // ---- Sealing anew, under another key-encryption key ----
  // About `fields_max` (1 to kListMax) sealed fields after `after`, rows whole.
  virtual Task<Result<SealedPage>> list_sealed(const std::optional<SealedPlace>& after, size_t fields_max) = 0;
  // Puts the new boxes in the place of the old ones. A field that holds another box by now, or whose record is gone, is
  // left as it is. Returns how many were replaced. limit: more than kListMax.
  virtual Task<Result<size_t>> replace_sealed(const std::vector<ResealedField>& fields) = 0;

  // Which key-encryption keys sealed records and callback URLs name; see store/keks.h. Blocking and long: for a helper
  // thread.
  virtual Result<KekReport> kek_use(FunctionRef<std::optional<uint32_t>(Bytes box)> kek_of) = 0;

  // How writing goes, all cores together. Any thread.
  virtual WriteHealth write_health() const = 0;
  // How full the store is. Any thread; cheap.
  virtual Result<FileUse> file_use() = 0;

  // Each core calls this as the last thing before its root flow ends: flushes hot records and gives back what the core
  // holds. The core must not use the store afterwards.
  virtual Task<Status> leave_core() = 0;
};

}  // namespace bellhop::store
