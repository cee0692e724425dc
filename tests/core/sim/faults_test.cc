// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include "tests/core/sim/scenario.h"

namespace bellhop {
namespace {

using sim::AddressRule;
using sim::Faults;
using sim::world;
using test::ask_echo;
using test::echo_server;
using test::endpoint_of;
using test::options_of;
using test::run_scenario;

const io::Endpoint kService = {.tcp = *SocketAddress::parse("192.0.2.10:443"), .unix_path = {}};

// One echo server at kService and one question to it.
Task<void> ask_once(std::string text, Duration deadline, Result<std::string>* out) {
  Result<io::Handle> handle = io::open_listener(kService);
  CO_ASSERT(handle);
  Listener listener(*handle);
  TaskScope servers(&co_await current_context());
  servers.spawn(echo_server(listener));
  *out = co_await within(deadline, ask_echo(kService, text));
  co_await listener.close();
  servers.request_stop();
  co_await servers.join();
}
Result<std::string> run_question(uint64_t seed, const std::string& text = "hello", Duration deadline = 10min) {
  Result<std::string> result;
  EXPECT_TRUE(io::run_cluster(options_of(seed), [&](unsigned) { return ask_once(text, deadline, &result); }));
  return result;
}

// Each kind of legal but unpleasant behaviour, all the time: the program above the seam sees nothing of it.
TEST(Faults, LegalBehaviourAtFullRateChangesNoResult) {
  const std::pair<const char*, double Faults::*> kinds[] = {{"short read", &Faults::short_read},
                                                            {"late send", &Faults::late_send},
                                                            {"accept end", &Faults::accept_end},
                                                            {"late completion", &Faults::late_completion}};
  for (auto [name, kind] : kinds) {
    SCOPED_TRACE(name);
    world().faults = Faults::none();
    world().faults.*kind = 1;
    run_scenario(3);
  }
  world().faults = Faults::none();
  world().faults.no_buffers = 0.9;
  run_scenario(3);
  world().receive_max = 1;  // byte by byte
  run_scenario(3, nullptr, 200);
  world().socket_buffer = 1;  // each byte waits for the reader
  run_scenario(3, nullptr, 50);
}

TEST(Faults, AMixPerSeedChangesNoResult) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    world().faults = Faults::draw(seed);
    run_scenario(seed);
  }
}

TEST(Faults, RefusedAndResetConnectionsAreToldAndLeakNothing) {
  int refused = 0, reset = 0, answered = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    world().faults.refuse_connect = 0.3;
    world().faults.reset = 0.3;
    Result<std::string> result = run_question(seed, std::string(40'000, 'x'));
    if (result) {
      ++answered;
    } else if (result.error() == os_error(ECONNREFUSED)) {
      ++refused;
    } else {
      EXPECT_TRUE(result.error() == os_error(ECONNRESET) || result.error() == os_error(EPIPE) ||
                  is(result.error(), CoreError::closed))
          << error_text(result.error());
      ++reset;
    }
  }
  EXPECT_GT(refused, 30);
  EXPECT_GT(reset, 50);
  EXPECT_EQ(refused + reset + answered, 200);
}

TEST(AddressRule, RefusesOrSwallowsConnects) {
  world().set_rule(kService, {.refuse = true});
  Result<std::string> refused = run_question(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), os_error(ECONNREFUSED));

  world().set_rule(kService, {.blackhole = true});
  Result<std::string> timed_out = run_question(1, "hello", 3s);
  ASSERT_FALSE(timed_out);
  EXPECT_TRUE(is(timed_out.error(), CoreError::timed_out));
  EXPECT_GE(world().elapsed(), 3s);
  EXPECT_LT(world().elapsed(), 4s);

  world().set_rule(kService, {.blackhole = true});
  Result<std::string> gave_up = run_question(1, "hello", 1h);
  ASSERT_FALSE(gave_up);
  EXPECT_EQ(gave_up.error(), os_error(ETIMEDOUT));

  EXPECT_TRUE(run_question(1));  // a rule holds for one run
}

TEST(AddressRule, CutsAConnectionAtAnyByte) {
  const std::string text = "twenty bytes of text";
  for (bool to_server : {true, false}) {
    for (uint64_t at = 0; at <= text.size(); ++at) {
      AddressRule rule;
      (to_server ? rule.cut_after_to_server : rule.cut_after_to_client) = at;
      world().set_rule(kService, rule);
      Result<std::string> reset = run_question(at + 1, text);
      // The last byte to the client is followed by nothing that the client still needs.
      if (!to_server && at == text.size()) {
        EXPECT_TRUE(reset);
        continue;
      }
      // A reset is told once: the send or the receive may get it, the other sees a broken pipe or the end.
      if (reset) {
        EXPECT_TRUE(to_server && at == text.size()) << at;
        continue;
      }
      EXPECT_TRUE(reset.error() == os_error(ECONNRESET) || reset.error() == os_error(EPIPE) ||
                  is(reset.error(), CoreError::closed))
          << at << ": " << error_text(reset.error());
      rule.cut = AddressRule::Cut::stall;
      world().set_rule(kService, rule);
      Result<std::string> stalled = run_question(at + 1, text, 5s);
      ASSERT_FALSE(stalled);
      EXPECT_TRUE(is(stalled.error(), CoreError::timed_out)) << at << ": " << error_text(stalled.error());
    }
  }
}

