// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io.h"
#include "core/reactor.h"
#include "core/task.h"
#include "store/hot_buffer.h"
#include "store/table_store.h"

namespace bellhop::store {

// What one core holds of the store: the job that runs the writer, and the hot records that wait. Used by its core
// alone. Invariants:
//  1. after enqueue() there is a drain job that has not looked at the queue yet, or that will be submitted again;
//  2. a mailbox's newest hot record is in pending_, else in flushing_, else in the tables;
//  3. the timer is armed exactly while pending_ holds something and no flush is under way.
struct TableStore::Core {
  Core(Writer& writer, unsigned number);
  ~Core();

  Status enqueue(PendingWrite& write);

  const HotRecord* find_hot(MailboxNumber mailbox);
  Status write_hot(MailboxNumber mailbox, const HotRecord& record);
  Task<Status> flush_hot();
  size_t lose_hot();
  const HotStats& hot_stats() const { return hot_stats_; }

  // `co_await core.idle()`: until no drain job of this core is under way. Not cut short by a stop.
  auto idle() { return Wait{job_.under_way, idle_waiters_}; }

 private:
  using Waiters = std::vector<Runnable*>;
  struct [[nodiscard]] Wait {
    const bool& while_true;
    Waiters& waiters;
    bool await_ready() const noexcept { return !while_true; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
      waiters.push_back(&h.promise());
    }
    void await_resume() const noexcept {}
  };
  struct DrainJob : io::Job {
    Core* core;
    bool under_way = false;
    bool again = false;      // a change was enqueued after submit()
    bool work_left = false;  // written by run(), read by done()
  };
  struct HotTimer : Timer {
    explicit HotTimer(Core* c) : Timer(&Core::hot_timer_expired), core(c) {}
    Core* core;
  };
  struct HotFlush : PendingWrite {
    Core* core;
    bool under_way = false;
  };

  static void drain(io::Job& job);
  static void drained(io::Job& job);
  static void hot_timer_expired(Timer& timer);
  static Status apply_flush(PendingWrite& write, WriteView& view);
  static void flushed(Message& message);
  static void wake(Waiters& waiters);
  void start_flush();
  void finish_flush();
  void keep_after_failure();
  void arm_timer(Duration delay);

  Writer& writer_;
  const unsigned number_;
  DrainJob job_;
  Waiters idle_waiters_;
  HotBuffer pending_, flushing_;
  HotFlush flush_;
  HotTimer timer_;
  Waiters flush_waiters_;
  HotStats hot_stats_;
};

}  // namespace bellhop::store
