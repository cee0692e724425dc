// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_routes.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/url.h"
#include "service/config_table.h"
#include "service/gateway_config_rules.h"
#include "service/named_files.h"
#include "service/upstreams.h"

namespace bellhop::service {
namespace {

HostPort upstream_of(const std::string& text) {
  auto parsed = parse_gateway_upstream(text);
  BH_CHECK(parsed.has_value());  // the parser of the configuration has refused it before
  return *parsed;
}

Result<std::shared_ptr<const TlsOwnIdentity>> read_identity(const GatewayEndpointConfig& config, std::string& complaint) {
  BH_TRY(std::string chain, read_named(config.client_certificate_file, "the gateway's certificate", complaint));
  auto key = read_named(config.client_private_key_file, "the certificate's private key", complaint);
  if (!key) return fail(key.error());
  auto identity = TlsOwnIdentity::read({config.client_certificate_file, chain}, {config.client_private_key_file, *key}, complaint);
  wipe(*key);
  if (!identity) return fail(identity.error());
  return std::make_shared<const TlsOwnIdentity>(*std::move(identity));
}

bool matches_agent(const std::vector<std::string>& patterns, const std::string& agent) {
  return patterns.empty() || std::ranges::any_of(patterns, [&](const std::string& pattern) {
    bool open = pattern.ends_with('*');
    return open ? agent.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1)) : agent == pattern;
  });
}

}  // namespace

bool GatewayEndpoint::leads_to(const HostPort& server) const {
  return upstream == server || std::ranges::find(redirect_to, server) != redirect_to.end();
}

const GatewayEndpoint* GatewayRoute::endpoint(proto::GatewayEndpoint kind) const {
  const std::optional<GatewayEndpoint>& one = kind == proto::GatewayEndpoint::ews ? ews : activesync;
  return one ? &*one : nullptr;
}

EwsOperationList::EwsOperationList(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (auto group = proto::ews_operation_group_of_name(name)) {
      groups_ |= 1u << static_cast<unsigned>(*group);
    } else {
      names_.push_back(name);
    }
  }
}

bool EwsOperationList::allows(std::string_view operation) const {
  auto group = static_cast<unsigned>(proto::ews_operation_group(operation));
  return (groups_ >> group & 1) != 0 || std::ranges::find(names_, operation) != names_.end();
}

size_t port_of_authority(std::string_view authority) {
  size_t colon = authority.rfind(':');
  bool in_address = colon != std::string_view::npos && authority.find(']', colon) != std::string_view::npos;
  return in_address ? std::string_view::npos : colon;
}

std::optional<std::string> canonical_host(std::string_view authority) {
  if (authority.size() > 300) return std::nullopt;
  std::string_view host = authority;
  if (size_t colon = port_of_authority(authority); colon != std::string_view::npos) {
    std::string_view port = authority.substr(colon + 1);
    bool digits = port.size() <= 5 && std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return std::nullopt;
    host = authority.substr(0, colon);
  }
  std::optional<IpAddress> ip;
  auto parsed = proto::parse_host(host, ip);
  if (!parsed) return std::nullopt;
  return *std::move(parsed);
}

Result<std::shared_ptr<const GatewayRoutes>> GatewayRoutes::make(const Config& config, std::string& complaint) {
  std::shared_ptr<GatewayRoutes> made(new GatewayRoutes);
  made->config_ = config.gateway;
  for (const GatewayRouteConfig& route : config.gateway.routes) BH_CHECKED(made->add_route(config, route, complaint));
  proto::AccountNames names;
  BH_CHECKED(made->fill_accounts({}, names, complaint));
  for (const GatewayClientConfig& client : config.gateway.clients) made->add_client(client, names);
  made->add_client({.name = "others", .operations = config.gateway.operations}, names);
  return std::shared_ptr<const GatewayRoutes>(std::move(made));
}

Status GatewayRoutes::fill_accounts(const GatewayRouteConfig& config, proto::AccountNames& accounts, std::string& complaint) const {
  auto add = [&](std::string_view alias, const std::string& domain) {
    Status added = accounts.add_domain_alias(alias, domain);
    if (!added) complaint = fmt::format("gateway.domain \"{}\": \"{}\": {}", domain, alias, error_text(added.error()));
    return added;
  };
  for (const GatewayDomainConfig& domain : config_.domains) {
    BH_CHECKED(add(domain.name, domain.name));
    if (!domain.netbios.empty()) BH_CHECKED(add(domain.netbios, domain.name));
    for (const std::string& alias : domain.aliases) BH_CHECKED(add(alias, domain.name));
  }
  if (config.default_domain.empty()) return {};
  Status set = accounts.set_default_domain(config.default_domain);
  if (!set) complaint = fmt::format("gateway.route.default_domain \"{}\": {}", config.default_domain, error_text(set.error()));
  return set;
}

Status GatewayRoutes::add_route(const Config& all, const GatewayRouteConfig& config, std::string& complaint) {
  auto route = std::make_unique<GatewayRoute>();
  route->name = config.hosts.empty() ? "" : config.hosts.front();
  route->tenant = tenant_of(all, config);
  route->redirects = config.redirects;
  BH_CHECKED(fill_accounts(config, route->accounts, complaint));
  if (config.ews.on()) {
    BH_TRY(route->ews, make_endpoint(config.ews, proto::GatewayEndpoint::ews, complaint));
  }
  if (config.activesync.on()) {
    BH_TRY(route->activesync, make_endpoint(config.activesync, proto::GatewayEndpoint::activesync, complaint));
  }
  for (const std::string& host : config.hosts) {
    bool below = host.starts_with("*.");
    if (!below && route->host.empty()) route->host = host;
    (below ? by_parent_ : by_host_)[below ? host.substr(2) : host] = route.get();
  }
  routes_.push_back(std::move(route));
  return {};
}

