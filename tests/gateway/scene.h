// SPDX-License-Identifier: Apache-2.0
#pragma once

// A gateway between clients that write bytes and an Exchange that records what it is asked: on one core, with TLS on both
// sides, in memory. Runs on both back ends.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/sync.h"
#include "core/tls/certificate.h"
#include "proto/activesync.h"
#include "service/compliance.h"
#include "service/gateway.h"
#include "service/http_server.h"
#include "service/policy.h"
#include "store/memory/memory_store.h"
#include "tests/core/run.h"
#include "tests/core/until.h"
#include "tests/http/http_peer.h"

namespace bellhop::service::gateway_test {

inline constexpr std::string_view kTenant = "acme";
inline constexpr std::string_view kEws = "/EWS/Exchange.asmx", kActiveSync = "/Microsoft-Server-ActiveSync";

using FieldList = std::vector<std::pair<std::string, std::string>>;

// A request as Exchange saw it.
struct Seen {
  uint16_t connection = 0;  // the client's port
  std::string method, target, host, body;
  FieldList fields;
  bool whole = false;  // the body came to its end

  // "name: value\n" each; empty: absent.
  std::string field(std::string_view name) const;
  bool has(std::string_view name) const;
};

// What Exchange does with a request.
struct Reply {
  uint16_t status = 200;
  FieldList fields = {};
  std::string body = {};
  bool chunked = false;     // no Content-Length
  bool early = false;       // answered before the body is read
  bool cut = false;         // after the body: no end
  bool hang_up = false;     // no answer at all
  Event* hold = nullptr;    // nothing before it is set
  Event* hold_body = nullptr;  // the head is sent, the rest waits
};

// The server behind the gateway. Its clients' bodies are recorded up to 64 KB.
class FakeExchange final : public HttpHandler {
 public:
  std::function<Reply(const Seen&)> respond = [](const Seen&) { return Reply{.body = "fine"}; };
  std::vector<std::unique_ptr<Seen>> seen;
  Event changed;  // something of these
  uint64_t body_bytes = 0;  // of all requests
  int running = 0, stopped = 0, ended = 0;

  Task<void> handle(HttpExchange& exchange) override;

 private:
  Task<void> serve(HttpExchange& exchange, Seen& request);
};

// The two seams of others.
class FakeAuthenticator final : public UpstreamAuthenticator {
 public:
  int made = 0;
  std::vector<std::string> forgotten;
  std::optional<Error> failure;
  std::vector<std::string> users, services;
  Task<Result<crypto::Secret>> authorization(const GatewayIdentity& identity, const GatewayEndpoint& endpoint,
                                             const HostPort& server, Bytes server_certificate) override;
  void forget(std::string_view user) override { forgotten.emplace_back(user); }
};
class FakeCertificates final : public CertificateUsers {
 public:
  std::optional<Error> failure;
  bool nobody_can_tell = false;
  Result<std::string> user(Bytes der, WallTime now) const override;
  bool cannot_tell(const Error&) const override { return nobody_can_tell; }
};

struct SceneOptions {
  Wire wire = Wire::http1;
  std::function<void(Config&, const class Scene&)> configure = {};  // of what the scene makes
  bool policy = false;
  TlsClientAuth client_auth = TlsClientAuth::none;
};

// Everything that a test needs, on the calling core. The gateway has one route: x.example.com, with EWS and ActiveSync at
// the FakeExchange, and the domain example.com alias EXAMPLE.
class Scene {
 public:
  using Flow = std::function<Task<void>(Scene&)>;
  ~Scene();
  static void run(const Flow& flow, SceneOptions options = {});

  // One request on a connection of its own; `fields` come after Host.
  Task<Peer::Answer> ask(Ask ask);
  // Bytes as they are, over HTTP/1.1: what came up to the end of the first answer.
  Task<std::string> raw(std::string bytes);
  // The same over TLS, as this user with a certificate; empty: without one.
  Task<std::string> raw_as(std::string user, std::string bytes);
  Task<std::unique_ptr<Peer>> open() { return Peer::open(fixture, endpoint); }

  Task<Status> until_seen(size_t requests) {
    return test::until(exchange.changed, [this, requests] { return exchange.seen.size() >= requests; });
  }
  Task<Status> until_ended(int requests) {
    return test::until(exchange.changed, [this, requests] { return exchange.ended >= requests; });
  }
  // Until the gateway has no request in work.
  Task<void> until_idle() {
    while (gateway->requests_in_work() > 0) co_await yield_now();
  }
  // Devices that the policy knows.
  Task<void> allow(std::string device, std::string account = {});
  Task<void> hold(std::string device, ComplianceHold hold);
  // Until the gateway has looked at what changed.
  Task<void> look();
  uint64_t counted(GatewayOutcome outcome) const { return metrics.value(metric::gateway_requests, outcome); }
  // Another configuration, as a reload brings it.
  void reload(std::function<void(Config&)> change);
  // A reload was made, whatever it changed.
  void next_generation();
  // The patience of a drain is over.
  void stop_work();
  // Other rules; requests that wait are looked at again.
  void reload_policy(std::function<void(Config&)> change);
  std::string log_text() const { return lines; }

  SceneOptions options;
  Config config;
  MetricsShard metrics;
  std::string lines;  // of the log
  FakeExchange exchange;
  FakeAuthenticator authenticator;
  FakeCertificates certificates;
  std::unique_ptr<Compliance> compliance;
  std::unique_ptr<Policy> policy;
  std::shared_ptr<const GatewayKeys> keys;
  std::unique_ptr<Gateway> gateway;
  Fixture fixture{Wire::http1};
  io::Endpoint endpoint;      // of the gateway
  uint16_t exchange_port = 0, second_port = 0;  // the same FakeExchange behind both
  std::string second() const { return "https://127.0.0.1:" + std::to_string(second_port); }
  CertificateAndKey server_certificate, client_authority;

 private:
  struct Parts;  // of a core
  explicit Scene(SceneOptions o);
  Task<void> live(const Flow& flow);
  Task<void> start();
  void make_tls();
  std::shared_ptr<const GatewayRoutes> routes() const;

  std::unique_ptr<store::MemoryStore> store_;
  std::optional<crypto::Keyring> keyring_;
  std::optional<Vault> vault_;
  std::unique_ptr<ApnsProviderTokens> apns_tokens_;
  std::optional<Node> node_;
  std::unique_ptr<Parts> parts_;
  std::shared_ptr<TlsContext> exchange_tls_;
};

// ---- Requests ----

std::string basic(std::string_view user, std::string_view password = "secret");
std::string bearer(std::string_view claims);
// An EWS request whose first element is `operation`; `headers`: SOAP headers.
std::string soap(std::string_view operation, std::string_view headers = {}, std::string_view content = {});
Ask ews(std::string_view authorization, const std::string& body);
// WBXML with the root of the command.
std::string wbxml(proto::ActiveSyncCommand command, size_t more = 0);
std::string activesync_target(std::string_view command, std::string_view user, std::string_view device);
Ask activesync(std::string_view authorization, const std::string& target, const std::string& body);

}  // namespace bellhop::service::gateway_test
