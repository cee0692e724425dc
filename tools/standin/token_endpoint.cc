// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/token_endpoint.h"

#include <algorithm>
#include <array>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "proto/json_writer.h"
#include "proto/oauth.h"
#include "proto/target.h"
#include "tools/standin/body.h"
#include "tools/standin/tls.h"

namespace bellhop::standin {
namespace {

using proto::HttpMethod;

constexpr uint64_t kFormBytesMax = 64 * 1024;
constexpr size_t kOversizedBytes = 1 << 20;
constexpr Duration kStall = 60s;
constexpr std::string_view kPath = "/token";
constexpr std::array<std::string_view, 13> kFaultNames = {
    "none", "invalid_grant", "interaction", "throttled", "server_error", "unavailable", "redirect",
    "html", "oversized",     "stall",       "hold",      "drop",         "truncated"};

// A decoded parameter of a form; nothing where it is absent or broken.
std::optional<std::string> form_value(std::string_view form, std::string_view name) {
  auto raw = proto::query_parameter(form, name);
  if (!raw || !*raw) return std::nullopt;
  std::string text(**raw);
  std::ranges::replace(text, '+', ' ');
  auto decoded = proto::percent_decode(text);
  return decoded ? std::optional(*std::move(decoded)) : std::nullopt;
}

std::string error_body(std::string_view error) {
  std::string body;
  proto::JsonWriter(body)
      .begin_object()
      .member("error", error)
      .member("error_description", "as the stand-in says")
      .end_object();
  return body;
}

Task<void> respond(service::HttpExchange& exchange, uint16_t status, std::string body,
                   std::string_view type = "application/json", proto::HeaderField more = {}) {
  proto::HeaderField headers[2] = {{"cache-control", "no-store"}, more};
  size_t count = more.name.empty() ? 1 : 2;
  (void)co_await exchange.respond({.status = status, .content_type = type, .body = body, .headers = {headers, count}});
  wipe(body);
}

}  // namespace

std::optional<TokenFaultKind> parse_token_fault(std::string_view name) {
  auto at = std::ranges::find(kFaultNames, name);
  if (at == kFaultNames.end()) return std::nullopt;
  return static_cast<TokenFaultKind>(at - kFaultNames.begin());
}

class TokenEndpoint::Control final : public ControlHandler {
 public:
  explicit Control(TokenEndpoint& owner) : owner_(owner) {}

 private:
  Task<ControlAnswer> answer(const ControlRequest& request) override {
    if (request.is(HttpMethod::post, "/tokens")) co_return begin(request);
    if (request.is(HttpMethod::get, "/books")) co_return books();
    if (request.is(HttpMethod::post, "/rules")) co_return set_rules(request);
    if (request.is(HttpMethod::post, "/faults")) co_return add_fault(request);
    if (request.is(HttpMethod::delete_, "/faults")) {
      owner_.faults_.clear();
      co_return ControlAnswer::ok();
    }
    if (request.is(HttpMethod::post, "/revoke")) {
      co_return ControlAnswer::done(owner_.families_.revoke(request.text("user")) > 0, "the user has no token");
    }
    co_return ControlAnswer::problem(404, "no such control");
  }

