// SPDX-License-Identifier: Apache-2.0
#include "service/token_client.h"

#include <compare>
#include <map>
#include <string>

#include "core/io.h"
#include "core/sleep.h"
#include "core/sync.h"
#include "service/circuit_breaker.h"
#include "service/error_texts.h"
#include "service/grant_answer.h"
#include "service/http1_client.h"

namespace bellhop::service {
namespace {

// A request body. It holds a refresh token.
struct FormText {
  std::string text;
  FormText() = default;
  FormText(const FormText&) = delete;
  FormText& operator=(const FormText&) = delete;
  ~FormText() { wipe(text); }
};

GrantTrouble refused_here(GrantFailureKind kind, GrantResult result, Error error, Duration retry_after = {}) {
  GrantTrouble made;
  made.failure = {.kind = kind, .error = error, .maybe_spent = false, .retry_after = retry_after};
  made.result = result;
  return made;
}

// What is known of one token host of one tenant.
struct TokenHost {
  TokenHost(const OauthConfig& config, const EwsConfig& limits)
      : in_flight(config.requests_per_host_in_flight_max),
        breaker(limits.breaker_failure_percent, limits.breaker_window_requests,
                std::chrono::milliseconds(limits.breaker_open_ms)) {}

  std::optional<GrantTrouble> refusal(Instant now) const {
    if (now < back_off_until) {
      return refused_here(GrantFailureKind::throttled, GrantResult::throttled,
                          service_error(ServiceError::token_endpoint_failed), back_off_until - now);
    }
    if (breaker.refuses(now)) {
      return refused_here(GrantFailureKind::unavailable, GrantResult::breaker_open,
                          service_error(ServiceError::breaker_open));
    }
    return std::nullopt;
  }

  Semaphore in_flight;
  CircuitBreaker breaker;
  size_t waiting = 0;
  size_t users = 0;
  Instant back_off_until{};
  Instant last_used{};
};

}  // namespace

struct TokenClient::Impl {
  using Outcome = std::expected<Granted, GrantTrouble>;
  struct Key {
    uint32_t tenant;
    std::string host;
    uint16_t port;
    auto operator<=>(const Key&) const = default;
  };
  // Holds a host in its place, and counts the grants under way.
  struct Use {
    Use(Impl& i, TokenHost& h) : impl(i), host(h) {
      ++impl.requests;
      ++host.users;
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      --host.users;
      if (--impl.requests == 0) impl.no_requests.set();
    }
    Impl& impl;
    TokenHost& host;
  };

  Impl(const OauthConfig& c, const EwsConfig& e, UpstreamRoutes r, MetricsShard& m, Log& l)
      : config(c),
        limits(e),
        routes(std::move(r)),
        metrics(m),
        log(l),
        options{.connections_max = 1,
                .connect_timeout = std::chrono::milliseconds(c.grant_timeout_ms),
                .handshake_timeout = std::chrono::milliseconds(c.grant_timeout_ms),
                .body_bytes_max = c.answer_bytes_max,
                .metrics = &m,
                .kind = ConnectionKind::token} {}

  TokenHost* host_of(const Tenant& tenant, const proto::Url& url);
  Task<Outcome> run(const GrantRequest& request, const proto::Url& url);
  Task<Outcome> attempt(const GrantRequest& request, const proto::Url& url);
  void settle(TokenHost& host, const Outcome& outcome);
  void note(const GrantRequest& request, std::string_view host, const Outcome& outcome, Duration took);

