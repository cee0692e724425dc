// SPDX-License-Identifier: Apache-2.0
#include "service/key_maker.h"

#include <algorithm>
#include <atomic>

#include "core/cross_core.h"
#include "core/io.h"
#include "core/reactor.h"
#include "core/sleep.h"
#include "core/sync.h"
#include "crypto/rsa.h"

namespace bellhop::service {
namespace {

constexpr Duration kSweepInterval = std::chrono::minutes(10);
// After a failure of the store: tried again after the first, doubling up to the last.
constexpr Duration kRetryFirst = 1s;
constexpr Duration kRetryMax = 60s;

Task<Status> wait_for(Event& event) { co_return co_await event.wait(); }

}  // namespace

struct KeyMaker::Impl {
  // The message that nudge() sends. It keeps itself alive while it is on its way, so that one that arrives after the key
  // maker's end finds nobody, and does no harm.
  struct Nudge : Message {
    std::atomic<bool> sent{false};
    std::shared_ptr<Nudge> self;  // while sent
    Event* wake = nullptr;        // core 0 only; null after the key maker's end
  };

  Impl(const KeysConfig& c, store::Store& s, const Vault& v, MetricsShard& m)
      : config(c), store(s), vault(v), metrics(m), nudge(std::make_shared<Nudge>()) {
    nudge->wake = &wake;
    nudge->run = [](Message& message) {
      auto& arrived = static_cast<Nudge&>(message);
      std::shared_ptr<Nudge> alive = std::move(arrived.self);
      arrived.sent.store(false, std::memory_order_release);
      if (arrived.wake) arrived.wake->set();
    };
  }
  ~Impl() { nudge->wake = nullptr; }

  Task<Status> fill_pool();
  Task<Status> sweep();
  bool stopping(const Status& status) const { return !status && is(status.error(), CoreError::canceled); }

  const KeysConfig config;
  store::Store& store;
  const Vault& vault;
  MetricsShard& metrics;
  Event wake;
  bool resting = false;
  std::shared_ptr<Nudge> nudge;
};

KeyMaker::KeyMaker(const KeysConfig& config, store::Store& store, const Vault& vault, MetricsShard& metrics)
    : impl_(std::make_unique<Impl>(config, store, vault, metrics)) {}

KeyMaker::~KeyMaker() = default;

void KeyMaker::nudge() {
  Impl::Nudge& nudge = *impl_->nudge;
  if (nudge.sent.exchange(true, std::memory_order_acquire)) return;
  nudge.self = impl_->nudge;
  io::post(0, nudge);
}

void KeyMaker::rest(bool on) {
  impl_->resting = on;
  if (!on) impl_->wake.set();
}

// One pair at a time, so that a stop waits for no more than one.
Task<Status> KeyMaker::Impl::fill_pool() {
  BH_CO_TRY(uint64_t count, co_await store.count_pool_keys());
  metrics.set(metric::key_pool_keys, count);
  Context& context = co_await current_context();
  unsigned bits = config.rsa_bits;
  while (count < config.pool_target && !resting) {
    if (context.stop_requested()) co_return fail(core_error(CoreError::canceled));
    BH_CO_TRY(crypto::RsaPrivateKey key,
              co_await offload(io::Worker::general, [bits] { return crypto::RsaPrivateKey::generate(bits); }));
    store::KeyRecord record;
    record.id = Vault::key_id(key.public_key().id());
    record.created = io::wall_now();
    record.public_key = key.public_key().spki();
    record.sealed_private_key = vault.seal_private_key(key);
    BH_CO_CHECKED(co_await store.add_pool_key(record));
    // Asked anew each time: keys are taken while others are made.
    BH_CO_TRY(count, co_await store.count_pool_keys());
    metrics.set(metric::key_pool_keys, count);
  }
  co_return Status();
}

Task<Status> KeyMaker::Impl::sweep() {
  WallTime now = io::wall_now();
  size_t removed = store::kListMax;
  while (removed == store::kListMax) {
    BH_CO_TRY(removed, co_await store.expire_unused_users(now - std::chrono::hours(config.unused_expiry_hours)));
  }
  removed = store::kListMax;
  while (removed == store::kListMax) {
    BH_CO_TRY(removed, co_await store.sweep_tombstones(now));
  }
  co_return Status();
}

Task<void> KeyMaker::run() {
  BH_CHECK(io::core() == 0);
  Context& context = co_await current_context();
  Instant sweep_due = io::now();
  Duration retry = kRetryFirst;
  while (!context.stop_requested()) {
    impl_->wake.reset();  // before looking: a nudge that comes while keys are made counts for the next round
    Status status = co_await impl_->fill_pool();
    if (status && io::now() >= sweep_due) {
      status = co_await impl_->sweep();
      if (status) sweep_due = io::now() + kSweepInterval;
    }
    if (impl_->stopping(status)) co_return;
    if (!status) {
      if (!co_await sleep_for(retry)) co_return;
      retry = std::min(retry * 2, kRetryMax);
      continue;
    }
    retry = kRetryFirst;
    Status woken = co_await within_until(sweep_due, wait_for(impl_->wake));
    if (impl_->stopping(woken)) co_return;
  }
}

}  // namespace bellhop::service
