// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>
#include <string_view>

#include "core/task.h"
#include "crypto/secret.h"
#include "proto/oauth.h"
#include "service/config.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/tenants.h"
#include "service/upstreams.h"

namespace bellhop::service {

// A lifetime that the token endpoint did not tell.
inline constexpr Duration kTokenLifetimeDefault = std::chrono::minutes(5);

// What is asked of a token endpoint. Views outlive the call.
struct GrantRequest {
  const Tenant* tenant = nullptr;
  std::string_view endpoint;  // as the device wrote it; judged by Tenant::token_url
  std::string_view client_id;
  std::string_view scope;
  std::string_view claims;  // JSON, see proto::BearerChallenge; empty: none
  const crypto::Secret* refresh_token = nullptr;
};

struct Granted {
  crypto::Secret access_token;
  crypto::Secret refresh_token;  // that takes the place of the one in the request; empty: that one stays
  Duration lifetime{};
};

// Why there is no token, in the groups that the service acts on.
enum class GrantFailureKind : uint8_t {
  refused,      // the endpoint will not take this refresh token: the logon rule
  not_allowed,  // host or address are not the tenant's (SSRF rules)
  throttled,    // retry_after says how long
  unavailable,  // connect, TLS, timeout, 5xx, breaker, queue
  garbage,      // a redirect, HTML, too much, a grant that is none
};
struct GrantFailure {
  GrantFailureKind kind = GrantFailureKind::unavailable;
  Error error;  // for the log
  // The endpoint may have taken the refresh token and given another that never arrived.
  bool maybe_spent = false;
  Duration retry_after{};  // throttled
};
using GrantReply = std::expected<Granted, GrantFailure>;

// Refresh grants over HTTPS/1.1 for one core. Every grant has a connection of its own: a request that went out on a
// kept connection and met its end cannot be told from one that was served, and a refresh token must not be presented
// twice. Names are resolved for each connection, every address must satisfy the tenant's policy, and the connection
// goes to the address that was checked. No redirects. Requests, waiting ones and failures are bounded per host. Owned
// by the core; joined by close().
class TokenClient {
 public:
  static constexpr size_t kHostsMax = 256;  // that are remembered

  TokenClient(const OauthConfig& config, const EwsConfig& breaker, UpstreamRoutes routes, MetricsShard& metrics,
              Log& log);
  ~TokenClient();
  TokenClient(const TokenClient&) = delete;
  TokenClient& operator=(const TokenClient&) = delete;

  // One grant, within config.grant_timeout_ms. A stop of the caller does not cut it short: what the endpoint gives
  // must be kept.
  Task<GrantReply> refresh(const GrantRequest& request);
  // For grants that begin from now on, at a reload.
  void renew(UpstreamRoutes routes);
  // Refuses new grants and awaits those under way.
  Task<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bellhop::service
