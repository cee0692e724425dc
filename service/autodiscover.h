// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/task.h"
#include "crypto/record.h"
#include "service/config.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/tenants.h"
#include "service/upstreams.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// Finds the EWS URL of a mailbox for a device that does not know it (docs/decisions/0011-autodiscover.md).
//
// Asked, with the credentials: DOMAIN, then autodiscover.DOMAIN, each first by SOAP, then by POX, over HTTPS. Then, without
// credentials, http://autodiscover.DOMAIN/autodiscover/autodiscover.xml, of whose answer a redirect to HTTPS counts. Last
// the hosts that DNS's SRV record _autodiscover._tcp.DOMAIN names, as the first two.
//
// Invariants:
//  1. credentials go to hosts of the tenant's lists only (ews_hosts, autodiscover_hosts), over verified TLS, to the very
//     address that was checked against the tenant's policy;
//  2. every redirect is judged anew, none is followed twice, and kRedirectsMax in all;
//  3. the first 401 ends the search: one wrong password costs one logon;
//  4. the URL that is found is one of Tenant::ews_url;
//  5. all of it ends by config.timeout_ms.
//
// Searches are made with user name and password. Records of other types are served by what is known of their domain.
//
// What a domain led to is kept: the URL in the store under a keyed hash of the domain (an address leaves nothing), a
// failure in memory for a while. A URL that an address of another domain led to is not kept: it is this mailbox's alone.
// One per core.
class Autodiscover {
 public:
  static constexpr int kRedirectsMax = 3;

  Autodiscover(const AutodiscoverConfig& config, const EwsConfig& ews, UpstreamRoutes routes, const Vault& vault,
               store::Store& store, MetricsShard& metrics, Log& log);
  ~Autodiscover();  // no search is under way
  Autodiscover(const Autodiscover&) = delete;
  Autodiscover& operator=(const Autodiscover&) = delete;

  struct Found {
    std::string url;
    bool cached = false;  // an earlier search found it: the mailbox may be elsewhere
  };
  using Reply = std::expected<Found, AutodiscoverResult>;

  // The credentials carry the mailbox's address. `cache_allowed`: what is known of the domain may be the answer.
  Task<Reply> find(const Tenant& tenant, const crypto::CredentialRecord& credentials, bool cache_allowed);
  // For searches that begin from now on, at a reload.
  void renew(UpstreamRoutes routes) { routes_ = std::move(routes); }
  // The mailbox is not at `url`: forgets that its domain led there.
  Task<void> forget(const Tenant& tenant, const crypto::CredentialRecord& credentials, std::string_view url);

 private:
  struct Failure {
    AutodiscoverResult result;
    Instant until;
  };
  Task<Reply> search(const Tenant& tenant, const crypto::CredentialRecord& credentials, const store::EwsUrlKey& key,
                     std::string_view domain);
  Task<std::string> cached_url(const Tenant& tenant, const store::EwsUrlKey& key);
  void note_failure(const store::EwsUrlKey& key, AutodiscoverResult result);
  const Failure* known_failure(const store::EwsUrlKey& key);
  void count(const Tenant& tenant, AutodiscoverResult result, Duration took);

  const AutodiscoverConfig& config_;
  const EwsConfig& ews_;
  UpstreamRoutes routes_;
  const Vault& vault_;
  store::Store& store_;
  MetricsShard& metrics_;
  Log& log_;
  std::map<store::EwsUrlKey, Failure> failures_;
  uint32_t searches_ = 0;
};

// The domain of an address, lower case; nothing where it is no address of a DNS domain.
std::optional<std::string> domain_of_address(std::string_view address);

}  // namespace bellhop::service
