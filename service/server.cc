// SPDX-License-Identifier: Apache-2.0
// Server: the life of the process: start, serve, reload. How one process follows another, and how it ends, is
// server_handover.cc.
#include "service/server.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/socket.h"
#include "core/tls/context.h"
#include "crypto/arena.h"
#include "service/admin.h"
#include "service/audit.h"
#include "service/compliance_duties.h"
#include "service/expiry.h"
#include "service/journal.h"
#include "service/kek_keeper.h"
#include "service/key_maker.h"
#include "service/policy_config_rules.h"
#include "service/rsa_engines.h"
#include "service/server_parts.h"
#include "service/store_watch.h"

namespace bellhop::service {
namespace {

constexpr Duration kTick = 1s;
constexpr size_t kSignalReloadsMax = 2;  // one under way, one that waits

HttpServerLimits admin_limits(const AdminListenerConfig& config) {
  Duration timeout = std::chrono::milliseconds(config.request_timeout_ms);
  return {.connections_max = config.connections_max, .header_timeout = timeout, .write_stall_timeout = timeout};
}

// Before anybody asks: what has not been read yet blocks nobody. A source that is known goes on as it is.
void expect_sources(Compliance& compliance, const Config& config) {
  for (const PolicySourceConfig& source : config.policy.sources) {
    std::string tenant = source_tenant(config, source);
    if (compliance.source(tenant).kind != SourceKind::api) continue;
    SourceKind kind = source.kind == PolicySourceKind::file ? SourceKind::file : SourceKind::uem;
    compliance.note_failure(tenant, kind, SourceState::waiting, "", std::chrono::minutes(source.stale_after_minutes));
  }
}

void note_kerberos(MetricsShard& metrics, const Kerberos& kerberos) {
  KerberosStats stats = kerberos.stats();
  metrics.set(metric::kerberos_requests_waiting, stats.waiting);
  metrics.set(metric::kerberos_users_kept, stats.users);
  metrics.set(metric::kerberos_realms_in_trouble, kerberos.health().realms_in_trouble());
}

// A listener's own counts, since the last look, into the metrics.
void note_connections(MetricsShard& metrics, const HttpServerStats& now, HttpServerStats& before) {
  metrics.add(metric::connections_accepted, now.accepted - before.accepted);
  auto trouble = [&](ConnectionTrouble reason, uint64_t HttpServerStats::*count) {
    metrics.add(metric::connection_troubles, reason, now.*count - before.*count);
  };
  trouble(ConnectionTrouble::connections_limit, &HttpServerStats::refused_full);
  trouble(ConnectionTrouble::address_limit, &HttpServerStats::refused_address);
  trouble(ConnectionTrouble::address_rate, &HttpServerStats::refused_rate);
  trouble(ConnectionTrouble::proxy_header, &HttpServerStats::proxy_headers_refused);
  trouble(ConnectionTrouble::handshake_failed, &HttpServerStats::handshakes_failed);
  trouble(ConnectionTrouble::timed_out, &HttpServerStats::timed_out);
  trouble(ConnectionTrouble::malformed, &HttpServerStats::malformed);
  trouble(ConnectionTrouble::http2_flood, &HttpServerStats::http2_flooded);
  trouble(ConnectionTrouble::http2_violation, &HttpServerStats::http2_violations);
  trouble(ConnectionTrouble::streams_limit, &HttpServerStats::http2_streams_refused);
  uint64_t http2 = now.http2_requests - before.http2_requests;
  metrics.add(metric::http_requests, HttpVersion::http2, http2);
  metrics.add(metric::http_requests, HttpVersion::http1, now.requests - before.requests - http2);
  before = now;
}

Task<Status> wait_event(Event& event) { co_return co_await event.wait(); }

}  // namespace

Server::Server(Config config, StartFiles files, store::Store& store)
    : config_(std::move(config)),
      files_(std::move(files)),
      store_(store),
      rsa_plan_(plan_rsa(config_.keys.rsa_engine, rsa_complaint_)) {
  if (!config_.is_gateway() || !config_.gateway.kerberos.on()) return;
  auto kerberos = Kerberos::open(config_.gateway.kerberos, kerberos_complaint_);
  if (kerberos) kerberos_ = *std::move(kerberos);
}
Server::~Server() = default;

void Server::fail_start(std::string complaint) {
  failed_ = true;
  if (complaint_.empty()) complaint_ = std::move(complaint);
}

std::vector<const MetricsShard*> Server::shards() const {
  std::vector<const MetricsShard*> all;
  for (const auto& shard : shards_) all.push_back(shard.get());
  return all;
}

LedgerSnapshot Server::ledger() const {
  LedgerSnapshot sum;
  for (const auto& shard : shards_) sum += ledger_snapshot(*shard);
  return sum;
}

// On core 0, before any other core does anything: what is shared.
Task<bool> Server::start() {
  set_tls_clock(&io::wall_now);
  started_at_ = io::wall_now();
  io::random(log_salt_);
  if (!rsa_plan_) {
    fail_start(rsa_complaint_);
    co_return false;
  }
  if (!kerberos_complaint_.empty()) {
    fail_start(kerberos_complaint_);
    co_return false;
  }
  handover_ = Handover(handover_options_);
  if (!co_await ask_predecessor()) co_return false;
  // Where nobody runs, at once: nothing of ours may meet a process that should not be there.
  if (!handover_.asked() && !co_await own()) co_return false;
  make_ticket_keys();
  for (unsigned i = 0; i < io::cores(); ++i) shards_.push_back(std::make_unique<MetricsShard>());
  parts_.resize(io::cores());
  requests_of_core_.resize(io::cores());

  auto tenants = Tenants::make(config_);
  if (!tenants) {
    fail_start(fmt::format("a tenant's EWS allow-list does not parse: {}", error_text(tenants.error())));
    co_return false;
  }
  auto first = std::make_shared<const Generation>(1, config_, *std::move(tenants));
  auto vault = co_await Vault::open(*files_.keyring, store_);
  if (!vault) {
    fail_start(fmt::format("{}: the store's index key cannot be opened with this keyring: {}; use the keyring that the "
                           "store was made with", config_.keyring_file, error_text(vault.error())));
    co_return false;
  }
  vault_.emplace(*std::move(vault));
  compliance_ = std::make_unique<Compliance>(store_, *vault_);
  compliance_->set_tenants(policy_tenants(config_));
  compliance_->set_names_max(config_.policy.devices_max);
  policy_rules_ = PolicyRules::make(config_, *vault_);
  std::string complaint;
  auto tokens = ApnsProviderTokens::make(config_, store_, *vault_, complaint);
  if (!tokens) {
    fail_start(std::move(complaint));
    co_return false;
  }
  apns_tokens_ = *std::move(tokens);
  if (!make_listener_contexts()) co_return false;
  node_.emplace(first, store_, *vault_, *apns_tokens_);
  node_->cores.resize(io::cores());
  node_->compliance = compliance_.get();
  node_->kerberos = kerberos_.get();
  key_maker_ = std::make_unique<KeyMaker>(config_.keys, store_, *vault_, *shards_[0]);
  supervisor_.emplace(supervisor_options_, io::cores());
  co_return open_listeners();
}

// Without a role its listener has none.
bool Server::make_listener_contexts() {
  listener_.resize(io::cores());
  gateway_listener_.resize(io::cores());
  for (unsigned core = 0; core < io::cores(); ++core) {
    struct One {
      bool on;
      const PublicListenerConfig& config;
      const StartFiles::Listener& files;
      std::shared_ptr<TlsContext>& context;
      const ClientCertificates* certificates = nullptr;
    };
    for (One one : {One{config_.is_public(), config_.listen_public, files_.public_listener, listener_[core]},
                    One{config_.is_gateway(), config_.listen_gateway, files_.gateway_listener, gateway_listener_[core],
                        files_.certificates.get()}}) {
      if (!one.on) continue;
      std::string complaint;
      auto context = listener_context(one.config, one.files, ticket_keys_, complaint, one.certificates);
      if (!context) {
        fail_start(std::move(complaint));
        return false;
      }
      one.context = *std::move(context);
    }
  }
  files_.wipe_private_keys();
  return true;
}

bool Server::open_listeners() {
  Status opened = listeners_.take(std::exchange(given_, {}), config_);
  if (opened) opened = listeners_.open(config_, io::cores());
  if (!opened) fail_start(listeners_.complaint());
  return opened.has_value();
}

// Awaits that every core has come here. Runs on core 0.
Task<bool> Server::meet(Event& event, unsigned& arrived) {
  if (++arrived == io::cores()) event.set();
  co_return (co_await event.wait()).has_value();
}

Task<bool> Server::wait_ready() {
  (void)co_await wait_event(ready_);
  co_return !failed_;
}

// What a process before this one wrote is there now.
Task<void> Server::load_compliance() {
  Status loaded = co_await compliance_->load();
  expect_sources(*compliance_, config_);
  if (!loaded) {
    fail_start(fmt::format("what is known of devices cannot be read: {}; run `bellhop store check`", error_text(loaded.error())));
  }
}

Task<void> Server::run(unsigned index) {
  if (index == 0) {
    if (!co_await start()) failed_ = true;
    started_.set();
  }
  struct Steps {
    static Task<bool> started(Server* server) {
      (void)co_await wait_event(server->started_);
      co_return !server->failed_;
    }
    static Task<bool> owned(Server* server) {
      (void)co_await wait_event(server->owned_);
      co_return !server->failed_;
    }
  };
  if (!co_await on_core(0, [this] { return Steps::started(this); })) {
    if (index == 0) {
      listeners_.close_all();
      ready_.set();
    }
    (void)co_await store_.leave_core();
    co_return;
  }
  {
    CoreParts parts(*this, index);
    parts_[index] = &parts;
    node_->cores[index] = &parts.core;
    co_await on_core(0, [this] { return meet(all_made_, made_); });
    if (index == 0) {
      if (handover_.asked()) co_await own_unless_stopped();
      if (!failed_) co_await load_compliance();
      if (!failed_) open_more_listeners(parts.log);
      owned_.set();
    }
    if (co_await on_core(0, [this] { return Steps::owned(this); })) {
      co_await serve(parts);
    } else if (index == 0) {
      listeners_.close_all();
      ready_.set();
    }
    // Other cores may still send callbacks to this home core: all listeners must be done before anything closes.
    co_await on_core(0, [this] { return meet(all_served_, served_); });
    co_await parts.supervision.close();
    co_await parts.renewal.close();
    co_await parts.mailboxes.close();
    if (parts.gateway) co_await parts.gateway->close();
    co_await parts.ews.close();
    co_await parts.tokens.close();
    co_await parts.apns.close();
    parts.log.flush_suppressed();
    parts_[index] = nullptr;  // a late drain() finds nothing to do
  }
  Status left = co_await store_.leave_core();
  co_await on_core(0, [this] { return meet(all_left_, left_); });
  if (index == 0) handover_.let_go();
  if (!left) io::write_log(fmt::format("the store could not be closed in good order: {}\n", error_text(left.error())));
}

Task<void> Server::serve(CoreParts& parts) {
  unsigned index = parts.core.index;
  Context serving(&co_await current_context());
  parts.serving = &serving;
  TaskScope listeners(&serving);
  TaskScope background(&co_await current_context());
  for (io::Handle handle : listeners_.public_handles(index)) listeners.spawn(parts.http.run(handle));
  for (io::Handle handle : listeners_.gateway_handles(index)) listeners.spawn(parts.gateway_http->run(handle));
  if (parts.gateway) background.spawn(parts.gateway->watch());
  std::optional<AdminApi> admin[2];  // TCP, unix socket
  std::optional<HttpServer> admin_http[2];
  background.spawn(tick(parts));
  background.spawn(parts.supervision.run());
  background.spawn(supervisor_->tick(parts.log));
  background.spawn(parts.core.journal->restore());
  background.spawn(parts.core.journal->run());
  background.spawn(parts.core.overload.watch(parts.core));
  std::optional<KekKeeper> kek_keeper;
  std::optional<ComplianceDuties> compliance_duties;
  if (index == 0) {
    kek_keeper.emplace(store_, *vault_, parts.log, parts.metrics);
    background.spawn(kek_keeper->run());
    compliance_duties.emplace(parts.core, *compliance_);
    background.spawn(compliance_->run());
    background.spawn(compliance_duties->run());
    parts.uem_sources->take(parts.core.config(), parts.upstreams);
    background.spawn(parts.uem_sources->run());
    for (size_t i = 0; i < std::size(admin); ++i) {
      admin[i].emplace(parts.core, *this, /*trusted=*/i == 1);
      admin_http[i].emplace(*admin[i], admin_limits(config_.listen_admin), nullptr);
      background.spawn(admin_http[i]->run(listeners_.admin_handles()[i]));
    }
    if (config_.is_public()) background.spawn(key_maker_->run());
    background.spawn(watch_balance(parts.core));
    begin_reloads(parts);
    if (!config_file_.empty()) background.spawn(reloader_->watch());
    if (handle_signals_) background.spawn(watch_signals());
    log_line(parts.log, LogLevel::info, "started", field("cores", io::cores()),
             field("backend", not_personal(io::backend_description())),
             field("rsa_engine", not_personal(rsa_plan_->useful() ? rsa_plan_->kernel->name : "boringssl")));
    node_->ready = true;
    ready_.set();
    supervisor_->ready(parts.log, serving_text());
    keep_ticket_keys(parts.log);
    give_to_manager(parts.log);
    if (!handover_options_.lock_path.empty()) background.spawn(offer_place());
  }
  (void)co_await parts.drain_begun.wait();
  if (!parts.wound_down) co_await wind_down(parts).under(serving);
  co_await on_core(0, [this] { return meet(all_quiet_, quiet_); });
  node_->draining = true;
  co_await end_listeners(parts, listeners);
  parts.serving = nullptr;
  note_drained(parts);
  // The admin listener stays until the last core has answered its last callback: readiness and metrics can be watched.
  co_await on_core(0, [this] { return meet(all_drained_, drained_); });
  for (auto& http : admin_http) {
    if (http) http->drain();
  }
  background.request_stop();
  co_await background.join();
  if (index != 0) co_return;
  reloader_.reset();
  log_line(parts.log, LogLevel::info, "drained", field("requests", requests_.load()),
           field("busiest_core", *std::ranges::max_element(requests_of_core_)),
           field("finished", requests_finished_.load()), field("handed_back", requests_handed_back_.load()),
           field("connections_left", connections_left_.load()), field("balance", ledger().balance()),
           field("to_successor", handover_.handing_over()));
}

// On core 0, when all cores have begun.
void Server::begin_reloads(CoreParts& parts) {
  std::shared_ptr<const Generation> first = std::exchange(node_->start, nullptr);
  reloader_ = std::make_unique<Reloader>(
      Reloader::Parts{.store = store_,
                      .vault = *vault_,
                      .apns_tokens = *apns_tokens_,
                      .ticket_keys = ticket_keys_,
                      .log = parts.log,
                      .metrics = parts.metrics,
                      .cores = io::cores(),
                      .switch_cores = [this](std::shared_ptr<const Switch> next) { return switch_cores(std::move(next)); }},
      config_file_, std::move(first), std::move(files_.seen));
  parts.note_expiries();
  // All cores have taken what they need. What a reload replaces is not kept here, passwords and keys above all.
  files_.upstreams.reset();
  files_.keyring.reset();
  files_.gateway_routes.reset();
  files_.gateway_keys.reset();
  files_.certificates.reset();
}

// What the service manager shows.
std::string Server::serving_text() const {
  return fmt::format("serving, configuration {}", reloader_->generation()->number);
}

Task<ReloadReport> Server::reload(LogLiteral asked_by) {
  Log& log = parts_[0]->log;
  supervisor_->reloading(log);
  ReloadReport report = co_await reloader_->reload(asked_by);
  std::string status = serving_text();
  if (!report.problems.empty()) status += "; the last reload was refused: " + report.problems.front();
  std::ranges::replace(status, '\n', ' ');
  if (!node_->leaving) supervisor_->ready(log, status);  // else "stopping" was the last word
  co_return report;
}

Task<void> Server::switch_cores(std::shared_ptr<const Switch> next) {
  struct There {
    static Task<bool> take(Server* server, unsigned core, const Switch* next) {
      if (CoreParts* parts = server->parts_[core]) parts->take(*next);
      co_return true;
    }
  };
  const Switch* what = next.get();
  compliance_->set_tenants(policy_tenants(next->generation->config));
  expect_sources(*compliance_, next->generation->config);
  for (unsigned core = 0; core < io::cores(); ++core) {
    co_await on_core(core, [this, core, what] { return There::take(this, core, what); });
  }
  compliance_->note_change();  // every core has its rules
}

Task<void> Server::reload_on_signal() { (void)co_await reload("signal"); }

Task<void> Server::watch_signals() {
  TaskScope reloads(&co_await current_context());  // beside: a SIGTERM must not wait for one
  for (;;) {
    auto number = co_await next_signal();
    if (!number) break;
    Log& log = parts_[0]->log;
    if (*number == SIGHUP) {
      // One that waits for its turn reads what a third one would.
      if (!node_->leaving && reloads.live() < kSignalReloadsMax) reloads.spawn(reload_on_signal());
      continue;
    }
    log_line(log, LogLevel::info, "draining", field("signal", *number));
    co_await drain();
  }
  co_await reloads.join();
}

// Once a second: gauges, the store's health, ticket keys.
Task<void> Server::tick(CoreParts& parts) {
  Reactor& reactor = Reactor::current();
  uint64_t turns = 0, enters = 0;
  HttpServerStats counted, counted_gateway;
  StoreWatch store_watch(parts.log, parts.metrics);
  ExpiryWatch expiry_watch(parts.log);
  Instant expiry_due = io::now();
  uint64_t generation = 0;
  for (;;) {
    if (!co_await sleep_for(kTick)) co_return;
    parts.metrics.add(metric::loop_turns, reactor.stats().turns - turns);
    turns = reactor.stats().turns;
    parts.metrics.observe_longest(metric::loop_turn_longest, Duration(reactor.stats().longest_turn_ns));
    uint64_t entered = io::backend_stats().enter_calls;
    parts.metrics.add(metric::uring_enters, entered - enters);
    enters = entered;
    parts.metrics.set(metric::tasks_alive, FramePool::stats().frames_live);
    parts.metrics.set(metric::frames_bytes, FramePool::stats().bytes_live);
    HttpServerStats on_public = parts.http.stats(), on_gateway = parts.gateway_http ? parts.gateway_http->stats() : HttpServerStats();
    note_connections(parts.metrics, on_public, counted);
    note_connections(parts.metrics, on_gateway, counted_gateway);
    parts.metrics.set(metric::connections, ConnectionKind::public_listener, on_public.connections);
    parts.metrics.set(metric::connections, ConnectionKind::gateway_listener, on_gateway.connections);
    uint64_t http2 = on_public.http2_connections + on_gateway.http2_connections;
    parts.metrics.set(metric::http_connections, HttpVersion::http1, on_public.connections + on_gateway.connections - http2);
    parts.metrics.set(metric::http_connections, HttpVersion::http2, http2);
    if (parts.core.index == 0) {
      store_watch.look(store_.write_health(), io::now());
      if (uint64_t number = parts.core.generations.now().number; number != generation || io::now() >= expiry_due) {
        generation = number;
        expiry_due = io::now() + kExpiryLook;
        expiry_watch.look(parts.core.config(), *node_, io::wall_now(), io::now());
      }
      parts.metrics.set(metric::generations_alive, Generation::alive());
      parts.metrics.set(metric::secret_arena_bytes, crypto::arena_stats().bytes_committed);
      rotate_ticket_keys(parts.log);
      if (kerberos_) note_kerberos(parts.metrics, *kerberos_);
    }
  }
}

}  // namespace bellhop::service
