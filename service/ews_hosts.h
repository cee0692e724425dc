// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/sync.h"
#include "core/task.h"
#include "proto/url.h"
#include "service/circuit_breaker.h"
#include "service/config.h"
#include "service/ews_answer.h"
#include "service/http1_client.h"
#include "service/tenants.h"
#include "store/ids.h"

namespace bellhop::service {

// What is known of one Exchange host of one tenant: its connections, who waits for them, whether it asked to wait, and
// its breaker. Nothing of it is shared with another tenant, though the host may be the same. One core.
struct EwsHost {
  EwsHost(const Tenant& tenant, const proto::Url& url, const Http1ClientOptions& options, const EwsConfig& config,
          std::shared_ptr<TlsContext> tls);

  // At a reload; what is known of the host's health stays.
  void renew(const Tenant& tenant, std::shared_ptr<TlsContext> tls);
  // Why no request may be sent now: a back-off that has not ended, or the breaker. Does not admit.
  std::optional<EwsTrouble> refusal(Instant now) const;
  void back_off(Instant now, Duration duration);

  proto::AddressPolicy addresses;  // the tenant's; a copy, for the host outlives the generation of its tenant
  Http1Pool pool;
  Semaphore in_flight;      // requests on their way
  CircuitBreaker breaker;
  size_t waiting = 0;       // requests that wait for their mailbox or for in_flight
  size_t users = 0;         // requests that hold a reference
  Instant back_off_until{};
  Instant last_used{};
  proto::ExchangeProduct product = proto::ExchangeProduct::unknown;  // that answered last
  bool no_previews = false;  // it is older than item:Preview
};

// Holds a host in its place.
class EwsHostUse {
 public:
  explicit EwsHostUse(EwsHost& host) : host_(&host) { ++host_->users; }
  EwsHostUse(EwsHostUse&& other) noexcept : host_(std::exchange(other.host_, nullptr)) {}
  EwsHostUse& operator=(EwsHostUse&&) = delete;
  ~EwsHostUse() {
    if (host_) --host_->users;
  }
  EwsHost& operator*() const { return *host_; }

 private:
  EwsHost* host_;
};

// The hosts in use. Devices name hosts (within the allow-list, where a suffix stands for any number of them), so their
// number is bounded: the one that was not used for the longest makes room.
class EwsHosts {
 public:
  static constexpr size_t kHostsMax = 1024;

  EwsHosts(const EwsConfig& config, const Http1ClientOptions& options, std::shared_ptr<TlsContext> tls)
      : config_(config), options_(options), tls_(std::move(tls)) {}

  // The host, made where it is new; nothing where all kHostsMax are busy. Awaits the end of one that made room.
  Task<std::optional<EwsHostUse>> use(const Tenant& tenant, const proto::Url& url);
  // The host where it is in use or was lately; null else.
  EwsHost* find(const Tenant& tenant, const proto::Url& url) const;
  // At a reload, where the authorities or a tenant's networks are others than before: connections made from now on obey
  // them. A host whose tenant is gone keeps what it has until it makes room.
  void renew(std::shared_ptr<TlsContext> tls, const Tenants& tenants);
  // Closes idle connections of all. No request may be under way.
  Task<void> close();
  size_t size() const { return hosts_.size(); }

 private:
  struct Key {
    uint32_t tenant;
    std::string host;
    uint16_t port;
    auto operator<=>(const Key&) const = default;
  };
  std::unique_ptr<EwsHost> take_unused();

  const EwsConfig& config_;
  const Http1ClientOptions& options_;
  std::shared_ptr<TlsContext> tls_;
  std::map<Key, std::unique_ptr<EwsHost>> hosts_;
};

// Requests at once for one mailbox. An entry exists while somebody holds or awaits its permit.
class EwsMailboxes {
 public:
  explicit EwsMailboxes(size_t requests_max) : requests_max_(requests_max) {}

  class Use {
   public:
    Use(EwsMailboxes& all, uint32_t tenant, store::MailboxNumber mailbox);
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();
    Semaphore& requests() { return place_->second.requests; }

   private:
    friend EwsMailboxes;
    struct Entry {
      explicit Entry(size_t max) : requests(max) {}
      Semaphore requests;
      size_t users = 0;
    };
    using Map = std::map<std::pair<uint32_t, store::MailboxNumber>, Entry>;
    EwsMailboxes& all_;
    Map::iterator place_;
  };
  size_t size() const { return entries_.size(); }

 private:
  size_t requests_max_;
  Use::Map entries_;
};

}  // namespace bellhop::service
