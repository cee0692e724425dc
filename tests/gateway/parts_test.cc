// SPDX-License-Identifier: Apache-2.0
// The gateway's parts that ask nobody: hosts and routes, classes of clients, redirects that are remembered, the trail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/gateway_redirects.h"
#include "service/gateway_routes.h"
#include "service/gateway_trail.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kPin = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

GatewayEndpointConfig endpoint(std::string upstream, std::vector<std::string> redirect_to = {}) {
  return {.upstream = std::move(upstream), .redirect_to = std::move(redirect_to), .spki_pins = {std::string(kPin)}};
}

std::shared_ptr<const GatewayRoutes> make(const Config& config) {
  std::string complaint;
  auto made = GatewayRoutes::make(config, complaint);
  EXPECT_TRUE(made) << complaint;
  return made.value_or(nullptr);
}

Config three_routes() {
  Config config;
  config.tenants = {{.id = "acme"}, {.id = "other"}};
  config.gateway.domains = {{.name = "example.com", .netbios = "EXAMPLE", .aliases = {"example.net"}}};
  config.gateway.routes = {
      {.hosts = {"mail.example.com", "*.mail.example.com"}, .tenant = "acme", .ews = endpoint("https://ex1"),
       .activesync = endpoint("https://ex1:444", {"https://ex2"})},
      {.hosts = {"eu.example.com"}, .tenant = "acme", .activesync = endpoint("https://ex3")},
      {.hosts = {"mail.example.org"}, .tenant = "other", .activesync = endpoint("https://ex9")}};
  return config;
}

TEST(GatewayRoutes, OneHostHasManySpellings) {
  for (std::string_view text : {"mail.example.com", "MAIL.Example.com", "mail.example.com.", "mail.example.com:8443", "Mail.example.com.:1"}) {
    EXPECT_EQ(canonical_host(text), "mail.example.com") << text;
  }
  EXPECT_EQ(canonical_host("[2001:DB8::1]:443"), canonical_host("[2001:db8:0::1]"));
  for (std::string_view text : {"", ".", ":443", "mail.example.com:x", "mail.example.com:443:1", "a b", "mail.example.com/", "user@mail.example.com",
                                "mail.example.com..", "mail%2eexample.com", "mail.example.com:123456"}) {
    EXPECT_EQ(canonical_host(text), std::nullopt) << text;
  }
}

TEST(GatewayRoutes, AHostHasTheRouteThatNamesIt) {
  auto routes = make(three_routes());
  EXPECT_EQ(routes->find("mail.example.com")->name, "mail.example.com");
  EXPECT_EQ(routes->find("a.mail.example.com")->name, "mail.example.com");
  EXPECT_EQ(routes->find("eu.example.com")->name, "eu.example.com");
  for (std::string_view text : {"example.com", "a.b.mail.example.com", "mail.example.com.evil.test", "xmail.example.com", "", "127.0.0.1"}) {
    EXPECT_EQ(routes->find(text), nullptr) << text;
  }
  EXPECT_EQ(routes->find("eu.example.com")->endpoint(proto::GatewayEndpoint::ews), nullptr);
  EXPECT_EQ(routes->find("mail.example.com")->ews->upstream, (HostPort{"ex1", 443}));
}

TEST(GatewayRoutes, ARedirectLeadsToServersOfTheSameTenantAndEndpointOnly) {
  auto routes = make(three_routes());
  const GatewayEndpoint& activesync = *routes->find("mail.example.com")->activesync;
  auto found = [&](std::string host, uint16_t port = 443) { return routes->find_server(activesync, {std::move(host), port}); };
  ASSERT_TRUE(found("ex1", 444));
  EXPECT_EQ(found("ex1", 444)->endpoint, &activesync);
  EXPECT_EQ(found("ex2")->address, (HostPort{"ex2", 443}));
  EXPECT_EQ(found("ex3")->route->name, "eu.example.com");
  // Exchange names the host that clients use.
  EXPECT_EQ(found("eu.example.com")->address, (HostPort{"ex3", 443}));
  EXPECT_EQ(found("mail.example.com")->address, (HostPort{"ex1", 444}));
  EXPECT_FALSE(found("ex1"));              // EWS's server
  EXPECT_FALSE(found("ex9"));              // another tenant's
  EXPECT_FALSE(found("mail.example.org"));
  EXPECT_FALSE(found("evil.test"));
}

