// SPDX-License-Identifier: Apache-2.0
#include "service/server.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/stop_link.h"
#include "core/tls/context.h"
#include "crypto/arena.h"
#include "service/admin.h"
#include "service/audit.h"
#include "service/autodiscover.h"
#include "service/cidrs.h"
#include "service/device_api.h"
#include "service/expiry.h"
#include "service/http_server.h"
#include "service/journal.h"
#include "service/kek_keeper.h"
#include "service/key_maker.h"
#include "service/public_handler.h"
#include "service/registration.h"
#include "service/renewal.h"
#include "service/rsa_engines.h"
#include "service/store_watch.h"
#include "service/supervision.h"

namespace bellhop::service {
namespace {

constexpr Duration kTick = 1s;
constexpr size_t kSignalReloadsMax = 2;  // one under way, one that waits
constexpr std::string_view kTickets = "tickets";  // of NamedDescriptor
// While a drain waits for connections to end, it looks this often.
constexpr Duration kDrainLook = 2ms;
// So long a new connection may take to bring its first request; Exchange and phones send it with the end of the handshake.
constexpr Duration kFirstRequest = 500ms;
// From the end of a drain's patience, when 503s are sent, to the end of the connections.
constexpr Duration kHandBackTime = 1s;

HttpServerLimits public_limits(const Config& all, unsigned cores) {
  const PublicListenerConfig& config = all.listen_public;
  auto ms = [](uint32_t value) { return Duration(std::chrono::milliseconds(value)); };
  return {.connections_max = std::max<size_t>(1, config.connections_max / cores),
          .connections_per_address_max = config.connections_per_address_max,
          .connections_per_address_per_second = config.connections_per_address_per_second,
          .addresses_tracked_max = all.limits.addresses_tracked_max,
          .exempt = to_blocks(all.limits.exempt_cidrs),
          .proxy_protocol_from = config.proxy_protocol ? to_blocks(config.trusted_cidrs) : proto::AddressBlocks(),
          .handshakes_in_flight_max = config.handshakes_in_flight_max,
          .requests_per_connection_max = config.requests_per_connection_max,
          .handshake_timeout = ms(config.handshake_timeout_ms),
          .header_timeout = ms(config.header_timeout_ms),
          .idle_timeout = ms(config.idle_timeout_ms),
          .body_rate_min_bytes_per_s = config.body_rate_min_bytes_per_s,
          .write_stall_timeout = ms(config.write_stall_timeout_ms),
          .header = {.bytes_max = config.header_bytes_max, .fields_max = config.header_fields_max},
          .http2 = {.streams_max = config.http2_streams_max,
                    .header_bytes_max = config.http2_header_bytes_max,
                    .header_fields_max = config.header_fields_max,
                    .stream_window_bytes = config.http2_stream_window_bytes,
                    .connection_window_bytes = config.http2_connection_window_bytes,
                    .header_table_bytes = 0,  // no callback's address is kept to be referred to
                    .resets_max = config.http2_resets_max,
                    .control_frames_max = config.http2_control_frames_max},
          .http2_requests_in_work_max = config.http2_requests_in_work_max,
          .http2_body_bytes_max = config.http2_body_bytes_max,
          .http2_goaway_grace = ms(config.http2_goaway_grace_ms)};
}

HttpServerLimits admin_limits(const AdminListenerConfig& config) {
  Duration timeout = std::chrono::milliseconds(config.request_timeout_ms);
  return {.connections_max = config.connections_max, .header_timeout = timeout, .write_stall_timeout = timeout};
}

LogOptions log_options(const Config& config, MetricsShard& shard, unsigned core,
                       const std::array<uint8_t, kLogSaltBytes>& salt) {
  LogOptions options;
  options.sink.write = [](void*, std::string_view line) { io::write_log(line); };
  options.wall_now = &io::wall_now;
  options.metrics = &shard;
  options.level = config.log.level;
  options.core = core;
  options.lines_per_event_per_second_max = config.log.lines_per_event_per_second_max;
  options.salt = salt;
  return options;
}

// The listener's own counts, since the last look, into the metrics.
void note_connections(MetricsShard& metrics, const HttpServerStats& now, HttpServerStats& before) {
  metrics.set(metric::connections, ConnectionKind::public_listener, now.connections);
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
  metrics.set(metric::http_connections, HttpVersion::http1, now.connections - now.http2_connections);
  metrics.set(metric::http_connections, HttpVersion::http2, now.http2_connections);
  uint64_t http2 = now.http2_requests - before.http2_requests;
  metrics.add(metric::http_requests, HttpVersion::http2, http2);
  metrics.add(metric::http_requests, HttpVersion::http1, now.requests - before.requests - http2);
  before = now;
}

Task<Status> wait_event(Event& event) { co_return co_await event.wait(); }

}  // namespace

// The objects of one core, in the order in which they need each other. Lives in the frame of run(core).
struct Server::CoreParts {
  CoreParts(Server& server, unsigned index)
      : metrics(*server.shards_[index]),
        ledger(metrics),
        log(log_options(server.config_, metrics, index, server.log_salt_)),
        decrypter(server.store_, *server.vault_, make_rsa_engine(server.rsa_plan_), server.config_.notification,
                  server.config_.keys, metrics),
        upstreams(server.files_.upstreams),
        ews(server.config_.ews, {upstreams, UpstreamKind::ews}, metrics, log),
        tokens(server.config_.oauth, server.config_.ews, {upstreams, UpstreamKind::token}, metrics, log),
        autodiscover(server.config_.autodiscover, server.config_.ews, {upstreams, UpstreamKind::ews},
                     *server.vault_, server.store_, metrics, log),
        apns(server.config_.apns, *server.apns_tokens_, {upstreams, UpstreamKind::apns}, metrics, log),
        core{*server.node_, index, metrics, ledger, log, decrypter, ews, tokens, apns},
        mailboxes(core),
        supervision(core),
        renewal(core),
        handler(core),
        http(handler, public_limits(server.config_, io::cores()), std::move(server.listener_[index])) {
    core.mailboxes = &mailboxes;
    core.supervision = &supervision;
    core.autodiscover = &autodiscover;
    core.renewal = &renewal;
    core.observer = server.observer_;
    core.key_maker = server.key_maker_.get();
  }

