// SPDX-License-Identifier: Apache-2.0
// Autodiscover against scripted hosts, under names that the simulator resolves.

#include "service/autodiscover.h"

#include <gmock/gmock.h>

#include "core/sim/world.h"
#include "proto/autodiscover_server.h"
#include "service/error_texts.h"
#include "store/memory/memory_store.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using proto::AutodiscoverAnswer;
using proto::AutodiscoverForm;
using proto::AutodiscoverKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using Result = AutodiscoverResult;

constexpr std::string_view kRoot = "corp.example.test";
constexpr std::string_view kAuto = "autodiscover.corp.example.test";
constexpr std::string_view kEws = "https://mail.example.test/EWS/Exchange.asmx";

IpAddress address(std::string_view text) { return *IpAddress::parse(text); }
void name(std::string_view host, std::string_view ip = "127.0.0.1") { sim::world().set_host(host, {address(ip)}); }

bool is_soap(const Seen& seen) { return seen.target == "/autodiscover/autodiscover.svc"; }
std::string answered(const Seen& seen, const AutodiscoverAnswer& answer) {
  std::string text;
  proto::write_autodiscover_answer(is_soap(seen) ? AutodiscoverForm::soap : AutodiscoverForm::pox, answer, text);
  return http_answer(200, text);
}
AutodiscoverAnswer settings(std::string_view external = kEws, std::string_view internal = "") {
  return {.kind = AutodiscoverKind::settings, .external_url = external, .internal_url = internal};
}
std::string redirect(std::string_view location, uint16_t status = 302) {
  return plain(status, "location: " + std::string(location) + "\r\n");
}
std::string host_of(const Seen& seen) { return seen.host.substr(0, seen.host.find(':')); }

// A site with Autodiscover: the peer speaks TLS, `http` is the plain one of the probe.
struct Site {
  explicit Site(Scene& scene) : s(scene), http(scene.parent) {}

  Task<void> start() {
    http.plain = true;
    http.respond = [](const Seen&) { return plain(404); };
    co_await http.start(s.authority);
    config.https_port = s.peer.port();
    config.http_port = http.port();
    tenant = s.make_tenant(0);
    tenant->config.ews_ports.push_back(443);
    for (std::string_view host : {kRoot, kAuto}) BH_CHECK(tenant->autodiscover_hosts.add(host));
    BH_CHECK(tenant->autodiscover_hosts.add("*.example.test"));
    for (const char* domain : {"corp.example.test", "*.hybrid.example.test", "cloud.example.test"}) {
      BH_CHECK(tenant->autodiscover_domains.add(domain));
    }
    keyring = crypto::Keyring::parse(crypto::make_keyring()).value();
    auto opened = co_await Vault::open(*keyring, *store);
    BH_CHECK(opened);
    vault.emplace(*std::move(opened));
    TlsFile file{"ca", s.authority.chain_pem};
    std::string complaint;
    auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
    tls = TlsContext::client({.authorities = *authorities, .pins = {}, .alpn = {"http/1.1"}}, complaint).value();
    autodiscover = std::make_unique<Autodiscover>(config, s.config, tls, *vault, *store, s.metrics, *s.log);
    use_address("ada@corp.example.test");
  }
  void use_address(std::string_view text) { s.credentials.address = crypto::Secret::copy_of(text); }
  Task<Autodiscover::Reply> find(bool cache_allowed = true) {
    return autodiscover->find(*tenant, s.credentials, cache_allowed);
  }
  // What was asked, in order: "soap HOST", "pox HOST", "http HOST".
  std::vector<std::string> asked() const {
    std::vector<std::string> all;
    for (const Seen& seen : s.peer.seen) all.push_back((is_soap(seen) ? "soap " : "pox ") + host_of(seen));
    for (const Seen& seen : http.seen) all.push_back("http " + host_of(seen));
    return all;
  }
  uint64_t counted(Result result) const { return s.metrics.value(metric::autodiscovers, result); }

