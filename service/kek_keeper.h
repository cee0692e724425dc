// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/task.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// Sealed fields that one page brings, and how often it is looked for something to do.
inline constexpr size_t kResealPage = 64;
inline constexpr Duration kKekLook = std::chrono::seconds(10);
inline constexpr Duration kKekWalk = std::chrono::hours(1);

// Seals what the store holds anew when the keyring has another current key, while the server serves: page by page, a
// short read and a synced write each, and other flows in between. Callback URLs cannot be sealed anew: their
// subscriptions are renewed at their heartbeats (service/renewal.h). What names an old key is counted at each walk, and
// the log says when nothing does, so that the key may be taken out of the keyring; a reload checks that once more.
// On core 0.
//
// Invariant: a field is replaced only where it still holds the box that was opened.
class KekKeeper {
 public:
  KekKeeper(store::Store& store, const Vault& vault, Log& log, MetricsShard& metrics)
      : store_(store), vault_(vault), log_(log), metrics_(metrics) {}

  // Until stopped.
  Task<void> run();
  // One walk over all sealed fields. Errors: store, canceled.
  struct Walk {
    uint64_t resealed = 0;
    uint64_t unopened = 0;               // damaged, or under a key that the keyring does not hold
    std::map<uint32_t, uint64_t> fields; // under other keys than the current one, after the walk
    std::map<uint32_t, uint64_t> urls;   // that name such a key
  };
  Task<Result<Walk>> walk();

 private:
  Task<Status> reseal(const store::SealedPage& page, Walk& walk);
  void report(const Walk& walk);

  store::Store& store_;
  const Vault& vault_;
  Log& log_;
  MetricsShard& metrics_;
  std::vector<uint32_t> free_;  // keys that the log has said may retire
};

}  // namespace bellhop::service