  ControlAnswer begin(const ControlRequest& request) {
    std::string user = request.text("user");
    std::string token = user.empty() ? std::string() : owner_.families_.begin(user);
    if (token.empty()) return ControlAnswer::problem(400, "user is missing, or there are too many tokens");
    ControlAnswer reply;
    proto::JsonWriter(reply.body)
        .begin_object()
        .member("refreshToken", token)
        .member("tokenEndpoint", owner_.url())
        .member("clientId", owner_.options_.client_id)
        .member("scope", owner_.options_.scope)
        .end_object();
    return reply;
  }
  ControlAnswer books() {
    const TokenBooks& books = owner_.families_.books;
    ControlAnswer reply;
    proto::JsonWriter(reply.body)
        .begin_object()
        .member("families", books.families)
        .member("requests", books.requests)
        .member("grants", books.grants)
        .member("rotations", books.rotations)
        .member("graceUses", books.grace_uses)
        .member("claims", books.claims)
        .member("reuses", books.reuses)
        .member("revoked", books.revoked)
        .member("refused", books.refused)
        .member("faulted", books.faulted)
        .end_object();
    return reply;
  }
  ControlAnswer set_rules(const ControlRequest& request) {
    TokenRules& rules = owner_.families_.rules;
    auto seconds = [&](std::string_view name, Duration now) -> Duration {
      return std::chrono::seconds(request.number(name, static_cast<uint64_t>(now / 1s)));
    };
    rules.lifetime = seconds("lifetimeSeconds", rules.lifetime);
    rules.grace = seconds("graceSeconds", rules.grace);
    rules.rotate = request.flag("rotate", rules.rotate);
    return ControlAnswer::ok();
  }
  ControlAnswer add_fault(const ControlRequest& request) {
    auto kind = parse_token_fault(request.text("kind"));
    if (!kind) return ControlAnswer::problem(400, "unknown kind");
    bool added = owner_.add_fault({.kind = *kind,
                                   .count = request.number("count", 0),
                                   .delay = std::chrono::milliseconds(request.number("delayMs", 0))});
    return added ? ControlAnswer::ok() : ControlAnswer::problem(409, "too many faults");
  }

