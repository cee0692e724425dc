// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/device.h"

#include "core/tls/certificate.h"
#include "crypto/jose.h"
#include "crypto/record.h"
#include "crypto/rsa.h"
#include "crypto/rsa_engine.h"
#include "tests/standin/site.h"
#include "tools/standin/body.h"
#include "tools/standin/identity.h"
#include "tools/standin/tls.h"

namespace bellhop::standin::test {
namespace {

using ::testing::HasSubstr;

// The device API as a script: one answer for each request, which is kept.
class ScriptedApi final : public service::HttpHandler {
 public:
  struct Answer {
    uint16_t status = 200;
    std::string body;
    std::string retry_after;
    bool silent = false;
  };
  struct Request {
    proto::HttpMethod method;
    std::string target, api_token, body;
  };
  Task<void> handle(service::HttpExchange& exchange) override {
    BodyText body(1 << 20);
    if (!co_await exchange.read_body(1 << 20, body)) co_return;
    seen.push_back({exchange.method(), std::string(exchange.target()),
                    std::string(exchange.headers().find("apitoken").value_or("")), body.text});
    BH_CHECK(!script.empty());
    Answer answer = std::move(script.front());
    script.pop_front();
    if (answer.silent) {
      (void)co_await ended.wait();
      co_return;
    }
    const proto::HeaderField headers[] = {{"retry-after", answer.retry_after}};
    (void)co_await exchange.respond({.status = answer.status,
                                     .content_type = "application/json",
                                     .body = answer.body,
                                     .headers = std::span(headers).first(answer.retry_after.empty() ? 0 : 1)});
  }
  std::deque<Answer> script;
  std::vector<Request> seen;
  Event ended;
};

struct Bench {
  ScriptedApi api;
  std::unique_ptr<DeviceClient> client;
  DeviceAccount account;
};

Task<void> run_bench(std::string path, bool http2, Task<void> (*body)(Bench&)) {
  const char* protocol = http2 ? "h2" : "http/1.1";
  set_tls_clock(&io::wall_now);
  Bench bench;
  auto identity = make_identity({"localhost"}, {"127.0.0.1"}, io::wall_now());
  CO_ASSERT(identity);
  std::string complaint;
  auto tls = make_server_context(identity->server.chain_pem, identity->server.key_pem, protocol, nullptr, complaint);
  SocketAddress address{.ip = *IpAddress::parse("127.0.0.1"), .port = 0};
  auto listener = open_listener(address, false, complaint);
  TlsFile ca{"ca", identity->authority.chain_pem};
  auto authorities = TlsAuthorities::parse({&ca, 1}, complaint);
  CO_ASSERT(tls && listener && authorities);
  auto client_tls = TlsContext::client({.authorities = *authorities, .alpn = {protocol}}, complaint);
  auto client = DeviceClient::make(
      {.url = "https://" + address.to_string() + path, .api_token = "the-token", .http2 = http2, .timeout = 500ms}, *client_tls);
  CO_ASSERT(client);
  bench.client = *std::move(client);
  bench.account.address = "Alice@Example.com";
  bench.account.password = "correct horse";
  bench.account.ews_url = "https://mail.example.com/EWS/Exchange.asmx";
  bench.account.device_id = "phone-1";
  bench.account.push_token = std::string(64, 'a');
  service::HttpServer server(bench.api, {.http2_goaway_grace = 10ms}, *tls);
  TaskScope serving(&co_await current_context());
  serving.spawn(server.run(*listener));
  co_await body(bench);
  bench.api.ended.set();
  co_await bench.client->close();
  server.drain();
  co_await serving.join();
}

void run_device(Task<void> (*body)(Bench&), std::string path = "") {
  for (bool http2 : {false, true}) {
    SCOPED_TRACE(http2 ? "HTTP/2" : "HTTP/1.1");
    bellhop::test::run_on_cores(1, [&](unsigned) { return run_bench(path, http2, body); });
  }
}

Task<void> enrolls(Bench& bench) {
  auto pair = crypto::RsaPrivateKey::generate();
  CO_ASSERT(pair);
  bench.api.script.push_back(
      {.body = R"({"keyId":")" + pair->public_key().id().text() + R"(","publicKey":")" + to_base64(pair->public_key().spki()) + "\"}"});
  bench.api.script.push_back(
      {.status = 201, .body = R"({"subscriptionId":"s1","status":"active","deviceSecret":"very","heartbeatMinutes":30})"});
  auto subscribed = co_await bench.client->enroll(bench.account);
  CO_ASSERT(subscribed);
  EXPECT_EQ(subscribed->subscription_id, "s1");
  EXPECT_EQ(subscribed->status, "active");
  EXPECT_EQ(subscribed->heartbeat_minutes, 30u);
  EXPECT_EQ(bench.account.device_secret, "very");
  CO_ASSERT(bench.api.seen.size() == 2);
  EXPECT_EQ(bench.api.seen[0].target, "/MailNotifications/api/ens/getpublickey");
  EXPECT_EQ(bench.api.seen[1].target, "/MailNotifications/api/ens/subscribe");
  EXPECT_EQ(bench.api.seen[1].api_token, "the-token");

