// SPDX-License-Identifier: Apache-2.0
#include "service/subscription_health.h"

#include <algorithm>

namespace bellhop::service {

SubscriptionHealth health_of(const store::SubscriptionRecord& record, WallTime last_seen, WallTime now) {
  std::chrono::milliseconds frequency = std::chrono::minutes(record.status_frequency_minutes);
  if (record.state == store::SubscriptionState::pending) {
    return now - record.created <= frequency ? SubscriptionHealth::pending : SubscriptionHealth::lost;
  }
  // The time is the mailbox's: what an older subscription was last heard of may be before this one was made.
  std::chrono::milliseconds quiet = now - std::max(last_seen, record.created);
  if (quiet <= frequency + frequency / 4) return SubscriptionHealth::active;
  return quiet <= 2 * frequency ? SubscriptionHealth::late : SubscriptionHealth::lost;
}

std::string subscription_id(const store::CapabilityHash& capability) {
  return to_hex(Bytes(capability).first(16));
}

WallTime tombstone_expiry(WallTime now, uint16_t status_frequency_minutes) {
  return now + 2 * std::chrono::minutes(status_frequency_minutes);
}

}  // namespace bellhop::service
