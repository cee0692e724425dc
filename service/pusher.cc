// SPDX-License-Identifier: Apache-2.0
#include "service/pusher.h"

#include <algorithm>

#include "core/join.h"
#include "proto/apns_answer.h"
#include "service/mailbox_cache.h"
#include "service/policy_points.h"
#include "service/push.h"

namespace bellhop::service {
namespace {

ApnsEnvironment environment_of(const store::DeviceRecord& device) {
  return device.environment == store::PushEnvironment::sandbox ? ApnsEnvironment::sandbox : ApnsEnvironment::production;
}

}  // namespace

Task<PushEnd> Pusher::push(PushTarget target, const store::DeviceEntry& device, OutgoingPush push, Instant deadline) {
  const AppConfig* app = target.tenant->app(device.record.topic, environment_of(device.record));
  if (!app) {
    log_line(core_.log, LogLevel::error, "push_app_missing", field("user", core_.fingerprint(target.user)),
             field("tenant", not_personal(target.tenant->config.id)));
    co_return PushEnd::refused;
  }
  Result<crypto::Secret> token = core_.node.vault.unseal_push_token(target.user, device.key, device.record);
  if (!token) {
    log_line(core_.log, LogLevel::error, "push_token_unreadable", field("user", core_.fingerprint(target.user)),
             field("error", token.error()));
    co_return PushEnd::refused;
  }
  ApnsPush request{
      .app = app,
      .device_token = token->reveal_text(),
      .payload = push.payload,
      .collapse_id = push.collapse_id,
      .push_type = push.type,
      .priority = push.priority,
      .expiration_unix_s = to_unix_seconds(io::wall_now()) + int64_t{core_.config().apns.expiration_hours} * 3600,
      .proven = device.record.proven,
      .registered_at = device.record.registered_at};
  ApnsResult result = co_await core_.apns.push(request, deadline);
  co_return co_await end_of(result, target, device);
}

Task<PushEnd> Pusher::end_of(const ApnsResult& result, PushTarget target, const store::DeviceEntry& device) {
  switch (result.verdict) {
    case proto::ApnsVerdict::delivered:
      if (!device.record.proven && chores_.live() < kChoresMax) chores_.spawn(mark_proven(target.user, device.key));
      co_return PushEnd::delivered;
    case proto::ApnsVerdict::token_gone: {
      Status marked = co_await core_.node.store.mark_token_gone(target.user, device.key, device.record.registered_at);
      // A conflict is a newer token, and not_found a device that has just gone: both are fine.
      bool fine =
          marked || is(marked.error(), store::StoreError::conflict) || is(marked.error(), store::StoreError::not_found);
      if (!fine) {
        log_line(core_.log, LogLevel::error, "token_gone_not_written", field("user", core_.fingerprint(target.user)),
                 field("error", marked.error()));
      }
      co_return PushEnd::token_gone;
    }
    case proto::ApnsVerdict::drop_payload:
    case proto::ApnsVerdict::route_broken:
      log_line(core_.log, LogLevel::error, "push_refused", field("user", core_.fingerprint(target.user)),
               field("reason", not_personal(proto::apns_reason_info(result.reason).name)),
               field("status", result.status));
      co_return PushEnd::refused;
    case proto::ApnsVerdict::retry:
    case proto::ApnsVerdict::retry_new_token:
      // Unregistered before this registration: tried again in vain, and no repeat of Exchange would change it. The device stays.
      co_return result.status == 410 ? PushEnd::token_gone : PushEnd::unsettled;
  }
  co_return PushEnd::unsettled;
}

Task<void> Pusher::mark_proven(store::StoredUserId user, store::DeviceKey device) {
  store::DevicePatch patch;
  patch.proven = true;
  Status written = co_await core_.node.store.update_device(user, device, patch);
  if (!written && !is(written.error(), store::StoreError::not_found)) {
    log_line(core_.log, LogLevel::warning, "device_proven_not_written", field("user", core_.fingerprint(user)),
             field("error", written.error()));
  }
}

void Pusher::ask_to_resubscribe(PushTarget target, const std::vector<store::DeviceEntry>& devices,
                                const store::DeviceKey& source) {
  auto reachable = [&](const store::DeviceEntry& device) {
    return !push_refusal(core_, target.tenant->config.id, target.user, device.record);
  };
  auto chosen = std::ranges::find_if(
      devices, [&](const store::DeviceEntry& device) { return device.key == source && reachable(device); });
  if (chosen == devices.end()) chosen = std::ranges::find_if(devices, reachable);
  if (chosen == devices.end() || chores_.live() >= kChoresMax) return;
  chores_.spawn(resubscribe_push(target.tenant->config.id, target.user, *chosen));
}

void Pusher::ask_to_resubscribe(PushTarget target, Mailbox& mailbox, const std::vector<store::DeviceEntry>& devices,
                                const store::DeviceKey& source) {
  Instant now = io::now();
  if (mailbox.resubscribe_asked && now - *mailbox.resubscribe_asked < kResubscribeInterval) return;
  mailbox.resubscribe_asked = now;
  ask_to_resubscribe(target, devices, source);
}

Task<void> Pusher::resubscribe_push(std::string tenant, store::StoredUserId user, store::DeviceEntry device) {
  GenerationSlot::Pin pin(core_.generations);
  PushTarget target{.tenant = core_.tenants().find(tenant), .user = user};
  if (!target.tenant) co_return;  // the callback came under another generation, and this one has it no more
  std::optional<std::string> payload = proto::write_apns_silent(proto::ApnsWhat::resubscribe);
  BH_CHECK(payload);
  OutgoingPush silent{.payload = *payload,
                      .collapse_id = {},
                      .type = proto::ApnsPushType::background,
                      .priority = proto::ApnsPriority::considerate};
  Instant deadline = io::now() + std::chrono::milliseconds(core_.config().notification.push_timeout_ms);
  PushEnd end = co_await push(target, device, silent, deadline);
  log_line(core_.log, LogLevel::info, "resubscribe_asked", field("user", core_.fingerprint(target.user)),
           field("delivered", end == PushEnd::delivered));
}

Task<void> Pusher::close(Instant until) {
  co_await join_or_stop(chores_, until);
}

}  // namespace bellhop::service
