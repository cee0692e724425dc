// SPDX-License-Identifier: Apache-2.0
// Between the gateway and Exchange: connections, long polls, servers that fail.
#include "tests/gateway/scene.h"

#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "core/stream/block_pool.h"
#include "core/stream/stream.h"
#include "core/tls/engine.h"

namespace bellhop::service::gateway_test {
namespace {

using proto::ActiveSyncCommand;
using testing::HasSubstr;

// Answers one request on each connection, and then does nothing: a goodbye is not returned.
class IdleServer {
 public:
  explicit IdleServer(const CertificateAndKey& certificate) {
    std::string complaint;
    tls_ = *TlsContext::server({.chain = {"chain", certificate.chain_pem}, .key = {"key", certificate.key_pem}, .alpn = {"http/1.1"}}, complaint);
  }
  size_t received = 0;
  Event changed;
  Task<void> run(io::Handle handle, Event& over) {
    Listener listener(handle);
    TaskScope serving(&co_await current_context());
    for (;;) {
      auto socket = co_await listener.accept();
      if (!socket) break;
      serving.spawn(serve(*std::move(socket), over));
    }
    co_await serving.join();
    Context unstoppable;
    co_await listener.close().under(unstoppable);
  }

 private:
  Task<void> serve(Socket socket, Event& over) {
    Stream stream(std::move(socket), std::make_unique<TlsEngine>(tls_));
    if (!co_await stream.handshake()) co_return;
    std::string request;
    while (request.find("/s:Envelope>") == std::string::npos) {
      {
        Block block;
        size_t size = stream.read(block.all());
        block.used(size);
        request += as_text(block.all().first(size));
        received += size;
        changed.set();
        if (size > 0) continue;
      }
      auto more = co_await stream.wait_input();
      if (!more || !*more) co_return;
    }
    (void)co_await stream.write(as_bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    (void)co_await over.wait();
  }
  std::shared_ptr<TlsContext> tls_;
};

Task<void> one_user_each(Scene& scene) {
  std::string anna = basic("anna@example.com"), bob = basic("bob@example.com"), body = soap("GetItem");
  std::string wrong = basic("anna@example.com", "guessed");
  for (std::string_view who : {anna, anna, bob, std::string(), anna, wrong, std::string(), bob}) {
    EXPECT_EQ((co_await scene.ask(ews(who, body))).status, 200);
    co_await scene.until_idle();
  }
  const auto& seen = scene.exchange.seen;
  CO_ASSERT(seen.size() == 8);
  EXPECT_EQ(seen[0]->connection, seen[1]->connection);  // kept for the same credentials
  EXPECT_EQ(seen[0]->connection, seen[4]->connection);
  EXPECT_EQ(seen[2]->connection, seen[7]->connection);
  EXPECT_EQ(seen[3]->connection, seen[6]->connection);  // nobody's
  std::set<uint16_t> different = {seen[0]->connection, seen[2]->connection, seen[3]->connection, seen[5]->connection};
  EXPECT_EQ(different.size(), 4u);
  EXPECT_EQ(scene.metrics.value(metric::gateway_connections_reused), 4u);
}
TEST(GatewayForward, AConnectionServesTheSameCredentialsOnly) { Scene::run(one_user_each); }

Task<void> shared(Scene& scene) {
  std::string anna = basic("anna@example.com"), bob = basic("bob@example.com"), body = soap("GetItem");
  bool persistent = false;
  scene.exchange.respond = [&](const Seen&) {
    return persistent ? Reply{.fields = {{"Persistent-Auth", "true"}}, .body = "x"} : Reply{.body = "x"};
  };
  EXPECT_EQ((co_await scene.ask(ews(anna, body))).status, 200);
  co_await scene.until_idle();
  EXPECT_EQ((co_await scene.ask(ews(bob, body))).status, 200);
  co_await scene.until_idle();
  EXPECT_EQ((co_await scene.ask(ews("", body))).status, 200);
  co_await scene.until_idle();
  persistent = true;
  EXPECT_EQ((co_await scene.ask(ews(anna, body))).status, 200);
  co_await scene.until_idle();
  EXPECT_EQ((co_await scene.ask(ews(bob, body))).status, 200);
  const auto& seen = scene.exchange.seen;
  CO_ASSERT(seen.size() == 5);
  EXPECT_EQ(seen[0]->connection, seen[1]->connection);
  EXPECT_NE(seen[0]->connection, seen[2]->connection);
  EXPECT_EQ(seen[1]->connection, seen[3]->connection);
  EXPECT_NE(seen[3]->connection, seen[4]->connection);  // Exchange said that it keeps the logon
}
TEST(GatewayForward, SharedConnectionsEndWhereExchangeKeepsTheLogon) {
  Scene::run(shared, {.configure = [](Config& config, const Scene&) { config.gateway.routes[0].ews.share_connections = true; }});
}

Task<void> client_leaves(Scene& scene) {
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
  co_await peer->close();
  EXPECT_TRUE(co_await scene.until_ended(1));
  EXPECT_EQ(scene.exchange.stopped, 1);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::client_left), 1u);
}
class GatewayForwardOver : public testing::TestWithParam<Wire> {};
INSTANTIATE_TEST_SUITE_P(Wires, GatewayForwardOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });
TEST_P(GatewayForwardOver, AClientThatLeavesEndsItsPingAtExchange) { Scene::run(client_leaves, {.wire = GetParam()}); }

