// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include "store/store.h"
#include "store/tables.h"
#include "store/writer.h"

namespace bellhop::store {

// Store over an Engine: what LMDB and memory share, and that is all but the tables themselves. Reads run on the calling
// core, in place. Changes go through the Writer, which runs on the store's helper thread. Hot records wait, per core,
// in a HotBuffer until its timer hands them to the writer as one change.
class TableStore : public Store {
 public:
  explicit TableStore(std::unique_ptr<Engine> engine);
  ~TableStore() override;

  Engine& engine() { return *engine_; }  // for check, dump and seed
  Writer::Stats writer_stats() const { return writer_.stats(); }

  struct HotStats {
    uint64_t written = 0;    // calls of write_hot
    uint64_t committed = 0;  // records that reached the tables
    uint64_t flushes = 0;
    uint64_t failed_flushes = 0;  // tried again
    uint64_t dropped = 0;         // newest values that found no room after a failure: duplicates may follow a crash
  };
  HotStats hot_stats() const;  // of the calling core

  Task<Status> add_token(const TokenHash& hash, const TokenRecord& record) override;
  Task<Result<TokenRecord>> find_token(const TokenHash& hash) override;
  Task<Result<std::vector<TokenEntry>>> list_tokens() override;
  Task<Status> revoke_token(const TokenId& id, WallTime now) override;
  Task<Status> add_pool_key(const KeyRecord& record) override;
  Task<Result<uint64_t>> count_pool_keys() override;
  Task<Result<KeyRecord>> read_key(const KeyId& id) override;
  Task<Result<UserAndKey>> get_or_create_user(const StoredUserId& id, std::string_view tenant, WallTime now) override;
  Task<Result<UserRecord>> read_user(const StoredUserId& id) override;
  Task<Result<size_t>> expire_unused_users(WallTime since) override;
  Task<Result<RegistrationResult>> register_device(const Registration& registration) override;
  Task<Status> update_subscription(const CapabilityHash& capability, const SubscriptionPatch& patch) override;
  Task<Status> activate_subscription(const CapabilityHash& capability, std::string_view exchange_id,
                                     SubscriptionState state) override;
  Task<Status> replace_subscription(const CapabilityHash& old_one, const CapabilityHash& new_one,
                                    const SubscriptionPatch& patch, const Ending& ending) override;
  Task<Status> end_subscription(const CapabilityHash& capability, const Ending& ending) override;
  Task<Status> begin_succession(const Succession& succession) override;
  Task<Status> end_pending(const CapabilityHash& capability, const Ending& ending) override;
  Task<Result<HandedOver>> complete_succession(const CapabilityHash& capability, const Ending& ending) override;
  Task<Result<UserAndKey>> rotate_key(const StoredUserId& user) override;
  Task<Result<RekeyWished>> wish_new_keys(const RekeyWish& wish) override;
  Task<Result<RemovedDevice>> block_device(const StoredUserId& user, const DeviceKey& device,
                                           const Ending& ending) override;
  Task<Result<RemovedDevice>> remove_device(const DeviceRemoval& removal) override;
  Task<Status> update_device(const StoredUserId& user, const DeviceKey& device, const DevicePatch& patch) override;
  Task<Status> mark_token_gone(const StoredUserId& user, const DeviceKey& device, WallTime registered_at) override;
  Task<Status> read_route(const CapabilityHash& capability, Route& route) override;
  Task<Result<std::vector<DeviceEntry>>> read_devices(const StoredUserId& user) override;
  Task<Result<DeviceRecord>> read_device(const StoredUserId& user, const DeviceKey& device) override;
  Task<Result<StoredUserId>> find_device_owner(const DeviceKey& device) override;
  Task<Result<SubscriptionEntry>> find_subscription(Bytes start) override;
  Task<Result<std::vector<UserEntry>>> list_users(const std::optional<StoredUserId>& after, size_t entries_max) override;
  Task<Result<std::vector<PlacedDevice>>> list_devices(const std::optional<DevicePlace>& after,
                                                       size_t entries_max) override;
  Task<Result<std::vector<SubscriptionEntry>>> list_subscriptions(const std::optional<CapabilityHash>& after,
                                                                  size_t entries_max) override;
  Task<Status> extend_tombstone(const CapabilityHash& capability, WallTime expires) override;
  Task<Result<size_t>> sweep_tombstones(WallTime now) override;
  Task<Result<HotRecord>> read_hot(MailboxNumber mailbox, const StoredUserId& user) override;
  Status write_hot(MailboxNumber mailbox, const StoredUserId& user, const HotRecord& record) override;
  Task<Status> flush_hot() override;
  Task<Status> add_journal(const std::vector<JournalEntry>& entries) override;
  Task<Status> update_journal(const std::vector<JournalEntry>& entries) override;
  Task<Status> erase_journal(const JournalKey& key) override;
  Task<Result<std::vector<JournalEntry>>> list_journal(const std::optional<JournalKey>& after) override;
  Task<Status> write_compliance(const ComplianceWrite& write) override;
  Task<Result<ComplianceRecord>> read_compliance(uint32_t set, const ComplianceKey& key) override;
  Task<Result<std::optional<ComplianceKey>>> read_compliance_page(
      uint32_t set, const std::optional<ComplianceKey>& after, size_t rows_max,
      FunctionRef<void(const ComplianceKey&, const ComplianceRecord&)> f) override;
  Task<Result<std::vector<ComplianceSetEntry>>> list_compliance_sets() override;
  Task<Status> put_compliance_set(std::string_view tenant, const ComplianceSet& set) override;
  Task<Result<uint32_t>> newest_compliance_set() override;
  Task<Result<size_t>> sweep_compliance(uint32_t kept) override;
  Task<Status> put_hold(std::string_view tenant, const ComplianceKey& key, const HoldRecord& record) override;
  Task<Status> erase_hold(std::string_view tenant, const ComplianceKey& key) override;
  Task<Result<std::vector<HoldEntry>>> list_holds(const std::optional<HoldPlace>& after) override;
  Task<Result<std::vector<DevicePlace>>> find_devices(const ComplianceKey& name) override;
  Task<Status> put_ews_url(const EwsUrlKey& key, const EwsUrlRecord& record) override;
  Task<Result<EwsUrlRecord>> read_ews_url(const EwsUrlKey& key) override;
  Task<Status> erase_ews_url(const EwsUrlKey& key) override;
  Task<Result<std::vector<uint8_t>>> get_meta(std::string_view name) override;
  Task<Status> put_meta(std::string_view name, Bytes value) override;
  Task<Result<std::vector<uint8_t>>> get_or_put_meta(std::string_view name, Bytes value) override;
  Task<Result<Counts>> counts() override;
  Task<Result<SealedPage>> list_sealed(const std::optional<SealedPlace>& after, size_t fields_max) override;
  Task<Result<size_t>> replace_sealed(const std::vector<ResealedField>& fields) override;
  Result<FileUse> file_use() override { return engine_->file_use(); }
  Result<KekReport> kek_use(FunctionRef<std::optional<uint32_t>(Bytes box)> kek_of) override;
  WriteHealth write_health() const override { return writer_.stats().health; }
  Task<Status> leave_core() override;

 protected:
  // Forgets every change that is not committed, as a loss of power would; its waiters get StoreError::closed. Returns
  // how many changes and hot records were lost. Only where all cores share one thread.
  size_t lose_uncommitted();

 private:
  struct Core;
  template <class F>
  struct FunctionWrite;

  Core& core();
  template <class F>
  Task<Status> write(F function);
  template <class T, class F>
  Task<Result<T>> write_for(F function);
  template <class T, class F>
  Task<Result<T>> read_for(F function);

  static constexpr size_t kCoresMax = 256;

  std::unique_ptr<Engine> engine_;
  Writer writer_;
  std::array<std::unique_ptr<Core>, kCoresMax> cores_;  // each made and used by its own core
};

}  // namespace bellhop::store
