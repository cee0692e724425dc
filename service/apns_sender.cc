// SPDX-License-Identifier: Apache-2.0
#include "service/apns_sender.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/join.h"
#include "core/sleep.h"
#include "core/sync.h"
#include "service/apns_faults.h"
#include "service/apns_route.h"
#include "service/apns_rules.h"

namespace bellhop::service {
namespace {

using proto::ApnsAnswer;
using proto::ApnsReason;
using Verdict = proto::ApnsVerdict;

// Requests that APNs did not process are sent again at once, so often; then they wait like all others.
constexpr uint32_t kResendsAtOnceMax = 8;
// A push that was given less, because its callback had used up its time elsewhere, says nothing about APNs by not ending.
constexpr Duration kFairTime = 1s;
// How long close() waits for answers before it cuts the connections.
constexpr Duration kClosePatience = 5s;

// What became of one attempt.
enum class AttemptEnd : uint8_t {
  answered,
  unprocessed,  // APNs did nothing with it: refused, above GOAWAY's last stream id, never sent
  lost,         // it may have been taken: the connection or the stream broke
  full,         // too many pushes wait
  closed,       // the sender is closing
  no_token,     // our own key does not sign
};
struct Attempt {
  AttemptEnd end = AttemptEnd::answered;
  ApnsAnswer answer;
};

// The answer judges the device or the payload, so the provider token had passed.
bool shows_token_accepted(const ApnsAnswer& answer) {
  switch (answer.reason) {
    case ApnsReason::bad_device_token:
    case ApnsReason::device_token_not_for_topic:
    case ApnsReason::expired_token:
    case ApnsReason::unregistered:
      return true;
    default:
      return answer.status == 200;
  }
}

// This server of APNs takes nothing more: the next push needs another connection.
bool asks_for_other_connection(const ApnsAnswer& answer) {
  return answer.reason == ApnsReason::shutdown || answer.reason == ApnsReason::idle_timeout;
}

Attempt attempt_of(const Http2Answer& ended) {
  if (const auto* response = std::get_if<proto::Http2Response>(&ended)) {
    return {AttemptEnd::answered, proto::parse_apns_answer(response->status, as_bytes(response->body))};
  }
  const auto& failed = std::get<proto::Http2StreamFailed>(ended);
  // The status had come; only 200 says enough without its body.
  if (failed.status == 200) return {AttemptEnd::answered, {.status = 200}};
  return {failed.fate == proto::Http2Fate::not_processed ? AttemptEnd::unprocessed : AttemptEnd::lost, {}};
}

// A request that we would not even send: what APNs would answer, without the way there.
ApnsAnswer answer_of_fault(proto::ApnsRequestFault fault) {
  using enum proto::ApnsRequestFault;
  ApnsReason reason = ApnsReason::none;
  switch (fault) {
    case none:
      break;
    case device_token:
      reason = ApnsReason::bad_device_token;
      break;
    case authorization:
      reason = ApnsReason::missing_provider_token;
      break;
    case topic:
      reason = ApnsReason::bad_topic;
      break;
    case apns_id:
      reason = ApnsReason::bad_message_id;
      break;
    case collapse_id:
      reason = ApnsReason::bad_collapse_id;
      break;
    case expiration:
      reason = ApnsReason::bad_expiration_date;
      break;
    case priority:
      reason = ApnsReason::bad_priority;
      break;
  }
  return {.status = proto::apns_reason_info(reason).status, .reason = reason};
}

ApnsAnswer answer_of_payload(std::string_view payload, size_t bytes_max) {
  ApnsReason reason = payload.empty()              ? ApnsReason::payload_empty
                      : payload.size() > bytes_max ? ApnsReason::payload_too_large
                                                   : ApnsReason::none;
  return {.status = proto::apns_reason_info(reason).status, .reason = reason};
}

// APNs has done its part, whatever it said.
bool judged(const ApnsResult& result) {
  return result.verdict != Verdict::retry && result.verdict != Verdict::retry_new_token;
}

ApnsVerdict metric_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::delivered:
      return ApnsVerdict::accepted;
    case Verdict::token_gone:
      return ApnsVerdict::token_gone;
    case Verdict::drop_payload:
      return ApnsVerdict::refused;
    case Verdict::route_broken:
      return ApnsVerdict::provider_key;
    case Verdict::retry:
    case Verdict::retry_new_token:
      break;
  }
  return ApnsVerdict::retry;
}

