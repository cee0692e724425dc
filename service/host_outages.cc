// SPDX-License-Identifier: Apache-2.0
#include "service/host_outages.h"

#include <algorithm>

#include "core/base/check.h"

namespace bellhop::service {
namespace {

// A host is quiet where its callbacks have stayed away for as long as this many of them would have taken, within bounds.
constexpr uint32_t kCallbacksMissed = 20;
constexpr uint32_t kQuietMin_s = 60;

}  // namespace

// All that belongs together, in one word.
struct HostOutages::Tally {
  static constexpr uint64_t kCountMax = (uint64_t{1} << 27) - 1;
  uint64_t mailboxes = 0;  // heard in this epoch
  uint64_t late = 0;       // of these
  uint8_t epoch = 0;
  bool silent = false;

  static Tally of(uint64_t word) {
    return {.mailboxes = word & kCountMax,
            .late = word >> 27 & kCountMax,
            .epoch = static_cast<uint8_t>(word >> 54),
            .silent = (word >> 62 & 1) != 0};
  }
  uint64_t word() const {
    BH_CHECK(mailboxes <= kCountMax && late <= kCountMax);
    return mailboxes | late << 27 | uint64_t{epoch} << 54 | uint64_t{silent} << 62;
  }
};

struct HostOutages::Host {
  std::string origin;
  std::atomic<uint64_t> tally{0};
  std::atomic<uint32_t> heard_s{0};        // the last callback
  std::atomic<uint32_t> spoke_again_s{0};  // the end of the last outage
  std::atomic<uint32_t> probe_due_s{0};

