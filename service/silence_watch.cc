// SPDX-License-Identifier: Apache-2.0
#include "service/silence_watch.h"

#include <algorithm>

namespace bellhop::service {
namespace {

// A number below `bound` that differs from mailbox to mailbox and from time to time, so that what happened to many at
// once does not go on happening to them at once.
uint32_t spread(const SilenceEntry& entry, uint32_t time, uint32_t bound) {
  uint64_t h = (entry.owner() ^ uint64_t{time} << 20) * 0xff51afd7ed558ccdu;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53u;
  return bound == 0 ? 0 : static_cast<uint32_t>((h >> 32) % bound);
}

uint32_t ask_wait_s(const SilenceEntry& entry, uint32_t now_s) {
  uint32_t wait = kAskWaits_s[std::min<size_t>(entry.asks, kAskWaits_s.size() - 1)];
  return wait - wait / 10 + spread(entry, now_s, wait / 5);
}

}  // namespace

SilenceWatch::SilenceWatch(HostOutages& hosts, size_t mailboxes_max, uint32_t now_s)
    : hosts_(hosts), wheel_(mailboxes_max, now_s), listening_since_s_(now_s) {}

// ---- What is heard ----

SilenceEntry* SilenceWatch::add(uint64_t owner, uint16_t frequency_minutes, uint16_t host, uint32_t now_s) {
  SilenceEntry* entry = wheel_.insert(owner, now_s + late_after_s(frequency_minutes * 60u));
  if (!entry) {
    ++left_out_;
    return nullptr;
  }
  entry->since_s = now_s;
  entry->frequency_minutes = frequency_minutes;
  entry->host = host;
  entry->epoch = hosts_.join(host);
  ++counts_[size_t(SilenceStage::active)];
  return entry;
}

void SilenceWatch::stored(uint64_t owner, uint16_t frequency_minutes, uint16_t host, uint32_t now_s) {
  if (!wheel_.find(owner)) add(owner, frequency_minutes, host, now_s);
}

// Its silence begins anew.
SilenceEntry* SilenceWatch::restart(const SilenceContact& contact, uint32_t now_s) {
  SilenceEntry* entry = wheel_.find(contact.owner);
  if (!entry) return add(contact.owner, contact.frequency_minutes, hosts_.id_of(contact.origin, now_s), now_s);
  if (contact.frequency_minutes < entry->frequency_minutes) {
    entry = &wheel_.move_up(*entry, now_s + late_after_s(contact.frequency_minutes * 60u));
  }
  entry->frequency_minutes = contact.frequency_minutes;
  if (hosts_.origin(entry->host) != contact.origin) {  // the mailbox moved, or there was no room for its host
    uint16_t host = hosts_.id_of(contact.origin, now_s);
    if (host != entry->host) {
      hosts_.leave(entry->host, entry->epoch, entry->counted_late);
      entry->counted_late = false;
      entry->host = host;
      entry->epoch = hosts_.join(host);
    }
  }
  if (entry->counted_late) hosts_.unmark_late(entry->host, entry->epoch);
  entry->counted_late = entry->ask_reserved = false;
  entry->since_s = now_s;
  entry->asks = 0;
  set_stage(*entry, SilenceStage::active);
  return entry;
}

std::optional<HostRecovery> SilenceWatch::heard(const SilenceContact& contact, uint32_t now_s) {
  SilenceEntry* entry = restart(contact, now_s);
  if (!entry) return std::nullopt;
  std::optional<HostRecovery> recovery = hosts_.contact(entry->host, now_s);
  if (!hosts_.current(entry->host, entry->epoch)) entry->epoch = hosts_.join(entry->host);
  return recovery;
}

void SilenceWatch::begun(const SilenceContact& contact, uint32_t now_s) { restart(contact, now_s); }

void SilenceWatch::forget(uint64_t owner) {
  SilenceEntry* entry = wheel_.find(owner);
  if (!entry) return;
  hosts_.leave(entry->host, entry->epoch, entry->counted_late);
  --counts_[size_t(entry->stage)];
  wheel_.erase(*entry);
}

// ---- What is due ----

bool SilenceWatch::look(uint32_t now_s, size_t entries_max, const SilenceRules& rules, SilenceFound& found) {
  for (size_t i = 0; i < entries_max; ++i) {
    SilenceEntry* entry = wheel_.next_due(now_s);
    if (!entry) return false;
    ++looks_;
    check(*entry, now_s, rules, found);
  }
  return true;
}

// The silence up to this second was not the subscription's own: we did not listen, or its host was silent as a whole.
uint32_t SilenceWatch::blameless_until_s(const SilenceEntry& entry) const {
  if (hosts_.current(entry.host, entry.epoch)) return listening_since_s_;
  return std::max(listening_since_s_, hosts_.spoke_again_s(entry.host));
}

void SilenceWatch::check(SilenceEntry& entry, uint32_t now_s, const SilenceRules& rules, SilenceFound& found) {
  uint32_t frequency_s = entry.frequency_minutes * 60u;
  uint32_t blameless_s = blameless_until_s(entry);
  if (entry.stage == SilenceStage::active) {
    uint32_t due_s = std::max(entry.since_s, blameless_s) + late_after_s(frequency_s);
    if (now_s < due_s) return place(entry, now_s, due_s);
    set_stage(entry, SilenceStage::late);
    entry.counted_late = hosts_.mark_late(entry.host, entry.epoch);
  }
  if (auto outage = hosts_.judge(entry.host, now_s, frequency_s, rules.hosts)) found.outages.push_back(*outage);
  // Whoever has been silent since before that gets a StatusFrequency to speak, and not all of them the same one.
  uint32_t not_before_s = 0;
  if (blameless_s > entry.since_s || entry.stage == SilenceStage::lost) {
    not_before_s = blameless_s + grace_s(frequency_s) + spread(entry, blameless_s, frequency_s / 4);
  }
  if (entry.stage == SilenceStage::late) {
    uint32_t due_s = std::max(entry.since_s + lost_after_s(frequency_s), not_before_s);
    if (now_s < due_s) {
      return hosts_.silent(entry.host) ? hold(entry, now_s, due_s, rules, found) : place(entry, now_s, due_s);
    }
    set_stage(entry, SilenceStage::lost);
    entry.since_s = now_s;
  }
  if (hosts_.silent(entry.host)) return hold(entry, now_s, UINT32_MAX, rules, found);
  ask_when_due(entry, now_s, not_before_s, rules, found);
}

// Its host is silent: nobody is asked, but for one device now and then.
void SilenceWatch::hold(SilenceEntry& entry, uint32_t now_s, uint32_t due_s, const SilenceRules& rules,
                        SilenceFound& found) {
  entry.ask_reserved = false;
  if (hosts_.take_probe(entry.host, now_s, rules.hosts.probe_interval_s)) {
    found.asks.push_back({.owner = entry.owner(), .probe = true});
  }
  uint32_t recheck_s = now_s + kOutageRecheck_s + spread(entry, now_s, kOutageRecheck_s);
  place(entry, now_s, std::min(due_s, recheck_s));
}

void SilenceWatch::ask_when_due(SilenceEntry& entry, uint32_t now_s, uint32_t not_before_s, const SilenceRules& rules,
                                SilenceFound& found) {
  uint32_t due_s = std::max(entry.since_s, not_before_s);
  if (now_s < due_s) return place(entry, now_s, due_s);
  // A second that has passed, because we were not running, is taken by nobody: else all of them would go out at once.
  bool passed = entry.since_s + 1 < now_s;
  if (!entry.ask_reserved || passed) {
    entry.since_s = reserve(now_s, rules.asks_per_second_max);
    entry.ask_reserved = entry.since_s > now_s;
    if (entry.ask_reserved) return place(entry, now_s, entry.since_s);
  }
  entry.ask_reserved = false;
  found.asks.push_back({.owner = entry.owner()});
  entry.since_s = now_s + ask_wait_s(entry, now_s);
  if (entry.asks < UINT8_MAX) ++entry.asks;
  place(entry, now_s, entry.since_s);
}

// The first second from now on that has room for one more.
uint32_t SilenceWatch::reserve(uint32_t now_s, uint32_t per_second_max) {
  if (ask_second_s_ < now_s) {
    ask_second_s_ = now_s;
    asks_in_second_ = 0;
  }
  if (asks_in_second_ >= per_second_max) {
    ++ask_second_s_;
    asks_in_second_ = 0;
  }
  ++asks_in_second_;
  return ask_second_s_;
}

Supervised SilenceWatch::state(uint64_t owner, uint32_t now_s) const {
  const SilenceEntry* entry = wheel_.find(owner);
  if (!entry) return {};
  Supervised state{.stage = entry->stage, .asks = entry->asks, .next_ask_in_s = {}, .host_silent = hosts_.silent(entry->host)};
  if (entry->stage == SilenceStage::lost && !state.host_silent) {
    state.next_ask_in_s = std::max(entry->since_s, now_s) - now_s;
  }
  return state;
}

void SilenceWatch::set_stage(SilenceEntry& entry, SilenceStage stage) {
  --counts_[size_t(entry.stage)];
  ++counts_[size_t(stage)];
  entry.stage = stage;
}

// Never further away than a callback that comes at once could make it late: a callback does not move the entry.
void SilenceWatch::place(SilenceEntry& entry, uint32_t now_s, uint32_t due_s) {
  wheel_.place(entry, std::min(due_s, now_s + late_after_s(entry.frequency_minutes * 60u)));
}

}  // namespace bellhop::service
