// SPDX-License-Identifier: Apache-2.0
// GET /v1/status: what an operator wants to see first, on one page. Costs the same for ten mailboxes and for a million:
// numbers that would need a look at every record are taken from a sample.
#include <algorithm>
#include <functional>
#include <tuple>

#include "core/cross_core.h"
#include "core/io.h"
#include "service/admin_listing.h"
#include "service/apns_route.h"
#include "service/ews_hosts.h"
#include "service/server.h"

namespace bellhop::service::admin {
namespace {

using proto::JsonWriter;

constexpr size_t kSampleReads = 16;  // of kRowsPerRead subscriptions each
constexpr size_t kHostsShownMax = 50;
constexpr size_t kRoutesShownMax = 50;
constexpr size_t kSilentHostsShownMax = 50;
constexpr size_t kTroublesShownMax = 20;

// ---- What each core knows ----

struct CoreState {
  std::vector<EwsHostState> hosts;
  std::vector<ApnsRouteState> routes;
  std::vector<LogTrouble> troubles;
};

Task<CoreState> look_here(Core* core) { co_return CoreState{core->ews.hosts(), core->apns.routes(), core->log.troubles()}; }

void merge(std::vector<EwsHostState>& all, const std::vector<EwsHostState>& more) {
  auto name = [](const EwsHostState& state) { return std::tie(state.tenant, state.host, state.port); };
  // Worse first: probing means that it was open a moment ago.
  auto rank = [](CircuitBreaker::State state) {
    return state == CircuitBreaker::State::open ? 2 : state == CircuitBreaker::State::probing ? 1 : 0;
  };
  for (const EwsHostState& state : more) {
    auto known = std::ranges::find_if(all, [&](const EwsHostState& other) { return name(other) == name(state); });
    if (known == all.end()) {
      all.push_back(state);
      continue;
    }
    known->connections += state.connections;
    known->waiting += state.waiting;
    if (rank(state.breaker) > rank(known->breaker)) known->breaker = state.breaker;
    known->open_for = std::max(known->open_for, state.open_for);
    known->back_off_for = std::max(known->back_off_for, state.back_off_for);
    known->product = std::max(known->product, state.product);
  }
}

void merge(std::vector<ApnsRouteState>& all, const std::vector<ApnsRouteState>& more) {
  for (const ApnsRouteState& state : more) {
    auto known = std::ranges::find(all, state.name, &ApnsRouteState::name);
    if (known == all.end()) {
      all.push_back(state);
      continue;
    }
    known->connections += state.connections;
    known->free_streams += state.free_streams;
    known->waiting += state.waiting;
  }
}

void merge(std::vector<LogTrouble>& all, const std::vector<LogTrouble>& more) {
  for (const LogTrouble& trouble : more) {
    auto known = std::ranges::find(all, trouble.event, &LogTrouble::event);
    if (known == all.end()) {
      all.push_back(trouble);
      continue;
    }
    uint64_t count = known->count + trouble.count;
    if (trouble.last > known->last) *known = trouble;
    known->count = count;
  }
}

Task<CoreState> look_everywhere(const Node& node) {
  CoreState all;
  for (unsigned i = 0; i < node.cores.size(); ++i) {
    ::bellhop::service::Core* core = node.cores[i];
    CoreState one = co_await on_core(i, [core] { return look_here(core); });
    merge(all.hosts, one.hosts);
    merge(all.routes, one.routes);
    merge(all.troubles, one.troubles);
  }
  // What needs a look comes first, and stays where there are too many to show.
  std::ranges::sort(all.hosts, [](const EwsHostState& a, const EwsHostState& b) {
    bool good_a = a.breaker == CircuitBreaker::State::closed && a.back_off_for == Duration::zero();
    bool good_b = b.breaker == CircuitBreaker::State::closed && b.back_off_for == Duration::zero();
    return std::tie(good_a, a.tenant, a.host, a.port) < std::tie(good_b, b.tenant, b.host, b.port);
  });
  std::ranges::sort(all.troubles, std::greater(), &LogTrouble::last);
  co_return all;
}

// ---- A sample of the subscriptions ----

struct Sample {
  uint64_t looked_at = 0;
  std::array<uint64_t, std::size(kHealthNames)> by_health{};
  uint64_t refused = 0;
};

// The first ones in the order of their keys. Keys are hashes, so these are as good as any others.
Task<Result<Sample>> sample_subscriptions(Core& core) {
  Sample sample;
  std::optional<store::CapabilityHash> after;
  for (size_t reads = 0; reads < kSampleReads; ++reads) {
    BH_CO_TRY(auto entries, co_await core.node.store.list_subscriptions(after, kRowsPerRead));
    std::vector<Contact> contacts;
    for (const store::SubscriptionEntry& entry : entries) {
      contacts.push_back({entry.record.mailbox, entry.record.user});
    }
    co_await read_contacts(core, contacts);
    for (size_t i = 0; i < entries.size(); ++i) {
      const store::SubscriptionRecord& record = entries[i].record;
      ++sample.by_health[size_t(health_of(record, contacts[i].supervised.stage))];
      if (credentials_refused(record)) ++sample.refused;
      ++sample.looked_at;
    }
    if (entries.size() < kRowsPerRead) break;
    after = entries.back().capability;
    co_await yield_now();
  }
  co_return sample;
}

// ---- The page ----

template <class Id>
uint64_t sum(const std::vector<const MetricsShard*>& shards, Id id) {
  uint64_t total = 0;
  for (const MetricsShard* shard : shards) total += shard->value(id);
  return total;
}
uint64_t open_connections(const std::vector<const MetricsShard*>& shards, ConnectionKind kind) {
  uint64_t total = 0;
  for (const MetricsShard* shard : shards) total += shard->value(metric::connections, kind);
  return total;
}

void append_subscriptions(JsonWriter& json, const store::Counts& counts, const Sample& sample) {
  json.name("subscriptions")
      .begin_object()
      .member("alive", counts.subscriptions)
      .member("tombstones", counts.tombstones)
      .member("lookedAt", sample.looked_at);
  json.name("byState").begin_object();
  for (size_t i = 0; i < sample.by_health.size(); ++i) json.member(kHealthNames[i], sample.by_health[i]);
  json.end_object().member("credentialsRefused", sample.refused).end_object();
}

// Every mailbox counts here, not a sample.
void append_supervision(JsonWriter& json, const std::vector<const MetricsShard*>& shards, const HostOutages& outages) {
  auto mailboxes = [&](SilenceStage stage) {
    uint64_t total = 0;
    for (const MetricsShard* shard : shards) total += shard->value(metric::mailboxes_supervised, stage);
    return total;
  };
  auto asks = [&](AskReason reason) {
    uint64_t total = 0;
    for (const MetricsShard* shard : shards) total += shard->value(metric::resubscribe_asks, reason);
    return total;
  };
  std::vector<HostOutage> silent = outages.silent_hosts();
  int64_t now_s = std::chrono::floor<std::chrono::seconds>(io::now().time_since_epoch()).count();
  json.name("supervision")
      .begin_object()
      .member("active", mailboxes(SilenceStage::active))
      .member("late", mailboxes(SilenceStage::late))
      .member("lost", mailboxes(SilenceStage::lost))
      .member("devicesAsked", asks(AskReason::lost))
      .member("devicesProbed", asks(AskReason::probe))
      .member("silentHostCount", silent.size());
  json.name("silentHosts").begin_array();
  for (size_t i = 0; i < std::min(silent.size(), kSilentHostsShownMax); ++i) {
    json.begin_object()
        .member("host", silent[i].origin)
        .member("mailboxes", silent[i].mailboxes)
        .member("late", silent[i].late)
        .member("silentSeconds", std::max<int64_t>(0, now_s - silent[i].since_s))
        .end_object();
  }
  json.end_array().end_object();
}

void append_store(JsonWriter& json, store::Store& store, const store::Counts& counts) {
  json.name("store").begin_object();
  store::WriteHealth health = store.write_health();
  json.member("users", counts.users)
      .member("usersWithoutDevice", counts.users_unused)
      .member("devices", counts.devices)
      .member("tokens", counts.tokens)
      .member("commits", health.commits)
      .member("writeFailures", health.failures);
  if (health.failures > 0) json.member("lastFailure", error_text(health.failure));
  if (auto use = store.file_use()) {
    json.member("fileBytes", use->file_bytes).member("tableBytes", use->table_bytes).member("mapBytes", use->map_bytes);
  }
  json.end_object();
}

void append_queues(JsonWriter& json, const std::vector<const MetricsShard*>& shards, const CoreState& state) {
  uint64_t ews = 0, apns = 0;
  for (const EwsHostState& host : state.hosts) ews += host.waiting;
  for (const ApnsRouteState& route : state.routes) apns += route.waiting;
  json.name("queues")
      .begin_object()
      .member("eventsInFlight", sum(shards, metric::events_in_flight))
      .member("decryptions", sum(shards, metric::rsa_queue))
      .member("ewsRequests", ews)
      .member("apnsPushes", apns)
      .member("apnsStreams", sum(shards, metric::apns_streams_in_flight))
      .member("journal", sum(shards, metric::journal_records))
      .end_object();
  json.name("connections")
      .begin_object()
      .member("public", open_connections(shards, ConnectionKind::public_listener))
      .member("ews", open_connections(shards, ConnectionKind::ews))
      .member("apns", open_connections(shards, ConnectionKind::apns))
      .member("token", open_connections(shards, ConnectionKind::token))
      .end_object();
}

uint64_t whole_seconds(Duration duration) {
  return uint64_t(std::chrono::ceil<std::chrono::seconds>(duration).count());
}

void append_hosts(JsonWriter& json, const std::vector<EwsHostState>& hosts, const Tenants& tenants) {
  constexpr std::string_view kBreakers[] = {"closed", "open", "probing"};
  json.name("ews").begin_object().member("hostCount", hosts.size()).name("hosts").begin_array();
  for (size_t i = 0; i < std::min(hosts.size(), kHostsShownMax); ++i) {
    const EwsHostState& host = hosts[i];
    json.begin_object();
    if (host.tenant < tenants.all().size()) json.member("tenant", tenants.all()[host.tenant].config.id);
    json.member("host", host.host)
        .member("port", host.port)
        .member("server", LabelSet<ExchangeProduct>::values[size_t(host.product)])
        .member("connections", host.connections)
        .member("waiting", host.waiting)
        .member("breaker", kBreakers[size_t(host.breaker)])
        .member("breakerSeconds", whole_seconds(host.open_for))
        .member("backOffSeconds", whole_seconds(host.back_off_for))
        .end_object();
  }
  json.end_array().end_object();
}

void append_routes(JsonWriter& json, const std::vector<ApnsRouteState>& routes) {
  json.name("apns").begin_object().member("routeCount", routes.size()).name("routes").begin_array();
  for (size_t i = 0; i < std::min(routes.size(), kRoutesShownMax); ++i) {
    const ApnsRouteState& route = routes[i];
    json.begin_object().member("team", route.name.team_id).member("key", route.name.key_id);
    if (!route.name.certificate.empty()) json.member("certificate", route.name.certificate);
    json.member("environment", route.name.environment == ApnsEnvironment::production ? "production" : "sandbox")
        .member("tokens", route.name.proven ? "proven" : "unproven")
        .member("connections", route.connections)
        .member("freeStreams", route.free_streams)
        .member("waiting", route.waiting)
        .end_object();
  }
  json.end_array().end_object();
}

void append_troubles(JsonWriter& json, const std::vector<LogTrouble>& troubles) {
  json.name("troubles").begin_array();
  for (size_t i = 0; i < std::min(troubles.size(), kTroublesShownMax); ++i) {
    const LogTrouble& trouble = troubles[i];
    json.begin_object()
        .member("event", trouble.event)
        .member("level", trouble.level == LogLevel::error ? "error" : "warning")
        .member("count", trouble.count)
        .member("last", timestamp(trouble.last));
    if (trouble.error.domain != Domain::none) json.member("error", error_text(trouble.error));
    json.end_object();
  }
  json.end_array();
}

}  // namespace

Task<void> status(Call& call) {
  Core& core = call.core;
  const Node& node = core.node;
  CoreState state = co_await look_everywhere(node);
  auto counts = co_await node.store.counts();
  Result<Sample> sample = fail(counts ? Error() : counts.error());
  if (counts) sample = co_await sample_subscriptions(core);
  if (!sample) {
    co_await respond_store_failure(call.exchange, sample.error());
    co_return;
  }
  std::vector<const MetricsShard*> shards = call.server.shards();
  WallTime started = call.server.started(), now = io::wall_now();
  std::string body;
  JsonWriter json(body);
  json.begin_object()
      .member("version", BELLHOP_VERSION)
      .member("state", node.leaving || node.draining ? "draining" : node.ready ? "ready" : "starting")
      .member("started", timestamp(started))
      .member("uptimeSeconds", std::max<int64_t>(0, to_unix_seconds(now) - to_unix_seconds(started)))
      .member("cores", node.cores.size())
      .member("backend", io::backend_description());
  json.name("ledger").begin_object();
  append_ledger(json, call.server.ledger());
  json.end_object();
  append_subscriptions(json, *counts, *sample);
  append_supervision(json, shards, node.host_outages);
  append_store(json, node.store, *counts);
  json.name("keys")
      .begin_object()
      .member("pool", counts->keys_pool)
      .member("poolTarget", core.config().keys.pool_target)
      .member("used", counts->keys - counts->keys_pool)
      .end_object();
  append_queues(json, shards, state);
  append_hosts(json, state.hosts, core.tenants());
  append_routes(json, state.routes);
  append_troubles(json, state.troubles);
  json.end_object();
  co_await respond_json(call.exchange, body);
}

}  // namespace bellhop::service::admin
