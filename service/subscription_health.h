// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/base/time.h"
#include "store/records.h"

namespace bellhop::service {

// How a subscription fares, by what Exchange owes us: a callback in every StatusFrequency.
enum class SubscriptionHealth : uint8_t {
  pending,  // made at most one StatusFrequency ago, no callback yet
  active,   // heard of within 1.25 StatusFrequency: a stored last-seen time may be a quarter old
  late,     // within two
  lost,     // longer ago: by Microsoft's rule it has to be made anew
};
// `last_seen`: the mailbox's last callback, the epoch where there was none.
SubscriptionHealth health_of(const store::SubscriptionRecord& record, WallTime last_seen, WallTime now);

// True where Exchange refused the credentials that it carries.
inline bool credentials_refused(const store::SubscriptionRecord& record) {
  return record.logon.failed > 0;
}

// The name of a subscription for its device: 32 hex digits. Says nothing about the capability.
std::string subscription_id(const store::CapabilityHash& capability);

// Until when a tombstone answers for a subscription that ends now.
WallTime tombstone_expiry(WallTime now, uint16_t status_frequency_minutes);

}  // namespace bellhop::service
