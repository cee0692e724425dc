// SPDX-License-Identifier: Apache-2.0
#pragma once

// A provider of pushes and its APNs in one process: the peer speaks real HTTP/2 over real TLS on the loopback address,
// and does what a test tells it.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/sleep.h"
#include "core/socket.h"
#include "core/tls/certificate.h"
#include "crypto/sealing.h"
#include "service/apns_sender.h"
#include "service/http2_server_connection.h"
#include "store/memory/memory_store.h"
#include "tests/core/run.h"

namespace bellhop::service::apns_test {

// A certificate for 127.0.0.1 and the contexts of both sides.
struct Identity {
  Identity();
  std::shared_ptr<TlsContext> server(std::vector<std::string> alpn = {"h2"}) const;
  std::shared_ptr<TlsContext> client() const;

  CertificateAndKey certificate;
};

// A push as the peer sees it.
struct Seen {
  std::string device_token;
  std::string topic;
  std::string collapse_id;
  std::string push_type;
  std::string priority;
  std::string expiration;
  std::string authorization;
  std::string payload;
  std::string account;    // that the client's certificate names
  size_t connection = 0;  // 0: the first that was accepted
};

// What the peer does with it.
struct Reply {
  enum class Kind : uint8_t { answer, hold, refuse, fall_silent, kill };
  Kind kind = Kind::answer;
  uint16_t status = 200;
  proto::ApnsReason reason = proto::ApnsReason::none;
  WallTime timestamp{};
  std::string body = {};  // instead of the one that says `reason`

  static Reply accept() { return {}; }
  static Reply because(proto::ApnsReason reason, WallTime timestamp = {}) {
    return {.status = proto::apns_reason_info(reason).status, .reason = reason, .timestamp = timestamp};
  }
  // Answers 200 after ApnsPeer::release.
  static Reply hold() { return {.kind = Kind::hold}; }
  static Reply refuse() { return {.kind = Kind::refuse}; }            // RST_STREAM, REFUSED_STREAM
  static Reply fall_silent() { return {.kind = Kind::fall_silent}; }  // no answer until the stream is given up
  static Reply kill() { return {.kind = Kind::kill}; }                // the connection ends
};

class ApnsPeer final : public HttpHandler {
 public:
  explicit ApnsPeer(std::shared_ptr<TlsContext> tls) : tls_(std::move(tls)) {}

  // Listens on a free port of 127.0.0.1 and serves in `scope`.
  bool start(TaskScope& scope);
  Task<void> stop();
  HostPort address() const { return {"127.0.0.1", port_}; }
  void set_tls(std::shared_ptr<TlsContext> tls) { tls_ = std::move(tls); }

  // ---- what it does ----
  std::function<Reply(const Seen&)> decide = [](const Seen&) { return Reply::accept(); };
  Event release;
  proto::Http2ServerLimits limits = {.streams_max = 1000};
  bool drop_connections = false;  // each is closed after its handshake

  // ---- what it saw ----
  std::vector<Seen> requests;                // all, in their order
  std::map<std::string, unsigned> accepted;  // 200 was given, by device token
  std::vector<Instant> connected_at;         // one for each connection
  size_t in_work = 0;
  size_t in_work_max = 0;
  size_t stopped = 0;  // handlers whose stream or connection was lost
  Event changed;       // set when a request comes and when it is done with

  size_t connections() const { return connected_at.size(); }
  // The newest connection that is open.
  Http2ServerConnection* connection() { return open_.empty() ? nullptr : open_.rbegin()->second; }
  // Until so many requests came, or so many handlers were stopped. Errors: timed_out.
  Task<Status> wait_for_requests(size_t count);
  Task<Status> wait_for_stopped(size_t count);

  Task<void> handle(HttpExchange& exchange) override;

 private:
  Task<void> accept_all(TaskScope& scope);
  Task<void> serve(Socket socket, size_t number);
  Task<void> answer(HttpExchange& exchange, const Seen& seen, Reply reply);

  std::shared_ptr<TlsContext> tls_;
  std::unique_ptr<Listener> listener_;
  uint16_t port_ = 0;
  std::map<size_t, Http2ServerConnection*> open_;
  std::map<Http2ServerConnection*, size_t> number_of_;
};

// Apps: team TEAM0000xx, key KEY00000xx, topic com.example.appxx; but the last one has the key of the one before it.
inline constexpr size_t kApps = 40;

// Store, keys and tokens; shared by cores where a test has several.
struct Provider {
  ~Provider();
  // `address` is where APNs is taken to be, both environments.
  Task<void> start(HostPort address);
  // Tokens again from the store, as after a restart.
  void restart_tokens();
  const AppConfig& app(size_t number = 0) const { return config.tenants[0].apps[number]; }

  Config config;
  std::unique_ptr<store::MemoryStore> store = store::MemoryStore::create();
  std::optional<Vault> vault;
  std::unique_ptr<ApnsProviderTokens> tokens;
  std::string folder;
};

// One core's sender.
struct Sender {
  Sender(Provider& provider, const Identity& identity);
  bool logged(std::string_view event) const;

  MetricsShard metrics;
  std::vector<std::string> lines;  // of the log
  std::unique_ptr<Log> log;
  std::unique_ptr<ApnsSender> apns;
};

// All of it on one core. Not for several cores.
struct Bench {
  Bench();
  // `change` may set limits of the configuration before the sender is made.
  Task<bool> start(void (*change)(ApnsConfig&) = nullptr);
  Task<void> stop();

  // Pushes for device `number`; token, payload and collapse id are made from it. The result comes into `results`.
  void push(TaskScope& scope, size_t number, Duration patience = 10s, bool proven = true, size_t app = 0);
  Task<ApnsResult> push_now(size_t number, Duration patience = 10s, bool proven = true, size_t app = 0);
  static std::string device_token(size_t number);

  uint64_t count(ApnsVerdict verdict) const { return sender->metrics.value(metric::apns_pushes, verdict); }
  uint64_t streams() const { return sender->metrics.value(metric::apns_streams_in_flight); }
  size_t delivered() const;                     // of results
  bool each_accepted_once(size_t count) const;  // devices 0 … count - 1, at the peer

  Identity identity;
  ApnsPeer peer;
  Provider provider;
  std::optional<Sender> sender;
  std::map<size_t, ApnsResult> results;  // by device number
  Event results_changed;
  std::optional<TaskScope> peer_scope;

 private:
  Task<void> push_one(size_t number, Duration patience, bool proven, size_t app);
};

}  // namespace bellhop::service::apns_test
