// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "service/apns_sender.h"
#include "service/config_diff.h"
#include "service/gateway_settings.h"
#include "service/generation.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/policy_rules.h"
#include "service/start_files.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

// What a reload came to.
struct ReloadReport {
  ReloadResult result = ReloadResult::refused;
  uint64_t generation = 0;              // that the server is at now
  std::vector<ConfigChange> changes;    // taken; or, with restart_needed, those that a reload does not take
  std::vector<std::string> files;       // named files whose new content was taken
  std::vector<std::string> problems;    // why not, each a line for the operator: "bellhop.toml:12:3: …"
};

// What each core takes on, in one turn. Immutable, and complete: taking it cannot fail.
struct Switch {
  std::shared_ptr<const Generation> generation;
  std::vector<std::shared_ptr<TlsContext>> listener;          // one a core; empty: as before
  std::vector<std::shared_ptr<TlsContext>> gateway_listener;  // likewise
  GatewaySettings gateway;                                    // null members: as before
  std::shared_ptr<const ClientCertificates> certificates;  // of the gateway's users, where they changed; null: none are asked for
  bool certificates_changed = false;
  bool keytab_changed = false;  // of [gateway.kerberos], or what it holds
  // Null: as before.
  std::shared_ptr<const Upstreams> upstreams;
  bool networks_changed = false;  // of some tenant
  std::shared_ptr<const PolicyRules> policy;
};

// Reloads: of the configuration file when asked, of named files alone when they change. All of it is read and checked on
// the helper thread, and everything new is made, before any core hears of it; then each core switches in one turn. Where
// anything is wrong, nothing changes. docs/decisions/0013-reload.md. On core 0; one reload at a time, others wait.
//
// Invariants:
//  1. nothing that the server uses is changed before the last check has passed, and nothing after it can fail;
//  2. files are read once, by read_start_files, and what was read is what is used;
//  3. a file of `seen_` that was refused is tried again until it is good, and logged once for each cause.
class Reloader {
 public:
  // What it works on; all of it outlives the reloader.
  struct Parts {
    store::Store& store;
    Vault& vault;
    ApnsProviderTokens& apns_tokens;
    std::shared_ptr<TicketKeys> ticket_keys;
    Log& log;               // of core 0, as is
    MetricsShard& metrics;
    unsigned cores = 1;
    // Lets every core take the switch, and returns when all have.
    std::function<Task<void>(std::shared_ptr<const Switch>)> switch_cores;
  };
  // `config_file`: empty where there is none to be read again. `seen`: the named files as they were at the start.
  Reloader(Parts parts, std::string config_file, std::shared_ptr<const Generation> first, FilesSeen seen);

  // Reads the configuration file and every file that it names. `asked_by`: "signal", "admin".
  Task<ReloadReport> reload(LogLiteral asked_by);
  // Looks at the named files every [reload] watch_interval_seconds, until it is stopped.
  Task<void> watch();

  std::shared_ptr<const Generation> generation() const { return generation_; }

 private:
  struct Prepared;
  static void prepare(Prepared& prepared);
  static bool check_listener(Prepared& prepared, const PublicListenerConfig& before, const PublicListenerConfig& now,
                             const StartFiles::Listener& files, std::vector<std::shared_ptr<TlsContext>>& contexts,
                             bool certificates_changed = false, const ClientCertificates* certificates = nullptr);
  static void check_listeners(Prepared& prepared);
  static bool gateway_changed(const Prepared& prepared);
  static bool ways_changed(const Prepared& prepared);
  Task<ReloadReport> run(std::optional<std::string> config_file, LogLiteral asked_by);
  Task<bool> look();
  Task<Status> prepare_keys(Prepared& prepared);
  Task<void> commit(Prepared& prepared);
  void note(const ReloadReport& report, LogLiteral asked_by);

  const Parts parts_;
  const std::string config_file_;
  std::shared_ptr<const Generation> generation_;
  FilesSeen seen_;        // of what is in use
  FilesSeen tried_;       // of the last try, without digests
  std::string last_complaint_;
  Semaphore one_at_a_time_{1};
};

}  // namespace bellhop::service
