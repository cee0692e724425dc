// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/intrusive_list.h"
#include "core/sync.h"
#include "core/task.h"
#include "service/apns_connection.h"
#include "service/apns_sender.h"
#include "service/config.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/retry_budget.h"
#include "service/upstreams.h"

namespace bellhop::service {

// What may share a connection: Apple wants one team on each, and tokens that no push has proven yet stay among
// themselves, so that a peer that punishes bad tokens punishes only those.
struct ApnsRouteName {
  std::string team_id;
  std::string key_id;
  std::string certificate;  // file, instead of the two
  ApnsEnvironment environment = ApnsEnvironment::production;
  bool proven = false;
  friend auto operator<=>(const ApnsRouteName&, const ApnsRouteName&) = default;
};

// How the way to APNs for one key stands, for operators.
struct ApnsRouteState {
  ApnsRouteName name;
  size_t connections = 0;
  uint32_t free_streams = 0;
  size_t waiting = 0;  // pushes
};

// What the routes of one core have in common. Owned by the sender.
struct ApnsRouteParts {
  const ApnsConfig& config;
  const ApnsProviderTokens& tokens;
  UpstreamRoutes routes;
  MetricsShard& metrics;
  Log& log;
  TaskScope& scope;    // connections run here
  uint64_t ways = 0;   // counts replacements of `routes`
  size_t waiting = 0;  // pushes that wait for a stream, all routes
};

// The connections of one route and the pushes that wait for a stream on them. Connections are made when a push needs
// one, at least apns.reconnect_first_ms apart, and twice as far after each one on which no push was accepted. A
// connection that APNs said GOAWAY on finishes beside its successor. Waiting pushes are served in their order; at most
// half of apns.requests_waiting_max wait on one route, so that one that is stuck leaves room for the others. One core.
class ApnsRoute final : public ApnsConnection::Owner {
 public:
  // A stream that is kept free for one push; given back when it dies unused.
  class Slot {
   public:
    Slot() = default;
    Slot(ApnsRoute* route, std::shared_ptr<ApnsConnection> connection);
    Slot(Slot&& other) noexcept { *this = std::move(other); }
    Slot& operator=(Slot&& other) noexcept {
      std::swap(route_, other.route_);
      std::swap(connection_, other.connection_);
      return *this;
    }
    ~Slot();
    // The connection; to be followed by ApnsConnection::send() before anything else is awaited.
    std::shared_ptr<ApnsConnection> use() { return std::move(connection_); }

   private:
    ApnsRoute* route_ = nullptr;
    std::shared_ptr<ApnsConnection> connection_;
  };

  ApnsRoute(ApnsRouteName name, ApnsRouteParts& parts);
  ApnsRoute(const ApnsRoute&) = delete;
  ApnsRoute& operator=(const ApnsRoute&) = delete;

  // Waits for a stream. Errors: canceled, CoreError::limit (too many wait), closed (after close()); and of the route's
  // certificate: tls own_certificate_*, peer_alert (APNs does not take it).
  Task<Result<Slot>> acquire();
  // Takes up the certificate as it is now: another one gets new connections, and of the old one nothing is kept. Without
  // effect where the route has none. Errors: closed (no app has it any more).
  Status take_up_certificate();
  // The next push gets a new connection; those that are open end when their streams have.
  void retire_connections();
  // The ways are others (ApnsRouteParts::routes): pushes from now on go by connections that are made by them.
  void renew_ways();
  // Nothing new: waiting pushes fail, connections end when their streams have.
  void close();

  RetryBudget retries;
  AdaptiveThrottle throttle;

  const ApnsRouteName& name() const { return name_; }
  size_t connections() const { return connections_.size(); }
  uint32_t free_streams() const;  // of all connections, now
  size_t waiting() const { return waiting_count_; }
  const HostPort& host() const;
  const std::string& authority() const { return authority_; }  // for the requests

 private:
  struct Waiting : ListLink {
    Event decided;
    Slot slot;
    std::optional<Error> failed;
  };

  void on_connection_changed() override;
  void on_token_accepted() override;
  void on_goaway(const proto::Http2GoAway& goaway, const proto::ApnsAnswer& why) override;
  std::shared_ptr<ApnsConnection> connection_with_free_stream() const;
  bool wants_connection() const;
  void grant();
  Task<void> connect_and_serve();
  Task<std::shared_ptr<ApnsConnection>> connect_when_due();
  Task<void> serve(std::shared_ptr<ApnsConnection> connection);
  Status check_certificate();
  void note_refusal(const Error& error);
  void fail_waiting(const Error& error);

  const ApnsRouteName name_;
  ApnsRouteParts& parts_;
  std::string authority_;
  std::shared_ptr<const ApnsCertificate> certificate_;  // of connections from now on
  uint64_t certificate_version_ = 0;  // of all certificates, when it was found
  std::shared_ptr<TlsContext> tls_;  // with a certificate: its own
  std::optional<Error> refused_;  // APNs did not take the certificate
  Instant refused_until_{};       // when another connection tries
  std::vector<std::shared_ptr<ApnsConnection>> connections_;
  IntrusiveList<Waiting> waiting_;
  size_t waiting_count_ = 0;
  bool connecting_ = false;
  bool closed_ = false;
  Duration reconnect_wait_;
  Instant connect_not_before_{};
};

}  // namespace bellhop::service