  // Takes what a reload made; in one turn, and nothing here can fail.
  void take(const Switch& next);

  MetricsShard& metrics;
  Ledger ledger;
  Log log;
  Decrypter decrypter;
  std::shared_ptr<const Upstreams> upstreams;
  EwsClient ews;
  TokenClient tokens;
  Autodiscover autodiscover;
  ApnsSender apns;
  Core core;
  Mailboxes mailboxes;
  Supervision supervision;
  Renewal renewal;
  PublicHandler handler;
  HttpServer http;
  // How requests stand when a drain begins; what is in work then counts as still to end.
  void note_begin() {
    HttpServerStats stats = http.stats();
    requests_ended_before = stats.requests - stats.requests_in_work;
    handed_back_before = handed_back();
  }
  uint64_t handed_back() const { return metrics.value(metric::callbacks, CallbackOutcome::refused_draining); }

  Event drain_begun;
  Context* serving = nullptr;  // stops what is left when the patience is over
  bool cut = false;
  bool wound_down = false;     // for a successor; nothing new is taken, and nothing is in work
  Instant patience_ends{};     // of a drain
  uint64_t requests_ended_before = 0, handed_back_before = 0;
};

void Server::CoreParts::take(const Switch& next) {
  core.generations.become(next.generation);
  const Config& config = core.config();
  log.renew(config.log);
  decrypter.renew(config.notification);
  core.registrar->limits().renew(config.limits);
  if (!next.listener.empty()) {
    http.set_tls(next.listener[core.index]);
    core.node.listener_certificate_expires_s = to_unix_seconds(http.certificate_expires());
  }
  if (next.upstreams) {
    upstreams = next.upstreams;
    autodiscover.renew({upstreams, UpstreamKind::ews});
    tokens.renew({upstreams, UpstreamKind::token});
    apns.renew({upstreams, UpstreamKind::apns});
  }
  apns.take_up(config);
  if (next.upstreams || next.networks_changed) ews.renew({upstreams, UpstreamKind::ews}, core.tenants());
}

Server::Server(Config config, StartFiles files, store::Store& store)
    : config_(std::move(config)), files_(std::move(files)), store_(store) {}
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
  std::string complaint;
  auto tokens = ApnsProviderTokens::make(config_, store_, *vault_, complaint);
  if (!tokens) {
    fail_start(std::move(complaint));
    co_return false;
  }
  apns_tokens_ = *std::move(tokens);
  for (unsigned core = 0; core < io::cores(); ++core) {
    auto context = listener_context(config_.listen_public, files_, ticket_keys_, complaint);
    if (!context) {
      fail_start(std::move(complaint));
      co_return false;
    }
    listener_.push_back(*std::move(context));
  }
  wipe(files_.private_key);
  files_.private_key.clear();
  auto plan = plan_rsa(config_.keys.rsa_engine, complaint);
  if (!plan) {
    fail_start(std::move(complaint));
    co_return false;
  }
  rsa_plan_ = *plan;
  node_.emplace(first, store_, *vault_, *apns_tokens_);
  node_->cores.resize(io::cores());
  key_maker_ = std::make_unique<KeyMaker>(config_.keys, store_, *vault_, *shards_[0]);
  supervisor_.emplace(supervisor_options_, io::cores());
  co_return open_listeners();
}