Task<Status> wait_set(Event& event) {
  co_return co_await event.wait();
}

}  // namespace

// Everything of one core. Flows of the pushes belong to their callers; connections and token refreshes run in `scope`.
struct ApnsSender::Impl {
  Impl(const ApnsConfig& c, ApnsProviderTokens& t, UpstreamRoutes routes_of, MetricsShard& m, Log& l)
      : config(c),
        tokens(t),
        metrics(m),
        log(l),
        parts{c, t, std::move(routes_of), m, l, scope} {}

  // One push on its way.
  struct Way {
    const ApnsPush& push;
    const Instant deadline;
    ApnsRoute& route;
    uint32_t attempts = 0;
    uint32_t resends = 0;
    bool token_renewed = false;
    bool lost = false;  // the last attempt ended so
  };
  using KeyName = std::pair<std::string, std::string>;  // team and key
  // A provider token that is being made for pushes of this core.
  struct TokenCall {
    ~TokenCall() {
      if (text) wipe(*text);
    }
    Event done;
    Result<std::string> text = std::string();
  };

  Task<Result<ApnsResult>> deliver(Way& way);
  Task<Result<Attempt>> attempt(Way& way);
  Task<Result<Attempt>> send(Way& way, std::string_view token);
  Task<Result<std::string>> token_for(const AppConfig& app);
  Task<void> fetch_token(const AppConfig& app, KeyName name, std::shared_ptr<TokenCall> call);
  Task<bool> wait_before_retry(Way& way, AttemptEnd end);
  std::optional<ApnsResult> judge(Way& way, const ApnsAnswer& answer);
  ApnsRoute& route_of(const ApnsPush& push);
  void note_broken(const AppConfig& app, const ApnsResult& result);
  void note_working(const AppConfig& app);
  void log_answer(const AppConfig& app, const ApnsAnswer& answer);

  const ApnsConfig& config;
  ApnsProviderTokens& tokens;
  MetricsShard& metrics;
  Log& log;
  TaskScope scope{nullptr};
  ApnsRouteParts parts;
  std::map<ApnsRouteName, std::unique_ptr<ApnsRoute>> routes;
  std::map<KeyName, std::shared_ptr<TokenCall>> token_calls;
  ApnsFaults faults;
  bool closing = false;
};

ApnsSender::ApnsSender(const ApnsConfig& config, ApnsProviderTokens& tokens, UpstreamRoutes routes,
                       MetricsShard& metrics, Log& log)
    : impl_(std::make_unique<Impl>(config, tokens, std::move(routes), metrics, log)) {}
ApnsSender::~ApnsSender() = default;

void ApnsSender::renew(UpstreamRoutes routes) {
  impl_->parts.routes = std::move(routes);
  ++impl_->parts.ways;
  for (auto& [name, route] : impl_->routes) route->renew_ways();
}

void ApnsSender::take_up(const Config& config) {
  auto needs = [](const AppConfig& app, const ApnsRouteName& name) {
    return app.team_id == name.team_id && app.key_id == name.key_id && app.certificate_file == name.certificate &&
           app.environment == name.environment;
  };
  for (auto& [name, route] : impl_->routes) {
    (void)route->take_up_certificate();  // closed: it has none any more, and says so to its pushes
    bool needed = std::ranges::any_of(config.tenants, [&](const TenantConfig& tenant) {
      return std::ranges::any_of(tenant.apps, [&](const AppConfig& app) { return needs(app, name); });
    });
    if (!needed) route->retire_connections();
  }
}

