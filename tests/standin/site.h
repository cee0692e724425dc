// SPDX-License-Identifier: Apache-2.0
#pragma once

// A world of stand-ins, a listener that takes callbacks as bellhop would, and an EWS client, in one cluster.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/sync.h"
#include "proto/ews_server.h"
#include "service/http1_client.h"
#include "service/http_server.h"
#include "tests/core/run.h"
#include "tools/standin/world.h"

namespace bellhop::standin::test {

// Virtual time: schedules run in full length there, and a thousand times faster on a real clock.
inline bool simulated() { return io::thread_cpu_ns() == 0; }

// How the callback listener answers one notification.
enum class Answer : uint8_t { ok, unsubscribe, unavailable, garbage, drop, hang };

// A notification as it came.
struct Callback {
  std::string subscription_id, previous_watermark;
  bool more_events = false;
  bool expects_continue = false;
  std::vector<proto::EventKind> kinds;
  std::vector<std::string> watermarks;
  std::vector<std::string> item_ids;  // of all events that have one
  std::optional<int32_t> unread;      // of the last folder event
  Instant at;
};

class CallbackPeer final : public service::HttpHandler {
 public:
  Task<void> handle(service::HttpExchange& exchange) override;
  // Waits until so many callbacks have come; false after a minute.
  Task<bool> wait(size_t count);

  std::deque<Answer> script;  // one for each callback; then `otherwise`
  Answer otherwise = Answer::ok;
  std::vector<Callback> seen;
  std::vector<std::string> malformed;
  size_t open = 0, open_max = 0;  // callbacks in work
  Event released;                 // ends those that hang

 private:
  proto::NotificationParser parser_{1};
  Event changed_;
};

// Attempts as the stand-in saw them.
struct Attempt {
  std::string mailbox, subscription_id, previous_watermark, watermark;
  uint32_t events = 0, new_mails = 0, attempt = 0;
  bool heartbeat = false;
  NotificationAttempt::Outcome outcome = NotificationAttempt::Outcome::ok;
  uint16_t status = 0;
  Instant begun, ended;
};

class AttemptLog final : public ExchangeObserver {
 public:
  void on_attempt(const NotificationAttempt& attempt) override;
  Task<bool> wait(size_t count);
  std::vector<Attempt> all;

 private:
  Event changed_;
};

struct EwsResult {
  uint16_t status = 0;  // 0: no answer
  std::string body;
  std::map<std::string, std::string> headers;
};

class Site {
 public:
  // `http2`: callbacks come over HTTP/2.
  Site(World& w, bool http2);
  Task<void> serve();  // until stop()
  void stop();
  // From now on the callback listener shows a certificate that is not of the world's authority.
  void use_foreign_certificate();

  // One EWS request with Basic credentials.
  Task<EwsResult> ews(std::string user, std::string password, std::string body,
                      std::string path = "/EWS/Exchange.asmx");
  Task<EwsResult> ews_authorized(std::string authorization, std::string body, std::string path = "/EWS/Exchange.asmx");
  // Subscribes to a mailbox whose password is "secret"; the subscription's id, or empty.
  Task<std::string> subscribe(std::string address, uint32_t minutes = 30);
  Task<EwsResult> get_item(std::string address, std::string item_id);
  std::string callback_url(std::string_view query = "id=abc&creds=def") const;

  World& world;
  Exchange& exchange;
  CallbackPeer peer;
  AttemptLog attempts;
  bool http2() const { return std::string_view(callback_protocol_) == "h2"; }

 private:
  std::shared_ptr<TlsContext> client_tls_;
  std::unique_ptr<service::HttpServer> server_;
  io::Handle listener_;
  SocketAddress address_;
  const char* callback_protocol_;
};

// Runs `body` with a world on a cluster of `cores` cores; the site and the test are on core 0.
void run_site(WorldOptions options, Task<void> (*body)(Site&), unsigned cores = 1);

// What an answer says.
struct EwsReading {
  proto::EwsAnswerKind kind = proto::EwsAnswerKind::other;
  std::string code;  // of the first message, or of the fault
  std::optional<uint32_t> back_off_ms;
  std::string subscription_id, watermark;
  std::string subject, sender_address, sender_name;
  size_t items = 0;
};
std::optional<EwsReading> read_answer(const std::string& body);

// A real-clock run makes schedules shorter by this.
inline double fast() { return simulated() ? 1.0 : 0.001; }

}  // namespace bellhop::standin::test
