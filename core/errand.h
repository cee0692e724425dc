// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <utility>

#include "core/io.h"
#include "core/reactor.h"
#include "core/task.h"

namespace bellhop {

namespace internal {

// Lives in the frame of the flow that awaits it. The work is the back end's from the start on, and ours again with done().
template <class F, class T>
class ErrandAwaiter {
  struct Work : io::Errand {
    Work(F f, ErrandAwaiter* a) : function(std::move(f)), awaiter(a) {
      run = [](io::Errand& errand) {
        auto& self = static_cast<Work&>(errand);
        self.value.emplace(self.function());
      };
      done = [](io::Errand& errand) { static_cast<Work&>(errand).awaiter->finished(); };
      dropped = [](io::Errand& errand) { delete static_cast<Work*>(&errand); };
    }
    F function;
    std::optional<T> value;
    ErrandAwaiter* awaiter;  // not touched after a successful abandon()
  };

 public:
  ErrandAwaiter(unsigned lane, F function) : lane_(lane), work_(new Work(std::move(function), this)), hook_(this) {}
  ErrandAwaiter(const ErrandAwaiter&) = delete;
  ErrandAwaiter& operator=(const ErrandAwaiter&) = delete;
  ~ErrandAwaiter() { delete work_; }

  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    Context& context = *h.promise().context;
    if (context.stop_requested()) return false;
    waiter_ = &h.promise();
    context.add(&hook_);
    io::start(*work_, lane_);
    return true;
  }
  Result<T> await_resume() {
    if (!work_ || !work_->value) return fail(core_error(CoreError::canceled));
    return *std::move(work_->value);
  }

 private:
  struct Hook : StopHook {
    explicit Hook(ErrandAwaiter* a) : StopHook([](StopHook& hook) { static_cast<Hook&>(hook).owner->stopped(); }), owner(a) {}
    ErrandAwaiter* owner;
  };
  void finished() {
    hook_.unlink();
    make_ready(waiter_);
  }
  void stopped() {
    if (!io::abandon(*work_)) return;  // finished() comes next
    work_ = nullptr;
    make_ready(waiter_);
  }

  const unsigned lane_;
  Work* work_;
  Hook hook_;
  Runnable* waiter_ = nullptr;
};

}  // namespace internal

// Runs a blocking function on an errand thread (see io::Errand) and brings its value back. Where the flow is stopped it
// goes on at once, with CoreError::canceled; the function, which then ends by itself later, is destroyed over there. So it owns all
// that it uses, or shares it.
template <class F>
auto run_errand(unsigned lane, F function) -> Task<Result<std::invoke_result_t<F&>>> {
  using T = std::invoke_result_t<F&>;
  co_return co_await internal::ErrandAwaiter<F, T>(lane, std::move(function));
}

}  // namespace bellhop
