// SPDX-License-Identifier: Apache-2.0
// Servers whose certificates are not what they should be: each fault has its name, at Exchange and at token endpoints, and
// another host is served meanwhile. Runs on both back ends.
#include <gmock/gmock.h>

#include "core/tls/error.h"
#include "tests/ews/proxy_fixture.h"
#include "tests/ews/token_scene.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using testing::HasSubstr;

constexpr auto kDay = std::chrono::hours(24);

CertificateValidity from_to(int first_day, int last_day) {
  return {io::wall_now() + first_day * kDay, io::wall_now() + last_day * kDay};
}

// A context refuses to be made with a certificate that is not valid, as the server of an operator would; this one was made
// when it was.
WallTime pretended{};
std::shared_ptr<TlsContext> context_of(const CertificateAndKey& identity, int day) {
  pretended = io::wall_now() + day * kDay;
  set_tls_clock([] { return pretended; });
  std::string complaint;
  auto context = TlsContext::server({.chain = {"chain", identity.chain_pem}, .key = {"key", identity.key_pem}}, complaint);
  set_tls_clock(&io::wall_now);
  EXPECT_TRUE(context) << complaint;
  return *context;
}

// A server on 127.0.0.2, whose certificate a test makes; the scene's own peer on 127.0.0.1 is beyond reproach.
struct BadHost {
  explicit BadHost(Scene& scene) : s(scene), peer(scene.parent, "127.0.0.2") {}

