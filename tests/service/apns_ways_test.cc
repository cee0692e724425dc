// SPDX-License-Identifier: Apache-2.0
// The way to APNs: through a proxy, and past certificates that are not what they should be. Runs on both back ends.
#include <gmock/gmock.h>

#include "core/tls/error.h"
#include "service/error_texts.h"
#include "service/upstreams.h"
#include "tests/service/apns_fixture.h"
#include "tools/standin/proxy.h"

namespace bellhop::service::apns_test {
namespace {

using testing::HasSubstr;

// The log is read as an operator reads it.
struct Texts : testing::Environment {
  void SetUp() override {
    register_tls_error_texts();
    register_error_texts();
  }
};
[[maybe_unused]] const auto* const texts = testing::AddGlobalTestEnvironment(new Texts);

// The bench's sender with another way to the peer.
std::string use_upstreams(Bench& bench, const Config& config) {
  std::string complaint;
  TlsFile file{"ca.pem", bench.identity.certificate.chain_pem};
  auto all = TlsAuthorities::parse({&file, 1}, complaint);
  EXPECT_TRUE(all) << complaint;
  auto upstreams = Upstreams::make(config, {*all, *all, *all}, complaint);
  EXPECT_TRUE(upstreams) << complaint;
  Sender& sender = *bench.sender;
  sender.apns = std::make_unique<ApnsSender>(bench.provider.config.apns, *bench.provider.tokens,
                                             UpstreamRoutes(*upstreams, UpstreamKind::apns), sender.metrics, *sender.log);
  return complaint;
}

std::string all_lines(const Bench& bench) {
  std::string all;
  for (const std::string& line : bench.sender->lines) all += line;
  return all;
}

Task<void> through_proxy(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  std::string complaint;
  auto proxy = standin::Proxy::make({.listen = *SocketAddress::parse("127.0.0.1:0")}, complaint);
  CO_ASSERT(proxy);
  TaskScope serving(&co_await current_context());
  serving.spawn((*proxy)->run());
  Config config;
  config.upstreams.push_back(
      {.hosts = {"*"}, .proxy = "http://" + (*proxy)->address().to_string()});  // a proxy without an entry of its own
  use_upstreams(bench, config);
  TaskScope pushes(&co_await current_context());
  for (size_t i = 0; i < 50; ++i) bench.push(pushes, i);
  co_await pushes.join();
  EXPECT_EQ(bench.delivered(), 50u);
  EXPECT_TRUE(bench.each_accepted_once(50));
  EXPECT_EQ((*proxy)->books().tunnels, bench.peer.connections());
  // Its tunnels are cut: what was on its way is sent again over a new one.
  (*proxy)->cut();
  for (size_t i = 50; i < 60; ++i) EXPECT_EQ((co_await bench.push_now(i, 10s)).verdict, proto::ApnsVerdict::delivered);
  EXPECT_GE((*proxy)->books().tunnels, 2u);
  // It refuses: named, and tried again; then it works.
  (*proxy)->cut();
  (*proxy)->add_fault({.count = 1, .status = 403});
  EXPECT_EQ((co_await bench.push_now(60, 20s)).verdict, proto::ApnsVerdict::delivered);
  EXPECT_EQ(bench.sender->metrics.value(metric::connect_failures, ConnectFailure::proxy_refused), 1u);
  EXPECT_THAT(all_lines(bench), HasSubstr("the proxy refuses the connection (HTTP status 403)"));
  co_await bench.stop();
  co_await (*proxy)->stop();
  co_await serving.join();
}
TEST(ApnsWays, PushesGoThroughAProxyAndOutliveItsTunnels) { test::run_on_cores(1, through_proxy); }

// After a reload neither an open connection nor one that is being made leads through the old proxy.
Task<void> renewed(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  std::string complaint;
  auto proxy = standin::Proxy::make({.listen = *SocketAddress::parse("127.0.0.1:0")}, complaint);
  CO_ASSERT(proxy);
  TaskScope serving(&co_await current_context());
  serving.spawn((*proxy)->run());
  TlsFile file{"ca.pem", bench.identity.certificate.chain_pem};
  auto all = TlsAuthorities::parse({&file, 1}, complaint);
  Config through, direct;
  through.upstreams.push_back({.hosts = {"*"}, .proxy = "http://" + (*proxy)->address().to_string()});
  auto routes = [&](const Config& config) {
    return UpstreamRoutes(Upstreams::make(config, {*all, *all, *all}, complaint).value(), UpstreamKind::apns);
  };
  use_upstreams(bench, through);
  EXPECT_EQ((co_await bench.push_now(0)).verdict, proto::ApnsVerdict::delivered);
  EXPECT_EQ((*proxy)->books().open, 1u);
  bench.sender->apns->renew(routes(direct));
  EXPECT_EQ((co_await bench.push_now(1, 10s)).verdict, proto::ApnsVerdict::delivered);
  EXPECT_EQ((*proxy)->books().tunnels, 1u);
  EXPECT_EQ(bench.peer.connections(), 2u);
  for (int i = 0; i < 400 && (*proxy)->books().open > 0; ++i) (void)co_await sleep_for(5ms);
  EXPECT_EQ((*proxy)->books().open, 0u) << "the old connection ended";

  bench.sender->apns->renew(routes(through));
  CO_ASSERT((*proxy)->add_fault({.kind = standin::ProxyFaultKind::slow, .count = 1}));
  uint64_t connections = (*proxy)->books().connections;
  TaskScope pushes(&co_await current_context());
  bench.push(pushes, 2);
  while ((*proxy)->books().connections == connections) (void)co_await sleep_for(1ms);
  bench.sender->apns->renew(routes(direct));
  co_await pushes.join();
  EXPECT_TRUE(bench.each_accepted_once(3));
  EXPECT_EQ(bench.peer.requests.back().connection, bench.peer.connections() - 1) << "not the tunnel";
  EXPECT_EQ(bench.peer.connections(), 4u);
  co_await bench.stop();
  co_await (*proxy)->stop();
  co_await serving.join();
}
TEST(ApnsWays, NoPushGoesAWayThatAReloadReplaced) { test::run_on_cores(1, renewed); }

Task<void> bad_certificates(unsigned) {
  Bench bench;
  CO_ASSERT(co_await bench.start());
  Config config;
  config.upstreams.push_back({.hosts = {"*"}, .spki_pins = {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}});
  use_upstreams(bench, config);
  EXPECT_EQ((co_await bench.push_now(0, 1500ms)).verdict, proto::ApnsVerdict::retry);
  EXPECT_GE(bench.sender->metrics.value(metric::connect_failures, ConnectFailure::certificate_pin_mismatch), 1u);
  EXPECT_THAT(all_lines(bench), HasSubstr("certificate has none of the pinned keys"));
  co_await bench.sender->apns->close();

  std::vector<std::string> names, addresses = {"127.0.0.1"}, others = {"127.0.0.3"};
  CertificateValidity now{io::wall_now() - 1h, io::wall_now() + 24h};
  auto other_name = make_self_signed(names, others, now), stranger = make_self_signed(names, addresses, now);
  CO_ASSERT(other_name && stranger);
  Identity identity;
  identity.certificate = *std::move(stranger);
  bench.peer.set_tls(identity.server());
  use_upstreams(bench, {});
  EXPECT_EQ((co_await bench.push_now(1, 1500ms)).verdict, proto::ApnsVerdict::retry);
  EXPECT_GE(bench.sender->metrics.value(metric::connect_failures, ConnectFailure::certificate_self_signed), 1u);
  co_await bench.sender->apns->close();

  config.upstreams[0].spki_pins = {"sha256/" + to_base64(*spki_pin(identity.certificate.chain_pem))};
  use_upstreams(bench, config);
  EXPECT_EQ((co_await bench.push_now(2)).verdict, proto::ApnsVerdict::delivered) << "its key is pinned";
  co_await bench.sender->apns->close();

  identity.certificate = *std::move(other_name);
  bench.peer.set_tls(identity.server());
  config.upstreams[0].spki_pins = {"sha256/" + to_base64(*spki_pin(identity.certificate.chain_pem))};
  use_upstreams(bench, config);
  EXPECT_EQ((co_await bench.push_now(3, 1500ms)).verdict, proto::ApnsVerdict::retry);
  EXPECT_GE(bench.sender->metrics.value(metric::connect_failures, ConnectFailure::certificate_other_name), 1u);
  EXPECT_EQ(bench.peer.requests.size(), 1u) << "only the pinned one got a push";
  co_await bench.stop();
}
TEST(ApnsWays, ACertificateFaultIsNamedAndGetsNoPush) { test::run_on_cores(1, bad_certificates); }

}  // namespace
}  // namespace bellhop::service::apns_test
