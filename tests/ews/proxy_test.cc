// SPDX-License-Identifier: Apache-2.0
// Requests to Exchange and token endpoints through a proxy, and everything that a proxy can do wrong. Runs on both back ends.
#include <gmock/gmock.h>

#include <cerrno>

#include "core/sleep.h"
#include "core/tls/error.h"
#include "proto/http_error.h"
#include "service/error_texts.h"
#include "service/http1_client.h"
#include "tests/ews/proxy_fixture.h"
#include "tests/ews/token_scene.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using standin::ProxyFaultKind;
using testing::HasSubstr;
using testing::Not;

uint64_t counted(const Scene& s, ConnectFailure reason) { return s.metrics.value(metric::connect_failures, reason); }

Task<void> goes_through(Scene& s) {
  Way way(s);
  co_await way.use();
  s.peer.otherwise = found(0, true);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(co_await s.client->verify(s.target()));
  const standin::ProxyBooks& books = way.proxy->books();
  EXPECT_EQ(books.connections, 1u) << "a tunnel is kept like any connection";
  EXPECT_EQ(books.tunnels, 1u);
  EXPECT_EQ(books.targets, (std::map<std::string, uint64_t>{{fmt::format("127.0.0.1:{}", s.peer.port()), 1}}));
  EXPECT_EQ(s.peer.connections, 1u);
  EXPECT_EQ(s.peer.seen.size(), 3u);
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsProxy, RequestsGoThroughOneTunnel) { run_scene(goes_through); }

Task<void> send_into(Http1Pool& pool, std::optional<uint16_t>& status) {
  auto lease = co_await pool.send(
      {.method = "POST", .target = "/EWS/Exchange.asmx", .host = "127.0.0.1", .headers = {}, .body = "<a/>"});
  if (lease) status = lease->response().status;
}

// A reload while a connection is being made: nothing of the old way is used, nor may it have gone away under our feet.
Task<void> renews_on_the_way(Scene& s) {
  Way way(s, {.username = "bellhop", .password = "open, sesame"});
  TestFile password("open, sesame\n");
  way.config.proxies[0].username = "bellhop";
  way.config.proxies[0].password_file = password.path;
  s.peer.otherwise = found(0, true);
  const Http1ClientOptions options;
  const Http1Origin target{.host = "127.0.0.1", .port = s.peer.port()};
  for (ProxyFaultKind kind : {ProxyFaultKind::slow, ProxyFaultKind::stall}) {
    uint64_t connections = way.proxy->books().connections;
    size_t seen = s.peer.seen.size();
    Http1Pool pool(way.routes(UpstreamKind::ews).fill(target), options);
    CO_ASSERT(way.proxy->add_fault({.kind = kind, .count = 1}));
    std::optional<uint16_t> status;
    TaskScope sending(s.parent);
    sending.spawn(send_into(pool, status));
    while (way.proxy->books().connections == connections) (void)co_await sleep_for(1ms);
    Config direct;
    std::swap(way.config, direct);
    pool.renew(way.routes(UpstreamKind::ews).fill(target));
    std::swap(way.config, direct);
    co_await sending.join();
    EXPECT_EQ(status, 200);
    EXPECT_EQ(s.peer.seen.size(), seen + 1);
    EXPECT_EQ(pool.idle(), 1u) << "the connection is of the new way";
    co_await pool.close();
    way.proxy->clear_faults();
  }
  co_await way.stop();
}
TEST(EwsProxy, AWayThatIsRenewedWhileAConnectionIsMadeIsNotGoneToItsEnd) { run_scene(renews_on_the_way); }

Task<void> chooses_by_host(Scene& s) {
  Way way(s);
  way.config.upstreams.insert(way.config.upstreams.begin(), {.hosts = {"127.0.0.1"}});  // directly
  co_await way.use();
  s.peer.otherwise = found(0, true);
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  EXPECT_EQ(way.proxy->books().connections, 0u);
  s.url = fmt::format("https://127.0.0.2:{}/EWS/Exchange.asmx", s.peer.port());
  EXPECT_FALSE(co_await s.client->verify(s.target()));  // nobody listens there; but the proxy was asked
  EXPECT_EQ(way.proxy->books().failed, 1u);
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsProxy, TheFirstEntryThatNamesTheHostDecides) { run_scene(chooses_by_host); }

