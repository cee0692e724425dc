// SPDX-License-Identifier: Apache-2.0
// What passes the gateway, in which form, and what does not; in both versions of HTTP.
#include "tests/gateway/scene.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service::gateway_test {
namespace {

using proto::ActiveSyncCommand;
using testing::HasSubstr;
using testing::Not;

class GatewayOver : public testing::TestWithParam<Wire> {
 protected:
  void run(const Scene::Flow& flow, SceneOptions options = {}) {
    options.wire = GetParam();
    Scene::run(flow, std::move(options));
  }
};
INSTANTIATE_TEST_SUITE_P(Wires, GatewayOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });

Task<void> passes_ews(Scene& scene) {
  scene.exchange.respond = [](const Seen&) {
    return Reply{.fields = {{"Content-Type", "text/xml"}, {"X-FEServer", "EX1"}, {"request-id", "abc"}, {"Alt-Svc", "h2=\"ex:443\""}},
                 .body = "<answer/>"};
  };
  Ask ask = ews(basic("anna@example.com"), soap("FindItem"));
  std::string authorization = basic("anna@example.com"), body = soap("FindItem");
  ask.body = body;
  ask.fields = {{"Content-Type", "text/xml; charset=utf-8"}, {"Authorization", authorization},
                {"X-Original-URL", "/owa"},                  {"X-Forwarded-For", "6.6.6.6"},
                {"Cookie", "X-BEResource=evil~1"},           {"User-Agent", "test/1"}};
  Peer::Answer answer = co_await scene.ask(ask);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "<answer/>");
  EXPECT_THAT(answer.fields, HasSubstr("request-id: abc"));
  EXPECT_THAT(answer.fields, Not(HasSubstr("x-feserver")));
  EXPECT_THAT(answer.fields, Not(HasSubstr("alt-svc")));
  CO_ASSERT(scene.exchange.seen.size() == 1);
  const Seen& seen = *scene.exchange.seen[0];
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.target, kEws);
  EXPECT_EQ(seen.host, "127.0.0.1:" + std::to_string(scene.exchange_port));
  EXPECT_EQ(seen.body, body);
  EXPECT_EQ(seen.field("authorization"), authorization);
  EXPECT_EQ(seen.field("user-agent"), "test/1");
  EXPECT_EQ(seen.field("x-forwarded-for"), "127.0.0.1");
  EXPECT_FALSE(seen.has("x-original-url"));
  EXPECT_FALSE(seen.has("cookie"));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::passed_ok), 1u);
}
TEST_P(GatewayOver, PassesAnEwsRequestWithNothingThatItsListsDoNotName) { run(passes_ews); }

Task<void> passes_activesync(Scene& scene) {
  std::string target = activesync_target("FolderSync", "EXAMPLE%5Canna", "ABC123"), body = wbxml(ActiveSyncCommand::folder_sync);
  std::string authorization = basic("anna@example.com");
  Peer::Answer answer = co_await scene.ask(activesync(authorization, target, body));
  EXPECT_EQ(answer.status, 200);
  Ask options{.method = "OPTIONS", .target = kActiveSync, .fields = {{"Authorization", authorization}}};
  EXPECT_EQ((co_await scene.ask(options)).status, 200);
  CO_ASSERT(scene.exchange.seen.size() == 2);
  EXPECT_EQ(scene.exchange.seen[0]->target, target);
  EXPECT_EQ(scene.exchange.seen[0]->body, body);
  EXPECT_EQ(scene.exchange.seen[1]->method, "OPTIONS");
  EXPECT_EQ(scene.exchange.seen[1]->target, kActiveSync);
  // Some clients leave the backslash as it is; it names the user all the same.
  std::string unescaped = activesync_target("FolderSync", "EXAMPLE\\anna", "ABC123"), other = activesync_target("FolderSync", "EXAMPLE\\bob", "ABC123");
  EXPECT_EQ((co_await scene.ask(activesync(authorization, unescaped, body))).status, 200);
  EXPECT_EQ((co_await scene.ask(activesync(authorization, other, body))).status, 400);
  CO_ASSERT(scene.exchange.seen.size() == 3);
  EXPECT_EQ(scene.exchange.seen[2]->target, unescaped);
}
TEST_P(GatewayOver, PassesActiveSyncWithItsQueryAsItWas) { run(passes_activesync); }

