// SPDX-License-Identifier: Apache-2.0
#include "service/subscription_health.h"

namespace bellhop::service {

SubscriptionHealth health_of(const store::SubscriptionRecord& record, SilenceStage silence) {
  // Exchange calls as soon as it has made a subscription: one that it never called for was not made.
  if (record.state == store::SubscriptionState::pending) {
    return silence == SilenceStage::active ? SubscriptionHealth::pending : SubscriptionHealth::lost;
  }
  switch (silence) {
    case SilenceStage::active:
      return SubscriptionHealth::active;
    case SilenceStage::late:
      return SubscriptionHealth::late;
    case SilenceStage::lost:
      return SubscriptionHealth::lost;
  }
  return SubscriptionHealth::lost;
}

std::string subscription_id(const store::CapabilityHash& capability) {
  return to_hex(Bytes(capability).first(16));
}

WallTime tombstone_expiry(WallTime now, uint16_t status_frequency_minutes) {
  return now + 2 * std::chrono::minutes(status_frequency_minutes);
}

}  // namespace bellhop::service
