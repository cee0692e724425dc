// SPDX-License-Identifier: Apache-2.0
// GatewayRequest: the story of a request, its host and target, and its end.
#include "service/gateway_request.h"

#include <utility>

#include "core/io.h"
#include "core/stop_link.h"
#include "proto/gateway_error.h"
#include "proto/gateway_headers.h"
#include "proto/target.h"

namespace bellhop::service {

GatewayRequest::GatewayRequest(Gateway& gateway, HttpExchange& exchange)
    : gateway_(gateway),
      exchange_(exchange),
      core_(gateway.parts_.core),
      pin_(core_.generations),
      upstreams_(gateway.upstreams_),
      keys_(gateway.settings_.keys),
      routes_(upstreams_->routes()),
      began_(io::now()) {
  core_.metrics.raise(metric::gateway_requests_in_work, counted_);
}

GatewayRequest::~GatewayRequest() {
  core_.metrics.lower(metric::gateway_requests_in_work, counted_);
  if (counted_parked_) core_.metrics.lower(metric::gateway_requests_parked);
  if (place_ && --(*place_)->second == 0) gateway_.places_.erase(*place_);
}

Task<void> GatewayRequest::run() {
  Context& own = co_await current_context();
  Refused refused = check_head();
  if (!refused) {
    Context work(&own);
    StopLink hand_back(gateway_.work_, work);
    work_ = &work;
    gateway_.requests_.push_back(this);
    refused = co_await serve().under(work);
    unlink();
    work_ = nullptr;
    refused = why_ended(std::move(refused), own.stop_requested());
  }
  if (refused) co_await answer(*refused);
  note();
}

// ---- On the head alone ----

Refused GatewayRequest::check_head() {
  constexpr Refused (GatewayRequest::*kSteps[])() = {
      &GatewayRequest::find_route, &GatewayRequest::read_target,     &GatewayRequest::check_room, &GatewayRequest::check_content,
      &GatewayRequest::identify,   &GatewayRequest::check_agreement, &GatewayRequest::take_place, &GatewayRequest::ask_policy,
      &GatewayRequest::make_head};
  for (auto step : kSteps) {
    if (Refused refused = (this->*step)()) return refused;
  }
  return {};
}

Refused GatewayRequest::find_route() {
  route_ = routes_.find(exchange_.authority());
  if (!route_) return refusal(GatewayOutcome::refused_host);
  return {};
}

Refused GatewayRequest::read_target() {
  auto target = proto::parse_gateway_target(exchange_.method(), exchange_.target());
  if (!target) return refusal_of(target.error());
  target_ = *target;
  endpoint_ = route_->endpoint(target_->endpoint);
  if (!endpoint_) return refusal(GatewayOutcome::refused_target);
  core_.metrics.lower(metric::gateway_requests_in_work, counted_);
  counted_ = label();
  core_.metrics.raise(metric::gateway_requests_in_work, counted_);
  if (is_ews()) return {};
  auto query = proto::parse_activesync_query(exchange_.method(), target_->query);
  if (!query) return refusal_of(query.error());
  query_ = *std::move(query);
  return {};
}

Refused GatewayRequest::check_room() {
  if (core_.node.draining) return refusal(GatewayOutcome::refused_stopping);
  if (gateway_.in_work_ > routes_.config().requests_in_work_max) return refusal(GatewayOutcome::refused_busy);
  return {};
}

Refused GatewayRequest::check_content() {
  // OPTIONS has no use for content (RFC 9110 section 9.3.7): none is taken, and a type that a client sends all the same
  // describes nothing.
  if (exchange_.method() == proto::HttpMethod::options) return exchange_.has_body() ? refusal(GatewayOutcome::refused_request) : Refused();
  const proto::HeaderBlock& headers = exchange_.headers();
  Status content = is_ews() ? proto::check_ews_content(headers) : proto::check_activesync_content(headers);
  if (!content) return refusal_of(content.error());
  uint64_t bytes_max = endpoint_->config.body_bytes_max;
  if (exchange_.content_length().value_or(0) > bytes_max) return refusal(GatewayOutcome::refused_too_large);
  exchange_.set_body_max(bytes_max);
  return {};
}

// Counted by the credentials as they came: who claims to be somebody takes none of this user's places. Of bellhop's own
// requests it is proven for whom they are, and one service account may log on for all. Applications that name no user are not
// counted.
Refused GatewayRequest::take_place() {
  if (identity_.kind == GatewayLogonKind::none || account_id_.zero()) return {};
  store::StoredUserId key = identity_.context ? account_id_ : store::StoredUserId::from(as_bytes(identity_.connection_key));
  place_ = gateway_.places_.try_emplace(key, 0).first;
  if (++(*place_)->second > routes_.config().requests_per_account_max) return refusal(GatewayOutcome::refused_busy);
  return {};
}

Refused GatewayRequest::ask_policy() {
  // Without credentials Exchange gives nothing away: it asks for them, and the policy is asked when they come.
  if (identity_.kind == GatewayLogonKind::none) return {};
  decision_ = decide(io::wall_now());
  core_.metrics.add(metric::policy_decisions, static_cast<PolicyVerdictLabel>(decision_.verdict));
  if (decision_.dry_run || decision_.dry_rule != kNoRule) {
    core_.metrics.add(metric::policy_dry_runs);
    RuleId rule = decision_.dry_rule != kNoRule ? decision_.dry_rule : decision_.rule;
    log_line(core_.log, LogLevel::info, "gateway_would_block", field("route", not_personal(route_->name)),
             field("rule", not_personal(gateway_.parts_.policy->rules().name(rule))),
             field("reason", not_personal(name_of(decision_.reason))));
  }
  if (decision_.verdict == Verdict::unavailable) return refusal(GatewayOutcome::unavailable_policy);
  if (!decision_.allowed()) {
    note_rule();
    return refusal(GatewayOutcome::blocked_policy);
  }
  return {};
}

// The rules may be others when somebody looks at the trail.
void GatewayRequest::note_rule() {
  if (decision_.rule != kNoRule) rule_name_ = GatewayTrailEntry::Text<64>(gateway_.parts_.policy->rules().name(decision_.rule));
}

// What is asked of the policy; views into the request.
PolicyQuestion GatewayRequest::question(WallTime now) const {
  PolicyQuestion question{.tenant = route_->tenant,
                          .point = is_ews() ? DecisionPoint::ews : DecisionPoint::activesync,
                          .device = device_,
                          .now = now};
  // bellhop's own User-Agent is not that of the device for which it asks.
  if (!identity_.context) question.mail_client = user_agent();
  if (!account_id_.zero()) question.account = account_id_;
  question.user_name = user_name_id_;
  if (query_) question.device_type = query_->device_type;
  if (exchange_.method() == proto::HttpMethod::options) {
    question.traffic = PolicyTraffic::options;
  } else if (query_ && query_->command == proto::ActiveSyncCommand::provision) {
    question.traffic = PolicyTraffic::provision;
  }
  return question;
}

PolicyDecision GatewayRequest::decide(WallTime now) const {
  const Policy* policy = gateway_.parts_.policy;
  if (!policy) return {.verdict = Verdict::allow, .reason = PolicyReason::off};
  PolicyQuestion question = this->question(now);
  if (identity_.context) return policy->decide_for(question, identity_.context->devices, identity_.context->source_device);
  return policy->decide(question);
}

void GatewayRequest::reconsider(WallTime now, bool reloaded) {
  if (identity_.kind == GatewayLogonKind::none || blocked_) return;
  if (reloaded) certificate_lost_ = lost_certificate(now);
  if (certificate_lost_) return cut();
  PolicyDecision decision = decide(now);
  if (decision.verdict != Verdict::block) return;
  decision_ = decision;
  note_rule();
  cut();
}

// Why the certificate that the request came with names its user no longer: it was revoked, or other users log on now.
std::optional<Error> GatewayRequest::lost_certificate(WallTime now) const {
  Bytes certificate = exchange_.peer_certificate();
  const CertificateUsers* users = gateway_.parts_.certificates;
  if (certificate.empty() || !users) return {};
  auto user = users->user(certificate, now);
  if (user || users->cannot_tell(user.error())) return {};
  return user.error();
}

void GatewayRequest::cut() {
  blocked_ = true;
  // A connection that may be logged on as this user is of no more use either.
  upstreams_->drop_idle(identity_.connection_key);
  work_->request_stop();
}

// What the client may send on: no field but those that a list names.
Refused GatewayRequest::make_head() {
  const GatewayClientClass& client = routes_.client_class(identity_.context.has_value(), identity_.account, user_agent());
  Status copied = proto::copy_request_headers({.endpoint = target_->endpoint,
                                               .query = query_ ? &*query_ : nullptr,
                                               .names = &route_->accounts,
                                               .account = identity_.account ? &*identity_.account : nullptr,
                                               .impersonates = client.impersonation,
                                               .has_content = exchange_.method() != proto::HttpMethod::options},
                                              exchange_.headers(), head_);
  if (!copied) return refusal_of(copied.error());
  return {};
}

// ---- The whole way, under a context of its own: a block or a drain ends it ----

Task<Refused> GatewayRequest::serve() {
  if (Refused refused = co_await read_ahead()) co_return refused;
  co_return co_await forward();
}

// A stop looks like any other failure from inside.
Refused GatewayRequest::why_ended(Refused refused, bool client_gone) const {
  if (!refused) return refused;
  // Its connection is stopped when the client leaves, and, of a long poll, when the listener ends.
  if (client_gone) {
    GatewayOutcome outcome = core_.node.draining ? GatewayOutcome::refused_stopping : GatewayOutcome::client_left;
    return GatewayRefusal{.outcome = outcome, .status = 0, .error = refused->error};
  }
  if (certificate_lost_) return refusal(GatewayOutcome::refused_certificate, *certificate_lost_);
  if (blocked_) return refusal(GatewayOutcome::blocked_parked);
  if (gateway_.work_.stop_requested()) return refusal(GatewayOutcome::refused_stopping);
  return refused;
}

// ---- The end ----

Task<void> GatewayRequest::answer(const GatewayRefusal& refused) {
  outcome_ = refused.outcome;
  error_ = refused.error;
  if (answer_began_) {
    exchange_.abort();
    if (outcome_ != GatewayOutcome::blocked_parked) outcome_ = GatewayOutcome::passed_cut;
    co_return;
  }
  if (refused.status == 0) {
    exchange_.abort();
    co_return;
  }
  std::optional<proto::GatewayEndpoint> endpoint;
  if (target_) endpoint = target_->endpoint;
  if (!target_ && refused.outcome == GatewayOutcome::refused_method) {
    // The path named an endpoint, and only the method was wrong.
    auto as_post = proto::parse_gateway_target(proto::HttpMethod::post, exchange_.target());
    if (as_post) endpoint = as_post->endpoint;
  }
  status_ = refused.status;
  (void)co_await respond(exchange_, {.refusal = refused,
                                     .endpoint = endpoint,
                                     .realm = route_ ? std::string_view(route_->name) : "bellhop",
                                     .retry_after_s = routes_.config().retry_after_seconds});
}

GatewayEndpointLabel GatewayRequest::label() const {
  if (!target_) return GatewayEndpointLabel::none;
  return is_ews() ? GatewayEndpointLabel::ews : GatewayEndpointLabel::activesync;
}

void GatewayRequest::note() {
  core_.ledger.count(outcome_);
  GatewayTrailEntry entry{.at = io::wall_now(), .outcome = outcome_, .endpoint = label(), .status = status_};
  entry.account = account_id_;
  entry.rule = rule_name_;
  entry.reason = decision_.reason;
  entry.took = io::now() - began_;
  if (query_ && query_->has_device()) entry.device = query_->device;
  if (query_) entry.device_type = GatewayTrailEntry::Text<32>(query_->device_type);
  entry.mail_client = GatewayTrailEntry::Text<48>(user_agent());
  if (is_ews()) {
    entry.operation = GatewayTrailEntry::Text<32>(operation_);
  } else if (query_) {
    bool options = !query_->command;
    entry.operation = GatewayTrailEntry::Text<32>(options ? "OPTIONS" : proto::activesync_command_name(*query_->command));
  }
  if (route_) entry.route = GatewayTrailEntry::Text<64>(route_->name);
  gateway_.trail_.note(entry);
  bool passed = outcome_ <= GatewayOutcome::passed_cut || outcome_ == GatewayOutcome::client_left;
  LogLevel level = passed ? LogLevel::debug : LogLevel::info;
  if (!core_.log.enabled(level)) return;
  std::string_view endpoint = LabelSet<GatewayEndpointLabel>::values[static_cast<size_t>(label())];
  // What a client chooses freely is left out: device type, user agent.
  log_line(core_.log, level, "gateway_request", field("outcome", not_personal(name_of(outcome_))), field("status", status_),
           field("endpoint", not_personal(endpoint)), field("route", not_personal(entry.route.view())),
           field("operation", not_personal(entry.operation.view())),
           field("account", account_id_.zero() ? Fingerprint() : core_.fingerprint(account_id_)),
           field("reason", not_personal(name_of(decision_.reason))), field("error", error_), field("took_ms", entry.took));
}

}  // namespace bellhop::service
