// SPDX-License-Identifier: Apache-2.0
#include "service/reload.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "crypto/error.h"
#include "service/gateway_config_rules.h"
#include "service/reload_apns.h"

namespace bellhop::service {
namespace {

uint64_t unix_seconds(WallTime time) { return static_cast<uint64_t>(std::max<int64_t>(0, to_unix_seconds(time))); }

bool same_stat(const FileSeen& a, const FileSeen& b) { return a.there == b.there && a.info == b.info; }

bool is_watched(const std::string& path, const Config& config) { return path != config.keyring_file; }

bool networks_differ(const Config& before, const Config& after) {
  for (const TenantConfig& tenant : after.tenants) {
    auto known = std::ranges::find(before.tenants, tenant.id, &TenantConfig::id);
    if (known != before.tenants.end() && known->ews_private_cidrs != tenant.ews_private_cidrs) return true;
  }
  return false;
}

}  // namespace

// One reload on its way. prepare() fills it on the helper thread; nobody else looks meanwhile.
struct Reloader::Prepared {
  // Given.
  std::optional<std::string> config_file;  // nothing: the running configuration, and named files alone
  std::shared_ptr<const Generation> running;
  const FilesSeen* seen = nullptr;
  std::shared_ptr<TicketKeys> ticket_keys;
  const Vault* vault = nullptr;  // for names alone: its keys may be replaced meanwhile
  unsigned cores = 1;

  // Made.
  std::optional<Config> config;
  ConfigPositions positions;
  std::optional<StartFiles> files;
  std::shared_ptr<Switch> next = std::make_shared<Switch>();
  std::unique_ptr<const VaultKeys> keys;  // null: as before
  std::optional<ApnsReload> apns;
  ReloadReport report;

