// SPDX-License-Identifier: Apache-2.0
#include "service/apns_faults.h"

namespace bellhop::service {

std::optional<ApnsResult> ApnsFaults::held_back(const AppConfig& app, Instant now) {
  if (faults_.empty()) return std::nullopt;
  for (const Name& name : {name_of_topic(app), name_of_key(app)}) {
    auto fault = faults_.find(name);
    if (fault != faults_.end() && !fault->second.breaker.allow(now)) return fault->second.result;
  }
  return std::nullopt;
}

bool ApnsFaults::note_broken(const AppConfig& app, const ApnsResult& result, Instant now) {
  Fault& fault = faults_[of_key(result) ? name_of_key(app) : name_of_topic(app)];
  if (!fault.breaker.fail(now)) return false;
  fault.result = result;
  return true;
}

bool ApnsFaults::note_working(const AppConfig& app) {
  if (faults_.empty()) return false;
  size_t mended = faults_.erase(name_of_topic(app)) + faults_.erase(name_of_key(app));
  return mended > 0;
}

}  // namespace bellhop::service