Task<void> asks_password(Scene& s) {
  Way way(s, {.username = "bellhop", .password = "open, sesame"});
  way.config.proxies[0].username = "bellhop";
  s.peer.otherwise = found(0, true);
  {
    TestFile password("open, sesame\n");
    way.config.proxies[0].password_file = password.path;
    co_await way.use();
    EXPECT_TRUE(co_await s.client->verify(s.target()));
  }
  TestFile wrong("barley");
  way.config.proxies[0].password_file = wrong.path;
  co_await way.use();
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().error, service_error(ServiceError::proxy_authentication));
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable) << "it says nothing of the mailbox's password";
  EXPECT_EQ(counted(s, ConnectFailure::proxy_authentication), 1u);
  EXPECT_EQ(way.proxy->books().unauthorized, 1u) << "a wrong password is not tried twice";
  EXPECT_EQ(s.peer.seen.size(), 1u);
  EXPECT_EQ(s.peer.seen[0].authorization.find("Basic "), 0u) << "Exchange's own password, not the proxy's";
  EXPECT_THAT(s.log_text(), HasSubstr("another user name or password"));
  EXPECT_THAT(s.log_text(), Not(HasSubstr("sesame")));
  EXPECT_THAT(s.log_text(), Not(HasSubstr("barley")));
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsProxy, APasswordIsSentToTheProxyAloneAndAWrongOneIsNamed) { run_scene(asks_password); }

struct Misbehaviour {
  standin::ProxyFault fault;
  Error error;
  ConnectFailure reason;
};
Task<void> misbehaves(Scene& s) {
  Way way(s);
  auto malformed = [](proto::HttpError why) {
    return service_error(ServiceError::proxy_malformed, static_cast<uint32_t>(why));
  };
  std::vector<Misbehaviour> cases = {
      {{.kind = ProxyFaultKind::garbage}, malformed(proto::HttpError::bad_start_line), ConnectFailure::proxy_malformed},
      {{.kind = ProxyFaultKind::oversized}, malformed(proto::HttpError::header_too_large), ConnectFailure::proxy_malformed},
      {{.kind = ProxyFaultKind::extra_bytes}, malformed(proto::HttpError::unexpected_bytes), ConnectFailure::proxy_malformed},
      {{.kind = ProxyFaultKind::close}, service_error(ServiceError::proxy_closed), ConnectFailure::proxy_malformed},
      {{.kind = ProxyFaultKind::stall}, service_error(ServiceError::proxy_timed_out), ConnectFailure::proxy_timed_out}};
  for (uint16_t status : {302, 400, 403, 502, 503, 504}) {
    cases.push_back({{.status = status}, service_error(ServiceError::proxy_refused, status), ConnectFailure::proxy_refused});
  }
  s.peer.otherwise = found(0, true);
  for (const Misbehaviour& each : cases) {
    co_await way.use();  // without the breaker's memory
    uint64_t before = counted(s, each.reason);
    way.proxy->add_fault(each.fault);
    Instant start = io::now();
    auto reply = co_await s.client->verify(s.target());
    way.proxy->clear_faults();
    CO_ASSERT(!reply);
    EXPECT_EQ(error_text(reply.error().error), error_text(each.error));
    EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
    EXPECT_LE(io::now() - start, Duration(3s));
    EXPECT_GE(counted(s, each.reason), before + 1);
    EXPECT_EQ(s.open_connections(), 0u);
    EXPECT_TRUE(co_await s.client->verify(s.target())) << error_text(each.error);
  }
  EXPECT_EQ(s.peer.seen.size(), cases.size()) << "none came while the proxy misbehaved";
  way.proxy->add_fault({.kind = ProxyFaultKind::slow, .count = 1});
  co_await way.use();
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsProxy, EachMisbehaviourOfAProxyHasItsNameAndItsEnd) {
  run_scene(misbehaves, [](EwsConfig& config) { config.connect_timeout_ms = 600; });
}