Result<GatewayEndpoint> GatewayRoutes::make_endpoint(const GatewayEndpointConfig& config, proto::GatewayEndpoint kind,
                                                     std::string& complaint) {
  GatewayEndpoint endpoint{.number = endpoints_++, .kind = kind, .route = routes_.size(), .config = config};
  endpoint.upstream = upstream_of(config.upstream);
  for (const std::string& server : config.redirect_to) endpoint.redirect_to.push_back(upstream_of(server));
  for (const std::string& text : config.spki_pins) {
    auto pin = parse_spki_pin(text);
    BH_CHECK(pin.has_value());  // likewise
    endpoint.tls.pins.push_back(*pin);
  }
  endpoint.tls.alpn = {"http/1.1"};
  if (!config.ca_file.empty() || endpoint.tls.pins.empty()) {
    BH_TRY(endpoint.tls.authorities, read_authorities(config.ca_file, /*instead=*/true, complaint));
  }
  if (!config.client_certificate_file.empty()) {
    BH_TRY(endpoint.identity, read_identity(config, complaint));
  }
  return endpoint;
}

void GatewayRoutes::add_client(const GatewayClientConfig& config, const proto::AccountNames& names) {
  GatewayClientClass made{.name = config.name,
                          .kind = config.kind,
                          .operations = EwsOperationList(config.operations),
                          .impersonation = config.impersonation};
  for (const std::string& account : config.accounts) {
    auto parsed = names.parse(account);
    if (!parsed) continue;
    made.accounts.push_back(parsed->text);
    std::string plain = proto::plain_letters(parsed->user()).value_or(std::string(parsed->user()));
    made.may_be.push_back({fmt::format("{}@{}", plain, parsed->domain())});
  }
  // What does not parse must not open the class to all.
  if (!config.accounts.empty() && made.accounts.empty()) made.accounts.emplace_back();
  for (const std::string& agent : config.user_agents) made.user_agents.push_back(ascii_lower(agent));
  clients_.push_back(std::move(made));
}

const GatewayRoute* GatewayRoutes::find(std::string_view authority) const {
  auto host = canonical_host(authority);
  if (!host) return nullptr;
  if (auto found = by_host_.find(*host); found != by_host_.end()) return found->second;
  size_t dot = host->find('.');
  if (dot == std::string::npos) return nullptr;
  auto found = by_parent_.find(std::string_view(*host).substr(dot + 1));
  return found == by_parent_.end() ? nullptr : found->second;
}

std::optional<GatewayRoutes::Server> GatewayRoutes::find_server(const GatewayEndpoint& from, const HostPort& server) const {
  const GatewayRoute& own = *routes_[from.route];
  if (from.leads_to(server)) return Server{&from, server, &own};
  for (const auto& route : routes_) {
    if (route->tenant != own.tenant) continue;
    const GatewayEndpoint* other = route->endpoint(from.kind);
    if (other && other->leads_to(server)) return Server{other, server, route.get()};
  }
  // The name that clients use: Exchange's own external URL.
  const GatewayRoute* outside = find(server.host);
  if (!outside || outside->tenant != own.tenant) return std::nullopt;
  const GatewayEndpoint* behind = outside->endpoint(from.kind);
  if (!behind) return std::nullopt;
  return Server{behind, behind->upstream, outside};
}

const GatewayClientClass& GatewayRoutes::client_class(bool is_bellhop, const std::optional<proto::Account>& account,
                                                      std::string_view user_agent) const {
  std::string agent = ascii_lower(user_agent);
  for (const GatewayClientClass& one : clients_) {
    if (one.kind == GatewayClientKind::bellhop && !is_bellhop) continue;
    bool named = one.accounts.empty() || (account && std::ranges::find(one.accounts, account->text) != one.accounts.end());
    if (named && matches_agent(one.user_agents, agent)) return one;
  }
  return clients_.back();
}

bool GatewayRoutes::others_allow(const GatewayClientClass& client, const proto::Account& account, bool certain,
                                 std::string_view user_agent, std::string_view operation, bool impersonates) const {
  if (std::ranges::all_of(clients_, [](const GatewayClientClass& one) { return one.may_be.empty(); })) return true;
  std::string agent = ascii_lower(user_agent);
  auto plain = proto::plain_letters(account.user());  // nothing: anybody
  auto may_be = [&](const proto::Account& other) {
    return (!certain || other.domain() == account.domain()) && (!plain || other.user() == *plain);
  };
  for (const GatewayClientClass& one : clients_) {
    if (&one == &client) break;
    if (one.kind == GatewayClientKind::bellhop) continue;  // nobody comes into it by a name
    bool named = std::ranges::find(one.accounts, account.text) != one.accounts.end();  // and is not in it, all the same
    if (named || !std::ranges::any_of(one.may_be, may_be) || !matches_agent(one.user_agents, agent)) continue;
    if (!one.operations.allows(operation) || (impersonates && !one.impersonation)) return false;
  }
  return true;
}

}  // namespace bellhop::service