  // What was sent can be opened by the pair's owner, and says what the account says.
  auto document = proto::JsonDocument::parse(bench.api.seen[1].body);
  CO_ASSERT(document);
  auto root = document->root();
  EXPECT_EQ(root.required_string("userId").value_or(""), device_user_id("alice@example.com"));
  EXPECT_EQ(root.required_string("deviceId").value_or(""), "phone-1");
  EXPECT_EQ(root.required_string("platform").value_or(""), "apns");
  EXPECT_FALSE(root.find("deviceSecret"));
  EXPECT_FALSE(root.find("topic"));
  auto jwe = crypto::parse_jwe_compact(root.required_string("credentials").value_or(""));
  CO_ASSERT(jwe);
  EXPECT_EQ(jwe->kid, pair->public_key().id().text());
  crypto::ConvertedKey key(pair->clone());
  auto plaintext = crypto::jwe_open(*jwe, crypto::rsa_decrypt_oaep(*crypto::make_scalar_engine(), key, jwe->encrypted_key, {}));
  CO_ASSERT(plaintext);
  auto record = crypto::read_credential_record(
      *plaintext,
      {.user_id = crypto::user_id_of_address("alice@example.com"), .device_id = "phone-1", .now = io::wall_now()});
  CO_ASSERT(record);
  EXPECT_EQ(record->address.reveal_text(), "Alice@Example.com");
  auto& logon = std::get<crypto::BasicCredentials>(record->logon);
  EXPECT_EQ(logon.username.reveal_text(), "Alice@Example.com");  // the address, where no user name is given
  EXPECT_EQ(logon.password.reveal_text(), "correct horse");
  EXPECT_EQ(bench.api.seen[1].body.find("correct horse"), std::string::npos);
}
TEST(Device, EnrollsWithItsCredentialsEncryptedToTheKeyOfTheServer) { run_device(enrolls); }

Task<void> later_requests(Bench& bench) {
  bench.account.device_secret = "very";
  bench.api.script.push_back({.body = R"({"status":"late","lastSeen":"2026-01-31T12:00:00Z","action":"resubscribe"})"});
  auto checkin = co_await bench.client->checkin(bench.account);
  CO_ASSERT(checkin);
  EXPECT_EQ(checkin->status, "late");
  EXPECT_EQ(checkin->action, "resubscribe");
  bench.api.script.push_back({.status = 204, .body = {}});
  EXPECT_TRUE(co_await bench.client->update_token(bench.account));
  bench.api.script.push_back({.status = 204, .body = {}});
  EXPECT_TRUE(co_await bench.client->unsubscribe(bench.account));
  bench.api.script.push_back({.body = R"({"status":"ok"})"});
  EXPECT_TRUE(co_await bench.client->alive());
  const char* routes[] = {"/checkin", "/updatetoken", "/unsubscribe", "/alive"};
  CO_ASSERT(bench.api.seen.size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(bench.api.seen[i].target, "/api/ens" + std::string(routes[i]));
    if (i < 3) EXPECT_THAT(bench.api.seen[i].body, HasSubstr(R"("deviceSecret":"very")"));
  }
  EXPECT_EQ(bench.api.seen[3].method, proto::HttpMethod::get);
  EXPECT_THAT(bench.api.seen[1].body, HasSubstr(bench.account.push_token));
}
TEST(Device, UsesTheBaseThatTheUrlNamesAndSendsItsSecret) { run_device(later_requests, "/api/ens/"); }

Task<void> problems(Bench& bench) {
  bench.api.script.push_back({.status = 429, .body = R"({"code":"throttled","title":"Too many"})", .retry_after = "7"});
  auto refused = co_await bench.client->checkin(bench.account);
  CO_ASSERT(!refused);
  EXPECT_EQ(refused.error().status, 429);
  EXPECT_EQ(refused.error().code, "throttled");
  EXPECT_EQ(refused.error().retry_after_s, 7u);
  EXPECT_EQ(refused.error().to_string(), "HTTP 429, throttled: Too many");
  bench.api.script.push_back({.status = 502, .body = R"({"code":"exchange","title":"No","responseCode":"ErrorServerBusy"})"});
  auto exchange = co_await bench.client->unsubscribe(bench.account);
  CO_ASSERT(!exchange);
  EXPECT_THAT(exchange.error().to_string(), HasSubstr("ErrorServerBusy"));
  for (std::string body : {"", "{}", R"({"keyId":"k"})", R"({"keyId":"k","publicKey":"AAAA"})", "nonsense"}) {
    bench.api.script.push_back({.body = body});
    auto key = co_await bench.client->get_public_key("alice@example.com");
    EXPECT_FALSE(key) << body;
  }
  bench.api.script.push_back({.silent = true});
  auto silent = co_await bench.client->alive();
  CO_ASSERT(!silent);
  EXPECT_EQ(silent.error().status, 0);
  EXPECT_TRUE(is(silent.error().error, CoreError::timed_out));
}
TEST(Device, SaysWhyARequestFailed) { run_device(problems); }

TEST(Device, RefusesAUrlThatIsNotHttps) {
  for (std::string url : {"http://push.example.com", "push.example.com", "https://"}) {
    EXPECT_FALSE(DeviceClient::make({.url = url, .api_token = {}}, nullptr)) << url;
  }
}

}  // namespace
}  // namespace bellhop::standin::test
