// SPDX-License-Identifier: Apache-2.0
// The listener behind load balancers, and what one client may take of it. The same tests in all forms of HTTP, on both back
// ends.
#include "proto/proxy_protocol.h"
#include "tests/http/http_peer.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {
namespace {

class BalancerOver : public testing::TestWithParam<Wire> {
 protected:
  BalancerOver() { fixture.limits.proxy_protocol_from.add(*proto::Cidr::parse("127.0.0.0/8")); }
  Fixture fixture{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Wires, BalancerOver, testing::Values(Wire::http1, Wire::http1_tls, Wire::http2),
                         [](const auto& info) { return wire_name(info.param); });

std::string header_for(std::string_view client, bool checksum = true) {
  SocketAddress source = *SocketAddress::parse(client);
  SocketAddress own = *SocketAddress::parse(source.ip.v6 ? "[2001:db8::443]:443" : "198.51.100.1:443");
  return std::string(as_text(proto::write_proxy_header({.proxied = true, .source = source, .destination = own}, checksum)));
}

// As Peer::open, with these bytes first; `pieces`: one by one.
Task<std::unique_ptr<Peer>> open_behind(Fixture& fixture, io::Endpoint endpoint, std::string header, bool pieces = false) {
  auto socket = co_await within(20s, connect(endpoint));
  if (!socket) co_return nullptr;
  for (size_t at = 0, size = pieces ? 1 : header.size(); at < header.size(); at += size) {
    if (!co_await socket->send(as_bytes(header).subspan(at, size))) co_return nullptr;
  }
  auto peer = std::make_unique<Peer>(*std::move(socket), fixture.wire, fixture.client_tls);
  if (!co_await within(20s, peer->stream.handshake())) co_return nullptr;
  if (fixture.http2()) (void)co_await peer->send(std::string(proto::kPreface) + proto::frame(proto::kSettings, 0, 0, ""));
  co_return std::move(peer);
}

// Whom the server takes for the client; empty where it does not serve.
Task<std::string> client_seen(Fixture& fixture, io::Endpoint endpoint, std::string header, bool pieces = false) {
  auto peer = co_await open_behind(fixture, endpoint, std::move(header), pieces);
  if (!peer) co_return std::string();
  bool asked = (co_await peer->send(peer->bytes_of({.target = "/peer", .last = true}))).has_value();
  if (asked) (void)co_await peer->read_answers(1);
  std::string seen = peer->answers.empty() ? std::string() : peer->answers[0].body;
  co_await peer->close();
  co_return seen;
}

Task<void> names_clients(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  for (bool pieces : {false, true}) {
    EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("203.0.113.9:50000"), pieces), "203.0.113.9:50000");
    EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("[2001:db8::9]:7", false), pieces), "[2001:db8::9]:7");
  }
  EXPECT_EQ(server.stats().proxy_headers_refused, 0u);
}
TEST_P(BalancerOver, TakesTheClientThatATrustedBalancerNames) { run_scenario(fixture, names_clients); }

Task<void> own_connection(Fixture& fixture, HttpServer&, io::Endpoint endpoint) {
  std::string local(as_text(proto::write_proxy_header({}, false)));
  std::string seen = co_await client_seen(fixture, endpoint, local);
  EXPECT_TRUE(seen.starts_with("127.0.0.1:")) << seen;
}
TEST_P(BalancerOver, AHealthCheckIsTheBalancersOwnConnection) { run_scenario(fixture, own_connection); }

Task<void> without_header(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.target = "/peer"})).status, 0);
  EXPECT_EQ(server.stats().proxy_headers_refused, 1u);
  EXPECT_EQ(co_await client_seen(fixture, endpoint, "PROXY TCP4 203.0.113.9 198.51.100.1 1025 443\r\n"), "");
  std::string damaged = header_for("203.0.113.9:50000");
  damaged[20] ^= 1;
  EXPECT_EQ(co_await client_seen(fixture, endpoint, damaged), "");
  EXPECT_EQ(server.stats().proxy_headers_refused, 3u);
  EXPECT_EQ(fixture.handler.handled, 0);
  EXPECT_EQ(server.stats().handshakes_failed, 0u);
  EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("203.0.113.9:50000")), "203.0.113.9:50000");
}
TEST_P(BalancerOver, ATrustedPeerWithoutAGoodHeaderIsNotServed) { run_scenario(fixture, without_header); }

