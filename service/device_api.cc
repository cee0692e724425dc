// SPDX-License-Identifier: Apache-2.0
#include "service/device_api.h"

#include <algorithm>
#include <array>

#include "core/cross_core.h"
#include "proto/ews.h"
#include "proto/json.h"
#include "proto/json_writer.h"
#include "proto/problem.h"
#include "proto/target.h"
#include "proto/wiping_buffer.h"
#include "service/api_tokens.h"
#include "service/cidrs.h"
#include "service/device_request.h"
#include "service/error_texts.h"
#include "service/key_maker.h"
#include "service/registration.h"
#include "service/store_watch.h"

namespace bellhop::service {
namespace {

constexpr std::array<std::string_view, 2> kBases = {"/MailNotifications/api/ens/", "/api/ens/"};
constexpr size_t kBodyBytesMax = 64 * 1024;
constexpr size_t kAnswerBytes = 4096;  // reserved, so that an answer with a secret in it does not move
constexpr Duration kPoolEmptyRetry = 5s;
constexpr Duration kDrainingRetry = 10s;

std::optional<std::string_view> below_base(std::string_view path) {
  for (std::string_view base : kBases) {
    if (path.starts_with(base)) return path.substr(base.size());
  }
  return std::nullopt;
}

// What is answered when all went well. The body may hold a device secret: wiped.
struct Answer {
  uint16_t status = 200;
  std::string body;

  Answer() { body.reserve(kAnswerBytes); }
  Answer(Answer&&) = default;
  Answer& operator=(Answer&&) = default;
  ~Answer() { wipe(body); }
};

class BodyBuffer final : public BodySink {
 public:
  Status on_body(Bytes piece) override {
    bytes_.append(piece);
    return {};
  }
  Bytes bytes() const { return bytes_.bytes(); }

 private:
  proto::WipingBuffer bytes_;
};

}  // namespace

// A request on its way, in the frame of handle().
struct DeviceApi::Impl {
  explicit Impl(Core& c)
      : core(c),
        tokens(c.node.store, c.node.vault, c.generations),
        registrar(c),
        exempt(to_blocks(c.config().limits.exempt_cidrs)) {}

  Task<ApiResult<Answer>> serve(HttpExchange& exchange, std::string_view path);
  Task<ApiResult<const Tenant*>> tenant_of(HttpExchange& exchange);
  Task<ApiResult<proto::JsonDocument>> read_document(HttpExchange& exchange);
  Task<ApiStatus> limit_address(HttpExchange& exchange, RateLimit limit);
  Task<ApiStatus> limit_key(RateLimit limit, RateKey key);
  Task<void> refuse(HttpExchange& exchange, const ApiProblem& problem);

  // What is known of a request once its token was good and its body was read.
  struct Request {
    HttpExchange& exchange;
    const Tenant& tenant;
    const proto::JsonDocument& document;
  };
  struct Route {
    proto::HttpMethod method;
    std::string_view path;  // below a base
    Task<ApiResult<Answer>> (Impl::*answer)(const Request& request);  // null: alive, which needs neither token nor body
  };
  static const std::array<Route, 6> kRoutes;

  Task<ApiResult<Answer>> get_public_key(const Request& request);
  Task<ApiResult<Answer>> subscribe(const Request& request);
  Task<ApiResult<Answer>> check_in(const Request& request);
  Task<ApiResult<Answer>> update_token(const Request& request);
  Task<ApiResult<Answer>> unsubscribe(const Request& request);
  std::unexpected<ApiProblem> no_public_key(const store::StoredUserId& user, const Error& error);
  void nudge_key_maker() {
    if (core.key_maker) core.key_maker->nudge();
  }
  Registrar* home(const store::StoredUserId& user) { return core.node.cores[core.node.home_core(user)]->registrar; }