  Scene& s;
  Peer http;
  AutodiscoverConfig config;
  std::unique_ptr<Tenant> tenant;
  std::unique_ptr<store::MemoryStore> store = store::MemoryStore::create();
  std::optional<crypto::Keyring> keyring;
  std::optional<Vault> vault;
  std::shared_ptr<TlsContext> tls;
  std::unique_ptr<Autodiscover> autodiscover;
};

using SiteFlow = Task<void> (*)(Site&);
SiteFlow current_flow;
Task<void> run_with_site(Scene& s) {
  Site site(s);
  co_await site.start();
  co_await current_flow(site);
  site.autodiscover.reset();
  EXPECT_EQ(s.open_connections(), 0u);
  co_await site.http.stop();
  EXPECT_THAT(s.log_text(), Not(HasSubstr("ada@")));
  EXPECT_THAT(s.log_text(), Not(HasSubstr(std::string(kPassword))));
  for (const Seen& seen : site.http.seen) EXPECT_EQ(seen.authorization, "") << "credentials over plain HTTP";
  BH_CHECK(co_await site.store->leave_core());
}
void run_site(SiteFlow flow) {
  current_flow = flow;
  run_scene(run_with_site);
}

// ---- The documented order ----

Task<void> finds_at_root(Site& site) {
  name(kRoot);
  site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings()); };
  auto found = co_await site.find();
  CO_ASSERT(found);
  EXPECT_EQ(found->url, kEws);
  EXPECT_FALSE(found->cached);
  EXPECT_THAT(site.asked(), ElementsAre("soap corp.example.test"));
  const Seen& seen = site.s.peer.seen[0];
  EXPECT_EQ(seen.method, "POST");
  EXPECT_THAT(seen.authorization, HasSubstr("Basic "));
  EXPECT_THAT(seen.action, HasSubstr("GetUserSettings"));
  EXPECT_THAT(seen.body, HasSubstr("ada@corp.example.test"));
  EXPECT_THAT(seen.body, HasSubstr("/autodiscover/autodiscover.svc</w:To>"));
}
TEST(Autodiscover, AsksTheDomainItselfBySoapFirst) { run_site(finds_at_root); }

Task<void> goes_through_all(Site& site) {
  name(kRoot);
  name(kAuto);
  site.s.peer.respond = [](const Seen&) { return plain(404); };
  auto found = co_await site.find();
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::not_found);
  EXPECT_THAT(site.asked(), ElementsAre("soap corp.example.test", "pox corp.example.test",
                                        "soap autodiscover.corp.example.test", "pox autodiscover.corp.example.test",
                                        "http autodiscover.corp.example.test"));
  EXPECT_EQ(site.http.seen[0].method, "GET");
  EXPECT_EQ(site.http.seen[0].target, "/autodiscover/autodiscover.xml");
}
TEST(Autodiscover, AsksEachHostInBothFormsThenPlainHttp) { run_site(goes_through_all); }

Task<void> finds_by_pox(Site& site) {
  name(kAuto);  // the domain itself has no address
  site.s.peer.respond = [](const Seen& seen) { return is_soap(seen) ? plain(500) : answered(seen, settings()); };
  auto found = co_await site.find();
  CO_ASSERT(found);
  EXPECT_THAT(site.asked(), ElementsAre("soap autodiscover.corp.example.test", "pox autodiscover.corp.example.test"));
  EXPECT_EQ(site.s.peer.seen[1].action, "");
}
TEST(Autodiscover, APoxAnswerServesWhereSoapFails) { run_site(finds_by_pox); }

