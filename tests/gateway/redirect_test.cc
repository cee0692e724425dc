// SPDX-License-Identifier: Apache-2.0
// Where Exchange sends clients to another server, and what of its cookies they carry.
#include "tests/gateway/scene.h"

namespace bellhop::service::gateway_test {
namespace {

using proto::ActiveSyncCommand;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

void redirect_once(Scene& scene, uint16_t status, std::string location) {
  scene.exchange.respond = [&scene, status, location](const Seen& seen) {
    if (seen.host.ends_with(std::to_string(scene.second_port))) return Reply{.body = "at the second"};
    return Reply{.status = status, .fields = {{status == 451 ? "X-MS-Location" : "Location", location}}};
  };
}

Task<void> follows(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = wbxml(ActiveSyncCommand::sync);
  std::string target = activesync_target("Sync", "anna@example.com", "ABC123");
  for (uint16_t status : {uint16_t{451}, uint16_t{302}}) {
    size_t before = scene.exchange.seen.size();
    redirect_once(scene, status, scene.second() + "/Microsoft-Server-ActiveSync");
    Peer::Answer answer = co_await scene.ask(activesync(authorization, target, body));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "at the second");
    EXPECT_THAT(answer.fields, Not(HasSubstr("location")));
    CO_ASSERT(scene.exchange.seen.size() == before + 2);
    EXPECT_EQ(scene.exchange.seen[before + 1]->body, body);
    EXPECT_EQ(scene.exchange.seen[before + 1]->target, target);
    EXPECT_EQ(scene.exchange.seen[before + 1]->field("authorization"), authorization);
    // From now on it goes there at once, for this account.
    EXPECT_EQ((co_await scene.ask(activesync(authorization, target, body))).body, "at the second");
    EXPECT_EQ(scene.exchange.seen.size(), before + 3);
    EXPECT_EQ(scene.gateway->redirects().size(), 1u);
    EXPECT_EQ(scene.gateway->redirects().list(10, io::now()).at(0).status, status);
    EXPECT_EQ(scene.gateway->redirects().clear(status), 1u);
  }
  EXPECT_EQ(scene.metrics.value(metric::gateway_redirects, RedirectResult::learned), 2u);
  EXPECT_EQ(scene.metrics.value(metric::gateway_redirects, RedirectResult::known), 2u);
}
TEST(GatewayRedirect, FollowsRedirectsToServersOfTheConfigurationAndRemembersThem) {
  Scene::run(follows, {.configure = [](Config& config, const Scene& scene) {
               config.gateway.routes[0].activesync.redirect_to = {scene.second()};
             }});
}

Task<void> dead_target(Scene& scene) {
  std::string body = wbxml(ActiveSyncCommand::folder_sync);
  auto sync = [&](std::string_view user) -> Task<Peer::Answer> {
    std::string authorization = basic(user), target = activesync_target("FolderSync", user, "ABC123");
    co_return co_await scene.ask(activesync(authorization, target, body));
  };
  redirect_once(scene, 451, scene.second() + "/Microsoft-Server-ActiveSync");
  for (std::string_view user : {"anna@example.com", "bob@example.com"}) EXPECT_EQ((co_await sync(user)).body, "at the second");
  // The second server dies, and the first has their mailboxes again.
  scene.exchange.respond = [&](const Seen& seen) {
    return seen.host.ends_with(std::to_string(scene.second_port)) ? Reply{.hang_up = true} : Reply{.body = "at the first"};
  };
  EXPECT_EQ((co_await sync("anna@example.com")).status, 502);
  for (std::string_view user : {"anna@example.com", "bob@example.com"}) {
    EXPECT_EQ((co_await sync(user)).status, 503) << user;
    EXPECT_EQ((co_await sync(user)).body, "at the first") << user;
  }
  EXPECT_EQ(scene.metrics.value(metric::gateway_redirects, RedirectResult::dropped), 2u);
}
TEST(GatewayRedirect, ForgetsARedirectToAServerThatRests) {
  Scene::run(dead_target, {.configure = [](Config& config, const Scene& scene) {
               GatewayEndpointConfig& endpoint = config.gateway.routes[0].activesync;
               endpoint.redirect_to = {scene.second()};
               endpoint.breaker_window_requests = 1;
               endpoint.breaker_open_ms = 600'000;
             }});
}

Task<void> strangers(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = wbxml(ActiveSyncCommand::sync);
  std::string target = activesync_target("Sync", "anna@example.com", "ABC123");
  std::string own = fmt::format("https://127.0.0.1:{}/Microsoft-Server-ActiveSync", scene.exchange_port);
  for (std::string location : {std::string("https://evil.test/Microsoft-Server-ActiveSync"), std::string("http://127.0.0.1/Microsoft-Server-ActiveSync"),
                               scene.second() + "/owa", std::string("/Microsoft-Server-ActiveSync"), std::string(),
                               own /* round in circles */}) {
    redirect_once(scene, 451, location);
    Peer::Answer answer = co_await scene.ask(activesync(authorization, target, body));
    EXPECT_EQ(answer.status, 502) << location;
    EXPECT_THAT(answer.fields, Not(HasSubstr("location"))) << location;
    EXPECT_THAT(answer.body, IsEmpty());
    (void)scene.gateway->redirects().clear();
  }
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::unavailable_redirect), 6u);
  EXPECT_EQ(scene.metrics.value(metric::gateway_redirects, RedirectResult::refused), 6u);
}
TEST(GatewayRedirect, NeverGoesToAServerThatIsNotConfiguredNorNamesItToTheClient) { Scene::run(strangers); }

