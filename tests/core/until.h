// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "core/sleep.h"
#include "core/sync.h"

namespace bellhop::test {

template <class Condition>
Task<Status> look_at_changes(Event& changed, Condition condition) {
  while (!condition()) {
    changed.reset();
    BH_CO_CHECKED(co_await changed.wait());
  }
  co_return Status();
}

// Awaits that the condition holds; it is asked at once, and whenever whoever changes it sets `changed`. Fails with
// timed_out where nothing comes of it.
template <class Condition>
Task<Status> until(Event& changed, Condition condition) {
  return within(20s, look_at_changes(changed, std::move(condition)));
}

}  // namespace bellhop::test