Task<ApnsResult> ApnsSender::push(const ApnsPush& push, Instant deadline) {
  Instant begin = io::now();
  if (begin >= deadline) {
    impl_->metrics.add(metric::apns_pushes, ApnsVerdict::timed_out);
    co_return ApnsResult{};
  }
  Impl::Way way{.push = push, .deadline = deadline, .route = impl_->route_of(push)};
  if (!way.route.throttle.admit(begin, io::random_u64())) {
    impl_->metrics.add(metric::apns_pushes, ApnsVerdict::throttled);
    co_return ApnsResult{};
  }
  Result<ApnsResult> result = co_await within_until(deadline, impl_->deliver(way));
  bool stopped = !result && is(result.error(), CoreError::canceled);
  bool timed_out = !result && is(result.error(), CoreError::timed_out);
  bool unfair = timed_out && deadline - begin < kFairTime;
  if (!stopped && !unfair) way.route.throttle.ended(io::now(), result && judged(*result));
  if (result) {
    bool lost = way.lost && result->verdict == Verdict::retry;
    impl_->metrics.add(metric::apns_pushes, lost ? ApnsVerdict::lost : metric_of(result->verdict));
    co_return *result;
  }
  impl_->metrics.add(metric::apns_pushes, timed_out ? ApnsVerdict::timed_out : ApnsVerdict::retry);
  co_return ApnsResult{};
}

ApnsRoute& ApnsSender::Impl::route_of(const ApnsPush& push) {
  const AppConfig& app = *push.app;
  ApnsRouteName name{app.team_id, app.key_id, app.certificate_file, app.environment, push.proven};
  auto it = routes.find(name);
  if (it == routes.end()) it = routes.emplace(name, std::make_unique<ApnsRoute>(name, parts)).first;
  return *it->second;
}

// Attempts until there is a verdict. Errors: canceled.
Task<Result<ApnsResult>> ApnsSender::Impl::deliver(Way& way) {
  const AppConfig& app = *way.push.app;
  for (;;) {
    if (closing) co_return ApnsResult{};
    if (auto broken = faults.held_back(app, io::now())) co_return *broken;
    BH_CO_TRY(Attempt attempt, co_await this->attempt(way));
    way.lost = attempt.end == AttemptEnd::lost;
    switch (attempt.end) {
      case AttemptEnd::answered:
        if (auto result = judge(way, attempt.answer)) co_return *result;
        if (proto::classify_apns(attempt.answer, way.push.registered_at) == Verdict::retry_new_token) continue;
        break;
      case AttemptEnd::unprocessed:
        if (++way.resends <= kResendsAtOnceMax) continue;
        break;
      case AttemptEnd::lost:
        break;
      case AttemptEnd::full:
        log_line(log, LogLevel::warning, "apns_queue_full", field("team", not_personal(app.team_id)),
                 field("waiting", parts.waiting), field("proven", way.push.proven));
        co_return ApnsResult{};
      case AttemptEnd::closed:
        co_return ApnsResult{};
      case AttemptEnd::no_token:
        co_return ApnsResult{Verdict::route_broken, ApnsReason::missing_provider_token, 0};
    }
    ApnsResult last{Verdict::retry, attempt.answer.reason, attempt.answer.status};
    if (!co_await wait_before_retry(way, attempt.end)) co_return last;
  }
}

// The result that an answer means, or nothing where the push is to be tried again.
std::optional<ApnsResult> ApnsSender::Impl::judge(Way& way, const ApnsAnswer& answer) {
  const AppConfig& app = *way.push.app;
  ApnsResult result{proto::classify_apns(answer, way.push.registered_at), answer.reason, answer.status};
  if (proto::apns_answer_loud(answer)) log_answer(app, answer);
  switch (result.verdict) {
    case Verdict::delivered:
    case Verdict::token_gone:
    case Verdict::drop_payload:
      return result;
    case Verdict::route_broken:
      note_broken(app, result);
      return result;
    case Verdict::retry_new_token:
      if (!std::exchange(way.token_renewed, true)) return std::nullopt;
      // The new token is refused as well: our clock or the key is wrong, and signing again would look like an attack.
      result.verdict = Verdict::route_broken;
      note_broken(app, result);
      return result;
    case Verdict::retry:
      break;
  }
  return std::nullopt;
}