  TokenEndpoint& owner_;
};

TokenEndpoint::TokenEndpoint(TokenEndpointOptions options)
    : options_(std::move(options)), families_(options_.key, options_.rules), core_(io::core()) {}

TokenEndpoint::~TokenEndpoint() {
  // Where run() never came to take them.
  if (listener_) io::close(listener_);
  if (control_listener_) io::close(control_listener_);
}

Result<std::unique_ptr<TokenEndpoint>> TokenEndpoint::make(TokenEndpointOptions options, std::string& complaint) {
  std::unique_ptr<TokenEndpoint> endpoint(new TokenEndpoint(std::move(options)));
  const TokenEndpointOptions& made = endpoint->options_;
  BH_CHECK(made.key != nullptr);
  BH_TRY(endpoint->ticket_keys_, make_ticket_keys());
  BH_CHECKED(make_server_context(made.certificate_pem, made.key_pem, "http/1.1", endpoint->ticket_keys_, complaint));
  endpoint->address_ = made.listen;
  BH_TRY(endpoint->listener_, open_listener(endpoint->address_, false, complaint));
  if (made.control) {
    endpoint->control_address_ = *made.control;
    BH_TRY(endpoint->control_listener_, open_listener(endpoint->control_address_, false, complaint));
  }
  return endpoint;
}

std::string TokenEndpoint::url() const {
  return "https://" + options_.name + ":" + std::to_string(address_.port) + std::string(kPath);
}

bool TokenEndpoint::add_fault(TokenFault fault) {
  if (faults_.size() >= kFaultsMax) return false;
  faults_.add(RuleList<TokenFault>::make(fault));
  return true;
}

Task<void> TokenEndpoint::run() {
  if (io::core() != core_) co_return;
  std::string complaint;
  auto tls = make_server_context(options_.certificate_pem, options_.key_pem, "http/1.1", ticket_keys_, complaint);
  BH_CHECK(tls);  // make() tried it
  service::HttpServer http(*this, {}, *tls);
  Control control(*this);
  service::HttpServer control_http(control, {.connections_max = 64}, nullptr);
  TaskScope servers(&co_await current_context());
  servers.spawn(http.run(std::exchange(listener_, {})));
  if (control_listener_) servers.spawn(control_http.run(std::exchange(control_listener_, {})));
  (void)co_await stop_asked_.wait();
  servers.request_stop();
  co_await servers.join();
}

Task<bool> TokenEndpoint::stop() {
  struct Stop {
    static Task<bool> run(Event* event) {
      event->set();
      co_return true;
    }
  };
  co_return co_await on_core(core_, [this] { return Stop::run(&stop_asked_); });
}

Task<void> TokenEndpoint::handle(service::HttpExchange& exchange) {
  if (proto::split_target(exchange.target()).path != kPath || exchange.method() != HttpMethod::post) {
    co_await respond(exchange, exchange.method() == HttpMethod::post ? 404 : 405, error_body("invalid_request"));
    co_return;
  }
  BodyText body(kFormBytesMax);
  if (!co_await exchange.read_body(kFormBytesMax, body)) co_return;
  co_await answer(exchange, body.text);
}

Task<void> TokenEndpoint::answer(service::HttpExchange& exchange, std::string_view form) {
  TokenBooks& books = families_.books;
  ++books.requests;
  TokenFault fault;
  if (const TokenFault* found = faults_.take([](const TokenFault&) { return true; })) {
    fault = *found;
    ++books.faulted;
  }
  if (fault.delay > Duration(0) && !co_await sleep_for(fault.delay)) co_return;
  bool instead = fault.kind != TokenFaultKind::none && fault.kind < TokenFaultKind::hold;
  if (instead) {
    co_await follow(exchange, fault.kind, {});
    co_return;
  }
  auto grant_type = form_value(form, "grant_type"), client_id = form_value(form, "client_id");
  auto token = form_value(form, "refresh_token");
  bool typed = ascii_equal_ignoring_case(exchange.headers().find("content-type").value_or(""), proto::kFormMediaType);
  std::string_view wrong = !typed || !grant_type || !token                ? "invalid_request"
                           : *grant_type != "refresh_token"               ? "unsupported_grant_type"
                           : client_id.value_or("") != options_.client_id ? "invalid_client"
                                                                          : "";
  if (!wrong.empty()) {
    ++books.refused;
    co_await respond(exchange, 400, error_body(wrong));
    co_return;
  }
  if (form_value(form, "claims")) ++books.claims;
  auto granted = families_.grant(*token, io::wall_now());
  wipe(*token);
  if (!granted) {
    co_await respond(exchange, 400, error_body("invalid_grant"));
    co_return;
  }
  std::string body;
  proto::JsonWriter json(body);
  json.begin_object()
      .member("token_type", "Bearer")
      .member("expires_in", static_cast<uint64_t>(families_.rules.lifetime / 1s))
      .member("access_token", granted->access_token);
  if (!granted->refresh_token.empty()) json.member("refresh_token", granted->refresh_token);
  json.end_object();
  co_await follow(exchange, fault.kind, std::move(body));
}

Task<void> TokenEndpoint::follow(service::HttpExchange& exchange, TokenFaultKind kind, std::string body) {
  switch (kind) {
    case TokenFaultKind::none:
      co_await respond(exchange, 200, std::move(body));
      break;
    case TokenFaultKind::invalid_grant:
      co_await respond(exchange, 400, error_body("invalid_grant"));
      break;
    case TokenFaultKind::interaction:
      co_await respond(exchange, 400, error_body("interaction_required"));
      break;
    case TokenFaultKind::throttled:
      co_await respond(exchange, 429, error_body("slow_down"), "application/json", {"retry-after", "1"});
      break;
    case TokenFaultKind::server_error:
      co_await respond(exchange, 500, error_body("server_error"));
      break;
    case TokenFaultKind::unavailable:
      co_await respond(exchange, 503, "<html>Service Unavailable</html>", "text/html");
      break;
    case TokenFaultKind::redirect:
      co_await respond(exchange, 302, {}, "", {"location", "https://elsewhere.example.com/token"});
      break;
    case TokenFaultKind::html:
      co_await respond(exchange, 200, "<html><body>Please sign in</body></html>", "text/html");
      break;
    case TokenFaultKind::oversized:
      co_await respond(exchange, 200, "{\"access_token\":\"" + std::string(kOversizedBytes, 'a') + "\"}");
      break;
    case TokenFaultKind::stall:
    case TokenFaultKind::hold:
      (void)co_await sleep_for(kStall);
      break;
    case TokenFaultKind::drop:
      break;  // unanswered: the server ends the connection
    case TokenFaultKind::truncated:
      body.resize(body.size() / 2);
      co_await respond(exchange, 200, std::move(body));
      break;
  }
}

}  // namespace bellhop::standin
