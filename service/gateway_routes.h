// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tls/context.h"
#include "core/tls/identity.h"
#include "proto/account.h"
#include "proto/ews_operations.h"
#include "proto/gateway_target.h"
#include "service/config.h"

namespace bellhop::service {

// A server behind the gateway, with all that is needed to trust it. Immutable.
struct GatewayEndpoint {
  size_t number = 0;  // of all endpoints of a GatewayRoutes; names what a core keeps of it
  proto::GatewayEndpoint kind = proto::GatewayEndpoint::ews;
  size_t route = 0;   // place of its route
  GatewayEndpointConfig config;
  HostPort upstream;                  // of config.upstream
  std::vector<HostPort> redirect_to;  // of config.redirect_to
  TlsClientOptions tls;
  std::shared_ptr<const TlsOwnIdentity> identity;  // null: none

  bool leads_to(const HostPort& server) const;
};

// One [[gateway.route]]. Immutable.
struct GatewayRoute {
  std::string name;  // its first host: for log and trail, and what cookies and redirects are bound to
  std::string host;  // the first that is no pattern, where clients can be sent to; empty: none
  std::string tenant;
  GatewayRedirects redirects = GatewayRedirects::follow;
  std::optional<GatewayEndpoint> ews, activesync;
  proto::AccountNames accounts;

  const GatewayEndpoint* endpoint(proto::GatewayEndpoint kind) const;
};

// Operations of EWS and groups of them, as the configuration names them.
class EwsOperationList {
 public:
  EwsOperationList() = default;
  explicit EwsOperationList(const std::vector<std::string>& names);
  bool allows(std::string_view operation) const;

 private:
  std::vector<std::string> names_;
  uint32_t groups_ = 0;  // a bit each
};

// What a class of EWS clients may do. Immutable.
struct GatewayClientClass {
  std::string name;
  GatewayClientKind kind = GatewayClientKind::any;
  std::vector<std::string> accounts;     // canonical; empty: all
  std::vector<proto::Account> may_be;    // the same with plain_letters(): who names one of these may be of the class
  std::vector<std::string> user_agents;  // in lower case; empty: all
  EwsOperationList operations;
  bool impersonation = false;
};

// Host and port as a client names them: "Mail.Example.COM.:443" and "mail.example.com" are one host. Nothing where the text
// is no host. The port does not matter: whoever reached us used ours.
std::optional<std::string> canonical_host(std::string_view authority);

// Where ":port" begins; npos: there is none. The colons of an IPv6 literal are none.
size_t port_of_authority(std::string_view authority);

// All of [gateway], made ready: files read, names canonical. Made once for each configuration, shared by all cores,
// immutable.
class GatewayRoutes {
 public:
  // Reads the files. On failure `complaint` says which and what to do. Errors: os, tls, gateway, CoreError::limit.
  static Result<std::shared_ptr<const GatewayRoutes>> make(const Config& config, std::string& complaint);
  GatewayRoutes(const GatewayRoutes&) = delete;
  GatewayRoutes& operator=(const GatewayRoutes&) = delete;

  // By Host or :authority; null where no route has it.
  const GatewayRoute* find(std::string_view authority) const;
  const std::vector<std::unique_ptr<GatewayRoute>>& all() const { return routes_; }

  // Where a redirect leads that names `server`: to a server that the endpoint itself names, or another endpoint of the same
  // tenant and kind, or to the upstream behind a host that clients use. Nothing: a stranger, which nobody is sent to.
  struct Server {
    const GatewayEndpoint* endpoint = nullptr;
    HostPort address;
    const GatewayRoute* route = nullptr;
  };
  std::optional<Server> find_server(const GatewayEndpoint& from, const HostPort& server) const;

  // The first class that fits; who fits in none has the default.
  const GatewayClientClass& client_class(bool is_bellhop, const std::optional<proto::Account>& account,
                                         std::string_view user_agent) const;
  // Do the classes before `client` allow as much, which name a user that the account may be: one of any domain, where nobody
  // knows its own (`certain`: AccountNames::is_certain()), or with other accents?
  bool others_allow(const GatewayClientClass& client, const proto::Account& account, bool certain, std::string_view user_agent,
                    std::string_view operation, bool impersonates) const;
  const GatewayConfig& config() const { return config_; }

 private:
  GatewayRoutes() = default;
  Status add_route(const Config& config, const GatewayRouteConfig& route, std::string& complaint);
  Status fill_accounts(const GatewayRouteConfig& config, proto::AccountNames& accounts, std::string& complaint) const;
  void add_client(const GatewayClientConfig& client, const proto::AccountNames& names);
  Result<GatewayEndpoint> make_endpoint(const GatewayEndpointConfig& config, proto::GatewayEndpoint kind, std::string& complaint);

  GatewayConfig config_;
  std::vector<std::unique_ptr<GatewayRoute>> routes_;
  std::map<std::string, GatewayRoute*, std::less<>> by_host_;
  std::map<std::string, GatewayRoute*, std::less<>> by_parent_;  // "example.com" of "*.example.com"
  std::vector<GatewayClientClass> clients_;  // the last one is everybody else's
  size_t endpoints_ = 0;
};

}  // namespace bellhop::service
