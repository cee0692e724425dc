// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/sleep.h"
#include "core/stop_link.h"
#include "core/task.h"

namespace bellhop {

// Awaits the end of all children of `scope`, and stops those that have not ended by themselves at `until`.
inline Task<void> join_or_stop(TaskScope& scope, Instant until) {
  DeadlineContext deadline(nullptr, until);
  StopLink link(deadline.context(), scope.context());
  co_await scope.join();
}

}  // namespace bellhop
