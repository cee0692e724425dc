// SPDX-License-Identifier: Apache-2.0
#pragma once

// Waiting for each other within one core: Event, Semaphore, Queue. All waits end with CoreError::canceled where the flow
// is stopped, and are served in the order of arrival.

#include <deque>
#include <optional>
#include <utility>

#include "core/base/error.h"
#include "core/context.h"
#include "core/runnable.h"
#include "core/task.h"

namespace bellhop {

namespace internal {

// One waiting flow. Invariant: linked in the wait list exactly while it is neither granted nor canceled.
class Waiter : public ListLink {
 public:
  Waiter() : hook_(this) {}

  template <class P>
  bool suspend(std::coroutine_handle<P> h, IntrusiveList<Waiter>& list) {
    Context& context = *h.promise().context;
    if (context.stop_requested()) {
      canceled_ = true;
      return false;
    }
    runnable_ = &h.promise();
    context.add(&hook_);
    list.push_back(this);
    return true;
  }
  void grant() {
    unlink();
    hook_.unlink();
    make_ready(runnable_);
  }
  Status result() const {
    if (canceled_) return fail(core_error(CoreError::canceled));
    return {};
  }

 private:
  struct OwnHook : StopHook {
    explicit OwnHook(Waiter* w)
        : StopHook([](StopHook& hook) {
            Waiter* waiter = static_cast<OwnHook&>(hook).waiter;
            waiter->unlink();
            waiter->canceled_ = true;
            make_ready(waiter->runnable_);
          }),
          waiter(w) {}
    Waiter* waiter;
  };
  OwnHook hook_;
  Runnable* runnable_ = nullptr;
  bool canceled_ = false;
};

}  // namespace internal

// Set once, seen by all: waits end when set() was called, also before the wait. reset() arms it again.
class Event {
 public:
  bool is_set() const { return set_; }
  void set() {
    set_ = true;
    while (internal::Waiter* waiter = waiters_.front()) waiter->grant();
  }
  void reset() { set_ = false; }

  class [[nodiscard]] WaitAwaiter : internal::Waiter {
   public:
    explicit WaitAwaiter(Event& event) : event_(event) {}
    bool await_ready() const noexcept { return event_.set_; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> h) {
      return suspend(h, event_.waiters_);
    }
    Status await_resume() const { return result(); }

   private:
    Event& event_;
  };
  WaitAwaiter wait() { return WaitAwaiter(*this); }

 private:
  bool set_ = false;
  IntrusiveList<internal::Waiter> waiters_;
};

// A bounded number of permits. A Permit object is the slot: it comes back when the Permit dies. The semaphore outlives
// its permits.
class Semaphore {
 public:
  explicit Semaphore(size_t permits) : free_(permits) {}

  class [[nodiscard]] Permit {
   public:
    Permit() = default;
    Permit(Permit&& other) noexcept : semaphore_(std::exchange(other.semaphore_, nullptr)) {}
    Permit& operator=(Permit&& other) noexcept {
      if (this != &other) {
        release();
        semaphore_ = std::exchange(other.semaphore_, nullptr);
      }
      return *this;
    }
    ~Permit() { release(); }
    void release() {
      if (Semaphore* semaphore = std::exchange(semaphore_, nullptr)) semaphore->give_back();
    }
    explicit operator bool() const { return semaphore_ != nullptr; }

   private:
    friend Semaphore;
    explicit Permit(Semaphore* semaphore) : semaphore_(semaphore) {}
    Semaphore* semaphore_ = nullptr;
  };

  size_t available() const { return free_; }
  size_t waiting() const { return waiters_.size_slow(); }
  std::optional<Permit> try_acquire() {
    if (free_ == 0 || !waiters_.empty()) return std::nullopt;
    --free_;
    return Permit(this);
  }
  // Result<Permit>: canceled where the flow was stopped.
  class [[nodiscard]] AcquireAwaiter : internal::Waiter {
   public:
    explicit AcquireAwaiter(Semaphore& semaphore) : semaphore_(semaphore) {}
    bool await_ready() noexcept {
      if (semaphore_.free_ == 0 || !semaphore_.waiters_.empty()) return false;
      --semaphore_.free_;
      return true;
    }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> h) {
      return suspend(h, semaphore_.waiters_);
    }
    Result<Permit> await_resume() const {
      if (Status status = result(); !status) return fail(status.error());
      return Permit(&semaphore_);
    }

   private:
    Semaphore& semaphore_;
  };
  AcquireAwaiter acquire() { return AcquireAwaiter(*this); }

 private:
  void give_back() {
    if (internal::Waiter* waiter = waiters_.front()) {
      waiter->grant();  // the permit changes hands without becoming free
    } else {
      ++free_;
    }
  }

  size_t free_;
  IntrusiveList<internal::Waiter> waiters_;
};

// A bounded queue between flows of one core. push fails where it is full: the caller decides what that means.
template <class T>
class Queue {
 public:
  explicit Queue(size_t size_max) : size_max_(size_max) {}

  size_t size() const { return items_.size(); }
  [[nodiscard]] bool push(T item) {
    if (closed_ || items_.size() >= size_max_) return false;
    items_.push_back(std::move(item));
    changed_.set();
    return true;
  }
  // No further push; what is queued can still be popped.
  void close() {
    closed_ = true;
    changed_.set();
  }
  bool closed() const { return closed_; }
  // Nothing where the queue is closed and empty.
  Task<Result<std::optional<T>>> pop() {
    while (items_.empty()) {
      if (closed_) co_return std::optional<T>();
      changed_.reset();
      BH_CO_CHECKED(co_await changed_.wait());
    }
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    co_return item;
  }

 private:
  size_t size_max_;
  bool closed_ = false;
  std::deque<T> items_;
  Event changed_;
};

}  // namespace bellhop