  Task<void> start(CertificateAndKey made, int day = 0) {
    identity = std::move(made);
    peer.identity = context_of(identity, day);
    peer.otherwise = s.peer.otherwise = found(0, true);
    co_await peer.start(s.authority);
    s.tenant->config.ews_ports = {s.peer.port(), peer.port()};
    url = fmt::format("https://127.0.0.2:{}/EWS/Exchange.asmx", peer.port());
    config.upstreams.push_back({.hosts = {"127.0.0.2"}});
  }
  UpstreamConfig& upstream() { return config.upstreams[0]; }
  std::string pin() const { return "sha256/" + to_base64(spki_pin(identity.chain_pem).value()); }
  // The scene's client with this configuration.
  Task<void> use() {
    co_await s.client->close();
    auto all = authorities_of(s.authority.chain_pem);
    std::string complaint;
    auto upstreams = Upstreams::make(config, {all, all, all}, complaint);
    EXPECT_TRUE(upstreams) << complaint;
    s.client = std::make_unique<EwsClient>(s.config, UpstreamRoutes(*upstreams, UpstreamKind::ews), s.metrics, *s.log);
    routes.emplace(*upstreams, UpstreamKind::token);
  }
  Task<EwsReply<std::monostate>> verify() {
    EwsTarget target = s.target();
    target.url = url;
    co_return co_await s.client->verify(target);
  }
  Task<void> stop() {
    co_await s.client->close();
    co_await peer.stop();
  }
  // No request arrives, the fault is named in the answer, the log and the metric, and the other host is served.
  Task<void> expect_refused(TlsError fault, ConnectFailure reason) {
    co_await use();
    uint64_t before = s.metrics.value(metric::connect_failures, reason);
    size_t seen = peer.seen.size();
    auto reply = co_await verify();
    CO_ASSERT(!reply);
    EXPECT_TRUE(is(reply.error().error, fault)) << error_text(reply.error().error);
    EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
    EXPECT_EQ(s.metrics.value(metric::connect_failures, reason), before + 1) << "once: it does not change within a second";
    EXPECT_THAT(s.log_text(), HasSubstr(error_text(tls_error(fault))));
    EXPECT_TRUE(co_await s.client->verify(s.target()));
    EXPECT_EQ(peer.seen.size(), seen);
    TokenScene tokens(s);
    s.tenant->config.oauth_token_ports = {peer.port()};
    tokens.client = std::make_unique<TokenClient>(OauthConfig{.grant_timeout_ms = 2'000}, s.config, *routes, s.metrics, *s.log);
    CO_ASSERT(s.tenant->token_hosts.add("127.0.0.2"));
    std::string endpoint = fmt::format("https://127.0.0.2:{}/token", peer.port());
    auto granted = co_await tokens.client->refresh(tokens.request(endpoint));
    CO_ASSERT(!granted);
    EXPECT_TRUE(is(granted.error().error, fault)) << error_text(granted.error().error);
    EXPECT_FALSE(granted.error().maybe_spent);
    EXPECT_EQ(s.metrics.value(metric::connect_failures, reason), before + 2);
    EXPECT_EQ(peer.seen.size(), seen);
    co_await tokens.client->close();
  }
  Task<void> expect_fine() {
    co_await use();
    auto reply = co_await verify();
    EXPECT_TRUE(reply) << (reply ? "" : error_text(reply.error().error));
  }

  Scene& s;
  Peer peer;
  CertificateAndKey identity;
  Config config;
  std::string url;
  std::optional<UpstreamRoutes> routes;
};

const std::vector<std::string> kNoNames, kAddress = {"127.0.0.2"};

CertificateAndKey issued(Scene& s, CertificateValidity validity, const std::vector<std::string>& addresses = kAddress) {
  return issue_certificate(s.authority, kNoNames, addresses, validity).value();
}
CertificateAndKey self_signed() { return make_self_signed(kNoNames, kAddress, from_to(-1, 1)).value(); }

Task<void> expired(Scene& s) {
  BadHost host(s);
  co_await host.start(issued(s, from_to(-10, -1)), -5);
  co_await host.expect_refused(TlsError::certificate_expired, ConnectFailure::certificate_expired);
  host.upstream().spki_pins = {host.pin()};  // a pin does not make it younger
  co_await host.expect_refused(TlsError::certificate_expired, ConnectFailure::certificate_expired);
  co_await host.stop();
}
TEST(UpstreamCertificate, AnExpiredOneIsRefusedPinnedOrNot) { run_scene(expired); }

Task<void> early(Scene& s) {
  BadHost host(s);
  co_await host.start(issued(s, from_to(2, 10)), 5);
  co_await host.expect_refused(TlsError::certificate_not_yet_valid, ConnectFailure::certificate_not_yet_valid);
  co_await host.stop();
}
TEST(UpstreamCertificate, OneThatIsNotValidYetIsRefused) { run_scene(early); }

Task<void> other_name(Scene& s) {
  BadHost host(s);
  co_await host.start(issued(s, from_to(-1, 1), {"127.0.0.3"}));
  co_await host.expect_refused(TlsError::certificate_other_name, ConnectFailure::certificate_other_name);
  host.upstream().spki_pins = {host.pin()};
  co_await host.expect_refused(TlsError::certificate_other_name, ConnectFailure::certificate_other_name);
  co_await host.stop();
}
TEST(UpstreamCertificate, OneForAnotherNameIsRefusedPinnedOrNot) { run_scene(other_name); }

Task<void> unknown_authority(Scene& s) {
  auto stranger = make_authority("another authority", from_to(-1, 1)).value();
  BadHost host(s);
  co_await host.start(issue_certificate(stranger, kNoNames, kAddress, from_to(-1, 1)).value());
  co_await host.expect_refused(TlsError::certificate_unknown_authority, ConnectFailure::certificate_unknown_authority);
  TestFile ca(stranger.chain_pem);
  host.upstream().ca_file = ca.path;
  co_await host.expect_fine();
  host.upstream().spki_pins = {host.pin()};
  co_await host.expect_fine();
  // An authority of the host's own takes the place of the others.
  TestFile usual(s.authority.chain_pem);
  host.upstream().ca_file = usual.path;
  co_await host.expect_refused(TlsError::certificate_unknown_authority, ConnectFailure::certificate_unknown_authority);
  co_await host.stop();
}
TEST(UpstreamCertificate, OneOfAnUnknownAuthorityIsRefusedUntilTheHostNamesIt) { run_scene(unknown_authority); }

Task<void> signs_itself(Scene& s) {
  BadHost host(s);
  co_await host.start(self_signed());
  co_await host.expect_refused(TlsError::certificate_self_signed, ConnectFailure::certificate_self_signed);
  host.upstream().spki_pins = {"sha256/" + to_base64(spki_pin(s.authority.chain_pem).value())};
  co_await host.expect_refused(TlsError::certificate_pin_mismatch, ConnectFailure::certificate_pin_mismatch);
  host.upstream().spki_pins.push_back(host.pin());
  co_await host.expect_fine();
  co_await host.stop();
}
TEST(UpstreamCertificate, ASelfSignedOneIsRefusedUntilItsKeyIsPinned) { run_scene(signs_itself); }

Task<void> pinned_and_issued(Scene& s) {
  BadHost host(s);
  co_await host.start(issued(s, from_to(-1, 1)));
  co_await host.expect_fine();
  TestFile ca(s.authority.chain_pem);
  host.upstream().ca_file = ca.path;
  host.upstream().spki_pins = {"sha256/" + to_base64(spki_pin(self_signed().chain_pem).value())};
  co_await host.expect_refused(TlsError::certificate_pin_mismatch, ConnectFailure::certificate_pin_mismatch);
  co_await host.stop();
}
TEST(UpstreamCertificate, APinIsAskedForBesidesTheAuthority) {
  run_scene(pinned_and_issued);
}

}  // namespace
}  // namespace bellhop::service
