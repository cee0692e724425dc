// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/base/time.h"
#include "service/silence_wheel.h"
#include "store/records.h"

namespace bellhop::service {

// How a subscription fares, by what Exchange owes us: a callback in every StatusFrequency.
enum class SubscriptionHealth : uint8_t {
  pending,  // no callback yet, and none overdue
  active,   // heard of in time
  late,     // a callback is overdue
  lost,     // for so long that it has to be made anew; or none ever came
};
// `silence`: of its mailbox; see Supervision.
SubscriptionHealth health_of(const store::SubscriptionRecord& record, SilenceStage silence);

// True where Exchange refused the credentials that it carries.
inline bool credentials_refused(const store::SubscriptionRecord& record) {
  return record.logon.failed > 0;
}

// The name of a subscription for its device: 32 hex digits. Says nothing about the capability.
std::string subscription_id(const store::CapabilityHash& capability);

// Until when a tombstone answers for a subscription that ends now.
WallTime tombstone_expiry(WallTime now, uint16_t status_frequency_minutes);

}  // namespace bellhop::service
