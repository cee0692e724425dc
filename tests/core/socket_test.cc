// SPDX-License-Identifier: Apache-2.0
#include "core/socket.h"

#include <array>
#include <cerrno>
#include <cstdio>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/stream/stream.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

using test::endpoint_of;
using test::loopback;
using test::pattern;
using test::run_on_cores;
using test::unix_endpoint;

// A connected pair of sockets and the listener that they came from. Every wait has a deadline.
struct Pair {
  std::optional<Listener> listener;
  io::Endpoint endpoint;
  Socket client, server;

  Task<bool> open(io::Endpoint bound) {
    Result<io::Handle> handle = io::open_listener(bound);
    EXPECT_TRUE(handle);
    if (!handle) co_return false;
    listener.emplace(*handle);
    endpoint = endpoint_of(*handle, bound);
    Result<Socket> connected = co_await within(10s, connect(endpoint));
    EXPECT_TRUE(connected) << error_text(connected.error());
    Result<Socket> accepted = co_await within(10s, listener->accept());
    EXPECT_TRUE(accepted) << error_text(accepted.error());
    if (connected) client = std::move(*connected);
    if (accepted) server = std::move(*accepted);
    co_return static_cast<bool>(client) && static_cast<bool>(server);
  }
  Task<void> close() {
    client.close();
    server.close();
    if (listener) co_await listener->close();
    if (!endpoint.unix_path.empty()) std::remove(endpoint.unix_path.c_str());
  }
};

// Reads until the end of the stream, or so many bytes.
Task<Result<std::string>> read_text(Socket& socket, size_t size_max = SIZE_MAX) {
  std::string text;
  while (text.size() < size_max) {
    BH_CO_TRY(Chunk chunk, co_await within(20s, socket.receive()));
    if (chunk.empty()) break;
    text += as_text(chunk.bytes());
  }
  co_return text;
}

Task<void> echo(Socket& socket) {
  for (;;) {
    std::string text;
    {
      Result<Chunk> chunk = co_await within(20s, socket.receive());
      EXPECT_TRUE(chunk);
      if (!chunk || chunk->empty()) break;
      text = as_text(chunk->bytes());
    }
    EXPECT_TRUE(co_await socket.send(as_bytes(text)));
  }
  EXPECT_TRUE(co_await socket.shutdown_send());
}

Task<void> echo_flow(unsigned, io::Endpoint bound) {
  Pair pair;
  CO_ASSERT(co_await pair.open(bound));
  TaskScope scope(&co_await current_context());
  scope.spawn(echo(pair.server));
  std::string sent;
  for (int i = 0; i < 20; ++i) {
    std::string line = "line " + std::to_string(i) + "\n";
    EXPECT_TRUE(co_await pair.client.send(as_bytes(line)));
    Result<std::string> back = co_await read_text(pair.client, line.size());
    CO_ASSERT(back);
    EXPECT_EQ(*back, line);
  }
  EXPECT_TRUE(co_await pair.client.shutdown_send());
  Result<std::string> rest = co_await read_text(pair.client);
  CO_ASSERT(rest);
  EXPECT_EQ(*rest, "");
  co_await scope.join();
  co_await pair.close();
}

TEST(Socket, EchoesOverTcp) {
  run_on_cores(1, [](unsigned core) { return echo_flow(core, loopback()); });
}
TEST(Socket, EchoesOverAUnixSocket) {
  run_on_cores(1, [](unsigned core) { return echo_flow(core, unix_endpoint()); });
}

Task<void> send_pattern(Socket& socket, size_t size, bool* sent_all) {
  std::vector<uint8_t> data(size);
  for (size_t i = 0; i < size; ++i) data[i] = pattern(i);
  EXPECT_TRUE(co_await socket.send(data));
  *sent_all = true;
  EXPECT_TRUE(co_await socket.shutdown_send());
}