Task<void> untrusted(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("203.0.113.9:50000")), "");
  EXPECT_EQ(server.stats().proxy_headers_refused, 0u);
  EXPECT_EQ(server.stats().handshakes_failed + server.stats().malformed, 1u);  // it is no TLS, and no HTTP
  EXPECT_EQ((co_await ask_alone(fixture, endpoint, {.target = "/peer"})).status, 200);
}
TEST_P(BalancerOver, NobodyElsesHeaderIsRead) {
  fixture.limits.proxy_protocol_from = {};
  fixture.limits.proxy_protocol_from.add(*proto::Cidr::parse("10.30.0.0/24"));
  run_scenario(fixture, untrusted);
}

Task<void> stalls(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  Fixture plain(Wire::http1);
  for (size_t size : {0, 1, 15, 16, 20}) {
    auto peer = co_await Peer::open(plain, endpoint);
    CO_ASSERT(peer);
    CO_ASSERT(co_await peer->send(header_for("203.0.113.9:50000").substr(0, size)));
    CO_ASSERT(co_await peer->read_to_end());
    co_await peer->close();
  }
  EXPECT_EQ(server.stats().proxy_headers_refused, 5u);
  EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("203.0.113.9:50000")), "203.0.113.9:50000");
}
TEST_P(BalancerOver, AHeaderThatStallsEndsWithTheHandshakesTime) {
  fixture.limits.handshake_timeout = 250ms;
  run_scenario(fixture, stalls);
}

// ---- What one client may take ----

Task<void> counts_clients(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  auto first = co_await open_behind(fixture, endpoint, header_for("203.0.113.9:50000"));
  auto second = co_await open_behind(fixture, endpoint, header_for("[2001:db8:0:1::9]:50000"));
  CO_ASSERT(first && second);
  for (Peer* peer : {first.get(), second.get()}) {
    CO_ASSERT(co_await peer->send(peer->bytes_of({.target = "/i"})));
    CO_ASSERT(co_await peer->read_answers(1));
  }
  EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("203.0.113.10:1")), "203.0.113.10:1");
  EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("203.0.113.9:1")), "");
  EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("[2001:db8:0:1:ffff::1]:1")), "") << "the same /64";
  EXPECT_EQ(co_await client_seen(fixture, endpoint, header_for("[2001:db8:0:2::9]:1")), "[2001:db8:0:2::9]:1");
  EXPECT_EQ(server.stats().refused_address, 2u);
  co_await first->close();
  co_await second->close();
}
TEST_P(BalancerOver, LimitsCountClientsAndNotTheBalancer) {
  fixture.limits.connections_per_address_max = 1;
  run_scenario(fixture, counts_clients);
}

Task<void> comes_fast(Fixture& fixture, HttpServer& server, io::Endpoint endpoint) {
  std::string fast = header_for("203.0.113.9:1"), other = header_for("203.0.113.10:1"), exempt = header_for("192.0.2.1:1");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(co_await client_seen(fixture, endpoint, fast), "203.0.113.9:1") << i;
  int served = 0;
  for (int i = 0; i < 30; ++i) {
    served += !(co_await client_seen(fixture, endpoint, fast)).empty();
    EXPECT_EQ(co_await client_seen(fixture, endpoint, exempt), "192.0.2.1:1");
  }
  EXPECT_LT(served, 30);  // some come back while the test runs
  EXPECT_EQ(server.stats().refused_rate, static_cast<uint64_t>(30 - served));
  EXPECT_EQ(server.stats().handshakes_failed, 0u);  // no TLS was begun for them
  EXPECT_EQ(co_await client_seen(fixture, endpoint, other), "203.0.113.10:1");
}
TEST_P(BalancerOver, AClientThatConnectsTooFastIsTurnedAwayBeforeTls) {
  fixture.limits.connections_per_address_per_second = 2;
  fixture.limits.connections_per_address_max = 100;
  fixture.limits.exempt.add(*proto::Cidr::parse("192.0.2.0/24"));
  run_scenario(fixture, comes_fast);
}

}  // namespace
}  // namespace bellhop::service
