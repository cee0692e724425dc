// SPDX-License-Identifier: Apache-2.0
// Who may come in: devices by their compliance, accounts, certificates, bellhop's own requests.
#include "tests/gateway/scene.h"

#include "crypto/gateway_context.h"

namespace bellhop::service::gateway_test {
namespace {

using proto::ActiveSyncCommand;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

SceneOptions with_policy() { return {.policy = true}; }

Task<void> blocked_device(Scene& scene) {
  co_await scene.allow("ABC123", "anna@example.com");
  std::string authorization = basic("anna@example.com"), sync = activesync_target("Sync", "anna@example.com", "ABC123");
  std::string other = activesync_target("Sync", "anna@example.com", "UNKNOWN1"), body = wbxml(ActiveSyncCommand::sync);
  std::string provision = activesync_target("Provision", "anna@example.com", "ABC123"), policies = wbxml(ActiveSyncCommand::provision);
  EXPECT_EQ((co_await scene.ask(activesync(authorization, sync, body))).status, 200);
  EXPECT_EQ((co_await scene.ask(activesync(authorization, other, body))).status, 403);
  co_await scene.hold("abc123", ComplianceHold::blocked);
  Peer::Answer refused = co_await scene.ask(activesync(authorization, sync, body));
  EXPECT_EQ(refused.status, 403);
  EXPECT_THAT(refused.body, IsEmpty());
  EXPECT_THAT(refused.fields, Not(HasSubstr("content-type")));
  EXPECT_THAT(refused.fields, Not(HasSubstr("www-authenticate")));
  // What a remote wipe needs still passes.
  EXPECT_EQ((co_await scene.ask(activesync(authorization, provision, policies))).status, 200);
  Ask options{.method = "OPTIONS", .target = kActiveSync, .fields = {{"Authorization", authorization}}};
  EXPECT_EQ((co_await scene.ask(options)).status, 200);
  co_await scene.hold("ABC123", ComplianceHold::none);
  EXPECT_EQ((co_await scene.ask(activesync(authorization, sync, body))).status, 200);
  EXPECT_EQ(scene.exchange.seen.size(), 4u);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::blocked_policy), 2u);
}
TEST(GatewayPolicy, BlocksADeviceAndLetsItInAgain) { Scene::run(blocked_device, with_policy()); }

Task<void> both_spellings(Scene& scene) {
  // 16 bytes in the base64 form are 32 hexadecimal digits elsewhere.
  co_await scene.allow("4E696E6534333833414633343638363000");
  std::string authorization = basic("anna@example.com"), body = wbxml(ActiveSyncCommand::sync);
  std::string target = std::string(kActiveSync) + "?jQAJBBBOaW5lNDM4M0FGMzQ2ODYwBAAAAAAHQW5kcm9pZAcBAA==";
  EXPECT_EQ((co_await scene.ask(activesync(authorization, target, body))).status, 403);
  co_await scene.allow("Nine4383AF346860");
  EXPECT_EQ((co_await scene.ask(activesync(authorization, target, body))).status, 200);
  CO_ASSERT(scene.exchange.seen.size() == 1);
  EXPECT_EQ(scene.exchange.seen[0]->target, target);  // the bytes as they were
}
TEST(GatewayPolicy, KnowsADeviceByEachSpelling) { Scene::run(both_spellings, with_policy()); }

Task<void> other_owner(Scene& scene) {
  co_await scene.allow("ABC123", "anna@example.com");
  std::string body = wbxml(ActiveSyncCommand::sync);
  for (std::string_view user : {"bob@example.com", "EXAMPLE\\bob"}) {
    std::string authorization = basic(user), target = activesync_target("Sync", "bob", "ABC123");
    EXPECT_EQ((co_await scene.ask(activesync(authorization, target, body))).status, 403) << user;
  }
  for (std::string_view user : {"anna@example.com", "EXAMPLE\\anna", "anna@example.net", "\\anna@example.com", "Anna"}) {
    std::string authorization = basic(user), target = activesync_target("Sync", "anna", "ABC123");
    EXPECT_EQ((co_await scene.ask(activesync(authorization, target, body))).status, 200) << user;
  }
  std::string token = bearer(R"({"upn":"anna@example.net"})"), target = activesync_target("Sync", "EXAMPLE%5Canna", "ABC123");
  EXPECT_EQ((co_await scene.ask(activesync(token, target, body))).status, 200);
  // Whose device it is cannot be told of a token that names nobody.
  size_t seen = scene.exchange.seen.size();
  for (std::string_view claims : {R"({"appid":"a"})", R"({"primarysid":"S-1-5-21-1"})", R"({"upn":""})"}) {
    std::string nobody = bearer(claims);
    Peer::Answer refused = co_await scene.ask(activesync(nobody, target, body));
    EXPECT_EQ(refused.status, 401) << claims;
  }
  EXPECT_EQ(scene.exchange.seen.size(), seen);
}
TEST(GatewayPolicy, ADeviceIsItsOwnersWhateverTheNameOfTheAccount) { Scene::run(other_owner, with_policy()); }