Task<void> back_pressure_flow(unsigned) {
  constexpr size_t kSize = 24 * 1024 * 1024;  // more than any socket buffer
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  bool sent_all = false;
  TaskScope scope(&co_await current_context());
  scope.spawn(send_pattern(pair.client, kSize, &sent_all));
  size_t at = 0;
  for (;;) {
    Result<Chunk> chunk = co_await within(20s, pair.server.receive());
    CO_ASSERT(chunk);
    if (at == 0) EXPECT_FALSE(sent_all);  // the reader has taken next to nothing: the sender has to wait
    if (chunk->empty()) break;
    for (uint8_t byte : chunk->bytes()) {
      if (byte != pattern(at++)) {
        ADD_FAILURE() << "wrong byte at " << at - 1;
        break;
      }
    }
  }
  EXPECT_EQ(at, kSize);
  co_await scope.join();
  EXPECT_TRUE(sent_all);
  co_await pair.close();
}

TEST(Socket, ASenderWaitsForASlowReaderAndAllBytesArriveInOrder) { run_on_cores(1, back_pressure_flow); }

Task<void> peer_closes_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  EXPECT_TRUE(co_await pair.server.send(as_bytes("last words")));
  pair.server.close();
  Result<std::string> text = co_await read_text(pair.client);
  CO_ASSERT(text);
  EXPECT_EQ(*text, "last words");
  // The end stays the end.
  Result<Chunk> again = co_await within(20s, pair.client.receive());
  CO_ASSERT(again);
  EXPECT_TRUE(again->empty());
  // What we send now meets nobody; after the answer of the peer's kernel a send fails.
  Status status;
  for (int i = 0; i < 1000 && status; ++i) {
    status = co_await within(20s, pair.client.send(as_bytes("hello?")));
    EXPECT_TRUE(co_await sleep_for(1ms));
  }
  CO_ASSERT(!status);
  EXPECT_TRUE(status.error() == os_error(EPIPE) || status.error() == os_error(ECONNRESET)) << error_text(status.error());
  co_await pair.close();
}

TEST(Socket, TheEndOfThePeerComesAfterItsLastBytes) { run_on_cores(1, peer_closes_flow); }

Task<void> half_close_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  EXPECT_TRUE(co_await pair.client.send(as_bytes("question")));
  EXPECT_TRUE(co_await pair.client.shutdown_send());
  Result<std::string> question = co_await read_text(pair.server);
  CO_ASSERT(question);
  EXPECT_EQ(*question, "question");
  EXPECT_TRUE(co_await pair.server.send(as_bytes("answer")));
  pair.server.close();
  Result<std::string> answer = co_await read_text(pair.client);
  CO_ASSERT(answer);
  EXPECT_EQ(*answer, "answer");
  co_await pair.close();
}

TEST(Socket, AHalfClosedConnectionStillBringsTheAnswer) { run_on_cores(1, half_close_flow); }

// ---- Stops ----

Task<void> receive_into(Socket& socket, Result<size_t>* out) {
  Result<Chunk> chunk = co_await socket.receive();
  *out = chunk ? Result<size_t>(chunk->bytes().size()) : Result<size_t>(fail(chunk.error()));
}
// A server with many short connections has no work left with one whose client has gone.
Task<void> peer_gone_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  pair.client.close();
  Stream stream(std::move(pair.server));
  Result<bool> more = co_await within(20s, stream.wait_input());
  EXPECT_TRUE(more && !*more);
  uint64_t before = io::backend_stats().operations;
  co_await stream.close();
  EXPECT_EQ(io::backend_stats().operations, before);
  co_await pair.close();
}
TEST(Stream, ClosesAtOnceWhereThePeerHasEnded) { run_on_cores(1, peer_gone_flow); }

// The peer that only says it will send no more gets the answer and the end.
Task<void> ended_first_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  EXPECT_TRUE(co_await pair.client.send(as_bytes("question")));
  EXPECT_TRUE(co_await pair.client.shutdown_send());
  Stream stream(std::move(pair.server));
  std::array<uint8_t, 16> asked{};
  size_t size = 0;
  for (;;) {
    Result<bool> more = co_await within(20s, stream.wait_input());
    CO_ASSERT(more);
    if (!*more) break;
    size += stream.read(MutableBytes(asked).subspan(size));
  }
  EXPECT_EQ(as_text(Bytes(asked).first(size)), "question");
  std::string answer(1 << 20, 0);
  for (size_t i = 0; i < answer.size(); ++i) answer[i] = static_cast<char>(pattern(i));
  TaskScope writing(&co_await current_context());
  auto answer_and_close = [](Stream& to, const std::string& text) -> Task<void> {
    EXPECT_TRUE(co_await to.write(as_bytes(text)));
    co_await to.close();
  };
  writing.spawn(answer_and_close(stream, answer));
  Result<std::string> came = co_await read_text(pair.client);
  EXPECT_TRUE(came && *came == answer);
  co_await writing.join();
  co_await pair.close();
}
TEST(Stream, WhoEndsFirstStillGetsTheAnswerAndTheEnd) { run_on_cores(1, ended_first_flow); }