Task<void> is_down(Scene& s) {
  Way way(s);
  co_await way.use();
  co_await way.stop();
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().error, service_error(ServiceError::proxy_unreachable, ECONNREFUSED));
  EXPECT_GE(counted(s, ConnectFailure::proxy_unreachable), 1u);
  EXPECT_EQ(s.peer.connections, 0u) << "no way around the proxy";
}
TEST(EwsProxy, WithoutItsProxyAHostIsNotReached) { run_scene(is_down); }

Task<void> send_to(Http1Pool* pool, Error* failed) {
  auto lease = co_await pool->send({.method = "POST", .target = "/EWS/Exchange.asmx", .host = "127.0.0.1", .body = "<a/>"});
  if (!lease) *failed = lease.error().error;
}

// The way that a connection began on is held until it is open, though nobody else has it any more. What is to be said
// then goes the new way.
Task<void> is_replaced(Scene& s) {
  Way way(s, {.tls = true, .username = "bellhop", .password = "open, sesame"});
  TestFile ca(s.authority.chain_pem), password("open, sesame\n");
  ProxyConfig& proxy = way.config.proxies[0];
  proxy.tls = true;
  proxy.ca_file = ca.path;
  proxy.username = "bellhop";
  proxy.password_file = password.path;
  s.peer.otherwise = found(0, true);
  auto origin = [&] { return way.routes(UpstreamKind::ews).fill({.host = "127.0.0.1", .port = s.peer.port()}); };
  const Http1ClientOptions options;
  Http1Pool pool(origin(), options);
  Error failed;
  TaskScope scope(&co_await current_context());
  scope.spawn(send_to(&pool, &failed));
  for (int i = 0; i < 1000 && way.proxy->books().connections == 0; ++i) co_await yield_now();
  EXPECT_EQ(way.proxy->books().tunnels, 0u) << "still on its way";
  way.config.upstreams.clear();
  pool.renew(origin());  // directly
  co_await scope.join();
  EXPECT_EQ(failed, Error()) << error_text(failed);
  EXPECT_EQ(way.proxy->books().tunnels, 1u);
  EXPECT_EQ(pool.idle(), 1u) << "made the new way, and kept";
  scope.spawn(send_to(&pool, &failed));
  co_await scope.join();
  EXPECT_EQ(failed, Error()) << error_text(failed);
  EXPECT_EQ(way.proxy->books().tunnels, 1u);
  co_await pool.close();
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsProxy, ThatIsReplacedWhileATunnelIsMadeIsHeldUntilItStands) { run_scene(is_replaced); }

// The proxy's own TLS, and Exchange's inside it.
Task<void> speaks_tls(Scene& s) {
  Way way(s, {.tls = true});
  TestFile ca(s.authority.chain_pem);
  way.config.proxies[0].tls = true;
  way.config.proxies[0].ca_file = ca.path;
  co_await way.use();
  s.peer.otherwise = found(900, true);  // many records in both layers
  for (int i = 0; i < 2; ++i) {
    auto reply = co_await s.client->find_items(s.target(), io::wall_now() - 1h, 100);
    EXPECT_TRUE(reply) << (reply ? "" : error_text(reply.error().error));
  }
  EXPECT_EQ(way.proxy->books().tunnels, 1u);
  EXPECT_GT(way.proxy->books().bytes_down, 100'000u);
  auto stranger = make_authority("another authority", {io::wall_now() - 1h, io::wall_now() + 24h});
  CO_ASSERT(stranger);
  TestFile other(stranger->chain_pem);
  way.config.proxies[0].ca_file = other.path;
  co_await way.use();
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().error, service_error(ServiceError::proxy_tls,
                                               static_cast<uint32_t>(TlsError::certificate_unknown_authority)));
  EXPECT_EQ(counted(s, ConnectFailure::proxy_tls), 1u);
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsProxy, TheProxyMaySpeakTlsItselfAndIsVerified) { run_scene(speaks_tls); }