Task<void> ping_answers(Scene& scene) {
  Event mail;
  scene.exchange.respond = [&](const Seen&) { return Reply{.body = "new", .hold = &mail}; };
  std::string authorization = basic("anna@example.com"), body = wbxml(ActiveSyncCommand::ping);
  std::string target = activesync_target("Ping", "anna@example.com", "ABC123");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  EXPECT_TRUE(co_await peer->settle());
  Ask ask = activesync(authorization, target, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await scene.until_seen(1));
  mail.set();
  EXPECT_TRUE(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body, "new");
  co_await peer->close();
}
TEST_P(GatewayForwardOver, APingIsAnsweredWhenExchangeDoes) { Scene::run(ping_answers, {.wire = GetParam()}); }

// ---- Servers that fail ----

Task<void> silent(Scene& scene) {
  Event never;
  scene.exchange.respond = [&](const Seen&) { return Reply{.hold = &never}; };
  std::string authorization = basic("anna@example.com"), body = soap("GetItem");
  EXPECT_EQ((co_await scene.ask(ews(authorization, body))).status, 504);
  EXPECT_TRUE(co_await scene.until_ended(1));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::unavailable_timeout), 1u);
}
TEST(GatewayForward, GivesUpAnExchangeThatIsSilent) {
  Scene::run(silent, {.configure = [](Config& config, const Scene&) { config.gateway.routes[0].ews.answer_timeout_ms = 1'000; }});
}

Task<void> pauses(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = soap("CreateItem", {}, std::string(60'000, 'x'));
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = ews(authorization, body);
  std::string bytes = peer->bytes_of(ask), rest = bytes.substr(bytes.size() - 10'000);
  bytes.resize(bytes.size() - rest.size());
  EXPECT_TRUE(co_await peer->send(bytes));
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_TRUE(co_await peer->send(rest));
  EXPECT_TRUE(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 200);
  EXPECT_EQ(scene.gateway->upstreams().at(0).failures, 0u);
  co_await peer->close();
}
TEST(GatewayForward, AClientThatPausesSaysNothingOfExchange) {
  Scene::run(pauses, {.configure = [](Config& config, const Scene&) { config.gateway.routes[0].ews.answer_timeout_ms = 300; }});
}

Task<void> pauses_for_too_long(Scene& scene) {
  auto handle = io::open_listener(test::loopback());
  CO_ASSERT(handle);
  IdleServer server(scene.server_certificate);
  Event over;
  TaskScope serving(&co_await current_context());
  serving.spawn(server.run(*handle, over));
  scene.reload([&](Config& config) { config.gateway.routes[0].ews.upstream = fmt::format("https://127.0.0.1:{}", io::local_address(*handle)->port); });
  std::string anne = basic("anne@example.com"), anna = basic("anna@example.com"), body = soap("CreateItem", {}, std::string(60'000, 'x'));
  EXPECT_EQ((co_await scene.ask(ews(anne, body))).status, 200);
  size_t all = server.received;
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = ews(anna, body);
  std::string bytes = peer->bytes_of(ask);
  EXPECT_TRUE(co_await peer->send(bytes.substr(0, bytes.size() - 10'000)));
  EXPECT_TRUE(co_await test::until(server.changed, [&] { return server.received == 2 * all - 10'000; }));
  EXPECT_TRUE(co_await sleep_for(200ms));
  // Exchange waits for no client for ever, and hangs up.
  serving.request_stop();
  co_await serving.join();
  EXPECT_TRUE(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 502);
  EXPECT_EQ(scene.gateway->upstreams().at(0).failures, 0u);
  co_await peer->close();
}
TEST(GatewayForward, AClientThatPausesForTooLongSaysNothingOfExchangeEither) { Scene::run(pauses_for_too_long); }

Task<void> dead(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = soap("GetItem");
  for (int i = 0; i < 4; ++i) EXPECT_EQ((co_await scene.ask(ews(authorization, body))).status, 502);
  Peer::Answer answer = co_await scene.ask(ews(authorization, body));
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.fields, HasSubstr("retry-after: 30"));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::unavailable_breaker), 1u);
  auto states = scene.gateway->upstreams();
  CO_ASSERT(states.size() == 1);
  EXPECT_EQ(states[0].breaker, CircuitBreaker::State::open);
  EXPECT_EQ(states[0].failures, 4u);
  EXPECT_EQ(scene.metrics.value(metric::gateway_breakers_open), 1u);
  EXPECT_THAT(scene.log_text(), HasSubstr("gateway_breaker_opened"));
  // The other endpoint is another server.
  std::string target = activesync_target("Sync", "anna", "ABC123"), sync = wbxml(ActiveSyncCommand::sync);
  EXPECT_EQ((co_await scene.ask(activesync(authorization, target, sync))).status, 200);
}
TEST(GatewayForward, GivesADeadServerARest) {
  Scene::run(dead, {.configure = [](Config& config, const Scene&) {
               GatewayEndpointConfig& endpoint = config.gateway.routes[0].ews;
               endpoint.upstream = "https://127.0.0.1:1";
               endpoint.breaker_window_requests = 4;
             }});
}

Task<void> no_sockets(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = soap("GetItem");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = ews(authorization, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await peer->read_answers(1));
  // The process may open no further socket; its one connection is another user's.
  rlimit before{}, few{};
  getrlimit(RLIMIT_NOFILE, &before);
  few = {.rlim_cur = 512, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  std::vector<Socket> all;
  for (auto handle = io::open_socket(test::loopback()); handle; handle = io::open_socket(test::loopback())) all.emplace_back(*handle);
  std::string other = basic("bob@example.com");
  Ask without = ews(other, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(without)));
  EXPECT_TRUE(co_await peer->read_answers(2));
  all.clear();
  setrlimit(RLIMIT_NOFILE, &before);
  CO_ASSERT(peer->answers.size() == 2);
  EXPECT_EQ(peer->answers[1].status, 503);
  EXPECT_EQ(scene.gateway->upstreams().at(0).breaker, CircuitBreaker::State::closed);
  EXPECT_EQ(scene.gateway->upstreams().at(0).failures, 0u);
  EXPECT_EQ((co_await scene.ask(ews(other, body))).status, 200);
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_busy), 1u);
  co_await peer->close();
}
TEST(GatewayForward, WantOfSocketsSaysNothingOfExchange) {
  Scene::run(no_sockets, {.configure = [](Config& config, const Scene&) { config.gateway.routes[0].ews.breaker_window_requests = 1; }});
}

Task<void> hung_up(Scene& scene) {
  // Exchange closes a connection as its second request comes.
  scene.exchange.respond = [&](const Seen& seen) {
    size_t before = std::ranges::count_if(scene.exchange.seen, [&](const auto& other) { return other->connection == seen.connection; });
    return before > 0 ? Reply{.hang_up = true} : Reply{.body = "fine"};
  };
  std::string authorization = basic("anna@example.com"), read = soap("GetItem"), send = soap("SendItem");
  EXPECT_EQ((co_await scene.ask(ews(authorization, read))).status, 200);
  co_await scene.until_idle();
  EXPECT_EQ((co_await scene.ask(ews(authorization, read))).status, 200);
  EXPECT_EQ(scene.exchange.seen.size(), 3u);
  co_await scene.until_idle();
  // What must not happen twice is the client's to repeat.
  EXPECT_EQ((co_await scene.ask(ews(authorization, send))).status, 502);
  EXPECT_EQ(scene.exchange.seen.size(), 4u);
  co_await scene.until_idle();
  // On a connection of its own a hang-up is an answer, too.
  scene.exchange.respond = [](const Seen&) { return Reply{.hang_up = true}; };
  EXPECT_EQ((co_await scene.ask(ews(authorization, read))).status, 502);
  EXPECT_EQ(scene.exchange.seen.size(), 5u);
}
TEST(GatewayForward, SendsARequestAgainThatMetADyingConnectionUnlessItMustNotHappenTwice) { Scene::run(hung_up); }

Task<void> other_certificate(Scene& scene) {
  std::string authorization = basic("anna@example.com"), body = soap("GetItem");
  EXPECT_EQ((co_await scene.ask(ews(authorization, body))).status, 502);
  EXPECT_EQ(scene.exchange.seen.size(), 0u);
}
TEST(GatewayForward, NeverSpeaksToAServerWithAnotherKey) {
  Scene::run(other_certificate, {.configure = [](Config& config, const Scene&) {
               config.gateway.routes[0].ews.spki_pins = {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="};
             }});
}

Task<void> early(Scene& scene) {
  scene.exchange.respond = [](const Seen&) { return Reply{.status = 401, .fields = {{"WWW-Authenticate", "Basic realm=\"x\""}}, .early = true}; };
  std::string body = soap("CreateItem", {}, std::string(scene.fixture.http2() ? 15'000 : 60'000, 'x'));
  EXPECT_EQ((co_await scene.ask(ews("", body))).status, 401);
}
TEST_P(GatewayForwardOver, AnAnswerMayComeBeforeTheBodyIsThrough) { Scene::run(early, {.wire = GetParam()}); }

Task<void> reloads(Scene& scene) {
  Event release;
  scene.exchange.respond = [&](const Seen& seen) {
    return seen.body.find("FindItem") != std::string::npos ? Reply{.body = "old", .hold = &release} : Reply{.body = "new"};
  };
  std::string authorization = basic("anna@example.com"), slow = soap("FindItem"), body = soap("GetItem");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = ews(authorization, slow);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await scene.until_seen(1));
  scene.reload([](Config& config) { config.gateway.routes[0].hosts = {"z.example.com"}; });
  EXPECT_EQ((co_await scene.ask(ews(authorization, body))).status, 421);
  scene.reload([](Config& config) { config.gateway.routes[0].hosts = {"x.example.com"}; });
  EXPECT_EQ((co_await scene.ask(ews(authorization, body))).body, "new");
  release.set();
  EXPECT_TRUE(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].body, "old");
  co_await peer->close();
}
TEST(GatewayForward, AReloadLeavesRequestsUnderWayAlone) { Scene::run(reloads); }

constexpr size_t kRetired = 40;

Task<void> retires(Scene& scene) {
  co_await scene.allow("ABC123", "anna@example.com");
  auto handle = io::open_listener(test::loopback());
  CO_ASSERT(handle);
  IdleServer server(scene.server_certificate);
  Event over;
  TaskScope serving(&co_await current_context());
  serving.spawn(server.run(*handle, over));
  scene.reload([&](Config& config) {
    GatewayRouteConfig route = config.gateway.routes[0];
    route.ews.upstream = fmt::format("https://127.0.0.1:{}", io::local_address(*handle)->port);
    for (size_t i = 0; i < kRetired; ++i) {
      route.hosts = {fmt::format("x{}.example.com", i)};
      config.gateway.routes.push_back(route);
    }
  });
  std::string read = soap("GetItem");
  for (size_t i = 0; i < kRetired; ++i) {
    std::string answer = co_await scene.raw(fmt::format(
        "POST {} HTTP/1.1\r\nHost: x{}.example.com\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{}", kEws, i, read.size(), read));
    EXPECT_THAT(answer, testing::StartsWith("HTTP/1.1 200"));
  }
  scene.reload([](Config& config) { config.gateway.routes.resize(1); });
  Event never;
  scene.exchange.respond = [&](const Seen&) { return Reply{.hold = &never}; };
  std::string authorization = basic("anna@example.com"), ping = wbxml(ActiveSyncCommand::ping);
  std::string target = activesync_target("Ping", "anna@example.com", "ABC123");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = activesync(authorization, target, ping);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await scene.until_seen(1));
  // The closing has begun, one server after the other, and a block does not wait for its end.
  auto open = [&] { return scene.metrics.value(metric::connections, ConnectionKind::gateway_upstream); };
  EXPECT_EQ(open(), kRetired + 1);
  while (open() > kRetired) EXPECT_TRUE(co_await sleep_for(1ms));
  co_await scene.hold("ABC123", ComplianceHold::blocked);
  EXPECT_TRUE(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 403);
  EXPECT_GT(open(), kRetired / 2);
  co_await peer->close();
  // In the end all are closed.
  while (open() > 0) EXPECT_TRUE(co_await sleep_for(10ms));
  over.set();
  serving.request_stop();
  co_await serving.join();
}
TEST(GatewayForward, WhatAReloadRetiredIsClosedBesideTheLookAtBlocks) {
  Scene::run(retires, {.configure = [](Config& config, const Scene&) { config.policy.unknown_devices = RuleVerdict::allow; }, .policy = true});
}

Task<void> stops(Scene& scene) {
  Event never;
  scene.exchange.respond = [&](const Seen&) { return Reply{.hold = &never}; };
  std::string authorization = basic("anna@example.com"), body = soap("GetItem");
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  EXPECT_TRUE(co_await peer->settle());
  Ask ask = ews(authorization, body);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await scene.until_seen(1));
  scene.stop_work();
  EXPECT_TRUE(co_await peer->read_answers(1));
  CO_ASSERT(peer->answers.size() == 1);
  EXPECT_EQ(peer->answers[0].status, 503);
  EXPECT_THAT(peer->answers[0].fields, HasSubstr("retry-after: 30"));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_stopping), 1u);
  co_await peer->close();
}
TEST_P(GatewayForwardOver, HandsBackWhatADrainCannotWaitFor) { Scene::run(stops, {.wire = GetParam()}); }

// ---- Long polls ----

constexpr Duration kBreakerOpen = 500ms;

Task<void> ping_as_probe(Scene& scene) {
  Event release;
  std::string anna = basic("anna@example.com"), bob = basic("bob@example.com"), ping = wbxml(ActiveSyncCommand::ping),
              sync = wbxml(ActiveSyncCommand::folder_sync);
  std::string ping_at = activesync_target("Ping", "anna@example.com", "ABC123"), sync_at = activesync_target("FolderSync", "bob@example.com", "DEF1");
  auto open_for = [&] { return scene.gateway->upstreams().at(0).open_for; };
  scene.exchange.respond = [](const Seen&) { return Reply{.hang_up = true}; };
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ((co_await scene.ask(activesync(bob, sync_at, sync))).status, 502);
    EXPECT_EQ(scene.metrics.value(metric::gateway_breakers_open), 1u);
    EXPECT_TRUE(co_await sleep_for(open_for()));
  }
  scene.exchange.respond = [&](const Seen& seen) {
    return seen.target.find("Ping") != std::string::npos ? Reply{.hold = &release} : Reply{.body = "fine"};
  };
  auto peer = co_await scene.open();
  CO_ASSERT(peer);
  Ask ask = activesync(anna, ping_at, ping);
  EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
  EXPECT_TRUE(co_await scene.until_seen(4));
  EXPECT_EQ(scene.gateway->upstreams().at(0).breaker, CircuitBreaker::State::probing);
  EXPECT_TRUE(co_await sleep_for(kBreakerOpen));
  EXPECT_EQ((co_await scene.ask(activesync(bob, sync_at, sync))).status, 200);
  EXPECT_EQ(scene.metrics.value(metric::gateway_breakers_open), 0u);
  release.set();
  EXPECT_TRUE(co_await peer->read_answers(1));
  co_await peer->close();
  co_await scene.until_idle();
}
TEST(GatewayForward, APingThatProbesKeepsNobodyAway) {
  Scene::run(ping_as_probe, {.configure = [](Config& config, const Scene&) {
               GatewayEndpointConfig& endpoint = config.gateway.routes[0].activesync;
               endpoint.breaker_window_requests = 1;
               endpoint.breaker_open_ms = kBreakerOpen / 1ms;
             }});
}

Task<void> many_pings(Scene& scene) {
  Event release;
  std::string anna = basic("anna@example.com"), ping = wbxml(ActiveSyncCommand::ping), sync = wbxml(ActiveSyncCommand::folder_sync);
  std::string ping_at = activesync_target("Ping", "anna@example.com", "ABC123"), sync_at = activesync_target("FolderSync", "anna@example.com", "ABC123");
  scene.exchange.respond = [&](const Seen& seen) {
    return seen.target.find("Ping") != std::string::npos ? Reply{.hold = &release} : Reply{.body = "fine"};
  };
  std::vector<std::unique_ptr<Peer>> peers;
  for (size_t i = 1; i <= 3; ++i) {
    auto peer = co_await scene.open();
    CO_ASSERT(peer);
    Ask ask = activesync(anna, ping_at, ping);
    EXPECT_TRUE(co_await peer->send(peer->bytes_of(ask)));
    EXPECT_TRUE(co_await scene.until_seen(i));
    peers.push_back(std::move(peer));
  }
  Peer::Answer refused = co_await scene.ask(activesync(anna, ping_at, ping));
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.fields, HasSubstr("retry-after: 30"));
  EXPECT_EQ((co_await scene.ask(activesync(anna, sync_at, sync))).status, 200);
  release.set();
  for (auto& peer : peers) EXPECT_TRUE(co_await peer->read_answers(1));
  co_await scene.until_idle();
  EXPECT_EQ(scene.counted(GatewayOutcome::refused_busy), 1u);
  EXPECT_EQ((co_await scene.ask(activesync(anna, ping_at, ping))).status, 200);
  for (auto& peer : peers) co_await peer->close();
}
TEST(GatewayForward, LongPollsLeaveConnectionsToOthers) {
  Scene::run(many_pings, {.configure = [](Config& config, const Scene&) { config.gateway.routes[0].activesync.connections_max = 4; }});
}

}  // namespace
}  // namespace bellhop::service::gateway_test