Task<void> options(Scene& scene) {
  std::string authorization = basic("anna@example.com"), more = wbxml(ActiveSyncCommand::sync);
  auto ask = [&](std::string_view type, std::string_view body = {}) {
    return Ask{.method = "OPTIONS", .target = kActiveSync, .body = body,
               .fields = {{"Content-Type", type}, {"MS-ASProtocolVersion", "14.1"}, {"Authorization", authorization}}};
  };
  // Without content its type says nothing, whatever it is.
  for (const char* type : {"application/x-www-form-urlencoded", "text/plain; charset=", "application/vnd.ms-sync.wbxml"}) {
    EXPECT_EQ((co_await scene.ask(ask(type))).status, 200) << type;
  }
  CO_ASSERT(scene.exchange.seen.size() == 3);
  for (const auto& seen : scene.exchange.seen) {
    EXPECT_EQ(seen->method, "OPTIONS");
    EXPECT_FALSE(seen->has("content-type"));
    EXPECT_EQ(seen->field("ms-asprotocolversion"), "14.1");
    EXPECT_EQ(seen->body, "");
  }
  if (scene.fixture.wire == Wire::http1) {
    // As MS-ASHTTP's clients spell out that there is none.
    std::string answer = co_await scene.raw(fmt::format("OPTIONS {} HTTP/1.1\r\nHost: x.example.com\r\nAuthorization: {}\r\n"
                                                        "Content-Type: text/html\r\nContent-Length: 0\r\n\r\n",
                                                        kActiveSync, authorization));
    EXPECT_THAT(answer, testing::StartsWith("HTTP/1.1 200"));
    CO_ASSERT(scene.exchange.seen.size() == 4);
    scene.exchange.seen.pop_back();
  }
  // With content there is nothing that it could mean.
  EXPECT_EQ((co_await scene.ask(ask("text/plain", "more"))).status, 400);
  EXPECT_EQ((co_await scene.ask(ask("application/vnd.ms-sync.wbxml", more))).status, 400);
  EXPECT_EQ(scene.exchange.seen.size(), 3u);
}
TEST_P(GatewayOver, PassesOptionsWithoutWhatDescribesContent) { run(options); }

Task<void> any_case(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = soap("GetItem");
  for (std::string_view path : {"/ews/exchange.ASMX", "/EWS/EXCHANGE.asmx"}) {
    Ask ask = ews(authorization, body);
    ask.target = path;
    EXPECT_EQ((co_await scene.ask(ask)).status, 200);
  }
  for (const auto& seen : scene.exchange.seen) EXPECT_EQ(seen->target, kEws);
}
TEST_P(GatewayOver, ForwardsOneSpellingOfThePath) { run(any_case); }

