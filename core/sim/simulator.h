// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/io.h"
#include "core/reactor.h"
#include "core/sim/buffer_pool.h"
#include "core/sim/chance.h"
#include "core/sim/network.h"

namespace bellhop::sim {

using Action = std::move_only_function<void()>;

// What a trace entry is about; part of the trace hash.
enum class Trace : uint8_t { turn, completion, message, job, lookup, segment, connection, signal, random };

// One run of a cluster: the clock, the events to come, the cores. Lives from the begin to the end of run_cluster.
// Invariants:
//  1. events run in the order of their times; equal times in seeded order.
//  2. Reactor::current() is set exactly while a core gathers completions or takes its turn.
class Simulator {
 public:
  Simulator(const io::ClusterOptions& options, const std::function<Task<void>(unsigned)>& flow);
  ~Simulator();
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  static Simulator& current();          // a run is going on
  static Simulator* current_or_null();

  // Returns when all root flows and their guests have ended; aborts with a message on deadlock and on leaks.
  void run();

  Instant now() const { return now_; }
  Instant look_at_clock();  // costs a little time, so that flows that only look at the clock come to an end
  Chance& chance() { return chance_; }
  Chance& application_chance() { return application_chance_; }
  const io::ClusterOptions& options() const { return options_; }
  Network& network() { return network_; }
  BufferPool& buffers(unsigned core) { return cores_[core]->buffers; }
  io::BackendStats& stats(unsigned core) { return cores_[core]->stats; }

  // Runs the action after the delay, on no core.
  void after(Duration delay, Action action);
  // Runs the action on a core while it gathers completions, in order.
  void gather(unsigned core, Action action) { cores_[core]->gathered.push_back(std::move(action)); }
  void post(unsigned core, Message& message);
  void submit(io::Worker worker, io::Job& job);
  void start(io::Errand& errand, unsigned lane);
  bool abandon(io::Errand& errand);
  void note(Trace kind, uint64_t a, uint64_t b = 0);

  // The time a completion takes from its cause to its core.
  Duration completion_delay();

  uint64_t trace_hash() const { return trace_hash_; }
  uint64_t events() const { return events_; }

  // ---- Operations of the seam ----
  void start(io::Operation& operation);
  void cancel(io::Operation& operation);
  // The operation behind an id, while it still waits for its (next) completion; null otherwise.
  io::Operation* waiting(uint64_t id);
  void finish(uint64_t id, const io::Completion& completion);
  bool in_flight(uint64_t id) const { return pending_.contains(id); }
  void take_signal(int number);

  void start(io::Resolution& resolution);
  void abandon(io::Resolution& resolution);

 private:
  struct Event {
    Instant at;
    uint64_t tie;  // seeded, then by sequence
    uint64_t sequence;
    Action action;
  };
  struct Core {
    Core(unsigned n, Instant now, unsigned buffer_count) : number(n), buffers(buffer_count), reactor(n, now) {}
    const unsigned number;
    BufferPool buffers;
    Reactor reactor;
    std::optional<TaskScope> root;
    std::deque<Action> gathered;
    bool mail = false;  // the inbox holds messages
    io::BackendStats stats;
  };
  // One operation that is in flight.
  struct Pending {
    io::Operation* operation;
    unsigned core;
    bool decided = false;  // its final completion is on the way to the core
  };

  bool all_ended() const;
  bool run_due_events();
  bool run_cores();
  void take_turn(Core& core);
  void jump();
  void complete(uint64_t id, const io::Completion& completion);
  [[noreturn]] void give_up(const std::string& why);
  std::string describe_state();
  void check_leaks();

  const io::ClusterOptions options_;
  const std::function<Task<void>(unsigned)>& flow_;
  Instant now_;
  Chance chance_;
  Chance application_chance_;
  uint64_t trace_hash_;
  uint64_t events_ = 0;
  uint64_t sequence_ = 0;
  std::vector<Event> heap_;
  std::vector<std::unique_ptr<Core>> cores_;
  std::vector<Instant> last_mail_;    // sender * (cores + 1) + receiver: messages of one sender keep their order
  Instant worker_free_[2];
  Instant lane_free_[io::kErrandLanes];
  std::unordered_map<uint64_t, io::Errand*> errands_;  // whose run() is to come
  uint64_t signal_operation_ = 0;
  uint64_t frames_before_;
  uint64_t next_id_ = 1;
  std::unordered_map<uint64_t, Pending> pending_;
  std::unordered_map<uint64_t, io::Resolution*> resolutions_;
  Network network_;
};

}  // namespace bellhop::sim