Task<void> finds_by_probe(Site& site) {
  name(kAuto);
  name("login.example.test");
  site.http.respond = [&](const Seen&) {
    return redirect("https://login.example.test:" + std::to_string(site.s.peer.port()) + "/autodiscover/autodiscover.xml");
  };
  site.s.peer.respond = [](const Seen& seen) {
    return host_of(seen) == "login.example.test" ? answered(seen, settings()) : plain(404);
  };
  auto found = co_await site.find();
  CO_ASSERT(found);
  EXPECT_EQ(site.s.peer.seen.back().target, "/autodiscover/autodiscover.xml");
  EXPECT_THAT(site.http.seen, SizeIs(1));
}
TEST(Autodiscover, ARedirectOfPlainHttpToHttpsIsFollowed) { run_site(finds_by_probe); }

Task<void> finds_by_service_record(Site& site) {
  name("one.example.test");
  name("two.example.test");
  uint16_t port = site.s.peer.port();
  sim::world().set_service("_autodiscover._tcp.corp.example.test",
                           {{"Two.Example.test", port, 20, 0}, {"one.example.test", port, 10, 0}});
  site.s.peer.respond = [](const Seen& seen) {
    return host_of(seen) == "two.example.test" ? answered(seen, settings()) : plain(404);
  };
  auto found = co_await site.find();
  CO_ASSERT(found);
  EXPECT_EQ(found->url, kEws);
  EXPECT_THAT(site.asked(), ElementsAre("soap one.example.test", "pox one.example.test", "soap two.example.test"));
}
TEST(Autodiscover, LastAsksTheHostsOfTheServiceRecordByTheirPriority) { run_site(finds_by_service_record); }

// DNS may be forged, or name a host that serves others too.
Task<void> judges_service_record(Site& site) {
  for (const char* host : {"mail.evil.test", "one.example.test", "private.example.test"}) name(host);
  name("private.example.test", "10.0.0.1");
  uint16_t port = site.s.peer.port();
  sim::world().set_service("_autodiscover._tcp.corp.example.test", {{"", port, 0, 0},
                                                                    {"mail.evil.test", port, 0, 0},
                                                                    {"one.example.test", 8080, 0, 0}});
  auto found = co_await site.find();
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::not_found);
  sim::world().set_service("_autodiscover._tcp.corp.example.test", {{"private.example.test", port, 0, 0}});
  auto again = co_await site.find(false);
  CO_ASSERT(!again);
  EXPECT_THAT(site.asked(), IsEmpty());
}
TEST(Autodiscover, AServiceRecordLeadsToListedHostsAndPermittedPortsOnly) { run_site(judges_service_record); }

Task<void> bounds_service_record(Site& site) {
  std::vector<io::ServiceRecord> records;
  for (int i = 0; i < 50; ++i) {
    std::string host = "h" + std::to_string(i) + ".example.test";
    name(host);
    records.push_back({host, site.s.peer.port(), 0, 0});
  }
  sim::world().set_service("_autodiscover._tcp.corp.example.test", records);
  site.s.peer.respond = [](const Seen&) { return plain(404); };
  auto found = co_await site.find();
  EXPECT_FALSE(found);
  EXPECT_THAT(site.asked(), SizeIs(6)) << "three hosts in two forms";
}
TEST(Autodiscover, ThreeHostsOfAServiceRecordAreAskedAndNoMore) { run_site(bounds_service_record); }

Task<void> prefers_external(Site& site) {
  name(kRoot);
  site.s.peer.respond = [](const Seen& seen) {
    return answered(seen, settings("https://outside.example.org/EWS", "https://inside.example.test/EWS"));
  };
  auto found = co_await site.find();
  CO_ASSERT(found);
  EXPECT_EQ(found->url, "https://inside.example.test/EWS") << "the only one that is permitted";
}
TEST(Autodiscover, TheInternalUrlServesWhereOnlyItIsPermitted) { run_site(prefers_external); }

// ---- Redirects ----

