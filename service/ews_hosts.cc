// SPDX-License-Identifier: Apache-2.0
#include "service/ews_hosts.h"

#include <algorithm>

#include "core/io.h"
#include "core/sleep.h"
#include "service/config_table.h"
#include "service/error_texts.h"

namespace bellhop::service {

namespace {

Http1Origin origin_of_identity(const Http1Pool& host) {
  Http1Origin origin = host.origin();
  if (origin.tls) origin.tls = origin.tls->sibling();
  return origin;
}

// A request has a connection to itself, so that more requests than connections would only wait for one another.
size_t requests_max(const EwsConfig& config) {
  return std::min(config.requests_per_host_in_flight_max, config.connections_per_host_max);
}

Http1ClientOptions options_of_identity(Http1ClientOptions options, const EwsConfig& config) {
  options.connections_max = config.requests_per_mailbox_max;
  options.idle_timeout =
      std::chrono::milliseconds(std::min(config.certificate_idle_timeout_ms, config.idle_timeout_ms));
  return options;
}

}  // namespace

EwsIdentity::EwsIdentity(const Http1Pool& host, const Http1ClientOptions& options)
    : pool(origin_of_identity(host), options) {}

EwsIdentityName identity_name(store::MailboxNumber mailbox, const TlsIdentity& identity) {
  uint8_t number[8];
  store_be64(number, mailbox);
  return crypto::sha256_of_parts({Bytes(number), identity.chain, identity.private_key});
}

EwsPoolUse::EwsPoolUse(Http1Pool& pool, EwsIdentity* identity) : pool_(&pool), identity_(identity) {
  if (identity_) ++identity_->users;
}

EwsPoolUse::~EwsPoolUse() {
  if (!identity_) return;
  --identity_->users;
  identity_->last_used = io::now();
}

EwsHost::EwsHost(const Tenant& tenant, const proto::Url& url, const Http1ClientOptions& options,
                 const EwsConfig& config, UpstreamRoutes& routes)
    : addresses(tenant.addresses),
      via(config.via.empty() ? std::nullopt : parse_gateway_upstream(config.via)),
      pool(routes.fill(origin_of(url)), options),
      in_flight(requests_max(config)),
      breaker(config.breaker_failure_percent, config.breaker_window_requests,
              std::chrono::milliseconds(config.breaker_open_ms)),
      retries(config.retry_share_percent_max),
      connections_max_(config.connections_per_host_max),
      identity_options_(options_of_identity(options, config)) {}

Http1Origin EwsHost::origin_of(const proto::Url& url) const {
  if (via) return {.host = via->host, .port = via->port};
  return {.host = url.host, .port = url.port, .addresses = &addresses};
}

size_t EwsHost::open_connections() const {
  size_t sum = pool.open();
  for (const auto& [name, identity] : identities) sum += identity->pool.open();
  return sum;
}

// The one that was not used for the longest.
std::unique_ptr<EwsIdentity> EwsHost::take_unused_identity() {
  auto best = identities.end();
  for (auto at = identities.begin(); at != identities.end(); ++at) {
    if (at->second->users > 0) continue;
    if (best == identities.end() || at->second->last_used < best->second->last_used) best = at;
  }
  if (best == identities.end()) return nullptr;
  std::unique_ptr<EwsIdentity> taken = std::move(best->second);
  identities.erase(best);
  return taken;
}

// An idle connection of `wanted` will be used again; else one more is about to be made.
void EwsHost::make_room(Http1Pool& wanted) {
  if (wanted.idle() > 0) return;
  while (open_connections() >= connections_max_) {
    EwsIdentity* oldest = nullptr;
    for (const auto& [name, identity] : identities) {
      if (identity->pool.idle() > 0 && (!oldest || identity->last_used < oldest->last_used)) oldest = identity.get();
    }
    bool dropped = oldest ? oldest->pool.drop_idle() : pool.drop_idle();
    if (!dropped) return;  // all are busy, fewer than there are permits
  }
}

Task<EwsPoolUse> EwsHost::use(const EwsIdentityName* name) {
  if (!name) {
    if (!identities.empty()) make_room(pool);
    co_return EwsPoolUse(pool, nullptr);
  }
  std::unique_ptr<EwsIdentity> removed;
  auto place = identities.find(*name);
  if (place == identities.end()) {
    // Each one in use holds a permit, as the caller does: one of so many is unused.
    if (identities.size() >= connections_max_) removed = take_unused_identity();
    place = identities.emplace(*name, std::make_unique<EwsIdentity>(pool, identity_options_)).first;
  }
  EwsIdentity& identity = *place->second;
  EwsPoolUse use(identity.pool, &identity);
  make_room(identity.pool);
  if (sweeping_.live() == 0) sweeping_.spawn(sweep());
  if (removed) {
    while (removed->pool.drop_idle()) {}
    co_await removed->pool.close();
  }
  co_return std::move(use);
}

// Nothing that a certificate logged on, nor a session of it, is kept longer than its idle time.
Task<void> EwsHost::sweep() {
  while (!identities.empty()) {
    Instant now = io::now(), due = Instant::max();
    auto gone = identities.end();
    for (auto at = identities.begin(); at != identities.end(); ++at) {
      Instant until = (at->second->users > 0 ? now : at->second->last_used) + identity_options_.idle_timeout;
      if (until <= now) gone = at;
      due = std::min(due, until);
    }
    if (gone == identities.end()) {
      if (!co_await sleep_until(due)) co_return;
      continue;
    }
    std::unique_ptr<EwsIdentity> identity = std::move(gone->second);
    identities.erase(gone);
    co_await identity->pool.close();
  }
}

Task<void> EwsHost::close() {
  sweeping_.request_stop();
  co_await sweeping_.join();
  for (auto& [name, identity] : identities) {
    BH_CHECK(identity->users == 0);
    co_await identity->pool.close();
  }
  identities.clear();
  co_await pool.close();
}

void EwsHost::renew(const Tenant& tenant, UpstreamRoutes& routes) {
  addresses = tenant.addresses;
  pool.renew(routes.fill({.host = pool.origin().host, .port = pool.origin().port, .addresses = via ? nullptr : &addresses}));
  for (auto& [name, identity] : identities) identity->pool.renew(origin_of_identity(pool));
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
    place = hosts_.emplace(std::move(key), std::make_unique<EwsHost>(tenant, url, options_, config_, routes_)).first;
    if (auto newest = newest_.find(tenant.number); newest != newest_.end()) place->second->addresses = newest->second;
  }
  EwsHostUse use(*place->second);
  place->second->last_used = io::now();
  if (removed) co_await removed->close();
  co_return std::optional<EwsHostUse>(std::move(use));
}

