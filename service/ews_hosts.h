// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "crypto/hash.h"
#include "proto/url.h"
#include "service/circuit_breaker.h"
#include "service/config.h"
#include "service/ews_answer.h"
#include "service/http1_client.h"
#include "service/retry_budget.h"
#include "service/tenants.h"
#include "service/upstreams.h"
#include "store/ids.h"

namespace bellhop::service {

// The connections that the certificate of one mailbox's user logged on: no other request goes over them. Its TLS context,
// and so its sessions, are its own; the key is in no connection once the handshake is over. One core.
struct EwsIdentity {
  EwsIdentity(const Http1Pool& host, const Http1ClientOptions& options);
  Http1Pool pool;
  size_t users = 0;
  Instant last_used{};
};
// Mailbox and certificate.
using EwsIdentityName = crypto::Digest;
EwsIdentityName identity_name(store::MailboxNumber mailbox, const TlsIdentity& identity);

struct EwsHost;

// The pool that a request goes to, held in its place. Outlives the request's lease.
class EwsPoolUse {
 public:
  EwsPoolUse(Http1Pool& pool, EwsIdentity* identity);
  EwsPoolUse(EwsPoolUse&& other) noexcept
      : pool_(other.pool_), identity_(std::exchange(other.identity_, nullptr)) {}
  EwsPoolUse& operator=(EwsPoolUse&&) = delete;
  ~EwsPoolUse();
  Http1Pool& pool() const { return *pool_; }

 private:
  Http1Pool* pool_;
  EwsIdentity* identity_;
};

// What is known of one Exchange host of one tenant: its connections, who waits for them, whether it asked to wait, and
// its breaker. Nothing of it is shared with another tenant, though the host may be the same. One core.
struct EwsHost {
  EwsHost(const Tenant& tenant, const proto::Url& url, const Http1ClientOptions& options, const EwsConfig& config,
          UpstreamRoutes& routes);

  // At a reload; what is known of the host's health stays.
  void renew(const Tenant& tenant, UpstreamRoutes& routes);
  // Why no request may be sent now: a back-off that has not ended, or the breaker. Does not admit.
  std::optional<EwsTrouble> refusal(Instant now) const;
  void back_off(Instant now, Duration duration);
  // Where a request of this name goes (null: one without a certificate). The caller holds a permit of in_flight, so that
  // there is room: idle connections of others give way, and the identity that was not used for the longest.
  Task<EwsPoolUse> use(const EwsIdentityName* name);
  // Connections that are open, all pools together.
  size_t open_connections() const;
  // Closes idle connections. No request may be under way.
  Task<void> close();

  proto::AddressPolicy addresses;  // the tenant's; a copy, for the host outlives the generation of its tenant
  const std::optional<HostPort> via;  // the gateway that its requests go through; its address is the operator's choice
  Http1Pool pool;           // of requests without a certificate
  std::map<EwsIdentityName, std::unique_ptr<EwsIdentity>> identities;
  Semaphore in_flight;      // requests on their way
  CircuitBreaker breaker;
  RetryBudget retries;
  size_t waiting = 0;       // requests that wait for their mailbox or for in_flight
  size_t users = 0;         // requests that hold a reference
  Instant back_off_until{};
  Instant last_used{};
  proto::ExchangeProduct product = proto::ExchangeProduct::unknown;  // that answered last
  bool no_previews = false;  // it is older than item:Preview

 private:
  Http1Origin origin_of(const proto::Url& url) const;
  std::unique_ptr<EwsIdentity> take_unused_identity();
  void make_room(Http1Pool& wanted);
  Task<void> sweep();

  const size_t connections_max_;
  const Http1ClientOptions identity_options_;
  TaskScope sweeping_{nullptr};
};

// How a host stands, for operators. `host` is of the configuration or within its allow-list.
struct EwsHostState {
  uint32_t tenant = 0;  // its number
  std::string host;
  uint16_t port = 0;
  size_t connections = 0;  // in use and idle
  size_t waiting = 0;
  CircuitBreaker::State breaker = CircuitBreaker::State::closed;
  Duration open_for{};      // of the breaker, from now; 0 where it is not open
  Duration back_off_for{};  // that the host asked for, from now; 0 where it has ended
  proto::ExchangeProduct product = proto::ExchangeProduct::unknown;
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

  EwsHosts(const EwsConfig& config, const Http1ClientOptions& options, UpstreamRoutes routes)
      : config_(config), options_(options), routes_(std::move(routes)) {}

  // The host, made where it is new; nothing where all kHostsMax are busy. Awaits the end of one that made room.
  Task<std::optional<EwsHostUse>> use(const Tenant& tenant, const proto::Url& url);
  // The host where it is in use or was lately; null else.
  EwsHost* find(const Tenant& tenant, const proto::Url& url) const;
  // At a reload, where the authorities or a tenant's networks are others than before: connections made from now on obey
  // them. A host whose tenant is gone keeps what it has until it makes room.
  void renew(UpstreamRoutes routes, const Tenants& tenants);
  // Closes idle connections of all. No request may be under way.
  Task<void> close();
  size_t size() const { return hosts_.size(); }
  std::vector<EwsHostState> states(Instant now) const;

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
  UpstreamRoutes routes_;
  std::map<Key, std::unique_ptr<EwsHost>> hosts_;
  // Networks of the tenants, by number, as of the last renew(): a request may come with a tenant of before.
  std::map<uint32_t, proto::AddressPolicy> newest_;
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