Task<void> follows_url(Site& site) {
  name(kRoot);
  name("a.example.test");
  std::string port = std::to_string(site.s.peer.port());
  site.s.peer.respond = [port](const Seen& seen) {
    if (host_of(seen) == "a.example.test") return answered(seen, settings());
    return answered(seen, {.kind = AutodiscoverKind::redirect_url,
                           .redirect = "https://a.example.test:" + port + "/autodiscover/autodiscover.svc"});
  };
  CO_ASSERT(co_await site.find());
  EXPECT_THAT(site.asked(), ElementsAre("soap corp.example.test", "soap a.example.test"));
}
TEST(Autodiscover, ARedirectUrlIsFollowed) { run_site(follows_url); }

Task<void> follows_address(Site& site) {
  name(kRoot);
  name("cloud.example.test");
  site.s.peer.respond = [](const Seen& seen) {
    if (seen.body.contains("ada.l@cloud.example.test")) return answered(seen, settings());
    return answered(seen, {.kind = AutodiscoverKind::redirect_address, .redirect = "ada.l@cloud.example.test"});
  };
  auto found = co_await site.find();
  CO_ASSERT(found);
  EXPECT_THAT(site.asked(), ElementsAre("soap corp.example.test", "soap cloud.example.test"));
  // What is true of this mailbox need not be of its neighbours.
  EXPECT_EQ((co_await site.store->counts())->ews_urls, 0u);
}
TEST(Autodiscover, ARedirectAddressIsAskedForAndNotKept) { run_site(follows_address); }

Task<void> loops_end(Site& site) {
  name(kRoot);
  name(kAuto);
  std::string port = std::to_string(site.s.peer.port());
  auto there = [port](std::string_view host) {
    return "https://" + std::string(host) + ":" + port + "/autodiscover/autodiscover.svc";
  };
  // To itself.
  site.s.peer.respond = [&](const Seen& seen) { return redirect(there(host_of(seen))); };
  auto found = co_await site.find(false);
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::redirect_loop);
  // Between two.
  site.s.peer.respond = [&](const Seen& seen) { return redirect(there(host_of(seen) == kRoot ? kAuto : kRoot)); };
  found = co_await site.find(false);
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::redirect_loop);
  // By address: to himself, and between two domains.
  name("cloud.example.test");
  for (bool two : {false, true}) {
    site.s.peer.respond = [two](const Seen& seen) {
      bool moved = seen.body.contains("@cloud.example.test");
      std::string_view to = two && !moved ? "ada@cloud.example.test" : "ada@corp.example.test";
      return answered(seen, {.kind = AutodiscoverKind::redirect_address, .redirect = to});
    };
    found = co_await site.find(false);
    CO_ASSERT(!found);
    EXPECT_EQ(found.error(), Result::redirect_loop);
  }
  EXPECT_LT(site.s.peer.seen.size(), 40u);
}
TEST(Autodiscover, LoopsEnd) { run_site(loops_end); }

Task<void> counts_redirects(Site& site) {
  std::string port = std::to_string(site.s.peer.port());
  name(kRoot);
  for (char c : std::string_view("abcdef")) name(std::string(1, c) + ".example.test");
  for (char last : {'c', 'd'}) {
    site.s.peer.seen.clear();
    site.s.peer.respond = [port, last](const Seen& seen) {
      char at = host_of(seen) == kRoot ? 'a' - 1 : host_of(seen)[0];
      if (at == last) return answered(seen, settings());
      return redirect("https://" + std::string(1, char(at + 1)) + ".example.test:" + port + "/autodiscover/autodiscover.svc");
    };
    auto found = co_await site.find(false);
    if (last == 'c') {
      EXPECT_TRUE(found) << "three";
    } else {
      CO_ASSERT(!found);
      EXPECT_EQ(found.error(), Result::too_many_redirects);
      EXPECT_THAT(site.s.peer.seen, SizeIs(4));
    }
  }
}
TEST(Autodiscover, FollowsThreeRedirectsAndNoMore) { run_site(counts_redirects); }