Task<void> without_credentials(Scene& scene) {
  scene.exchange.respond = [](const Seen& seen) {
    return seen.has("authorization") ? Reply{} : Reply{.status = 401, .fields = {{"WWW-Authenticate", "Basic realm=\"ex\""}}};
  };
  co_await scene.allow("ABC123");
  co_await scene.hold("ABC123", ComplianceHold::blocked);
  std::string target = activesync_target("Sync", "anna", "ABC123"), body = wbxml(ActiveSyncCommand::sync);
  EXPECT_EQ((co_await scene.ask(activesync("", target, body))).status, 401);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::passed_unauthorized), 1u);
}
TEST(GatewayPolicy, WhoSaysNotWhoItIsGetsExchangesOwn401) { Scene::run(without_credentials, with_policy()); }

Task<void> parked(Scene& scene) {
  co_await scene.allow("ABC123", "anna@example.com");
  Event never;
  scene.exchange.respond = [&](const Seen&) { return Reply{.hold = &never}; };
  std::string authorization = basic("anna@example.com"), body = wbxml(ActiveSyncCommand::ping);
  std::string target = activesync_target("Ping", "anna@example.com", "ABC123");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  EXPECT_TRUE(co_await peer->settle());
  Ask ask = activesync(authorization, target, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await scene.until_seen(1));
  EXPECT_EQ(scene.metrics.value(metric::gateway_requests_parked), 1u);
  Instant blocked_at = io::now();
  co_await scene.hold("ABC123", ComplianceHold::blocked);
  EXPECT_TRUE(co_await peer->read_answers(1));
  EXPECT_LE(io::now() - blocked_at, 2s);
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 403);
  EXPECT_THAT(peer->answers[0].body, IsEmpty());
  EXPECT_TRUE(co_await scene.until_ended(1));
  EXPECT_EQ(scene.exchange.stopped, 1);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::blocked_parked), 1u);
  co_await peer->close();
}
class GatewayPolicyOver : public testing::TestWithParam<Wire> {};
INSTANTIATE_TEST_SUITE_P(Wires, GatewayPolicyOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });
TEST_P(GatewayPolicyOver, ABlockEndsWhatWaitsAtExchange) { Scene::run(parked, {.wire = GetParam(), .policy = true}); }

Task<void> streaming(Scene& scene) {
  co_await scene.allow("unused");
  Event never;
  scene.exchange.respond = [&](const Seen&) { return Reply{.body = "<first/>", .chunked = true, .hold_body = &never}; };
  std::string authorization = basic("anna@example.com"), body = soap("GetStreamingEvents");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = ews(authorization, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await peer->read_until([](const Peer& p) { return p.received.find("\r\n\r\n") != std::string::npos; }));
  // An answer that has begun is cut.
  scene.reload_policy([](Config& config) {
    config.policy.rules = {{.name = "nobody", .verdict = RuleVerdict::block, .users = {"anna@example.com"}}};
  });
  EXPECT_TRUE(co_await peer->read_to_end());
  EXPECT_EQ(peer->answers.size(), 0u);
  EXPECT_TRUE(co_await scene.until_ended(1));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::blocked_parked), 1u);
  co_await peer->close();
}
TEST(GatewayPolicy, ABlockCutsAStreamThatHasBegun) {
  Scene::run(streaming, {.configure = [](Config& config, const Scene&) { config.policy.unknown_devices = RuleVerdict::allow; }, .policy = true});
}