// The successor's first step: what the running process shares with us.
Task<bool> Server::ask_predecessor() {
  auto asked = co_await handover_.ask(given_);
  if (!asked) {
    fail_start(fmt::format("the bellhopd that runs does not hand over ({}); it serves on. Stop it, or look at its log",
                           error_text(asked.error())));
    co_return false;
  }
  co_return true;
}

// The store is ours alone from here on.
Task<bool> Server::own() {
  Status owned = co_await handover_.own();
  if (owned) co_return true;
  if (is(owned.error(), CoreError::canceled)) {
    fail_start("ended by a signal before its turn came; the bellhopd that ran serves on");
  } else if (is(owned.error(), CoreError::limit)) {
    fail_start(fmt::format("{}: another bellhopd serves with this store; stop it, or start with --take-over",
                           handover_options_.lock_path));
  } else {
    fail_start(fmt::format("{}: cannot be locked: {}", handover_options_.lock_path, error_text(owned.error())));
  }
  co_return false;
}

// Those of the process before, where it left them, so that phones and Exchange resume their sessions.
void Server::make_ticket_keys() {
  for (NamedDescriptor& left : given_) {  // whoever runs gives later than a service manager, and knows better
    if (left.name == kTickets) ticket_file_ = std::move(left.descriptor);
  }
  std::erase_if(given_, [](const NamedDescriptor& left) { return left.name == kTickets; });
  if (ticket_file_) {
    if (auto saved = io::read_memory_file(ticket_file_.get())) {
      ticket_keys_ = TicketKeys::restore(*saved);
      wipe(*saved);
    }
  }
  if (ticket_keys_) return;
  std::array<uint8_t, TicketKeys::kFreshBytes> fresh;
  io::random(fresh);
  ticket_keys_ = std::make_shared<TicketKeys>(io::wall_now(), fresh);
  wipe(fresh);
}

void Server::keep_ticket_keys(Log& log) {
  TicketKeys::Saved saved = ticket_keys_->save();
  Status kept;
  if (ticket_file_) {
    kept = io::write_memory_file(ticket_file_.get(), saved);
  } else if (auto file = io::make_memory_file("bellhop-tickets", saved); file) {
    ticket_file_ = *std::move(file);
  } else {
    kept = fail(file.error());
  }
  wipe(saved);
  // Without it the next process makes keys of its own, and sessions begin anew.
  if (!kept) log_line(log, LogLevel::warning, "ticket_keys_not_kept", field("error", kept.error()));
}

bool Server::open_listeners() {
  Status opened = listeners_.take(std::exchange(given_, {}), config_);
  if (opened) opened = listeners_.open(config_, io::cores());
  if (!opened) fail_start(listeners_.complaint());
  return opened.has_value();
}

// More cores than the process before had: where it accepts no more. Without them the others accept for all.
void Server::open_more_listeners(Log& log) {
  Status opened = listeners_.open_beside();
  if (!opened) log_line(log, LogLevel::warning, "listener_missing", field("error", opened.error()));
}

