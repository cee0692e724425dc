// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <variant>
#include <vector>

#include "core/base/time.h"
#include "service/outcome.h"
#include "store/ids.h"

namespace bellhop::service {

// One thing that happened: how a callback was answered, or how an event ended for a device. Nothing of the mail.
struct TrailEntry {
  WallTime at{};
  store::StoredUserId user;
  std::variant<CallbackOutcome, DeviceOutcome> outcome = CallbackOutcome::ok;
  store::CapabilityHash subscription;  // callback: which one
  store::DeviceKey device;             // event: for which device
  uint64_t item = 0;                   // event: hash of the item, as in the journal; 0: many in one push
  uint32_t events = 0;                 // event: that the push stands for; callback: new mails in it, repeats included
  uint32_t duplicates = 0;             // callback: of these, pushed before
  bool caught_up = false;              // callback: the mailbox was listed because events were missed
  Duration took{};                     // callback: from the request to our answer

  friend bool operator==(const TrailEntry&, const TrailEntry&) = default;
};

// What happened lately on one core, for `bellhop explain`: the last entries of all, and the last few of each outcome, so
// that a rare one is still there when many others came since. Heartbeats are left out: the last one of each mailbox is
// in its hot state, and they would push out everything else. All memory is taken at the start. One core.
class Trail {
 public:
  static constexpr size_t kRecentMax = 2'048;
  static constexpr size_t kExamplesMax = 8;  // of one outcome

  Trail();
  void note(const TrailEntry& entry);
  // The newest first, at most `entries_max`.
  std::vector<TrailEntry> of_user(const store::StoredUserId& user, size_t entries_max) const;
  std::vector<TrailEntry> of_outcome(CallbackOutcome outcome) const;
  std::vector<TrailEntry> of_outcome(DeviceOutcome outcome) const;

 private:
  // The last entries of a kind, overwritten in turn.
  struct Ring {
    size_t begin = 0, size = 0;  // places in entries_
    uint64_t noted = 0;
  };
  void put(Ring& ring, const TrailEntry& entry);
  std::vector<TrailEntry> read(const Ring& ring) const;

  std::vector<TrailEntry> entries_;
  Ring recent_;
  std::array<Ring, kCallbackOutcomes> callbacks_;
  std::array<Ring, kDeviceOutcomes> devices_;
};

}  // namespace bellhop::service
