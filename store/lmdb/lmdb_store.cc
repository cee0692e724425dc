// SPDX-License-Identifier: Apache-2.0
#include "store/lmdb/lmdb_store.h"

#include "core/cross_core.h"

namespace bellhop::store {
namespace {

// Small enough that other work of the helper thread waits for milliseconds only.
constexpr size_t kWarmSlice = 8 << 20;

}  // namespace

LmdbStore::LmdbStore(std::unique_ptr<LmdbEnvironment> environment)
    : TableStore(std::move(environment)), environment_(static_cast<LmdbEnvironment*>(&engine())) {}

std::expected<std::unique_ptr<LmdbStore>, OpenFailure> LmdbStore::open(const LmdbOptions& options) {
  auto environment = LmdbEnvironment::open(options);
  if (!environment) return std::unexpected(environment.error());
  return std::unique_ptr<LmdbStore>(new LmdbStore(*std::move(environment)));
}

Task<Status> LmdbStore::warm() {
  Context& context = co_await current_context();
  for (uint64_t offset = 0;;) {
    if (context.stop_requested()) co_return fail(core_error(CoreError::canceled));
    BH_CO_TRY(size_t read, co_await offload(io::Worker::general,
                                            [this, offset] { return environment_->read_ahead(offset, kWarmSlice); }));
    if (read < kWarmSlice) co_return Status();
    offset += read;
  }
}

}  // namespace bellhop::store
