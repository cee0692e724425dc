// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "service/circuit_breaker.h"
#include "service/core.h"
#include "service/gateway_routes.h"
#include "service/upstream_client.h"

namespace bellhop::service {

// One upstream as operators see it, on one core.
struct GatewayUpstreamState {
  std::string route;
  proto::GatewayEndpoint endpoint = proto::GatewayEndpoint::ews;
  HostPort server;
  CircuitBreaker::State breaker = CircuitBreaker::State::closed;
  Duration open_for{};  // until the breaker tries again
  size_t connections_in_use = 0, connections_idle = 0, requests_waiting = 0;
  uint64_t requests = 0, failures = 0;  // since these routes are in use
  Error last_error;                     // Domain::none: there was none
  WallTime last_failure{};
};

// One server behind the gateway, as one core uses it: its connections, and whether it works.
class GatewayUpstream {
 public:
  GatewayUpstream(const GatewayRoute& route, const GatewayEndpoint& endpoint, HostPort server, Core& core);
  GatewayUpstream(const GatewayUpstream&) = delete;
  GatewayUpstream& operator=(const GatewayUpstream&) = delete;

  const GatewayEndpoint& endpoint() const { return endpoint_; }
  const HostPort& server() const { return server_; }
  const std::string& host_field() const { return host_field_; }
  UpstreamPool& pool() { return pool_; }
  const TlsIdentity* identity() const { return identity_ ? &*identity_ : nullptr; }
  GatewayUpstreamState state(Instant now) const;
  // Its breaker is counted as open no longer.
  void forget_breaker();

  // The place of one long poll among the connections, of which such requests may hold three quarters: they stay for up to an
  // hour, and others wait for the rest. Requests of other kinds are always admitted.
  class Parking {
   public:
    Parking(GatewayUpstream& upstream, bool parks);
    Parking(const Parking&) = delete;
    Parking& operator=(const Parking&) = delete;
    ~Parking();

    bool admitted() const { return admitted_; }

   private:
    GatewayUpstream& upstream_;
    const bool admitted_, counted_;
  };

  // One request that the breaker let through; ends with exactly one verdict about the server.
  class Attempt {
   public:
    explicit Attempt(GatewayUpstream& upstream);
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    ~Attempt();  // no verdict: the request said nothing about the server

    bool admitted() const { return admitted_; }
    const GatewayEndpoint& endpoint() const { return upstream_.endpoint(); }
    void succeeded();
    void failed(const Error& error);

   private:
    GatewayUpstream& upstream_;
    const bool admitted_;
    bool judged_ = false;
  };

 private:
  void note(CircuitBreaker::Change change);
  size_t parked_max() const;

  const GatewayRoute& route_;
  const GatewayEndpoint& endpoint_;
  const HostPort server_;
  const std::string host_field_;
  Core& core_;
  std::optional<TlsIdentity> identity_;
  UpstreamPool pool_;
  CircuitBreaker breaker_;
  bool counted_open_ = false;  // in bellhop_gateway_breakers_open
  size_t parked_ = 0;
  uint64_t requests_ = 0, failures_ = 0;
  Error last_error_;
  WallTime last_failure_{};
};

// All servers of some routes, made when they are first asked for. One core. Requests hold what they use; who replaces it
// awaits close() once nobody else does.
class GatewayUpstreams {
 public:
  GatewayUpstreams(std::shared_ptr<const GatewayRoutes> routes, Core& core) : routes_(std::move(routes)), core_(core) {}
  GatewayUpstreams(const GatewayUpstreams&) = delete;
  GatewayUpstreams& operator=(const GatewayUpstreams&) = delete;

  const GatewayRoutes& routes() const { return *routes_; }
  GatewayUpstream& at(const GatewayRoutes::Server& server);
  std::vector<GatewayUpstreamState> states(Instant now) const;
  // Closes the idle connections of these credentials.
  void drop_idle(std::string_view connection_key);
  Task<void> close();

 private:
  std::shared_ptr<const GatewayRoutes> routes_;
  Core& core_;
  // By endpoint and server. Bounded by the configuration: a server that it does not name is never asked.
  std::map<std::pair<size_t, std::string>, std::unique_ptr<GatewayUpstream>> upstreams_;
};

}  // namespace bellhop::service
