// SPDX-License-Identifier: Apache-2.0
#include "service/trail.h"

#include <algorithm>

namespace bellhop::service {

Trail::Trail() {
  entries_.resize(kRecentMax + (kCallbackOutcomes + kDeviceOutcomes) * kExamplesMax);
  size_t begin = 0;
  auto place = [&](Ring& ring, size_t size) {
    ring.begin = begin;
    ring.size = size;
    begin += size;
  };
  place(recent_, kRecentMax);
  for (Ring& ring : callbacks_) place(ring, kExamplesMax);
  for (Ring& ring : devices_) place(ring, kExamplesMax);
}

void Trail::note(const TrailEntry& entry) {
  put(recent_, entry);
  if (const auto* callback = std::get_if<CallbackOutcome>(&entry.outcome)) {
    put(callbacks_[size_t(*callback)], entry);
  } else {
    put(devices_[size_t(std::get<DeviceOutcome>(entry.outcome))], entry);
  }
}

void Trail::put(Ring& ring, const TrailEntry& entry) {
  entries_[ring.begin + ring.noted % ring.size] = entry;
  ++ring.noted;
}

std::vector<TrailEntry> Trail::read(const Ring& ring) const {
  std::vector<TrailEntry> found;
  size_t count = std::min<uint64_t>(ring.noted, ring.size);
  for (size_t i = 1; i <= count; ++i) found.push_back(entries_[ring.begin + (ring.noted - i) % ring.size]);
  return found;
}

std::vector<TrailEntry> Trail::of_user(const store::StoredUserId& user, size_t entries_max) const {
  std::vector<TrailEntry> found;
  size_t count = std::min<uint64_t>(recent_.noted, recent_.size);
  for (size_t i = 1; i <= count && found.size() < entries_max; ++i) {
    const TrailEntry& entry = entries_[recent_.begin + (recent_.noted - i) % recent_.size];
    if (entry.user == user) found.push_back(entry);
  }
  return found;
}

std::vector<TrailEntry> Trail::of_outcome(CallbackOutcome outcome) const { return read(callbacks_[size_t(outcome)]); }
std::vector<TrailEntry> Trail::of_outcome(DeviceOutcome outcome) const { return read(devices_[size_t(outcome)]); }

}  // namespace bellhop::service