Task<void> refuses_redirects(Site& site) {
  name(kRoot);
  name(kAuto);
  name("foreign.example.org");
  struct Case {
    std::string_view location;
    Result result;
  };
  const Case cases[] = {{"http://corp.example.test/autodiscover/autodiscover.xml", Result::insecure_redirect},
                        {"https://foreign.example.org/autodiscover/autodiscover.xml", Result::foreign_host},
                        {"https://corp.example.test:8080/autodiscover/autodiscover.xml", Result::foreign_host},
                        {"https://169.254.169.254/autodiscover/autodiscover.xml", Result::foreign_host},
                        {"https://user:password@corp.example.test/", Result::garbage},
                        {"//foreign.example.org/x", Result::garbage},
                        {"", Result::garbage}};
  for (bool probe : {false, true}) {
    for (const Case& c : cases) {
      auto answer = [&](const Seen&) { return redirect(c.location); };
      auto nothing = [](const Seen&) { return plain(404); };
      site.s.peer.respond = probe ? std::function<std::string(const Seen&)>(nothing) : answer;
      site.http.respond = probe ? std::function<std::string(const Seen&)>(answer) : nothing;
      auto found = co_await site.find(false);
      CO_ASSERT(!found);
      // Without a scheme of its own it stays on that of the question.
      bool plain_http = probe && c.location.starts_with("//");
      EXPECT_EQ(found.error(), plain_http ? Result::insecure_redirect : c.result) << c.location;
    }
  }
  for (const Seen& seen : site.s.peer.seen) EXPECT_TRUE(host_of(seen) == kRoot || host_of(seen) == kAuto);
  EXPECT_THAT(site.s.log_text(), HasSubstr("autodiscover_redirect_refused"));
  EXPECT_THAT(site.s.log_text(), HasSubstr("foreign.example.org")) << "the operator must know what to list";
}
TEST(Autodiscover, RedirectsToPlainHttpAndToHostsThatAreNotListedAreNotFollowed) { run_site(refuses_redirects); }

Task<void> refuses_settings(Site& site) {
  name(kRoot);
  for (std::string_view url : {"https://foreign.example.org/EWS/Exchange.asmx", "http://mail.example.test/EWS",
                               "https://10.0.0.1/EWS", "nonsense"}) {
    site.s.peer.respond = [url](const Seen& seen) { return answered(seen, settings(url, url)); };
    auto found = co_await site.find(false);
    CO_ASSERT(!found);
    EXPECT_EQ(found.error(), Result::foreign_host) << url;
  }
  EXPECT_EQ((co_await site.store->counts())->ews_urls, 0u);
}
TEST(Autodiscover, AnEwsUrlThatTheTenantMayNotReachIsNone) { run_site(refuses_settings); }

// ---- Who may be asked ----

Task<void> asks_listed_only(Site& site) {
  name(kRoot);
  name(kAuto);
  site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings()); };
  site.tenant->autodiscover_hosts = {};
  BH_CHECK(site.tenant->autodiscover_hosts.add(kAuto));
  CO_ASSERT(co_await site.find(false));
  EXPECT_THAT(site.asked(), ElementsAre("soap autodiscover.corp.example.test"));
  site.tenant->autodiscover_hosts = {};
  auto none = co_await site.find(false);
  CO_ASSERT(!none);
  EXPECT_THAT(site.s.peer.seen, SizeIs(1));
  EXPECT_THAT(site.s.log_text(), HasSubstr("autodiscover_host_not_listed"));
}
TEST(Autodiscover, CredentialsGoToListedHostsOnly) { run_site(asks_listed_only); }

Task<void> is_off(Site& site) {
  for (std::string_view text : {"ada@other.example.test", "ada@hybrid.example.test", "ada", "@corp.example.test",
                                "ada@[127.0.0.1]", "ada@127.0.0.1", "ada@corp example.test", "ada@corp.example.test/x"}) {
    site.use_address(text);
    auto found = co_await site.find();
    CO_ASSERT(!found);
    EXPECT_EQ(found.error(), Result::off) << text;
  }
  EXPECT_THAT(site.asked(), IsEmpty());
}
TEST(Autodiscover, IsOffForDomainsThatAreNotListed) { run_site(is_off); }

