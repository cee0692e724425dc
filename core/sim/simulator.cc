// SPDX-License-Identifier: Apache-2.0
#include "core/sim/simulator.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "core/frame_pool.h"
#include "core/sim/world.h"

namespace bellhop::sim {
namespace {

Simulator* current_simulator = nullptr;

// Far from zero, so that arithmetic before the start works.
constexpr Instant kStart = Instant(std::chrono::hours(1000));
constexpr Duration kClockLook = 1us;
constexpr Duration kTurnLeast = 1us, kTurnMost = 8us;
constexpr Duration kCompletionMost = 40us, kLateMost = 10ms;
constexpr Duration kMailMost = 20us;
constexpr Duration kJobMost = 400us;
constexpr Duration kLookupMost = 30ms;

bool later(const auto& a, const auto& b) {
  if (a.at != b.at) return a.at > b.at;
  if (a.tie != b.tie) return a.tie > b.tie;
  return a.sequence > b.sequence;
}

}  // namespace

Simulator::Simulator(const io::ClusterOptions& options, const std::function<Task<void>(unsigned)>& flow)
    : options_(options),
      flow_(flow),
      now_(kStart),
      chance_(options.seed),
      application_chance_(options.seed ^ 0xa99a11ca71049aceull),
      trace_hash_(options.seed),
      last_mail_((options.cores + 1) * options.cores, kStart),
      worker_free_{kStart, kStart},
      lane_free_{},
      frames_before_(FramePool::stats().frames_live),
      network_(*this) {
  BH_CHECK(current_simulator == nullptr && options.cores > 0);
  for (unsigned n = 0; n < options.cores; ++n) {
    cores_.push_back(std::make_unique<Core>(n, now_, std::max(options.receive_buffers, 1u)));
  }
  current_simulator = this;
}

Simulator::~Simulator() { current_simulator = nullptr; }

Simulator& Simulator::current() {
  BH_CHECK(current_simulator != nullptr);
  return *current_simulator;
}
Simulator* Simulator::current_or_null() { return current_simulator; }

Instant Simulator::look_at_clock() {
  if (Reactor::current_or_null()) now_ += kClockLook;
  return now_;
}

Duration Simulator::completion_delay() {
  Duration delay = chance_.between(1ns, kCompletionMost);
  if (chance_.happens(world().faults.late_completion)) delay += chance_.between(Duration::zero(), kLateMost);
  return delay;
}

void Simulator::note(Trace kind, uint64_t a, uint64_t b) {
  ++events_;
  for (uint64_t value : {static_cast<uint64_t>(now_.time_since_epoch().count()), static_cast<uint64_t>(kind), a, b}) {
    trace_hash_ = Chance(trace_hash_ ^ value).next();
  }
}

void Simulator::after(Duration delay, Action action) {
  heap_.push_back({now_ + std::max(delay, Duration::zero()), chance_.next(), sequence_++, std::move(action)});
  std::push_heap(heap_.begin(), heap_.end(), [](const Event& a, const Event& b) { return later(a, b); });
}

// ---- The loop ----

void Simulator::run() {
  for (auto& core : cores_) {
    after(completion_delay(), [this, &core = *core] {
      gather(core.number, [this, &core] {
        core.root.emplace(nullptr);
        core.root->spawn(flow_(core.number));
      });
    });
  }
  while (!all_ended()) {
    bool events = run_due_events();
    if (!run_cores() && !events) jump();
  }
  check_leaks();
}

bool Simulator::all_ended() const {
  return std::all_of(cores_.begin(), cores_.end(), [](const auto& core) {
    return core->root && core->root->live() == 0 && core->reactor.guests().live() == 0;
  });
}

bool Simulator::run_due_events() {
  bool any = false;
  while (!heap_.empty() && heap_.front().at <= now_) {
    std::pop_heap(heap_.begin(), heap_.end(), [](const Event& a, const Event& b) { return later(a, b); });
    Action action = std::move(heap_.back().action);
    heap_.pop_back();
    action();
    any = true;
  }
  return any;
}

// Gives each core that has something to do its turn, in seeded order; now and then one has to wait for the next round.
bool Simulator::run_cores() {
  std::vector<Core*> ready;
  for (auto& core : cores_) {
    if (!core->gathered.empty() || core->mail) {
      ready.push_back(core.get());
    } else if (auto until = core->reactor.sleep_until(now_); until && *until <= now_) {
      ready.push_back(core.get());
    }
  }
  if (ready.empty()) return false;
  for (size_t i = ready.size(); i > 1; --i) std::swap(ready[i - 1], ready[chance_.below(i)]);
  for (size_t i = 0; i < ready.size(); ++i) {
    if (i > 0 && chance_.below(8) == 0) continue;
    take_turn(*ready[i]);
  }
  return true;
}

void Simulator::take_turn(Core& core) {
  Reactor::set_current(&core.reactor);
  core.mail = false;
  ++core.stats.enter_calls;
  for (size_t count = core.gathered.size(); count > 0; --count) {
    Action action = std::move(core.gathered.front());
    core.gathered.pop_front();
    action();
  }
  core.reactor.turn();
  Reactor::set_current(nullptr);
  now_ += chance_.between(kTurnLeast, kTurnMost);
  note(Trace::turn, core.number);
}

void Simulator::jump() {
  std::optional<Instant> next;
  if (!heap_.empty()) next = heap_.front().at;
  for (auto& core : cores_) {
    auto until = core->reactor.sleep_until(now_);
    if (until && (!next || *until < *next)) next = *until;
  }
  if (!next) give_up("deadlock: nothing is ready, no timer is armed and nothing is on its way");
  if (*next - kStart > world().time_max) give_up("time_max reached: flows still wait, and timers go on");
  now_ = std::max(now_, *next);
}

// ---- Messages and jobs ----

void Simulator::post(unsigned core, Message& message) {
  BH_CHECK(core < cores_.size());
  Reactor* sender = Reactor::current_or_null();
  size_t row = sender ? sender->core() : cores_.size();
  Instant& last = last_mail_[row * cores_.size() + core];
  last = std::max(last + 1ns, now_ + chance_.between(1ns, kMailMost));
  after(last - now_, [this, core, &message] {
    cores_[core]->reactor.inbox().push(message);
    cores_[core]->mail = true;
    note(Trace::message, core);
  });
}

void Simulator::submit(io::Worker worker, io::Job& job) {
  job.home_core = io::core();
  Instant& free = worker_free_[static_cast<size_t>(worker)];
  free = std::max(free, now_) + chance_.between(1us, kJobMost) + completion_delay();
  after(free - now_, [this, &job] {
    note(Trace::job, job.home_core);
    unsigned home = job.home_core;
    job.run(job);
    gather(home, [&job] { job.done(job); });
  });
}

void Simulator::start(io::Errand& errand, unsigned lane) {
  BH_CHECK(lane < io::kErrandLanes);
  errand.home_core = io::core();
  errand.backend = next_id_++;
  errands_.emplace(errand.backend, &errand);
  Instant& free = lane_free_[lane];
  free = std::max(free, now_) + world().errand_time + chance_.between(1us, kJobMost) + completion_delay();
  after(free - now_, [this, id = errand.backend] {
    auto found = errands_.find(id);
    if (found == errands_.end()) return;  // abandoned
    io::Errand* one = found->second;
    errands_.erase(found);
    note(Trace::job, one->home_core);
    unsigned home = one->home_core;
    one->run(*one);
    gather(home, [one] { one->done(*one); });
  });
}

bool Simulator::abandon(io::Errand& errand) {
  if (errands_.erase(errand.backend) == 0) return false;
  errand.dropped(errand);
  return true;
}

// ---- Operations ----

void Simulator::start(io::Operation& operation) {
  BH_CHECK(!operation.in_flight && operation.completed);
  uint64_t id = next_id_++;
  operation.in_flight = true;
  operation.cancel_requested = false;
  operation.backend[0] = id;
  pending_.emplace(id, Pending{&operation, io::core()});
  ++stats(io::core()).operations;
  if (operation.kind != io::OperationKind::signal) return network_.start(id, operation);
  BH_CHECK(io::core() == 0 && !in_flight(signal_operation_));
  signal_operation_ = id;
  auto& waiting_signals = world().signals_;
  if (waiting_signals.empty()) return;
  int number = waiting_signals.front();
  waiting_signals.erase(waiting_signals.begin());
  take_signal(number);
}

void Simulator::cancel(io::Operation& operation) {
  if (!operation.in_flight || operation.cancel_requested) return;
  operation.cancel_requested = true;
  after(completion_delay(), [this, id = operation.backend[0]] {
    io::Operation* late = waiting(id);
    if (!late) return;  // the real result came first
    bool signal = late->kind == io::OperationKind::signal;
    finish(id, {.result = signal ? -ECANCELED : network_.canceled_result(*late)});
  });
}

io::Operation* Simulator::waiting(uint64_t id) {
  auto found = pending_.find(id);
  return found == pending_.end() || found->second.decided ? nullptr : found->second.operation;
}

void Simulator::finish(uint64_t id, const io::Completion& completion) {
  Pending& pending = pending_.at(id);
  BH_CHECK(!pending.decided);
  pending.decided = !completion.more;
  gather(pending.core, [this, id, completion] { complete(id, completion); });
}

void Simulator::complete(uint64_t id, const io::Completion& completion) {
  Pending pending = pending_.at(id);
  io::Operation& operation = *pending.operation;
  if (!completion.more) {
    operation.in_flight = false;
    pending_.erase(id);
  }
  ++stats(pending.core).completions;
  note(Trace::completion, static_cast<uint64_t>(operation.kind), static_cast<uint64_t>(completion.result));
  operation.completed(operation, completion);
}

void Simulator::take_signal(int number) {
  if (!waiting(signal_operation_)) {
    world().signals_.push_back(number);
    return;
  }
  note(Trace::signal, static_cast<uint64_t>(number));
  finish(signal_operation_, {.result = number});
}

// ---- Names ----

void Simulator::start(io::Resolution& resolution) {
  uint64_t id = next_id_++;
  resolution.backend = reinterpret_cast<void*>(id);
  resolutions_.emplace(id, &resolution);
  auto host = world().hosts_.find(ascii_lower(resolution.host));
  if (host != world().hosts_.end() && host->second.silent) return;
  World::Host answer;
  answer.error = kLookupNotFound;
  if (host != world().hosts_.end()) {
    answer = host->second;
    bool empty = resolution.kind == io::Resolution::Kind::services ? answer.services.empty() : answer.addresses.empty();
    if (answer.error == 0 && empty) answer.error = kLookupNoData;
  }
  if (chance_.happens(world().faults.lookup_failure)) answer.error = kLookupServerFailure;
  after(chance_.between(1us, kLookupMost), [this, id, core = io::core(), answer = std::move(answer)]() mutable {
    gather(core, [this, id, answer = std::move(answer)]() mutable {
      auto found = resolutions_.find(id);
      if (found == resolutions_.end()) return;  // abandoned
      io::Resolution& waiting = *found->second;
      resolutions_.erase(found);
      note(Trace::lookup, answer.addresses.size() + answer.services.size(), answer.error);
      if (answer.error != 0) {
        waiting.status = fail(Error{Domain::dns, 0, answer.error, 0});
      } else {
        waiting.addresses = std::move(answer.addresses);
        waiting.services = std::move(answer.services);
      }
      waiting.done(waiting);
    });
  });
}

void Simulator::abandon(io::Resolution& resolution) {
  resolutions_.erase(reinterpret_cast<uint64_t>(resolution.backend));
}

// ---- The end ----

std::string Simulator::describe_state() {
  std::string text;
  for (auto& core : cores_) {
    text += "  core " + std::to_string(core->number) + ": ";
    text += !core->root || core->root->live() > 0 ? "its root flow has not ended" : "its root flow has ended";
    if (size_t guests = core->reactor.guests().live()) text += ", " + std::to_string(guests) + " flows of other cores";
    if (size_t held = core->buffers.held()) text += ", " + std::to_string(held) + " receive buffers held";
    text += "\n";
  }
  std::vector<uint64_t> ids;
  for (auto& [id, pending] : pending_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  static constexpr const char* kKinds[] = {"accept", "receive", "send", "connect", "shutdown", "peer", "signal"};
  for (uint64_t id : ids) {
    const Pending& pending = pending_.at(id);
    text += std::string("  in flight: ") + kKinds[static_cast<size_t>(pending.operation->kind)] + " on ";
    text += pending.operation->handle ? network_.describe(pending.operation->handle) : "core 0";
    text += "\n";
  }
  for (const std::string& line : network_.open_handles()) text += "  open: " + line + "\n";
  return text;
}

void Simulator::give_up(const std::string& why) {
  std::fprintf(stderr, "simulation, seed %llu, after %.6f s: %s\n%s", static_cast<unsigned long long>(options_.seed),
               std::chrono::duration<double>(now_ - kStart).count(), why.c_str(), describe_state().c_str());
  std::abort();
}

void Simulator::check_leaks() {
  size_t held = 0;
  for (auto& core : cores_) held += core->buffers.held();
  if (!network_.open_handles().empty()) give_up("leak: all flows have ended, but sockets are open");
  if (held > 0) give_up("leak: all flows have ended, but receive buffers are held");
  if (!pending_.empty()) give_up("leak: all flows have ended, but operations are in flight");
  if (!resolutions_.empty()) give_up("leak: all flows have ended, but name look-ups go on");
  if (FramePool::stats().frames_live != frames_before_) give_up("leak: all flows have ended, but coroutine frames live");
}

}  // namespace bellhop::sim
