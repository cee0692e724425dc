// SPDX-License-Identifier: Apache-2.0
// Apart from the rules: the configuration's parser needs the names, and nothing else of them.
#include "core/base/check.h"
#include "service/policy_rules.h"

namespace bellhop::service {

std::string_view name_of(DecisionPoint point) {
  switch (point) {
    case DecisionPoint::registration:
      return "registration";
    case DecisionPoint::subscription:
      return "subscription";
    case DecisionPoint::callback:
      return "callback";
    case DecisionPoint::push:
      return "push";
    case DecisionPoint::ews:
      return "ews";
    case DecisionPoint::activesync:
      return "activesync";
  }
  check_failed("a decision point of the list", __FILE__, __LINE__);
}

}  // namespace bellhop::service