  const OauthConfig config;
  const EwsConfig limits;
  UpstreamRoutes routes;
  MetricsShard& metrics;
  Log& log;
  const Http1ClientOptions options;
  std::map<Key, TokenHost> hosts;
  size_t requests = 0;
  Event no_requests;
  bool closing = false;
};

TokenClient::TokenClient(const OauthConfig& config, const EwsConfig& breaker, UpstreamRoutes routes,
                         MetricsShard& metrics, Log& log)
    : impl_(std::make_unique<Impl>(config, breaker, std::move(routes), metrics, log)) {}

void TokenClient::renew(UpstreamRoutes routes) { impl_->routes = std::move(routes); }

TokenClient::~TokenClient() {
  BH_CHECK(impl_->requests == 0);
}

// Devices name hosts within the allow-list, where a suffix stands for any number: the longest unused makes room.
TokenHost* TokenClient::Impl::host_of(const Tenant& tenant, const proto::Url& url) {
  Key key{tenant.number, url.host, url.port};
  auto place = hosts.find(key);
  if (place == hosts.end() && hosts.size() >= kHostsMax) {
    auto oldest = hosts.end();
    for (auto at = hosts.begin(); at != hosts.end(); ++at) {
      bool older = oldest == hosts.end() || at->second.last_used < oldest->second.last_used;
      if (at->second.users == 0 && older) oldest = at;
    }
    if (oldest == hosts.end()) return nullptr;
    hosts.erase(oldest);
  }
  if (place == hosts.end()) {
    place = hosts
                .emplace(std::piecewise_construct, std::forward_as_tuple(std::move(key)),
                         std::forward_as_tuple(config, limits))
                .first;
  }
  place->second.last_used = io::now();
  return &place->second;
}

Task<GrantReply> TokenClient::refresh(const GrantRequest& request) {
  Instant start = io::now();
  Result<proto::Url> url = request.tenant->token_url(request.endpoint);
  Impl::Outcome outcome;
  if (impl_->closing) {
    outcome = std::unexpected(refused_here(GrantFailureKind::unavailable, GrantResult::connect_failed,
                                           service_error(ServiceError::draining)));
  } else if (!url) {
    outcome = std::unexpected(refused_here(GrantFailureKind::not_allowed, GrantResult::not_allowed, url.error()));
  } else {
    DeadlineContext deadline(nullptr, start + std::chrono::milliseconds(impl_->config.grant_timeout_ms));
    outcome = co_await impl_->run(request, *url).under(deadline.context());
  }
  impl_->note(request, url ? std::string_view(url->host) : std::string_view(), outcome, io::now() - start);
  if (outcome) co_return *std::move(outcome);
  co_return std::unexpected(outcome.error().failure);
}

Task<TokenClient::Impl::Outcome> TokenClient::Impl::run(const GrantRequest& request, const proto::Url& url) {
  GrantTrouble full =
      refused_here(GrantFailureKind::unavailable, GrantResult::waiting_limit, service_error(ServiceError::overload));
  TokenHost* host = host_of(*request.tenant, url);
  if (!host) co_return std::unexpected(full);
  Use use(*this, *host);
  if (auto refusal = host->refusal(io::now())) co_return std::unexpected(*refusal);
  if (host->in_flight.available() == 0 && host->waiting >= config.requests_per_host_waiting_max) {
    co_return std::unexpected(full);
  }
  ++host->waiting;
  Result<Semaphore::Permit> permit = co_await host->in_flight.acquire();
  --host->waiting;
  if (!permit) {
    co_return std::unexpected(
        refused_here(GrantFailureKind::unavailable, GrantResult::timed_out, core_error(CoreError::timed_out)));
  }
  if (auto refusal = host->refusal(io::now())) co_return std::unexpected(*refusal);
  BH_CHECK(host->breaker.admit(io::now()));
  Outcome outcome = co_await attempt(request, url);
  settle(*host, outcome);
  co_return std::move(outcome);
}

Task<TokenClient::Impl::Outcome> TokenClient::Impl::attempt(const GrantRequest& request, const proto::Url& url) {
  Http1Origin origin =
      routes.fill({.host = url.host, .port = url.port, .addresses = &request.tenant->addresses});
  Result<std::unique_ptr<Http1Client>> client = co_await Http1Client::open(origin, options);
  if (!client) co_return std::unexpected(judge_grant_failure(client.error(), false));
  FormText form;
  proto::write_refresh_request({.refresh_token = request.refresh_token->reveal_text(),
                                .client_id = request.client_id,
                                .scope = request.scope,
                                .claims = request.claims},
                               form.text);
  const proto::HeaderField fields[] = {{"content-type", proto::kFormMediaType}, {"accept", "application/json"}};
  std::string authority = url.authority(), path = url.target();
  Result<Http1Response> response = co_await (*client)->exchange(
      {.method = "POST", .target = path, .host = authority, .headers = fields, .body = form.text, .close = true});
  if (!response) co_return std::unexpected(judge_grant_failure(response.error(), true));
  co_return judge_grant_answer(response->status, response->headers->find("retry-after").value_or(std::string_view()),
                               response->body, std::chrono::milliseconds(limits.back_off_ms_max));
}

// What the outcome means for the host.
void TokenClient::Impl::settle(TokenHost& host, const Outcome& outcome) {
  Instant now = io::now();
  if (outcome) {
    (void)host.breaker.succeeded();
    return;
  }
  const GrantTrouble& trouble = outcome.error();
  if (trouble.host_failed) {
    Duration quarter = std::chrono::milliseconds(limits.breaker_open_ms) / 4;
    (void)host.breaker.failed(
        now, Duration(static_cast<int64_t>(io::random_u64() % static_cast<uint64_t>(quarter.count() + 1))));
  } else if (trouble.failure.kind == GrantFailureKind::throttled) {
    host.back_off_until = std::max(host.back_off_until, now + trouble.failure.retry_after);
    host.breaker.undecided();
  } else if (trouble.failure.kind == GrantFailureKind::not_allowed) {
    host.breaker.undecided();
  } else {
    (void)host.breaker.succeeded();  // it refused this token, and is well
  }
}

void TokenClient::Impl::note(const GrantRequest& request, std::string_view host, const Outcome& outcome,
                             Duration took) {
  NotPersonal tenant = not_personal(request.tenant->config.id);
  if (outcome) {
    metrics.add(metric::oauth_grants, GrantResult::ok);
    log_line(log, LogLevel::debug, "token_granted", field("host", not_personal(host)), field("tenant", tenant),
             field("rotated", !outcome->refresh_token.empty()), field("lifetime_ms", outcome->lifetime),
             field("took_ms", took));
    return;
  }
  const GrantTrouble& trouble = outcome.error();
  metrics.add(metric::oauth_grants, trouble.result);
  log_line(log, LogLevel::warning, "token_grant_failed", field("host", not_personal(host)), field("tenant", tenant),
           field("result", not_personal(LabelSet<GrantResult>::values[static_cast<size_t>(trouble.result)])),
           field("status", trouble.status), field("reason", not_personal(proto::token_error_name(trouble.token_error))),
           field("error", trouble.failure.error), field("maybe_spent", trouble.failure.maybe_spent),
           field("took_ms", took));
}

Task<void> TokenClient::close() {
  impl_->closing = true;
  Context unstoppable;
  struct Waiting {
    static Task<Status> run(Event& event) { co_return co_await event.wait(); }
  };
  while (impl_->requests > 0) {
    impl_->no_requests.reset();
    (void)co_await Waiting::run(impl_->no_requests).under(unstoppable);
  }
}

}  // namespace bellhop::service
