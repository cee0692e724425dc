// SPDX-License-Identifier: Apache-2.0
#include "service/decrypter.h"

#include <algorithm>

#include "core/base/check.h"
#include "core/io.h"
#include "crypto/error.h"

namespace bellhop::service {
namespace {

crypto::RsaBatch::Limits batch_limits(const NotificationConfig& config) {
  // A turn may take 5 ms of CPU: the flows' share comes before, and the engine ends within one operation of its time. A batch
  // in lanes is one call, and may take longer: see LanePlan::kBatchMax.
  constexpr Duration kRunMax = 3ms;
  return {.waiting_max = config.decrypt_queue_max,
          .waiting_per_tenant_max = config.decrypt_queue_per_tenant_max,
          .run_max = kRunMax};
}

// A key takes more than this: a bound for the names of keys, which outlive what they name.
constexpr size_t kKeyBytesMin = 1024;

RsaEngineName engine_name(std::string_view name) {
  constexpr auto& names = LabelSet<RsaEngineName>::values;
  auto at = std::ranges::find(names, name);
  BH_CHECK(at != names.end());
  return static_cast<RsaEngineName>(at - names.begin());
}

// Awaits one request of the batch queue.
class BatchAwaiter {
 public:
  BatchAwaiter(crypto::RsaBatch& batch, crypto::RsaBatchRequest& request) : batch_(batch), request_(request) {}

  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    waiter_ = &h.promise();
    request_.context = this;
    request_.completed = [](crypto::RsaBatchRequest& done) {
      make_ready(static_cast<BatchAwaiter*>(done.context)->waiter_);
    };
    status_ = batch_.enqueue(request_);
    return status_.has_value();
  }
  Result<crypto::Secret> await_resume() {
    if (!status_) return fail(status_.error());
    return std::move(request_.plaintext);
  }

 private:
  crypto::RsaBatch& batch_;
  crypto::RsaBatchRequest& request_;
  Runnable* waiter_ = nullptr;
  Status status_;
};

}  // namespace

Decrypter::Decrypter(store::Store& store, const Vault& vault, std::unique_ptr<crypto::RsaEngine> engine,
                     const NotificationConfig& notification, const KeysConfig& keys, MetricsShard& metrics)
    : store_(store),
      vault_(vault),
      metrics_(metrics),
      engine_(std::move(engine)),
      cache_({.bytes_max = size_t{keys.cache_mib} << 20}),
      batch_(*engine_, {.now = [](void*) { return io::now(); }, .context = nullptr}, batch_limits(notification)),
      names_max_((size_t{keys.cache_mib} << 20) / kKeyBytesMin),
      hook_(this) {
  Reactor::current().add_hook(&hook_);
  metrics_.set(metric::rsa_engine_cores, engine_name(engine_->name()), 1);
}

void Decrypter::renew(const NotificationConfig& notification) { batch_.set_limits(batch_limits(notification)); }

Decrypter::~Decrypter() { BH_CHECK(batch_.waiting() == 0); }

void Decrypter::turn(TurnHook& hook, bool nothing_else_ready) {
  Decrypter& self = *static_cast<Hook&>(hook).decrypter;
  if (self.batch_.should_run(io::now(), nothing_else_ready)) {
    self.batch_.run();
    self.update_metrics();
  }
  hook.wants_turn = self.batch_.waiting() > 0;
}

void Decrypter::update_metrics() {
  const crypto::RsaBatch::Metrics& now = batch_.metrics();
  for (size_t size = 1; size < now.engine_calls_by_size.size(); ++size) {
    uint64_t calls = now.engine_calls_by_size[size] - counted_.engine_calls_by_size[size];
    for (uint64_t i = 0; i < calls; ++i) metrics_.observe(metric::rsa_batch_size, size);
  }
  const crypto::RsaEngine::Stats engine = engine_->stats();
  metrics_.add(metric::rsa_operations, RsaEngine::scalar, engine.scalar_total - engine_counted_.scalar_total);
  metrics_.add(metric::rsa_operations, RsaEngine::vector, engine.vector_total - engine_counted_.vector_total);
  metrics_.add(metric::rsa_faults, engine.faults_total - engine_counted_.faults_total);
  engine_counted_ = engine;
  metrics_.set(metric::rsa_queue, batch_.waiting());
  uint64_t evictions = cache_.stats().evictions_total;
  metrics_.add(metric::key_cache_evictions, evictions - evictions_counted_);
  metrics_.set(metric::key_cache_keys, cache_.stats().entries);
  metrics_.set(metric::key_cache_bytes, cache_.stats().bytes);
  evictions_counted_ = evictions;
  counted_ = now;
}

Task<Result<crypto::KeyCache::Pin>> Decrypter::key(store::KeyId id) {
  if (auto name = names_.find(id); name != names_.end()) {
    if (crypto::KeyCache::Pin pin = cache_.find(name->second)) {
      metrics_.add(metric::key_cache_lookups, CacheResult::hit);
      co_return pin;
    }
    names_.erase(name);  // it was evicted
  }
  metrics_.add(metric::key_cache_lookups, CacheResult::miss);
  BH_CO_TRY(store::KeyRecord record, co_await store_.read_key(id));
  BH_CO_TRY(crypto::RsaPrivateKey key, vault_.unseal_private_key(record));
  crypto::KeyId name = key.public_key().id();
  BH_CO_TRY(crypto::KeyCache::Pin pin, cache_.insert(std::move(key)));
  // Names of evicted keys stay until they are asked for; a bound keeps them from piling up.
  if (names_.size() >= names_max_) names_.clear();
  names_.insert_or_assign(id, name);
  co_return pin;
}

Task<Result<crypto::Secret>> Decrypter::decrypt(crypto::KeyCache::Pin key, Bytes ciphertext, Bytes label,
                                                uint32_t tenant) {
  crypto::RsaBatchRequest request;
  request.key = std::move(key);
  request.ciphertext = ciphertext;
  request.label = label;
  request.tenant = tenant;
  auto plaintext = co_await BatchAwaiter(batch_, request);
  bool queued = plaintext || !is(plaintext.error(), crypto::CryptoError::overloaded);
  if (queued) metrics_.observe(metric::rsa_queue_wait, request.waited);
  co_return plaintext;
}

void Decrypter::forget(store::KeyId id) {
  auto name = names_.find(id);
  if (name == names_.end()) return;
  cache_.remove(name->second);
  names_.erase(name);
}

}  // namespace bellhop::service
