// SPDX-License-Identifier: Apache-2.0
#include "service/delivery.h"

#include <algorithm>

namespace bellhop::service {

Delivery::Delivery(Core& core, Pusher& pusher, PushTarget target, const std::vector<store::DeviceEntry>& devices,
                   Mailbox& mailbox)
    : core_(core), pusher_(pusher), target_(target), devices_(devices), mailbox_(mailbox) {}

Delivery::~Delivery() {
  BH_CHECK(open_ == 0);
}

void Delivery::accept(size_t events) {
  size_t count = events * std::max<size_t>(devices_.size(), 1);
  core_.ledger.accept(count);
  open_ += count;
}

void Delivery::settle(DeviceOutcome outcome, size_t events) {
  size_t count = events * std::max<size_t>(devices_.size(), 1);
  core_.ledger.settle(devices_.empty() ? DeviceOutcome::skipped_no_device : outcome, count);
  open_ -= count;
}

void Delivery::hand_back(size_t events) {
  size_t count = events * std::max<size_t>(devices_.size(), 1);
  core_.ledger.hand_back(count);
  open_ -= count;
}

Task<bool> Delivery::push_all(std::span<Push> pushes, Instant deadline) {
  for (Push& push : pushes) push.complete = true;
  if (devices_.empty()) {
    for (const Push& push : pushes) settle(DeviceOutcome::skipped_no_device, push.events);
    co_return true;
  }
  TaskScope running(&co_await current_context());
  for (Push& push : pushes) {
    for (const store::DeviceEntry& device : devices_) {
      if (std::optional<DeviceOutcome> refusal = device_refusal(device.record)) {
        settle_device(*refusal, *refusal, push.events);
        note_trail(push, device, *refusal);
      } else if (was_made(push, device)) {
        made_.push_back({push.hash, device.key});
        settle_device(DeviceOutcome::skipped_duplicate, DeviceOutcome::skipped_duplicate, push.events);
        note_trail(push, device, DeviceOutcome::skipped_duplicate);
      } else {
        running.spawn(push_one(push, device, deadline));
      }
    }
  }
  co_await running.join();
  bool complete = std::ranges::all_of(pushes, &Push::complete);
  mailbox_.unfinished.clear();
  if (!complete) remember(pushes);
  co_return complete;
}

Task<void> Delivery::push_one(Push& push, const store::DeviceEntry& device, Instant deadline) {
  std::optional<uint32_t> unread;
  if (mailbox_.unread_known) unread = mailbox_.hot.unread;
  PushContent content{.mail = push.mail, .more_mail = push.more_mail, .thread_id = push.thread_id, .unread = unread};
  PreviewPolicy preview = preview_for(device.record.preview, target_.tenant->config.preview_max);
  ShapedPush shaped = shape_push(content, preview, device.record.badge);
  OutgoingPush outgoing{.payload = shaped.payload, .collapse_id = push.collapse_id};
  PushEnd end = co_await pusher_.push(target_, device, outgoing, deadline);
  settle_push(push, device, end, shaped.content_free);
}

void Delivery::settle_push(Push& push, const store::DeviceEntry& device, PushEnd end, bool content_free) {
  switch (end) {
    case PushEnd::delivered:
      ++counts_.pushes;
      counts_.contentfree += content_free;
      made_.push_back({push.hash, device.key});
      settle_device(content_free ? DeviceOutcome::delivered_contentfree : DeviceOutcome::delivered_apns,
                    DeviceOutcome::skipped_merged, push.events);
      note_trail(push, device, content_free ? DeviceOutcome::delivered_contentfree : DeviceOutcome::delivered_apns);
      return;
    case PushEnd::token_gone:
      settle_device(DeviceOutcome::dropped_token_gone, DeviceOutcome::dropped_token_gone, push.events);
      note_trail(push, device, DeviceOutcome::dropped_token_gone);
      return;
    case PushEnd::refused:
      settle_device(DeviceOutcome::dropped_payload, DeviceOutcome::dropped_payload, push.events);
      note_trail(push, device, DeviceOutcome::dropped_payload);
      return;
    case PushEnd::unsettled:
      push.complete = false;
      core_.ledger.hand_back(push.events);
      open_ -= push.events;
      return;
  }
}

// One device: the push itself, and the further events that it stands for.
void Delivery::settle_device(DeviceOutcome first, DeviceOutcome rest, uint32_t events) {
  core_.ledger.settle(first);
  core_.ledger.settle(rest, events - 1);
  open_ -= events;
}

void Delivery::note_trail(const Push& push, const store::DeviceEntry& device, DeviceOutcome outcome) {
  core_.trail.note({.at = io::wall_now(),
                    .user = target_.user,
                    .outcome = outcome,
                    .device = device.key,
                    .item = push.events == 1 ? push.hash : 0,
                    .events = push.events});
}

bool Delivery::was_made(const Push& push, const store::DeviceEntry& device) const {
  UnfinishedPush wanted{push.hash, device.key};
  return std::ranges::find(mailbox_.unfinished, wanted) != mailbox_.unfinished.end();
}

// Pushes that are complete are remembered by the item ring instead.
void Delivery::remember(std::span<const Push> pushes) {
  for (const UnfinishedPush& made : made_) {
    auto push = std::ranges::find(pushes, made.hash, &Push::hash);
    if (push->complete || mailbox_.unfinished.size() >= kUnfinishedPushesMax) continue;
    mailbox_.unfinished.push_back(made);
  }
}

}  // namespace bellhop::service
