// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/base/time.h"
#include "core/io.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "proto/apns.h"
#include "proto/apns_answer.h"

namespace bellhop::standin {

// A provider's key as Apple knows it.
struct ApnsKey {
  std::string team_id;
  std::string key_id;
  std::vector<uint8_t> public_key;  // SubjectPublicKeyInfo, DER, P-256
  std::vector<std::string> topics;  // bundle ids of the team's apps
};

struct ApnsOptions {
  // The stand-in lives on the cores [first_core, first_core + cores) of the cluster.
  unsigned first_core = 0;
  unsigned cores = 1;
  SocketAddress listen;                  // HTTP/2 over TLS; port 0 picks one
  std::optional<SocketAddress> control;  // plain HTTP with JSON, see apns_control.cc; loopback only
  std::string certificate_pem;
  std::string key_pem;
  std::vector<ApnsKey> keys;
  // Whom app certificates come from, instead of a provider token; each is good for the topic that it names. Empty: no
  // certificates.
  std::string client_ca_pem;
  uint32_t streams_max = 1'000;       // per connection, once it sent a valid token; 1 before
  uint32_t connections_max = 10'000;  // per core
  bool refuse_fast_token_updates = true;  // 429 for a second new token within 20 minutes on one connection
  uint32_t pushes_kept = 10'000;      // per core, for pushes_after(); older ones are forgotten
  bool keep_payloads = false;         // whole payloads in those; else title and body only
  uint32_t counted_max = 16'000'000;  // per core: pushes among which duplicates are seen; 8 bytes each
  uint32_t rules_max = 64;
  Duration idle_timeout = 3600s;
  double time_scale = 1.0;  // of outages: 0.01 makes ten minutes six seconds
};

// How a request ends that a rule picks out.
enum class ApnsAction : uint8_t {
  answer,      // the reason, or the ordinary answer where it is none
  refuse,      // RST_STREAM REFUSED_STREAM
  lose,        // the push is accepted, and the connection dies before the answer
  kill,        // the connection dies, nothing is accepted
  goaway,      // GOAWAY below this stream: it and later ones are not processed
  stall,       // no answer ever
  swallow,     // answered as accepted, and in no book: a push that gets lost behind the answer
};
std::string_view apns_action_name(ApnsAction action);
std::optional<ApnsAction> parse_apns_action(std::string_view name);

// Behaviour on demand. The first rule that fits a request is used.
struct ApnsRule {
  std::string device_token;  // empty: all
  ApnsAction action = ApnsAction::answer;
  proto::ApnsReason reason = proto::ApnsReason::none;
  uint64_t count = 0;  // requests that meet it; 0: all until clear_rules()
  Duration delay{};    // before the answer
  WallTime timestamp{};  // with 410: since when the token is dead; 0: now
};

// How the whole service is down.
enum class ApnsOutage : uint8_t {
  none,
  refuse,       // connections end, new ones are closed at once
  silent,       // connections stay and new ones open, and nothing is answered
  unavailable,  // every push is answered 503 ServiceUnavailable
};
std::string_view apns_outage_name(ApnsOutage outage);
std::optional<ApnsOutage> parse_apns_outage(std::string_view name);

// A push that was accepted.
struct AcceptedPush {
  uint64_t number = 0;  // from 1, in the order of acceptance over all cores
  Instant at;
  WallTime wall_at;
  std::string device_token;
  std::string topic;
  std::string collapse_id;
  std::string push_type;
  uint8_t priority = 10;
  std::string title;  // of aps.alert; empty without one
  std::string body;
  std::string payload;  // where keep_payloads
};

struct ApnsBooks {
  uint64_t requests = 0;
  uint64_t accepted = 0;
  uint64_t alerts = 0;      // accepted with a collapse id and an alert: mail
  uint64_t duplicates = 0;  // alerts that repeated an earlier (token, collapse id)
  uint64_t unseen = 0;      // alerts past counted_max: not looked at for duplicates
  uint64_t badges = 0;      // accepted with aps.badge and no alert
  uint64_t silent = 0;      // accepted background pushes
  uint64_t ruled = 0;       // requests that met a rule
  uint64_t outage = 0;      // requests and connections that met an outage
  uint64_t bytes = 0;       // of accepted payloads
  uint64_t connections = 0;         // open now
  uint64_t connections_opened = 0;
  uint64_t certified = 0;           // requests over connections of a certificate
  uint64_t tokens_seen = 0;         // different provider tokens that were valid
  std::map<std::string, uint64_t> refused;  // by reason
  ApnsBooks& operator+=(const ApnsBooks& other);
};

// Called on the core that accepted; must not block. Outlives the stand-in.
class ApnsObserver {
 public:
  virtual void on_push(const AcceptedPush& push) = 0;

 protected:
  ~ApnsObserver() = default;
};

// A stand-in for the APNs provider API: HTTP/2 over TLS, with Apple's checks of path, header fields, provider token
// (signature, key id, team, age) or certificate, and payload, its stream limits and its reasons. The members may be called on any core
// of the cluster. Made on a core of the cluster, destroyed after run() has returned on every one of its cores.
class Apns {
 public:
  // Opens the listeners. Errors: os, tls, crypto; `complaint` is a line for the operator.
  static Result<std::unique_ptr<Apns>> make(ApnsOptions options, std::string& complaint);
  ~Apns();
  Apns(const Apns&) = delete;
  Apns& operator=(const Apns&) = delete;

  // Serves until stop(), on the calling core; once on each core of the options.
  Task<void> run();
  Task<bool> stop();

  SocketAddress address() const;
  SocketAddress control_address() const;  // port 0 without control
  void set_observer(ApnsObserver* observer);  // before run()

  // False: rules_max is reached.
  Task<bool> add_rule(ApnsRule rule);
  Task<bool> clear_rules();
  // GOAWAY to all connections, with the reason in its debug data; streams that were taken are answered.
  Task<bool> goaway(proto::ApnsReason reason);
  // SETTINGS_MAX_CONCURRENT_STREAMS of all connections from now on, those without a valid token excepted.
  Task<bool> set_streams_max(uint32_t streams_max);
  // All connections die.
  Task<bool> kill_connections();
  // Down for `lasting` of the scaled clock from now on, in place of what was asked before; none: up again at once.
  Task<bool> set_outage(ApnsOutage outage, Duration lasting);

  Task<ApnsBooks> books();
  // Up to `count` pushes that are still kept with a number above `number`, ascending.
  Task<std::vector<AcceptedPush>> pushes_after(uint64_t number, size_t count);

 private:
  struct Shared;
  class Part;
  friend class ApnsControl;
  Apns();
  static Result<std::shared_ptr<TlsContext>> make_context(const Shared& shared, std::string& complaint);

  std::unique_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Part>> parts_;
};

}  // namespace bellhop::standin
