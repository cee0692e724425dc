// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "service/outcome.h"

namespace bellhop::service {

// What an outcome means, for operators, and what there is to do about it; `todo` is empty where there is nothing.
struct OutcomeText {
  std::string_view meaning;
  std::string_view todo;
};
OutcomeText explain(DeviceOutcome outcome);
OutcomeText explain(CallbackOutcome outcome);
OutcomeText explain(ApiOutcome outcome);
OutcomeText explain(GatewayOutcome outcome);

}  // namespace bellhop::service
