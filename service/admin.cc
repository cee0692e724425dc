// SPDX-License-Identifier: Apache-2.0
// The table of the admin interface's routes, how a request finds its own, health, metrics and the ledger.
#include "service/admin.h"

#include <fmt/format.h>

#include <array>
#include <span>
#include <string>

#include "core/io.h"
#include "proto/json_writer.h"
#include "proto/target.h"
#include "service/admin_parts.h"
#include "service/admin_reload.h"
#include "service/expiry.h"
#include "service/server.h"

namespace bellhop::service {
namespace admin {
namespace {

using proto::HttpMethod;
using proto::JsonWriter;
using proto::ProblemCode;

// Who may: everybody who reaches the loopback address, or those who may write to the unix socket.
enum class Way : uint8_t { open, socket };

struct Route {
  HttpMethod method;
  std::string_view path;  // may hold one {name}, which stands for a part of a path without a slash
  Way way;
  Task<void> (*answer)(Call& call);
};

// Every route. A new one is a line here, a function (admin_parts.h) and an entry in docs/openapi.json; a test compares.
constexpr auto kRoutes = std::to_array<Route>({
    {HttpMethod::get, "/livez", Way::open, &livez},
    {HttpMethod::get, "/readyz", Way::open, &readyz},
    {HttpMethod::get, "/startupz", Way::open, &startupz},
    {HttpMethod::get, "/metrics", Way::open, &metrics},
    {HttpMethod::get, "/openapi.json", Way::open, &describe},
    {HttpMethod::get, "/v1/status", Way::socket, &status},
    {HttpMethod::get, "/v1/outcomes", Way::socket, &outcomes},
    {HttpMethod::get, "/v1/audit", Way::socket, &audit},
    {HttpMethod::get, "/v1/explain/{thing}", Way::socket, &explain},
    {HttpMethod::get, "/v1/users", Way::socket, &list_users},
    {HttpMethod::get, "/v1/users/{id}", Way::socket, &show_user},
    {HttpMethod::get, "/v1/devices", Way::socket, &list_devices},
    {HttpMethod::get, "/v1/devices/{id}", Way::socket, &show_device},
    {HttpMethod::delete_, "/v1/devices/{id}", Way::socket, &remove_device},
    {HttpMethod::post, "/v1/devices/{id}/block", Way::socket, &block_device},
    {HttpMethod::post, "/v1/devices/{id}/unblock", Way::socket, &unblock_device},
    {HttpMethod::post, "/v1/devices/{id}/wipe", Way::socket, &wipe_device},
    {HttpMethod::get, "/v1/compliance", Way::socket, &compliance_status},
    {HttpMethod::put, "/v1/compliance", Way::socket, &replace_compliance},
    {HttpMethod::patch, "/v1/compliance", Way::socket, &change_compliance},
    {HttpMethod::get, "/v1/compliance/{device}", Way::socket, &show_compliance},
    {HttpMethod::get, "/v1/gateway", Way::socket, &gateway_state},
    {HttpMethod::get, "/v1/gateway/devices/{id}", Way::socket, &gateway_device},
    {HttpMethod::get, "/v1/gateway/accounts/{id}", Way::socket, &gateway_account},
    {HttpMethod::get, "/v1/gateway/device-types/{type}", Way::socket, &gateway_device_type},
    {HttpMethod::get, "/v1/gateway/mail-clients/{client}", Way::socket, &gateway_mail_client},
    {HttpMethod::get, "/v1/gateway/upstreams", Way::socket, &gateway_upstreams},
    {HttpMethod::get, "/v1/gateway/redirects", Way::socket, &gateway_redirects},
    {HttpMethod::delete_, "/v1/gateway/redirects", Way::socket, &forget_redirects},
    {HttpMethod::get, "/v1/subscriptions", Way::socket, &list_subscriptions},
    {HttpMethod::get, "/v1/subscriptions/{id}", Way::socket, &show_subscription},
    {HttpMethod::delete_, "/v1/subscriptions/{id}", Way::socket, &end_subscription},
    {HttpMethod::post, "/v1/keys/rotate", Way::socket, &rotate_keys},
    {HttpMethod::get, "/v1/tokens", Way::socket, &list_tokens},
    {HttpMethod::post, "/v1/tokens", Way::socket, &add_token},
    {HttpMethod::delete_, "/v1/tokens/{id}", Way::socket, &revoke_token},
    {HttpMethod::get, "/v1/config", Way::socket, &config},
    {HttpMethod::post, "/v1/reload", Way::socket, &reload},
    {HttpMethod::post, "/v1/drain", Way::socket, &drain},
});

// Nothing where `path` is not the route's; else what stands in the place of {name}, empty where it has none.
std::optional<std::string_view> match(const Route& route, std::string_view path) {
  size_t brace = route.path.find('{');
  if (brace == std::string_view::npos) return path == route.path ? std::optional<std::string_view>("") : std::nullopt;
  if (!path.starts_with(route.path.substr(0, brace))) return std::nullopt;
  std::string_view after = route.path.substr(route.path.find('}') + 1), argument = path.substr(brace);
  if (!argument.ends_with(after)) return std::nullopt;
  argument.remove_suffix(after.size());
  if (argument.empty() || argument.find('/') != std::string_view::npos) return std::nullopt;
  return argument;
}

struct Found {
  const Route* route = nullptr;  // null: no such path, or not with this method
  std::string_view argument;
  Way way = Way::socket;  // of the path
  std::string allow;      // the path's methods; empty: no such path
};

Found find_route(HttpMethod method, std::string_view path) {
  Found found;
  HttpMethod asked = method == HttpMethod::head ? HttpMethod::get : method;
  for (const Route& route : kRoutes) {
    auto argument = match(route, path);
    if (!argument) continue;
    if (!found.allow.empty()) found.allow += ", ";
    found.allow += proto::method_name(route.method);
    if (route.method == HttpMethod::get) found.allow += ", HEAD";
    found.way = route.way;
    if (route.method != asked) continue;
    found.route = &route;
    found.argument = *argument;
  }
  return found;
}

template <size_t N>
void append_counts(JsonWriter& json, std::string_view name, const std::array<std::string_view, N>& names,
                   const std::array<uint64_t, N>& counts) {
  json.name(name).begin_object();
  for (size_t i = 0; i < N; ++i) json.member(names[i], counts[i]);
  json.end_object();
}

std::string outcomes_json(const LedgerSnapshot& ledger) {
  std::string body;
  JsonWriter json(body);
  json.begin_object();
  append_ledger(json, ledger);
  append_counts(json, "devices", kDeviceOutcomeNames, ledger.device);
  append_counts(json, "callbacks", kCallbackOutcomeNames, ledger.callback);
  append_counts(json, "api", kApiOutcomeNames, ledger.api);
  append_counts(json, "gateway", kGatewayOutcomeNames, ledger.gateway);
  json.end_object();
  body += '\n';
  return body;
}

}  // namespace

void append_ledger(JsonWriter& json, const LedgerSnapshot& ledger) {
  json.member("accepted", ledger.accepted)
      .member("handedBack", ledger.handed_back)
      .member("delivered", ledger.total(DeviceOutcomeClass::delivered))
      .member("skipped", ledger.total(DeviceOutcomeClass::skipped))
      .member("dropped", ledger.total(DeviceOutcomeClass::dropped))
      .member("journaled", ledger.journaled)
      .member("inFlight", ledger.in_flight)
      .member("balance", ledger.balance());
}

// What an operator may read of a refusal: unlike the public listener's, it says what was wrong.
Task<void> respond_problem(HttpExchange& exchange, uint16_t status, ProblemCode code, std::string_view detail,
                           std::string_view allow) {
  std::string body;
  JsonWriter json(body);
  json.begin_object()
      .member("type", "urn:bellhop:problem:" + std::string(proto::problem_code_name(code)))
      .member("title", proto::problem_title(code))
      .member("status", status)
      .member("code", proto::problem_code_name(code))
      .member("detail", detail)
      .end_object();
  const proto::HeaderField fields[] = {{"allow", allow}};
  (void)co_await exchange.respond({.status = status,
                                   .content_type = proto::kProblemMediaType,
                                   .body = body,
                                   .headers = allow.empty() ? std::span<const proto::HeaderField>() : fields});
}

Task<void> respond_status(HttpExchange& exchange, uint16_t status, std::string_view word) {
  std::string body;
  JsonWriter json(body);
  json.begin_object().member("status", word).end_object();
  (void)co_await exchange.respond({.status = status, .content_type = kJson, .body = body});
}

Task<void> respond_store_failure(HttpExchange& exchange, Error error) {
  std::string text = error_text(error);
  co_await respond_problem(exchange, 503, ProblemCode::unavailable, text);
}

Task<void> respond_json(HttpExchange& exchange, std::string_view body, uint16_t status) {
  (void)co_await exchange.respond({.status = status, .content_type = kJson, .body = body});
}

std::string timestamp(WallTime time) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  auto day = std::chrono::floor<std::chrono::days>(seconds);
  std::chrono::year_month_day date(day);
  std::chrono::hh_mm_ss clock(seconds - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", int(date.year()), unsigned(date.month()),
                     unsigned(date.day()), clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

std::string timestamp_ms(WallTime time) {
  std::string text = timestamp(time);
  auto part = time - std::chrono::floor<std::chrono::seconds>(time);
  text.insert(text.size() - 1, fmt::format(".{:03}", std::chrono::duration_cast<std::chrono::milliseconds>(part).count()));
  return text;
}

// Alive: the loop of core 0 turns.
Task<void> livez(Call& call) { return respond_status(call.exchange, 200, "ok"); }

// Started: callbacks are taken.
Task<void> startupz(Call& call) {
  bool started = call.core.node.ready;
  return respond_status(call.exchange, started ? 200 : 503, started ? "ok" : "starting");
}

// Ready: started, and not about to stop.
Task<void> readyz(Call& call) {
  bool started = call.core.node.ready, draining = call.core.node.leaving || call.core.node.draining;
  return respond_status(call.exchange, started && !draining ? 200 : 503,
                        draining ? "draining" : started ? "ok" : "starting");
}

Task<void> describe(Call& call) { return respond_json(call.exchange, openapi_document()); }

Task<void> outcomes(Call& call) {
  std::string body = outcomes_json(call.server.ledger());
  co_await respond_json(call.exchange, body);
}

Task<void> metrics(Call& call) {
  // What the store holds is asked for when somebody looks, so that no path of the service has to keep count. Where the
  // store cannot be read, the last numbers stand.
  if (auto counts = co_await call.core.node.store.counts()) {
    call.core.metrics.set(metric::users, counts->users);
    call.core.metrics.set(metric::devices, counts->devices);
    call.core.metrics.set(metric::devices_unnamed, counts->devices - counts->devices_named);
    call.core.metrics.set(metric::subscriptions, SubscriptionState::alive, counts->subscriptions);
    call.core.metrics.set(metric::subscriptions, SubscriptionState::tombstone, counts->tombstones);
    call.core.metrics.set(metric::key_pool_keys, counts->keys_pool);
  }
  std::string body;
  render_prometheus(call.server.shards(), body);
  render_expiries(call.core.config(), call.core.node, io::wall_now(), body);
  (void)co_await call.exchange.respond({.content_type = kPrometheusContentType, .body = body});
}

Task<void> reload(Call& call) { return answer_reload(call.exchange, call.core, call.server); }
Task<void> config(Call& call) { return answer_config(call.exchange, call.core); }

Task<void> drain(Call& call) {
  // The answer first: once the last callback is answered, this listener ends too.
  co_await respond_status(call.exchange, 202, "draining");
  log_line(call.core.log, LogLevel::info, "draining", field("asked_by", "admin"));
  co_await call.server.drain();
}

}  // namespace admin

Task<void> AdminApi::handle(HttpExchange& exchange) {
  GenerationSlot::Pin pin(core_.generations);
  proto::TargetParts target = proto::split_target(exchange.target());
  std::string path(target.path), query(target.query.value_or(std::string_view()));
  admin::Found found = admin::find_route(exchange.method(), path);
  if (!trusted_ && (found.allow.empty() || found.way != admin::Way::open)) {
    co_await admin::respond_problem(exchange, 403, proto::ProblemCode::forbidden,
                                    "over TCP only health, /metrics and /openapi.json are served; use the unix socket");
  } else if (found.route) {
    admin::Call call{.core = core_, .server = server_, .exchange = exchange, .argument = found.argument, .query = query};
    co_await found.route->answer(call);
  } else if (!found.allow.empty()) {
    co_await admin::respond_problem(exchange, 405, proto::ProblemCode::unknown,
                                    fmt::format("this path has no such method; it has {}", found.allow), found.allow);
  } else {
    co_await admin::respond_problem(exchange, 404, proto::ProblemCode::unknown, "no such path");
  }
}

std::vector<RouteInfo> AdminApi::routes() {
  std::vector<RouteInfo> routes;
  for (const admin::Route& route : admin::kRoutes) routes.push_back({route.method, std::string(route.path)});
  return routes;
}

}  // namespace bellhop::service
