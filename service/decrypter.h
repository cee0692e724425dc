// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <unordered_map>

#include "core/reactor.h"
#include "core/task.h"
#include "crypto/key_cache.h"
#include "crypto/rsa_batch.h"
#include "crypto/rsa_engine.h"
#include "service/config.h"
#include "service/metrics.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// Private-key operations of one core: key cache, batch queue and engine, tied to the reactor's turn. A decryption is
// queued and awaited; the batch runs as RsaBatch::should_run says. Outlives all flows that await it.
class Decrypter {
 public:
  Decrypter(store::Store& store, const Vault& vault, std::unique_ptr<crypto::RsaEngine> engine,
            const NotificationConfig& notification, const KeysConfig& keys, MetricsShard& metrics);
  ~Decrypter();
  Decrypter(const Decrypter&) = delete;
  Decrypter& operator=(const Decrypter&) = delete;

  // The key of a user, from the cache or unsealed from the store. Errors: store (not_found), crypto.
  Task<Result<crypto::KeyCache::Pin>> key(store::KeyId id);
  // RSAES-OAEP-SHA-256. `ciphertext` and `label` outlive the task. Errors: crypto decrypt_failed, overloaded. Not cut
  // short by a stop: it ends within a few turns.
  Task<Result<crypto::Secret>> decrypt(crypto::KeyCache::Pin key, Bytes ciphertext, Bytes label, uint32_t tenant);
  // Forgets the key of a removed user on this core.
  void forget(store::KeyId id);

  // Other bounds of the queue, at a reload.
  void renew(const NotificationConfig& notification);

  const crypto::RsaBatch::Metrics& batch_metrics() const { return batch_.metrics(); }

 private:
  struct Hook : TurnHook {
    explicit Hook(Decrypter* d) : TurnHook(&Decrypter::turn), decrypter(d) {}
    Decrypter* decrypter;
  };
  static void turn(TurnHook& hook, bool nothing_else_ready);
  void update_metrics();

  store::Store& store_;
  const Vault& vault_;
  MetricsShard& metrics_;
  std::unique_ptr<crypto::RsaEngine> engine_;
  crypto::KeyCache cache_;
  crypto::RsaBatch batch_;
  crypto::RsaBatch::Metrics counted_;  // what the metrics already hold
  crypto::RsaEngine::Stats engine_counted_;
  uint64_t evictions_counted_ = 0;
  std::unordered_map<store::KeyId, crypto::KeyId> names_;  // of what is, or was, in the cache
  size_t names_max_;
  Hook hook_;
};

}  // namespace bellhop::service
