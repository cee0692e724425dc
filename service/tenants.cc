// SPDX-License-Identifier: Apache-2.0
#include "service/tenants.h"

#include <algorithm>

#include "service/cidrs.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

Result<proto::Url> listed_url(std::string_view text, const proto::HostAllowList& hosts,
                              const std::vector<uint16_t>& ports, const proto::AddressPolicy& addresses,
                              ServiceError refusal) {
  BH_TRY(proto::Url url, proto::Url::parse(text));
  bool port_listed = std::ranges::find(ports, url.port) != ports.end();
  bool address_fine = !url.ip || addresses.allows(*url.ip);
  if (!hosts.matches(url.host) || !port_listed || !address_fine) return fail(service_error(refusal));
  return url;
}

}  // namespace

const AppConfig* Tenant::app(std::string_view topic, std::optional<ApnsEnvironment> environment) const {
  const AppConfig* found = nullptr;
  for (const AppConfig& app : config.apps) {
    if (!topic.empty() && app.topic != topic) continue;
    if (environment && app.environment != *environment) continue;
    if (found) return nullptr;  // the device must say which one
    found = &app;
  }
  return found;
}

Result<proto::Url> Tenant::ews_url(std::string_view text) const {
  return listed_url(text, ews_hosts, config.ews_ports, addresses, ServiceError::host_not_allowed);
}

Result<proto::Url> Tenant::token_url(std::string_view text) const {
  return listed_url(text, token_hosts, config.oauth_token_ports, addresses, ServiceError::token_host_not_allowed);
}

Result<proto::Url> Tenant::autodiscover_url(std::string_view text, uint16_t port) const {
  BH_TRY(proto::Url url, proto::Url::parse(text));
  bool port_fine = url.port == port || std::ranges::find(config.ews_ports, url.port) != config.ews_ports.end();
  bool address_fine = !url.ip || addresses.allows(*url.ip);
  if (!autodiscover_hosts.matches(url.host) || !port_fine || !address_fine) {
    return fail(service_error(ServiceError::host_not_allowed));
  }
  return url;
}

Result<Tenants> Tenants::make(const Config& config, const Tenants* before) {
  Tenants tenants;
  if (before) tenants.numbers_used_ = before->numbers_used_;
  for (const TenantConfig& from : config.tenants) {
    Tenant& tenant = tenants.tenants_.emplace_back();
    const Tenant* known = before ? before->find(from.id) : nullptr;
    tenant.number = known ? known->number : tenants.numbers_used_++;
    tenant.config = from;
    for (const std::string& host : from.ews_hosts) {
      BH_CHECKED(tenant.ews_hosts.add(host));
      BH_CHECKED(tenant.autodiscover_hosts.add(host));
    }
    for (const std::string& host : from.oauth_token_hosts) BH_CHECKED(tenant.token_hosts.add(host));
    for (const std::string& host : from.autodiscover_hosts) BH_CHECKED(tenant.autodiscover_hosts.add(host));
    for (const std::string& domain : from.autodiscover_domains) BH_CHECKED(tenant.autodiscover_domains.add(domain));
    for (const Cidr& block : from.ews_private_cidrs) BH_CHECKED(tenant.addresses.permit(to_proto(block)));
  }
  for (const Tenant& tenant : tenants.tenants_) tenants.by_id_.emplace(tenant.config.id, &tenant);
  return tenants;
}

const Tenant* Tenants::find(std::string_view id) const {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

}  // namespace bellhop::service