Task<void> stop_receive_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  Result<size_t> result = 0;
  TaskScope scope(&co_await current_context());
  scope.spawn(receive_into(pair.server, &result));
  co_await yield_now();
  scope.request_stop();
  co_await scope.join();
  CO_ASSERT(!result);
  EXPECT_TRUE(is(result.error(), CoreError::canceled)) << error_text(result.error());
  // A flow that is stopped already does not even begin.
  scope.spawn(receive_into(pair.server, &result));
  EXPECT_EQ(scope.live(), 0u);
  // The socket is as good as before: nothing was lost.
  EXPECT_TRUE(co_await pair.client.send(as_bytes("still here")));
  Result<std::string> text = co_await read_text(pair.server, 10);
  CO_ASSERT(text);
  EXPECT_EQ(*text, "still here");
  co_await pair.close();
}

TEST(Socket, AStopEndsAReceiveAndLeavesTheSocketUsable) { run_on_cores(1, stop_receive_flow); }

Task<void> send_until_error(Socket& socket, Status* out) {
  std::vector<uint8_t> data(16 * 1024 * 1024, 7);
  while (*out) *out = co_await socket.send(data);
}
Task<void> stop_send_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  Status status;
  TaskScope scope(&co_await current_context());
  scope.spawn(send_until_error(pair.client, &status));
  // Wait until some bytes are there, then stop: the sender is blocked by then, or soon.
  {
    Result<Chunk> first = co_await within(20s, pair.server.receive());
    CO_ASSERT(first);
  }
  EXPECT_EQ(scope.live(), 1u);
  scope.request_stop();
  co_await scope.join();
  CO_ASSERT(!status);
  EXPECT_TRUE(is(status.error(), CoreError::canceled)) << error_text(status.error());
  co_await pair.close();
}

TEST(Socket, AStopEndsASendThatWaitsForTheReader) { run_on_cores(1, stop_send_flow); }

Task<void> accept_into(Listener& listener, Result<bool>* out) {
  Result<Socket> socket = co_await listener.accept();
  *out = socket ? Result<bool>(true) : Result<bool>(fail(socket.error()));
}
Task<void> stop_accept_flow(unsigned) {
  Result<io::Handle> handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  Listener listener(*handle);
  Result<bool> result = true;
  TaskScope scope(&co_await current_context());
  scope.spawn(accept_into(listener, &result));
  co_await yield_now();
  scope.request_stop();
  co_await scope.join();
  CO_ASSERT(!result);
  EXPECT_TRUE(is(result.error(), CoreError::canceled));
  // The listener goes on for the next flow.
  Result<Socket> client = co_await within(20s, connect(endpoint_of(*handle, loopback())));
  EXPECT_TRUE(client);
  Result<Socket> server = co_await within(20s, listener.accept());
  EXPECT_TRUE(server);
  co_await listener.close();
}

TEST(Listener, AStoppedAcceptLosesNoConnection) { run_on_cores(1, stop_accept_flow); }

Task<void> close_listener_flow(unsigned) {
  Result<io::Handle> handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  io::Endpoint endpoint = endpoint_of(*handle, loopback());
  Listener listener(*handle);
  Result<bool> result = true;
  TaskScope scope(&co_await current_context());
  scope.spawn(accept_into(listener, &result));
  co_await yield_now();
  co_await listener.close();
  co_await scope.join();
  CO_ASSERT(!result);
  EXPECT_TRUE(is(result.error(), CoreError::closed));
  Result<Socket> late = co_await listener.accept();
  CO_ASSERT(!late);
  EXPECT_TRUE(is(late.error(), CoreError::closed));
  // The address is free again. A connect right behind the close may still see the old listener on a real kernel.
  Result<Socket> refused = co_await within(20s, connect(endpoint));
  for (int i = 0; i < 100 && refused; ++i) {
    EXPECT_TRUE(co_await sleep_for(1ms));
    refused = co_await within(20s, connect(endpoint));
  }
  CO_ASSERT(!refused);
  EXPECT_EQ(refused.error(), os_error(ECONNREFUSED));
}

