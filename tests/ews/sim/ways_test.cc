// SPDX-License-Identifier: Apache-2.0
// What only the simulator can show of the way to a host: names whose addresses change between check and connect, names
// behind a proxy, and addresses of IPv6.
#include <gmock/gmock.h>

#include "core/sim/world.h"
#include "service/error_texts.h"
#include "tests/ews/proxy_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using testing::ElementsAre;
using testing::Key;

constexpr std::string_view kName = "mail.example.test";
constexpr std::string_view kForbidden = "10.66.0.1";

IpAddress address(std::string_view text) { return *IpAddress::parse(text); }
void use_name(Scene& s) { s.url = fmt::format("https://{}:{}/EWS/Exchange.asmx", kName, s.peer.port()); }

// Whoever connects here went to an address that no check permits.
struct Trap {
  explicit Trap(Scene& s) : listener(*io::open_listener({.tcp = {address(kForbidden), s.peer.port()}, .unix_path = {}})) {}
  Task<void> watch() {
    for (;;) {
      Result<Socket> socket = co_await listener.accept();
      if (!socket) co_return;
      ++sprung;
    }
  }
  Listener listener;
  size_t sprung = 0;
};

// A name server of an attacker's: between any two moments the answer is another one.
Task<void> flip() {
  for (bool good = false;; good = !good) {
    sim::world().set_host(kName, {address(good ? "127.0.0.1" : kForbidden)});
    if (!co_await sleep_for(20us)) co_return;
  }
}

Task<void> flips(Scene& s) {
  use_name(s);
  Trap trap(s);
  TaskScope watching(s.parent);
  watching.spawn(trap.watch());
  watching.spawn(flip());
  int served = 0, refused = 0;
  for (int i = 0; i < 200; ++i) {
    s.peer.script.push_back({.bytes = found(0, true), .end = Reply::End::close});  // the next one connects anew
    auto reply = co_await s.client->verify(s.target());
    if (reply) {
      ++served;
    } else {
      ++refused;
      EXPECT_EQ(reply.error().error, service_error(ServiceError::address_not_allowed));
      s.peer.script.clear();
    }
    (void)co_await sleep_for(Duration(static_cast<int64_t>(io::random_u64() % 50'000)));
  }
  watching.request_stop();
  co_await watching.join();
  co_await trap.listener.close();
  EXPECT_EQ(trap.sprung, 0u);
  EXPECT_GT(served, 20);
  EXPECT_GT(refused, 20);
}
TEST(EwsWays, TheConnectionGoesToTheAddressThatWasChecked) { run_scene(flips); }

Task<void> leaves_names_to_proxy(Scene& s) {
  Way way(s);
  co_await way.use();
  use_name(s);
  s.peer.otherwise = found(0, true);
  sim::world().set_host(kName, {address("127.0.0.1")});
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  EXPECT_THAT(way.proxy->books().targets, ElementsAre(Key(fmt::format("{}:{}", kName, s.peer.port()))));
  // What the proxy makes of the name is its own affair: see the decision on outbound destinations.
  co_await way.use();
  sim::world().set_host(kName, {address(kForbidden)});
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(way.proxy->books().failed, 1u);
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsWays, AProxyGetsTheNameByDefault) { run_scene(leaves_names_to_proxy); }

Task<void> resolves_locally(Scene& s) {
  Way way(s);
  way.config.proxies[0].resolve = ProxyResolve::local;
  co_await way.use();
  use_name(s);
  s.peer.otherwise = found(0, true);
  sim::world().set_host(kName, {address("127.0.0.1")});
  EXPECT_TRUE(co_await s.client->verify(s.target())) << "the name is verified, though the proxy never hears it";
  EXPECT_THAT(way.proxy->books().targets, ElementsAre(Key(fmt::format("127.0.0.1:{}", s.peer.port()))));
  EXPECT_EQ(s.peer.seen[0].host, fmt::format("{}:{}", kName, s.peer.port()));
  co_await way.use();
  uint64_t before = way.proxy->books().connections;
  sim::world().set_host(kName, {address("127.0.0.1"), address(kForbidden)});
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::refused);
  EXPECT_EQ(reply.error().error, service_error(ServiceError::address_not_allowed));
  EXPECT_EQ(s.metrics.value(metric::connect_failures, ConnectFailure::address_not_allowed), 1u);
  EXPECT_EQ(way.proxy->books().connections, before) << "the proxy was not even asked";
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsWays, LookedUpHereAProxyGetsTheCheckedAddress) { run_scene(resolves_locally); }

Task<void> tries_next_behind_proxy(Scene& s) {
  Way way(s);
  way.config.proxies[0].resolve = ProxyResolve::local;
  co_await way.use();
  use_name(s);
  s.peer.otherwise = found(0, true);
  sim::world().set_host(kName, {address("127.0.0.9"), address("127.0.0.1")});
  sim::world().set_rule({.tcp = {address("127.0.0.9"), s.peer.port()}}, {.refuse = true});
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  EXPECT_EQ(way.proxy->books().failed, 1u);
  EXPECT_EQ(way.proxy->books().tunnels, 1u);
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsWays, WhatAProxyCannotReachDoesNotEndTheSearch) { run_scene(tries_next_behind_proxy); }

Task<void> ipv6_literal(Scene& s) {
  Way way(s);
  co_await way.use();
  Peer peer(s.parent, "::1");
  peer.otherwise = found(0, true);
  co_await peer.start(s.authority);
  CO_ASSERT(s.tenant->ews_hosts.add("[::1]"));
  CO_ASSERT(s.tenant->addresses.permit(*proto::Cidr::parse("::1/128")));
  s.tenant->config.ews_ports = {peer.port()};
  s.url = fmt::format("https://[::1]:{}/EWS/Exchange.asmx", peer.port());
  auto reply = co_await s.client->verify(s.target());
  EXPECT_TRUE(reply) << (reply ? "" : error_text(reply.error().error));
  EXPECT_THAT(way.proxy->books().targets, ElementsAre(Key(fmt::format("[::1]:{}", peer.port()))));
  co_await s.client->close();
  co_await peer.stop();
  co_await way.stop();
}
TEST(EwsWays, AnAddressOfIpv6StandsInBrackets) { run_scene(ipv6_literal); }

// A tunnel that is cut at each possible byte of the proxy's answer: every request ends in time, none leaks.
Task<void> cut_tunnels(Scene& s) {
  Way way(s);
  s.peer.otherwise = found(0, true);
  io::Endpoint endpoint{.tcp = way.proxy->address(), .unix_path = {}};
  for (uint64_t bytes = 0; bytes < 48; ++bytes) {
    for (sim::AddressRule::Cut cut : {sim::AddressRule::Cut::stall, sim::AddressRule::Cut::reset}) {
      sim::world().set_rule(endpoint, {.cut_after_to_client = bytes, .cut = cut});
      co_await way.use();
      Instant start = io::now();
      auto reply = co_await s.client->verify(s.target());
      CO_ASSERT(!reply);
      EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
      EXPECT_LE(io::now() - start, Duration(3'500ms));
      EXPECT_EQ(s.open_connections(), 0u);
      sim::world().clear_rule(endpoint);
    }
  }
  co_await way.use();
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  co_await s.client->close();
  co_await way.stop();
}
TEST(EwsWays, ATunnelCutAtAnyByteOfItsBeginningFailsInTime) {
  run_scene(cut_tunnels, [](EwsConfig& config) {
    config.connect_timeout_ms = 1'000;
    config.handshake_timeout_ms = 1'000;
  });
}

}  // namespace
}  // namespace bellhop::service
