// SPDX-License-Identifier: Apache-2.0
#include "service/ews_hosts.h"

#include <algorithm>

#include "core/io.h"
#include "service/error_texts.h"

namespace bellhop::service {

EwsHost::EwsHost(const Tenant& tenant, const proto::Url& url, const Http1ClientOptions& options,
                 const EwsConfig& config, std::shared_ptr<TlsContext> tls)
    : addresses(tenant.addresses),
      pool({.host = url.host, .port = url.port, .tls = std::move(tls), .addresses = &addresses}, options),
      in_flight(config.requests_per_host_in_flight_max),
      breaker(config.breaker_failure_percent, config.breaker_window_requests,
              std::chrono::milliseconds(config.breaker_open_ms)) {}

void EwsHost::renew(const Tenant& tenant, std::shared_ptr<TlsContext> tls) {
  addresses = tenant.addresses;
  pool.renew(std::move(tls), &addresses);
}

std::optional<EwsTrouble> EwsHost::refusal(Instant now) const {
  EwsTrouble trouble;
  if (now < back_off_until) {
    trouble.failure.kind = EwsFailureKind::throttled;
    trouble.failure.retry_after = back_off_until - now;
    auto seconds = std::chrono::ceil<std::chrono::seconds>(trouble.failure.retry_after).count();
    trouble.failure.error = service_error(ServiceError::exchange_throttled, static_cast<uint32_t>(seconds));
    trouble.result = EwsResult::throttled;
    return trouble;
  }
  if (breaker.refuses(now)) {
    trouble.failure.kind = EwsFailureKind::unavailable;
    trouble.failure.error = service_error(ServiceError::breaker_open);
    trouble.result = EwsResult::breaker_open;
    return trouble;
  }
  return std::nullopt;
}

void EwsHost::back_off(Instant now, Duration duration) { back_off_until = std::max(back_off_until, now + duration); }

Task<std::optional<EwsHostUse>> EwsHosts::use(const Tenant& tenant, const proto::Url& url) {
  Key key{tenant.number, url.host, url.port};
  std::unique_ptr<EwsHost> removed;
  auto place = hosts_.find(key);
  if (place == hosts_.end()) {
    if (hosts_.size() >= kHostsMax) {
      removed = take_unused();
      if (!removed) co_return std::nullopt;
    }
    place = hosts_.emplace(std::move(key), std::make_unique<EwsHost>(tenant, url, options_, config_, tls_)).first;
  }
  EwsHostUse use(*place->second);
  place->second->last_used = io::now();
  if (removed) co_await removed->pool.close();
  co_return std::optional<EwsHostUse>(std::move(use));
}

EwsHost* EwsHosts::find(const Tenant& tenant, const proto::Url& url) const {
  auto place = hosts_.find({tenant.number, url.host, url.port});
  return place == hosts_.end() ? nullptr : place->second.get();
}

void EwsHosts::renew(std::shared_ptr<TlsContext> tls, const Tenants& tenants) {
  tls_ = std::move(tls);
  for (const Tenant& tenant : tenants.all()) {
    auto place = hosts_.lower_bound({tenant.number, "", 0});
    for (; place != hosts_.end() && place->first.tenant == tenant.number; ++place) place->second->renew(tenant, tls_);
  }
}

// A host that asked to wait, or whose breaker is open, is kept where there is another: its memory spares it requests.
std::unique_ptr<EwsHost> EwsHosts::take_unused() {
  Instant now = io::now();
  auto best = hosts_.end();
  for (auto at = hosts_.begin(); at != hosts_.end(); ++at) {
    if (at->second->users > 0) continue;
    auto rank = [&](const EwsHost& host) { return std::pair(host.refusal(now).has_value(), host.last_used); };
    if (best == hosts_.end() || rank(*at->second) < rank(*best->second)) best = at;
  }
  if (best == hosts_.end()) return nullptr;
  std::unique_ptr<EwsHost> host = std::move(best->second);
  hosts_.erase(best);
  return host;
}

Task<void> EwsHosts::close() {
  TaskScope closing(&co_await current_context());
  for (auto& [key, host] : hosts_) {
    BH_CHECK(host->users == 0);
    closing.spawn(host->pool.close());
  }
  co_await closing.join();
}

EwsMailboxes::Use::Use(EwsMailboxes& all, uint32_t tenant, store::MailboxNumber mailbox)
    : all_(all), place_(all.entries_.try_emplace({tenant, mailbox}, all.requests_max_).first) {
  ++place_->second.users;
}

EwsMailboxes::Use::~Use() {
  if (--place_->second.users == 0) all_.entries_.erase(place_);
}

}  // namespace bellhop::service