Task<void> certificate(Scene& scene) {
  co_await scene.allow("ABC123", "anna@example.com");
  std::string target = activesync_target("Sync", "anna", "ABC123"), body = wbxml(ActiveSyncCommand::sync);
  auto bytes = [&](std::string_view more) {
    return fmt::format("POST {} HTTP/1.1\r\nHost: x.example.com\r\nMS-ASProtocolVersion: 14.1\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
                       "{}Content-Length: {}\r\n\r\n{}", target, more, body.size(), body);
  };
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", bytes("")), StartsWith("HTTP/1.1 200"));
  CO_ASSERT(scene.exchange.seen.size() == 1);
  EXPECT_EQ(scene.exchange.seen[0]->field("authorization"), "Negotiate token1");
  // Nobody without a certificate, nobody with somebody else's, and nobody with two ways to log on.
  EXPECT_THAT(co_await scene.raw_as("", bytes("")), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(co_await scene.raw_as("bob@example.com", bytes("")), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", bytes("Authorization: " + basic("anna@example.com") + "\r\n")),
              StartsWith("HTTP/1.1 400"));
  EXPECT_EQ(scene.exchange.seen.size(), 1u);
  // Exchange does not take the first token: another is made, once.
  scene.exchange.respond = [](const Seen& seen) {
    return seen.field("authorization") == "Negotiate token3" ? Reply{} : Reply{.status = 401, .fields = {{"WWW-Authenticate", "Negotiate"}}};
  };
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", bytes("")), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(scene.authenticator.forgotten, ElementsAre("anna@example.com"));
  std::string refused = co_await scene.raw_as("anna@example.com", bytes(""));
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(refused, Not(HasSubstr("Negotiate")));
  scene.authenticator.failure = core_error(CoreError::timed_out);
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", bytes("")), StartsWith("HTTP/1.1 503"));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::unavailable_logon), 2u);
  scene.certificates.failure = core_error(CoreError::unsupported);
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", bytes("")), StartsWith("HTTP/1.1 403"));
  scene.certificates.nobody_can_tell = true;
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", bytes("")), StartsWith("HTTP/1.1 503"));
}
SceneOptions by_certificate() {
  return {.wire = Wire::http1_tls,
          .configure = [](Config& config, const Scene&) { config.gateway.routes[0].activesync.logon = GatewayLogon::kerberos; },
          .policy = true,
          .client_auth = TlsClientAuth::optional};
}
TEST(GatewayPolicy, ACertificateLogsOnThroughTheAuthenticator) { Scene::run(certificate, by_certificate()); }

Task<void> revoked_while_parked(Scene& scene) {
  co_await scene.allow("ABC123", "anna@example.com");
  Event never;
  scene.exchange.respond = [&](const Seen&) { return Reply{.hold = &never}; };
  std::string target = activesync_target("Ping", "anna", "ABC123"), body = wbxml(ActiveSyncCommand::ping);
  std::string bytes = fmt::format("POST {} HTTP/1.1\r\nHost: x.example.com\r\nMS-ASProtocolVersion: 14.1\r\nContent-Type: "
                                  "application/vnd.ms-sync.wbxml\r\nContent-Length: {}\r\n\r\n{}", target, body.size(), body);
  struct Client {
    static Task<void> run(Scene& scene, std::string bytes, std::string& answer) {
      answer = co_await scene.raw_as("anna@example.com", std::move(bytes));
    }
  };
  std::string answer;
  TaskScope asking(&co_await current_context());
  asking.spawn(Client::run(scene, bytes, answer));
  EXPECT_TRUE(co_await scene.until_seen(1));
  // Lists that are too old say nothing of anybody.
  scene.certificates.failure = tls_error(TlsError::certificate_revocations_stale);
  scene.certificates.nobody_can_tell = true;
  scene.next_generation();
  co_await scene.look();
  EXPECT_EQ(scene.gateway->requests_in_work(), 1u);
  // A reload brings a list that names the certificate.
  scene.certificates.failure = tls_error(TlsError::certificate_revoked);
  scene.certificates.nobody_can_tell = false;
  scene.next_generation();
  co_await asking.join();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403"));
  EXPECT_TRUE(co_await scene.until_ended(1));
  EXPECT_EQ(scene.exchange.stopped, 1);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_certificate), 1u);
}
TEST(GatewayPolicy, ARevokedCertificateEndsWhatWaitsAtExchange) { Scene::run(revoked_while_parked, by_certificate()); }