TEST(Listener, CloseEndsAcceptAndRefusesWhoComesLater) { run_on_cores(1, close_listener_flow); }

Task<void> connect_into(io::Endpoint endpoint, Result<bool>* out) {
  Result<Socket> socket = co_await connect(endpoint);
  *out = socket ? Result<bool>(true) : Result<bool>(fail(socket.error()));
}
Task<void> stop_connect_flow(unsigned) {
  Result<io::Handle> handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  io::Endpoint endpoint = endpoint_of(*handle, loopback());
  {
    // The stop comes at once: the connect ends as canceled, or it was faster.
    Result<bool> result = false;
    TaskScope scope(&co_await current_context());
    scope.spawn(connect_into(endpoint, &result));
    scope.request_stop();
    co_await scope.join();
    if (!result) EXPECT_TRUE(is(result.error(), CoreError::canceled)) << error_text(result.error());
  }
  io::close(*handle);
}

TEST(Connect, AStopEndsIt) { run_on_cores(1, stop_connect_flow); }

Task<void> refused_flow(unsigned) {
  Result<io::Handle> handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  io::Endpoint endpoint = endpoint_of(*handle, loopback());
  io::close(*handle);
  Result<Socket> refused = co_await within(20s, connect(endpoint));
  for (int i = 0; i < 100 && refused; ++i) {  // a close is carried out soon, not at once
    EXPECT_TRUE(co_await sleep_for(1ms));
    refused = co_await within(20s, connect(endpoint));
  }
  CO_ASSERT(!refused);
  EXPECT_EQ(refused.error(), os_error(ECONNREFUSED));
  Result<Socket> missing = co_await within(20s, connect(unix_endpoint()));
  CO_ASSERT(!missing);
  EXPECT_EQ(missing.error(), os_error(ENOENT));
}

TEST(Connect, SaysWhereNobodyListens) { run_on_cores(1, refused_flow); }

// ---- Addresses and limits ----

Task<void> addresses_flow(unsigned) {
  Pair pair;
  CO_ASSERT(co_await pair.open(loopback()));
  EXPECT_NE(pair.endpoint.tcp.port, 0);
  Result<SocketAddress> server = co_await pair.client.peer_address();
  CO_ASSERT(server);
  EXPECT_EQ(*server, pair.endpoint.tcp);
  Result<SocketAddress> client = co_await pair.server.peer_address();
  CO_ASSERT(client);
  EXPECT_EQ(client->ip.to_string(), "127.0.0.1");
  EXPECT_NE(client->port, 0);
  EXPECT_NE(client->port, server->port);
  co_await pair.close();
}

TEST(Socket, KnowsItsPeersAddress) { run_on_cores(1, addresses_flow); }

Task<void> busy_address_flow(unsigned) {
  Result<io::Handle> first = io::open_listener(loopback());
  CO_ASSERT(first);
  io::Endpoint endpoint = endpoint_of(*first, loopback());
  Result<io::Handle> second = io::open_listener(endpoint);
  EXPECT_FALSE(second);
  if (!second) EXPECT_EQ(second.error(), os_error(EADDRINUSE));
  Result<io::Handle> long_path = io::open_socket({.tcp = {}, .unix_path = std::string(200, 'x')});
  EXPECT_FALSE(long_path);
  if (!long_path) EXPECT_EQ(long_path.error(), os_error(ENAMETOOLONG));
  io::close(*first);
}

TEST(Listener, RefusesABusyAddress) { run_on_cores(1, busy_address_flow); }

