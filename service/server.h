// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/io.h"
#include "core/sync.h"
#include "core/task.h"
#include "core/tls/ticket_keys.h"
#include "crypto/rsa_lane_engine.h"
#include "service/compliance.h"
#include "service/core.h"
#include "service/handover.h"
#include "service/kerberos.h"
#include "service/listeners.h"
#include "service/notification.h"
#include "service/reload.h"
#include "service/start_files.h"
#include "service/supervisor.h"
#include "store/store.h"

namespace bellhop::service {

class AdminApi;
class KeyMaker;

// The server: makes every object, ties them together, starts and drains them. One per process (the demo and tests run
// it beside stand-ins in one cluster). Made before the cores start, destroyed after they ended; `store` outlives it.
//
//   Server server(config, files, store);
//   io::run_cluster(options, [&](unsigned core) { return server.run(core); });
//   if (server.failed()) print(server.complaint());
class Server {
 public:
  Server(Config config, StartFiles files, store::Store& store);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The whole life on one core: start, serve, drain. On every core of the cluster.
  Task<void> run(unsigned core);

  // Ends run() in good order. On core 0; returns at once. A second call cuts what is left short.
  Task<void> drain();

  // Core 0 takes SIGTERM and SIGINT (drain), SIGHUP. Off for tests that run several servers.
  void handle_signals(bool on) { handle_signals_ = on; }
  // The file that the configuration came from, to be read again at a reload. Without it a reload is refused, and named
  // files are not watched. Set before run().
  void set_config_file(std::string path) { config_file_ = std::move(path); }
  // Sockets to listen on in place of own ones, and what else the service manager kept for us; see Listeners. Set before
  // run().
  void inherit(std::vector<NamedDescriptor> descriptors) { given_ = std::move(descriptors); }
  // That no other process does the same, and how one takes the place of another. Set before run().
  void set_handover(HandoverOptions options) { handover_options_ = std::move(options); }
  // Whom to tell how we are. Set before run().
  void set_supervisor(SupervisorOptions options) { supervisor_options_ = std::move(options); }
  // Hears of every notification that ended, on the core where it did. Set before run().
  void set_observer(NotificationObserver* observer) { observer_ = observer; }

  // Awaits the moment when all listeners are open, on core 0; false where the start failed.
  Task<bool> wait_ready();
  // Where the public listener is, in the order of the configuration; with port 0 the port that was picked.
  const std::vector<SocketAddress>& public_addresses() const { return listeners_.public_addresses(); }
  const std::vector<SocketAddress>& gateway_addresses() const { return listeners_.gateway_addresses(); }
  // The admin listener's TCP address, likewise.
  const SocketAddress& admin_address() const { return listeners_.admin_address(); }
  WallTime started() const { return started_at_; }
  bool failed() const { return failed_; }
  // For the operator, after a failed start.
  const std::string& complaint() const { return complaint_; }

  // As at the start. What a reload may change is in Core::config().
  const Config& config() const { return config_; }
  // Reads the configuration file and all that it names again. On core 0, while run() serves.
  Task<ReloadReport> reload(LogLiteral asked_by);
  std::vector<const MetricsShard*> shards() const;
  LedgerSnapshot ledger() const;

 private:
  struct CoreParts;

  // server.cc: the life of the process
  Task<bool> start();
  bool make_listener_contexts();
  void fail_start(std::string complaint);
  bool open_listeners();
  Task<bool> meet(Event& event, unsigned& arrived);
  Task<void> serve(CoreParts& parts);
  Task<void> watch_signals();
  void begin_reloads(CoreParts& parts);
  Task<void> reload_on_signal();
  std::string serving_text() const;
  Task<void> switch_cores(std::shared_ptr<const Switch> next);
  Task<void> tick(CoreParts& parts);

  // server_handover.cc: one process after the other, and the end
  Task<bool> ask_predecessor();
  Task<bool> own();
  Task<void> load_compliance();
  Task<void> own_unless_stopped();
  void open_more_listeners(Log& log);
  void make_ticket_keys();
  void keep_ticket_keys(Log& log);
  void rotate_ticket_keys(Log& log);
  Task<void> offer_place();
  Task<void> wind_down_all();
  Task<void> take_back();
  void give_to_manager(Log& log);
  Task<void> begin_end(bool cut);
  Task<void> begin_drain(unsigned core);
  Task<void> cut_short(unsigned core);
  Task<void> wind_down(CoreParts& parts);
  Task<void> end_listeners(CoreParts& parts, TaskScope& listeners);
  void note_drained(CoreParts& parts);

  const Config config_;
  StartFiles files_;
  store::Store& store_;
  std::string rsa_complaint_;
  std::optional<crypto::LanePlan> rsa_plan_;  // made before the loops start, whose turns a measurement would lengthen
  std::string kerberos_complaint_;
  std::unique_ptr<Kerberos> kerberos_;  // null: not configured. Made before the loops start: it sets the environment
  bool handle_signals_ = true;
  NotificationObserver* observer_ = nullptr;

  std::string config_file_;
  std::vector<NamedDescriptor> given_;
  Listeners listeners_;
  HandoverOptions handover_options_;
  Handover handover_{HandoverOptions()};
  SupervisorOptions supervisor_options_;
  std::optional<Supervisor> supervisor_;
  std::optional<Vault> vault_;
  std::unique_ptr<Compliance> compliance_;
  std::shared_ptr<const PolicyRules> policy_rules_;  // what cores begin with
  std::unique_ptr<ApnsProviderTokens> apns_tokens_;
  std::shared_ptr<TicketKeys> ticket_keys_;
  io::Descriptor ticket_file_;  // holds them for the process after this one; in memory
  std::optional<Node> node_;
  std::unique_ptr<KeyMaker> key_maker_;
  std::unique_ptr<Reloader> reloader_;                  // while core 0 serves
  std::vector<std::shared_ptr<TlsContext>> listener_, gateway_listener_;  // one a core, until it takes its own
  std::array<uint8_t, kLogSaltBytes> log_salt_{};

  std::vector<std::unique_ptr<MetricsShard>> shards_;  // one a core
  std::vector<CoreParts*> parts_;
  WallTime started_at_{};
  // Core 0 only: the cores meet here.
  Event started_, all_made_, owned_, all_quiet_, all_drained_, all_served_, all_left_;
  Event ready_;
  unsigned made_ = 0, quiet_ = 0, drained_ = 0, served_ = 0, left_ = 0;
  std::atomic<uint64_t> requests_finished_ = 0, requests_handed_back_ = 0, requests_ = 0;  // of a drain, all cores
  std::atomic<uint64_t> connections_left_ = 0;
  std::vector<uint64_t> requests_of_core_;
  bool failed_ = false;
  bool drain_begun_ = false;
  bool drain_asked_ = false;  // by somebody, not by a successor
  std::string complaint_;
};

}  // namespace bellhop::service