Task<void> forgets(Scene& scene) {
  for (const char* device : {"ABC123", "ABC124", "DEF1"}) co_await scene.allow(device);
  auto sync = [&](std::string_view device, std::string_view user) {
    std::string target = activesync_target("Sync", user, device), body = wbxml(ActiveSyncCommand::sync);
    return fmt::format("POST {} HTTP/1.1\r\nHost: x.example.com\r\nMS-ASProtocolVersion: 14.1\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
                       "Content-Length: {}\r\n\r\n{}", target, body.size(), body);
  };
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", sync("ABC123", "anna")), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", sync("ABC124", "anna")), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(co_await scene.raw_as("bob@example.com", sync("DEF1", "bob")), StartsWith("HTTP/1.1 200"));
  // A change that blocks nobody forgets nobody; a block forgets at once, without another request of the device.
  co_await scene.allow("XYZ");
  co_await scene.look();
  EXPECT_TRUE(scene.authenticator.forgotten.empty());
  co_await scene.hold("ABC123", ComplianceHold::blocked);
  co_await scene.look();
  EXPECT_THAT(scene.authenticator.forgotten, ElementsAre("anna@example.com"));
  // Once: what comes by the other device is new.
  EXPECT_THAT(co_await scene.raw_as("anna@example.com", sync("ABC124", "anna")), StartsWith("HTTP/1.1 200"));
  co_await scene.allow("XYZ2");
  co_await scene.look();
  EXPECT_EQ(scene.authenticator.forgotten.size(), 1u);
  // Rules that block a user do as well.
  scene.reload_policy([](Config& config) {
    config.policy.rules.push_back({.name = "left", .verdict = RuleVerdict::block, .users = {"bob@example.com"}});
  });
  co_await scene.look();
  EXPECT_THAT(scene.authenticator.forgotten, ElementsAre("anna@example.com", "bob@example.com"));
}
TEST(GatewayPolicy, ABlockForgetsWhatIsKeptOfItsUser) { Scene::run(forgets, by_certificate()); }

Task<void> own_requests(Scene& scene) {
  co_await scene.allow("phone-1", "anna@example.com");
  std::string body = soap("GetItem"), authorization = basic("EXAMPLE\\anna");
  crypto::GatewayContext context{.tenant = std::string(kTenant), .user = "anna@example.com", .devices = {"phone-1", "phone-2"},
                                 .source_device = "phone-1", .issued_at = io::wall_now(), .body_hash = crypto::sha256(body)};
  auto ask_with = [&](std::string_view field) {
    Ask ask = ews(authorization, body);
    ask.fields.emplace_back(crypto::kGatewayContextField, field);
    return ask;
  };
  auto signature = scene.keys->contexts.sign(context, {.method = "POST", .target = kEws, .authorization = authorization});
  CO_ASSERT(signature);
  EXPECT_EQ((co_await scene.ask(ask_with(*signature))).status, 200);
  EXPECT_FALSE(scene.exchange.seen.at(0)->has(crypto::kGatewayContextField));
  // Without it no device is known, and unknown devices stay out.
  EXPECT_EQ((co_await scene.ask(ews(authorization, body))).status, 403);
  // Forged, or made for something else.
  std::string forged = *signature;
  forged.back() = forged.back() == 'A' ? 'B' : 'A';
  EXPECT_EQ((co_await scene.ask(ask_with(forged))).status, 403);
  std::string other_body = soap("FindItem");
  Ask moved = ask_with(*signature);
  moved.body = other_body;
  EXPECT_EQ((co_await scene.ask(moved)).status, 403);
  context.tenant = "other";
  auto foreign = scene.keys->contexts.sign(context, {.method = "POST", .target = kEws, .authorization = authorization});
  EXPECT_EQ((co_await scene.ask(ask_with(*foreign))).status, 403);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_context), 3u);
  // The source of the credentials is blocked.
  co_await scene.allow("phone-2", "anna@example.com");
  co_await scene.hold("phone-1", ComplianceHold::blocked);
  Peer::Answer refused = co_await scene.ask(ask_with(*signature));
  EXPECT_EQ(refused.status, 403);
  EXPECT_THAT(refused.body, HasSubstr("ErrorAccessDenied"));
  EXPECT_EQ(scene.exchange.seen.size(), 1u);
}
TEST(GatewayPolicy, BellhopsOwnRequestsSayForWhichDevicesTheyAre) { Scene::run(own_requests, with_policy()); }

