// SPDX-License-Identifier: Apache-2.0
#pragma once

// A scripted Exchange over TLS, and a client that knows the way to it. Runs on both back ends.

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/sleep.h"
#include "core/stream/stream.h"
#include "core/sync.h"
#include "core/tls/certificate.h"
#include "core/tls/context.h"
#include "core/tls/identity.h"
#include "proto/ews_response.h"
#include "service/ews_client.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/tenants.h"
#include "tests/core/run.h"

namespace bellhop::service::ews_test {

// A request as the peer saw it.
struct Seen {
  size_t connection = 0;  // counted from 1
  std::string method, target, host, authorization, anchor, action, user_agent, request_id, return_id, encoding, type;
  std::string body;
  std::string context;  // see crypto/gateway_context.h
  std::string account;  // that the client's certificate names
  bool resumed = false;
};

// What the peer does with one request.
struct Reply {
  enum class End : uint8_t { keep, close, reset };
  std::string bytes;       // as they go over the wire
  End end = End::keep;     // afterwards: close says goodbye, reset does not
  Event* hold = nullptr;   // answered when this is set
  bool slow = false;       // byte by byte
};

// Answers, ready to send.
std::string http_answer(uint16_t status, std::string_view body, std::string_view more_fields = "",
                        std::string_view type = "text/xml; charset=utf-8");
std::string soap_answer(const proto::EwsAnswer& answer, uint16_t status = 200);
std::string subscribed(std::string_view id = "sub-1", std::string_view watermark = "mark-1");
std::string refused(proto::EwsAnswerKind kind, std::string_view code, std::optional<uint32_t> back_off_ms = {});
std::string found(size_t items, bool includes_last);
std::string busy_fault(std::optional<uint32_t> back_off_ms);
std::string plain(uint16_t status, std::string_view more_fields = "");

// One HTTPS (or, where told, plain) listener on a loopback address. Serves scripted replies in order; where there are none, `otherwise`.
class Peer {
 public:
  explicit Peer(Context* parent, std::string address = "127.0.0.1") : address_(std::move(address)), flows_(parent) {}
  // Every name and address that the tests use is in the certificate but "untrusted.example.test".
  Task<void> start(const CertificateAndKey& authority, uint16_t port = 0);
  Task<void> stop();
  uint16_t port() const { return port_; }

  Task<void> until_seen(size_t requests);
  Task<void> until_ended(size_t connections);

  bool plain = false;                                // set before start()
  std::shared_ptr<TlsContext> identity;              // set before start(): instead of the certificate that all know
  TlsClientAuth client_auth = TlsClientAuth::none;   // likewise: of certificates of the authority
  std::shared_ptr<TicketKeys> ticket_keys;           // likewise
  std::function<std::string(const Seen&)> respond;  // where set: the answer, instead of script and otherwise
  std::deque<Reply> script;
  std::string otherwise;
  std::vector<Seen> seen;
  size_t connections = 0;
  size_t ended = 0;
  size_t in_flight = 0;
  size_t in_flight_max = 0;

 private:
  Task<void> accept_all();
  Task<void> serve(Socket socket);
  Task<Status> serve_requests(Stream& stream, size_t connection);
  Task<Result<Reply>> answer(Seen request);

  std::string address_;
  TaskScope flows_;
  std::optional<Listener> listener_;
  std::shared_ptr<TlsContext> tls_;
  uint16_t port_ = 0;
  Event changed_;
};

// Everything that a test of the client needs, on the calling core.
struct Scene {
  explicit Scene(Context* parent);
  ~Scene();

  // Starts the peer and the client. Change `config` before.
  Task<void> start();
  Task<void> stop();
  void make_client();
  // Credentials of type certificate or dual for `account`, of the scene's authority or another.
  crypto::CredentialRecord certified(const std::string& account, bool dual = false,
                                     const CertificateAndKey* issuer = nullptr) const;
  // A tenant that may reach 127.0.0.1 and *.example.test at the peer's port.
  std::unique_ptr<Tenant> make_tenant(uint32_t number);
  EwsTarget target(store::MailboxNumber mailbox = 1) const;
  std::string log_text() const { return log_; }
  uint64_t counted(EwsResult result) const { return metrics.value(metric::ews_requests, result); }
  uint64_t open_connections() const { return metrics.value(metric::connections, ConnectionKind::ews); }

  Context* parent;
  EwsConfig config;
  MetricsShard metrics;
  std::string log_;
  std::unique_ptr<Log> log;
  CertificateAndKey authority;
  Peer peer;
  std::unique_ptr<Tenant> tenant;
  std::unique_ptr<EwsClient> client;
  std::string url;
  crypto::CredentialRecord credentials;
};

// Runs `flow` with a scene on core 0 of one core; `prepare` may change the configuration first, `arrange` the peer.
using Flow = Task<void> (*)(Scene&);
void run_scene(Flow flow, const std::function<void(EwsConfig&)>& prepare = {},
               const std::function<void(Scene&)>& arrange = {});

// The reply of a call that runs beside the test.
template <class T>
struct Pending {
  std::optional<EwsReply<T>> reply;
};
Task<void> verify_into(Scene& scene, store::MailboxNumber mailbox, Pending<std::monostate>& out);

inline constexpr std::string_view kPassword = "correct horse battery staple";

}  // namespace bellhop::service::ews_test
