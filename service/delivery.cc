// SPDX-License-Identifier: Apache-2.0
#include "service/delivery.h"

#include <algorithm>
#include <utility>

#include "service/policy_points.h"

namespace bellhop::service {
namespace {

// A device that was removed or blocked gets nothing more, also where Exchange was waited for meanwhile.
constexpr Duration kDevicesGoodFor = 1s;

DeviceOutcome delivered_as(bool content_free) {
  return content_free ? DeviceOutcome::delivered_contentfree : DeviceOutcome::delivered_apns;
}

std::array<uint8_t, 16> collapse_bytes(std::string_view collapse_id) {
  std::array<uint8_t, 16> bytes{};
  auto decoded = from_hex(collapse_id);
  BH_CHECK(decoded && decoded->size() == bytes.size());  // the vault made it
  std::ranges::copy(*decoded, bytes.begin());
  return bytes;
}

bool contains(const std::vector<store::JournalEntry>& entries, const store::JournalKey& key) {
  return std::ranges::find(entries, key, &store::JournalEntry::key) != entries.end();
}

}  // namespace

Delivery::Delivery(Core& core, Pusher& pusher, PushTarget target, const std::vector<store::DeviceEntry>& devices,
                   Instant devices_read, Mailbox& mailbox)
    : core_(core), pusher_(pusher), target_(target), devices_(devices), devices_read_(devices_read), mailbox_(mailbox) {}

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

// Where they were read a while ago, which of them are still in use.
Task<void> Delivery::look_again() {
  if (io::now() - devices_read_ < kDevicesGoodFor) co_return;
  Result<std::vector<store::DeviceEntry>> now = co_await core_.node.store.read_devices(target_.user);
  if (!now) co_return;  // as they were
  for (const store::DeviceEntry& device : devices_) {
    auto found = std::ranges::find(*now, device.key, &store::DeviceEntry::key);
    std::optional<DeviceOutcome> end = DeviceOutcome::skipped_no_device;
    if (found != now->end()) end = judge_push(core_, target_.tenant->config.id, target_.user, found->record).refusal;
    if (end) gone_.emplace_back(device.key, *end);
  }
}

PushVerdict Delivery::judge(const store::DeviceEntry& device) const {
  auto gone = std::ranges::find(gone_, device.key, &std::pair<store::DeviceKey, DeviceOutcome>::first);
  if (gone != gone_.end()) return {.refusal = gone->second};
  return judge_push(core_, target_.tenant->config.id, target_.user, device.record);
}

// How it ends where no push is made; nothing where one is to be made.
std::optional<DeviceOutcome> Delivery::end_without_push(const Push& push, const store::DeviceEntry& device,
                                                        const PushVerdict& verdict) const {
  if (verdict.refusal) return verdict.refusal;
  bool known = was_made(push, device) || core_.journal->holds(key_of(push.hash, device));
  return known ? std::optional(DeviceOutcome::skipped_duplicate) : std::nullopt;
}

Task<bool> Delivery::push_all(std::span<Push> pushes, Instant deadline) {
  for (Push& push : pushes) push.complete = true;
  if (devices_.empty()) {
    for (const Push& push : pushes) settle(DeviceOutcome::skipped_no_device, push.events);
    co_return true;
  }
  co_await look_again();
  Context& context = co_await current_context();
  TaskScope running(&context);
  for (Push& push : pushes) {
    for (const store::DeviceEntry& device : devices_) {
      PushVerdict verdict = judge(device);
      if (std::optional<DeviceOutcome> end = end_without_push(push, device, verdict)) {
        if (was_made(push, device)) made_.push_back({push.hash, device.key});
        settle_device(push, device, *end);
      } else if (verdict.undecided) {
        left_.push_back({&push, &device});  // the journal asks again
      } else {
        running.spawn(push_one(push, device, deadline));
      }
    }
  }
  co_await running.join();
  std::vector<Open> left = std::exchange(left_, {});
  bool complete = left.empty();
  if (!complete && !context.stop_requested()) complete = co_await journal(left, JournalStart::later);
  mailbox_.unfinished.clear();
  if (complete) co_return true;
  for (const Open& open : left) {
    open.push->complete = false;
    core_.ledger.hand_back(open.push->events);
    open_ -= open.push->events;
  }
  remember(pushes);
  co_return false;
}

Task<bool> Delivery::journal_all(std::span<Push> pushes, JournalStart start) {
  std::vector<Open> open, ended;
  for (Push& push : pushes) {
    for (const store::DeviceEntry& device : devices_) {
      (end_without_push(push, device, judge(device)) ? ended : open).push_back({&push, &device});
    }
  }
  if (!co_await journal(open, start)) co_return false;
  for (const Open& one : ended) {
    DeviceOutcome end = judge(*one.device).refusal.value_or(DeviceOutcome::skipped_duplicate);
    settle_device(*one.push, *one.device, end);
  }
  for (Push& push : pushes) {
    push.complete = true;
    if (devices_.empty()) settle(DeviceOutcome::skipped_no_device, push.events);
  }
  mailbox_.unfinished.clear();
  co_return true;
}

// In one piece, and on the disk when it returns true.
Task<bool> Delivery::journal(const std::vector<Open>& open, JournalStart start) {
  std::vector<store::JournalEntry> entries;
  std::vector<bool> repeated;
  for (const Open& one : open) {
    store::JournalEntry entry{.key = key_of(one.push->hash, *one.device), .record = {.user = target_.user}};
    entry.record.collapse = collapse_bytes(one.push->collapse_id);
    // An item that is listed twice, or that restore() has met while the push was on its way.
    bool known = core_.journal->holds(entry.key) || contains(entries, entry.key);
    repeated.push_back(known);
    if (!known) entries.push_back(entry);
  }
  Status written = co_await core_.journal->add(std::move(entries), start);
  if (!written) {
    log_line(core_.log, LogLevel::error, "pushes_not_journaled", field("user", core_.fingerprint(target_.user)),
             field("pushes", open.size()), field("error", written.error()));
    co_return false;
  }
  for (size_t i = 0; i < open.size(); ++i) {
    if (repeated[i]) {
      settle_device(*open[i].push, *open[i].device, DeviceOutcome::skipped_duplicate);
    } else {
      settle_device(*open[i].push, *open[i].device, DeviceOutcome::journaled, DeviceOutcome::skipped_merged);
    }
  }
  co_return true;
}

Task<Delivery::Sent> Delivery::send(const Push& push, const store::DeviceEntry& device, Instant deadline) {
  std::optional<uint32_t> unread;
  if (mailbox_.unread_known) unread = mailbox_.hot.unread;
  PushContent content{.mail = push.mail, .more_mail = push.more_mail, .thread_id = push.thread_id, .unread = unread};
  PreviewPolicy preview = preview_for(device.record.preview, target_.tenant->config.preview_max);
  ShapedPush shaped = shape_push(content, preview, device.record.badge);
  OutgoingPush outgoing{.payload = shaped.payload, .collapse_id = push.collapse_id};
  PushEnd end = co_await pusher_.push(target_, device, outgoing, deadline);
  co_return Sent{end, shaped.content_free};
}

Task<void> Delivery::push_one(Push& push, const store::DeviceEntry& device, Instant deadline) {
  Sent sent = co_await send(push, device, deadline);
  switch (sent.end) {
    case PushEnd::delivered:
      count_delivered(sent.content_free);
      made_.push_back({push.hash, device.key});
      settle_device(push, device, delivered_as(sent.content_free), DeviceOutcome::skipped_merged);
      co_return;
    case PushEnd::token_gone:
      settle_device(push, device, DeviceOutcome::dropped_token_gone);
      co_return;
    case PushEnd::refused:
      settle_device(push, device, DeviceOutcome::dropped_payload);
      co_return;
    case PushEnd::unsettled:
      left_.push_back({&push, &device});
      co_return;
  }
}

// ---- Pushes whose records the journal holds ----

Task<void> Delivery::push_held(std::span<const Push> pushes, Instant deadline) {
  co_await look_again();
  TaskScope running(&co_await current_context());
  std::vector<store::JournalKey> begun;
  for (const Push& push : pushes) {
    for (const store::DeviceEntry& device : devices_) {
      store::JournalKey key = key_of(push.hash, device);
      bool repeated = std::ranges::find(begun, key) != begun.end();
      // Of one that is gone the journal knows how it ends.
      if (repeated || !core_.journal->held(key)) continue;
      if (PushVerdict verdict = judge(device); verdict.refusal || verdict.undecided) continue;
      begun.push_back(key);
      running.spawn(push_held_one(push, device, deadline));
    }
  }
  co_await running.join();
}

Task<void> Delivery::push_held_one(const Push& push, const store::DeviceEntry& device, Instant deadline) {
  store::JournalKey key = key_of(push.hash, device);
  Sent sent = co_await send(push, device, deadline);
  switch (sent.end) {
    case PushEnd::delivered:
      count_delivered(sent.content_free);
      co_await core_.journal->settle(key, delivered_as(sent.content_free));
      co_return;
    case PushEnd::token_gone:
      co_await core_.journal->settle(key, DeviceOutcome::dropped_token_gone);
      co_return;
    case PushEnd::refused:
      co_await core_.journal->settle(key, DeviceOutcome::dropped_payload);
      co_return;
    case PushEnd::unsettled:
      core_.journal->release(key);
      co_return;
  }
}

Task<void> Delivery::settle_held(uint64_t hash, DeviceOutcome outcome) {
  for (const store::DeviceEntry& device : devices_) {
    store::JournalKey key = key_of(hash, device);
    if (core_.journal->held(key)) co_await core_.journal->settle(key, outcome);
  }
}

void Delivery::release_held(uint64_t hash) {
  for (const store::DeviceEntry& device : devices_) {
    store::JournalKey key = key_of(hash, device);
    if (core_.journal->held(key)) core_.journal->release(key);
  }
}

// ---- Book-keeping ----

void Delivery::count_delivered(bool content_free) {
  ++counts_.pushes;
  counts_.contentfree += content_free;
}

store::JournalKey Delivery::key_of(uint64_t hash, const store::DeviceEntry& device) const {
  return {.mailbox = mailbox_.number, .device = device.key, .item_hash = hash};
}

void Delivery::settle_device(const Push& push, const store::DeviceEntry& device, DeviceOutcome outcome) {
  settle_device(push, device, outcome, outcome);
}

// One device: the push itself, and the further events that it stands for.
void Delivery::settle_device(const Push& push, const store::DeviceEntry& device, DeviceOutcome first,
                             DeviceOutcome rest) {
  core_.ledger.settle(first);
  core_.ledger.settle(rest, push.events - 1);
  open_ -= push.events;
  core_.trail.note({.at = io::wall_now(),
                    .user = target_.user,
                    .outcome = first,
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
