// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>

#include "core/io.h"
#include "core/reactor.h"
#include "store/store.h"
#include "store/tables.h"

namespace bellhop::store {

// One change on its way through the writer. Lives in whoever waits for it; the writer owns it from enqueue() until
// `run` (of Message) is called on `home`.
struct PendingWrite : Message {
  Status (*apply)(PendingWrite& self, WriteView& view) = nullptr;  // on the writer's thread; may run twice
  unsigned home = 0;
  Status status;  // the result; set before `run`
};

// Group commit. Cores enqueue changes; the store's helper thread takes all that wait, up to kBatchMax, into one
// transaction, and tells each waiter on its own core after the commit: while one commit syncs the disk the next batch
// gathers. A batch that fails, in its commit or because a change failed half done, is run again one by one, so that no
// change suffers for another.
class Writer {
 public:
  explicit Writer(Engine& engine) : engine_(engine) {}
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Any core. Errors: queue_full. After success the caller sees to it that drain() runs.
  Status enqueue(PendingWrite& write);
  // The store's thread. Commits what waits. False where it stopped early, after kBatchesPerDrain, with work left.
  bool drain();
  // Ends every change that waits with `error`. For a power cut in tests.
  void fail_waiting(Error error);

  struct Stats {
    uint64_t operations = 0;       // changes that succeeded or failed by themselves
    uint64_t batches = 0;          // transactions for several changes at once
    uint64_t repeated_singly = 0;  // changes run again by themselves after their batch failed
    uint64_t waiting = 0;
    uint64_t waiting_highest = 0;
    WriteHealth health;
  };
  Stats stats() const;

 private:
  static constexpr int kBatchesPerDrain = 64;

  struct Batch {
    PendingWrite* items[kBatchMax];
    size_t count = 0;
    size_t commits = 0;  // transactions that changed something
  };
  Batch take();
  Status run_together(Batch& batch);
  void run_singly(Batch& batch);
  void note_health(const Batch& batch);

  Engine& engine_;
  mutable std::mutex mutex_;  // guards head_, tail_, stats_
  Message* head_ = nullptr;
  Message** tail_ = &head_;
  Stats stats_;
};

}  // namespace bellhop::store