// Our own sockets and the ticket keys, for the process that the service manager starts after this one.
void Server::give_to_manager(Log& log) {
  for (const std::string& name : listeners_.unclaimed()) supervisor_->forget(log, name);
  for (const NamedDescriptor& one : listeners_.share(/*own_only=*/true)) {
    supervisor_->keep(log, one.name, one.descriptor.get());
  }
  if (ticket_file_) supervisor_->keep(log, kTickets, ticket_file_.get());
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
  std::optional<AdminApi> admin[2];  // TCP, unix socket
  std::optional<HttpServer> admin_http[2];
  background.spawn(tick(parts));
  background.spawn(parts.supervision.run());
  background.spawn(supervisor_->tick(parts.log));
  background.spawn(parts.core.journal->restore());
  background.spawn(parts.core.journal->run());
  background.spawn(parts.core.overload.watch(parts.core));
  std::optional<KekKeeper> kek_keeper;
  if (index == 0) {
    kek_keeper.emplace(store_, *vault_, parts.log, parts.metrics);
    background.spawn(kek_keeper->run());
    for (size_t i = 0; i < std::size(admin); ++i) {
      admin[i].emplace(parts.core, *this, /*trusted=*/i == 1);
      admin_http[i].emplace(*admin[i], admin_limits(config_.listen_admin), nullptr);
      background.spawn(admin_http[i]->run(listeners_.admin_handles()[i]));
    }
    background.spawn(key_maker_->run());
    background.spawn(watch_balance(parts.core));
    begin_reloads(parts);
    if (!config_file_.empty()) background.spawn(reloader_->watch());
    if (handle_signals_) background.spawn(watch_signals());
    log_line(parts.log, LogLevel::info, "started", field("cores", io::cores()),
             field("backend", not_personal(io::backend_description())),
             field("rsa_engine", not_personal(rsa_plan_.useful() ? rsa_plan_.kernel->name : "boringssl")));
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

// The first two steps of an orderly end, on one core: connections end with their next answer, then nothing new is taken
// and what is in work ends. Callbacks are served all the while. Can be taken back.
Task<void> Server::wind_down(CoreParts& parts) {
  const PublicListenerConfig& limits = config_.listen_public;
  parts.note_begin();
  parts.http.leave();
  if (parts.core.index == 0) key_maker_->rest(true);  // a pair takes a while, and the end would wait for it
  Instant pause_at = io::now() + std::chrono::milliseconds(limits.http2_goaway_grace_ms);
  while (io::now() < pause_at && parts.http.stats().connections > 0) {
    if (!co_await sleep_for(kDrainLook)) co_return;
  }
  parts.http.pause();
  parts.patience_ends = io::now() + std::chrono::milliseconds(limits.drain_timeout_ms);
  while (io::now() < parts.patience_ends && !parts.http.quiet(io::now(), kFirstRequest)) {
    if (!co_await sleep_for(kDrainLook)) co_return;
  }
}

// The last step. What is in work when the patience is over is handed back by 503; connections that even then do not end
// are cut, their callbacks are answered by nobody, and Exchange repeats them.
Task<void> Server::end_listeners(CoreParts& parts, TaskScope& listeners) {
  struct StopAt {
    StopAt(Instant at, Context& target) : deadline(nullptr, at), link(deadline.context(), target) {}
    DeadlineContext deadline;
    StopLink link;
  };
  parts.http.drain();
  StopAt hand_back(parts.patience_ends, parts.core.work);
  StopAt cut(parts.patience_ends + kHandBackTime, *parts.serving);
  if (parts.cut) parts.serving->request_stop();
  co_await listeners.join();
}

void Server::note_drained(CoreParts& parts) {
  HttpServerStats stats = parts.http.stats();
  uint64_t handed_back = parts.handed_back() - parts.handed_back_before;
  uint64_t ended = stats.requests - parts.requests_ended_before - stats.requests_in_work;
  requests_ += stats.requests;
  requests_of_core_[parts.core.index] = stats.requests;
  requests_handed_back_ += handed_back;
  requests_finished_ += ended - std::min(ended, handed_back);
  connections_left_ += stats.connections;
}

// ---- Handing the place over, on core 0 ----

Task<void> Server::offer_place() {
  return handover_.offer({.share =
                              [this] {
                                std::vector<NamedDescriptor> shared = listeners_.share(/*own_only=*/false);
                                if (!ticket_file_) return shared;
                                auto tickets = io::share_memory_file(ticket_file_.get());
                                if (tickets) shared.push_back({*std::move(tickets), std::string(kTickets)});
                                return shared;
                              },
                          .wind_down = [this] { return wind_down_all(); },
                          .take_back = [this] { return take_back(); },
                          .leave = [this] { return begin_end(/*cut=*/false); }},
                         parts_[0]->log);
}

Task<void> Server::wind_down_all() {
  struct There {
    static Task<bool> wind_down(Server* server, unsigned core) {
      if (CoreParts* parts = server->parts_[core]) {
        co_await server->wind_down(*parts);
        parts->wound_down = !(co_await current_context()).stop_requested();
      }
      co_return true;
    }
    static Task<void> go(Server* server, unsigned core) {
      co_await on_core_stoppable(core, [server, core] { return wind_down(server, core); });
    }
  };
  TaskScope cores(&co_await current_context());
  for (unsigned core = 0; core < io::cores(); ++core) cores.spawn(There::go(this, core));
  co_await cores.join();
}

Task<void> Server::take_back() {
  if (drain_begun_) co_return;  // the successor went away, and so do we
  struct There {
    static Task<bool> stay(Server* server, unsigned core) {
      if (CoreParts* parts = server->parts_[core]) {
        parts->wound_down = false;
        parts->http.stay();
        if (core == 0) server->key_maker_->rest(false);
      }
      co_return true;
    }
  };
  for (unsigned core = 0; core < io::cores(); ++core) {
    co_await on_core(core, [this, core] { return There::stay(this, core); });
  }
}

// A second call cuts short what is left; but what a successor has begun is no call of anybody.
Task<void> Server::drain() {
  bool again = std::exchange(drain_asked_, true);
  co_await begin_end(/*cut=*/again);
}

// The end, begun once; with `cut`, what is still under way is stopped.
Task<void> Server::begin_end(bool cut) {
  bool begun = std::exchange(drain_begun_, true);
  if (begun && !cut) co_return;
  node_->leaving = true;
  for (unsigned core = 0; core < io::cores(); ++core) {
    struct There {
      static Task<bool> end(Server* server, unsigned index, bool cut) {
        if (cut) {
          co_await server->cut_short(index);
        } else {
          co_await server->begin_drain(index);
        }
        co_return true;
      }
    };
    co_await on_core(core, [this, core, cut] { return There::end(this, core, cut); });
  }
}

Task<void> Server::begin_drain(unsigned core) {
  CoreParts* parts = parts_[core];
  if (!parts) co_return;
  if (core == 0) supervisor_->stopping(parts->log);
  parts->drain_begun.set();
  co_return;
}

Task<void> Server::cut_short(unsigned core) {
  CoreParts* parts = parts_[core];
  if (!parts) co_return;
  parts->cut = true;
  if (parts->serving) parts->serving->request_stop();
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
  node_->listener_certificate_expires_s = to_unix_seconds(parts.http.certificate_expires());
  // All cores have taken what they need. What a reload replaces is not kept here, passwords and keys above all.
  files_.upstreams.reset();
  files_.keyring.reset();
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
  for (unsigned core = 0; core < io::cores(); ++core) {
    co_await on_core(core, [this, core, what] { return There::take(this, core, what); });
  }
}

Task<void> Server::reload_on_signal() { (void)co_await reload("signal"); }

// SIGTERM and SIGINT end a successor that still waits; the one who runs then serves on.
Task<void> Server::own_unless_stopped() {
  struct Waiting {
    static Task<void> watch(Context* waiting, bool* end) {
      for (;;) {
        auto number = co_await next_signal();
        if (!number) co_return;
        if (*number == SIGHUP) continue;  // nothing serves by what was read
        *end = true;
        waiting->request_stop();
      }
    }
  };
  bool end = false;
  Context& own_context = co_await current_context();
  Context waiting(&own_context);
  TaskScope signals(&own_context);
  if (handle_signals_) signals.spawn(Waiting::watch(&waiting, &end));
  co_await own().under(waiting);
  signals.request_stop();
  co_await signals.join();
  if (end && !failed_) co_await drain();  // it came when the place was ours already
}

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
  HttpServerStats counted;
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
    note_connections(parts.metrics, parts.http.stats(), counted);
    if (parts.core.index == 0) {
      store_watch.look(store_.write_health(), io::now());
      if (uint64_t number = parts.core.generations.now().number; number != generation || io::now() >= expiry_due) {
        generation = number;
        expiry_due = io::now() + kExpiryLook;
        expiry_watch.look(parts.core.config(), *node_, io::wall_now(), io::now());
      }
      parts.metrics.set(metric::generations_alive, Generation::alive());
      parts.metrics.set(metric::secret_arena_bytes, crypto::arena_stats().bytes_committed);
      if (ticket_keys_->rotation_due(io::wall_now())) {
        std::array<uint8_t, TicketKeys::kFreshBytes> fresh;
        io::random(fresh);
        ticket_keys_->rotate(io::wall_now(), fresh);
        wipe(fresh);
        keep_ticket_keys(parts.log);
      }
    }
  }
}

}  // namespace bellhop::service
