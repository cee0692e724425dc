// SPDX-License-Identifier: Apache-2.0
// Counting and logging take no heap. The operators of this program count what is asked of them.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "service/log.h"
#include "service/metrics.h"
#include "service/outcome.h"

namespace {
std::atomic<uint64_t> allocations = 0;
}  // namespace

void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(size);
  if (!memory) std::abort();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace bellhop::service {
namespace {

TEST(Heap, CountingAndLoggingTakeNone) {
  auto shard = std::make_unique<MetricsShard>();
  Ledger ledger(*shard);
  size_t bytes = 0;
  LogOptions options;
  options.sink = {[](void* context, std::string_view line) { *static_cast<size_t*>(context) += line.size(); }, &bytes};
  options.wall_now = [] { return WallTime(0ms); };
  options.metrics = shard.get();
  auto log = std::make_unique<Log>(options);
  std::string id(64, 'i');

  uint64_t before = allocations.load();
  ASSERT_GT(before, 0u);  // the counter works
  for (int i = 0; i < 100; ++i) {
    ledger.accept(1);
    ledger.settle(DeviceOutcome::delivered_apns);
    ledger.count(CallbackOutcome::ok);
    shard->observe(metric::stage_time, Stage::total, Duration(i));
    log_line(*log, LogLevel::info, "notified", field("user", log->fingerprint("user", as_bytes(id))),
             field("took_ms", Duration(i)), field("host", not_personal(id)));
  }
  EXPECT_EQ(allocations.load(), before);
  EXPECT_GT(bytes, 1'000u);
}

}  // namespace
}  // namespace bellhop::service