Task<void> refuses(Scene& scene) {
  struct Case {
    std::string_view method;
    std::string target;
    FieldList fields;
    std::string body;
    uint16_t status;
    GatewayOutcome outcome;
  };
  std::string good = basic("anna@example.com"), xml = "text/xml; charset=utf-8";
  std::string dangerous =
      "<t:ExchangeImpersonation><t:ConnectingSID><t:PrincipalName>ceo@example.com</t:PrincipalName></t:ConnectingSID></t:ExchangeImpersonation>";
  std::string sync = activesync_target("Sync", "anna@example.com", "ABC123"), ews_path(kEws);
  const std::vector<Case> cases = {
      {"GET", "/owa", {}, "", 404, GatewayOutcome::refused_target},
      {"POST", "/ecp/default.aspx", {{"Authorization", good}}, "x", 404, GatewayOutcome::refused_target},
      {"POST", "/EWS/../ecp", {{"Authorization", good}}, "x", 400, GatewayOutcome::refused_request},
      {"POST", "/EWS/%45xchange.asmx", {{"Authorization", good}}, "x", 400, GatewayOutcome::refused_request},
      {"GET", ews_path, {{"Authorization", good}}, "", 405, GatewayOutcome::refused_method},
      {"POST", "/EWS/Exchange.asmx?a=b", {{"Content-Type", xml}, {"Authorization", good}}, soap("GetItem"), 400, GatewayOutcome::refused_request},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", "NTLM TlRMTVNTUAAB"}}, soap("GetItem"), 401, GatewayOutcome::refused_logon},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", "Negotiate YII="}}, soap("GetItem"), 401, GatewayOutcome::refused_logon},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", "Basic !"}}, soap("GetItem"), 401, GatewayOutcome::refused_logon},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", good}, {"Authorization", basic("bob@example.com")}}, soap("GetItem"), 400,
       GatewayOutcome::refused_identity},
      {"POST", ews_path, {{"Content-Type", xml}, {"Content-Encoding", "gzip"}, {"Authorization", good}}, soap("GetItem"), 415,
       GatewayOutcome::refused_encoding},
      {"POST", ews_path, {{"Content-Type", "text/plain"}, {"Authorization", good}}, soap("GetItem"), 415, GatewayOutcome::refused_encoding},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", good}}, soap("UpdateInboxRules"), 403, GatewayOutcome::refused_operation},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", good}}, soap("GetItem", dangerous), 403, GatewayOutcome::refused_operation},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", good}}, "no soap", 400, GatewayOutcome::refused_request},
      {"POST", ews_path, {{"Content-Type", xml}, {"Authorization", good}, {"SOAPAction", "\"http://schemas.microsoft.com/exchange/services/2006/messages/FindItem\""}},
       soap("GetItem"), 400, GatewayOutcome::refused_request},
      {"POST", sync + "&DeviceId=XYZ", {{"Authorization", good}}, "", 400, GatewayOutcome::refused_ambiguous},
      {"POST", activesync_target("Sync", "bob@example.com", "ABC123"), {{"Authorization", good}}, "", 400, GatewayOutcome::refused_identity},
      {"POST", activesync_target("Steal", "anna@example.com", "ABC123"), {{"Authorization", good}}, "", 501, GatewayOutcome::refused_request},
      {"POST", activesync_target("Provision", "anna@example.com", "ABC123"),
       {{"Content-Type", "application/vnd.ms-sync.wbxml"}, {"MS-ASProtocolVersion", "14.1"}, {"Authorization", good}},
       wbxml(ActiveSyncCommand::folder_sync), 400, GatewayOutcome::refused_ambiguous},
  };
  for (const Case& one : cases) {
    Ask ask{.method = one.method, .target = one.target, .body = one.body};
    for (const auto& [name, value] : one.fields) ask.fields.emplace_back(name, value);
    uint64_t before = scene.counted(one.outcome);
    Peer::Answer answer = co_await scene.ask(ask);
    EXPECT_EQ(answer.status, one.status) << one.target << " " << one.body;
    co_await scene.until_idle();
    EXPECT_EQ(scene.counted(one.outcome), before + 1) << one.target << " " << one.body;
  }
  EXPECT_EQ(scene.exchange.seen.size(), 0u);
}
TEST_P(GatewayOver, RefusesWithoutAskingExchange) { run(refuses); }