Task<void> verifies_inside(Scene& s) {
  Way way(s);
  auto stranger = make_authority("another authority", {io::wall_now() - 1h, io::wall_now() + 24h});
  CO_ASSERT(stranger);
  TestFile other(stranger->chain_pem);
  way.config.upstreams[0].ca_file = other.path;
  co_await way.use();
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_TRUE(is(reply.error().error, TlsError::certificate_unknown_authority));
  EXPECT_EQ(counted(s, ConnectFailure::certificate_unknown_authority), 1u);
  EXPECT_TRUE(s.peer.seen.empty());
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsProxy, TheHostBehindIsVerifiedAsWithoutAProxy) { run_scene(verifies_inside); }

// An address literal is judged by us whoever looks names up.
Task<void> literal(Scene& s) {
  Way way(s);
  UpstreamRoutes routes = way.routes(UpstreamKind::ews);
  for (const char* host : {"10.9.9.9", "169.254.169.254", "::1", "fd00::1"}) {
    OutboundOrigin origin = routes.fill({.host = host, .port = 443, .addresses = &s.tenant->addresses});
    CO_ASSERT(origin.proxy);
    auto stream = co_await open_outbound(origin, {.connect = 5s, .handshake = 5s});
    CO_ASSERT(!stream);
    EXPECT_EQ(stream.error(), service_error(ServiceError::address_not_allowed)) << host;
  }
  EXPECT_EQ(way.proxy->books().connections, 0u);
  co_await way.stop();
}
TEST(EwsProxy, AForbiddenAddressIsNotAskedForThroughAProxy) { run_scene(literal); }

Task<void> grants(Scene& s) {
  Way way(s);
  TokenScene tokens(s);
  tokens.client = std::make_unique<TokenClient>(OauthConfig{.grant_timeout_ms = 2'000}, s.config,
                                                way.routes(UpstreamKind::token), s.metrics, *s.log);
  s.peer.otherwise = granted();
  auto good = co_await tokens.client->refresh(tokens.request());
  EXPECT_TRUE(good);
  EXPECT_EQ(way.proxy->books().tunnels, 1u);
  way.proxy->add_fault({.status = 403});
  auto refused = co_await tokens.client->refresh(tokens.request());
  CO_ASSERT(!refused);
  EXPECT_EQ(refused.error().error, service_error(ServiceError::proxy_refused, 403));
  EXPECT_FALSE(refused.error().maybe_spent) << "nothing was sent";
  EXPECT_EQ(tokens.counted(GrantResult::connect_failed), 1u);
  co_await tokens.client->close();
  co_await way.stop();
}
TEST(TokenProxy, GrantsGoThroughItAndARefusalSpendsNoToken) { run_scene(grants); }

TEST(Upstreams, APasswordFileMustBeOneLineThatNotAllMayRead) {
  test::run_on_cores(1, [](unsigned) -> Task<void> {
    struct Checks {
      static Task<void> run() {
        Config config;
        config.proxies.push_back({.name = "outside", .address = {"proxy.example.com", 3128}, .username = "bellhop"});
        for (auto [content, mode, wanted] :
             {std::tuple("one line\r\n", 0640u, ""), std::tuple("", 0600u, "must be one line"),
              std::tuple("two\nlines", 0600u, "must be one line"), std::tuple("fine", 0644u, "chmod o=")}) {
          TestFile file(content, mode);
          config.proxies[0].password_file = file.path;
          std::string complaint;
          auto made = Upstreams::make(config, {}, complaint);
          EXPECT_EQ(made.has_value(), complaint.empty());
          EXPECT_THAT(complaint, HasSubstr(wanted));
          EXPECT_EQ(complaint.empty(), std::string_view(wanted).empty()) << complaint;
        }
        config.proxies[0].password_file = "/nowhere/password";
        std::string complaint;
        EXPECT_FALSE(Upstreams::make(config, {}, complaint));
        EXPECT_THAT(complaint, HasSubstr("/nowhere/password"));
        co_return;
      }
    };
    return Checks::run();
  });
}

TEST(Upstreams, APinIsTheBase64OfThirtyTwoBytes) {
  EXPECT_TRUE(parse_spki_pin("sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
  for (std::string_view bad : {"", "sha256/", "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sha256/AAAA",
                               "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAA"}) {
    EXPECT_FALSE(parse_spki_pin(bad)) << bad;
  }
}

}  // namespace
}  // namespace bellhop::service
