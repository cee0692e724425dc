// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io.h"
#include "core/reactor.h"
#include "core/task.h"

namespace bellhop {

// `co_await sleep_until(t)`: a Status, CoreError::canceled where the flow was stopped first.
class [[nodiscard]] sleep_until {
 public:
  explicit sleep_until(Instant expiry)
      : timer_(this), hook_(this), expiry_(expiry) {}

  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    Context& context = *h.promise().context;
    if (context.stop_requested()) {
      canceled_ = true;
      return false;
    }
    waiter_ = &h.promise();
    Reactor::current().timers().arm(timer_, expiry_);
    context.add(&hook_);
    return true;
  }
  Status await_resume() noexcept {
    hook_.unlink();
    if (canceled_) return fail(core_error(CoreError::canceled));
    return {};
  }

 private:
  struct OwnTimer : Timer {
    explicit OwnTimer(sleep_until* o) : Timer(&sleep_until::expired), owner(o) {}
    sleep_until* owner;
  };
  struct OwnHook : StopHook {
    explicit OwnHook(sleep_until* o) : StopHook(&sleep_until::stopped), owner(o) {}
    sleep_until* owner;
  };
  static void expired(Timer& timer) {
    auto* self = static_cast<OwnTimer&>(timer).owner;
    self->hook_.unlink();
    make_ready(self->waiter_);
  }
  static void stopped(StopHook& hook) {
    auto* self = static_cast<OwnHook&>(hook).owner;
    self->timer_.disarm();
    self->canceled_ = true;
    make_ready(self->waiter_);
  }

  OwnTimer timer_;
  OwnHook hook_;
  Instant expiry_;
  Runnable* waiter_ = nullptr;
  bool canceled_ = false;
};

inline sleep_until sleep_for(Duration duration) { return sleep_until(io::now() + duration); }

// A context that stops itself at a point in time.
class DeadlineContext {
 public:
  DeadlineContext(Context* parent, Instant expiry) : context_(parent), timer_(this) {
    Reactor::current().timers().arm(timer_, expiry);
  }
  Context& context() { return context_; }
  bool expired() const { return expired_; }

 private:
  struct OwnTimer : Timer {
    explicit OwnTimer(DeadlineContext* o)
        : Timer([](Timer& timer) {
            auto* owner = static_cast<OwnTimer&>(timer).owner;
            owner->expired_ = true;
            owner->context_.request_stop();
          }),
          owner(o) {}
    DeadlineContext* owner;
  };
  Context context_;
  OwnTimer timer_;
  bool expired_ = false;
};

namespace internal {

template <class T>
Task<Result<T>> run_within(Instant expiry, Task<Result<T>> task) {
  DeadlineContext deadline(&co_await current_context(), expiry);
  Result<T> result = co_await std::move(task).under(deadline.context());
  if (!result && deadline.expired() && is(result.error(), CoreError::canceled)) {
    co_return fail(core_error(CoreError::timed_out));
  }
  co_return result;
}

}  // namespace internal

// Runs `task` under a deadline: past it the task is stopped, its end awaited, and what it returned as `canceled` becomes
// CoreError::timed_out. The task may still return a value that it had in time.
template <class T>
Task<Result<T>> within_until(Instant expiry, Task<Result<T>> task) {
  if (task.value()) return task;
  return internal::run_within(expiry, std::move(task));
}
template <class T>
Task<Result<T>> within(Duration duration, Task<Result<T>> task) {
  if (task.value()) return task;
  return internal::run_within(io::now() + duration, std::move(task));
}

}  // namespace bellhop
