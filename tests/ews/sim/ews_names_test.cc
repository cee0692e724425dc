// SPDX-License-Identifier: Apache-2.0
// What only the simulator can show: names with several and with bad addresses, and servers that do not answer.

#include "core/sim/world.h"
#include "service/error_texts.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;

constexpr std::string_view kName = "mail.example.test";

IpAddress address(std::string_view text) { return *IpAddress::parse(text); }

void use_name(Scene& s) { s.url = "https://mail.example.test:" + std::to_string(s.peer.port()) + "/EWS/Exchange.asmx"; }

Task<void> resolves(Scene& s) {
  use_name(s);
  sim::world().set_host(kName, {address("127.0.0.1")});
  s.peer.otherwise = found(0, true);
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  EXPECT_EQ(s.peer.seen[0].host, "mail.example.test:" + std::to_string(s.peer.port()));
}
TEST(EwsNames, AreResolvedAndTheNameIsVerified) { run_scene(resolves); }

Task<void> refuses_any_bad(Scene& s) {
  use_name(s);
  for (const char* bad : {"169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00::1", "100.64.0.1", "224.0.0.1"}) {
    for (bool first : {true, false}) {
      std::vector<IpAddress> addresses = {address("127.0.0.1")};
      addresses.insert(first ? addresses.begin() : addresses.end(), address(bad));
      sim::world().set_host(kName, addresses);
      auto reply = co_await s.client->verify(s.target());
      CO_ASSERT(!reply);
      EXPECT_EQ(reply.error().kind, EwsFailureKind::refused) << bad;
      EXPECT_EQ(reply.error().error, service_error(ServiceError::address_not_allowed));
    }
  }
  EXPECT_EQ(s.peer.connections, 0u);
}
TEST(EwsNames, OneForbiddenAddressAmongGoodOnesMeansNoConnection) { run_scene(refuses_any_bad); }

Task<void> rebinds(Scene& s) {
  use_name(s);
  sim::world().set_host(kName, {address("127.0.0.1")});
  s.peer.script.push_back({.bytes = found(0, true), .end = Reply::End::close});
  s.peer.otherwise = found(0, true);
  CO_ASSERT(co_await s.client->verify(s.target()));
  co_await s.peer.until_ended(1);
  sim::world().set_host(kName, {address("10.0.0.1")});
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::refused);
}
TEST(EwsNames, AreCheckedAnewForEachConnection) { run_scene(rebinds); }

Task<void> tries_next(Scene& s) {
  use_name(s);
  sim::world().set_host(kName, {address("127.0.0.9"), address("127.0.0.8"), address("127.0.0.1")});
  sim::world().set_rule({.tcp = {address("127.0.0.9"), s.peer.port()}}, {.refuse = true});
  sim::world().set_rule({.tcp = {address("127.0.0.8"), s.peer.port()}}, {.blackhole = true});
  s.peer.otherwise = found(0, true);
  Instant start = io::now();
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  EXPECT_GE(io::now() - start, Duration(500ms));  // the time given to the silent one
}
TEST(EwsNames, TheNextAddressIsTriedWhereOneFails) {
  run_scene(tries_next, [](EwsConfig& config) { config.connect_timeout_ms = 500; });
}

Task<void> fails_to_resolve(Scene& s) {
  use_name(s);
  auto unknown = co_await s.client->verify(s.target());
  CO_ASSERT(!unknown);
  EXPECT_EQ(unknown.error().kind, EwsFailureKind::unavailable);
  EXPECT_EQ(unknown.error().error.domain, Domain::dns);
  sim::world().set_host_silent(kName);
  auto silent = co_await s.client->verify(s.target());
  CO_ASSERT(!silent);
  EXPECT_EQ(silent.error().error, core_error(CoreError::timed_out));
  EXPECT_EQ(s.counted(EwsResult::connect_failed), 2u);
}
TEST(EwsNames, AFailedLookUpIsAHostThatIsNotThere) { run_scene(fails_to_resolve); }

Task<void> verifies_name(Scene& s) {
  s.url = "https://deep.mail.example.test:" + std::to_string(s.peer.port()) + "/";  // the certificate has one label less
  sim::world().set_host("deep.mail.example.test", {address("127.0.0.1")});
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().error.domain, Domain::tls);
  EXPECT_TRUE(s.peer.seen.empty());
}
TEST(EwsNames, ACertificateForAnotherNameGetsNoRequest) { run_scene(verifies_name); }

