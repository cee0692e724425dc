// SPDX-License-Identifier: Apache-2.0
// Push apps that log on by certificate, keys and certificates that are replaced while pushes go on, and what an operator
// sees of their ends. Runs on both back ends.

#include <fmt/format.h>

#include "crypto/es256.h"
#include "service/apns_route.h"
#include "service/expiry.h"
#include "tests/service/apns_fixture.h"

namespace bellhop::service {
namespace {

using namespace apns_test;
using proto::ApnsReason;
using ::testing::HasSubstr;
using Verdict = proto::ApnsVerdict;

// A bench whose APNs takes certificates of an authority; app 0 and 1 have keys, `with()` adds others.
struct CertificateBench : Bench {
  CertificateAndKey authority;

  Task<bool> start_asking() {
    WallTime now = io::wall_now();
    authority = make_authority("apps", {now - 24h, now + 24h * 90}).value();
    std::string complaint;
    TlsFile file{"apps.pem", authority.chain_pem};
    auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
    auto tls = TlsContext::server({.chain = {"chain.pem", identity.certificate.chain_pem},
                                   .key = {"key.pem", identity.certificate.key_pem},
                                   .alpn = {"h2"},
                                   .client_auth = TlsClientAuth::optional,
                                   .client_authorities = *authorities},
                                  complaint);
    BH_CHECK(tls);
    peer.set_tls(*tls);
    peer.limits.streams_max = 100;
    bool started = co_await start();
    provider.config.tenants[0].apps.resize(2);
    co_return started;
  }

