// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "core/base/time.h"
#include "core/runnable.h"
#include "core/task.h"
#include "core/timer_wheel.h"

namespace bellhop {

// A message to another core, embedded in its sender, who keeps it alive until the receiver has run it.
struct Message {
  void (*run)(Message& message) = nullptr;  // on the receiving core; may make_ready and spawn, never block
  Message* next = nullptr;
};

// Messages from any thread to one core: an intrusive stack, taken whole and turned round. It needs no bound of its own:
// each sender waits for its message, so there are never more messages than waiting flows, and those are bounded.
class Inbox {
 public:
  // Returns true where the receiver sleeps and must be woken.
  bool push(Message& message);
  // All messages in the order of their arrival.
  Message* take();
  // The receiver's side of going to sleep: false where a message came meanwhile.
  bool prepare_sleep();
  void end_sleep() { sleeping_.store(false, std::memory_order_relaxed); }

 private:
  std::atomic<Message*> head_{nullptr};
  std::atomic<bool> sleeping_{false};
};

// Work that waits for company, looked at once a turn: the RSA batch. See Reactor::add_hook.
struct TurnHook : ListLink {
  explicit TurnHook(void (*function)(TurnHook&, bool nothing_else_ready)) : on_turn(function) {}
  void (*on_turn)(TurnHook&, bool nothing_else_ready);
  bool wants_turn = false;  // keeps the reactor from sleeping
};

// The loop of one core, less the kernel: ready queue, timers, messages. The back end owns it, calls turn() after it has
// gathered completions, and sleeps as sleep_until() says. Everything here belongs to the core's thread but the inbox.
class Reactor {
 public:
  Reactor(unsigned core, Instant now);
  ~Reactor();

  static Reactor& current();
  static Reactor* current_or_null();
  static void set_current(Reactor* reactor);  // by the back end

  unsigned core() const { return core_; }
  void make_ready(Runnable* runnable) { ready_.push_back(runnable); }
  TimerWheel& timers() { return timers_; }
  Inbox& inbox() { return inbox_; }
  // Flows that came from other cores run here; joined before the core's root flow is taken as ended.
  TaskScope& guests() { return guests_; }
  void add_hook(TurnHook* hook) { hooks_.push_back(hook); }

  // One turn: messages, timers, ready flows (until none is ready or the budget is used up), hooks.
  void turn();
  // Now, where something is ready; else when the next timer is due, or nothing.
  std::optional<Instant> sleep_until(Instant now);
  bool idle() const { return ready_.empty(); }

  struct Stats {
    uint64_t turns = 0;
    uint64_t resumed = 0;
    uint64_t messages = 0;
    uint64_t longest_turn_ns = 0;  // CPU time; since the last reset_longest_turn
  };
  const Stats& stats() const { return stats_; }
  void reset_longest_turn() { stats_.longest_turn_ns = 0; }

 private:
  void run_messages();
  void run_ready();

  const unsigned core_;
  TimerWheel timers_;
  Inbox inbox_;
  Context root_;
  TaskScope guests_;
  IntrusiveList<Runnable> ready_;
  IntrusiveList<TurnHook> hooks_;
  Stats stats_;
};

}  // namespace bellhop