  Tally now() const { return Tally::of(tally.load(std::memory_order_relaxed)); }
};

// Changes the word by `f(Tally&) -> bool` (false: leave it), and returns what is there afterwards.
template <class F>
HostOutages::Tally HostOutages::change(Host& host, F&& f) {
  uint64_t before = host.tally.load(std::memory_order_relaxed);
  for (;;) {
    Tally tally = Tally::of(before);
    if (!f(tally)) return Tally::of(before);
    if (host.tally.compare_exchange_weak(before, tally.word(), std::memory_order_acq_rel)) return tally;
  }
}

HostOutages::HostOutages() : hosts_(kHostsMax + 1) {
  hosts_[kNoHost] = std::make_unique<Host>();
}
HostOutages::~HostOutages() = default;

uint16_t HostOutages::id_of(std::string_view origin, uint32_t now_s) {
  std::lock_guard guard(lock_);
  auto known = ids_.find(origin);
  if (known != ids_.end()) return known->second;
  if (ids_.size() >= kHostsMax) return kNoHost;
  auto id = static_cast<uint16_t>(ids_.size() + 1);
  hosts_[id] = std::make_unique<Host>();
  hosts_[id]->origin = origin;
  hosts_[id]->heard_s = now_s;
  ids_.emplace(hosts_[id]->origin, id);
  return id;
}

std::string_view HostOutages::origin(uint16_t id) const { return hosts_[id]->origin; }

uint8_t HostOutages::join(uint16_t id) {
  if (id == kNoHost) return 0;
  return change(*hosts_[id], [](Tally& tally) { return ++tally.mailboxes, true; }).epoch;
}

void HostOutages::leave(uint16_t id, uint8_t epoch, bool late) {
  if (id == kNoHost) return;
  change(*hosts_[id], [&](Tally& tally) {
    // Who was silent for 256 epochs finds its own number again, and is not in the count.
    bool counted = tally.epoch == epoch && tally.mailboxes > 0;
    tally.mailboxes -= counted;
    tally.late -= counted && late && tally.late > 0;
    return counted;
  });
}

bool HostOutages::current(uint16_t id, uint8_t epoch) const { return id == kNoHost || hosts_[id]->now().epoch == epoch; }

bool HostOutages::mark_late(uint16_t id, uint8_t epoch) {
  if (id == kNoHost) return false;
  bool counted = false;
  change(*hosts_[id], [&](Tally& tally) {
    counted = tally.epoch == epoch;
    tally.late += counted;
    return counted;
  });
  return counted;
}

void HostOutages::unmark_late(uint16_t id, uint8_t epoch) {
  if (id == kNoHost) return;
  change(*hosts_[id], [&](Tally& tally) {
    bool counted = tally.epoch == epoch && tally.late > 0;  // as above
    tally.late -= counted;
    return counted;
  });
}

std::optional<HostRecovery> HostOutages::contact(uint16_t id, uint32_t now_s) {
  if (id == kNoHost) return std::nullopt;
  Host& host = *hosts_[id];
  uint32_t before = host.heard_s.load(std::memory_order_relaxed);
  if (before != now_s) host.heard_s.store(now_s, std::memory_order_relaxed);  // the line is shared: once a second is enough
  if (!host.now().silent) return std::nullopt;
  host.spoke_again_s.store(now_s, std::memory_order_relaxed);  // seen by whoever sees the new epoch
  bool ended = false;
  change(host, [&](Tally& tally) {
    ended = tally.silent;
    if (ended) tally = {.epoch = static_cast<uint8_t>(tally.epoch + 1)};
    return ended;
  });
  if (!ended) return std::nullopt;
  return HostRecovery{.origin = host.origin, .silent_s = now_s - before};
}

std::optional<HostOutage> HostOutages::judge(uint16_t id, uint32_t now_s, uint32_t frequency_s,
                                             const HostOutageRules& rules) {
  if (id == kNoHost) return std::nullopt;
  Host& host = *hosts_[id];
  uint32_t heard_s = host.heard_s.load(std::memory_order_relaxed);
  bool began = false;
  Tally after = change(host, [&](Tally& tally) {
    began = false;
    if (tally.silent || tally.mailboxes == 0 || tally.late < std::max(rules.mailboxes_min, 1u)) return false;
    if (tally.late * 100 < tally.mailboxes * rules.share_percent) return false;
    uint64_t missed_s = uint64_t{kCallbacksMissed} * frequency_s / tally.mailboxes;
    uint64_t quiet_s = std::clamp<uint64_t>(missed_s, std::min(kQuietMin_s, frequency_s / 2), frequency_s / 2);
    if (heard_s + quiet_s > now_s) return false;
    return tally.silent = began = true;
  });
  if (!began) return std::nullopt;
  host.probe_due_s.store(now_s, std::memory_order_relaxed);
  return HostOutage{.origin = host.origin,
                    .mailboxes = static_cast<uint32_t>(after.mailboxes),
                    .late = static_cast<uint32_t>(after.late),
                    .since_s = heard_s};
}

bool HostOutages::silent(uint16_t id) const { return hosts_[id]->now().silent; }
uint32_t HostOutages::spoke_again_s(uint16_t id) const { return hosts_[id]->spoke_again_s.load(std::memory_order_relaxed); }

bool HostOutages::take_probe(uint16_t id, uint32_t now_s, uint32_t interval_s) {
  Host& host = *hosts_[id];
  uint32_t due = host.probe_due_s.load(std::memory_order_relaxed);
  if (now_s < due || !host.now().silent) return false;
  return host.probe_due_s.compare_exchange_strong(due, now_s + interval_s, std::memory_order_relaxed);
}

std::vector<HostOutage> HostOutages::silent_hosts() const {
  std::lock_guard guard(lock_);
  std::vector<HostOutage> found;
  for (size_t id = 1; id <= ids_.size(); ++id) {
    const Host& host = *hosts_[id];
    Tally tally = host.now();
    if (!tally.silent) continue;
    found.push_back({.origin = host.origin,
                     .mailboxes = static_cast<uint32_t>(tally.mailboxes),
                     .late = static_cast<uint32_t>(tally.late),
                     .since_s = host.heard_s.load(std::memory_order_relaxed)});
  }
  return found;
}

}  // namespace bellhop::service