// A server that stalls at each possible byte, in both directions: every request ends in time, none leaks.
Task<void> stalls(Scene& s) {
  s.peer.otherwise = found(0, true);
  io::Endpoint endpoint{.tcp = {address("127.0.0.1"), s.peer.port()}};
  int passed = 0, failed = 0;
  for (uint64_t bytes = 0; bytes < 4'000; bytes += 1 + bytes / 4) {
    for (sim::AddressRule::Cut cut : {sim::AddressRule::Cut::stall, sim::AddressRule::Cut::reset}) {
      for (bool to_client : {true, false}) {
        sim::AddressRule rule{.cut = cut};
        (to_client ? rule.cut_after_to_client : rule.cut_after_to_server) = bytes;
        sim::world().set_rule(endpoint, rule);
        Instant start = io::now();
        auto reply = co_await s.client->verify(s.target());
        EXPECT_LE(io::now() - start, Duration(3'100ms));
        (reply ? passed : failed) += 1;
        if (!reply) {
          EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
          EXPECT_EQ(s.open_connections(), 0u);
        }
        EXPECT_TRUE(bytes > 400 || !reply) << bytes;
        sim::world().clear_rule(endpoint);
        co_await s.client->close();
        s.make_client();
      }
    }
  }
  // The larger cuts come after the whole exchange.
  EXPECT_GT(passed, 0);
  EXPECT_GT(failed, 50);
  EXPECT_TRUE(co_await s.client->verify(s.target()));
}
TEST(EwsNames, AConnectionCutAtAnyByteFailsInTime) {
  run_scene(stalls, [](EwsConfig& config) {
    config.handshake_timeout_ms = 1'000;
    config.subscribe_timeout_ms = 3'000;
    config.breaker_window_requests = 1000;
  });
}

// Deadline 3 s, 20 silent answers: the breaker opens although every request was ended by its caller.
Task<void> silent_host_trips(Scene& s) {
  Event never;
  for (int i = 0; i < 20; ++i) s.peer.script.push_back({.bytes = "", .hold = &never});
  for (int i = 0; i < 20; ++i) {
    DeadlineContext deadline(&co_await current_context(), io::now() + 3s);
    EXPECT_FALSE(co_await s.client->verify(s.target()).under(deadline.context()));
  }
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().error, service_error(ServiceError::breaker_open));
}
TEST(EwsNames, AHostThatOnlyTimesOutTripsTheBreakerToo) { run_scene(silent_host_trips); }

constexpr int kFlows = 8, kRequestsPerFlow = 25;

Task<void> ask_often(Scene& s, store::MailboxNumber mailbox, int& ended) {
  for (int i = 0; i < kRequestsPerFlow; ++i) {
    DeadlineContext deadline(&co_await current_context(), io::now() + 3s);
    (void)co_await s.client->verify(s.target(mailbox)).under(deadline.context());
    ++ended;
  }
}
Task<void> asks_through_faults(Scene& s) {
  s.peer.otherwise = found(2, true);
  int ended = 0;
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < kFlows; ++i) scope.spawn(ask_often(s, static_cast<store::MailboxNumber>(i), ended));
  co_await scope.join();
  EXPECT_EQ(ended, kFlows * kRequestsPerFlow);
  uint64_t counted = 0;
  for (size_t i = 0; i < LabelSet<EwsResult>::values.size(); ++i) counted += s.counted(static_cast<EwsResult>(i));
  EXPECT_EQ(counted, static_cast<uint64_t>(ended));
  EXPECT_GT(s.counted(EwsResult::ok), 0u);
  sim::world().faults = sim::Faults::none();
}
TEST(EwsNames, ThroughFaultsEveryRequestEndsWithOneResult) {
  sim::world().faults.reset = 0.01;
  sim::world().faults.refuse_connect = 0.2;
  sim::world().receive_max = 700;
  run_scene(asks_through_faults, [](EwsConfig& config) { config.breaker_window_requests = 1000; });
}

}  // namespace
}  // namespace bellhop::service
