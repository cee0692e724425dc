// SPDX-License-Identifier: Apache-2.0
#include "store/table_store.h"

#include "store/operations.h"
#include "store/rows.h"
#include "store/table_store_core.h"

namespace bellhop::store {

namespace op = operations;

// ---- Running a change or a read ----

template <class F>
struct TableStore::FunctionWrite : PendingWrite {
  explicit FunctionWrite(F f) : function(std::move(f)) {
    apply = [](PendingWrite& self, WriteView& view) -> Status {
      return static_cast<FunctionWrite&>(self).function(view);
    };
    run = [](Message& message) { make_ready(static_cast<FunctionWrite&>(message).waiter); };
  }
  F function;
  Runnable* waiter = nullptr;

  struct Awaiter {
    Core& core;
    FunctionWrite& change;
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> h) noexcept {
      change.waiter = &h.promise();
      Status queued = core.enqueue(change);  // from here on change.status is the writer's
      if (!queued) change.status = queued;
      return queued.has_value();
    }
    void await_resume() const noexcept {}
  };
};

// A change that was handed over is always awaited, stop or not: the writer uses the caller's frame.
template <class F>
Task<Status> TableStore::write(F function) {
  FunctionWrite<F> change(std::move(function));
  co_await typename FunctionWrite<F>::Awaiter{core(), change};
  co_return change.status;
}

template <class T, class F>
Task<Result<T>> TableStore::write_for(F function) {
  T result{};
  Status status = co_await write([&](WriteView& view) { return function(view, result); });
  if (!status) co_return fail(status.error());
  co_return result;
}

template <class T, class F>
Task<Result<T>> TableStore::read_for(F function) {
  T result{};
  Status status = engine_->read([&](ReadView& view) -> Status { return function(view, result); });
  if (!status) co_return fail(status.error());
  co_return result;
}

TableStore::TableStore(std::unique_ptr<Engine> engine) : engine_(std::move(engine)), writer_(*engine_) {}
TableStore::~TableStore() = default;

TableStore::Core& TableStore::core() {
  unsigned number = io::core();
  BH_CHECK(number < kCoresMax);
  if (!cores_[number]) cores_[number] = std::make_unique<Core>(writer_, number);
  return *cores_[number];
}

size_t TableStore::lose_uncommitted() {
  size_t lost = writer_.stats().waiting;
  for (auto& core : cores_) {
    if (core) lost += core->lose_hot();
  }
  writer_.fail_waiting(store_error(StoreError::closed));
  return lost;
}

// ---- API tokens, keys, users ----

Task<Status> TableStore::add_token(const TokenHash& hash, const TokenRecord& record) {
  return write([&](WriteView& view) { return op::add_token(view, hash, record); });
}
Task<Result<TokenRecord>> TableStore::find_token(const TokenHash& hash) {
  return read_for<TokenRecord>([&](ReadView& view, TokenRecord& record) { return op::find_token(view, hash, record); });
}
Task<Result<std::vector<TokenEntry>>> TableStore::list_tokens() {
  return read_for<std::vector<TokenEntry>>([](ReadView& view, auto& tokens) { return op::list_tokens(view, tokens); });
}
Task<Status> TableStore::revoke_token(const TokenId& id, WallTime now) {
  return write([&id, now](WriteView& view) { return op::revoke_token(view, id, now); });
}

Task<Status> TableStore::add_pool_key(const KeyRecord& record) {
  return write([&](WriteView& view) { return op::add_pool_key(view, record); });
}
Task<Result<uint64_t>> TableStore::count_pool_keys() {
  return read_for<uint64_t>([](ReadView& view, uint64_t& count) -> Status {
    BH_TRY(count, view.count(Table::key_pool));
    return {};
  });
}
Task<Result<KeyRecord>> TableStore::read_key(const KeyId& id) {
  return read_for<KeyRecord>([&](ReadView& view, KeyRecord& record) { return op::read_key(view, id, record); });
}

Task<Result<UserAndKey>> TableStore::get_or_create_user(const StoredUserId& id, std::string_view tenant, WallTime now) {
  UserAndKey user;
  bool found = false;
  BH_CO_CHECKED(engine_->read([&](ReadView& view) -> Status {
    BH_TRY(found, op::get_user(view, id, tenant, user));
    return {};
  }));
  if (found) co_return user;  // the usual case writes nothing
  BH_CO_CHECKED(co_await write([&](WriteView& view) { return op::get_or_create_user(view, id, tenant, now, user); }));
  co_return user;
}
Task<Result<UserRecord>> TableStore::read_user(const StoredUserId& id) {
  return read_for<UserRecord>(
      [&](ReadView& view, UserRecord& user) { return load_existing(view, Table::users, id, user); });
}
Task<Result<size_t>> TableStore::expire_unused_users(WallTime since) {
  return write_for<size_t>(
      [since](WriteView& view, size_t& expired) { return op::expire_unused_users(view, since, expired); });
}

