// SPDX-License-Identifier: Apache-2.0
#include "service/registration.h"

#include <algorithm>

#include "core/io.h"
#include "proto/apns.h"
#include "service/error_texts.h"
#include "service/journal.h"
#include "service/notification.h"
#include "service/policy_points.h"
#include "service/store_watch.h"
#include "service/subscribe_flow.h"
#include "service/subscription_end.h"
#include "service/subscription_health.h"
#include "service/supervision.h"

namespace bellhop::service {

using store::StoreError;

std::string_view name_of(DeviceStatus status) {
  switch (status) {
    case DeviceStatus::active:
      return "active";
    case DeviceStatus::pending:
      return "pending";
    case DeviceStatus::late:
      return "late";
    case DeviceStatus::lost:
      return "lost";
    case DeviceStatus::blocked:
      return "blocked";
    case DeviceStatus::unknown:
      return "unknown";
  }
  check_failed("a device status of the list", __FILE__, __LINE__);
}

Registrar::Registrar(Core& core)
    : core_(core),
      limits_(core.config().limits, io::random_u64()),
      // One worker thread opens them all, and what waits for it delays a stop: each core has its share of the limit.
      openings_(std::max(1u, core.config().limits.certificates_opening_max / io::cores())) {
  BH_CHECK(core.registrar == nullptr);
  core.registrar = this;
}

Registrar::~Registrar() {
  core_.registrar = nullptr;
}

Task<ApiResult<UserLocks::Held>> Registrar::lock(const store::StoredUserId& user) {
  Result<UserLocks::Held> held = co_await locks_.acquire(user);
  if (held) co_return *std::move(held);
  if (is(held.error(), CoreError::limit)) co_return refuse_throttled(5s);
  co_return refuse_unavailable();
}

Task<ApiResult<Subscribed>> Registrar::subscribe(const SubscribeRequest& request) {
  GenerationSlot::Pin pin(core_.generations);
  if (subscribes_in_flight_ >= core_.config().limits.subscribes_in_flight_max) co_return refuse_unavailable();
  struct Place {
    explicit Place(size_t& c) : count(c) { ++count; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { --count; }
    size_t& count;
  } place(subscribes_in_flight_);
  ApiResult<UserLocks::Held> held = co_await lock(request.who.user);
  if (!held) co_return std::unexpected(std::move(held.error()));
  SubscribeFlow flow(core_, limits_, openings_, request);
  co_return co_await flow.run();
}

Task<ApiResult<std::optional<store::DeviceRecord>>> Registrar::proven_device(const DeviceIdentity& who) {
  Result<store::DeviceRecord> device = co_await core_.node.store.read_device(who.user, who.device);
  if (!device) {
    if (is(device.error(), StoreError::not_found)) co_return std::nullopt;
    co_return store_failed(who, device.error());
  }
  if (!core_.node.vault.device_secret_matches(who.user, who.device, *device, who.device_secret)) {
    co_return refuse_forbidden();
  }
  co_return std::optional(*std::move(device));
}

Task<ApiResult<CheckIn>> Registrar::check_in(const DeviceIdentity& who) {
  GenerationSlot::Pin pin(core_.generations);
  ApiResult<std::optional<store::DeviceRecord>> device = co_await proven_device(who);
  if (!device) co_return std::unexpected(std::move(device.error()));
  if (!*device) co_return CheckIn();
  if ((*device)->state == store::DeviceState::blocked) {
    co_return CheckIn{.status = DeviceStatus::blocked, .last_seen = {}, .resubscribe = false};
  }
  co_await learn_name(who, **device);
  PolicyDecision decision = decide_device(core_, who.tenant->config.id, who.user, (*device)->name, DecisionPoint::subscription);
  if (decision.verdict == Verdict::block) {
    co_return CheckIn{.status = DeviceStatus::blocked, .last_seen = {}, .resubscribe = false};
  }
  Result<store::UserRecord> user = co_await core_.node.store.read_user(who.user);
  if (!user) co_return store_failed(who, user.error());
  WallTime last_seen = co_await core_.mailboxes->last_seen(user->mailbox, who.user);
  CheckIn answer;
  if (last_seen != WallTime()) answer.last_seen = last_seen;
  store::Route route;
  // The newest counts: older ones are about to be replaced.
  for (auto capability = user->subscriptions.rbegin(); capability != user->subscriptions.rend(); ++capability) {
    Status read = co_await core_.node.store.read_route(*capability, route);
    if (!read) co_return store_failed(who, read.error());
    if (route.kind != store::RouteKind::subscription) continue;
    // One that the server itself has just made does not count before it was heard of.
    bool under_way = route.subscription.takes_over && route.subscription.state == store::SubscriptionState::pending;
    if (!under_way) break;
  }
  if (route.kind != store::RouteKind::subscription) co_return answer;
  const store::SubscriptionRecord& subscription = route.subscription;
  auto source = co_await core_.node.store.read_device(who.user, subscription.source_device);
  if (!source && !is(source.error(), StoreError::not_found)) co_return store_failed(who, source.error());
  SubscriptionHealth health = health_of(subscription, core_.supervision->state(who.user).stage);
  switch (health) {
    case SubscriptionHealth::pending:
      answer.status = DeviceStatus::pending;
      break;
    case SubscriptionHealth::active:
      answer.status = DeviceStatus::active;
      break;
    case SubscriptionHealth::late:
      answer.status = DeviceStatus::late;
      break;
    case SubscriptionHealth::lost:
      answer.status = DeviceStatus::lost;
      break;
  }
  bool source_out = !source || source_kept_out(core_, who.tenant->config.id, who.user, *source);
  answer.resubscribe =
      health == SubscriptionHealth::lost || credentials_refused(subscription) || source_out || (*device)->token_gone;
  co_return answer;
}

// A device that registered before names were kept tells its own with each request.
Task<void> Registrar::learn_name(const DeviceIdentity& who, store::DeviceRecord& device) {
  if (!device.name.zero()) co_return;
  store::DevicePatch patch;
  patch.name = device.name = compliance_key(who.device_id);
  Status updated = co_await core_.node.store.update_device(who.user, who.device, patch);
  if (!updated) (void)store_failed(who, updated.error());  // with the next one
}

Task<ApiStatus> Registrar::update_token(const DeviceIdentity& who, std::string_view push_token) {
  GenerationSlot::Pin pin(core_.generations);
  ApiResult<UserLocks::Held> held = co_await lock(who.user);
  if (!held) co_return std::unexpected(std::move(held.error()));
  ApiResult<std::optional<store::DeviceRecord>> device = co_await proven_device(who);
  if (!device) co_return std::unexpected(std::move(device.error()));
  if (!*device) co_return refuse_forbidden();
  if ((*device)->state == store::DeviceState::blocked) co_return refuse_blocked();
  co_await learn_name(who, **device);
  if (!proto::apns_token_valid(push_token)) co_return refuse_malformed("pushToken is no APNs device token");
  store::DevicePatch patch;
  patch.push_token = {.sealed = core_.node.vault.seal_push_token(who.user, who.device, push_token),
                      .registered_at = io::wall_now()};
  Status updated = co_await core_.node.store.update_device(who.user, who.device, patch);
  if (!updated) co_return store_failed(who, updated.error());
  co_return ApiStatus();
}

Task<ApiStatus> Registrar::unsubscribe(const DeviceIdentity& who) {
  GenerationSlot::Pin pin(core_.generations);
  ApiResult<UserLocks::Held> held = co_await lock(who.user);
  if (!held) co_return std::unexpected(std::move(held.error()));
  ApiResult<std::optional<store::DeviceRecord>> device = co_await proven_device(who);
  if (!device) co_return std::unexpected(std::move(device.error()));
  if (!*device) co_return ApiStatus();
  // A blocked device that could leave would come back unblocked, and one that is being wiped would leave its credentials.
  const Compliance* compliance = core_.node.compliance;
  bool by_name = compliance && compliance->hold(who.tenant->config.id, compliance_key(who.device_id)) != ComplianceHold::none;
  if (by_name || (*device)->state == store::DeviceState::blocked) co_return refuse_blocked();
  Result<store::RemovedDevice> removed = co_await remove(who.user, who.device);
  if (!removed) co_return store_failed(who, removed.error());
  co_return ApiStatus();
}

Task<Result<store::RemovedDevice>> Registrar::remove_device(store::StoredUserId user, store::DeviceKey device) {
  BH_CO_TRY(UserLocks::Held held, co_await locks_.acquire(user));
  co_return co_await remove(user, device);
}

Task<Result<store::RemovedDevice>> Registrar::wipe_device(store::StoredUserId user, store::DeviceKey device) {
  BH_CO_TRY(store::RemovedDevice ended, co_await block(user, device, store::TombstoneReason::removed));
  BH_CO_TRY(UserLocks::Held held, co_await locks_.acquire(user));
  // First, for who finds the device gone does not wipe it again. With the last device the pair goes anyway.
  auto wished = co_await core_.node.store.wish_new_keys({.user = user, .tenant = {}, .after = {}, .now = io::wall_now()});
  if (!wished) co_return fail(wished.error());
  BH_CO_TRY(store::RemovedDevice removed, co_await remove(user, device, true));
  removed.tombstoned.insert(removed.tombstoned.end(), ended.tombstoned.begin(), ended.tombstoned.end());
  co_return removed;
}

Task<Result<store::RemovedDevice>> Registrar::block_device(store::StoredUserId user, store::DeviceKey device) {
  co_return co_await block(user, device, store::TombstoneReason::blocked);
}

// Without the user's lock: whoever holds it may be waiting for Exchange, and a stolen device could keep it busy.
Task<Result<store::RemovedDevice>> Registrar::block(store::StoredUserId user, store::DeviceKey device,
                                                    store::TombstoneReason reason) {
  BH_CO_TRY(store::UserRecord record, co_await core_.node.store.read_user(user));
  uint16_t frequency = static_cast<uint16_t>(core_.config().ews.status_frequency_minutes);
  store::Ending ending{.reason = reason, .expires = tombstone_expiry(io::wall_now(), frequency)};
  BH_CO_TRY(store::RemovedDevice blocked, co_await core_.node.store.block_device(user, device, ending));
  log_line(core_.log, LogLevel::info, "device_blocked", field("user", core_.fingerprint(user)),
           field("device", core_.log.fingerprint("device", device)),
           field("subscriptions_ended", blocked.tombstoned.size()));
  if (!blocked.tombstoned.empty()) {
    for (store::KeyId key : {record.key, record.old_key}) co_await forget_if_erased(core_, key);
    co_await core_.mailboxes->ask_to_resubscribe(record.tenant, record.mailbox, user, store::DeviceKey());
  }
  co_return blocked;
}

Task<Result<store::RemovedDevice>> Registrar::remove(const store::StoredUserId& user, const store::DeviceKey& device,
                                                     bool end_orphaned) {
  store::Store& store = core_.node.store;
  BH_CO_TRY(store::UserRecord record, co_await store.read_user(user));
  WallTime now = io::wall_now();
  uint16_t frequency = static_cast<uint16_t>(core_.config().ews.status_frequency_minutes);
  store::DeviceRemoval removal{
      .user = user,
      .device = device,
      .ending = {.reason = store::TombstoneReason::removed, .expires = tombstone_expiry(now, frequency)},
      .end_orphaned = end_orphaned,
      .now = now};
  BH_CO_TRY(store::RemovedDevice removed, co_await store.remove_device(removal));
  core_.journal->forget(record.mailbox, device);
  if (removed.last) {
    core_.decrypter.forget(record.key);
    if (record.old_key != store::KeyId()) core_.decrypter.forget(record.old_key);
    core_.mailboxes->forget(user);
  } else if (!removed.tombstoned.empty()) {
    for (store::KeyId key : {record.key, record.old_key}) co_await forget_if_erased(core_, key);
  }
  // Who is left takes over; until then the mails of the subscription are pushed as before, unless it had to end.
  if (!removed.last && (!removed.orphaned.empty() || !removed.tombstoned.empty())) {
    co_await core_.mailboxes->ask_to_resubscribe(record.tenant, record.mailbox, user, store::DeviceKey());
  }
  log_line(core_.log, LogLevel::info, "unsubscribed", field("user", core_.fingerprint(user)),
           field("device", core_.log.fingerprint("device", device)), field("last_device", removed.last),
           field("subscriptions_ended", removed.tombstoned.size()));
  co_return removed;
}

Task<Status> Registrar::end_subscription(store::StoredUserId user, store::CapabilityHash capability) {
  BH_CO_TRY(UserLocks::Held held, co_await locks_.acquire(user));
  store::Store& store = core_.node.store;
  store::Route route;
  BH_CO_CHECKED(co_await store.read_route(capability, route));
  bool live = route.kind == store::RouteKind::subscription && route.subscription.user == user;
  if (!live) co_return fail(store::store_error(StoreError::not_found));
  store::Ending ending{.reason = store::TombstoneReason::removed,
                       .expires = tombstone_expiry(io::wall_now(), route.subscription.status_frequency_minutes)};
  co_return co_await service::end_subscription(core_, capability, ending);
}

std::unexpected<ApiProblem> Registrar::store_failed(const DeviceIdentity& who, const Error& error) {
  log_line(core_.log, level_of_failure(error), "registration_failed", field("user", core_.fingerprint(who.user)),
           field("error", error));
  return refuse_unavailable();
}

}  // namespace bellhop::service