// Those who share a port let one more in, and a unix socket is replaced: so who wants neither asks first.
Task<void> vacant_flow(unsigned) {
  for (const io::Endpoint& wanted : {loopback(), unix_endpoint()}) {
    EXPECT_TRUE(io::check_vacant(wanted)) << wanted.to_string();
    Result<io::Handle> first = io::open_listener(wanted, /*shared=*/true);
    CO_ASSERT(first);
    io::Endpoint endpoint = wanted.unix_path.empty() ? endpoint_of(*first, wanted) : wanted;
    Status busy = io::check_vacant(endpoint);
    EXPECT_FALSE(busy) << endpoint.to_string();
    if (!busy) EXPECT_EQ(busy.error(), os_error(EADDRINUSE));
    Result<io::Handle> second = io::open_listener(endpoint, /*shared=*/true);
    EXPECT_TRUE(second) << endpoint.to_string();
    io::close(*first);
    if (second) io::close(*second);
    if (!wanted.unix_path.empty()) std::remove(wanted.unix_path.c_str());
  }
}

TEST(Listener, SaysWhetherSomebodyListensAlready) { run_on_cores(1, vacant_flow); }

// More connections than the listener may hold waiting: it stops accepting, and takes the rest up later.
Task<void> backlog_flow(unsigned) {
  constexpr size_t kConnections = 24;
  Result<io::Handle> handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  io::Endpoint endpoint = endpoint_of(*handle, loopback());
  Listener listener(*handle, 4);
  std::vector<Socket> clients, servers;
  for (size_t i = 0; i < kConnections; ++i) {
    Result<Socket> client = co_await within(20s, connect(endpoint));
    CO_ASSERT(client);
    const uint8_t name[1] = {static_cast<uint8_t>(i)};
    EXPECT_TRUE(co_await client->send(name));
    clients.push_back(std::move(*client));
  }
  std::vector<bool> seen(kConnections);
  for (size_t i = 0; i < kConnections; ++i) {
    Result<Socket> server = co_await within(20s, listener.accept());
    CO_ASSERT(server);
    Result<Chunk> name = co_await within(20s, server->receive());
    CO_ASSERT(name && name->bytes().size() == 1 && name->bytes()[0] < kConnections);
    EXPECT_FALSE(seen[name->bytes()[0]]);
    seen[name->bytes()[0]] = true;
    servers.push_back(std::move(*server));
  }
  co_await listener.close();
}

TEST(Listener, AFullBacklogDelaysConnectionsAndLosesNone) { run_on_cores(1, backlog_flow); }

// Each core has a listener of its own on one address; clients of all cores reach some of them.
Task<void> serve_one(Socket socket) {
  Result<std::string> text = co_await read_text(socket, 1);
  EXPECT_TRUE(text && *text == "?");
  EXPECT_TRUE(co_await socket.send(as_bytes("!")));
}
Task<void> serve_all(Listener& listener) {
  TaskScope scope(&co_await current_context());
  for (;;) {
    Result<Socket> socket = co_await listener.accept();
    if (!socket) break;
    scope.spawn(serve_one(std::move(*socket)));
  }
  co_await scope.join();
}
Task<Result<bool>> ask(io::Endpoint endpoint) {
  BH_CO_TRY(Socket socket, co_await connect(endpoint));
  BH_CO_CHECKED(co_await socket.send(as_bytes("?")));
  BH_CO_TRY(std::string answer, co_await read_text(socket, 1));
  co_return answer == "!";
}

struct CoreState {
  Event told;
  std::optional<Listener> listener;
};
Task<Status> listen_here(CoreState* state, io::Endpoint endpoint) {
  BH_CO_TRY(io::Handle handle, io::open_listener(endpoint, true));
  state->listener.emplace(handle);
  state->told.set();
  co_return Status();
}
Task<Status> end_here(CoreState* state) {
  co_await state->listener->close();
  co_return Status();
}

Task<void> lead_core(CoreState* states) {
  Result<io::Handle> handle = io::open_listener(loopback(), true);
  CO_ASSERT(handle);
  states[0].listener.emplace(*handle);
  io::Endpoint endpoint = endpoint_of(*handle, loopback());
  for (unsigned n = 1; n < io::cores(); ++n) {
    EXPECT_TRUE(co_await on_core(n, [=] { return listen_here(&states[n], endpoint); }));
  }
  TaskScope scope(&co_await current_context());
  scope.spawn(serve_all(*states[0].listener));
  for (unsigned i = 0; i < 60; ++i) {
    Result<bool> answered = co_await on_core(i % io::cores(), [&] { return within(20s, ask(endpoint)); });
    EXPECT_TRUE(answered && *answered);
  }
  for (unsigned n = 0; n < io::cores(); ++n) {
    EXPECT_TRUE(co_await on_core(n, [=] { return end_here(&states[n]); }));
  }
  co_await scope.join();
}
Task<void> shared_flow(unsigned core, CoreState* states) {
  if (core == 0) {
    co_await lead_core(states);
    co_return;
  }
  EXPECT_TRUE(co_await states[core].told.wait());
  co_await serve_all(*states[core].listener);
}