// Waits as the rules say; false where the push may not be tried again.
Task<bool> ApnsSender::Impl::wait_before_retry(Way& way, AttemptEnd end) {
  if (++way.attempts >= config.attempts_max) co_return false;
  Instant now = io::now();
  Duration first = std::chrono::milliseconds(config.retry_wait_first_ms);
  Duration most = apns_retry_wait_max(way.attempts, first, std::chrono::milliseconds(config.retry_wait_max_ms));
  auto span = static_cast<uint64_t>(std::max(Duration(0), most - first).count());
  Duration wait = first + Duration(static_cast<int64_t>(io::random_u64() % (span + 1)));
  // Waiting for the deadline helps nobody: Exchange, or the journal, comes back later.
  if (now + wait >= way.deadline) co_return false;
  if (end != AttemptEnd::unprocessed && !way.route.retries.take_retry(now)) co_return false;
  co_return (co_await sleep_until(now + wait)).has_value();
}

// Errors: canceled.
Task<Result<Attempt>> ApnsSender::Impl::attempt(Way& way) {
  const AppConfig& app = *way.push.app;
  ApnsAnswer unfit = answer_of_payload(way.push.payload, config.payload_bytes_max);
  if (unfit.reason != ApnsReason::none) co_return Attempt{AttemptEnd::answered, std::move(unfit)};
  if (app.by_certificate()) co_return co_await send(way, {});
  Result<std::string> token = co_await token_for(app);
  if (!token) {
    if (is(token.error(), CoreError::canceled)) co_return fail(token.error());
    log_line(log, LogLevel::error, "apns_token_failed", field("team", not_personal(app.team_id)),
             field("error", token.error()));
    co_return Attempt{AttemptEnd::no_token, {}};
  }
  Result<Attempt> sent = co_await send(way, *token);
  if (sent && sent->end == AttemptEnd::answered && sent->answer.reason == ApnsReason::expired_provider_token) {
    tokens.expired(app, *token);
  }
  wipe(*token);
  co_return sent;
}

Task<Result<Attempt>> ApnsSender::Impl::send(Way& way, std::string_view token) {
  const ApnsPush& push = way.push;
  proto::ApnsHeaders headers;
  auto fault = headers.build({.device_token = push.device_token,
                              .authorization = token,
                              .topic = push.app->topic,
                              .apns_id = {},
                              .collapse_id = push.collapse_id,
                              .expiration = push.expiration_unix_s,
                              .priority = push.priority,
                              .push_type = push.push_type});
  if (fault != proto::ApnsRequestFault::none) co_return Attempt{AttemptEnd::answered, answer_of_fault(fault)};
  Result<ApnsRoute::Slot> slot = co_await way.route.acquire();
  if (!slot) {
    if (is(slot.error(), CoreError::limit)) co_return Attempt{AttemptEnd::full, {}};
    if (is(slot.error(), CoreError::closed)) co_return Attempt{AttemptEnd::closed, {}};
    if (slot.error().domain == Domain::tls) {  // what APNs says of a certificate that it sees to be bad
      co_return Attempt{AttemptEnd::answered, {.status = 403, .reason = ApnsReason::bad_certificate}};
    }
    co_return fail(slot.error());
  }
  std::shared_ptr<ApnsConnection> connection = slot->use();
  way.route.retries.count_request(io::now());
  metrics.raise(metric::apns_streams_in_flight);
  Result<Http2Answer> ended = co_await connection->send({.authority = way.route.authority(),
                                                         .path = headers.path(),
                                                         .headers = headers.fields(),
                                                         .body = as_bytes(push.payload)});
  metrics.lower(metric::apns_streams_in_flight);
  if (!ended) {
    if (is(ended.error(), CoreError::canceled)) co_return fail(ended.error());
    co_return Attempt{AttemptEnd::unprocessed, {}};  // the connection went away between the slot and its use
  }
  Attempt attempt = attempt_of(*ended);
  if (attempt.end == AttemptEnd::answered) {
    if (shows_token_accepted(attempt.answer)) {
      connection->note_token_accepted();
      note_working(*push.app);
    }
    if (asks_for_other_connection(attempt.answer)) connection->retire();
  }
  co_return attempt;
}

