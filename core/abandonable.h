// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>

#include "core/base/error.h"
#include "core/context.h"
#include "core/reactor.h"
#include "core/runnable.h"

namespace bellhop {

// Awaits what the seam does on its own and reports by `done` (O: io::Readiness, io::Resolution), once. `operation` is
// filled in before. A stop of the flow abandons it at once: nothing of it is heard of any more, and the memory is ours
// again. Lives in the frame of the flow that awaits it. An io::Operation is another thing: the kernel owns it to its end.
template <class O>
class Abandonable {
 public:
  Abandonable() : operation(this), hook_(this) {}
  Abandonable(const Abandonable&) = delete;
  Abandonable& operator=(const Abandonable&) = delete;

  struct OwnOperation : O {
    explicit OwnOperation(Abandonable* a) : owner(a) {}
    Abandonable* owner;
  };
  OwnOperation operation;

  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    Context& context = *h.promise().context;
    if (context.stop_requested()) {
      canceled_ = true;
      return false;
    }
    waiter_ = &h.promise();
    context.add(&hook_);
    operation.done = &Abandonable::done;
    start(operation);  // io::, as O says
    return true;
  }
  Status await_resume() const noexcept {
    if (canceled_) return fail(core_error(CoreError::canceled));
    return {};
  }

 private:
  struct OwnHook : StopHook {
    explicit OwnHook(Abandonable* a) : StopHook(&Abandonable::stopped), owner(a) {}
    Abandonable* owner;
  };
  static void done(O& operation) {
    Abandonable* self = static_cast<OwnOperation&>(operation).owner;
    self->hook_.unlink();
    make_ready(self->waiter_);
  }
  static void stopped(StopHook& hook) {
    Abandonable* self = static_cast<OwnHook&>(hook).owner;
    abandon(self->operation);  // io::
    self->canceled_ = true;
    make_ready(self->waiter_);
  }

  OwnHook hook_;
  Runnable* waiter_ = nullptr;
  bool canceled_ = false;
};

}  // namespace bellhop
