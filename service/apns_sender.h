// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/task.h"
#include "proto/apns.h"
#include "proto/apns_answer.h"
#include "service/apns_certificates.h"
#include "service/config.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/upstreams.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// Provider tokens (JWT, ES256), one per team and key, shared by all cores: signed on one of them, refreshed every
// token_refresh_minutes (never more often than Apple's 20, but for one forced refresh after ExpiredProviderToken),
// kept sealed in the store's `meta` across restarts, so that a restart does not count as a refresh. Beside them the
// certificates of apps that have one instead of a key. Thread-safe.
//
// Keys and certificates are replaced while pushes go on, in two steps: prepare() reads and judges all files, commit()
// cannot fail. A key that did not change keeps its token. Pushes on their way end with what they began with; a route whose
// certificate changed gets new connections, and the old ones end when their pushes have. What left the configuration
// still serves pushes that began before: a key for a minute, a certificate until the commit after.
class ApnsProviderTokens {
 public:
  // Reads the .p8 files and certificates of all apps. Errors: os, crypto, tls; `complaint` names the file and what to do.
  static Result<std::unique_ptr<ApnsProviderTokens>> make(const Config& config, store::Store& store, const Vault& vault,
                                                          std::string& complaint);
  ~ApnsProviderTokens();

  class Replacement;
  using Prepared = std::shared_ptr<Replacement>;
  // Reads files, which blocks. Changes nothing. Errors: as make(). `config` is not kept.
  static Result<Prepared> prepare(const Config& config, std::string& complaint);
  // From any core.
  void commit(Prepared prepared);

  const ApnsCertificates& certificates() const;
  // Of all tokens that were signed or read from the store.
  struct Age {
    std::string team_id, key_id;
    Duration age{};
  };
  std::vector<Age> ages() const;

  struct Token {
    std::string text;  // the caller wipes it
    bool signed_now = false;
  };
  // The current token, where none has to be made first: it is fresh, or another core refreshes it at this moment and it
  // is still good for a while. Never waits.
  std::optional<std::string> current(const AppConfig& app) const;
  // A valid token, read from the store or signed where needed, on core 0, one at a time for each key; the others wait.
  // Not cut short by a stop. What cannot be read or stored costs a refresh after the next start, no more.
  // Errors: crypto (key_unknown: the app's key left the configuration, and not just now).
  Task<Result<Token>> token(const AppConfig& app);
  // APNs said ExpiredProviderToken to `used`. Where that is the current one, the next token() signs anew, whatever its
  // age by our clock, but not twice within Apple's 20 minutes.
  void expired(const AppConfig& app, std::string_view used);
  // Tokens signed since the start.
  uint64_t signed_count() const;

 private:
  struct Impl;
  explicit ApnsProviderTokens(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct ApnsPush {
  const AppConfig* app = nullptr;
  std::string_view device_token;  // hex
  std::string_view payload;       // JSON
  std::string_view collapse_id;
  proto::ApnsPushType push_type = proto::ApnsPushType::alert;
  proto::ApnsPriority priority = proto::ApnsPriority::immediate;
  int64_t expiration_unix_s = 0;
  bool proven = false;       // false: goes over the connection for tokens that no push has proven yet
  WallTime registered_at{};  // when the device gave us the token
};

struct ApnsResult {
  // delivered, drop_payload, token_gone, route_broken as APNs said; retry: the deadline or the attempts ran out.
  proto::ApnsVerdict verdict = proto::ApnsVerdict::retry;
  proto::ApnsReason reason = proto::ApnsReason::none;
  uint16_t status = 0;
};

struct ApnsRouteState;

// APNs over HTTP/2 for one core. Connections are kept per (team key or certificate, environment, proven or not): one team
// per connection, tokens that are not yet proven cannot hurt the others. With a certificate no provider token is sent; one
// that is out of its dates, or that APNs does not take, fails its own pushes (route_broken, BadCertificate). Streams are multiplexed up to what APNs allows;
// until a push has been accepted with the token, one at a time. Streams that were refused or lost by GOAWAY are sent
// again, as are those lost with the connection (the collapse id merges what was taken twice); retries wait 0.2 … 2 s
// with jitter inside the caller's deadline. Reconnects are at least 1 s apart, doubling. Owned by the core.
class ApnsSender {
 public:
  ApnsSender(const ApnsConfig& config, ApnsProviderTokens& tokens, UpstreamRoutes routes, MetricsShard& metrics,
             Log& log);
  ~ApnsSender();
  ApnsSender(const ApnsSender&) = delete;
  ApnsSender& operator=(const ApnsSender&) = delete;

  // Ends with a verdict at the latest at `deadline`. Views in `push` outlive the task. Stopped early: retry.
  Task<ApnsResult> push(const ApnsPush& push, Instant deadline);
  // The routes that were used since the start, for operators.
  std::vector<ApnsRouteState> routes() const;
  // At a reload: pushes from now on go this way; connections made before end when their streams did.
  void renew(UpstreamRoutes routes);
  // At a reload: certificates as they are now. Connections that no app of the configuration needs any more end when
  // their pushes have.
  void take_up(const Config& config);
  // GOAWAY to ourselves: no new pushes, connections end when their streams did. Awaits it.
  Task<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bellhop::service
