// SPDX-License-Identifier: Apache-2.0
// The connections to one upstream: whose they are, how many, how long they live. Runs on both back ends.
#include "service/upstream_client.h"

#include "tests/core/until.h"
#include "tests/http/upstream_fixture.h"

namespace bellhop::service {
namespace {

using test::run_on_cores;

// Answers `count` requests on one connection, then leaves.
Task<void> serve(RawUpstream& raw, int count, bool closes) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  for (int i = 0; i < count; ++i) {
    (void)co_await peer->read_head();
    co_await peer->answer("answer " + std::to_string(i));
  }
  if (closes) {
    co_await peer->close();
  } else {
    co_await peer->read_to_end();
  }
}
Task<void> keys(unsigned) {
  UpstreamScene scene(&co_await current_context());
  scene.start(serve(scene.raw, 2, false));
  bool reused = true;
  auto body = co_await ask(scene.pool, "alice@example.com", reused);
  CO_ASSERT(body);
  EXPECT_FALSE(reused);
  scene.start(serve(scene.raw, 1, false));
  CO_ASSERT(co_await ask(scene.pool, "bob@example.com", reused));
  EXPECT_FALSE(reused);
  scene.start(serve(scene.raw, 2, false));
  CO_ASSERT(co_await ask(scene.pool, "", reused));
  EXPECT_FALSE(reused);
  EXPECT_EQ(scene.pool.idle(), 3u);
  body = co_await ask(scene.pool, "alice@example.com", reused);
  CO_ASSERT(body);
  EXPECT_TRUE(reused);
  EXPECT_EQ(*body, "answer 1");
  EXPECT_TRUE(scene.pool.drop_idle("bob@example.com"));
  EXPECT_FALSE(scene.pool.drop_idle("bob@example.com"));
  EXPECT_EQ(scene.pool.idle(), 2u);
  body = co_await ask(scene.pool, "", reused);
  CO_ASSERT(body);
  EXPECT_EQ(*body, "answer 1");
  EXPECT_EQ(scene.raw.accepted, 3);
  co_await scene.end();
}
TEST(UpstreamPool, NeverGivesOneUsersConnectionToAnother) { run_on_cores(1, keys); }

Task<void> notes(unsigned) {
  UpstreamScene scene(&co_await current_context());
  scene.start(serve(scene.raw, 2, false));
  for (uint32_t i = 0; i < 2; ++i) {
    UpstreamExchange exchange(scene.pool, {.owner = "alice"});
    CO_ASSERT(co_await exchange.connect());
    EXPECT_EQ(exchange.note(), i * 7);
    exchange.set_note(7);
    CO_ASSERT(co_await exchange.send_head(kGet));
    CO_ASSERT(co_await exchange.end_body());
    CO_ASSERT(co_await within(20s, exchange.read_head()));
    CO_ASSERT(co_await read_all(exchange));
  }
  scene.start(serve(scene.raw, 1, false));
  {
    UpstreamExchange exchange(scene.pool, {.owner = "alice", .fresh = true});
    CO_ASSERT(co_await exchange.connect());
    EXPECT_EQ(exchange.note(), 0u);
    CO_ASSERT(co_await exchange.send_head(kGet));
    CO_ASSERT(co_await exchange.end_body());
    CO_ASSERT(co_await within(20s, exchange.read_head()));
    CO_ASSERT(co_await read_all(exchange));
    exchange.discard();
  }
  EXPECT_EQ(scene.pool.idle(), 1u);
  co_await scene.end();
}
TEST(UpstreamPool, RemembersANoteWithTheConnection) { run_on_cores(1, notes); }

// An idle connection that the upstream has closed. Idle for long it is looked at first; else the failure shows it.
Task<void> stale(Duration pause) {
  UpstreamScene scene(&co_await current_context());
  scene.start(serve(scene.raw, 1, true));
  bool reused = true;
  CO_ASSERT(co_await ask(scene.pool, "", reused));
  co_await scene.scripts.join();  // it has left
  CO_ASSERT(co_await sleep_for(pause));
  EXPECT_EQ(scene.pool.idle(), 1u);
  scene.start(serve(scene.raw, 1, false));
  auto body = co_await ask(scene.pool, "", reused);
  CO_ASSERT(body);
  EXPECT_EQ(*body, "answer 0");
  EXPECT_FALSE(reused);
  EXPECT_EQ(scene.raw.accepted, 2);
  co_await scene.end();
}
TEST(UpstreamPool, ReplacesAConnectionThatDiedJustNow) {
  run_on_cores(1, [](unsigned) { return stale(10ms); });
}
TEST(UpstreamPool, LooksAtAConnectionThatWasIdleForLong) {
  run_on_cores(1, [](unsigned) { return stale(UpstreamExchange::kProbeAfter + 10ms); });
}

// With a body, nothing is sent twice; but a connection that was idle for long is looked at, and works.
Task<void> stale_with_body(Duration pause, bool works) {
  UpstreamScene scene(&co_await current_context());
  scene.start(serve(scene.raw, 1, true));
  bool reused = true;
  CO_ASSERT(co_await ask(scene.pool, "", reused));
  co_await scene.scripts.join();
  CO_ASSERT(co_await sleep_for(pause));
  if (works) scene.start(serve(scene.raw, 1, false));
  {
    UpstreamExchange exchange(scene.pool, {});
    CO_ASSERT(co_await exchange.connect());
    EXPECT_EQ(exchange.reused(), !works);
    Status sent = co_await exchange.send_head({.method = "POST", .target = "/", .host = "m", .has_body = true, .content_length = 4}, true);
    if (sent) sent = co_await exchange.write_some(as_bytes("body"), true);
    if (sent) sent = co_await exchange.end_body();
    auto answer = co_await within(20s, exchange.read_head());
    EXPECT_EQ(bool(answer), works);
  }
  EXPECT_EQ(scene.raw.accepted, works ? 2 : 1);
  co_await scene.end();
}
TEST(UpstreamPool, SendsNoBodyTwice) {
  run_on_cores(1, [](unsigned) { return stale_with_body(10ms, false); });
}
TEST(UpstreamPool, SendsABodyToALivingConnection) {
  run_on_cores(1, [](unsigned) { return stale_with_body(UpstreamExchange::kProbeAfter + 10ms, true); });
}

Task<void> ask_beside(UpstreamScene& scene, std::string owner, std::vector<std::string>& order, Event& changed) {
  bool reused = false;
  auto body = co_await ask(scene.pool, owner, reused);
  order.push_back(body ? owner : is(body.error(), CoreError::limit) ? owner + " refused" : owner + " failed");
  changed.set();
}
Task<void> bounded(unsigned) {
  UpstreamScene scene(&co_await current_context(), {.connections_max = 1, .waiting_max = 1});
  std::vector<std::string> order;
  Event changed;
  TaskScope askers(&co_await current_context());
  auto hold = std::make_unique<UpstreamExchange>(scene.pool, UpstreamKey{.owner = "a"});
  CO_ASSERT(co_await hold->connect());
  auto first = co_await scene.raw.accept();
  askers.spawn(ask_beside(scene, "b", order, changed));
  askers.spawn(ask_beside(scene, "c", order, changed));
  EXPECT_EQ(scene.pool.waiting(), 1u);
  EXPECT_EQ(order, std::vector<std::string>{"c refused"});
  scene.start(serve(scene.raw, 1, false));
  hold.reset();
  CO_ASSERT(co_await test::until(changed, [&] { return order.size() == 2; }));
  EXPECT_EQ(order[1], "b");
  // The idle connection of b makes room for one of d: never more than connections_max.
  EXPECT_EQ(scene.pool.idle(), 1u);
  scene.start(serve(scene.raw, 1, false));
  askers.spawn(ask_beside(scene, "d", order, changed));
  CO_ASSERT(co_await test::until(changed, [&] { return order.size() == 3; }));
  EXPECT_EQ(order[2], "d");
  EXPECT_EQ(scene.pool.idle(), 1u);
  co_await askers.join();
  co_await first->close();
  co_await scene.end();
}
TEST(UpstreamPool, HoldsToItsBounds) { run_on_cores(1, bounded); }

Task<void> grows_old(unsigned) {
  UpstreamScene scene(&co_await current_context(), {.idle_timeout = 100ms});
  scene.start(serve(scene.raw, 1, false));
  bool reused = false;
  CO_ASSERT(co_await ask(scene.pool, "", reused));
  EXPECT_EQ(scene.pool.idle(), 1u);
  co_await scene.scripts.join();  // the upstream saw the end
  EXPECT_EQ(scene.pool.idle(), 0u);
  co_await scene.end();
}
TEST(UpstreamPool, ClosesConnectionsThatNobodyUses) { run_on_cores(1, grows_old); }

Task<void> renewed(unsigned) {
  UpstreamScene scene(&co_await current_context());
  scene.start(serve(scene.raw, 1, false));
  bool reused = false;
  CO_ASSERT(co_await ask(scene.pool, "", reused));
  scene.start(serve(scene.raw, 1, false));
  {
    UpstreamExchange exchange(scene.pool, {.owner = "x"});
    CO_ASSERT(co_await exchange.connect());
    CO_ASSERT(co_await exchange.send_head(kGet));
    CO_ASSERT(co_await exchange.end_body());
    scene.pool.renew(scene.raw.origin);
    EXPECT_EQ(scene.pool.idle(), 0u);
    CO_ASSERT(co_await within(20s, exchange.read_head()));  // what is under way goes on
    CO_ASSERT(co_await read_all(exchange));
  }
  EXPECT_EQ(scene.pool.idle(), 0u);
  co_await scene.end();
}
TEST(UpstreamPool, KeepsNothingOfBeforeAReload) { run_on_cores(1, renewed); }

Task<void> nobody_there(unsigned) {
  UpstreamScene scene(&co_await current_context());
  co_await scene.raw.close();
  UpstreamPool pool({.host = "127.0.0.1", .port = 1, .tls = nullptr}, {.connect_timeout = 5s});
  {
    UpstreamExchange exchange(pool, {});
    Status connected = co_await exchange.connect();
    EXPECT_FALSE(connected);
    EXPECT_EQ(exchange.stage(), UpstreamStage::connecting);
    EXPECT_EQ(exchange.tls(), nullptr);
  }
  EXPECT_EQ(pool.in_use(), 0u);
  co_await pool.close();
  UpstreamExchange late(pool, {});
  Status closed = co_await late.connect();
  EXPECT_TRUE(!closed && is(closed.error(), CoreError::closed));
  co_await scene.pool.close();
}
TEST(UpstreamPool, SaysThatItCouldNotConnect) { run_on_cores(1, nobody_there); }

}  // namespace
}  // namespace bellhop::service