Task<void> refuses_bad_address(Site& site) {
  for (const char* bad : {"169.254.169.254", "10.0.0.1", "::1", "100.64.0.1"}) {
    name(kRoot, bad);
    name(kAuto, bad);
    auto found = co_await site.find(false);
    CO_ASSERT(!found);
    EXPECT_EQ(found.error(), Result::foreign_host) << bad;
  }
  EXPECT_EQ(site.s.peer.connections + site.http.connections, 0u);
}
TEST(Autodiscover, ANameThatLeadsToAForbiddenAddressGetsNoConnection) { run_site(refuses_bad_address); }

Task<void> change_name(std::string_view to) {
  co_await sleep_for(300ms);
  name(kRoot, to);
}
// The name comes to mean another address between the check and the end of the exchange.
Task<void> uses_checked_address(Site& site) {
  name(kRoot);
  io::Endpoint peer{.tcp = {address("127.0.0.1"), site.s.peer.port()}};
  sim::world().set_rule(peer, {.delay = 400ms});
  site.config.attempt_timeout_ms = 10'000;
  site.autodiscover = std::make_unique<Autodiscover>(site.config, site.s.config, site.tls, *site.vault, *site.store,
                                                     site.s.metrics, *site.s.log);
  site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings()); };
  TaskScope scope(&co_await current_context());
  scope.spawn(change_name("10.0.0.1"));
  EXPECT_TRUE(co_await site.find(false)) << "at the address that was checked";
  co_await scope.join();
  EXPECT_EQ(site.s.peer.connections, 1u);
  auto later = co_await site.find(false);
  CO_ASSERT(!later);
  EXPECT_EQ(later.error(), Result::foreign_host) << "which is checked anew for the next connection";
  EXPECT_EQ(site.s.peer.connections, 1u);
  sim::world().clear_rule(peer);
}
TEST(Autodiscover, ConnectsToTheAddressThatWasChecked) { run_site(uses_checked_address); }

Task<void> verifies(Site& site) {
  name("deep.corp.hybrid.example.test");  // the certificate is for another name
  site.use_address("ada@deep.corp.hybrid.example.test");
  auto found = co_await site.find(false);
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::unavailable);
  EXPECT_THAT(site.s.peer.seen, IsEmpty());
}
TEST(Autodiscover, ACertificateForAnotherNameGetsNoCredentials) { run_site(verifies); }

Task<void> searches_with_passwords_only(Site& site) {
  name(kRoot);
  site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings()); };
  crypto::OauthCredentials oauth;
  oauth.refresh_token = crypto::Secret::copy_of("refresh");
  site.s.credentials.logon = std::move(oauth);
  auto found = co_await site.find();
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::off);
  EXPECT_THAT(site.asked(), IsEmpty());
  // What a neighbour's search found serves all.
  store::EwsUrlKey key = site.vault->ews_url_key(site.tenant->config.id, kRoot);
  EXPECT_TRUE(co_await site.store->put_ews_url(key, {std::string(kEws), io::wall_now() + 1h}));
  found = co_await site.find();
  CO_ASSERT(found);
  EXPECT_EQ(found->url, kEws);
}
TEST(Autodiscover, NoGrantIsWastedOnASearch) { run_site(searches_with_passwords_only); }

// ---- Bad answers ----