  // Writes a certificate for `name` to the files of app `name`.
  void write(const std::string& name, CertificateValidity validity, const CertificateAndKey* issuer = nullptr) {
    auto made = issue_client_certificate(issuer ? *issuer : authority, {.account = name, .validity = validity});
    BH_CHECK(made);
    BH_CHECK(io::write_file(path(name, "pem"), as_bytes(made->chain_pem), 0600));
    BH_CHECK(io::write_file(path(name, "key"), as_bytes(made->key_pem), 0600));
  }
  std::string path(const std::string& name, const char* kind) const {
    return fmt::format("{}/{}.{}", provider.folder, name, kind);
  }
  // One more app; its number.
  size_t add(const std::string& name) {
    provider.config.tenants[0].apps.push_back(
        {.topic = name, .certificate_file = path(name, "pem"), .private_key_file = path(name, "key")});
    return provider.config.tenants[0].apps.size() - 1;
  }
  void reload() {
    std::string complaint;
    auto prepared = ApnsProviderTokens::prepare(provider.config, complaint);
    ASSERT_TRUE(prepared) << complaint;
    provider.tokens->commit(*std::move(prepared));
  }
};

CertificateValidity good() { return {io::wall_now() - 1h, io::wall_now() + 24h}; }

Task<void> delivers_flow(unsigned) {
  CertificateBench bench;
  CO_ASSERT(co_await bench.start_asking());
  bench.write("com.example.one", good());
  size_t one = bench.add("com.example.one");
  bench.reload();
  TaskScope scope(&co_await current_context());
  // The handshake said who we are: no first push waits alone for its answer.
  bench.peer.decide = [](const Seen&) { return Reply::hold(); };
  for (size_t i = 0; i < 20; ++i) bench.push(scope, i, 10s, true, one);
  CO_ASSERT(co_await bench.peer.wait_for_requests(20));
  EXPECT_EQ(bench.peer.in_work_max, 20u);
  bench.peer.release.set();
  co_await scope.join();
  EXPECT_EQ(bench.delivered(), 20u);
  EXPECT_EQ(bench.peer.connections(), 1u);
  for (const Seen& seen : bench.peer.requests) {
    EXPECT_EQ(seen.account, "com.example.one");
    EXPECT_EQ(seen.topic, "com.example.one");
    EXPECT_EQ(seen.authorization, "") << "no provider token";
  }
  // An app with a key beside it: its own connection, without a certificate.
  EXPECT_EQ((co_await bench.push_now(100, 10s, true, 0)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.peer.requests.back().account, "");
  EXPECT_THAT(bench.peer.requests.back().authorization, ::testing::StartsWith("bearer "));
  EXPECT_EQ(bench.peer.connections(), 2u);
  co_await bench.stop();
}
TEST(ApnsCertificate, LogsAnAppOnWithoutAProviderToken) { test::run_on_cores(1, delivers_flow); }

Task<void> expired_flow(unsigned) {
  CertificateBench bench;
  CO_ASSERT(co_await bench.start_asking());
  WallTime now = io::wall_now();
  bench.write("com.example.good", good());
  bench.write("com.example.old", {now - 48h, now - 1h});
  bench.write("com.example.early", {now + 1h, now + 48h});
  auto stranger = make_authority("stranger", good());
  CO_ASSERT(stranger);
  bench.write("com.example.foreign", good(), &*stranger);
  size_t fine = bench.add("com.example.good"), old = bench.add("com.example.old"), early = bench.add("com.example.early"),
         foreign = bench.add("com.example.foreign");
  bench.reload();
  size_t number = 0;
  for (size_t app : {old, early, foreign}) {
    ApnsResult bad = co_await bench.push_now(number++, 5s, true, app);
    EXPECT_EQ(bad.verdict, Verdict::route_broken) << app;
    EXPECT_EQ(bad.reason, ApnsReason::bad_certificate) << app;
    // The next one is not even tried.
    size_t connections = bench.peer.connections();
    EXPECT_EQ((co_await bench.push_now(number++, 5s, true, app)).verdict, Verdict::route_broken);
    EXPECT_EQ(bench.peer.connections(), connections);
    // And nobody else is hurt.
    EXPECT_EQ((co_await bench.push_now(number++, 5s, true, fine)).verdict, Verdict::delivered);
    EXPECT_EQ((co_await bench.push_now(number++, 5s, true, 0)).verdict, Verdict::delivered);
  }
  EXPECT_TRUE(bench.sender->logged("apns_route_broken"));
  EXPECT_EQ(bench.count(ApnsVerdict::provider_key), 6u);
  co_await bench.stop();
}
TEST(ApnsCertificate, ThatIsNoGoodFailsItsOwnPushesOnly) { test::run_on_cores(1, expired_flow); }

Task<void> renewed_flow(unsigned) {
  CertificateBench bench;
  CO_ASSERT(co_await bench.start_asking());
  bench.write("com.example.one", good());
  bench.write("com.example.two", good());
  size_t one = bench.add("com.example.one"), two = bench.add("com.example.two");
  bench.reload();
  EXPECT_EQ((co_await bench.push_now(0, 5s, true, two)).verdict, Verdict::delivered);
  // Pushes of the old certificate that APNs has not answered yet.
  bench.peer.decide = [](const Seen&) { return Reply::hold(); };
  TaskScope scope(&co_await current_context());
  for (size_t i = 1; i <= 5; ++i) bench.push(scope, i, 20s, true, one);
  CO_ASSERT(co_await bench.peer.wait_for_requests(6));
  size_t before = bench.peer.connections();
  bench.write("com.example.one", good());  // another key
  bench.reload();
  bench.peer.decide = [](const Seen&) { return Reply::accept(); };
  EXPECT_EQ((co_await bench.push_now(10, 5s, true, one)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.peer.connections(), before + 1) << "a connection of the new certificate";
  EXPECT_EQ(bench.delivered(), 0u);
  bench.peer.release.set();
  co_await scope.join();
  EXPECT_EQ(bench.delivered(), 5u) << "nothing was lost";
  EXPECT_EQ((co_await bench.push_now(11, 5s, true, two)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.peer.connections(), before + 1) << "what did not change keeps its connection";
  EXPECT_TRUE(bench.each_accepted_once(8));
  co_await bench.stop();
}
TEST(ApnsCertificate, IsReplacedWhilePushesGoOn) { test::run_on_cores(1, renewed_flow); }

// What a reload replaced or took away is in nobody's hands any more, though no push ever asks for it again.
Task<void> forgotten_flow(unsigned) {
  CertificateBench bench;
  CO_ASSERT(co_await bench.start_asking());
  bench.write("com.example.one", good());
  bench.write("com.example.two", good());
  size_t one = bench.add("com.example.one"), two = bench.add("com.example.two");
  bench.reload();
  EXPECT_EQ((co_await bench.push_now(0, 5s, true, one)).verdict, Verdict::delivered);
  EXPECT_EQ((co_await bench.push_now(1, 5s, true, two)).verdict, Verdict::delivered);
  const ApnsCertificates& all = bench.provider.tokens->certificates();
  std::weak_ptr<const ApnsCertificate> first = all.find(bench.path("com.example.one", "pem"));
  std::weak_ptr<const ApnsCertificate> second = all.find(bench.path("com.example.two", "pem"));
  bench.write("com.example.one", good());  // another key
  bench.reload();
  bench.sender->apns->take_up(bench.provider.config);
  EXPECT_TRUE(first.expired()) << "replaced";
  EXPECT_FALSE(second.expired()) << "did not change";
  bench.provider.config.tenants[0].apps.pop_back();
  bench.reload();
  bench.sender->apns->take_up(bench.provider.config);
  EXPECT_FALSE(second.expired()) << "pushes may be on their way";
  for (const ApnsRouteState& route : bench.sender->apns->routes()) {
    if (route.name.certificate == bench.path("com.example.two", "pem")) EXPECT_EQ(route.free_streams, 0u);
  }
  bench.reload();
  bench.sender->apns->take_up(bench.provider.config);
  EXPECT_TRUE(second.expired()) << "left the configuration";
  EXPECT_EQ((co_await bench.push_now(2, 5s, true, one)).verdict, Verdict::delivered);
  co_await bench.stop();
}
TEST(ApnsCertificate, ThatWasReplacedOrLeftIsForgotten) { test::run_on_cores(1, forgotten_flow); }

Task<void> mended_flow(unsigned) {
  CertificateBench bench;
  CO_ASSERT(co_await bench.start_asking());
  WallTime now = io::wall_now();
  bench.write("com.example.old", {now - 48h, now - 1h});
  size_t old = bench.add("com.example.old");
  bench.reload();
  EXPECT_EQ((co_await bench.push_now(0, 5s, true, old)).verdict, Verdict::route_broken);
  bench.write("com.example.old", good());
  bench.reload();
  // The breaker lets a trial through after half a minute.
  if (io::thread_cpu_ns() == 0) {
    CO_ASSERT(co_await sleep_for(61s));
    EXPECT_EQ((co_await bench.push_now(1, 5s, true, old)).verdict, Verdict::delivered);
    EXPECT_EQ((co_await bench.push_now(2, 5s, true, old)).verdict, Verdict::delivered);
  }
  co_await bench.stop();
}
TEST(ApnsCertificate, ThatWasReplacedInTimeIsTriedAgain) { test::run_on_cores(1, mended_flow); }

Task<void> keys_flow(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  EXPECT_EQ((co_await bench.push_now(0, 5s, true, 0)).verdict, Verdict::delivered);
  EXPECT_EQ((co_await bench.push_now(1, 5s, true, 1)).verdict, Verdict::delivered);
  std::string first = bench.peer.requests[0].authorization, second = bench.peer.requests[1].authorization;
  EXPECT_EQ(bench.provider.tokens->ages().size(), 2u);
  bench.peer.decide = [](const Seen&) { return Reply::hold(); };
  TaskScope scope(&co_await current_context());
  for (size_t i = 2; i < 6; ++i) bench.push(scope, i, 20s, true, 0);
  CO_ASSERT(co_await bench.peer.wait_for_requests(6));
  // Another key under the same id, for app 0 alone.
  Config fresh = bench.provider.config;
  fresh.tenants[0].apps.resize(2);
  fresh.tenants[0].apps[0].key_file = bench.provider.folder + "/other.p8";
  crypto::Secret pem = crypto::Es256PrivateKey::generate().to_pem();
  CO_ASSERT(io::write_file(fresh.tenants[0].apps[0].key_file, pem.reveal(), 0600));
  std::string complaint;
  auto prepared = ApnsProviderTokens::prepare(fresh, complaint);
  CO_ASSERT(prepared);
  EXPECT_EQ(bench.provider.tokens->signed_count(), 2u);
  EXPECT_EQ(*bench.provider.tokens->current(bench.provider.app(0)), first.substr(7)) << "prepared is not committed";
  bench.provider.tokens->commit(*std::move(prepared));
  bench.peer.decide = [](const Seen&) { return Reply::accept(); };
  EXPECT_EQ((co_await bench.push_now(10, 5s, true, 0)).verdict, Verdict::delivered);
  EXPECT_NE(bench.peer.requests.back().authorization, first);
  EXPECT_EQ((co_await bench.push_now(11, 5s, true, 1)).verdict, Verdict::delivered);
  EXPECT_EQ(bench.peer.requests.back().authorization, second) << "no needless refresh of a key that stayed";
  EXPECT_EQ(bench.provider.tokens->signed_count(), 3u);
  // An app that left the configuration just now is still served, and after a minute no more.
  EXPECT_EQ((co_await bench.push_now(12, 5s, true, 5)).verdict, Verdict::delivered);
  bench.peer.release.set();
  co_await scope.join();
  EXPECT_EQ(bench.delivered(), 4u);
  EXPECT_EQ(bench.provider.tokens->ages().size(), 2u) << "what is gone is not shown";
  if (io::thread_cpu_ns() == 0) {  // the simulator's clock
    CO_ASSERT(co_await sleep_for(61s));
    auto again = ApnsProviderTokens::prepare(fresh, complaint);
    CO_ASSERT(again);
    bench.provider.tokens->commit(*std::move(again));
    EXPECT_EQ((co_await bench.push_now(13, 5s, true, 5)).verdict, Verdict::route_broken);
  }
  co_await bench.stop();
}
TEST(ApnsKeys, AreReplacedWhilePushesGoOn) { test::run_on_cores(1, keys_flow); }

Task<void> complaints_flow(unsigned) {
  CertificateBench bench;
  CO_ASSERT(co_await bench.start_asking());
  bench.write("com.example.one", good());
  bench.write("com.example.two", good());
  bench.add("com.example.one");
  std::string complaint;
  Config config = bench.provider.config;
  AppConfig& app = config.tenants[0].apps.back();
  app.private_key_file = bench.path("com.example.two", "key");
  EXPECT_FALSE(ApnsProviderTokens::prepare(config, complaint));
  EXPECT_EQ(complaint, bench.path("com.example.two", "key") + ": does not belong to the first certificate in " +
                           bench.path("com.example.one", "pem"));
  app.private_key_file = bench.path("missing", "key");
  EXPECT_FALSE(ApnsProviderTokens::prepare(config, complaint));
  EXPECT_THAT(complaint, HasSubstr("tenant.app.private_key_file must name the PEM file of the push app com.example.one"));
  app.certificate_file = app.private_key_file = bench.path("com.example.one", "key");
  EXPECT_FALSE(ApnsProviderTokens::prepare(config, complaint));
  EXPECT_THAT(complaint, HasSubstr("holds no PEM block of type CERTIFICATE"));
  co_await bench.stop();
}
TEST(ApnsCertificate, FilesThatCannotBeUsedAreNamed) { test::run_on_cores(1, complaints_flow); }

Task<void> expiry_flow(unsigned) {
  CertificateBench bench;
  CO_ASSERT(co_await bench.start_asking());
  WallTime now = io::wall_now();
  bench.write("com.example.long", {now - 1h, now + 24h * 60});
  bench.write("com.example.soon", {now - 1h, now + 24h * 3});
  bench.write("com.example.old", {now - 48h, now - 1h});
  for (const char* name : {"com.example.long", "com.example.soon", "com.example.old"}) bench.add(name);
  for (size_t i = 0; i < kExpirySeriesMax; ++i) {
    std::string name = fmt::format("com.example.n{}", i);
    bench.write(name, {now - 1h, now + 24h * 50});
    bench.add(name);
  }
  bench.reload();
  CO_ASSERT((co_await bench.push_now(0, 5s, true, 0)).verdict == Verdict::delivered);
  Node node{.start = nullptr,
            .store = *bench.provider.store,
            .vault = *bench.provider.vault,
            .apns_tokens = *bench.provider.tokens};
  node.listener_certificate_expires_s = to_unix_seconds(now + 24h * 10);

  auto all = certificate_expiries(bench.provider.config, node);
  CO_ASSERT(all.size() == kExpirySeriesMax);
  EXPECT_EQ(all[0].file, bench.path("com.example.old", "pem"));
  EXPECT_EQ(all[1].file, bench.path("com.example.soon", "pem"));
  EXPECT_EQ(all[2].use, "listener");
  std::string text;
  render_expiries(bench.provider.config, node, now, text);
  EXPECT_THAT(text, HasSubstr("# TYPE bellhop_certificate_expiry_seconds gauge\n"));
  EXPECT_THAT(text, HasSubstr(fmt::format("bellhop_certificate_expiry_seconds{{use=\"apns\",file=\"{}\"}} -3600\n",
                                          bench.path("com.example.old", "pem"))));
  EXPECT_THAT(text, HasSubstr("bellhop_certificate_expiry_seconds{use=\"listener\",file=\"\"} 864000\n"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("com.example.long")));
  EXPECT_THAT(text, HasSubstr("bellhop_apns_provider_token_age_seconds{team=\"TEAM000000\",key=\"KEY0000000\"} "));

  Log& log = *bench.sender->log;
  ExpiryWatch watch(log);
  auto lines = [&](std::string_view event) {
    std::string wanted = fmt::format("\"event\":\"{}\"", event);
    return std::ranges::count_if(bench.sender->lines,
                                 [&](const std::string& line) { return line.find(wanted) != std::string::npos; });
  };
  Instant start = io::now();
  for (int i = 0; i < 3; ++i) watch.look(bench.provider.config, node, now, start + i * 1s);
  EXPECT_EQ(lines("certificate_expired"), 1);
  EXPECT_EQ(lines("certificate_expires_soon"), 2);
  watch.look(bench.provider.config, node, now + 24h, start + 24h);
  EXPECT_EQ(lines("certificate_expired"), 2);
  EXPECT_EQ(lines("certificate_expires_soon"), 4);
  co_await bench.stop();
}
TEST(Expiry, IsShownAndToldInTime) { test::run_on_cores(1, expiry_flow); }

}  // namespace
}  // namespace bellhop::service
