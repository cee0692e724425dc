// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_trail.h"

#include <algorithm>

namespace bellhop::service {
namespace {

// Puts the entry in the place of the oldest one.
void put(std::vector<GatewayTrailEntry>& ring, size_t entries_max, uint64_t& noted, const GatewayTrailEntry& entry) {
  size_t place = noted++ % entries_max;
  if (place < ring.size()) {
    ring[place] = entry;
  } else {
    ring.push_back(entry);
  }
}

bool same_text(std::string_view a, std::string_view b, size_t bytes_max) {
  b = b.substr(0, bytes_max);  // as it was noted
  return std::ranges::equal(a, b, [](char x, char y) {
    auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; };
    return lower(x) == lower(y);
  });
}

}  // namespace

GatewayTrail::GatewayTrail() {
  recent_.reserve(kRecentMax);
  for (auto& ring : examples_) ring.reserve(kExamplesMax);
}

void GatewayTrail::note(const GatewayTrailEntry& entry) {
  put(recent_, kRecentMax, noted_, entry);
  auto outcome = static_cast<size_t>(entry.outcome);
  put(examples_[outcome], kExamplesMax, examples_noted_[outcome], entry);
}

template <class Wanted>
std::vector<GatewayTrailEntry> GatewayTrail::find(Wanted wanted, size_t entries_max) const {
  std::vector<GatewayTrailEntry> found;
  for (size_t i = 1; i <= recent_.size() && found.size() < entries_max; ++i) {
    const GatewayTrailEntry& entry = recent_[(noted_ - i) % kRecentMax];
    if (wanted(entry)) found.push_back(entry);
  }
  return found;
}

std::vector<GatewayTrailEntry> GatewayTrail::of_device(const proto::DeviceKey& device, size_t entries_max) const {
  return find([&](const GatewayTrailEntry& entry) { return entry.device == device; }, entries_max);
}
std::vector<GatewayTrailEntry> GatewayTrail::of_account(const store::StoredUserId& account, size_t entries_max) const {
  return find([&](const GatewayTrailEntry& entry) { return entry.account == account; }, entries_max);
}
std::vector<GatewayTrailEntry> GatewayTrail::of_device_type(std::string_view type, size_t entries_max) const {
  return find([&](const GatewayTrailEntry& entry) { return same_text(entry.device_type.view(), type, 32); }, entries_max);
}
std::vector<GatewayTrailEntry> GatewayTrail::of_mail_client(std::string_view client, size_t entries_max) const {
  return find([&](const GatewayTrailEntry& entry) { return same_text(entry.mail_client.view(), client, 48); }, entries_max);
}

std::vector<GatewayTrailEntry> GatewayTrail::of_outcome(GatewayOutcome outcome) const {
  const auto& ring = examples_[static_cast<size_t>(outcome)];
  uint64_t noted = examples_noted_[static_cast<size_t>(outcome)];
  std::vector<GatewayTrailEntry> found;
  for (size_t i = 1; i <= ring.size(); ++i) found.push_back(ring[(noted - i) % kExamplesMax]);
  return found;
}

}  // namespace bellhop::service
