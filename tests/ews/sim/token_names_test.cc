// SPDX-License-Identifier: Apache-2.0
// Token endpoints as only the simulator can show them: names that change, and connections that end at any byte.

#include "core/sim/world.h"
#include "service/error_texts.h"
#include "tests/ews/token_scene.h"

namespace bellhop::service {
namespace {

using namespace ews_test;

IpAddress address(std::string_view text) {
  return *IpAddress::parse(text);
}

Task<void> rebinds(Scene& s) {
  TokenScene tokens(s);
  std::string url = fmt::format("https://login.example.test:{}/token", s.peer.port());
  s.peer.otherwise = granted();
  sim::world().set_host("login.example.test", {address("127.0.0.1")});
  CO_ASSERT(co_await tokens.client->refresh(tokens.request(url)));
  for (const char* bad : {"169.254.169.254", "10.0.0.1", "::1", "fd00::1", "100.64.0.1"}) {
    sim::world().set_host("login.example.test", {address("127.0.0.1"), address(bad)});
    GrantReply reply = co_await tokens.client->refresh(tokens.request(url));
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, GrantFailureKind::not_allowed) << bad;
    EXPECT_EQ(reply.error().error, service_error(ServiceError::address_not_allowed));
    EXPECT_FALSE(reply.error().maybe_spent);
  }
  EXPECT_EQ(s.peer.connections, 1u);
  co_await tokens.client->close();
}
TEST(TokenNames, AreCheckedForEachGrantAndOneBadAddressIsEnough) {
  run_scene(rebinds);
}

// Wherever the connection ends: where the client says that the token is not spent, the endpoint has not seen it.
Task<void> cut_anywhere(Scene& s) {
  TokenScene tokens(s);
  s.peer.otherwise = granted();
  io::Endpoint endpoint{.tcp = {address("127.0.0.1"), s.peer.port()}};
  int passed = 0, unspent = 0, unknown = 0;
  for (uint64_t bytes = 0; bytes < 4'000; bytes += 1 + bytes / 8) {
    for (sim::AddressRule::Cut cut : {sim::AddressRule::Cut::stall, sim::AddressRule::Cut::reset}) {
      for (bool to_client : {true, false}) {
        sim::AddressRule rule{.cut = cut};
        (to_client ? rule.cut_after_to_client : rule.cut_after_to_server) = bytes;
        sim::world().set_rule(endpoint, rule);
        size_t seen = s.peer.seen.size();
        Instant start = io::now();
        GrantReply reply = co_await tokens.client->refresh(tokens.request());
        EXPECT_LE(io::now() - start, Duration(500ms));
        EXPECT_LE(s.peer.seen.size(), seen + 1);
        if (reply) {
          ++passed;
        } else if (reply.error().maybe_spent) {
          ++unknown;
        } else {
          ++unspent;
          EXPECT_EQ(s.peer.seen.size(), seen) << bytes;
        }
      }
    }
  }
  EXPECT_GT(passed, 0);
  EXPECT_GT(unspent, 0);
  EXPECT_GT(unknown, 0);
  sim::world().set_rule(endpoint, {});
  co_await tokens.client->close();
}
TEST(TokenConnections, ThatEndAnywhereNeverHideASpentToken) {
  run_scene(cut_anywhere, [](EwsConfig& config) { config.breaker_window_requests = 10'000; });
}

Task<void> many_hosts(Scene& s) {
  TokenScene tokens(s, {.grant_timeout_ms = 200});
  for (size_t i = 0; i < TokenClient::kHostsMax + 20; ++i) {
    std::string url = fmt::format("https://h{}.example.test:{}/token", i, s.peer.port());
    EXPECT_FALSE(co_await tokens.client->refresh(tokens.request(url)));
  }
  EXPECT_EQ(tokens.counted(GrantResult::waiting_limit), 0u) << "the longest unused makes room";
  s.peer.otherwise = granted();
  EXPECT_TRUE(co_await tokens.client->refresh(tokens.request()));
  co_await tokens.client->close();
}
TEST(TokenClient, RemembersABoundedNumberOfHosts) {
  run_scene(many_hosts);
}

}  // namespace
}  // namespace bellhop::service
