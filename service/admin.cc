// SPDX-License-Identifier: Apache-2.0
#include "service/admin.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <tuple>

#include "core/io.h"
#include "crypto/random.h"
#include "crypto/tokens.h"
#include "proto/http_error.h"
#include "proto/json.h"
#include "proto/json_writer.h"
#include "proto/problem.h"
#include "proto/target.h"
#include "service/admin_reload.h"
#include "service/server.h"
#include "store/error.h"

namespace bellhop::service {
namespace {

using proto::HttpMethod;
using proto::JsonWriter;
using proto::ProblemCode;

constexpr uint64_t kBodyBytesMax = 4096;
constexpr std::string_view kJson = "application/json";
constexpr std::string_view kTokensPath = "/v1/tokens";
constexpr std::string_view kTokenPrefix = "/v1/tokens/";
constexpr std::string_view kDeviceScope = "device";  // the only scope that opens something in this version

// What an operator may read of a refusal: unlike the public listener's, it says what was wrong.
Task<void> respond_problem(HttpExchange& exchange, uint16_t status, ProblemCode code, std::string_view detail,
                           std::string_view allow = {}) {
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

Task<void> respond_store_failure(HttpExchange& exchange, const Error& error) {
  return respond_problem(exchange, 503, ProblemCode::unavailable, error_text(error));
}

// A body that is small and may hold nothing secret.
class SmallBody final : public BodySink {
 public:
  Status on_body(Bytes piece) override {
    text.append(as_text(piece));
    return {};
  }
  std::string text;
};

std::string_view scope_name(store::TokenScope scope) {
  switch (scope) {
    case store::TokenScope::device: return kDeviceScope;
    case store::TokenScope::compliance: return "compliance";
    case store::TokenScope::admin: return "admin";
  }
  return "unknown";
}

std::string timestamp(WallTime time) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  auto day = std::chrono::floor<std::chrono::days>(seconds);
  std::chrono::year_month_day date(day);
  std::chrono::hh_mm_ss clock(seconds - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", int(date.year()), unsigned(date.month()),
                     unsigned(date.day()), clock.hours().count(), clock.minutes().count(), clock.seconds().count());
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
  json.begin_object()
      .member("accepted", ledger.accepted)
      .member("handedBack", ledger.handed_back)
      .member("delivered", ledger.total(DeviceOutcomeClass::delivered))
      .member("skipped", ledger.total(DeviceOutcomeClass::skipped))
      .member("dropped", ledger.total(DeviceOutcomeClass::dropped))
      .member("journaled", ledger.journaled)
      .member("inFlight", ledger.in_flight)
      .member("balance", ledger.balance());
  append_counts(json, "devices", kDeviceOutcomeNames, ledger.device);
  append_counts(json, "callbacks", kCallbackOutcomeNames, ledger.callback);
  append_counts(json, "api", kApiOutcomeNames, ledger.api);
  json.end_object();
  body += '\n';
  return body;
}

void append_token(JsonWriter& json, const store::TokenRecord& record) {
  json.begin_object()
      .member("id", to_hex(record.id))
      .member("tenant", record.tenant)
      .member("scope", scope_name(record.scope))
      .member("state", record.state == store::TokenState::active ? "active" : "revoked")
      .member("created", timestamp(record.created));
  if (record.state == store::TokenState::revoked) json.member("revoked", timestamp(record.revoked));
  json.end_object();
}

// What POST /v1/tokens asks for; on failure `complaint` says what is wrong with it.
std::optional<std::string> read_tenant(const std::string& body, const Tenants& tenants, std::string& complaint) {
  auto document = proto::JsonDocument::parse(body);
  if (!document) {
    complaint = error_text(document.error());
    return std::nullopt;
  }
  auto tenant = document->root().required_string("tenant");
  if (!tenant) {
    complaint = document->explain(tenant.error());
    return std::nullopt;
  }
  auto scope = document->root().string("scope");
  if (!scope) {
    complaint = document->explain(scope.error());
    return std::nullopt;
  }
  if (scope->value_or(kDeviceScope) != kDeviceScope) {
    complaint = "scope: the only accepted value is \"device\"";
    return std::nullopt;
  }
  if (!tenants.find(*tenant)) {
    complaint = fmt::format("the configuration has no tenant \"{}\"; its tenants:", utf8_prefix(*tenant, 64));
    size_t listed = 0;
    for (const Tenant& known : tenants.all()) {
      if (++listed > 10) {
        complaint += " …";
        break;
      }
      complaint += " " + known.config.id;
    }
    return std::nullopt;
  }
  return std::string(*tenant);
}

}  // namespace

// The routes. Each is reached by one path; `trusted` is asked for what TCP may not do.
Task<void> AdminApi::handle(HttpExchange& exchange) {
  GenerationSlot::Pin pin(core_.generations);
  std::string path(proto::split_target(exchange.target()).path);
  bool reads = exchange.method() == HttpMethod::get || exchange.method() == HttpMethod::head;
  bool open = path == "/metrics" || path == "/livez" || path == "/readyz" || path == "/startupz";
  if (!open && !trusted_) {
    co_await respond_problem(exchange, 403, ProblemCode::forbidden,
                             "over TCP only /metrics, /livez, /readyz and /startupz are served; use the unix socket");
  } else if (path == kTokensPath && exchange.method() == HttpMethod::post) {
    co_await add_token(exchange);
  } else if (path.starts_with(kTokenPrefix)) {
    if (exchange.method() == HttpMethod::delete_) {
      co_await revoke_token(exchange, path.substr(kTokenPrefix.size()));
    } else {
      co_await respond_problem(exchange, 405, ProblemCode::unknown, "the method must be DELETE", "DELETE");
    }
  } else if (path == "/v1/reload") {
    if (exchange.method() == HttpMethod::post) {
      co_await answer_reload(exchange, core_, server_);
    } else {
      co_await respond_problem(exchange, 405, ProblemCode::unknown, "the method must be POST", "POST");
    }
  } else if (path == "/v1/config" && reads) {
    co_await answer_config(exchange, core_);
  } else if (path == "/v1/drain") {
    if (exchange.method() == HttpMethod::post) {
      co_await drain(exchange);
    } else {
      co_await respond_problem(exchange, 405, ProblemCode::unknown, "the method must be POST", "POST");
    }
  } else if (open || path == "/v1/outcomes" || path == "/v1/config" || path == kTokensPath) {
    if (reads) {
      co_await read(exchange, path);
    } else {
      std::string_view allow = path == kTokensPath ? "GET, HEAD, POST" : "GET, HEAD";
      co_await respond_problem(exchange, 405, ProblemCode::unknown, "this path has no such method", allow);
    }
  } else {
    co_await respond_problem(exchange, 404, ProblemCode::unknown, "no such path");
  }
}

// Alive: the loop of core 0 turns. Started: callbacks are taken. Ready: and not about to stop.
Task<void> AdminApi::read(HttpExchange& exchange, std::string_view path) {
  bool started = core_.node.ready, draining = core_.node.draining;
  if (path == "/livez") {
    co_await respond_status(exchange, 200, "ok");
  } else if (path == "/startupz") {
    co_await respond_status(exchange, started ? 200 : 503, started ? "ok" : "starting");
  } else if (path == "/readyz") {
    co_await respond_status(exchange, started && !draining ? 200 : 503, draining ? "draining" : started ? "ok" : "starting");
  } else if (path == "/metrics") {
    co_await metrics(exchange);
  } else if (path == "/v1/outcomes") {
    std::string body = outcomes_json(server_.ledger());
    (void)co_await exchange.respond({.content_type = kJson, .body = body});
  } else {
    co_await list_tokens(exchange);
  }
}

Task<void> AdminApi::metrics(HttpExchange& exchange) {
  // What the store holds is asked for when somebody looks, so that no path of the service has to keep count. Where the
  // store cannot be read, the last numbers stand.
  if (auto counts = co_await core_.node.store.counts()) {
    core_.metrics.set(metric::users, counts->users);
    core_.metrics.set(metric::devices, counts->devices);
    core_.metrics.set(metric::subscriptions, SubscriptionState::alive, counts->subscriptions);
    core_.metrics.set(metric::subscriptions, SubscriptionState::tombstone, counts->tombstones);
    core_.metrics.set(metric::key_pool_keys, counts->keys_pool);
  }
  std::string body;
  render_prometheus(server_.shards(), body);
  (void)co_await exchange.respond({.content_type = kPrometheusContentType, .body = body});
}

Task<void> AdminApi::add_token(HttpExchange& exchange) {
  SmallBody body;
  if (Status received = co_await exchange.read_body(kBodyBytesMax, body); !received) {
    co_await respond_problem(exchange, proto::http_error_status(received.error()), ProblemCode::malformed,
                             error_text(received.error()));
    co_return;
  }
  std::string complaint;
  auto tenant = read_tenant(body.text, core_.tenants(), complaint);
  if (!tenant) {
    co_await respond_problem(exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  store::TokenRecord record{.tenant = *std::move(tenant), .scope = store::TokenScope::device, .created = io::wall_now()};
  crypto::random_bytes(record.id.bytes);
  crypto::Secret token = crypto::random_token_text();
  Status added = co_await core_.node.store.add_token(core_.node.vault.token_hash(token.reveal_text()), record);
  if (!added) {
    co_await respond_store_failure(exchange, added.error());
    co_return;
  }
  log_line(core_.log, LogLevel::info, "token_added", field("tenant", not_personal(record.tenant)),
           field("id", not_personal(to_hex(record.id))));
  // The only time that the token is seen: the store has its keyed hash.
  std::string answer;
  answer.reserve(512);
  JsonWriter json(answer);
  json.begin_object()
      .member("id", to_hex(record.id))
      .member("tenant", record.tenant)
      .member("scope", scope_name(record.scope))
      .member("token", token.reveal_text())
      .end_object();
  (void)co_await exchange.respond({.status = 201, .content_type = kJson, .body = answer});
  wipe(answer);
}

Task<void> AdminApi::list_tokens(HttpExchange& exchange) {
  auto tokens = co_await core_.node.store.list_tokens();
  if (!tokens) {
    co_await respond_store_failure(exchange, tokens.error());
    co_return;
  }
  std::sort(tokens->begin(), tokens->end(), [](const store::TokenEntry& a, const store::TokenEntry& b) {
    return std::tie(a.record.created, a.record.id) < std::tie(b.record.created, b.record.id);
  });
  std::string body;
  JsonWriter json(body);
  json.begin_object().name("tokens").begin_array();
  for (const store::TokenEntry& token : *tokens) append_token(json, token.record);
  json.end_array().end_object();
  (void)co_await exchange.respond({.content_type = kJson, .body = body});
}

Task<void> AdminApi::revoke_token(HttpExchange& exchange, std::string id_text) {
  auto id = from_hex(id_text);
  if (!id || id->size() != store::TokenId::kBytes) {
    co_await respond_problem(exchange, 404, ProblemCode::unknown, "no token has this id; an id is 16 hex digits");
    co_return;
  }
  Status revoked = co_await core_.node.store.revoke_token(store::TokenId::from(*id), io::wall_now());
  if (!revoked && store::is(revoked.error(), store::StoreError::not_found)) {
    co_await respond_problem(exchange, 404, ProblemCode::unknown, "no token has this id");
  } else if (!revoked) {
    co_await respond_store_failure(exchange, revoked.error());
  } else {
    log_line(core_.log, LogLevel::info, "token_revoked", field("id", not_personal(to_hex(*id))));
    (void)co_await exchange.respond({.status = 204});
  }
}

Task<void> AdminApi::drain(HttpExchange& exchange) {
  // The answer first: once the last callback is answered, this listener ends too.
  co_await respond_status(exchange, 202, "draining");
  log_line(core_.log, LogLevel::info, "draining", field("asked_by", "admin"));
  co_await server_.drain();
}

}  // namespace bellhop::service