TEST(GatewayRoutes, NamesOfOneAccountAreOne) {
  Config config = three_routes();
  config.gateway.routes[0].default_domain = "example.com";
  auto routes = make(config);
  const proto::AccountNames& names = routes->find("mail.example.com")->accounts;
  for (std::string_view text : {"anna@example.com", "EXAMPLE\\Anna", "anna@EXAMPLE.net", "anna", "\\anna@example.com"}) {
    auto account = names.parse(text);
    ASSERT_TRUE(account) << text;
    EXPECT_EQ(account->text, "anna@example.com") << text;
  }
  EXPECT_NE(names.parse("OTHER\\anna"), names.parse("anna"));
  EXPECT_NE(routes->find("eu.example.com")->accounts.parse("anna"), names.parse("anna"));  // no default domain there
}

TEST(GatewayRoutes, TheFirstClassThatFitsCounts) {
  Config config = three_routes();
  config.gateway.operations = {"read"};
  config.gateway.clients = {
      {.name = "own", .kind = GatewayClientKind::bellhop, .operations = {"notification", "GetItem"}},
      {.name = "archive", .accounts = {"archive@example.net"}, .operations = {"bulk"}, .impersonation = true},
      {.name = "outlook", .user_agents = {"Microsoft Office/*", "exact"}, .operations = {"read", "write"}}};
  auto routes = make(config);
  proto::AccountNames names;
  ASSERT_TRUE(names.add_domain_alias("example.net", "example.com"));
  auto archive = names.parse("archive@example.com"), anna = names.parse("anna@example.com");
  EXPECT_EQ(routes->client_class(true, anna, "x").name, "own");
  EXPECT_EQ(routes->client_class(false, archive, "Microsoft Office/16").name, "archive");
  EXPECT_EQ(routes->client_class(false, anna, "microsoft office/16.0").name, "outlook");
  EXPECT_EQ(routes->client_class(false, std::nullopt, "Exact").name, "outlook");
  EXPECT_EQ(routes->client_class(false, anna, "exactly").name, "others");
  const GatewayClientClass& others = routes->client_class(false, anna, "");
  EXPECT_TRUE(others.operations.allows("FindItem"));
  EXPECT_FALSE(others.operations.allows("CreateItem"));
  EXPECT_FALSE(others.operations.allows("NoSuchOperation"));
  EXPECT_FALSE(others.impersonation);
  EXPECT_TRUE(routes->client_class(true, anna, "").operations.allows("Unsubscribe"));
  EXPECT_FALSE(routes->client_class(true, anna, "").operations.allows("FindItem"));
}

// ---- Redirects ----

constexpr Instant kNow = Instant(1000s);

KnownRedirect redirect(int account, uint16_t status = 451) {
  return {.key = GatewayRedirectCache::key("mail", proto::GatewayEndpoint::activesync, std::to_string(account)), .route = "mail",
          .server = {"ex" + std::to_string(account), 443}, .status = status};
}

TEST(GatewayRedirects, AreKeptForATime) {
  GatewayRedirectCache cache(4, 1h);
  cache.learn(redirect(1), kNow);
  EXPECT_EQ(cache.find(redirect(1).key, kNow + 59min), (HostPort{"ex1", 443}));
  EXPECT_FALSE(cache.find(redirect(2).key, kNow));
  EXPECT_FALSE(cache.find(redirect(1).key, kNow + 60min));
  EXPECT_EQ(cache.size(), 0u);
}

