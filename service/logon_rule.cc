// SPDX-License-Identifier: Apache-2.0
#include "service/logon_rule.h"

#include <algorithm>

namespace bellhop::service {

bool logon_allowed(const store::LogonRule& rule, WallTime now, const EwsConfig& config) {
  if (rule.failed == 0) return true;
  if (config.logons_after_refusal_per_hour_max == 0) return false;
  return rule.failed <= config.logons_after_refusal_max && now >= rule.next_allowed;
}

store::LogonRule logon_refused(const store::LogonRule& rule, WallTime now, const EwsConfig& config) {
  std::chrono::milliseconds hour = 1h;
  std::chrono::milliseconds wait = hour / std::max(1u, config.logons_after_refusal_per_hour_max);
  return {.failed = static_cast<uint8_t>(std::min(rule.failed + 1, int{UINT8_MAX})), .next_allowed = now + wait};
}

}  // namespace bellhop::service
