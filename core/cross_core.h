// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <utility>

#include "core/io.h"
#include "core/reactor.h"
#include "core/task.h"

namespace bellhop {

namespace internal {

template <class F, class T>
struct RemoteCall {
  struct Step : Message {
    RemoteCall* call;
  };

  F make_task;
  unsigned home;
  Runnable* waiter = nullptr;
  std::optional<T> value;
  Step there, back;

  struct Awaiter {
    RemoteCall& call;
    unsigned target;
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
      call.waiter = &h.promise();
      call.there.call = &call;
      call.there.run = &RemoteCall::arrive;
      io::post(target, call.there);
    }
    void await_resume() const noexcept {}
  };

  static Task<void> run(RemoteCall* call) {
    call->value.emplace(co_await call->make_task());
    call->back.call = call;
    call->back.run = [](Message& message) { make_ready(static_cast<Step&>(message).call->waiter); };
    io::post(call->home, call->back);
  }
  static void arrive(Message& message) { Reactor::current().guests().spawn(run(static_cast<Step&>(message).call)); }
};

// A call that hears of its caller's stop. Who runs what: the hook, finished() and stop_heard() on the caller's core; run()
// and hear_stop() over there. Invariants:
//  1. the call lives in the caller's frame until finished() ran and no stop message is on its way.
//  2. at most one stop message is sent.
template <class F, class T>
struct StoppableCall {
  struct Step : Message {
    StoppableCall* call;
  };
  struct Hook : StopHook {
    explicit Hook(StoppableCall& c)
        : StopHook([](StopHook& hook) { static_cast<Hook&>(hook).call.send_stop(); }), call(c) {}
    StoppableCall& call;
  };

  StoppableCall(F make, unsigned there_core) : make_task(std::move(make)), target(there_core) {}

  F make_task;
  const unsigned target;
  const unsigned home = io::core();
  Runnable* waiter = nullptr;
  std::optional<T> value;
  Step there{}, back{}, stop{}, stop_back{};
  Hook hook{*this};
  bool done = false;              // the caller's
  bool stop_on_its_way = false;   // the caller's
  Context* running = nullptr;     // over there, while the task runs
  bool stop_came = false;         // over there

  struct Awaiter {
    StoppableCall& call;
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
      call.waiter = &h.promise();
      post(call.target, call.there, call, [](Message& message) {
        Reactor::current().guests().spawn(run(static_cast<Step&>(message).call));
      });
      Context& context = *h.promise().context;
      if (context.stop_requested()) {
        call.send_stop();
      } else {
        context.add(&call.hook);
      }
    }
    void await_resume() const noexcept {}
  };

 private:
  static void post(unsigned core, Step& step, StoppableCall& call, void (*run)(Message&)) {
    step.call = &call;
    step.run = run;
    io::post(core, step);
  }
  void send_stop() {
    stop_on_its_way = true;
    post(target, stop, *this, [](Message& message) { static_cast<Step&>(message).call->hear_stop(); });
  }
  void hear_stop() {
    stop_came = true;
    if (running) running->request_stop();
    post(home, stop_back, *this, [](Message& message) { static_cast<Step&>(message).call->stop_heard(); });
  }
  static Task<void> run(StoppableCall* call) {
    {
      Context context(&co_await current_context());
      call->running = &context;
      if (call->stop_came) context.request_stop();
      call->value.emplace(co_await call->make_task().under(context));
      call->running = nullptr;
    }
    post(call->home, call->back, *call, [](Message& message) { static_cast<Step&>(message).call->finished(); });
  }
  void finished() {
    hook.unlink();
    done = true;
    if (!stop_on_its_way) make_ready(waiter);
  }
  void stop_heard() {
    stop_on_its_way = false;
    if (done) make_ready(waiter);
  }
};

template <class F, class T>
struct OffloadedWork : io::Job {
  explicit OffloadedWork(F f) : function(std::move(f)) {}
  F function;
  std::optional<T> value;
  Runnable* waiter = nullptr;

  struct Awaiter {
    OffloadedWork& work;
    io::Worker worker;
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
      work.waiter = &h.promise();
      work.run = [](io::Job& job) {
        auto& self = static_cast<OffloadedWork&>(job);
        self.value.emplace(self.function());
      };
      work.done = [](io::Job& job) { make_ready(static_cast<OffloadedWork&>(job).waiter); };
      io::submit(worker, work);
    }
    void await_resume() const noexcept {}
  };
};

}  // namespace internal

// Runs `make_task()`, which returns a Task<T>, on another core and brings its value back. Not canceled with the caller:
// the flow over there ends by its own deadlines, and the caller waits for it (on_core_stoppable() is). T must be movable across threads. On the
// caller's own core the task simply runs in place.
template <class F>
auto on_core(unsigned core, F make_task) -> Task<typename std::invoke_result_t<F&>::value_type> {
  using T = typename std::invoke_result_t<F&>::value_type;
  if (core == io::core()) co_return co_await make_task();
  internal::RemoteCall<F, T> call{.make_task = std::move(make_task), .home = io::core(), .value = {}, .there = {}, .back = {}};
  co_await typename internal::RemoteCall<F, T>::Awaiter{call, core};
  co_return *std::move(call.value);
}

// As on_core, but a stop of the caller stops the flow over there, too; the caller waits for its end all the same.
template <class F>
auto on_core_stoppable(unsigned core, F make_task) -> Task<typename std::invoke_result_t<F&>::value_type> {
  using T = typename std::invoke_result_t<F&>::value_type;
  if (core == io::core()) co_return co_await make_task();
  internal::StoppableCall<F, T> call(std::move(make_task), core);
  co_await typename internal::StoppableCall<F, T>::Awaiter{call};
  co_return *std::move(call.value);
}

// Runs a blocking function on a helper thread and brings its value back. Waits for its end even when the flow is
// stopped: `work` may use the caller's frame.
template <class F>
auto offload(io::Worker worker, F work) -> Task<std::invoke_result_t<F&>> {
  using T = std::invoke_result_t<F&>;
  internal::OffloadedWork<F, T> job(std::move(work));
  co_await typename internal::OffloadedWork<F, T>::Awaiter{job, worker};
  co_return *std::move(job.value);
}

}  // namespace bellhop