// ---- Devices and subscriptions ----

Task<Result<RegistrationResult>> TableStore::register_device(const Registration& registration) {
  return write_for<RegistrationResult>(
      [&](WriteView& view, RegistrationResult& result) { return op::register_device(view, registration, result); });
}
Task<Status> TableStore::update_subscription(const CapabilityHash& capability, const SubscriptionPatch& patch) {
  return write([&](WriteView& view) { return op::update_subscription(view, capability, patch); });
}
Task<Status> TableStore::activate_subscription(const CapabilityHash& capability, std::string_view exchange_id,
                                               SubscriptionState state) {
  return write([&capability, exchange_id, state](WriteView& view) {
    return op::activate_subscription(view, capability, exchange_id, state);
  });
}
Task<Status> TableStore::replace_subscription(const CapabilityHash& old_one, const CapabilityHash& new_one,
                                              const SubscriptionPatch& patch, const Ending& ending) {
  return write([&](WriteView& view) { return op::replace_subscription(view, old_one, new_one, patch, ending); });
}
Task<Status> TableStore::end_subscription(const CapabilityHash& capability, const Ending& ending) {
  return write([&](WriteView& view) { return op::end_subscription(view, capability, ending); });
}
Task<Status> TableStore::begin_succession(const Succession& succession) {
  return write([&](WriteView& view) { return op::begin_succession(view, succession); });
}
Task<Status> TableStore::end_pending(const CapabilityHash& capability, const Ending& ending) {
  return write([&](WriteView& view) { return op::end_pending(view, capability, ending); });
}
Task<Result<HandedOver>> TableStore::complete_succession(const CapabilityHash& capability, const Ending& ending) {
  return write_for<HandedOver>([&](WriteView& view, HandedOver& over) {
    return op::complete_succession(view, capability, ending, over);
  });
}
Task<Result<UserAndKey>> TableStore::rotate_key(const StoredUserId& user) {
  return write_for<UserAndKey>(
      [&](WriteView& view, UserAndKey& rotated) { return op::rotate_key(view, user, rotated); });
}
Task<Result<RekeyWished>> TableStore::wish_new_keys(const RekeyWish& wish) {
  return write_for<RekeyWished>(
      [&](WriteView& view, RekeyWished& wished) { return op::wish_new_keys(view, wish, wished); });
}
Task<Result<RemovedDevice>> TableStore::block_device(const StoredUserId& user, const DeviceKey& device,
                                                     const Ending& ending) {
  return write_for<RemovedDevice>([&](WriteView& view, RemovedDevice& removed) {
    return op::block_device(view, user, device, ending, removed);
  });
}
Task<Result<RemovedDevice>> TableStore::remove_device(const DeviceRemoval& removal) {
  return write_for<RemovedDevice>(
      [&](WriteView& view, RemovedDevice& removed) { return op::remove_device(view, removal, removed); });
}
Task<Status> TableStore::update_device(const StoredUserId& user, const DeviceKey& device, const DevicePatch& patch) {
  return write([&](WriteView& view) { return op::update_device(view, user, device, patch); });
}
Task<Status> TableStore::mark_token_gone(const StoredUserId& user, const DeviceKey& device, WallTime registered_at) {
  return write([&user, &device, registered_at](WriteView& view) {
    return op::mark_token_gone(view, user, device, registered_at);
  });
}

Task<Status> TableStore::read_route(const CapabilityHash& capability, Route& route) {
  co_return engine_->read([&](ReadView& view) { return op::read_route(view, capability, route); });
}
Task<Result<std::vector<DeviceEntry>>> TableStore::read_devices(const StoredUserId& user) {
  return read_for<std::vector<DeviceEntry>>(
      [&](ReadView& view, std::vector<DeviceEntry>& devices) { return op::read_devices(view, user, devices); });
}
Task<Result<DeviceRecord>> TableStore::read_device(const StoredUserId& user, const DeviceKey& device) {
  return read_for<DeviceRecord>([&](ReadView& view, DeviceRecord& record) {
    return load_existing(view, Table::devices, device_row(user, device), record);
  });
}
Task<Result<StoredUserId>> TableStore::find_device_owner(const DeviceKey& device) {
  return read_for<StoredUserId>([&](ReadView& view, StoredUserId& user) -> Status {
    BH_TRY(bool found, load_id(view, Table::device_owners, device, user));
    if (!found) return fail(store_error(StoreError::not_found));
    return {};
  });
}
Task<Result<SubscriptionEntry>> TableStore::find_subscription(Bytes start) {
  return read_for<SubscriptionEntry>(
      [start](ReadView& view, SubscriptionEntry& entry) { return op::find_subscription(view, start, entry); });
}

