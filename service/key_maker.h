// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/task.h"
#include "service/config.h"
#include "service/metrics.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// Makes RSA key pairs ahead of need on the general helper thread and keeps the store's pool at its target; expires
// users who never subscribed and tombstones whose time is over. Runs on core 0; nudge() may be called on any core.
class KeyMaker {
 public:
  KeyMaker(const KeysConfig& config, store::Store& store, const Vault& vault, MetricsShard& metrics);
  ~KeyMaker();
  KeyMaker(const KeyMaker&) = delete;
  KeyMaker& operator=(const KeyMaker&) = delete;

  // Until stopped.
  Task<void> run();
  // The pool has shrunk: look at it now. Cheap; calls while one is on its way are merged.
  void nudge();
  // On: begins no further pair, so that the end of run() need not wait for one. On core 0.
  void rest(bool on);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bellhop::service
