// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/base/check.h"
#include "core/base/error.h"
#include "core/context.h"
#include "core/frame_pool.h"
#include "core/runnable.h"

namespace bellhop {

template <class T>
class Task;

namespace internal {

// What the promise of every Task holds. Invariants:
//  1. context is set before the first resume and outlives the frame.
//  2. exactly one of continuation (an awaiting parent) and finished (a scope) is told of the end.
struct PromiseBase : Runnable {
  Context* context = nullptr;
  Runnable* continuation = nullptr;
  void (*finished)(PromiseBase&) = nullptr;  // set by TaskScope; frees the frame
  void* owner = nullptr;                     // for `finished`
  bool inline_start = false;  // the parent is still inside await_suspend
  bool done = false;

  static void* operator new(size_t size) { return FramePool::allocate(size); }
  static void operator delete(void* frame, size_t size) { FramePool::free(frame, size); }

  std::suspend_always initial_suspend() noexcept { return {}; }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
      PromiseBase& promise = h.promise();
      promise.done = true;
      if (promise.finished) {
        promise.finished(promise);  // the frame is gone afterwards
      } else if (!promise.inline_start) {
        make_ready(promise.continuation);
      }
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { __builtin_trap(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <class U>
  void return_value(U&& u) {
    value.emplace(std::forward<U>(u));
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
};

}  // namespace internal

// A lazy coroutine: starts when awaited, belongs to the awaiting frame, is awaited in the statement that makes it.
// A child that ends without waiting resumes its parent in place; otherwise the parent goes through the ready queue, so
// that stacks stay flat. The frame comes from FramePool and is wiped. Used on one core from start to end.
//
// A function that only sometimes has to wait is no coroutine itself: it gives the coroutine that waits, or, with no frame
// at all, `Task<T>::of(value)`. What it does by then, it does when it is called.
template <class T>
class [[nodiscard("a Task does nothing until it is awaited")]] Task {
 public:
  using promise_type = internal::Promise<T>;
  using value_type = T;

  // Nothing is left to do.
  template <class... U>
  static Task of(U&&... value) {
    Task task{std::coroutine_handle<promise_type>()};
    task.value_.emplace(std::forward<U>(value)...);
    return task;
  }

  Task(Task&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), context_(other.context_), value_(std::move(other.value_)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (!handle_) return;
    // A frame with a pending operation is never destroyed: either it did not start, or it ended.
    BH_CHECK(!started_ || handle_.promise().done);
    handle_.destroy();
  }

  // Makes the task run under another context than its parent's; `context` outlives it.
  Task under(Context& context) && {
    context_ = &context;
    return std::move(*this);
  }

  // Of a task without a frame; null where there is something to await.
  const auto* value() const { return value_ ? &*value_ : nullptr; }
  bool await_ready() const noexcept { return value_.has_value(); }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> parent) noexcept {
    auto& promise = handle_.promise();
    promise.context = context_ ? context_ : parent.promise().context;
    promise.continuation = &parent.promise();
    promise.inline_start = true;
    started_ = true;
    handle_.resume();
    if (promise.done) return false;
    promise.inline_start = false;
    return true;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return *std::move(value_ ? value_ : handle_.promise().value);
  }

  // Gives up ownership; for TaskScope and the reactor.
  std::coroutine_handle<promise_type> release() && { return std::exchange(handle_, nullptr); }

 private:
  friend promise_type;
  struct Nothing {};
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}

  std::coroutine_handle<promise_type> handle_;
  Context* context_ = nullptr;
  std::optional<std::conditional_t<std::is_void_v<T>, Nothing, T>> value_;  // of a task that has no frame
  bool started_ = false;
};

namespace internal {

template <class T>
Task<T> Promise<T>::get_return_object() {
  auto h = std::coroutine_handle<Promise<T>>::from_promise(*this);
  handle = h;
  return Task<T>(h);
}
inline Task<void> Promise<void>::get_return_object() {
  auto h = std::coroutine_handle<Promise<void>>::from_promise(*this);
  handle = h;
  return Task<void>(h);
}

}  // namespace internal

// `Context& context = co_await current_context();`
struct current_context {
  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    context_ = h.promise().context;
    return false;
  }
  Context& await_resume() const noexcept { return *context_; }

 private:
  Context* context_ = nullptr;
};

// Goes to the end of the ready queue: how a long loop lets others run.
struct yield_now {
  bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> h) noexcept {
    make_ready(&h.promise());
  }
  void await_resume() const noexcept {}
};

// Children that run beside each other and beside their owner. The owner joins before the scope's life ends; there is
// no detaching. One core. Bounded by the caller, who sees live().
class TaskScope {
 public:
  // Children run under a context of their own below `parent`.
  explicit TaskScope(Context* parent) : context_(parent) {}
  ~TaskScope() { BH_CHECK(live_ == 0); }
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  // Starts the child at once; it runs until its first wait inside this call.
  void spawn(Task<void> task) {
    if (task.value()) return;
    auto handle = std::move(task).release();
    auto& promise = handle.promise();
    promise.context = &context_;
    promise.finished = &TaskScope::child_finished;
    promise.owner = this;
    ++live_;
    handle.resume();
  }

  void request_stop() { context_.request_stop(); }
  bool stop_requested() const { return context_.stop_requested(); }
  size_t live() const { return live_; }
  Context& context() { return context_; }

  // Awaits the end of all children. Not cut short by a stop: a stop makes the children end.
  auto join() { return JoinAwaiter{*this}; }

 private:
  struct [[nodiscard]] JoinAwaiter {
    TaskScope& scope;
    bool await_ready() const noexcept { return scope.live_ == 0; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
      BH_CHECK(scope.joiner_ == nullptr);
      scope.joiner_ = &h.promise();
    }
    void await_resume() const noexcept {}
  };

  static void child_finished(internal::PromiseBase& promise) {
    auto* scope = static_cast<TaskScope*>(promise.owner);
    promise.handle.destroy();
    if (--scope->live_ == 0 && scope->joiner_) make_ready(std::exchange(scope->joiner_, nullptr));
  }

  Context context_;
  size_t live_ = 0;
  Runnable* joiner_ = nullptr;
};

}  // namespace bellhop