  bool good() const { return report.problems.empty() && report.result != ReloadResult::restart_needed; }
  bool changed(const std::string& path) const {
    auto before = seen->find(path), now = files->seen.find(path);
    return before == seen->end() || now == files->seen.end() || before->second.digest != now->second.digest;
  }
  std::string at_key(const std::string& complaint) const {
    return config_file ? service::at_key(complaint, *config_file, *config, positions) : complaint;
  }
  // `path` is the file of a key, which may be another file than before, with the same content or not.
  bool changed(const std::string& before, const std::string& now) const {
    return before != now || (!now.empty() && changed(now));
  }
};

Reloader::Reloader(Parts parts, std::string config_file, std::shared_ptr<const Generation> first, FilesSeen seen)
    : parts_(std::move(parts)),
      config_file_(std::move(config_file)),
      generation_(std::move(first)),
      seen_(std::move(seen)),
      tried_(seen_) {
  parts_.metrics.set(metric::reload_last_success, 1);
  parts_.metrics.set(metric::reload_last_success_time, unix_seconds(io::wall_now()));
  parts_.metrics.set(metric::generation, generation_->number);
}

Task<ReloadReport> Reloader::reload(LogLiteral asked_by) {
  if (!config_file_.empty()) co_return co_await run(config_file_, asked_by);
  ReloadReport report{.generation = generation_->number};
  report.problems.push_back("this server was not started from a configuration file; there is nothing to read again");
  co_return report;
}

// ---- On the helper thread ----

void Reloader::prepare(Prepared& p) {
  ReloadReport& report = p.report;
  const Config& running = p.running->config;
  p.config = running;
  if (p.config_file) {
    auto text = io::read_file(*p.config_file);
    if (!text) {
      report.problems.push_back(to_text(config_unreadable(*p.config_file, text.error().code)));
      return;
    }
    ConfigOutcome outcome = parse_config(*text, *p.config_file, running.credentials_directory);
    for (const ConfigProblem& problem : outcome.problems) report.problems.push_back(to_text(problem));
    if (!outcome.ok()) return;
    report.changes = config_changes(running, outcome.config);
    std::erase_if(report.changes, [&](const ConfigChange& change) {
      if (change.reload) return false;
      report.problems.push_back(to_text(ConfigProblem{
          *p.config_file, position_of(change, outcome.positions),
          fmt::format("{} cannot change from {} to {} by a reload; restart the server, or take the change back",
                      change.key, change.before.empty() ? "(none)" : change.before,
                      change.after.empty() ? "(none)" : change.after)}));
      return true;
    });
    if (!report.problems.empty()) {
      report.result = ReloadResult::restart_needed;
      return;
    }
    p.config = std::move(outcome.config);
    p.positions = std::move(outcome.positions);
  }
  std::string complaint;
  auto files = read_start_files(*p.config, complaint, p.config_file ? ReadKeyring::yes : ReadKeyring::no);
  if (!files) {
    report.problems.push_back(p.at_key(complaint));
    return;
  }
  p.files.emplace(*std::move(files));
  // The keyring is taken when somebody asks only: a new key is to be used once every node has it.
  if (auto keyring = p.seen->find(running.keyring_file); !p.config_file && keyring != p.seen->end()) {
    p.files->seen[keyring->first] = keyring->second;
  }
  for (const auto& [path, file] : p.files->seen) {
    if (p.seen->contains(path) && p.changed(path)) report.files.push_back(path);
  }
  auto tenants = Tenants::make(*p.config, &p.running->tenants);
  if (!tenants) {
    report.problems.push_back(fmt::format("a tenant's lists do not parse: {}", error_text(tenants.error())));
    return;
  }
  check_listeners(p);
  if (!p.good()) return;
  if (gateway_changed(p)) p.next->gateway.routes = p.files->gateway_routes;
  p.next->gateway.keys = p.files->gateway_keys;  // null where the keyring was not read
  if (ways_changed(p)) p.next->upstreams = p.files->upstreams;
  p.next->policy = PolicyRules::make(*p.config, *p.vault);
  p.next->networks_changed = networks_differ(running, p.config.value());
  p.next->generation = std::make_shared<const Generation>(p.running->number + 1, *p.config, *std::move(tenants));
}

// Whom we trust, or which way leads there, may be others: a file that decides it, or a key.
bool Reloader::ways_changed(const Prepared& p) {
  const Config &before = p.running->config, &now = *p.config;
  if (before.proxies != now.proxies || before.upstreams != now.upstreams) return true;
  bool others = p.changed(before.ews.ca_file, now.ews.ca_file) || p.changed(before.oauth.ca_file, now.oauth.ca_file) ||
                p.changed(before.apns.ca_file, now.apns.ca_file);
  if (others) return true;
  auto asks_uem = [](const Config& config) {
    return std::ranges::any_of(config.policy.sources, [](const PolicySourceConfig& source) { return source.kind == PolicySourceKind::uem; });
  };
  if (asks_uem(now) && !asks_uem(before)) return true;  // whose authorities nobody has needed so far
  std::vector<std::string> files = {kSystemRootsFile};
  for (const ProxyConfig& proxy : now.proxies) files.insert(files.end(), {proxy.ca_file, proxy.password_file});
  for (const UpstreamConfig& upstream : now.upstreams) files.push_back(upstream.ca_file);
  return std::ranges::any_of(files, [&](const std::string& path) { return !path.empty() && p.changed(path); });
}

void Reloader::check_listeners(Prepared& p) {
  const Config &before = p.running->config, &now = *p.config;
  bool good = !now.is_public() || check_listener(p, before.listen_public, now.listen_public, p.files->public_listener, p.next->listener);
  if (!good || !now.is_gateway()) return;
  const CertificatesConfig &users_before = before.gateway.certificates, &users = now.gateway.certificates;
  p.next->certificates_changed = users != users_before || p.changed(users_before.ca_file, users.ca_file) ||
                                 p.changed(users_before.crl_file, users.crl_file);
  p.next->certificates = p.files->certificates;
  p.next->keytab_changed = p.changed(before.gateway.kerberos.keytab_file, now.gateway.kerberos.keytab_file);
  (void)check_listener(p, before.listen_gateway, now.listen_gateway, p.files->gateway_listener, p.next->gateway_listener,
                       p.next->certificates_changed, p.files->certificates.get());
}

bool Reloader::check_listener(Prepared& p, const PublicListenerConfig& before, const PublicListenerConfig& now,
                              const StartFiles::Listener& files, std::vector<std::shared_ptr<TlsContext>>& contexts,
                              bool certificates_changed, const ClientCertificates* certificates) {
  bool changed = certificates_changed || p.changed(before.certificate_file, now.certificate_file) ||
                 p.changed(before.private_key_file, now.private_key_file);
  if (!changed) return true;
  for (unsigned core = 0; core < p.cores; ++core) {
    std::string complaint;
    auto context = listener_context(now, files, p.ticket_keys, complaint, certificates);
    if (!context) {
      contexts.clear();
      p.report.problems.push_back(p.at_key(complaint));
      return false;
    }
    contexts.push_back(*std::move(context));
  }
  return true;
}

// Connections to upstreams begin anew with other routes, so these stay where nothing of them changed.
bool Reloader::gateway_changed(const Prepared& p) {
  const Config &before = p.running->config, &now = *p.config;
  if (!now.is_gateway()) return false;
  if (before.gateway != now.gateway) return true;
  bool system_roots = false;
  std::vector<std::string> files;
  for (const GatewayRouteConfig& route : now.gateway.routes) {
    if (tenant_of(before, route) != tenant_of(now, route)) return true;
    for (const GatewayEndpointConfig* endpoint : {&route.ews, &route.activesync}) {
      system_roots |= endpoint->on() && endpoint->ca_file.empty();
      files.insert(files.end(), {endpoint->ca_file, endpoint->client_certificate_file, endpoint->client_private_key_file});
    }
  }
  if (system_roots) files.emplace_back(kSystemRootsFile);
  return std::ranges::any_of(files, [&](const std::string& path) { return !path.empty() && p.changed(path); });
}

// ---- On core 0 ----

Task<ReloadReport> Reloader::run(std::optional<std::string> config_file, LogLiteral asked_by) {
  ReloadReport canceled{.generation = generation_->number, .problems = {"the server is about to stop"}};
  auto turn = co_await one_at_a_time_.acquire();
  if (!turn) co_return canceled;
  Prepared p;
  p.config_file = std::move(config_file);
  p.running = generation_;
  p.seen = &seen_;
  p.ticket_keys = parts_.ticket_keys;
  p.vault = &parts_.vault;
  p.cores = parts_.cores;
  (void)co_await offload(io::Worker::general, [&p] {
    prepare(p);
    return true;
  });
  p.report.generation = generation_->number;
  if (p.good()) {
    if (Status keys = co_await prepare_keys(p); !keys && p.report.problems.empty()) {
      p.report.problems.push_back(fmt::format("{}: {}", p.config->keyring_file, error_text(keys.error())));
    }
  }
  if (p.good()) p.apns = co_await prepare_apns(parts_.apns_tokens, p.next->generation, p.report);
  if (p.good()) {
    bool nothing_new = p.report.changes.empty() && p.report.files.empty();
    p.report.result = nothing_new ? ReloadResult::unchanged : ReloadResult::reloaded;
    if (nothing_new) {
      seen_ = p.files->seen;  // files that were touched, and hold what they held
    } else {
      co_await commit(p);
    }
  }
  note(p.report, asked_by);
  co_return std::move(p.report);
}

// A key that something still names may not vanish, or what it sealed is lost for good.
Task<Status> Reloader::prepare_keys(Prepared& p) {
  const std::string& path = p.config->keyring_file;
  if (!p.files->keyring || !p.changed(p.running->config.keyring_file, path)) co_return Status();
  BH_CO_TRY(p.keys, co_await Vault::prepare(*p.files->keyring, parts_.store));
  const VaultKeys& running = parts_.vault.keys();
  std::vector<uint32_t> missing;
  for (uint32_t id : running.ids) {
    if (!p.files->keyring->has(id)) missing.push_back(id);
  }
  if (missing.empty()) co_return Status();
  // What is sealed between this look and the switch names the key that is current now.
  if (std::ranges::find(missing, running.sealer.current()) != missing.end()) {
    p.report.problems.push_back(fmt::format(
        "{}: key {} is missing, and new records are sealed under it; mark another key as current, reload, and take this "
        "one out when `bellhop keyring status` says that it may retire", path, running.sealer.current()));
    co_return Status();
  }
  store::Store& store = parts_.store;
  BH_CO_TRY(store::KekReport use, co_await offload(io::Worker::general, [&store] {
              return store.kek_use([](Bytes box) { return crypto::Sealer::kek_of(box); });
            }));
  for (uint32_t id : missing) {
    auto found = use.keks.find(id);
    if (found == use.keks.end()) continue;
    p.report.problems.push_back(fmt::format(
        "{}: key {} is missing, and {} sealed fields and {} callback URLs still name it; put it back", path, id,
        found->second.records, found->second.urls));
  }
  co_return Status();
}

// Nothing here can fail.
Task<void> Reloader::commit(Prepared& p) {
  generation_->set_next(p.next->generation);
  generation_ = p.next->generation;
  std::unique_ptr<const VaultKeys> old_keys;
  if (p.keys) old_keys = parts_.vault.replace(std::move(p.keys));
  commit_apns(parts_.apns_tokens, *std::move(p.apns));
  co_await parts_.switch_cores(p.next);
  old_keys.reset();  // each core has begun a new turn
  p.running.reset();
  seen_ = p.files->seen;
  p.report.generation = generation_->number;
}

void Reloader::note(const ReloadReport& report, LogLiteral asked_by) {
  MetricsShard& metrics = parts_.metrics;
  bool good = report.problems.empty();
  uint64_t now = unix_seconds(io::wall_now());
  metrics.add(metric::reloads, report.result);
  metrics.set(metric::reload_last_success, good);
  metrics.set(metric::reload_last_time, now);
  metrics.set(metric::generation, generation_->number);
  if (good) metrics.set(metric::reload_last_success_time, now);
  NotPersonal result = not_personal(LabelSet<ReloadResult>::values[static_cast<size_t>(report.result)]);
  if (good) {
    last_complaint_.clear();
    log_line(parts_.log, LogLevel::info, "reload", field("asked_by", asked_by), field("result", result),
             field("generation", generation_->number), field("keys_changed", report.changes.size()),
             field("files_changed", report.files.size()));
    return;
  }
  // Files that are being written are looked at again and again: each cause is told once.
  bool told = asked_by.text == "watch" && report.problems.front() == last_complaint_;
  last_complaint_ = report.problems.front();
  if (told) return;
  log_line(parts_.log, LogLevel::error, "reload", field("asked_by", asked_by), field("result", result),
           field("generation", generation_->number), field("problems", report.problems.size()),
           field("why", not_personal(report.problems.front())), field("kept", "all that was in use"));
}

// ---- Named files ----

Task<void> Reloader::watch() {
  for (;;) {
    uint32_t seconds = generation_->config.reload.watch_interval_seconds;
    // Off is looked at again: a reload may switch it on.
    if (!co_await sleep_for(std::chrono::seconds(seconds == 0 ? 10 : seconds))) co_return;
      if (seconds == 0) continue;
    if (co_await look()) (void)co_await run(std::nullopt, "watch");
  }
}

// True where a watched file is another than it was, or the last try is to be made again.
Task<bool> Reloader::look() {
  std::shared_ptr<const Generation> running = generation_;
  FilesSeen now = co_await offload(io::Worker::general, [&running] { return stat_files(running->config); });
  bool differs = false, as_used = true;
  for (const auto& [path, file] : now) {
    if (!is_watched(path, running->config)) continue;
    auto tried = tried_.find(path), used = seen_.find(path);
    differs |= tried == tried_.end() || !same_stat(tried->second, file);
    as_used &= used != seen_.end() && same_stat(used->second, file);
  }
  tried_ = std::move(now);
  bool failing = !last_complaint_.empty();
  co_return differs || (failing && !as_used);
}

}  // namespace bellhop::service
