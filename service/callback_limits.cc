// SPDX-License-Identifier: Apache-2.0
#include "service/callback_limits.h"

#include "core/io.h"
#include "service/cidrs.h"

namespace bellhop::service {

CallbackLimits::CallbackLimits(const LimitsConfig& config, MetricsShard& metrics, uint64_t salt)
    : exempt_(to_blocks(config.exempt_cidrs)), metrics_(metrics) {
  if (uint32_t most = config.callbacks_per_address_per_minute; most > 0) {
    all_.emplace(most, 1min, config.addresses_tracked_max, salt);
  }
  if (uint32_t most = config.unknown_callbacks_per_address_per_minute; most > 0) {
    unknown_.emplace(most, 1min, config.addresses_tracked_max, salt);
  }
}

Task<Duration> CallbackLimits::take_callback(HttpExchange& exchange) {
  return take(all_, RateLimit::callbacks_address, exchange);
}

Task<Duration> CallbackLimits::take_unknown(HttpExchange& exchange) {
  return take(unknown_, RateLimit::unknown_callbacks_address, exchange);
}

Task<Duration> CallbackLimits::take(std::optional<TokenBuckets>& buckets, RateLimit limit, HttpExchange& exchange) {
  if (!buckets) co_return Duration::zero();
  Result<SocketAddress> peer = co_await exchange.peer_address();
  // Without an address (a unix socket, a connection that is going away) all share one bucket.
  IpAddress ip = peer ? peer->ip : IpAddress();
  if (exempt_.contains(ip)) co_return Duration::zero();
  Duration wait = buckets->take(rate_key(ip), io::now());
  if (wait > Duration::zero()) metrics_.add(metric::rate_limited, limit);
  co_return wait;
}

}  // namespace bellhop::service