Task<Result<std::vector<UserEntry>>> TableStore::list_users(const std::optional<StoredUserId>& after,
                                                            size_t entries_max) {
  return read_for<std::vector<UserEntry>>(
      [&after, entries_max](ReadView& view, auto& entries) { return op::list_users(view, after, entries_max, entries); });
}
Task<Result<std::vector<PlacedDevice>>> TableStore::list_devices(const std::optional<DevicePlace>& after,
                                                                 size_t entries_max) {
  return read_for<std::vector<PlacedDevice>>([&after, entries_max](ReadView& view, auto& entries) {
    return op::list_devices(view, after, entries_max, entries);
  });
}
Task<Result<std::vector<SubscriptionEntry>>> TableStore::list_subscriptions(const std::optional<CapabilityHash>& after,
                                                                            size_t entries_max) {
  return read_for<std::vector<SubscriptionEntry>>([&after, entries_max](ReadView& view, auto& entries) {
    return op::list_subscriptions(view, after, entries_max, entries);
  });
}

Task<Status> TableStore::extend_tombstone(const CapabilityHash& capability, WallTime expires) {
  return write([&capability, expires](WriteView& view) { return op::extend_tombstone(view, capability, expires); });
}
Task<Result<size_t>> TableStore::sweep_tombstones(WallTime now) {
  return write_for<size_t>([now](WriteView& view, size_t& swept) { return op::sweep_tombstones(view, now, swept); });
}

// ---- Hot state ----

Task<Result<HotRecord>> TableStore::read_hot(MailboxNumber mailbox, const StoredUserId& user) {
  HotRecord record;
  if (const HotRecord* waiting = core().find_hot(mailbox)) {
    record = *waiting;
  } else {
    BH_CO_CHECKED(engine_->read([&](ReadView& view) { return op::read_hot(view, mailbox, record); }));
  }
  uint64_t owner = op::hot_owner(user);
  if (record.owner != owner) record = HotRecord{.owner = owner};
  co_return record;
}
Status TableStore::write_hot(MailboxNumber mailbox, const StoredUserId& user, const HotRecord& record) {
  HotRecord owned = record;
  owned.owner = op::hot_owner(user);
  return core().write_hot(mailbox, owned);
}
Task<Status> TableStore::flush_hot() {
  co_return co_await core().flush_hot();
}
TableStore::HotStats TableStore::hot_stats() const {
  const auto& core = cores_[io::core()];
  return core ? core->hot_stats() : HotStats();
}

// ---- Journal, compliance, Autodiscover, meta ----

Task<Status> TableStore::add_journal(const std::vector<JournalEntry>& entries) {
  return write([&](WriteView& view) { return op::add_journal(view, entries); });
}
Task<Status> TableStore::update_journal(const std::vector<JournalEntry>& entries) {
  return write([&](WriteView& view) { return op::update_journal(view, entries); });
}
Task<Status> TableStore::erase_journal(const JournalKey& key) {
  return write([&](WriteView& view) { return view.erase(Table::journal, journal_row(key)); });
}
Task<Result<std::vector<JournalEntry>>> TableStore::list_journal(const std::optional<JournalKey>& after) {
  return read_for<std::vector<JournalEntry>>(
      [&](ReadView& view, auto& entries) { return op::list_journal(view, after, entries); });
}