TEST(AddressRule, DelaysWhatPasses) {
  world().set_rule(kService, {.delay = 2s});
  EXPECT_TRUE(run_question(1));
  EXPECT_GE(world().elapsed(), 8s);  // connect, its answer, the question, the echo
}

Task<void> open_many(int count, int* refused) {
  Result<io::Handle> handle = io::open_listener(kService);
  CO_ASSERT(handle);
  std::vector<Socket> sockets;
  for (int i = 0; i < count; ++i) {
    Result<io::Handle> socket = io::open_socket(kService);
    if (socket) {
      sockets.emplace_back(*socket);
    } else {
      EXPECT_EQ(socket.error(), os_error(ENFILE));
      ++*refused;
    }
  }
  io::close(*handle);
}

TEST(Limits, TheTableOfConnectionsIsBounded) {
  io::ClusterOptions options = options_of(1);
  options.connections_max = 10;
  int refused = 0;
  ASSERT_TRUE(io::run_cluster(options, [&](unsigned) { return open_many(20, &refused); }));
  EXPECT_EQ(refused, 11);
}

// Bytes that have arrived and are never read: the close becomes a reset, as on Linux.
Task<void> close_unread(bool read_all, Result<size_t>* seen) {
  Result<io::Handle> handle = io::open_listener(kService);
  CO_ASSERT(handle);
  Listener listener(*handle);
  Result<Socket> client = co_await connect(kService);
  CO_ASSERT(client);
  Result<Socket> server = co_await listener.accept();
  CO_ASSERT(server);
  const std::string text(12'000, 'x');
  EXPECT_TRUE(co_await client->send(as_bytes(text)));
  EXPECT_TRUE(co_await sleep_for(1s));  // virtual: all has arrived
  for (size_t read = 0; read_all && read < text.size();) {
    Result<Chunk> chunk = co_await server->receive();
    CO_ASSERT(chunk && !chunk->empty());
    read += chunk->bytes().size();
  }
  server->close();
  {
    Result<Chunk> chunk = co_await client->receive();
    *seen = chunk ? Result<size_t>(chunk->bytes().size()) : Result<size_t>(fail(chunk.error()));
  }
  co_await listener.close();
}

TEST(Network, ACloseWithUnreadBytesResetsAndWithoutEndsInOrder) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    for (bool read_all : {false, true}) {
      world().socket_buffer = 64 * 1024;
      Result<size_t> seen = 1;
      ASSERT_TRUE(io::run_cluster(options_of(seed), [&](unsigned) { return close_unread(read_all, &seen); }));
      ASSERT_EQ(seen.has_value(), read_all) << "seed " << seed;
      if (read_all) EXPECT_EQ(*seen, 0u);
      if (!read_all) EXPECT_EQ(seen.error(), os_error(ECONNRESET));
    }
  }
}

// Flows that hold a chunk across a wait use up the pool; the others wait for a buffer, and get one.
Task<void> hold_chunk(Socket& socket, Event& release) {
  Result<Chunk> chunk = co_await within(10min, socket.receive());
  CO_ASSERT(chunk && !chunk->empty());
  EXPECT_TRUE(co_await release.wait());
}
Task<void> starve(int* waited) {
  Result<io::Handle> handle = io::open_listener(kService);
  CO_ASSERT(handle);
  Listener listener(*handle);
  std::vector<Socket> clients, servers;
  for (int i = 0; i < 6; ++i) {
    Result<Socket> client = co_await connect(kService);
    CO_ASSERT(client);
    clients.push_back(std::move(*client));
    EXPECT_TRUE(co_await clients.back().send(as_bytes("x")));
    Result<Socket> server = co_await listener.accept();
    CO_ASSERT(server);
    servers.push_back(std::move(*server));
  }
  Event release;
  TaskScope scope(&co_await current_context());
  for (Socket& server : servers) scope.spawn(hold_chunk(server, release));
  EXPECT_TRUE(co_await sleep_for(1s));
  *waited = static_cast<int>(sim::world().open_handles().size());
  release.set();
  co_await scope.join();
  co_await listener.close();
}

TEST(Limits, AnEmptyPoolOfBuffersDelaysReaders) {
  io::ClusterOptions options = options_of(1);
  options.receive_buffers = 2;
  int open = 0;
  ASSERT_TRUE(io::run_cluster(options, [&](unsigned) { return starve(&open); }));
  EXPECT_EQ(open, 1 + 12 + 2);  // listener, sockets, buffers: never more buffers than the pool has
}

}  // namespace
}  // namespace bellhop
