// SPDX-License-Identifier: Apache-2.0
#include "store/writer.h"

#include <utility>

namespace bellhop::store {

Writer::~Writer() {
  BH_CHECK(head_ == nullptr);
}

Status Writer::enqueue(PendingWrite& write) {
  std::lock_guard lock(mutex_);
  if (stats_.waiting >= kWritesQueuedMax) return fail(store_error(StoreError::queue_full));
  write.next = nullptr;
  *tail_ = &write;
  tail_ = &write.next;
  stats_.waiting_highest = std::max(stats_.waiting_highest, ++stats_.waiting);
  return {};
}

Writer::Batch Writer::take() {
  Batch batch;
  std::lock_guard lock(mutex_);
  while (head_ && batch.count < kBatchMax) {
    batch.items[batch.count++] = static_cast<PendingWrite*>(head_);
    head_ = head_->next;
  }
  if (!head_) tail_ = &head_;
  stats_.waiting -= batch.count;
  return batch;
}

// Fails, with nothing changed, where the commit fails or a change fails after it wrote something.
Status Writer::run_together(Batch& batch) {
  bool changed = false;
  Status committed = engine_.write([&](WriteView& view) -> Status {
    for (size_t i = 0; i < batch.count; ++i) {
      PendingWrite& write = *batch.items[i];
      uint64_t changes_before = view.changes();
      write.status = write.apply(write, view);
      if (!write.status && view.changes() != changes_before) return write.status;
    }
    changed = view.changes() > 0;
    return {};
  });
  batch.commits += committed && changed;
  return committed;
}

void Writer::run_singly(Batch& batch) {
  for (size_t i = 0; i < batch.count; ++i) {
    PendingWrite& write = *batch.items[i];
    bool changed = false;
    write.status = engine_.write([&](WriteView& view) {
      Status applied = write.apply(write, view);
      changed = view.changes() > 0;
      return applied;
    });
    batch.commits += write.status && changed;
  }
}

// Called with the mutex held. What a change refuses by itself (not_found, conflict, …) is no matter of the disk.
void Writer::note_health(const Batch& batch) {
  WriteHealth& health = stats_.health;
  health.commits += batch.commits;
  for (size_t i = 0; i < batch.count; ++i) {
    const Status& status = batch.items[i]->status;
    if (status || !(is(status.error(), StoreError::full) || is(status.error(), StoreError::input_output))) continue;
    ++health.failures;
    health.failure = status.error();
  }
}

bool Writer::drain() {
  for (int i = 0; i < kBatchesPerDrain; ++i) {
    Batch batch = take();
    if (batch.count == 0) return true;
    bool together = batch.count > 1 && run_together(batch).has_value();
    if (!together) run_singly(batch);
    {
      std::lock_guard lock(mutex_);
      stats_.operations += batch.count;
      note_health(batch);
      if (batch.count > 1) ++stats_.batches;
      if (batch.count > 1 && !together) stats_.repeated_singly += batch.count;
    }
    for (size_t k = 0; k < batch.count; ++k)
      io::post(batch.items[k]->home, *batch.items[k]);  // each may be gone at once
  }
  std::lock_guard lock(mutex_);
  return head_ == nullptr;
}

void Writer::fail_waiting(Error error) {
  for (;;) {
    Batch batch = take();
    if (batch.count == 0) return;
    for (size_t k = 0; k < batch.count; ++k) {
      batch.items[k]->status = fail(error);
      io::post(batch.items[k]->home, *batch.items[k]);
    }
  }
}

Writer::Stats Writer::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace bellhop::store
