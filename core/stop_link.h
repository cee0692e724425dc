// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/context.h"

namespace bellhop {

// A second cause for a context to stop, beside its parent. Both live on one core, and longer than the link.
class StopLink {
 public:
  StopLink(Context& cause, Context& target) : hook_(target) {
    if (cause.stop_requested()) {
      target.request_stop();
    } else {
      cause.add(&hook_);
    }
  }
  StopLink(const StopLink&) = delete;
  StopLink& operator=(const StopLink&) = delete;

 private:
  struct Hook : StopHook {
    explicit Hook(Context& t)
        : StopHook([](StopHook& hook) { static_cast<Hook&>(hook).target.request_stop(); }), target(t) {}
    Context& target;
  };
  Hook hook_;
};

}  // namespace bellhop
