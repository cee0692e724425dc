// SPDX-License-Identifier: Apache-2.0
#include "service/badge.h"

#include "core/join.h"
#include "core/sleep.h"
#include "proto/apns.h"
#include "service/policy_points.h"
#include "service/push.h"

namespace bellhop::service {

Badges::Badges(Core& core, Pusher& pusher)
    : core_(core), pusher_(pusher), flows_(nullptr), pauses_(&flows_.context()) {}

void Badges::update(PushTarget target, uint32_t unread) {
  if (auto found = mailboxes_.find(target.user); found != mailboxes_.end()) {
    found->second->unread = unread;
    found->second->waiting = true;
    return;
  }
  if (mailboxes_.size() >= kBadgesMax) return;
  auto added = mailboxes_.emplace(target.user, std::make_unique<Mailbox>(target.tenant->config.id, target.user, unread, true)).first;
  flows_.spawn(run(*added->second));
}

Task<void> Badges::run(Mailbox& mailbox) {
  while (mailbox.waiting) {
    mailbox.waiting = false;
    co_await send(mailbox, mailbox.unread);
    // Cut short by close(): a value that waits is then sent at once.
    (void)co_await pause().under(pauses_);
  }
  mailboxes_.erase(store::StoredUserId(mailbox.user));
}

Task<Status> Badges::pause() {
  co_return co_await sleep_for(std::chrono::milliseconds(core_.config().notification.badge_interval_ms));
}

Task<void> Badges::send(const Mailbox& mailbox, uint32_t unread) {
  GenerationSlot::Pin pin(core_.generations);
  PushTarget target{.tenant = core_.tenants().find(mailbox.tenant), .user = mailbox.user};
  if (!target.tenant) co_return;  // taken out of the configuration meanwhile
  Result<std::vector<store::DeviceEntry>> devices = co_await core_.node.store.read_devices(target.user);
  if (!devices) {
    log_line(core_.log, LogLevel::warning, "badge_not_sent", field("user", core_.fingerprint(target.user)),
             field("error", devices.error()));
    co_return;
  }
  std::string payload = proto::write_apns_badge(unread);
  TaskScope pushes(&co_await current_context());
  for (const store::DeviceEntry& device : *devices) {
    if (!device.record.badge || push_refusal(core_, target.tenant->config.id, target.user, device.record)) continue;
    pushes.spawn(send_to_device(target, device, payload));
  }
  co_await pushes.join();
}

Task<void> Badges::send_to_device(PushTarget target, const store::DeviceEntry& device, std::string_view payload) {
  proto::ApnsRequest shape;
  proto::set_apns_badge(shape);
  OutgoingPush badge{
      .payload = payload, .collapse_id = shape.collapse_id, .type = shape.push_type, .priority = shape.priority};
  Instant deadline = io::now() + std::chrono::milliseconds(core_.config().notification.push_timeout_ms);
  co_await pusher_.push(target, device, badge, deadline);
}

Task<void> Badges::close(Instant until) {
  pauses_.request_stop();
  co_await join_or_stop(flows_, until);
}

}  // namespace bellhop::service
