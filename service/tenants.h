// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proto/address_policy.h"
#include "proto/url.h"
#include "service/config.h"

namespace bellhop::service {

// One tenant as the service uses it: the configuration, made ready.
struct Tenant {
  uint32_t number = 0;  // for bounds per tenant; the same after a reload, and no other tenant's while the process lives
  TenantConfig config;
  proto::HostAllowList ews_hosts;
  proto::HostAllowList token_hosts;
  proto::AddressPolicy addresses;
  proto::HostAllowList autodiscover_domains;
  proto::HostAllowList autodiscover_hosts;  // ews_hosts among them

  // The app that pushes to `topic` in `environment`; an empty topic is the tenant's only one. Null where there is none.
  const AppConfig* app(std::string_view topic, std::optional<ApnsEnvironment> environment) const;
  // https, a host of the allow-list, a permitted port, no address that the policy refuses. What DNS says is checked
  // when connecting (EwsClient). Errors: url, ServiceError::host_not_allowed.
  Result<proto::Url> ews_url(std::string_view text) const;
  // The same for a token endpoint, by the tenant's oauth_token_hosts and ports.
  Result<proto::Url> token_url(std::string_view text) const;
  // Devices may subscribe with OAuth.
  bool takes_oauth() const { return !config.oauth_token_hosts.empty(); }
  // The same for Autodiscover's own hosts, on `port` or a permitted one.
  Result<proto::Url> autodiscover_url(std::string_view text, uint16_t port) const;
};

// All tenants; immutable, used on every core.
class Tenants {
 public:
  // Errors: config (an allow-list entry or a CIDR that does not parse; the parser has refused it before).
  // `before`: the tenants that these take the place of. Who is in both keeps its number.
  static Result<Tenants> make(const Config& config, const Tenants* before = nullptr);
  Tenants() = default;
  Tenants(Tenants&&) = default;
  Tenants& operator=(Tenants&&) = default;
  const Tenant* find(std::string_view id) const;
  const std::vector<Tenant>& all() const { return tenants_; }

 private:
  std::vector<Tenant> tenants_;  // never changed once it is indexed
  std::unordered_map<std::string_view, const Tenant*> by_id_;
  uint32_t numbers_used_ = 0;
};

}  // namespace bellhop::service