  Core& core;
  ApiTokens tokens;
  Registrar registrar;
  const proto::AddressBlocks exempt;  // from limits per address
};

// Every route; docs/openapi.json describes them, and a test compares.
constinit const std::array<DeviceApi::Impl::Route, 6> DeviceApi::Impl::kRoutes = {{
    {proto::HttpMethod::get, "alive", nullptr},
    {proto::HttpMethod::post, "getpublickey", &Impl::get_public_key},
    {proto::HttpMethod::post, "subscribe", &Impl::subscribe},
    {proto::HttpMethod::post, "checkin", &Impl::check_in},
    {proto::HttpMethod::post, "updatetoken", &Impl::update_token},
    {proto::HttpMethod::post, "unsubscribe", &Impl::unsubscribe},
}};

std::vector<RouteInfo> DeviceApi::routes() {
  std::vector<RouteInfo> routes;
  for (std::string_view base : kBases) {
    for (const Impl::Route& route : Impl::kRoutes) {
      routes.push_back({route.method, std::string(base) + std::string(route.path)});
    }
  }
  return routes;
}

DeviceApi::DeviceApi(Core& core) : impl_(std::make_unique<Impl>(core)) {}
DeviceApi::~DeviceApi() = default;

bool DeviceApi::owns(std::string_view path) {
  return below_base(path).has_value();
}

Task<void> DeviceApi::handle(HttpExchange& exchange) {
  std::string_view path = below_base(proto::split_target(exchange.target()).path).value_or(std::string_view());
  ApiResult<Answer> answer = co_await impl_->serve(exchange, path);
  if (!answer && answer.error().status == 0) co_return;  // the connection broke while the body was read
  impl_->core.ledger.count(answer ? ApiOutcome::ok : answer.error().outcome);
  if (!answer) {
    co_await impl_->refuse(exchange, answer.error());
    co_return;
  }
  constexpr proto::HeaderField kNoStore[] = {{"cache-control", "no-store"}};
  HttpResponse response{.status = answer->status, .body = answer->body, .headers = kNoStore};
  if (!answer->body.empty()) response.content_type = "application/json";
  (void)co_await exchange.respond(response);
}

Task<void> DeviceApi::Impl::refuse(HttpExchange& exchange, const ApiProblem& problem) {
  std::string body = problem_document(problem);
  std::string seconds = std::to_string(problem.retry_after_s);
  proto::HeaderField fields[3] = {{"cache-control", "no-store"}};
  size_t count = 1;
  if (problem.retry_after_s > 0) fields[count++] = {"retry-after", seconds};
  if (!problem.allow.empty()) fields[count++] = {"allow", problem.allow};
  (void)co_await exchange.respond({.status = problem.status,
                                   .content_type = proto::kProblemMediaType,
                                   .body = body,
                                   .headers = {fields, count},
                                   .close = problem.close});
}

Task<ApiResult<Answer>> DeviceApi::Impl::serve(HttpExchange& exchange, std::string_view path) {
  auto route = std::ranges::find(kRoutes, path, &Route::path);
  if (route == kRoutes.end()) co_return std::unexpected(ApiProblem{.outcome = ApiOutcome::malformed, .status = 404});
  if (exchange.method() != route->method) {
    co_return std::unexpected(
        ApiProblem{.outcome = ApiOutcome::malformed, .status = 405, .allow = proto::method_name(route->method)});
  }
  // The first step of a drain: whoever asks whether we are there is told to go elsewhere; all else is served.
  if (core.node.draining || (core.node.leaving && !route->answer)) {
    ApiProblem problem = refuse_unavailable(kDrainingRetry).error();
    problem.close = true;
    co_return std::unexpected(std::move(problem));
  }
  if (!route->answer) {
    Answer answer;
    answer.body = R"({"status":"ok"})";
    co_return answer;
  }
  if (!core.node.ready || core.overload.level() == OverloadLevel::severe) co_return refuse_unavailable();

  ApiResult<const Tenant*> tenant = co_await tenant_of(exchange);
  if (!tenant) co_return std::unexpected(std::move(tenant.error()));
  ApiResult<proto::JsonDocument> document = co_await read_document(exchange);
  if (!document) co_return std::unexpected(std::move(document.error()));
  Request request{exchange, **tenant, *document};
  co_return co_await (this->*route->answer)(request);
}

// ---- Who calls, how often, and with what ----

Task<ApiResult<const Tenant*>> DeviceApi::Impl::tenant_of(HttpExchange& exchange) {
  Result<const Tenant*> tenant =
      co_await tokens.check(exchange.headers().find("apitoken").value_or(std::string_view()));
  if (tenant) co_return *tenant;
  if (!is(tenant.error(), ServiceError::unauthorized)) {
    log_line(core.log, LogLevel::error, "token_check_failed", field("error", tenant.error()));
    co_return refuse_unavailable();
  }
  // Who goes on guessing pays for a new connection each time. A good token is never held up by the bad ones of others
  // behind the same address.
  ApiStatus limited = co_await limit_address(exchange, RateLimit::unauthorized_address);
  ApiProblem problem = limited ? refuse_unauthorized().error() : std::move(limited.error());
  problem.close |= problem.outcome == ApiOutcome::throttled;
  co_return std::unexpected(std::move(problem));
}

Task<ApiResult<proto::JsonDocument>> DeviceApi::Impl::read_document(HttpExchange& exchange) {
  BodyBuffer body;
  Status read = co_await exchange.read_body(kBodyBytesMax, body);
  if (!read) {
    // A framing that is in doubt, or too much: the answer ends the connection. Anything else has broken it already.
    if (read.error().domain != Domain::http) co_return std::unexpected(ApiProblem{.status = 0});
    co_return std::unexpected(
        ApiProblem{.outcome = ApiOutcome::malformed, .status = proto::http_error_status(read.error()), .close = true});
  }
  Result<proto::JsonDocument> document = proto::JsonDocument::parse(body.bytes(), {.bytes_max = kBodyBytesMax});
  if (!document) co_return refuse_malformed("the body is not one JSON object");
  co_return *std::move(document);
}

Task<ApiStatus> DeviceApi::Impl::limit_address(HttpExchange& exchange, RateLimit limit) {
  Result<SocketAddress> peer = co_await exchange.peer_address();
  // Without an address (a unix socket, a connection that is going away) all share one bucket.
  if (peer && exempt.contains(peer->ip)) co_return ApiStatus();
  co_return co_await limit_key(limit, rate_key(peer ? peer->ip : IpAddress()));
}

Task<ApiStatus> DeviceApi::Impl::limit_key(RateLimit limit, RateKey key) {
  struct There {
    static Task<Duration> take(Registrar* registrar, RateLimit limit, RateKey key) {
      co_return registrar->limits().take(limit, key, io::now());
    }
  };
  unsigned keeper = RateLimits::core_of(key, static_cast<unsigned>(core.node.cores.size()));
  Registrar* there = core.node.cores[keeper]->registrar;
  Duration wait = co_await on_core(keeper, [there, limit, key] { return There::take(there, limit, key); });
  if (wait == Duration::zero()) co_return ApiStatus();
  core.metrics.add(metric::rate_limited, limit);
  co_return refuse_throttled(wait);
}

// ---- The routes ----

Task<ApiResult<Answer>> DeviceApi::Impl::get_public_key(const Request& request) {
  const auto& [exchange, tenant, document] = request;
  BH_CO_STEP(co_await limit_address(exchange, RateLimit::getpublickey_address));
  BH_CO_STEP(co_await limit_key(RateLimit::getpublickey_tenant, rate_key(tenant.number)));
  ApiResult<crypto::Digest> address_hash = read_user_id(document);
  if (!address_hash) co_return std::unexpected(std::move(address_hash.error()));
  store::StoredUserId user = core.node.vault.user_id(tenant.config.id, *address_hash);
  Result<store::UserAndKey> found = co_await core.node.store.get_or_create_user(user, tenant.config.id, io::wall_now());
  if (!found) co_return no_public_key(user, found.error());
  if (found->created) nudge_key_maker();
  Result<crypto::RsaPublicKey> key = crypto::RsaPublicKey::from_spki(found->key.public_key);
  if (!key) co_return no_public_key(user, key.error());
  Answer answer;
  proto::JsonWriter json(answer.body);
  json.begin_object();
  json.member("userId", to_hex(*address_hash));
  json.member("keyId", key->id().text());
  json.member("publicKey", to_base64(key->spki()));
  json.name("jwk").raw(key->jwk());
  json.name("algorithms").begin_array().value("RSA-OAEP-256").end_array();
  json.end_object();
  co_return answer;
}

std::unexpected<ApiProblem> DeviceApi::Impl::no_public_key(const store::StoredUserId& user, const Error& error) {
  bool empty = is(error, store::StoreError::pool_empty);
  log_line(core.log, empty ? LogLevel::warning : level_of_failure(error), "public_key_failed",
           field("user", core.fingerprint(user)), field("error", error));
  if (empty) nudge_key_maker();
  return refuse_unavailable(kPoolEmptyRetry);
}

Task<ApiResult<Answer>> DeviceApi::Impl::subscribe(const Request& asked_for) {
  const auto& [exchange, tenant, document] = asked_for;
  BH_CO_STEP(co_await limit_address(exchange, RateLimit::subscribe_address));
  BH_CO_STEP(co_await limit_key(RateLimit::subscribe_tenant, rate_key(tenant.number)));
  ApiResult<SubscribeRequest> request = read_subscribe(document, tenant, core.node.vault);
  if (!request) co_return std::unexpected(std::move(request.error()));
  Registrar* there = home(request->who.user);
  const SubscribeRequest* asked = &*request;
  ApiResult<Subscribed> done = co_await on_core_stoppable(core.node.home_core(asked->who.user),
                                                          [there, asked] { return there->subscribe(*asked); });
  if (!done) co_return std::unexpected(std::move(done.error()));
  Answer answer;
  answer.status = done->device_created ? 201 : 200;
  proto::JsonWriter json(answer.body);
  json.begin_object();
  json.member("subscriptionId", done->subscription_id);
  json.member("status", done->state == store::SubscriptionState::active ? "active" : "pending");
  if (!done->device_secret.empty()) json.member("deviceSecret", done->device_secret.reveal_text());
  json.member("heartbeatMinutes", done->heartbeat_minutes);
  json.member("envelope", done->envelope == store::EnvelopeKind::split ? "split" : "rsa");
  json.end_object();
  co_return answer;
}

Task<ApiResult<Answer>> DeviceApi::Impl::check_in(const Request& request) {
  const auto& [exchange, tenant, document] = request;
  ApiResult<DeviceIdentity> who = read_identity(document, tenant, core.node.vault, true);
  if (!who) co_return std::unexpected(std::move(who.error()));
  Registrar* there = home(who->user);
  const DeviceIdentity* asks = &*who;
  ApiResult<CheckIn> state =
      co_await on_core(core.node.home_core(who->user), [there, asks] { return there->check_in(*asks); });
  if (!state) co_return std::unexpected(std::move(state.error()));
  Answer answer;
  proto::JsonWriter json(answer.body);
  json.begin_object();
  json.member("status", name_of(state->status));
  if (state->last_seen) json.member("lastSeen", proto::format_ews_time(*state->last_seen));
  json.member("action", state->resubscribe ? "resubscribe" : "none");
  json.end_object();
  co_return answer;
}

Task<ApiResult<Answer>> DeviceApi::Impl::update_token(const Request& request) {
  const auto& [exchange, tenant, document] = request;
  ApiResult<DeviceIdentity> who = read_identity(document, tenant, core.node.vault, true);
  if (!who) co_return std::unexpected(std::move(who.error()));
  ApiResult<std::string_view> token = read_push_token(document);
  if (!token) co_return std::unexpected(std::move(token.error()));
  Registrar* there = home(who->user);
  const DeviceIdentity* asks = &*who;
  std::string_view push_token = *token;
  BH_CO_STEP(co_await on_core(core.node.home_core(who->user),
                              [there, asks, push_token] { return there->update_token(*asks, push_token); }));
  Answer answer;
  answer.status = 204;
  co_return answer;
}

Task<ApiResult<Answer>> DeviceApi::Impl::unsubscribe(const Request& request) {
  const auto& [exchange, tenant, document] = request;
  ApiResult<DeviceIdentity> who = read_identity(document, tenant, core.node.vault, true);
  if (!who) co_return std::unexpected(std::move(who.error()));
  Registrar* there = home(who->user);
  const DeviceIdentity* asks = &*who;
  BH_CO_STEP(co_await on_core(core.node.home_core(who->user), [there, asks] { return there->unsubscribe(*asks); }));
  Answer answer;
  answer.status = 204;
  co_return answer;
}

}  // namespace bellhop::service