TEST(GatewayRedirects, TheLongestUnusedMakesRoom) {
  GatewayRedirectCache cache(3, 1h);
  for (int i = 0; i < 3; ++i) cache.learn(redirect(i), kNow);
  EXPECT_TRUE(cache.find(redirect(0).key, kNow));
  cache.learn(redirect(3), kNow);
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_FALSE(cache.find(redirect(1).key, kNow));
  EXPECT_TRUE(cache.find(redirect(0).key, kNow));
  cache.learn(redirect(0), kNow);  // again: no second entry
  EXPECT_EQ(cache.size(), 3u);
  cache.renew(1, 1h);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_TRUE(cache.find(redirect(0).key, kNow));
}

TEST(GatewayRedirects, CanBeClearedByStatus) {
  GatewayRedirectCache cache(10, 1h);
  for (int i = 0; i < 6; ++i) cache.learn(redirect(i, i % 2 == 0 ? 451 : 302), kNow);
  EXPECT_EQ(cache.list(2, kNow).size(), 2u);
  EXPECT_EQ(cache.list(10, kNow).at(0).server.host, "ex5");
  EXPECT_EQ(cache.clear(302), 3u);
  EXPECT_EQ(cache.list(10, kNow).size(), 3u);
  EXPECT_TRUE(cache.forget(redirect(0).key));
  EXPECT_FALSE(cache.forget(redirect(0).key));
  EXPECT_EQ(cache.clear(), 2u);
  EXPECT_EQ(cache.size(), 0u);
}

TEST(GatewayRedirects, BelongToOneRouteEndpointAndAccount) {
  auto key = [](std::string_view route, proto::GatewayEndpoint endpoint, std::string_view account) {
    return GatewayRedirectCache::key(route, endpoint, account);
  };
  auto one = key("mail", proto::GatewayEndpoint::ews, "anna");
  EXPECT_NE(one, key("mai", proto::GatewayEndpoint::ews, "lanna"));
  EXPECT_NE(one, key("mail", proto::GatewayEndpoint::activesync, "anna"));
  EXPECT_NE(one, key("mail", proto::GatewayEndpoint::ews, "bob"));
}

// ---- Trail ----

TEST(GatewayTrail, KeepsTheLastAndAFewOfEachOutcome) {
  GatewayTrail trail;
  GatewayTrailEntry rare{.outcome = GatewayOutcome::refused_ambiguous, .status = 400};
  rare.device = proto::device_key("RARE");
  trail.note(rare);
  for (size_t i = 0; i < GatewayTrail::kRecentMax + 5; ++i) {
    GatewayTrailEntry entry{.outcome = GatewayOutcome::passed_ok, .status = 200};
    entry.device = proto::device_key(i % 2 == 0 ? "EVEN" : "ODD");
    entry.mail_client = GatewayTrailEntry::Text<48>(std::string(60, 'm') + std::to_string(i));
    entry.took = Duration(i);
    trail.note(entry);
  }
  EXPECT_EQ(trail.of_device(proto::device_key("RARE"), 10).size(), 0u);
  ASSERT_EQ(trail.of_outcome(GatewayOutcome::refused_ambiguous).size(), 1u);
  EXPECT_EQ(trail.of_outcome(GatewayOutcome::refused_ambiguous)[0].status, 400);
  EXPECT_EQ(trail.of_outcome(GatewayOutcome::passed_ok).size(), GatewayTrail::kExamplesMax);
  auto even = trail.of_device(proto::device_key("even"), 3);
  ASSERT_EQ(even.size(), 3u);
  EXPECT_GT(even[0].took, even[1].took);  // the newest first
  EXPECT_EQ(trail.of_device(proto::device_key("even"), 10'000).size() + trail.of_device(proto::device_key("odd"), 10'000).size(),
            GatewayTrail::kRecentMax);
  EXPECT_EQ(trail.of_mail_client(std::string(80, 'M'), 5).size(), 5u);  // cut as it was noted
}

}  // namespace
}  // namespace bellhop::service