// Errors: canceled, crypto.
Task<Result<std::string>> ApnsSender::Impl::token_for(const AppConfig& app) {
  if (std::optional<std::string> text = tokens.current(app)) co_return *std::move(text);
  KeyName name{app.team_id, app.key_id};
  std::shared_ptr<TokenCall> call;
  if (auto running = token_calls.find(name); running != token_calls.end()) {
    call = running->second;
  } else {
    call = std::make_shared<TokenCall>();
    token_calls.emplace(name, call);
    scope.spawn(fetch_token(app, name, call));
  }
  BH_CO_CHECKED(co_await wait_set(call->done));
  co_return call->text;
}

// Not part of a push's flow: it must not be cut short by a deadline, nor hold a push beyond its own.
// `app` is used until the first wait only.
Task<void> ApnsSender::Impl::fetch_token(const AppConfig& app, KeyName name, std::shared_ptr<TokenCall> call) {
  Result<ApnsProviderTokens::Token> token = co_await tokens.token(app);
  if (token && token->signed_now) metrics.add(metric::apns_token_refreshes);
  if (token) {
    call->text = std::move(token->text);
  } else {
    call->text = fail(token.error());
  }
  call->done.set();
  token_calls.erase(name);
}

void ApnsSender::Impl::note_broken(const AppConfig& app, const ApnsResult& result) {
  if (!faults.note_broken(app, result, io::now())) return;
  // A connection whose provider token was refused is of no more use: the next try gets another one.
  for (auto& [name, route] : routes) {
    bool same = name.team_id == app.team_id && name.key_id == app.key_id &&
                name.certificate == app.certificate_file && name.environment == app.environment;
    if (same && ApnsFaults::of_key(result)) route->retire_connections();
  }
  log_line(
      log, LogLevel::error, "apns_route_broken", field("team", not_personal(app.team_id)),
      field("key", not_personal(app.key_id)), field("topic", not_personal(app.topic)),
      field("reason", not_personal(proto::apns_reason_info(result.reason).name)), field("status", result.status),
      field("advice",
            "check key_id, team_id, key_file (or certificate_file), topic and environment of this tenant.app; one push "
            "tries again every now and then"));
}

void ApnsSender::Impl::note_working(const AppConfig& app) {
  if (!faults.note_working(app)) return;
  log_line(log, LogLevel::info, "apns_route_restored", field("team", not_personal(app.team_id)),
           field("topic", not_personal(app.topic)));
}

void ApnsSender::Impl::log_answer(const AppConfig& app, const ApnsAnswer& answer) {
  std::string_view reason = answer.reason == ApnsReason::unknown ? std::string_view(answer.unknown_name)
                                                                 : proto::apns_reason_info(answer.reason).name;
  log_line(log, LogLevel::warning, "apns_answer", field("status", answer.status), field("reason", not_personal(reason)),
           field("malformed", answer.malformed), field("topic", not_personal(app.topic)));
}

std::vector<ApnsRouteState> ApnsSender::routes() const {
  std::vector<ApnsRouteState> states;
  for (const auto& [name, route] : impl_->routes) {
    states.push_back({name, route->connections(), route->free_streams(), route->waiting()});
  }
  return states;
}

Task<void> ApnsSender::close() {
  impl_->closing = true;
  for (auto& [name, route] : impl_->routes) route->close();
  co_await join_or_stop(impl_->scope, io::now() + kClosePatience);
}

}  // namespace bellhop::service