Task<void> names_outcomes(Site& site) {
  name(kRoot);
  struct Case {
    const char* what;
    std::string answer;
    Result result;
  };
  std::string refused_text;
  proto::write_autodiscover_answer(AutodiscoverForm::pox, {.error = "600"}, refused_text);
  std::string bomb = http_answer(200, std::string(proto::kAutodiscoverBytesMax + 1, ' '));
  const Case cases[] = {
      {"html", http_answer(200, "<html><body>Welcome</body></html>", "", "text/html"), Result::garbage},
      {"html with doctype", http_answer(200, "<!DOCTYPE html><html/>", "", "text/html"), Result::garbage},
      {"nothing", http_answer(200, ""), Result::garbage},
      {"huge", bomb, Result::garbage},
      {"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", Result::garbage},
      {"error", http_answer(200, refused_text), Result::refused},
      {"403", plain(403), Result::not_found},
      {"404", plain(404), Result::not_found},
      {"503", plain(503), Result::unavailable},
  };
  for (const Case& c : cases) {
    site.s.peer.respond = [&](const Seen&) { return c.answer; };
    auto found = co_await site.find(false);
    CO_ASSERT(!found);
    EXPECT_EQ(found.error(), c.result) << c.what;
  }
}
TEST(Autodiscover, EachBadAnswerHasItsOutcome) { run_site(names_outcomes); }

Task<void> stops_at_401(Site& site) {
  name(kRoot);
  name(kAuto);
  site.s.peer.respond = [](const Seen&) { return plain(401, "www-authenticate: Basic realm=\"x\"\r\n"); };
  auto found = co_await site.find();
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::unauthorized);
  EXPECT_THAT(site.s.peer.seen, SizeIs(1)) << "one wrong password, one logon";
  // It says nothing of the domain: the next user is asked for.
  site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings()); };
  EXPECT_TRUE(co_await site.find());
}
TEST(Autodiscover, TheFirst401EndsTheSearch) { run_site(stops_at_401); }

