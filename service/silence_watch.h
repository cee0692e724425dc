// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "service/host_outages.h"
#include "service/silence_wheel.h"

namespace bellhop::service {

// When a mailbox that has not been heard of is late or lost, in seconds of silence. Exchange calls at least once in a
// StatusFrequency; 5 % (at least 5 s) are for its timers and the network.
constexpr uint32_t late_after_s(uint32_t frequency_s) { return frequency_s + std::max(frequency_s / 20, 5u); }
constexpr uint32_t lost_after_s(uint32_t frequency_s) { return 2 * frequency_s + 2 * frequency_s / 5; }
// Where the silence may be ours, or its host's, and has ended: a subscription that lives speaks within a StatusFrequency.
constexpr uint32_t grace_s(uint32_t frequency_s) { return frequency_s + frequency_s / 5; }
// Between one silent push and the next; the last one repeats. Each is spread by a tenth either way.
inline constexpr std::array<uint32_t, 4> kAskWaits_s = {15 * 60, 3600, 6 * 3600, 24 * 3600};
// While its host is silent, a mailbox is looked at again after this and up to as much again.
inline constexpr uint32_t kOutageRecheck_s = 300;

struct SilenceRules {
  uint32_t asks_per_second_max = 50;
  HostOutageRules hosts;
};

// A mailbox as a callback, a subscription or the store tells of it.
struct SilenceContact {
  uint64_t owner = 0;  // start of the stored user id
  uint16_t frequency_minutes = 30;
  std::string_view origin;  // EWS origin of the subscription
};

// How one mailbox fares.
struct Supervised {
  SilenceStage stage = SilenceStage::active;
  uint8_t asks = 0;                      // silent pushes since it was lost
  std::optional<uint32_t> next_ask_in_s;  // with stage `lost`, unless its host is silent
  bool host_silent = false;
};

// What a look has found to be done.
struct SilenceFound {
  struct Ask {
    uint64_t owner = 0;
    bool probe = false;  // its host is silent
  };
  std::vector<Ask> asks;            // devices to be asked to subscribe again
  std::vector<HostOutage> outages;  // that began
  void clear() {
    asks.clear();
    outages.clear();
  }
};

// The dead-man switch of one core's mailboxes: active → late → lost, and when to ask whose device to subscribe again.
// Rules only: no clock, no store, no push. A mailbox that is not known is `active`: silence is counted from when it was
// first told of. Nothing here costs more with more mailboxes, but memory.
class SilenceWatch {
 public:
  SilenceWatch(HostOutages& hosts, size_t mailboxes_max, uint32_t now_s);

  // From now on we hear what Exchange says; before, its silence may have been our own.
  void listen_from(uint32_t now_s) { listening_since_s_ = now_s; }

  // A callback of the mailbox came. A value where that ended an outage of its host.
  std::optional<HostRecovery> heard(const SilenceContact& contact, uint32_t now_s);
  // A subscription was made: Exchange owes its first callback. Its silence begins anew.
  void begun(const SilenceContact& contact, uint32_t now_s);
  // The store has a subscription of this mailbox. Changes nothing where the mailbox is known. `host`: of HostOutages.
  void stored(uint64_t owner, uint16_t frequency_minutes, uint16_t host, uint32_t now_s);
  void forget(uint64_t owner);

  // Looks at up to `entries_max` mailboxes whose time has come, and adds to `found`. True where there may be more.
  bool look(uint32_t now_s, size_t entries_max, const SilenceRules& rules, SilenceFound& found);

  Supervised state(uint64_t owner, uint32_t now_s) const;
  uint64_t count(SilenceStage stage) const { return counts_[size_t(stage)]; }
  size_t size() const { return wheel_.size(); }
  size_t bytes() const { return wheel_.bytes(); }
  uint64_t looks() const { return looks_; }        // at single mailboxes, since start
  uint64_t left_out() const { return left_out_; }  // mailboxes for which there was no room

 private:
  SilenceEntry* add(uint64_t owner, uint16_t frequency_minutes, uint16_t host, uint32_t now_s);
  SilenceEntry* restart(const SilenceContact& contact, uint32_t now_s);
  void check(SilenceEntry& entry, uint32_t now_s, const SilenceRules& rules, SilenceFound& found);
  void hold(SilenceEntry& entry, uint32_t now_s, uint32_t due_s, const SilenceRules& rules, SilenceFound& found);
  void ask_when_due(SilenceEntry& entry, uint32_t now_s, uint32_t not_before_s, const SilenceRules& rules,
                    SilenceFound& found);
  uint32_t reserve(uint32_t now_s, uint32_t per_second_max);
  uint32_t blameless_until_s(const SilenceEntry& entry) const;
  void set_stage(SilenceEntry& entry, SilenceStage stage);
  void place(SilenceEntry& entry, uint32_t now_s, uint32_t due_s);

  HostOutages& hosts_;
  SilenceWheel wheel_;
  uint32_t listening_since_s_;
  uint32_t ask_second_s_ = 0;  // the second that takes the next ask, and how many it has
  uint32_t asks_in_second_ = 0;
  std::array<uint64_t, 3> counts_{};
  uint64_t looks_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace bellhop::service
