// SPDX-License-Identifier: Apache-2.0
// GatewayRequest: Exchange is asked, and its answer given to the client.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "core/io.h"
#include "core/sleep.h"
#include "core/tls/engine.h"
#include "proto/affinity_cookies.h"
#include "proto/gateway_error.h"
#include "proto/gateway_headers.h"
#include "service/error_texts.h"
#include "service/gateway_request.h"
#include "service/kerberos_error.h"

namespace bellhop::service {
namespace {

constexpr unsigned kRedirectsMax = 3;  // of one request

// Owners of upstream connections that are nobody's alone. A user's are named by a hash.
constexpr std::string_view kNobodys = "nobody", kEverybodys = "everybody";

bool is_redirect(uint16_t status) { return status == 451 || (status >= 301 && status <= 308 && status != 304 && status != 305); }

// Statuses that speak of a connection or a proxy, never of an endpoint of Exchange.
bool is_foreign(uint16_t status) { return status < 200 || status == 407 || status == 421 || status == 426; }

// A connection that could not be made for want of descriptors, memory or ports, which says nothing of the server.
bool is_own_want(const Error& error) {
  constexpr int kWants[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL};
  return std::ranges::any_of(kWants, [&](int number) { return error == os_error(number); });
}

Duration ms(uint32_t value) { return std::chrono::milliseconds(value); }

}  // namespace

Task<Refused> GatewayRequest::forward() {
  core_.metrics.observe(metric::gateway_own_time, label(), io::now() - began_);
  if (parked_) {
    core_.metrics.raise(metric::gateway_requests_parked);
    counted_parked_ = true;
    exchange_.be_patient(true);
  }
  GatewayRoutes::Server server = first_server();
  for (;;) {
    Ended ended = co_await ask(server);
    if (ended.refused || ended.next == Next::done) co_return ended.refused;
    if (ended.next == Next::redirected) server = *redirected_to_;
  }
}

// Where Exchange sent this account before, as far as that is still permitted.
GatewayRoutes::Server GatewayRequest::first_server() {
  if (identity_.account && route_->redirects != GatewayRedirects::refuse && gateway_.redirects_.size() > 0) {
    auto known = gateway_.redirects_.find(redirect_key(), io::now());
    auto server = known ? routes_.find_server(*endpoint_, *known) : std::nullopt;
    if (server) {
      core_.metrics.add(metric::gateway_redirects, RedirectResult::known);
      return *std::move(server);
    }
  }
  return {.endpoint = endpoint_, .address = endpoint_->upstream, .route = route_};
}

// The next request asks the first server again, which knows better by now.
void GatewayRequest::forget_redirect(const GatewayRoutes::Server& server) {
  bool redirected = server.address != endpoint_->upstream;
  if (redirected && gateway_.redirects_.forget(redirect_key())) core_.metrics.add(metric::gateway_redirects, RedirectResult::dropped);
}

crypto::Digest GatewayRequest::redirect_key() const {
  return GatewayRedirectCache::key(route_->name, target_->endpoint, identity_.account ? identity_.account->text : "");
}

Duration GatewayRequest::answer_timeout() const {
  return ms(parked_ ? endpoint_->config.parked_answer_timeout_ms : endpoint_->config.answer_timeout_ms);
}

// Whose connections to this server may be used.
std::string_view GatewayRequest::connection_owner(const GatewayEndpoint& endpoint) const {
  if (identity_.kind == GatewayLogonKind::none) return kNobodys;
  bool shared = endpoint.config.share_connections && identity_.kind != GatewayLogonKind::certificate;
  return shared ? kEverybodys : std::string_view(identity_.connection_key);
}

Task<GatewayRequest::Ended> GatewayRequest::ask(const GatewayRoutes::Server& server) {
  GatewayUpstream& upstream = upstreams_->at(server);
  GatewayUpstream::Parking parking(upstream, parked_);
  if (!parking.admitted()) co_return Ended{.refused = refusal(GatewayOutcome::refused_busy)};
  GatewayUpstream::Attempt attempt(upstream);
  if (!attempt.admitted()) {
    forget_redirect(server);
    co_return Ended{.refused = refusal(GatewayOutcome::unavailable_breaker)};
  }
  UpstreamExchange exchange(upstream.pool(), {.owner = connection_owner(*server.endpoint),
                                              .identity = upstream.identity(),
                                              .fresh = connected_again_});
  Status connected = co_await within(ms(endpoint_->config.answer_timeout_ms), exchange.connect());
  if (!connected) {
    bool busy = is(connected.error(), CoreError::limit) || exchange.stage() == UpstreamStage::waiting;
    if (busy) co_return Ended{.refused = refusal(GatewayOutcome::unavailable_breaker, connected.error())};
    if (is_own_want(connected.error())) co_return Ended{.refused = refusal(GatewayOutcome::refused_busy, connected.error())};
    if (!is(connected.error(), CoreError::canceled)) {
      forget_redirect(server);
      attempt.failed(connected.error());
    }
    co_return Ended{.refused = refusal(GatewayOutcome::unavailable_upstream, connected.error())};
  }
  if (exchange.reused()) core_.metrics.add(metric::gateway_connections_reused);
  BodyRelay relay(exchange_, exchange, co_await current_context());
  Ended ended = co_await ask_over(relay, exchange, upstream, attempt);
  co_await relay.finish();
  core_.metrics.add(metric::gateway_request_bytes, relay.bytes_up());
  core_.metrics.add(metric::gateway_answer_bytes, relay.bytes_down());
  co_return ended;
}

Task<GatewayRequest::Ended> GatewayRequest::ask_over(BodyRelay& relay, UpstreamExchange& exchange, GatewayUpstream& upstream,
                                                     GatewayUpstream::Attempt& attempt) {
  if (Refused refused = co_await send_head(upstream, exchange, attempt)) {
    bool lost = refused->outcome == GatewayOutcome::unavailable_upstream;
    if (lost && was_stale(exchange, refused->error)) co_return connect_again();
    co_return Ended{.refused = std::move(refused)};
  }
  auto head = co_await relay.ask(body_.bytes(), nullptr, answer_timeout());
  if (!head && relay.fault() == RelayFault::client) co_return Ended{.refused = refusal_of(head.error())};
  if (!head && was_stale(exchange, head.error())) co_return connect_again();
  // An upstream that hangs up on a client that pauses keeps house.
  if (!head && relay.waits_for_client()) co_return Ended{.refused = refusal(GatewayOutcome::unavailable_upstream, head.error())};
  if (!head) co_return Ended{.refused = failed(head.error(), attempt)};
  co_return co_await pass_answer(relay, exchange, *head, attempt);
}

// Exchange hung up a connection that was kept, while the request was on its way to it: it has not seen the request, most
// likely. What must not happen twice is left to the client, all the same.
bool GatewayRequest::was_stale(const UpstreamExchange& exchange, const Error& error) const {
  bool hung_up = !is(error, CoreError::timed_out) && !is(error, CoreError::canceled);
  bool silent = exchange.stage() == UpstreamStage::sending;
  return hung_up && silent && exchange.reused() && body_ended_ && !connected_again_ && may_happen_twice();
}

GatewayRequest::Ended GatewayRequest::connect_again() {
  connected_again_ = true;
  return {.next = Next::connect_again};
}

bool GatewayRequest::may_happen_twice() const {
  if (is_ews()) {
    proto::EwsOperationGroup group = proto::ews_operation_group(operation_);
    return group == proto::EwsOperationGroup::read || group == proto::EwsOperationGroup::notification;
  }
  if (!query_->command) return true;  // OPTIONS
  switch (*query_->command) {
    case proto::ActiveSyncCommand::send_mail:
    case proto::ActiveSyncCommand::smart_forward:
    case proto::ActiveSyncCommand::smart_reply:
    case proto::ActiveSyncCommand::move_items:
    case proto::ActiveSyncCommand::meeting_response:
    case proto::ActiveSyncCommand::folder_create:
    case proto::ActiveSyncCommand::folder_delete:
    case proto::ActiveSyncCommand::folder_update: return false;
    default: return true;  // Sync is numbered by its key
  }
}

// The upstream broke, or was silent for too long. A long poll that nobody answers says nothing of the server.
GatewayRefusal GatewayRequest::failed(const Error& error, GatewayUpstream::Attempt& attempt) const {
  bool late = is(error, CoreError::timed_out);
  if (!is(error, CoreError::canceled) && !(late && parked_)) attempt.failed(error);
  return refusal(late ? GatewayOutcome::unavailable_timeout : GatewayOutcome::unavailable_upstream, error);
}

Task<Refused> GatewayRequest::send_head(GatewayUpstream& upstream, UpstreamExchange& exchange, GatewayUpstream::Attempt& attempt) {
  std::vector<proto::HeaderField> fields;
  fields.reserve(head_.size() + 3);
  for (size_t i = 0; i < head_.size(); ++i) fields.push_back(head_.at(i));
  crypto::Secret token;
  if (identity_.kind == GatewayLogonKind::certificate) {
    auto made = co_await log_on(upstream, exchange);
    if (!made) co_return refusal_of_logon(made.error());
    token = *std::move(made);
    fields.push_back({"authorization", token.reveal_text()});
  } else if (auto authorization = exchange_.headers().find("authorization")) {
    fields.push_back({"authorization", *authorization});
  }
  std::string cookies = cookies_of_jar(), forwarded_for;
  if (!cookies.empty()) fields.push_back({"cookie", cookies});
  if (auto peer = co_await exchange_.peer_address()) forwarded_for = peer->ip.to_string();
  if (!forwarded_for.empty()) fields.push_back({"x-forwarded-for", forwarded_for});
  std::string target = target_->rebuilt();
  bool post = exchange_.method() == proto::HttpMethod::post;
  Status sent = co_await exchange.send_head(
      {.method = proto::method_name(exchange_.method()),
       .target = target,
       .host = upstream.host_field(),
       .headers = fields,
       .has_body = post,
       .content_length = body_ended_ ? std::optional<uint64_t>(body_.size()) : exchange_.content_length()},
      /*more=*/post);
  wipe(cookies);
  if (!sent && was_stale(exchange, sent.error())) co_return refusal(GatewayOutcome::unavailable_upstream, sent.error());
  if (!sent) co_return failed(sent.error(), attempt);
  co_return Refused();
}

Task<Result<crypto::Secret>> GatewayRequest::log_on(GatewayUpstream& upstream, UpstreamExchange& exchange) {
  UpstreamAuthenticator* authenticator = gateway_.parts_.authenticator;
  if (!authenticator) co_return fail(service_error(ServiceError::not_ready));
  gateway_.logons_.note(identity_.user, question(io::wall_now()), io::now());
  Bytes certificate = exchange.tls() ? exchange.tls()->peer_certificate() : Bytes();
  co_return co_await authenticator->authorization(identity_, upstream.endpoint(), upstream.server(), certificate);
}

GatewayRefusal GatewayRequest::refusal_of_logon(const Error& error) const {
  log_line(core_.log, LogLevel::warning, "gateway_logon_failed", field("route", not_personal(route_->name)),
           field("account", core_.fingerprint(account_id_)), field("error", error));
  // Whose fault it is decides what the client hears: 403, 502 or 503. Never a way round.
  if (error.domain == Domain::kerberos && blame_of(error) == KerberosBlame::user) return refusal(GatewayOutcome::refused_certificate, error);
  GatewayRefusal refused = refusal(GatewayOutcome::unavailable_logon, error);
  bool set_up = error.domain == Domain::kerberos && blame_of(error) == KerberosBlame::set_up;
  refused.status = set_up ? 502 : 503;
  return refused;
}

// ---- The answer ----

Task<GatewayRequest::Ended> GatewayRequest::pass_answer(BodyRelay& relay, UpstreamExchange& exchange,
                                                        const UpstreamAnswerHead& head, GatewayUpstream::Attempt& attempt) {
  Error as_error = service_error(ServiceError::exchange_failed, head.status);
  if (is_foreign(head.status)) {
    attempt.failed(as_error);
    co_return Ended{.refused = refusal(GatewayOutcome::unavailable_upstream, as_error)};
  }
  if (head.status == 502 || head.status == 504) {
    attempt.failed(as_error);
  } else if (head.status != 503) {
    attempt.succeeded();
  }
  // An Exchange that keeps the logon of a connection: nobody else may come after.
  bool shared = connection_owner(attempt.endpoint()) == kEverybodys;
  if (shared && head.headers->count("persistent-auth") > 0) exchange.discard();
  if (is_redirect(head.status)) co_return co_await redirect(head);
  if (head.status == 401 && identity_.kind == GatewayLogonKind::certificate) co_return not_taken();
  co_return Ended{.refused = co_await give(relay, head)};
}

Task<Refused> GatewayRequest::give(BodyRelay& relay, const UpstreamAnswerHead& head) {
  proto::HeaderBlock passed;
  Status copied = proto::copy_response_headers(target_->endpoint, *head.headers, passed);
  if (!copied) co_return refusal(GatewayOutcome::unavailable_upstream, copied.error());
  std::vector<proto::HeaderField> fields;
  fields.reserve(passed.size() + 1);
  for (size_t i = 0; i < passed.size(); ++i) fields.push_back(passed.at(i));
  std::string jar = jar_of(*head.headers);
  if (!jar.empty()) fields.push_back({"set-cookie", jar});
  if (head.status == 401 && passed.count("www-authenticate") == 0) {
    log_line(core_.log, LogLevel::warning, "gateway_no_logon_offered", field("route", not_personal(route_->name)),
             field("why", "Exchange offers neither Basic nor Bearer, and others do not pass"));
  }
  answer_began_ = true;
  status_ = head.status;
  outcome_ = head.status < 400    ? GatewayOutcome::passed_ok
             : head.status == 401 ? GatewayOutcome::passed_unauthorized
                                  : GatewayOutcome::passed_error;
  Duration patience = parked_ ? answer_timeout() : ms(endpoint_->config.stall_timeout_ms);
  Status given = co_await relay.answer({.status = head.status, .headers = fields}, patience);
  if (!given) co_return GatewayRefusal{.outcome = GatewayOutcome::passed_cut, .status = 0, .error = given.error()};
  co_return Refused();
}

// Exchange did not take what was made for the user: a ticket may be older than the password or the groups.
GatewayRequest::Ended GatewayRequest::not_taken() {
  gateway_.parts_.authenticator->forget(identity_.user);
  bool again = body_ended_ && !std::exchange(logged_on_again_, true);
  if (again) return {.next = Next::log_on_again};
  GatewayRefusal refused = refusal_of_logon(service_error(ServiceError::credentials_refused));
  refused.status = 502;
  return {.refused = refused};
}

// Never past the gateway: the client hears of no server, and no server hears the client's credentials that is not named.
Task<GatewayRequest::Ended> GatewayRequest::redirect(const UpstreamAnswerHead& head) {
  auto location = head.headers->find(head.status == 451 ? "x-ms-location" : "location");
  auto named = location ? proto::read_redirect(target_->endpoint, *location)
                        : Result<proto::GatewayRedirect>(fail(proto::gateway_error(proto::GatewayError::location)));
  std::optional<GatewayRoutes::Server> server;
  if (named) server = routes_.find_server(*endpoint_, {named->host, named->port});
  if (!server || route_->redirects == GatewayRedirects::refuse || ++redirects_ > kRedirectsMax) {
    core_.metrics.add(metric::gateway_redirects, RedirectResult::refused);
    Error error = named ? service_error(ServiceError::host_not_allowed) : named.error();
    log_line(core_.log, LogLevel::warning, "gateway_redirect_refused", field("route", not_personal(route_->name)),
             field("host", not_personal(named ? std::string_view(named->host) : "")), field("port", named ? named->port : uint16_t(0)),
             field("error", error));
    co_return Ended{.refused = refusal(GatewayOutcome::unavailable_redirect, error)};
  }
  core_.metrics.add(metric::gateway_redirects, RedirectResult::learned);
  bool elsewhere = server->route != route_ && !server->route->host.empty() && server->address == server->endpoint->upstream;
  if (route_->redirects == GatewayRedirects::rewrite && elsewhere) co_return Ended{.refused = co_await send_elsewhere(*server, head.status)};
  if (identity_.account) {
    gateway_.redirects_.learn({.key = redirect_key(), .route = route_->name, .server = server->address, .status = head.status}, io::now());
  }
  if (!body_ended_) {
    // Part of the body is gone; the client sends it again, and it goes to the right server.
    GatewayRefusal refused = refusal(GatewayOutcome::unavailable_redirect);
    refused.status = 503;
    refused.retry_after_s = 1;
    co_return Ended{.refused = refused};
  }
  redirected_to_ = std::move(server);
  co_return Ended{.next = Next::redirected};
}

// To the host of another route, which the client can reach as it reached this one.
Task<Refused> GatewayRequest::send_elsewhere(const GatewayRoutes::Server& server, uint16_t status) {
  std::string_view authority = exchange_.authority();
  std::string_view port = authority.substr(std::min(port_of_authority(authority), authority.size()));
  std::string location = fmt::format("https://{}{}{}", server.route->host, port, proto::canonical_path(target_->endpoint));
  proto::HeaderField field{status == 451 ? "x-ms-location" : "location", location};
  status_ = status;
  outcome_ = status < 400 ? GatewayOutcome::passed_ok : GatewayOutcome::passed_error;
  answer_began_ = true;
  Status told = co_await exchange_.respond({.status = status, .headers = {&field, 1}});
  if (!told) co_return GatewayRefusal{.outcome = GatewayOutcome::passed_cut, .status = 0, .error = told.error()};
  co_return Refused();
}

// ---- Cookies: clients carry those of Exchange, and neither read nor write them ----

std::string GatewayRequest::cookies_of_jar() const {
  if (!keys_ || !identity_.account || exchange_.headers().count("cookie") == 0) return {};
  std::string_view text = proto::find_cookie(exchange_.headers(), crypto::CookieJar::name(proto::endpoint_name(target_->endpoint)));
  if (text.empty()) return {};
  auto content = keys_->jar.open(jar_binding(), text, io::wall_now());
  if (!content) return {};  // another user's, or of long ago: Exchange does without
  return proto::AffinityCookies::of_text(content->reveal_text()).text();
}

crypto::CookieJar::Binding GatewayRequest::jar_binding() const {
  return {.route = route_->name, .endpoint = proto::endpoint_name(target_->endpoint), .account = identity_.account->text};
}

// The value of Set-Cookie; empty where Exchange set none.
std::string GatewayRequest::jar_of(const proto::HeaderBlock& answer) const {
  if (!keys_ || !identity_.account || answer.count("set-cookie") == 0) return {};
  std::string before = cookies_of_jar();
  auto cookies = proto::AffinityCookies::of_text(before);
  wipe(before);
  if (!cookies.apply(answer, io::wall_now())) return {};
  crypto::CookieJar::Binding binding = jar_binding();
  return crypto::CookieJar::set_cookie(binding.endpoint, keys_->jar.seal(binding, cookies.text(), io::wall_now()));
}

}  // namespace bellhop::service
