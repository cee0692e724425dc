// SPDX-License-Identifier: Apache-2.0
// Bounds, the breaker, stops and the end of the client.

#include "service/error_texts.h"
#include "service/ews_client.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Task<void> limits_host(Scene& s) {
  Event release;
  s.peer.otherwise = found(0, true);
  for (int i = 0; i < 5; ++i) s.peer.script.push_back({.bytes = found(0, true), .hold = &release});
  TaskScope scope(&co_await current_context());
  Pending<std::monostate> pending[5];
  for (unsigned i = 0; i < 5; ++i) scope.spawn(verify_into(s, i, pending[i]));
  co_await s.peer.until_seen(2);
  // Two are under way, three wait: the sixth finds no room, and is told so at once.
  auto full = co_await s.client->verify(s.target(9));
  CO_ASSERT(!full);
  EXPECT_EQ(full.error().kind, EwsFailureKind::throttled);
  EXPECT_EQ(full.error().error, service_error(ServiceError::overload));
  EXPECT_EQ(s.counted(EwsResult::waiting_limit), 1u);
  EXPECT_THAT(s.peer.seen, SizeIs(2));
  release.set();
  co_await scope.join();
  for (Pending<std::monostate>& each : pending) EXPECT_TRUE(each.reply && *each.reply);
  EXPECT_EQ(s.peer.in_flight_max, 2u);
  EXPECT_EQ(s.peer.connections, 2u);
}
TEST(EwsLimits, AHostGetsNoMoreRequestsAtOnceThanItsCapAndTheQueueIsBounded) {
  run_scene(limits_host, [](EwsConfig& config) {
    config.requests_per_host_in_flight_max = 2;
    config.requests_per_host_waiting_max = 3;
  });
}

Task<void> limits_connections(Scene& s) {
  Event release;
  for (int i = 0; i < 3; ++i) s.peer.script.push_back({.bytes = found(0, true), .hold = &release});
  TaskScope scope(&co_await current_context());
  Pending<std::monostate> pending[3];
  for (unsigned i = 0; i < 3; ++i) scope.spawn(verify_into(s, i, pending[i]));
  co_await s.peer.until_seen(1);
  EXPECT_EQ(s.open_connections(), 1u);
  release.set();
  co_await scope.join();
  for (Pending<std::monostate>& each : pending) EXPECT_TRUE(each.reply && *each.reply);
  EXPECT_EQ(s.peer.connections, 1u);
}
TEST(EwsLimits, AHostGetsNoMoreConnectionsThanItsCap) {
  run_scene(limits_connections, [](EwsConfig& config) { config.connections_per_host_max = 1; });
}

Task<void> limits_mailbox(Scene& s) {
  Event release;
  s.peer.otherwise = found(0, true);
  s.peer.script.push_back({.bytes = found(0, true), .hold = &release});
  TaskScope scope(&co_await current_context());
  Pending<std::monostate> first, second;
  scope.spawn(verify_into(s, 1, first));
  co_await s.peer.until_seen(1);
  scope.spawn(verify_into(s, 1, second));
  CO_ASSERT(co_await s.client->verify(s.target(2)));  // another mailbox passes
  EXPECT_THAT(s.peer.seen, SizeIs(2));
  EXPECT_FALSE(second.reply);
  release.set();
  co_await scope.join();
  EXPECT_TRUE(first.reply && *first.reply);
  EXPECT_TRUE(second.reply && *second.reply);
}
TEST(EwsLimits, AMailboxGetsNoMoreRequestsAtOnceThanItsCap) {
  run_scene(limits_mailbox, [](EwsConfig& config) { config.requests_per_mailbox_max = 1; });
}

Task<void> opens_breaker(Scene& s) {
  s.peer.otherwise = plain(500);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(co_await s.client->verify(s.target()));
  EXPECT_THAT(s.peer.seen, SizeIs(4));
  s.peer.otherwise = found(0, true);
  auto refused = co_await s.client->verify(s.target());
  CO_ASSERT(!refused);
  EXPECT_EQ(refused.error().kind, EwsFailureKind::unavailable);
  EXPECT_EQ(refused.error().error, service_error(ServiceError::breaker_open));
  EXPECT_EQ(s.counted(EwsResult::breaker_open), 1u);
  EXPECT_THAT(s.peer.seen, SizeIs(4));
  EXPECT_THAT(s.log_text(), HasSubstr("ews_breaker_opened"));
  CO_ASSERT(co_await sleep_for(130ms));  // its time, and the most of the jitter
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  EXPECT_THAT(s.log_text(), HasSubstr("ews_breaker_closed"));
}
TEST(EwsLimits, AFailingHostIsLeftAloneForAWhile) {
  run_scene(opens_breaker, [](EwsConfig& config) {
    config.breaker_window_requests = 4;
    config.breaker_open_ms = 100;
  });
}

Task<void> stops_mid_request(Scene& s) {
  Event release;
  s.peer.otherwise = found(0, true);
  s.peer.script.push_back({.bytes = found(0, true), .hold = &release});
  TaskScope scope(&co_await current_context());
  Pending<std::monostate> under_way, waiting;
  scope.spawn(verify_into(s, 1, under_way));
  scope.spawn(verify_into(s, 1, waiting));
  co_await s.peer.until_seen(1);
  scope.request_stop();
  co_await scope.join();
  for (Pending<std::monostate>* each : {&under_way, &waiting}) {
    CO_ASSERT(each->reply && !*each->reply);
    EXPECT_EQ(each->reply->error().error, core_error(CoreError::canceled));
  }
  EXPECT_EQ(s.open_connections(), 0u);
  EXPECT_TRUE(co_await s.client->verify(s.target()));  // every permit is back
  release.set();
}
TEST(EwsLimits, AStoppedRequestGivesItsPlaceBackAndClosesItsConnection) {
  run_scene(stops_mid_request, [](EwsConfig& config) {
    config.requests_per_host_in_flight_max = 1;
    config.requests_per_mailbox_max = 1;
    config.connections_per_host_max = 1;
  });
}

Task<void> close_into(Scene& s, bool& closed) {
  co_await s.client->close();
  closed = true;
}
Task<void> closes(Scene& s) {
  Event release;
  s.peer.script.push_back({.bytes = found(0, true), .hold = &release});
  TaskScope scope(&co_await current_context());
  Pending<std::monostate> under_way;
  bool closed = false;
  scope.spawn(verify_into(s, 1, under_way));
  co_await s.peer.until_seen(1);
  scope.spawn(close_into(s, closed));
  auto late = co_await s.client->verify(s.target());
  CO_ASSERT(!late);
  EXPECT_EQ(late.error().error, service_error(ServiceError::draining));
  EXPECT_FALSE(closed);
  release.set();
  co_await scope.join();
  EXPECT_TRUE(under_way.reply && *under_way.reply);
  EXPECT_TRUE(closed);
}
TEST(EwsLimits, CloseAwaitsWhatIsUnderWayAndRefusesTheRest) { run_scene(closes); }

}  // namespace
}  // namespace bellhop::service
