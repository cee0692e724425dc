// SPDX-License-Identifier: Apache-2.0
// The gateway, as operators look into it: who asked lately, how its upstreams and Kerberos are, where Exchange sent accounts.
// Each core knows its own part; all are asked. Kerberos is one for all.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "core/cross_core.h"
#include "core/io.h"
#include "crypto/hash.h"
#include "proto/device_key.h"
#include "proto/target.h"
#include "service/admin_parts.h"
#include "service/error_texts.h"
#include "service/gateway.h"
#include "service/kerberos.h"
#include "service/policy_config_rules.h"
#include "service/server.h"
#include "service/vault.h"

namespace bellhop::service::admin {
namespace {

using proto::JsonWriter;
using proto::ProblemCode;

constexpr size_t kRequestsDefault = 50;
constexpr size_t kRequestsMax = 256;
constexpr size_t kRedirectsMax = 1'000;  // shown

// Runs ask(gateway) on each core that has one, and gives each answer to take(), here.
template <class Ask, class Take>
Task<void> ask_all(Core& core, Ask ask, Take take) {
  using Answer = std::invoke_result_t<Ask&, Gateway&>;
  struct There {
    static Task<std::optional<Answer>> run(Core* there, Ask* asked) {
      if (!there || !there->gateway) co_return std::nullopt;
      co_return (*asked)(*there->gateway);
    }
  };
  Ask* asked = &ask;
  for (unsigned i = 0; i < core.node.cores.size(); ++i) {
    Core* there = core.node.cores[i];
    std::optional<Answer> answer = co_await on_core(i, [there, asked] { return There::run(there, asked); });
    if (answer) take(*std::move(answer));
  }
}

// The query of a look-up: `tenant`, `limit`. An unknown or repeated name is refused.
struct LookUp {
  std::string subject;  // what stands in the path, decoded
  std::string tenant;   // empty: none was named
  size_t limit = kRequestsDefault;
};

std::optional<LookUp> read_look_up(const Call& call, bool with_tenant, std::string& complaint) {
  LookUp look_up;
  auto subject = proto::percent_decode(call.argument);
  if (!subject || !utf8_valid(*subject)) {
    complaint = "what is looked up is no text; escape it as UTF-8 with %";
    return std::nullopt;
  }
  look_up.subject = *std::move(subject);
  std::set<std::string_view> seen;
  for (std::string_view rest = call.query; !rest.empty();) {
    size_t end = std::min(rest.find('&'), rest.size());
    std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    size_t equals = std::min(part.find('='), part.size());
    std::string_view name = part.substr(0, equals), value = part.substr(std::min(equals + 1, part.size()));
    if (!seen.insert(name).second) {
      complaint = "a parameter is given twice";
      return std::nullopt;
    }
    if (name == "tenant" && with_tenant) {
      look_up.tenant = value;
    } else if (name == "limit") {
      auto limit = parse_decimal(value);
      if (!limit || *limit < 1 || *limit > kRequestsMax) {
        complaint = "limit is from 1 to 256";
        return std::nullopt;
      }
      look_up.limit = *limit;
    } else {
      complaint = with_tenant ? "there are the parameters tenant and limit" : "there is the parameter limit";
      return std::nullopt;
    }
  }
  return look_up;
}

Task<void> respond_no_gateway(Call& call) {
  return respond_problem(call.exchange, 404, ProblemCode::unknown, "this process is no gateway; roles in its configuration names none");
}

void append_request(JsonWriter& json, const GatewayTrailEntry& entry) {
  json.begin_object()
      .member("at", timestamp_ms(entry.at))
      .member("outcome", name_of(entry.outcome))
      .member("endpoint", LabelSet<GatewayEndpointLabel>::values[static_cast<size_t>(entry.endpoint)])
      .member("route", entry.route.view());
  if (entry.status != 0) json.member("status", entry.status);
  if (entry.outcome == GatewayOutcome::blocked_policy || entry.outcome == GatewayOutcome::blocked_parked ||
      entry.outcome == GatewayOutcome::unavailable_policy) {
    json.member("reason", name_of(entry.reason));
    if (entry.rule.size > 0) json.member("rule", entry.rule.view());
  }
  if (!entry.account.zero()) json.member("user", to_hex(entry.account));
  if (entry.device) json.member("device", to_hex(compliance_key(*entry.device)));
  if (entry.device_type.size > 0) json.member("deviceType", entry.device_type.view());
  if (entry.mail_client.size > 0) json.member("mailClient", entry.mail_client.view());
  if (entry.operation.size > 0) json.member("operation", entry.operation.view());
  json.member("tookMs", static_cast<double>(entry.took.count()) / 1e6).end_object();
}

// What all cores remember, the newest first.
template <class Find>
Task<void> respond_requests(Call& call, const LookUp& look_up, Find find) {
  if (!call.core.gateway) {
    co_await respond_no_gateway(call);
    co_return;
  }
  std::vector<GatewayTrailEntry> all;
  co_await ask_all(call.core, [&](Gateway& gateway) { return find(gateway.trail()); }, [&](std::vector<GatewayTrailEntry> entries) {
    all.insert(all.end(), entries.begin(), entries.end());
  });
  std::ranges::stable_sort(all, std::greater(), &GatewayTrailEntry::at);
  if (all.size() > look_up.limit) all.resize(look_up.limit);
  std::string body;
  JsonWriter json(body);
  json.begin_object().name("requests").begin_array();
  for (const GatewayTrailEntry& entry : all) append_request(json, entry);
  json.end_array().end_object();
  co_await respond_json(call.exchange, body);
}

// One upstream, all cores together.
struct Upstream {
  GatewayUpstreamState state;
  size_t cores_resting = 0, cores = 0;
};

void add_upstream(std::vector<Upstream>& all, GatewayUpstreamState state) {
  auto place = std::ranges::find_if(all, [&](const Upstream& one) {
    return one.state.route == state.route && one.state.endpoint == state.endpoint && one.state.server == state.server;
  });
  bool resting = state.breaker != CircuitBreaker::State::closed;
  if (place == all.end()) {
    all.push_back({std::move(state), resting ? 1u : 0u, 1});
    return;
  }
  GatewayUpstreamState& sum = place->state;
  sum.connections_in_use += state.connections_in_use;
  sum.connections_idle += state.connections_idle;
  sum.requests_waiting += state.requests_waiting;
  sum.requests += state.requests;
  sum.failures += state.failures;
  sum.open_for = std::max(sum.open_for, state.open_for);
  if (state.last_failure > sum.last_failure) {
    sum.last_failure = state.last_failure;
    sum.last_error = state.last_error;
  }
  place->cores_resting += resting ? 1 : 0;
  ++place->cores;
}

Task<std::vector<Upstream>> read_upstreams(Core& core) {
  std::vector<Upstream> all;
  co_await ask_all(core, [](Gateway& gateway) { return gateway.upstreams(); }, [&](std::vector<GatewayUpstreamState> states) {
    for (GatewayUpstreamState& state : states) add_upstream(all, std::move(state));
  });
  std::ranges::sort(all, {}, [](const Upstream& one) {
    return std::tuple(one.state.route, one.state.endpoint, one.state.server.host, one.state.server.port);
  });
  co_return all;
}

void append_upstreams(JsonWriter& json, const std::vector<Upstream>& all) {
  json.name("upstreams").begin_array();
  for (const Upstream& one : all) {
    const GatewayUpstreamState& state = one.state;
    json.begin_object()
        .member("route", state.route)
        .member("endpoint", proto::endpoint_name(state.endpoint))
        .member("server", to_text(state.server))
        .member("health", one.cores_resting == 0 ? "well" : one.cores_resting == one.cores ? "resting" : "resting on some cores")
        .member("connectionsInUse", state.connections_in_use)
        .member("connectionsIdle", state.connections_idle)
        .member("requestsWaiting", state.requests_waiting)
        .member("requests", state.requests)
        .member("failures", state.failures);
    if (one.cores_resting > 0) json.member("retryInSeconds", to_milliseconds(state.open_for) / 1000);
    if (state.last_failure != WallTime()) json.member("lastFailure", timestamp(state.last_failure));
    if (state.last_error.domain != Domain::none) json.member("lastError", error_text(state.last_error));
    json.end_object();
  }
  json.end_array();
}

void append_kerberos(JsonWriter& json, const Kerberos& kerberos) {
  KerberosStats stats = kerberos.stats();
  json.name("kerberos").begin_object();
  json.member("usersKept", stats.users)
      .member("requestsWaiting", stats.waiting)
      .member("tokens", stats.tokens)
      .member("tokensWithoutAsking", stats.from_cache)
      .member("failures", stats.failures);
  json.name("services").begin_array();
  for (const KerberosHealth::Service& one : kerberos.health().services()) {
    json.begin_object().member("service", one.name).member("health", one.failing ? "failing" : "well");
    json.member("tokens", one.tokens).member("failures", one.failures);
    if (one.last_token != WallTime()) json.member("lastToken", timestamp(one.last_token));
    if (one.last_failure != WallTime()) json.member("lastFailure", timestamp(one.last_failure));
    if (one.last_error.domain != Domain::none) json.member("lastError", error_text(one.last_error));
    json.end_object();
  }
  json.end_array().name("troubles").begin_array();
  for (const KerberosHealth::Trouble& one : kerberos.health().troubles()) {
    json.begin_object()
        .member("realm", one.realm)
        .member("since", timestamp(one.since))
        .member("last", timestamp(one.last))
        .member("error", error_text(one.error))
        .end_object();
  }
  json.end_array().end_object();
}

}  // namespace

// ---- Look-ups: the requests that are remembered ----

Task<void> gateway_device(Call& call) {
  std::string complaint;
  std::optional<LookUp> look_up = read_look_up(call, false, complaint);
  if (!look_up) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  proto::DeviceKey device = proto::device_key(look_up->subject);
  co_await respond_requests(call, *look_up, [&](const GatewayTrail& trail) { return trail.of_device(device, look_up->limit); });
}

Task<void> gateway_account(Call& call) {
  std::string complaint;
  std::optional<LookUp> look_up = read_look_up(call, true, complaint);
  std::vector<std::string> tenants = policy_tenants(call.core.config());
  if (look_up && look_up->tenant.empty() && tenants.size() == 1) look_up->tenant = tenants.front();
  if (look_up && std::ranges::find(tenants, look_up->tenant) == tenants.end()) {
    complaint = look_up->tenant.empty() ? "there are several tenants; name one with ?tenant=" : "there is no such tenant";
    look_up.reset();
  }
  auto bytes = look_up ? from_hex(look_up->subject) : std::nullopt;
  crypto::Digest address{};
  if (look_up && (!bytes || bytes->size() != address.size())) {
    complaint = "an account is looked up by the SHA-256 of its address in lower case, as 64 hex digits";
    look_up.reset();
  }
  if (!look_up) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  std::ranges::copy(*bytes, address.begin());
  store::StoredUserId account = call.core.node.vault.user_id(look_up->tenant, address);
  co_await respond_requests(call, *look_up, [&](const GatewayTrail& trail) { return trail.of_account(account, look_up->limit); });
}

Task<void> gateway_device_type(Call& call) {
  std::string complaint;
  std::optional<LookUp> look_up = read_look_up(call, false, complaint);
  if (!look_up) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  co_await respond_requests(call, *look_up,
                            [&](const GatewayTrail& trail) { return trail.of_device_type(look_up->subject, look_up->limit); });
}

Task<void> gateway_mail_client(Call& call) {
  std::string complaint;
  std::optional<LookUp> look_up = read_look_up(call, false, complaint);
  if (!look_up) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  co_await respond_requests(call, *look_up,
                            [&](const GatewayTrail& trail) { return trail.of_mail_client(look_up->subject, look_up->limit); });
}

// ---- Upstreams, and the whole ----

Task<void> gateway_upstreams(Call& call) {
  if (!call.core.gateway) {
    co_await respond_no_gateway(call);
    co_return;
  }
  std::string body;
  JsonWriter json(body);
  json.begin_object();
  append_upstreams(json, co_await read_upstreams(call.core));
  json.end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> gateway_state(Call& call) {
  if (!call.core.gateway) {
    co_await respond_no_gateway(call);
    co_return;
  }
  struct Sums {
    size_t in_work = 0, redirects = 0;
  } sums;
  co_await ask_all(call.core, [](Gateway& gateway) { return std::pair(gateway.requests_in_work(), gateway.redirects().size()); },
                   [&](std::pair<size_t, size_t> of_core) {
                     sums.in_work += of_core.first;
                     sums.redirects += of_core.second;
                   });
  std::vector<Upstream> upstreams = co_await read_upstreams(call.core);
  LedgerSnapshot ledger = call.server.ledger();
  std::string body;
  JsonWriter json(body);
  json.begin_object().member("requestsInWork", sums.in_work).member("redirectsKept", sums.redirects);
  if (int64_t expires = call.core.node.gateway_certificate_expires_s; expires != 0) {
    json.member("certificateExpires", timestamp(WallTime(std::chrono::seconds(expires))));
  }
  json.name("outcomes").begin_object();
  for (size_t i = 0; i < kGatewayOutcomes; ++i) json.member(kGatewayOutcomeNames[i], ledger.gateway[i]);
  json.end_object();
  append_upstreams(json, upstreams);
  if (const Kerberos* kerberos = call.core.node.kerberos) append_kerberos(json, *kerberos);
  json.end_object();
  co_await respond_json(call.exchange, body);
}

// ---- Redirects that are remembered ----

Task<void> gateway_redirects(Call& call) {
  if (!call.core.gateway) {
    co_await respond_no_gateway(call);
    co_return;
  }
  size_t kept = 0;
  std::vector<std::pair<KnownRedirect, Duration>> all;
  Instant now = io::now();
  co_await ask_all(call.core, [now](Gateway& gateway) {
    return std::pair(gateway.redirects().size(), gateway.redirects().list(kRedirectsMax, now));
  }, [&](std::pair<size_t, std::vector<KnownRedirect>> of_core) {
    kept += of_core.first;
    for (KnownRedirect& redirect : of_core.second) {
      if (all.size() < kRedirectsMax) all.emplace_back(std::move(redirect), redirect.until - now);
    }
  });
  std::string body;
  JsonWriter json(body);
  json.begin_object().member("kept", kept).name("redirects").begin_array();
  for (const auto& [redirect, left] : all) {
    json.begin_object()
        .member("route", redirect.route)
        .member("server", to_text(redirect.server))
        .member("status", redirect.status)
        .member("forgottenInSeconds", to_milliseconds(left) / 1000)
        .end_object();
  }
  json.end_array().end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> forget_redirects(Call& call) {
  if (!call.core.gateway) {
    co_await respond_no_gateway(call);
    co_return;
  }
  uint16_t status = call.query == "status=451" ? 451 : call.query == "status=302" ? 302 : 0;
  if (status == 0 && !call.query.empty()) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, "there is the parameter status, which is 302 or 451");
    co_return;
  }
  size_t forgotten = 0;
  co_await ask_all(call.core, [status](Gateway& gateway) { return gateway.redirects().clear(status); },
                   [&](size_t of_core) { forgotten += of_core; });
  log_line(call.core.log, LogLevel::info, "admin_redirects_forgotten", field("redirects", forgotten), field("status", status));
  std::string body;
  JsonWriter(body).begin_object().member("forgotten", forgotten).end_object();
  co_await respond_json(call.exchange, body);
}

}  // namespace bellhop::service::admin