Task<void> classes(Scene& scene) {
  std::string archive = basic("archive@example.com"), anna = basic("anna@example.com"), export_items = soap("ExportItems");
  std::string as_anna = soap("GetItem", "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>anna@example.com"
                                        "</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>");
  std::string send = soap("SendItem");
  EXPECT_EQ((co_await scene.ask(ews(archive, export_items))).status, 200);
  EXPECT_EQ((co_await scene.ask(ews(archive, as_anna))).status, 200);
  EXPECT_EQ((co_await scene.ask(ews(archive, send))).status, 403);
  EXPECT_EQ((co_await scene.ask(ews(anna, export_items))).status, 403);
  EXPECT_EQ((co_await scene.ask(ews(anna, as_anna))).status, 403);
  EXPECT_EQ((co_await scene.ask(ews(anna, send))).status, 200);
}
TEST(GatewayPolicy, ClassesOfClientsHaveOperationsOfTheirOwn) {
  Scene::run(classes, {.configure = [](Config& config, const Scene&) {
               config.gateway.clients = {{.name = "archive", .accounts = {"archive@example.com"}, .operations = {"read", "ExportItems"},
                                          .impersonation = true}};
             }});
}

Task<void> per_account(Scene& scene) {
  Event release;
  scene.exchange.respond = [&](const Seen&) { return Reply{.hold = &release}; };
  std::string anna = basic("anna@example.com"), bob = basic("bob@example.com"), body = soap("GetItem");
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 2; ++i) {
    auto peer = co_await scene.open();
    CO_ASSERT(peer);
    Ask ask = ews(anna, body);
    EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
    peers.push_back(std::move(peer));
  }
  EXPECT_TRUE(co_await scene.until_seen(2));
  Peer::Answer refused = co_await scene.ask(ews(anna, body));
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.fields, HasSubstr("retry-after: 30"));
  auto other = co_await scene.open();
  CO_ASSERT(other);
  Ask ask = ews(bob, body);
  EXPECT_TRUE(co_await other->send(other->bytes_of(ask)));
  EXPECT_TRUE(co_await scene.until_seen(3));
  release.set();
  EXPECT_TRUE(co_await other->read_answers(1));
  for (auto& peer : peers) EXPECT_TRUE(co_await peer->read_answers(1));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_busy), 1u);
  for (auto& peer : peers) co_await peer->close();
  co_await other->close();
}
TEST(GatewayPolicy, OneAccountCannotTakeAllPlaces) {
  Scene::run(per_account, {.configure = [](Config& config, const Scene&) { config.gateway.requests_per_account_max = 2; }});
}

Task<void> places(Scene& scene) {
  std::vector<std::unique_ptr<Peer>> peers;
  std::string wrong = basic("anna@example.com", "guessed"), right = basic("anna@example.com"), body = soap("GetItem");
  for (size_t i = 1; i <= 2; ++i) {
    auto peer = co_await scene.open();
    CO_ASSERT(peer);
    EXPECT_TRUE(co_await peer->send(fmt::format("POST {} HTTP/1.1\r\nHost: x.example.com\r\nContent-Type: text/xml\r\n"
                                                "Authorization: {}\r\nContent-Length: 1000000\r\n\r\n<", kEws, wrong)));
    while (scene.gateway->requests_in_work() < i) co_await yield_now();
    peers.push_back(std::move(peer));
  }
  EXPECT_EQ((co_await scene.ask(ews(wrong, body))).status, 503);
  EXPECT_EQ((co_await scene.ask(ews(right, body))).status, 200);
  for (auto& peer : peers) co_await peer->close();
  co_await scene.until_idle();
}
TEST(GatewayPolicy, WrongPasswordsTakeNoPlacesOfTheAccount) {
  Scene::run(places, {.configure = [](Config& config, const Scene&) { config.gateway.requests_per_account_max = 2; }});
}

// ---- Names ----

PolicyRuleConfig block_users(std::vector<std::string> users) { return {.name = "left", .users = std::move(users)}; }

