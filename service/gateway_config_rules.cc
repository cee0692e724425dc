// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_config_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/bytes.h"
#include "service/config_table.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kDefaultTenant = "default";

class GatewayRules {
 public:
  GatewayRules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
               std::vector<ConfigProblem>& problems)
      : config_(config), file_name_(file_name), positions_(positions), problems_(problems) {}

  void check() {
    check_roles();
    check_listener();
    check_domains();
    check_clients();
    check_logon();
    check_routes();
  }

 private:
  void check_roles() {
    for (size_t i = 0; i < config_.roles.size(); ++i) {
      auto here = config_.roles.begin() + static_cast<ptrdiff_t>(i);
      if (std::find(config_.roles.begin(), here, *here) == here) continue;
      problem({"roles"}, fmt::format("roles names \"{}\" twice; remove one", *here));
    }
    if (config_.is_gateway() && config_.gateway.routes.empty()) {
      problem({"roles"}, "roles names \"gateway\", and there is no [[gateway.route]]; add one with hosts and an endpoint");
    }
    if (config_.is_gateway()) return;
    // Names of accounts, classes of clients and the rest of [gateway] may stand ready; these two say that a gateway is to run.
    bool listens = positions_.contains("listen.gateway");
    if (!listens && config_.gateway.routes.empty()) return;
    problem({listens ? "listen.gateway" : "gateway.route[0]"},
            fmt::format("{} is of no use, for roles does not name \"gateway\" and no gateway runs; write roles = [\"public\", \"gateway\"] "
                        "at the top of the file, or [\"gateway\"] for a gateway alone; or remove the table",
                        listens ? "[listen.gateway]" : "[[gateway.route]]"));
  }

  // An address that two listeners name would be served by whichever the kernel picks.
  void check_listener() {
    if (!config_.is_gateway()) return;
    const std::vector<HostPort>& addresses = config_.listen_gateway.addresses;
    for (size_t i = 0; i < addresses.size(); ++i) {
      const HostPort& here = addresses[i];
      if (here.host.empty() || here.port == 0) continue;  // refused already, or the system chooses
      auto place = addresses.begin() + static_cast<ptrdiff_t>(i);
      bool twice = std::find(addresses.begin(), place, here) != place;
      bool on_public = config_.is_public() && std::ranges::find(config_.listen_public.addresses, here) != config_.listen_public.addresses.end();
      if (!twice && !on_public && here != config_.listen_admin.address) continue;
      std::string_view other = twice ? "itself" : on_public ? "listen.public.addresses" : "listen.admin.address";
      problem({"listen.gateway.addresses", "listen.gateway"},
              fmt::format("listen.gateway.addresses names {}, which {} names too; change one", to_text(here), other));
    }
    if (config_.listen_gateway.proxy_protocol == config_.listen_gateway.trusted_cidrs.empty()) {
      problem({"listen.gateway.proxy_protocol", "listen.gateway.trusted_cidrs"},
              "listen.gateway.proxy_protocol and trusted_cidrs belong together; write both or none");
    }
  }

  void check_domains() {
    std::map<std::string, std::string> seen;  // in lower case, to the domain that has it
    for (size_t i = 0; i < config_.gateway.domains.size(); ++i) {
      const GatewayDomainConfig& domain = config_.gateway.domains[i];
      std::string here = fmt::format("gateway.domain[{}]", i);
      std::vector<std::string> names = domain.aliases;
      names.push_back(domain.name);
      if (!domain.netbios.empty()) names.push_back(domain.netbios);
      for (const std::string& name : names) {
        if (name.empty() || seen.try_emplace(ascii_lower(name), domain.name).second) continue;
        problem({here + ".aliases", here + ".name", here},
                fmt::format("gateway.domain names \"{}\" for \"{}\", where it stands for \"{}\" already; an account would be two",
                            name, domain.name, seen[ascii_lower(name)]));
      }
    }
  }

  void check_logon() {
    const CertificatesConfig& certificates = config_.gateway.certificates;
    if (certificates.on() && (certificates.ca_file.empty() || certificates.user_domains.empty())) {
      problem({"gateway.certificates.logon"},
              "gateway.certificates.logon asks users for certificates, and nothing says whose are good; add ca_file and user_domains");
    }
    const KerberosConfig& kerberos = config_.gateway.kerberos;
    if (kerberos.on() == kerberos.principal.empty()) {
      problem({"gateway.kerberos.keytab_file", "gateway.kerberos.principal"},
              "gateway.kerberos.keytab_file and principal belong together; write both or none");
    }
  }

  void check_clients() {
    std::map<std::string_view, size_t> names;
    for (size_t i = 0; i < config_.gateway.clients.size(); ++i) {
      const GatewayClientConfig& client = config_.gateway.clients[i];
      std::string here = fmt::format("gateway.client[{}]", i);
      if (!client.name.empty() && !names.try_emplace(client.name, i).second) {
        problem({here + ".name"}, fmt::format("gateway.client.name \"{}\" is taken by the [[gateway.client]] in line {}; choose another",
                                              client.name, at({fmt::format("gateway.client[{}]", names[client.name])}).line));
      }
      if (client.impersonation && client.accounts.empty() && client.kind == GatewayClientKind::any) {
        problem({here + ".impersonation"},
                "gateway.client.impersonation would let every account act for others; name the accounts of the class");
      }
    }
  }

  void check_routes() {
    std::map<std::string_view, size_t> hosts;
    for (size_t i = 0; i < config_.gateway.routes.size(); ++i) {
      const GatewayRouteConfig& route = config_.gateway.routes[i];
      std::string here = fmt::format("gateway.route[{}]", i);
      for (const std::string& host : route.hosts) {
        if (hosts.try_emplace(host, i).second) continue;
        problem({here + ".hosts"}, fmt::format("gateway.route.hosts names \"{}\", which the [[gateway.route]] in line {} names too; "
                                               "remove one", host, at({fmt::format("gateway.route[{}]", hosts[host])}).line));
      }
      bool endpoint = positions_.contains(here + ".ews") || positions_.contains(here + ".activesync");
      if (!endpoint) {
        problem({here}, "[[gateway.route]] leads nowhere; add [gateway.route.ews] or [gateway.route.activesync] with an upstream");
      }
      check_tenant(route, here);
      check_endpoint(route.ews, here + ".ews", "gateway.route.ews");
      check_endpoint(route.activesync, here + ".activesync", "gateway.route.activesync");
    }
  }

  void check_tenant(const GatewayRouteConfig& route, const std::string& here) {
    if (route.tenant.empty() && config_.tenants.size() > 1) {
      problem({here}, "[[gateway.route]] names no tenant, and there are several; add for example tenant = \"" +
                          config_.tenants.front().id + "\"");
    }
    bool known = std::ranges::find(config_.tenants, route.tenant, &TenantConfig::id) != config_.tenants.end();
    if (!route.tenant.empty() && !config_.tenants.empty() && !known) {
      problem({here + ".tenant"}, fmt::format("gateway.route.tenant \"{}\" names no [[tenant]]; add one with this id, or correct it",
                                              route.tenant));
    }
  }

  void check_endpoint(const GatewayEndpointConfig& endpoint, const std::string& here, std::string_view name) {
    if (endpoint.client_certificate_file.empty() != endpoint.client_private_key_file.empty()) {
      problem({here + ".client_certificate_file", here + ".client_private_key_file"},
              fmt::format("{}.client_certificate_file and client_private_key_file belong together; write both or none", name));
    }
    if (endpoint.logon == GatewayLogon::kerberos && endpoint.share_connections) {
      problem({here + ".share_connections"},
              fmt::format("{}.share_connections cannot go with logon = \"kerberos\", whose connections are one user's; remove it", name));
    }
    bool by_kerberos = endpoint.logon == GatewayLogon::kerberos;
    if (by_kerberos && (!config_.gateway.certificates.on() || !config_.gateway.kerberos.on())) {
      problem({here + ".logon"}, fmt::format("{}.logon is \"kerberos\", for users who show a certificate; add [gateway.certificates] with "
                                             "logon and [gateway.kerberos] with keytab_file", name));
    }
    if (endpoint.answer_timeout_ms > endpoint.parked_answer_timeout_ms) {
      problem({here + ".answer_timeout_ms", here + ".parked_answer_timeout_ms"},
              fmt::format("{0}.answer_timeout_ms ({1}) is above {0}.parked_answer_timeout_ms ({2}); lower the first or raise the second",
                          name, endpoint.answer_timeout_ms, endpoint.parked_answer_timeout_ms));
    }
  }

  // Of the first key that the file holds.
  ConfigPosition at(std::initializer_list<std::string_view> keys) const {
    for (std::string_view key : keys) {
      auto found = positions_.find(key);
      if (found != positions_.end()) return found->second;
    }
    return {};
  }
  void problem(std::initializer_list<std::string_view> keys, std::string message) {
    problems_.push_back({std::string(file_name_), at(keys), std::move(message)});
  }

  const Config& config_;
  std::string_view file_name_;
  const ConfigPositions& positions_;
  std::vector<ConfigProblem>& problems_;
};

}  // namespace

void check_gateway_rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                         std::vector<ConfigProblem>& problems) {
  GatewayRules(config, file_name, positions, problems).check();
}

std::string_view tenant_of(const Config& config, const GatewayRouteConfig& route) {
  if (!route.tenant.empty()) return route.tenant;
  return config.tenants.empty() ? kDefaultTenant : std::string_view(config.tenants.front().id);
}

}  // namespace bellhop::service
