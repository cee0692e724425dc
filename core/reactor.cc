// SPDX-License-Identifier: Apache-2.0
#include "core/reactor.h"

#include <algorithm>

#include "core/io.h"

namespace bellhop {
namespace {

thread_local Reactor* current_reactor = nullptr;

// How long flows may run before the kernel is asked again; a bound on the latency of completions, not of one flow.
constexpr Duration kReadyBudget = 1ms;
constexpr unsigned kFlowsPerClockRead = 16;

}  // namespace

void make_ready(Runnable* runnable) { Reactor::current().make_ready(runnable); }

bool Inbox::push(Message& message) {
  message.next = head_.load(std::memory_order_relaxed);
  while (!head_.compare_exchange_weak(message.next, &message, std::memory_order_seq_cst, std::memory_order_relaxed)) {
  }
  return sleeping_.load(std::memory_order_seq_cst) && sleeping_.exchange(false, std::memory_order_seq_cst);
}

Message* Inbox::take() {
  if (head_.load(std::memory_order_relaxed) == nullptr) return nullptr;
  Message* taken = head_.exchange(nullptr, std::memory_order_acquire);
  Message* in_order = nullptr;
  while (taken) {
    Message* next = taken->next;
    taken->next = in_order;
    in_order = taken;
    taken = next;
  }
  return in_order;
}

bool Inbox::prepare_sleep() {
  sleeping_.store(true, std::memory_order_seq_cst);
  if (head_.load(std::memory_order_seq_cst) == nullptr) return true;
  sleeping_.store(false, std::memory_order_relaxed);
  return false;
}

Reactor::Reactor(unsigned core, Instant now) : core_(core), timers_(now), guests_(&root_) {}
Reactor::~Reactor() {
  BH_CHECK(ready_.empty());
  if (current_reactor == this) current_reactor = nullptr;
}

Reactor& Reactor::current() {
  BH_CHECK(current_reactor != nullptr);
  return *current_reactor;
}
Reactor* Reactor::current_or_null() { return current_reactor; }
void Reactor::set_current(Reactor* reactor) { current_reactor = reactor; }

void Reactor::run_messages() {
  Message* message = inbox_.take();
  while (message) {
    Message* next = message->next;  // the sender may free the message as soon as it has run
    message->run(*message);
    message = next;
    ++stats_.messages;
  }
}

void Reactor::run_ready() {
  if (ready_.empty()) return;
  Instant start = io::now();
  unsigned resumed = 0;
  while (Runnable* next = ready_.pop_front()) {
    next->handle.resume();
    if (++resumed % kFlowsPerClockRead == 0 && io::now() - start >= kReadyBudget) break;
  }
  stats_.resumed += resumed;
}

void Reactor::turn() {
  uint64_t cpu_start = io::thread_cpu_ns();
  run_messages();
  timers_.advance(io::now());
  run_ready();
  bool nothing_else_ready = ready_.empty();
  hooks_.for_each([&](TurnHook* hook) { hook->on_turn(*hook, nothing_else_ready); });
  ++stats_.turns;
  stats_.longest_turn_ns = std::max(stats_.longest_turn_ns, io::thread_cpu_ns() - cpu_start);
}

std::optional<Instant> Reactor::sleep_until(Instant now) {
  if (!ready_.empty()) return now;
  bool hook_waits = false;
  hooks_.for_each([&](TurnHook* hook) { hook_waits |= hook->wants_turn; });
  if (hook_waits) return now;
  return timers_.next_expiry();
}

}  // namespace bellhop