Task<void> large_redirected(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = soap("CreateItem", {}, std::string(40'000, 'x'));
  redirect_once(scene, 302, scene.second() + "/ews/exchange.asmx");
  Peer::Answer answer = co_await scene.ask(ews(authorization, body));
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.fields, HasSubstr("retry-after: 1\n"));
  EXPECT_EQ((co_await scene.ask(ews(authorization, body))).body, "at the second");
}
TEST(GatewayRedirect, AsksTheClientToRepeatALargeRequestThatWasRedirected) {
  Scene::run(large_redirected, {.configure = [](Config& config, const Scene& scene) {
               config.gateway.routes[0].ews.redirect_to = {scene.second()};
             }});
}

// A Sync that the first server sends to the second, by the address that its client is told instead.
Task<void> expect_rewritten(Scene& scene, std::string host) {
  std::string authorization = basic("anna@example.com"), body = wbxml(ActiveSyncCommand::sync);
  std::string target = activesync_target("Sync", "anna@example.com", "ABC123");
  redirect_once(scene, 451, scene.second() + "/Microsoft-Server-ActiveSync");
  Peer::Answer answer = co_await scene.ask(activesync(authorization, target, body));
  EXPECT_EQ(answer.status, 451);
  EXPECT_THAT(answer.fields, HasSubstr("x-ms-location: https://" + host + "/microsoft-server-activesync"));
}

Task<void> rewrites(Scene& scene) {
  co_await expect_rewritten(scene, "y.example.com");
  EXPECT_EQ(scene.exchange.seen.size(), 1u);
}
TEST(GatewayRedirect, RewritesARedirectToTheHostOfAnotherRoute) {
  Scene::run(rewrites, {.configure = [](Config& config, const Scene& scene) {
               GatewayRouteConfig other = config.gateway.routes[0];
               config.gateway.routes[0].redirects = GatewayRedirects::rewrite;
               other.hosts = {"y.example.com"};
               other.activesync.upstream = scene.second();
               config.gateway.routes.push_back(other);
             }});
}

// ---- Between routes ----

Task<void> rewrites_to_host(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = wbxml(ActiveSyncCommand::sync);
  std::string target = activesync_target("Sync", "anna@example.com", "ABC123");
  co_await expect_rewritten(scene, "mail2.example.com");
  // The colons of an address are no port.
  std::string by_address = co_await scene.raw(
      fmt::format("POST {} HTTP/1.1\r\nHost: [::1]\r\nMS-ASProtocolVersion: 14.1\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
                  "Authorization: {}\r\nContent-Length: {}\r\n\r\n{}", target, authorization, body.size(), body));
  EXPECT_THAT(by_address, HasSubstr("https://mail2.example.com/Microsoft-Server-ActiveSync"));
  // A pattern is no host.
  scene.reload([](Config& config) { config.gateway.routes[1].hosts = {"*.site2.example.com"}; });
  EXPECT_EQ((co_await scene.ask(activesync(authorization, target, body))).body, "at the second");
}
TEST(GatewayRedirect, RewritesARedirectToAHostNotToAPattern) {
  Scene::run(rewrites_to_host, {.configure = [](Config& config, const Scene& scene) {
               GatewayRouteConfig other = config.gateway.routes[0];
               config.gateway.routes[0].hosts.push_back("::1");
               config.gateway.routes[0].redirects = GatewayRedirects::rewrite;
               other.hosts = {"*.site2.example.com", "mail2.example.com"};
               other.activesync.upstream = scene.second();
               config.gateway.routes.push_back(other);
             }});
}

Task<void> logs_on_elsewhere(Scene& scene) {
  std::string target = activesync_target("Sync", "anna", "ABC123"), body = wbxml(ActiveSyncCommand::sync);
  redirect_once(scene, 451, scene.second() + "/Microsoft-Server-ActiveSync");
  std::string answer = co_await scene.raw_as(
      "anna@example.com",
      fmt::format("POST {} HTTP/1.1\r\nHost: x.example.com\r\nMS-ASProtocolVersion: 14.1\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
                  "Content-Length: {}\r\n\r\n{}", target, body.size(), body));
  EXPECT_THAT(answer, testing::StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(scene.authenticator.services, testing::ElementsAre("HTTP/first", "HTTP/second"));
}
TEST(GatewayRedirect, LogsOnAsTheServerIsCalledThatARedirectLedTo) {
  Scene::run(logs_on_elsewhere, {.wire = Wire::http1_tls,
                                 .configure =
                                     [](Config& config, const Scene& scene) {
                                       GatewayEndpointConfig& first = config.gateway.routes[0].activesync;
                                       first.logon = GatewayLogon::kerberos;
                                       first.service_principal = "HTTP/first";
                                       GatewayRouteConfig other = config.gateway.routes[0];
                                       other.hosts = {"y.example.com"};
                                       other.activesync.upstream = scene.second();
                                       other.activesync.service_principal = "HTTP/second";
                                       config.gateway.routes.push_back(other);
                                     },
                                 .client_auth = TlsClientAuth::optional});
}

// ---- Cookies ----

std::string jar_of(const Peer::Answer& answer) {
  size_t at = answer.fields.find("set-cookie: ");
  if (at == std::string::npos) return {};
  std::string cookie = answer.fields.substr(at + 12);
  return cookie.substr(0, cookie.find(';'));
}

Task<void> cookies(Scene& scene) {
  scene.exchange.respond = [](const Seen& seen) {
    if (seen.has("cookie")) return Reply{.body = "x"};
    return Reply{.fields = {{"Set-Cookie", "X-BackEndOverrideCookie=ex1.example.test~1; path=/; secure; HttpOnly"}}, .body = "x"};
  };
  std::string anna = basic("anna@example.com"), bob = basic("bob@example.com"), body = soap("Subscribe");
  // The field's names come in lower case and its values as they are, so the answer is looked at as it came.
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = ews(anna, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await peer->read_answers(1));
  size_t at = ascii_lower(peer->received).find("set-cookie: ");
  CO_ASSERT(at != std::string::npos);
  std::string jar = peer->received.substr(at + 12);
  jar.resize(jar.find(';'));
  co_await peer->close();
  EXPECT_THAT(jar, Not(HasSubstr("ex1.")));  // its alphabet has no dot
  EXPECT_THAT(jar, Not(HasSubstr("BackEnd")));
  auto ask_with = [&](std::string_view who, std::string_view cookie) {
    Ask again = ews(who, body);
    again.fields.emplace_back("Cookie", cookie);
    return again;
  };
  std::string mixed = "X-BEResource=evil~1; " + jar + "; X-BackEndOverrideCookie=evil~1";
  EXPECT_THAT(jar_of(co_await scene.ask(ask_with(anna, mixed))), IsEmpty());
  EXPECT_EQ(scene.exchange.seen.at(1)->field("cookie"), "X-BackEndOverrideCookie=ex1.example.test~1");
  // Another account's jar does not open, nor does one that was changed, nor a cookie that we did not seal.
  (void)co_await scene.ask(ask_with(bob, jar));
  std::string broken = jar;
  broken.back() = broken.back() == 'A' ? 'B' : 'A';
  (void)co_await scene.ask(ask_with(anna, broken));
  (void)co_await scene.ask(ask_with(anna, "X-BackEndOverrideCookie=evil~1"));
  for (size_t i = 2; i < 5; ++i) EXPECT_FALSE(scene.exchange.seen.at(i)->has("cookie")) << i;
}
TEST(GatewayCookies, ClientsCarryExchangesCookiesButCannotWriteThem) { Scene::run(cookies); }

}  // namespace
}  // namespace bellhop::service::gateway_test