Task<void> names_blocked(Scene& scene) {
  std::string body = soap("GetItem");
  auto status = [&](std::string_view user) -> Task<int> {
    std::string who = basic(user);
    Peer::Answer answer = co_await scene.ask(ews(who, body));
    co_return answer.status;
  };
  // A domain that nobody configured may be another name of one that a rule names; a user whom no rule names is not meant.
  for (std::string_view user : {"left@example.com", "EXAMPLE\\left", "left@example.net", "CORP\\left", "left@corp.local", "left",
                                "gone@example.org", "gone@example.com", "alias@example.com", "\\left"}) {
    EXPECT_EQ(co_await status(user), user == "gone@example.com" ? 200 : 403) << user;
  }
  for (std::string_view user : {"bob@example.com", "CORP\\bob", "bob@corp.local", "bob"}) EXPECT_EQ(co_await status(user), 200) << user;
  EXPECT_EQ(co_await status("EXAMPLE/left"), 400);
  // The trail tells of the rule as it was called.
  scene.reload_policy([](Config& config) { config.policy.rules.clear(); });
  auto blocked = scene.gateway->trail().of_outcome(GatewayOutcome::blocked_policy);
  CO_ASSERT(!blocked.empty());
  EXPECT_EQ(blocked[0].rule.view(), "left");
}
SceneOptions with_names(bool default_domain) {
  return {.configure =
              [default_domain](Config& config, const Scene&) {
                config.policy.unknown_devices = RuleVerdict::allow;
                config.policy.rules = {block_users({"left@example.com", "gone@example.org", "alias@example.net"})};
                if (!default_domain) config.gateway.routes[0].default_domain.clear();
              },
          .policy = true};
}
TEST(GatewayPolicy, ARuleAboutAUserKnowsEachSpelling) {
  Scene::run(names_blocked, with_names(true));
  Scene::run(names_blocked, with_names(false));
}

// Active Directory logs "left" on as "l\u00e9ft", too, and whoever has an accent without it.
Task<void> accents(Scene& scene) {
  std::string body = soap("GetItem");
  auto status = [&](std::string_view user) -> Task<int> {
    std::string who = basic(user);
    Peer::Answer answer = co_await scene.ask(ews(who, body));
    co_return answer.status;
  };
  for (std::string_view user : {"l\u00e9ft@example.com", "EXAMPLE\\\u0139EFT", "le\u0301ft@example.com", "l\xe9" "ft", "CORP\\l\u00e8ft", "l\u00c8ft@corp.local",
                                "jos\u00e9@example.com", "jose@example.com", "EXAMPLE\\Jos\u00eb", "jose@corp.local", "\uff4ceft@example.com",
                                "le\u00adft@example.com", "\U0001d425eft@example.com", "l\u1eb9ft@example.com", "le\u05b0ft@example.com"}) {
    EXPECT_EQ(co_await status(user), 403) << user;
  }
  for (std::string_view user : {"lef\u00e9@example.com", "jos\u00e9@example.net", "jose@example.org", "J\u00f6rg@example.com", "\u0438\u0432\u0430\u043d@example.com",
                                "\u5c71\u7530@example.com", "joseph@example.com"}) {
    EXPECT_EQ(co_await status(user), user.ends_with("example.net") ? 403 : 200) << user;
  }
}
TEST(GatewayPolicy, ARuleAboutAUserKnowsItWithOtherAccents) {
  Scene::run(accents, {.configure =
                           [](Config& config, const Scene&) {
                             config.gateway.domains.push_back({.name = "example.org"});
                             config.policy.unknown_devices = RuleVerdict::allow;
                             config.policy.rules = {block_users({"left@example.com", "jos\u00e9@example.com"})};
                           },
                       .policy = true});
}

Task<void> all_but(Scene& scene) {
  std::string body = soap("GetItem");
  for (auto [user, status] : {std::pair("chief@example.com", 200), {"CORP\\chief", 403}, {"bob@example.com", 403}, {"CORP\\bob", 403}}) {
    std::string who = basic(user);
    EXPECT_EQ((co_await scene.ask(ews(who, body))).status, status) << user;
  }
}
TEST(GatewayPolicy, AnExceptionIsForTheWholeNameOnly) {
  Scene::run(all_but, {.configure =
                           [](Config& config, const Scene&) {
                             config.policy.unknown_devices = RuleVerdict::allow;
                             config.policy.rules = {block_users({"!chief@example.com"})};
                           },
                       .policy = true});
}

