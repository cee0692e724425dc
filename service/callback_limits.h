// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "core/task.h"
#include "proto/address_policy.h"
#include "service/config.h"
#include "service/http_exchange.h"
#include "service/metrics.h"
#include "service/rate_limits.h"

namespace bellhop::service {

// How many callbacks one address may make on this core. Kept where the callback is accepted: asking another core would cost a
// heartbeat more than the limit saves. By default only those count that belong to no subscription, which Exchange does not
// send: a whole organisation may call from one address, and must never be held up.
class CallbackLimits {
 public:
  CallbackLimits(const LimitsConfig& config, MetricsShard& metrics, uint64_t salt);

  // True where all callbacks count; else take_callback() need not be asked.
  bool counts_all() const { return all_.has_value(); }
  // Zero, or how long the address has to wait.
  Task<Duration> take_callback(HttpExchange& exchange);
  // The same for one that belongs to no subscription.
  Task<Duration> take_unknown(HttpExchange& exchange);

 private:
  Task<Duration> take(std::optional<TokenBuckets>& buckets, RateLimit limit, HttpExchange& exchange);

  std::optional<TokenBuckets> all_, unknown_;  // nothing: not limited
  const proto::AddressBlocks exempt_;
  MetricsShard& metrics_;
};

}  // namespace bellhop::service
