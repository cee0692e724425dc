// SPDX-License-Identifier: Apache-2.0
#pragma once

// The store's changes and reads as plain functions over one transaction; the meaning of each is at Store's method of
// the same name. A change that fails may have written: whoever runs it gives the transaction up. Each may run twice (a
// batch that fails is run again one by one), so results are set, never added to.

#include "store/store.h"
#include "store/tables.h"

namespace bellhop::store::operations {

// Writes the schema version into an empty store, raises that of an older one; refuses all others. Errors:
// schema_unknown, corrupt.
Status prepare_schema(WriteView& view, bool upgrade = true);
// True for a row of `meta` whose value the service wrote: sealed.
bool is_service_meta(std::string_view row);
// The name that the service gave it.
std::string_view service_meta_name(std::string_view row);

Status add_token(WriteView& view, const TokenHash& hash, const TokenRecord& record);
Status find_token(ReadView& view, const TokenHash& hash, TokenRecord& record);
Status list_tokens(ReadView& view, std::vector<TokenEntry>& tokens);
Status revoke_token(WriteView& view, const TokenId& id, WallTime now);

Status add_pool_key(WriteView& view, const KeyRecord& record);
Status read_key(ReadView& view, const KeyId& id, KeyRecord& record);

// False where there is no such user.
Result<bool> get_user(ReadView& view, const StoredUserId& id, std::string_view tenant, UserAndKey& user);
// With a pair of its own, which is not of the pool. Errors: conflict (the user or the key is there already), limit.
Status create_user(WriteView& view, const StoredUserId& id, std::string_view tenant, WallTime now, const KeyRecord& key,
                   UserRecord& user);
Status get_or_create_user(WriteView& view, const StoredUserId& id, std::string_view tenant, WallTime now,
                          UserAndKey& user);
Status expire_unused_users(WriteView& view, WallTime since, size_t& expired);

Status register_device(WriteView& view, const Registration& registration, RegistrationResult& result);
Status update_subscription(WriteView& view, const CapabilityHash& capability, const SubscriptionPatch& patch);
Status activate_subscription(WriteView& view, const CapabilityHash& capability, std::string_view exchange_id,
                             SubscriptionState state);
Status replace_subscription(WriteView& view, const CapabilityHash& old_one, const CapabilityHash& new_one,
                            const SubscriptionPatch& patch, const Ending& ending);
Status end_subscription(WriteView& view, const CapabilityHash& capability, const Ending& ending);
Status begin_succession(WriteView& view, const Succession& succession);
Status end_pending(WriteView& view, const CapabilityHash& capability, const Ending& ending);
Status complete_succession(WriteView& view, const CapabilityHash& capability, const Ending& ending, HandedOver& over);
Status rotate_key(WriteView& view, const StoredUserId& user, UserAndKey& rotated);
Status wish_new_keys(WriteView& view, const RekeyWish& wish, RekeyWished& wished);
Status block_device(WriteView& view, const StoredUserId& user, const DeviceKey& device, const Ending& ending,
                    RemovedDevice& removed);
Status remove_device(WriteView& view, const DeviceRemoval& removal, RemovedDevice& removed);
Status update_device(WriteView& view, const StoredUserId& user, const DeviceKey& device, const DevicePatch& patch);
Status mark_token_gone(WriteView& view, const StoredUserId& user, const DeviceKey& device, WallTime registered_at);

Status read_route(ReadView& view, const CapabilityHash& capability, Route& route);
Status read_devices(ReadView& view, const StoredUserId& user, std::vector<DeviceEntry>& devices);
Status find_subscription(ReadView& view, Bytes start, SubscriptionEntry& entry);
Status list_users(ReadView& view, const std::optional<StoredUserId>& after, size_t entries_max,
                  std::vector<UserEntry>& entries);
Status list_devices(ReadView& view, const std::optional<DevicePlace>& after, size_t entries_max,
                    std::vector<PlacedDevice>& entries);
Status list_subscriptions(ReadView& view, const std::optional<CapabilityHash>& after, size_t entries_max,
                          std::vector<SubscriptionEntry>& entries);

Status extend_tombstone(WriteView& view, const CapabilityHash& capability, WallTime expires);
Status sweep_tombstones(WriteView& view, WallTime now, size_t& swept);

uint64_t hot_owner(const StoredUserId& user);
Status read_hot(ReadView& view, MailboxNumber mailbox, HotRecord& record);  // a fresh record where there is none
Status write_hot(WriteView& view, MailboxNumber mailbox, const HotRecord& record);

Status add_journal(WriteView& view, const std::vector<JournalEntry>& entries);
Status update_journal(WriteView& view, const std::vector<JournalEntry>& entries);
Status list_journal(ReadView& view, const std::optional<JournalKey>& after, std::vector<JournalEntry>& entries);

Status write_compliance(WriteView& view, const ComplianceWrite& write);
Status read_compliance_page(ReadView& view, uint32_t set, const std::optional<ComplianceKey>& after, size_t rows_max,
                            FunctionRef<void(const ComplianceKey&, const ComplianceRecord&)> f,
                            std::optional<ComplianceKey>& next);
Status list_compliance_sets(ReadView& view, std::vector<ComplianceSetEntry>& sets);
Status newest_compliance_set(ReadView& view, uint32_t& newest);
Status sweep_compliance(WriteView& view, uint32_t kept, size_t& swept);
Status list_holds(ReadView& view, const std::optional<HoldPlace>& after, std::vector<HoldEntry>& entries);
Status find_devices(ReadView& view, const ComplianceKey& name, std::vector<DevicePlace>& places);

Status get_meta(ReadView& view, std::string_view name, std::vector<uint8_t>& value);
Status put_meta(WriteView& view, std::string_view name, Bytes value);

Status list_sealed(ReadView& view, const std::optional<SealedPlace>& after, size_t fields_max, SealedPage& page);
Status replace_sealed(WriteView& view, const std::vector<ResealedField>& fields, size_t& replaced);

Status counts(ReadView& view, Counts& counts);

}  // namespace bellhop::store::operations