Task<void> narrow_class(Scene& scene) {
  std::string send = soap("SendItem"), read = soap("GetItem");
  for (std::string_view user : {"left@example.com", "CORP\\left", "left@corp.local", "l\u00e9ft@example.com", "CORP\\l\u00e9ft", "le\u00adft",
                                "ren\u00e9@example.com", "rene@example.com"}) {
    std::string who = basic(user);
    EXPECT_EQ((co_await scene.ask(ews(who, send))).status, 403) << user;
    EXPECT_EQ((co_await scene.ask(ews(who, read))).status, 200) << user;
  }
  for (std::string_view user : {"CORP\\bob", "b\u00f6b@example.com"}) {
    std::string who = basic(user);
    EXPECT_EQ((co_await scene.ask(ews(who, send))).status, 200) << user;
  }
}
TEST(GatewayPolicy, ANarrowClassHoldsItsUserWhateverTheDomain) {
  Scene::run(narrow_class, {.configure = [](Config& config, const Scene&) {
               config.gateway.clients = {{.name = "narrow", .accounts = {"left@example.com", "ren\u00e9@example.com"}, .operations = {"read"}}};
             }});
}

Task<void> own_class(Scene& scene) {
  std::string read = soap("GetItem");
  for (std::string_view user : {"anna@example.com", "CORP\\anna", "\u00e3nna@example.com"}) {
    std::string who = basic(user);
    EXPECT_EQ((co_await scene.ask(ews(who, read))).status, 200) << user;
  }
}
TEST(GatewayPolicy, AClassForBellhopHoldsNobodyElse) {
  Scene::run(own_class, {.configure = [](Config& config, const Scene&) {
               config.gateway.clients = {
                   {.name = "own", .kind = GatewayClientKind::bellhop, .accounts = {"anna@example.com"}, .operations = {"notification"}}};
             }});
}

Task<void> bare_names(Scene& scene) {
  co_await scene.allow("ABC123", "anna@example.com");
  std::string body = wbxml(ActiveSyncCommand::sync);
  auto ask = [&](std::string_view user, std::string_view named) -> Task<std::string> {
    std::string target = activesync_target("Sync", named, "ABC123");
    co_return co_await scene.raw_as(
        "anna@example.com",
        fmt::format("POST {} HTTP/1.1\r\nHost: x.example.com\r\nMS-ASProtocolVersion: 14.1\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
                    "Authorization: {}\r\nContent-Length: {}\r\n\r\n{}", target, basic(user), body.size(), body));
  };
  EXPECT_THAT(co_await ask("anna@example.com", "anna"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(co_await ask("anna", "anna@example.com"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(co_await ask("bob", "anna"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(co_await ask("anna", "bob"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(co_await ask("bob@example.com", "anna"), StartsWith("HTTP/1.1 400"));
  EXPECT_EQ(scene.exchange.seen.size(), 2u);
}
TEST(GatewayPolicy, ANameWithoutADomainMustAgreeAsFarAsItGoes) {
  Scene::run(bare_names, {.wire = Wire::http1_tls,
                          .configure = [](Config& config, const Scene&) { config.gateway.routes[0].default_domain.clear(); },
                          .policy = true,
                          .client_auth = TlsClientAuth::optional});
}

Task<void> own_user_agent(Scene& scene) {
  co_await scene.allow("phone-1", "anna@example.com");
  std::string body = soap("GetItem"), authorization = basic("EXAMPLE\\anna");
  crypto::GatewayContext context{.tenant = std::string(kTenant), .user = "anna@example.com", .devices = {"phone-1"},
                                 .source_device = "phone-1", .issued_at = io::wall_now(), .body_hash = crypto::sha256(body)};
  auto signature = scene.keys->contexts.sign(context, {.method = "POST", .target = kEws, .authorization = authorization});
  CO_ASSERT(signature);
  Ask ask = ews(authorization, body);
  ask.fields.emplace_back("User-Agent", "bellhop/1");
  EXPECT_EQ((co_await scene.ask(ask)).status, 403);
  ask.fields.emplace_back(crypto::kGatewayContextField, *signature);
  EXPECT_EQ((co_await scene.ask(ask)).status, 200);
}
TEST(GatewayPolicy, BellhopsOwnUserAgentIsNotTheDevices) {
  Scene::run(own_user_agent, {.configure =
                                  [](Config& config, const Scene&) {
                                    config.policy.unknown_devices = RuleVerdict::allow;
                                    config.policy.rules = {{.name = "boxer", .on_unknown = RuleVerdict::allow, .mail_clients = {"!Boxer*"}}};
                                  },
                              .policy = true});
}

}  // namespace
}  // namespace bellhop::service::gateway_test
