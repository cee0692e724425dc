// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/sleep.h"
#include "store/memory/memory_store.h"
#include "tests/store/support.h"

namespace bellhop::store {
namespace {

Task<void> put_one(TableStore* store, uint64_t number, Status* status) {
  *status = co_await store->put_ews_url(id_of<EwsUrlKey>(number), EwsUrlRecord{"https://mail.example.com/", {}});
}

struct NoopWrite : PendingWrite {
  size_t* done = nullptr;
};

Task<void> fill_the_queue(TableStore& store, unsigned) {
  Writer writer(store.engine());
  size_t done = 0;
  std::vector<NoopWrite> writes(kWritesQueuedMax + 1);
  for (NoopWrite& write : writes) {
    write.home = io::core();
    write.done = &done;
    write.apply = [](PendingWrite&, WriteView&) -> Status { return {}; };
    write.run = [](Message& message) { ++*static_cast<NoopWrite&>(message).done; };
  }
  for (size_t i = 0; i < kWritesQueuedMax; ++i) EXPECT_TRUE(writer.enqueue(writes[i]));
  EXPECT_TRUE(failed_with(writer.enqueue(writes.back()), StoreError::queue_full));
  EXPECT_TRUE(writer.drain());
  while (done < kWritesQueuedMax) co_await yield_now();
  EXPECT_EQ(writer.stats().waiting, 0u);
  EXPECT_EQ(writer.stats().batches, kWritesQueuedMax / kBatchMax);
  EXPECT_TRUE(writer.enqueue(writes.back()));
  EXPECT_TRUE(writer.drain());
  while (done <= kWritesQueuedMax) co_await yield_now();
}

TEST(Writer, RefusesMoreThanItsBoundAndGoesOnWhenDrained) {
  auto store = MemoryStore::create();
  run(*store, &fill_the_queue);
}

Task<void> lose_hot_records(TableStore& store, unsigned) {
  auto& memory = static_cast<MemoryStore&>(store);
  StoredUserId user = id_of<StoredUserId>(1);
  EXPECT_TRUE(co_await store.put_ews_url(id_of<EwsUrlKey>(1), EwsUrlRecord{"https://mail.example.com/", {}}));
  EXPECT_TRUE(store.write_hot(1, user, HotRecord{.unread = 1}));
  EXPECT_TRUE(co_await store.flush_hot());
  EXPECT_TRUE(store.write_hot(1, user, HotRecord{.unread = 2}));
  EXPECT_TRUE(store.write_hot(2, user, HotRecord{.unread = 3}));
  EXPECT_EQ(memory.power_cut(), 2u);
  EXPECT_EQ((co_await store.read_hot(1, user))->unread, 1u);
  EXPECT_EQ((co_await store.read_hot(2, user))->unread, 0u);
  EXPECT_TRUE(co_await store.read_ews_url(id_of<EwsUrlKey>(1)));
  EXPECT_TRUE(store.write_hot(2, user, HotRecord{.unread = 4}));
  EXPECT_TRUE(co_await store.flush_hot());
  EXPECT_EQ((co_await store.counts())->hot, 2u);
}

TEST(PowerCut, LosesTheHotRecordsThatWereNotFlushedAndNothingElse) {
  auto store = MemoryStore::create();
  run(*store, &lose_hot_records);
}

Task<void> cut_power_under_writes(TableStore& store, unsigned) {
  auto& memory = static_cast<MemoryStore&>(store);
  constexpr uint64_t kWrites = 1000;
  std::vector<Status> statuses(kWrites);
  TaskScope scope(&co_await current_context());
  for (uint64_t i = 0; i < kWrites; ++i) scope.spawn(put_one(&store, i, &statuses[i]));
  memory.power_cut();
  co_await scope.join();
  for (uint64_t i = 0; i < kWrites; ++i) {
    bool there = (co_await store.read_ews_url(id_of<EwsUrlKey>(i))).has_value();
    EXPECT_EQ(there, statuses[i].has_value()) << i;
    if (!statuses[i]) EXPECT_TRUE(failed_with(statuses[i], StoreError::closed));
  }
}

TEST(PowerCut, LosesExactlyTheChangesThatWereNotAcknowledged) {
  auto store = MemoryStore::create();
  run(*store, &cut_power_under_writes);
}

Task<void> fill_up(TableStore& store, unsigned) {
  uint64_t written = 0;
  Status status;
  while ((status = co_await store.put_meta("name" + std::to_string(written), blob(1000, 1)))) ++written;
  EXPECT_TRUE(failed_with(status, StoreError::full));
  EXPECT_GT(written, 5u);
  EXPECT_TRUE(co_await store.get_meta("name0"));
  EXPECT_TRUE(co_await store.put_meta("name0", blob(10, 1)));
  EXPECT_TRUE(co_await store.put_meta("small", blob(10, 1)));
}

TEST(MemoryStore, IsFullAtItsBoundAndUsableAgainAfterwards) {
  auto store = MemoryStore::create(10'000);
  run(*store, &fill_up);
}

Task<void> write_on_every_core(TableStore& store, unsigned core) {
  for (uint64_t i = 0; i < 300; ++i) {
    std::string name = "core" + std::to_string(core) + "/" + std::to_string(i);
    EXPECT_TRUE(co_await store.put_meta(name, blob(20, i)));
    EXPECT_TRUE(store.write_hot(MailboxNumber(core * 1000 + i), id_of<StoredUserId>(core), HotRecord{.unread = 1}));
    EXPECT_TRUE(co_await store.get_meta(name));
  }
}

TEST(MemoryStore, ServesSeveralCoresAtOnce) {
  auto store = MemoryStore::create();
  run_on(*store, 3, &write_on_every_core);
  Result<uint64_t> hot = uint64_t{0};
  EXPECT_TRUE(store->engine().read([&](ReadView& view) -> Status {
    hot = view.count(Table::hot);
    return {};
  }));
  EXPECT_EQ(*hot, 900u);
}

}  // namespace
}  // namespace bellhop::store