Task<void> says_why(Scene& scene) {
  std::string body = soap("GetItem"), denied = soap("ExportItems"), authorization = basic("anna@example.com");
  Peer::Answer ntlm = co_await scene.ask(ews("NTLM TlRMTVNTUAAB", body));
  EXPECT_THAT(ntlm.body, HasSubstr("NTLM and Negotiate are not accepted"));
  EXPECT_THAT(ascii_lower(ntlm.fields), HasSubstr("www-authenticate: basic realm=\"x.example.com\""));
  Peer::Answer answer = co_await scene.ask(ews(authorization, denied));
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.body, HasSubstr("<e:ResponseCode xmlns:e=\"http://schemas.microsoft.com/exchange/services/2006/errors\">ErrorAccessDenied"));
  EXPECT_THAT(answer.fields, HasSubstr("content-type: text/xml"));
  Ask get{.method = "GET", .target = kEws};
  EXPECT_THAT(ascii_lower((co_await scene.ask(get)).fields), HasSubstr("allow: post"));
}
TEST_P(GatewayOver, SaysWhatClientsUnderstand) { run(says_why); }

Task<void> unauthorized(Scene& scene) {
  scene.exchange.respond = [](const Seen&) {
    return Reply{.status = 401,
                 .fields = {{"WWW-Authenticate", "Negotiate"}, {"WWW-Authenticate", "NTLM"},
                            {"WWW-Authenticate", "Basic realm=\"ex\""}, {"WWW-Authenticate", "Bearer client_id=\"x\""}}};
  };
  Peer::Answer answer = co_await scene.ask(ews("", soap("GetItem")));
  EXPECT_EQ(answer.status, 401);
  std::string fields = ascii_lower(answer.fields);
  EXPECT_THAT(fields, HasSubstr("www-authenticate: basic realm"));
  EXPECT_THAT(fields, HasSubstr("www-authenticate: bearer"));
  EXPECT_THAT(fields, Not(HasSubstr("ntlm")));
  EXPECT_THAT(fields, Not(HasSubstr("negotiate")));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::passed_unauthorized), 1u);
  EXPECT_FALSE(scene.exchange.seen.at(0)->has("authorization"));
}
TEST_P(GatewayOver, LetsExchangeAskForCredentialsThatPass) { run(unauthorized); }

Task<void> large_bodies(Scene& scene) {
  scene.exchange.respond = [](const Seen&) { return Reply{.body = std::string(1'000'000, 'a'), .chunked = true}; };
  std::string body = soap("CreateItem", {}, std::string(scene.fixture.http2() ? 15'000 : 60'000, 'b'));
  std::string authorization = basic("anna@example.com");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  peer->opens_windows = true;
  EXPECT_TRUE(co_await peer->settle());
  Ask ask = ews(authorization, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 200);
  EXPECT_EQ(peer->answers[0].body.size(), 1'000'000u);
  EXPECT_EQ(scene.exchange.body_bytes, body.size());
  EXPECT_TRUE(scene.exchange.seen.at(0)->whole);
  co_await peer->close();
}
TEST_P(GatewayOver, CarriesBodiesThatAreLargerThanItsBuffers) { run(large_bodies); }