Task<void> ends_in_time(Site& site) {
  name(kRoot);
  name(kAuto);
  site.config.timeout_ms = 5'000;
  site.config.attempt_timeout_ms = 2'000;
  site.autodiscover = std::make_unique<Autodiscover>(site.config, site.s.config, site.tls, *site.vault, *site.store,
                                                     site.s.metrics, *site.s.log);
  io::Endpoint peer{.tcp = {address("127.0.0.1"), site.s.peer.port()}};
  io::Endpoint http{.tcp = {address("127.0.0.1"), site.http.port()}};
  for (uint64_t bytes : {0u, 100u, 3'000u}) {  // a host that stalls: at once, in the handshake, in its answer
    sim::world().set_rule(peer, {.cut_after_to_client = bytes, .cut = sim::AddressRule::Cut::stall});
    sim::world().set_rule(http, {.cut_after_to_client = 0, .cut = sim::AddressRule::Cut::stall});
    site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings(std::string(1'900, 'x'))); };
    Instant begin = io::now();
    auto found = co_await site.find(false);
    CO_ASSERT(!found);
    EXPECT_EQ(found.error(), Result::timed_out);
    EXPECT_LE(io::now() - begin, Duration(5'100ms));
  }
  sim::world().set_host_silent(kRoot);
  sim::world().set_host_silent(kAuto);
  Instant begin = io::now();
  auto found = co_await site.find(false);
  CO_ASSERT(!found);
  EXPECT_EQ(found.error(), Result::timed_out);
  EXPECT_LE(io::now() - begin, Duration(5'100ms));
  sim::world().clear_rule(peer);
  sim::world().clear_rule(http);
}
TEST(Autodiscover, EndsInTimeHoweverAHostStalls) { run_site(ends_in_time); }

// ---- What is kept ----

Task<void> keeps_url(Site& site) {
  name(kRoot);
  site.config.cache_hours = 1;
  site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings()); };
  CO_ASSERT(co_await site.find());
  site.use_address("bob@CORP.example.test");
  auto again = co_await site.find();
  CO_ASSERT(again);
  EXPECT_TRUE(again->cached);
  EXPECT_EQ(again->url, kEws);
  EXPECT_THAT(site.s.peer.seen, SizeIs(1));
  EXPECT_EQ(site.counted(Result::cached), 1u);
  EXPECT_FALSE((co_await site.find(false))->cached);
  // Forgotten, but only where it is what is kept.
  co_await site.autodiscover->forget(*site.tenant, site.s.credentials, "https://elsewhere.example.test/");
  EXPECT_TRUE((co_await site.find())->cached);
  co_await site.autodiscover->forget(*site.tenant, site.s.credentials, kEws);
  EXPECT_FALSE((co_await site.find())->cached);
  // Old, or no longer permitted.
  EXPECT_TRUE(co_await sleep_for(61min));
  EXPECT_FALSE((co_await site.find())->cached);
  site.tenant->ews_hosts = {};
  auto none = co_await site.find();
  CO_ASSERT(!none);
  EXPECT_EQ(none.error(), Result::foreign_host);
}
TEST(Autodiscover, WhatADomainLedToServesItsOtherMailboxes) { run_site(keeps_url); }

Task<void> keeps_failure(Site& site) {
  name(kRoot);
  site.s.peer.respond = [](const Seen&) { return plain(404); };
  EXPECT_FALSE(co_await site.find());
  size_t asked = site.s.peer.seen.size();
  auto again = co_await site.find();
  CO_ASSERT(!again);
  EXPECT_EQ(again.error(), Result::not_found);
  EXPECT_EQ(site.s.peer.seen.size(), asked);
  EXPECT_EQ(site.counted(Result::failed_before), 1u);
  EXPECT_TRUE(co_await sleep_for(301s));
  EXPECT_FALSE(co_await site.find());
  EXPECT_GT(site.s.peer.seen.size(), asked);
}
TEST(Autodiscover, ADomainThatLedNowhereIsNotAskedAgainForAWhile) { run_site(keeps_failure); }

Task<void> bounds_failures(Site& site) {
  site.config.failures_kept_max = 2;
  site.autodiscover = std::make_unique<Autodiscover>(site.config, site.s.config, site.tls, *site.vault, *site.store,
                                                     site.s.metrics, *site.s.log);
  for (const char* domain : {"a", "b", "c"}) {
    site.use_address("ada@" + std::string(domain) + ".hybrid.example.test");
    EXPECT_FALSE(co_await site.find());
    EXPECT_TRUE(co_await sleep_for(1s));
  }
  uint64_t before = site.counted(Result::failed_before);
  for (const char* domain : {"c", "b"}) {
    site.use_address("ada@" + std::string(domain) + ".hybrid.example.test");
    EXPECT_FALSE(co_await site.find());
  }
  EXPECT_EQ(site.counted(Result::failed_before), before + 2);
  site.use_address("ada@a.hybrid.example.test");  // the oldest made room
  EXPECT_FALSE(co_await site.find());
  EXPECT_EQ(site.counted(Result::failed_before), before + 2);
}
TEST(Autodiscover, TheListOfFailuresIsBounded) { run_site(bounds_failures); }

Task<void> search_once(Site& site, Result& result) {
  auto found = co_await site.find(false);
  result = found ? Result::found : found.error();
}
Task<void> bounds_searches(Site& site) {
  name(kRoot);
  site.config.searches_in_flight_max = 1;
  site.autodiscover = std::make_unique<Autodiscover>(site.config, site.s.config, site.tls, *site.vault, *site.store,
                                                     site.s.metrics, *site.s.log);
  site.s.peer.respond = [](const Seen& seen) { return answered(seen, settings()); };
  Result first{}, second{};
  TaskScope scope(&co_await current_context());
  scope.spawn(search_once(site, first));
  scope.spawn(search_once(site, second));
  co_await scope.join();
  EXPECT_EQ(first, Result::found);
  EXPECT_EQ(second, Result::overload);
}
TEST(Autodiscover, SearchesAtOnceAreBounded) { run_site(bounds_searches); }

}  // namespace
}  // namespace bellhop::service
