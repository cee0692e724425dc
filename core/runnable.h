// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>

#include "core/base/intrusive_list.h"

namespace bellhop {

// A suspended coroutine that can be put on the ready queue of its core. Part of every Task's promise.
// Invariant: linked exactly while it waits on the ready queue.
struct Runnable : ListLink {
  std::coroutine_handle<> handle;
};

// Puts the coroutine at the end of the calling core's ready queue. Never resumes it in place.
void make_ready(Runnable* runnable);

}  // namespace bellhop
