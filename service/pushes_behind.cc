// SPDX-License-Identifier: Apache-2.0
#include "service/pushes_behind.h"

#include "core/join.h"
#include "service/push_plan.h"
#include "service/renewal.h"

namespace bellhop::service {

AnsweredCallback::AnsweredCallback(const Callback& answered, MailboxCache::Lease mailbox_of, Semaphore::Permit turn_of,
                                   AckSources::Work part, BehindPlace place_of)
    : callback(answered),
      subscription(*answered.subscription),
      creds(answered.creds.begin(), answered.creds.end()),
      mailbox(std::move(mailbox_of)),
      turn(std::move(turn_of)),
      work(std::move(part)),
      place(std::move(place_of)) {
  callback.subscription = &subscription;
  callback.creds = creds;
  callback.notifications = {};  // they stay with the connection
}

AnsweredCallback::~AnsweredCallback() {
  wipe(creds);
  wipe(callback.capability.bytes);
}

Task<void> PushesBehind::run(std::unique_ptr<AnsweredCallback> answered) {
  GenerationSlot::Pin pin(core_.generations);
  core_.metrics.raise(metric::pushes_behind);
  Callback& callback = answered->callback;
  callback.tenant = core_.tenants().find(answered->subscription.tenant);  // of this core's generation
  callback.received_at = io::now();                                       // from here the stages' time counts
  if (callback.tenant) co_await fetch(*answered);
  co_await push(*answered);
  core_.metrics.lower(metric::pushes_behind);
}

// What cannot be fetched is pushed without content.
Task<void> PushesBehind::fetch(AnsweredCallback& answered) {
  if (!answered.plan.content) co_return;
  const Callback& callback = answered.callback;
  FetchResult fetched =
      co_await mail_fetch_.run(callback, *callback.tenant, *answered.mailbox, answered.plan, answered.arrivals);
  bool moved = fetched.end == FetchEnd::moved && !answered.renewing;
  if (!moved && !credentials_useless(fetched.end)) co_return;
  if (moved && core_.renewal && core_.renewal->replace(callback, *answered.mailbox, RenewalReason::moved)) co_return;
  pusher_.ask_to_resubscribe({.tenant = callback.tenant, .user = answered.mailbox->user}, *answered.mailbox,
                             answered.devices, answered.subscription.source_device);
}

Task<void> PushesBehind::push(AnsweredCallback& answered) {
  const NotificationConfig& limits = answered.limits;
  Mailbox& mailbox = *answered.mailbox;
  Delivery delivery(core_, pusher_, {.tenant = answered.callback.tenant, .user = mailbox.user}, answered.devices,
                    answered.devices_read, mailbox);
  if (answered.callback.tenant) {
    for (const Arrival& arrival : answered.arrivals) {
      if (arrival.gone) co_await delivery.settle_held(arrival.hash, DeviceOutcome::skipped_gone);
    }
    std::vector<Push> pushes = plan_pushes(core_.node.vault, mailbox.user, answered.arrivals, false, limits);
    co_await delivery.push_held(pushes, io::now() + std::chrono::milliseconds(limits.push_timeout_ms));
  }
  // No record stays that nobody looks after: those of a tenant that has left the configuration.
  for (const Arrival& arrival : answered.arrivals) delivery.release_held(arrival.hash);
}

Task<void> PushesBehind::close(Instant until) {
  co_await join_or_stop(flows_, until);
}

}  // namespace bellhop::service