EwsHost* EwsHosts::find(const Tenant& tenant, const proto::Url& url) const {
  auto place = hosts_.find({tenant.number, url.host, url.port});
  return place == hosts_.end() ? nullptr : place->second.get();
}

void EwsHosts::renew(UpstreamRoutes routes, const Tenants& tenants) {
  routes_ = std::move(routes);
  newest_.clear();
  for (const Tenant& tenant : tenants.all()) {
    newest_.emplace(tenant.number, tenant.addresses);
    auto place = hosts_.lower_bound({tenant.number, "", 0});
    for (; place != hosts_.end() && place->first.tenant == tenant.number; ++place) {
      place->second->renew(tenant, routes_);
    }
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

std::vector<EwsHostState> EwsHosts::states(Instant now) const {
  std::vector<EwsHostState> states;
  states.reserve(hosts_.size());
  for (const auto& [key, host] : hosts_) {
    const CircuitBreaker& breaker = host->breaker;
    bool open = breaker.state() == CircuitBreaker::State::open;
    states.push_back({.tenant = key.tenant,
                      .host = key.host,
                      .port = key.port,
                      .connections = host->pool.in_use() + host->pool.idle(),
                      .waiting = host->waiting,
                      .breaker = breaker.state(),
                      .open_for = open ? std::max(Duration::zero(), breaker.open_until() - now) : Duration::zero(),
                      .back_off_for = std::max(Duration::zero(), host->back_off_until - now),
                      .product = host->product});
  }
  return states;
}

Task<void> EwsHosts::close() {
  TaskScope closing(&co_await current_context());
  for (auto& [key, host] : hosts_) {
    BH_CHECK(host->users == 0);
    closing.spawn(host->close());
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
