// SPDX-License-Identifier: Apache-2.0
#include "store/table_store_core.h"

#include "store/operations.h"

namespace bellhop::store {

TableStore::Core::Core(Writer& writer, unsigned number) : writer_(writer), number_(number), timer_(this) {
  job_.core = this;
  job_.run = &Core::drain;
  job_.done = &Core::drained;
  flush_.core = this;
  flush_.home = number;
  flush_.apply = &Core::apply_flush;
  flush_.run = &Core::flushed;
}

TableStore::Core::~Core() {
  BH_CHECK(!job_.under_way && !flush_.under_way);
}

Status TableStore::Core::enqueue(PendingWrite& write) {
  write.home = number_;
  BH_CHECKED(writer_.enqueue(write));
  if (job_.under_way) {
    job_.again = true;
  } else {
    job_.under_way = true;
    io::submit(io::Worker::store, job_);
  }
  return {};
}

void TableStore::Core::drain(io::Job& job) {
  auto& self = static_cast<DrainJob&>(job);
  self.work_left = !self.core->writer_.drain();
}

void TableStore::Core::drained(io::Job& job) {
  auto& self = static_cast<DrainJob&>(job);
  if (self.again || self.work_left) {
    self.again = false;
    io::submit(io::Worker::store, self);
    return;
  }
  self.under_way = false;
  wake(self.core->idle_waiters_);
}

void TableStore::Core::wake(Waiters& waiters) {
  for (Runnable* waiter : waiters) make_ready(waiter);
  waiters.clear();
}

// ---- Hot records ----

const HotRecord* TableStore::Core::find_hot(MailboxNumber mailbox) {
  if (const HotRecord* record = pending_.find(mailbox)) return record;
  return flush_.under_way ? flushing_.find(mailbox) : nullptr;
}

Status TableStore::Core::write_hot(MailboxNumber mailbox, const HotRecord& record) {
  if (!pending_.put(mailbox, record)) return fail(store_error(StoreError::queue_full));
  ++hot_stats_.written;
  if (flush_.under_way) return {};
  if (pending_.size() == kHotPendingMax) {
    start_flush();
  } else if (!timer_.armed()) {
    arm_timer(kHotFlushDelay);
  }
  return {};
}

void TableStore::Core::arm_timer(Duration delay) {
  Reactor::current().timers().arm(timer_, io::now() + delay);
}

void TableStore::Core::hot_timer_expired(Timer& timer) {
  static_cast<HotTimer&>(timer).core->start_flush();
}

void TableStore::Core::start_flush() {
  BH_CHECK(!flush_.under_way && flushing_.empty());
  timer_.disarm();
  if (pending_.empty()) return;
  pending_.swap(flushing_);
  flush_.under_way = true;
  if (Status queued = enqueue(flush_); !queued) {
    flush_.status = queued;
    finish_flush();
  }
}

Status TableStore::Core::apply_flush(PendingWrite& write, WriteView& view) {
  for (const HotBuffer::Item& item : static_cast<HotFlush&>(write).core->flushing_.items()) {
    BH_CHECKED(operations::write_hot(view, item.mailbox, item.record));
  }
  return {};
}

void TableStore::Core::flushed(Message& message) {
  static_cast<HotFlush&>(message).core->finish_flush();
}

void TableStore::Core::finish_flush() {
  const Status& status = flush_.status;
  if (status) {
    ++hot_stats_.flushes;
    hot_stats_.committed += flushing_.size();
  } else {
    ++hot_stats_.failed_flushes;
    if (!is(status.error(), StoreError::closed)) keep_after_failure();
  }
  flushing_.clear();
  flush_.under_way = false;
  if (!pending_.empty()) arm_timer(status ? kHotFlushDelay : kHotRetryDelay);
  wake(flush_waiters_);
}

// Newer values that came meanwhile win.
void TableStore::Core::keep_after_failure() {
  for (const HotBuffer::Item& item : flushing_.items()) {
    if (!pending_.find(item.mailbox) && !pending_.put(item.mailbox, item.record)) ++hot_stats_.dropped;
  }
}

Task<Status> TableStore::Core::flush_hot() {
  // What was written before this call is in flushing_ or pending_: at most two flushes.
  for (int round = 0; round < 2 && (flush_.under_way || !pending_.empty()); ++round) {
    if (!flush_.under_way) start_flush();
    co_await Wait{flush_.under_way, flush_waiters_};
    if (!flush_.status) co_return flush_.status;
  }
  co_return Status();
}

size_t TableStore::Core::lose_hot() {
  size_t lost = pending_.size();
  pending_.clear();
  timer_.disarm();
  return lost;
}

}  // namespace bellhop::store
