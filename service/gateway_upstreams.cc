// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_upstreams.h"

#include <algorithm>

#include "core/base/check.h"
#include "core/io.h"

namespace bellhop::service {
namespace {

Duration ms(uint32_t value) { return std::chrono::milliseconds(value); }

std::string host_field_of(const HostPort& server) {
  std::string text = to_text(server);
  if (server.port == 443) text.resize(text.rfind(':'));
  return text;
}

OutboundOrigin origin_of(const GatewayEndpoint& endpoint, const HostPort& server) {
  std::string complaint;
  auto tls = TlsContext::client(endpoint.tls, complaint);
  BH_CHECK(tls);  // authorities were parsed before, pins have one length, and the protocol's name is ours
  return {.host = server.host, .port = server.port, .tls = *std::move(tls)};
}

UpstreamOptions options_of(const GatewayEndpointConfig& config, Core& core) {
  return {.connections_max = config.connections_max,
          .waiting_max = config.connections_max,
          .connect_timeout = ms(config.connect_timeout_ms),
          .handshake_timeout = ms(config.handshake_timeout_ms),
          .idle_timeout = ms(config.idle_timeout_ms),
          .write_stall_timeout = ms(config.stall_timeout_ms),
          .metrics = &core.metrics,
          .kind = ConnectionKind::gateway_upstream};
}

}  // namespace

GatewayUpstream::GatewayUpstream(const GatewayRoute& route, const GatewayEndpoint& endpoint, HostPort server, Core& core)
    : route_(route),
      endpoint_(endpoint),
      server_(std::move(server)),
      host_field_(host_field_of(server_)),
      core_(core),
      pool_(origin_of(endpoint, server_), options_of(endpoint.config, core)),
      breaker_(endpoint.config.breaker_failure_percent, endpoint.config.breaker_window_requests,
               ms(endpoint.config.breaker_open_ms)) {
  if (endpoint.identity) identity_ = endpoint.identity->view();
}

GatewayUpstreamState GatewayUpstream::state(Instant now) const {
  bool open = breaker_.state() == CircuitBreaker::State::open;
  return {.route = route_.name,
          .endpoint = endpoint_.kind,
          .server = server_,
          .breaker = breaker_.state(),
          .open_for = open ? std::max(Duration::zero(), breaker_.open_until() - now) : Duration::zero(),
          .connections_in_use = pool_.in_use(),
          .connections_idle = pool_.idle(),
          .requests_waiting = pool_.waiting(),
          .requests = requests_,
          .failures = failures_,
          .last_error = last_error_,
          .last_failure = last_failure_};
}

void GatewayUpstream::note(CircuitBreaker::Change change) {
  if (change == CircuitBreaker::Change::none) return;
  bool opened = change == CircuitBreaker::Change::opened;
  // A probe that fails opens what was open.
  bool counted = std::exchange(counted_open_, opened);
  if (opened && !counted) core_.metrics.raise(metric::gateway_breakers_open);
  if (!opened && counted) core_.metrics.lower(metric::gateway_breakers_open);
  std::string server = to_text(server_);
  if (opened) {
    log_line(core_.log, LogLevel::warning, "gateway_breaker_opened", field("server", not_personal(server)),
             field("open_ms", ms(endpoint_.config.breaker_open_ms)), field("error", last_error_));
  } else {
    log_line(core_.log, LogLevel::info, "gateway_breaker_closed", field("server", not_personal(server)));
  }
}

void GatewayUpstream::forget_breaker() {
  if (std::exchange(counted_open_, false)) core_.metrics.lower(metric::gateway_breakers_open);
}

// One of them is always left to requests that Exchange answers at once.
size_t GatewayUpstream::parked_max() const {
  size_t all = pool_.options().connections_max;
  return all == 1 ? 1 : all - std::max<size_t>(1, all / 4);
}

GatewayUpstream::Parking::Parking(GatewayUpstream& upstream, bool parks)
    : upstream_(upstream), admitted_(!parks || upstream.parked_ < upstream.parked_max()), counted_(parks && admitted_) {
  upstream_.parked_ += counted_;
}

GatewayUpstream::Parking::~Parking() { upstream_.parked_ -= counted_; }

GatewayUpstream::Attempt::Attempt(GatewayUpstream& upstream)
    : upstream_(upstream), admitted_(upstream.breaker_.admit(io::now())) {
  if (admitted_) ++upstream_.requests_;
}

GatewayUpstream::Attempt::~Attempt() {
  if (admitted_ && !judged_) upstream_.breaker_.undecided();
}

void GatewayUpstream::Attempt::succeeded() {
  if (!admitted_ || std::exchange(judged_, true)) return;
  upstream_.note(upstream_.breaker_.succeeded());
}

void GatewayUpstream::Attempt::failed(const Error& error) {
  if (!admitted_ || std::exchange(judged_, true)) return;
  ++upstream_.failures_;
  upstream_.last_error_ = error;
  upstream_.last_failure_ = io::wall_now();
  uint32_t open_ms = upstream_.endpoint_.config.breaker_open_ms;
  Duration jitter = ms(static_cast<uint32_t>(io::random_u64() % (open_ms / 4 + 1)));
  std::string server = to_text(upstream_.server_);
  log_line(upstream_.core_.log, LogLevel::warning, "gateway_upstream_failed", field("server", not_personal(server)),
           field("error", error));
  upstream_.note(upstream_.breaker_.failed(io::now(), jitter));
}

GatewayUpstream& GatewayUpstreams::at(const GatewayRoutes::Server& server) {
  std::unique_ptr<GatewayUpstream>& place = upstreams_[{server.endpoint->number, to_text(server.address)}];
  if (!place) place = std::make_unique<GatewayUpstream>(*server.route, *server.endpoint, server.address, core_);
  return *place;
}

std::vector<GatewayUpstreamState> GatewayUpstreams::states(Instant now) const {
  std::vector<GatewayUpstreamState> all;
  for (const auto& [key, upstream] : upstreams_) all.push_back(upstream->state(now));
  return all;
}

void GatewayUpstreams::drop_idle(std::string_view connection_key) {
  for (const auto& [key, upstream] : upstreams_) (void)upstream->pool().drop_idle(connection_key);
}

// A breaker that was open is forgotten with its upstream.
Task<void> GatewayUpstreams::close() {
  for (const auto& [key, upstream] : upstreams_) {
    upstream->forget_breaker();
    co_await upstream->pool().close();
  }
  upstreams_.clear();
}

}  // namespace bellhop::service