Task<void> too_large(Scene& scene) {
  std::string body = soap("CreateItem", {}, std::string(70'000, 'b')), authorization = basic("anna@example.com");
  Peer::Answer answer = co_await scene.ask(ews(authorization, body));
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(scene.exchange.seen.size(), 0u);
}
TEST(Gateway, RefusesBodiesBeyondTheEndpointsLimit) {
  Scene::run(too_large, {.configure = [](Config& config, const Scene&) { config.gateway.routes[0].ews.body_bytes_max = 65'536; }});
}

Task<void> cut_answers(Scene& scene) {
  scene.exchange.respond = [](const Seen& seen) {
    return Reply{.body = "half of it", .chunked = seen.has("x-chunked") || seen.field("user-agent") == "chunked", .cut = true};
  };
  std::string body = soap("GetItem"), authorization = basic("anna@example.com");
  for (std::string_view agent : {"sized", "chunked"}) {
    auto peer = co_await scene.open();
    CO_ASSERT(peer);
    Ask ask = ews(authorization, body);
    ask.fields.emplace_back("User-Agent", agent);
    EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
    EXPECT_TRUE(co_await peer->read_until([](const Peer& p) {
      return p.ended || std::ranges::any_of(p.frames, [](auto& frame) { return frame.first == 3; });  // RST_STREAM
    }));
    EXPECT_EQ(peer->answers.size(), 0u) << agent;
    // RST_STREAM overtakes a head that is still to be sent.
    bool head_came = peer->unfinished().status == 200;
    EXPECT_TRUE(head_came || scene.fixture.http2()) << agent;
    co_await peer->close();
  }
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::passed_cut), 2u);
}
TEST_P(GatewayOver, CutsAnAnswerThatWasCut) { run(cut_answers); }

Task<void> hosts(Scene& scene) {
  std::string body = soap("GetItem");
  auto bytes = [&](std::string_view host) {
    return fmt::format("POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/xml\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n{}", kEws, host,
                       basic("anna@example.com"), body.size(), body);
  };
  for (std::string_view host : {"x.example.com", "X.Example.COM", "x.example.com.", "x.example.com:8443", "X.example.com.:443"}) {
    EXPECT_THAT(co_await scene.raw(bytes(host)), testing::StartsWith("HTTP/1.1 200")) << host;
  }
  for (std::string_view host : {"y.example.com", "example.com", "x.example.com.evil.test", "127.0.0.1", "a.x.example.com"}) {
    EXPECT_THAT(co_await scene.raw(bytes(host)), testing::StartsWith("HTTP/1.1 421")) << host;
  }
  EXPECT_EQ(scene.exchange.seen.size(), 5u);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_host), 5u);
}
TEST(Gateway, FindsTheRouteByTheHostHoweverItIsWritten) { Scene::run(hosts); }

Task<void> trail(Scene& scene) {
  std::string target = activesync_target("FolderSync", "anna", "ABC123"), body = wbxml(ActiveSyncCommand::folder_sync);
  std::string authorization = basic("EXAMPLE\\anna"), ews_body = soap("GetItem");
  (void)co_await scene.ask(activesync(authorization, target, body));
  co_await scene.until_idle();
  (void)co_await scene.ask(ews(authorization, ews_body));
  co_await scene.until_idle();
  const GatewayTrail& kept = scene.gateway->trail();
  auto of_device = kept.of_device(proto::device_key("abc123"), 10);
  CO_ASSERT(of_device.size() == 1);
  EXPECT_EQ(of_device[0].operation.view(), "FolderSync");
  EXPECT_EQ(of_device[0].device_type.view(), "iPhone");
  EXPECT_EQ(of_device[0].route.view(), "x.example.com");
  EXPECT_EQ(kept.of_account(of_device[0].account, 10).size(), 2u);
  EXPECT_EQ(kept.of_device_type("iphone", 10).size(), 1u);
  EXPECT_EQ(kept.of_mail_client("apple-iphone8c4/1504.100", 10).size(), 1u);
  EXPECT_EQ(kept.of_outcome(GatewayOutcome::passed_ok).size(), 2u);
  EXPECT_EQ(kept.of_outcome(GatewayOutcome::passed_ok)[0].operation.view(), "GetItem");
  EXPECT_THAT(scene.log_text(), HasSubstr("\"event\":\"gateway_request\""));
  for (std::string_view personal : {"anna", "ABC123", "iPhone", "Basic", "Apple"}) EXPECT_THAT(scene.log_text(), Not(HasSubstr(personal)));
}
TEST(Gateway, RemembersRequestsWithoutNamingAnybody) { Scene::run(trail); }

Task<void> mails(Scene& scene) {
  std::string authorization = basic("anna@example.com"), other = wbxml(ActiveSyncCommand::sync);
  std::string mime = "MIME-Version: 1.0\r\nFrom: anna@example.com\r\nTo: bob@example.com\r\nSubject: hello\r\n\r\nhello\r\n";
  for (auto [name, command] : {std::pair("SendMail", ActiveSyncCommand::send_mail), {"SmartForward", ActiveSyncCommand::smart_forward},
                               {"SmartReply", ActiveSyncCommand::smart_reply}}) {
    std::string target = activesync_target(name, "anna@example.com", "ABC123"), own = wbxml(command);
    EXPECT_EQ((co_await scene.ask(activesync(authorization, target, own))).status, 200) << name;
    EXPECT_EQ((co_await scene.ask(activesync(authorization, target, other))).status, 400) << name;
    Ask ask{.method = "POST", .target = target, .body = mime,
            .fields = {{"MS-ASProtocolVersion", "12.1"}, {"Content-Type", "message/rfc822"}, {"Authorization", authorization}}};
    EXPECT_EQ((co_await scene.ask(ask)).status, 200) << name;
    EXPECT_EQ(scene.exchange.seen.back()->body, mime);
  }
  EXPECT_EQ(scene.exchange.seen.size(), 6u);
}
TEST_P(GatewayOver, TakesAMailAsMimeOrWithTheRootOfItsCommand) { run(mails); }

// The looks into 4,096 envelopes, whose rest does not come, take all the memory that the gateway gives to such.
Task<void> slow_envelopes(Scene& scene) {
  constexpr size_t kLooks = 4'096, kStreams = 64;
  std::string anna = basic("anna@example.com"), body = soap("FindItem"), sync = wbxml(ActiveSyncCommand::folder_sync);
  std::string sync_at = activesync_target("FolderSync", "anna@example.com", "ABC123");
  auto pinged = [](const Peer& peer) { return std::ranges::any_of(peer.frames, [](auto& frame) { return frame.first == proto::kPing; }); };
  std::vector<std::unique_ptr<Peer>> peers;
  while (peers.size() * kStreams < kLooks) {
    auto peer = co_await scene.open();
    CO_ASSERT(peer);
    EXPECT_TRUE(co_await peer->settle());
    std::string bytes, authorization = basic("user" + std::to_string(peers.size()) + "@example.com");
    Ask head = ews(authorization, body);
    head.body = {};
    head.fields.insert(head.fields.begin(), {"Expect", "100-continue"});  // a body is to come
    for (size_t i = 0; i < kStreams; ++i) {
      bytes += peer->bytes_of(head);
      bytes += proto::frame(proto::kData, 0, peer->last_stream(), std::string_view(body).substr(0, 20));
    }
    bytes += proto::frame(proto::kPing, 0, 0, "12345678");
    EXPECT_TRUE(co_await peer->send(bytes));
    EXPECT_TRUE(co_await peer->read_until(pinged));
    peers.push_back(std::move(peer));
  }
  EXPECT_EQ(scene.gateway->requests_in_work(), kLooks);
  Peer::Answer refused = co_await scene.ask(ews(anna, body));
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.fields, HasSubstr("retry-after: 30"));
  EXPECT_EQ(scene.exchange.seen.size(), 0u);
  EXPECT_EQ((co_await scene.ask(activesync(anna, sync_at, sync))).status, 200);
  // One that gets its rest makes room.
  EXPECT_TRUE(co_await peers[0]->send(proto::frame(proto::kData, proto::kEndStream, 1, std::string_view(body).substr(20))));
  EXPECT_TRUE(co_await peers[0]->read_answers(1));
  EXPECT_EQ((co_await scene.ask(ews(anna, body))).status, 200);
  for (auto& peer : peers) co_await peer->close();
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_busy), 1u);
}
TEST(Gateway, LooksIntoABoundedNumberOfEnvelopesAtATime) { Scene::run(slow_envelopes, {.wire = Wire::http2}); }

}  // namespace
}  // namespace bellhop::service::gateway_test