TEST(Listener, CoresShareAnAddress) {
  CoreState states[3];
  run_on_cores(3, [&](unsigned core) { return shared_flow(core, states); });
}

// ---- Names ----

Task<void> resolve_flow(unsigned) {
  for (const char* literal : {"192.0.2.7", "2001:db8::7"}) {
    Result<std::vector<IpAddress>> addresses = co_await within(20s, resolve(literal));
    CO_ASSERT(addresses && addresses->size() == 1);
    EXPECT_EQ(addresses->front().to_string(), literal);
  }
}

// A server opens the listeners of all its cores in one place; each then serves, and closes, on its own.
Task<bool> serve_elsewhere(io::Handle handle, io::Endpoint endpoint) {
  Listener listener(handle);
  Result<Socket> client = co_await within(10s, connect(endpoint));
  Result<Socket> accepted = co_await within(10s, listener.accept());
  co_await listener.close();
  co_return client && accepted;
}

Task<void> passed_listener_flow(unsigned core) {
  if (core != 0) co_return;
  Result<io::Handle> used = io::open_listener(loopback()), unused = io::open_listener(loopback());
  CO_ASSERT(used && unused);
  io::Endpoint endpoint = endpoint_of(*used, loopback());
  bool served = co_await on_core(1, [&] { return serve_elsewhere(*used, endpoint); });
  EXPECT_TRUE(served);
  struct Closing {
    static Task<bool> close(io::Handle handle) {
      io::close(handle);
      co_return true;
    }
  };
  EXPECT_TRUE(co_await on_core(1, [&] { return Closing::close(*unused); }));
}

TEST(Listener, MayBeOpenedOnOneCoreAndServedOnAnother) { run_on_cores(2, passed_listener_flow); }

TEST(Resolve, ALiteralAddressIsItsOwnAnswer) { run_on_cores(1, resolve_flow); }

Task<void> resolve_into(std::string name, Result<std::vector<IpAddress>>* out) { *out = co_await resolve(name); }
Task<void> stop_resolve_flow(unsigned) {
  Result<std::vector<IpAddress>> result;
  TaskScope scope(&co_await current_context());
  scope.request_stop();
  scope.spawn(resolve_into("name.example.test", &result));
  EXPECT_EQ(scope.live(), 0u);
  CO_ASSERT(!result);
  EXPECT_TRUE(is(result.error(), CoreError::canceled));
}

TEST(Resolve, AStoppedFlowAsksNobody) { run_on_cores(1, stop_resolve_flow); }

Task<void> stopped_listener(unsigned) {
  auto handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  io::Endpoint endpoint = endpoint_of(*handle, loopback());
  Listener listener(*handle);
  auto first = co_await within(10s, connect(endpoint));
  CO_ASSERT(first && co_await within(10s, listener.accept()));
  listener.set_accepting(false);
  auto resting = co_await within(20ms, listener.accept());  // also gives the operation time to end
  CO_ASSERT(!resting);
  EXPECT_TRUE(is(resting.error(), CoreError::timed_out));
  auto second = co_await within(10s, connect(endpoint));
  CO_ASSERT(second);
  auto nothing = co_await within(20ms, listener.accept());
  CO_ASSERT(!nothing);
  listener.set_accepting(true);
  EXPECT_TRUE(co_await within(10s, listener.accept()));
  listener.stop();
  auto end = co_await within(10s, listener.accept());
  CO_ASSERT(!end);
  EXPECT_TRUE(is(end.error(), CoreError::closed));
  co_await listener.close();
}

TEST(Listener, RestsAndStopsWithoutLosingWhoHasCome) { run_on_cores(1, stopped_listener); }

}  // namespace
}  // namespace bellhop