Task<Status> TableStore::write_compliance(const ComplianceWrite& change) {
  return write([&](WriteView& view) { return op::write_compliance(view, change); });
}
Task<Result<ComplianceRecord>> TableStore::read_compliance(uint32_t set, const ComplianceKey& key) {
  return read_for<ComplianceRecord>([set, &key](ReadView& view, ComplianceRecord& record) {
    return load_existing(view, Table::compliance, compliance_row(set, key), record);
  });
}
Task<Result<std::optional<ComplianceKey>>> TableStore::read_compliance_page(
    uint32_t set, const std::optional<ComplianceKey>& after, size_t rows_max,
    FunctionRef<void(const ComplianceKey&, const ComplianceRecord&)> f) {
  return read_for<std::optional<ComplianceKey>>([=, &after](ReadView& view, std::optional<ComplianceKey>& next) {
    return op::read_compliance_page(view, set, after, rows_max, f, next);
  });
}
Task<Result<std::vector<ComplianceSetEntry>>> TableStore::list_compliance_sets() {
  return read_for<std::vector<ComplianceSetEntry>>(
      [](ReadView& view, auto& sets) { return op::list_compliance_sets(view, sets); });
}
Task<Status> TableStore::put_compliance_set(std::string_view tenant, const ComplianceSet& set) {
  return write([tenant, &set](WriteView& view) -> Status {
    if (tenant.empty() || tenant.size() > kTenantSizeMax) return fail(store_error(StoreError::limit));
    return save(view, Table::compliance_sets, as_bytes(tenant), set);
  });
}
Task<Result<uint32_t>> TableStore::newest_compliance_set() {
  return read_for<uint32_t>([](ReadView& view, uint32_t& newest) { return op::newest_compliance_set(view, newest); });
}
Task<Result<size_t>> TableStore::sweep_compliance(uint32_t kept) {
  return write_for<size_t>([kept](WriteView& view, size_t& swept) { return op::sweep_compliance(view, kept, swept); });
}
Task<Status> TableStore::put_hold(std::string_view tenant, const ComplianceKey& key, const HoldRecord& record) {
  return write([tenant, &key, &record](WriteView& view) -> Status {
    if (tenant.empty() || tenant.size() > kTenantSizeMax) return fail(store_error(StoreError::limit));
    return save(view, Table::compliance_holds, hold_row(tenant, key), record);
  });
}
Task<Status> TableStore::erase_hold(std::string_view tenant, const ComplianceKey& key) {
  return write([tenant, &key](WriteView& view) -> Status {
    if (tenant.size() > kTenantSizeMax) return fail(store_error(StoreError::limit));
    return view.erase(Table::compliance_holds, hold_row(tenant, key));
  });
}
Task<Result<std::vector<HoldEntry>>> TableStore::list_holds(const std::optional<HoldPlace>& after) {
  return read_for<std::vector<HoldEntry>>(
      [&](ReadView& view, auto& entries) { return op::list_holds(view, after, entries); });
}
Task<Result<std::vector<DevicePlace>>> TableStore::find_devices(const ComplianceKey& name) {
  return read_for<std::vector<DevicePlace>>(
      [&](ReadView& view, auto& places) { return op::find_devices(view, name, places); });
}
Task<Status> TableStore::put_ews_url(const EwsUrlKey& key, const EwsUrlRecord& record) {
  return write([&](WriteView& view) { return save(view, Table::ews_url_cache, key, record); });
}
Task<Result<EwsUrlRecord>> TableStore::read_ews_url(const EwsUrlKey& key) {
  return read_for<EwsUrlRecord>(
      [&](ReadView& view, EwsUrlRecord& record) { return load_existing(view, Table::ews_url_cache, key, record); });
}
Task<Status> TableStore::erase_ews_url(const EwsUrlKey& key) {
  return write([&](WriteView& view) { return view.erase(Table::ews_url_cache, key); });
}

Task<Result<std::vector<uint8_t>>> TableStore::get_meta(std::string_view name) {
  return read_for<std::vector<uint8_t>>(
      [name](ReadView& view, std::vector<uint8_t>& value) { return op::get_meta(view, name, value); });
}
Task<Status> TableStore::put_meta(std::string_view name, Bytes value) {
  return write([name, value](WriteView& view) { return op::put_meta(view, name, value); });
}
Task<Result<std::vector<uint8_t>>> TableStore::get_or_put_meta(std::string_view name, Bytes value) {
  return write_for<std::vector<uint8_t>>([name, value](WriteView& view, std::vector<uint8_t>& stored) -> Status {
    Status found = op::get_meta(view, name, stored);
    if (found || !is(found.error(), StoreError::not_found)) return found;
    stored.assign(value.begin(), value.end());
    return op::put_meta(view, name, value);
  });
}

Result<KekReport> TableStore::kek_use(FunctionRef<std::optional<uint32_t>(Bytes box)> kek_of) {
  return store::kek_use(*engine_, kek_of);
}

Task<Result<Counts>> TableStore::counts() {
  return read_for<Counts>([](ReadView& view, Counts& counts) { return op::counts(view, counts); });
}

Task<Result<SealedPage>> TableStore::list_sealed(const std::optional<SealedPlace>& after, size_t fields_max) {
  return read_for<SealedPage>([&after, fields_max](ReadView& view, SealedPage& page) {
    return op::list_sealed(view, after, fields_max, page);
  });
}
Task<Result<size_t>> TableStore::replace_sealed(const std::vector<ResealedField>& fields) {
  return write_for<size_t>(
      [&](WriteView& view, size_t& replaced) { return op::replace_sealed(view, fields, replaced); });
}

Task<Status> TableStore::leave_core() {
  Core& here = core();
  Status flushed = co_await here.flush_hot();
  co_await here.idle();
  co_return flushed;
}

}  // namespace bellhop::store
