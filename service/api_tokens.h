// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <unordered_map>

#include "core/task.h"
#include "service/generation.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// Says which tenant an API token belongs to. One per core. Good tokens are remembered for kFreshness, so that a burst
// of requests reads the store once, and a revocation works on every core after that time at the latest. Tokens that are
// not good are never remembered: who guesses must not fill our memory.
class ApiTokens {
 public:
  static constexpr Duration kFreshness = std::chrono::seconds(1);
  static constexpr size_t kRememberedMax = 1024;

  // `generations`: the core's own.
  ApiTokens(store::Store& store, const Vault& vault, const GenerationSlot& generations)
      : store_(store), vault_(vault), generations_(generations) {}

  // The tenant of a live token with scope `device`; `text` is what the ApiToken field holds, empty where it is missing.
  // Tokens are looked up by keyed hash, so the time tells nothing about how much of one was right; a missing token goes
  // the same way. Errors: ServiceError::unauthorized, for every cause; store.
  Task<Result<const Tenant*>> check(std::string_view text);
  size_t remembered() const { return known_.size(); }

 private:
  void forget_old_tenants();

  struct Known {
    const Tenant* tenant;
    Instant read_at;
  };
  store::Store& store_;
  const Vault& vault_;
  const GenerationSlot& generations_;
  uint64_t generation_ = 0;  // that the remembered tenants are of
  std::unordered_map<store::TokenHash, Known> known_;
};

}  // namespace bellhop::service
