// SPDX-License-Identifier: Apache-2.0
#include "core/channel.h"

#include <cerrno>
#include <cstdio>

#include "core/sleep.h"
#include "tests/core/run.h"

namespace bellhop {
namespace {

using test::loopback;
using test::run_on_cores;
using test::unix_endpoint;

struct Ends {
  std::string path = unix_endpoint().unix_path;
  std::optional<ChannelListener> door;
  Channel client, server;

  Task<bool> open() {
    auto listener = ChannelListener::open(path);
    EXPECT_TRUE(listener) << error_text(listener.error());
    if (!listener) co_return false;
    door.emplace(*std::move(listener));
    auto connected = io::connect_channel(path);
    EXPECT_TRUE(connected) << error_text(connected.error());
    if (!connected) co_return false;
    client = Channel(*std::move(connected));
    auto accepted = co_await within(10s, door->accept());
    EXPECT_TRUE(accepted) << error_text(accepted.error());
    if (!accepted) co_return false;
    server = *std::move(accepted);
    co_return true;
  }
  ~Ends() { std::remove(path.c_str()); }
};

// Begun before the receiver, it goes on when that one waits.
Task<void> send_later(Channel* channel) {
  co_await yield_now();
  EXPECT_TRUE(channel->send("later"));
}

Task<void> messages(unsigned) {
  Ends ends;
  CO_ASSERT(co_await ends.open());
  EXPECT_TRUE(ends.client.send("one"));
  EXPECT_TRUE(ends.client.send("two"));
  for (std::string_view expected : {"one", "two"}) {
    auto message = co_await within(10s, ends.server.receive());
    CO_ASSERT(message);
    EXPECT_EQ(message->text, expected);
    EXPECT_TRUE(message->descriptors.empty());
  }
  TaskScope scope(&co_await current_context());
  scope.spawn(send_later(&ends.server));
  auto later = co_await within(10s, ends.client.receive());
  CO_ASSERT(later);
  EXPECT_EQ(later->text, "later");
  co_await scope.join();
}

TEST(Channel, GivesMessagesWholeAndInOrder) { run_on_cores(1, messages); }

Task<void> ends_of_channels(unsigned) {
  Ends ends;
  CO_ASSERT(co_await ends.open());
  auto nothing = co_await within(5ms, ends.server.receive());
  CO_ASSERT(!nothing);
  EXPECT_TRUE(is(nothing.error(), CoreError::timed_out));  // and the wait is forgotten
  EXPECT_TRUE(ends.client.send("last"));
  ends.client.close();
  auto last = co_await within(10s, ends.server.receive());
  CO_ASSERT(last);
  EXPECT_EQ(last->text, "last");
  auto end = co_await within(10s, ends.server.receive());
  CO_ASSERT(!end);
  EXPECT_TRUE(is(end.error(), CoreError::closed));
  EXPECT_TRUE(is(ends.server.send("nobody").error(), CoreError::closed));
}

TEST(Channel, TellsThatTheOtherSideIsGone) { run_on_cores(1, ends_of_channels); }

Task<void> nobody(unsigned) {
  std::string path = unix_endpoint().unix_path + "-nobody";
  EXPECT_EQ(io::connect_channel(path).error(), os_error(ENOENT));
  { CO_ASSERT(ChannelListener::open(path)); }
  EXPECT_EQ(io::connect_channel(path).error(), os_error(ECONNREFUSED));
  std::remove(path.c_str());
  co_return;
}

TEST(Channel, SaysWhereNobodyListens) { run_on_cores(1, nobody); }

// A connection waits in a listening socket; its owner gives the socket away and closes it.
Task<void> sockets(unsigned) {
  Ends ends;
  CO_ASSERT(co_await ends.open());
  auto handle = io::open_listener(loopback(), true);
  CO_ASSERT(handle);
  io::Endpoint endpoint = test::endpoint_of(*handle, loopback());
  {
    auto shared = io::share_listener(*handle);
    CO_ASSERT(shared);
    int number = shared->get();
    EXPECT_TRUE(ends.client.send("socket", {&number, 1}));
  }
  auto message = co_await within(10s, ends.server.receive());
  CO_ASSERT(message && message->descriptors.size() == 1);
  auto place = io::inherited_endpoint(message->descriptors[0].get());
  CO_ASSERT(place);
  EXPECT_EQ(place->to_string(), endpoint.to_string());
  auto adopted = io::adopt_listener(message->descriptors[0].get());
  CO_ASSERT(adopted);
  message->descriptors.clear();
  Listener successor(*adopted);
  successor.set_accepting(false);

  Listener before(*handle);
  before.set_accepting(false);
  auto client = co_await within(10s, connect(endpoint));
  CO_ASSERT(client);
  co_await before.close();
  successor.set_accepting(true);
  auto server = co_await within(10s, successor.accept());
  CO_ASSERT(server);
  EXPECT_TRUE(co_await client->send(as_bytes(std::string_view("hello"))));
  auto chunk = co_await within(10s, server->receive());
  CO_ASSERT(chunk);
  EXPECT_EQ(as_text(chunk->bytes()), "hello");
  co_await successor.close();
}

TEST(Channel, AListeningSocketGivenAwayKeepsWhoWaitsInIt) { run_on_cores(1, sockets); }

Task<void> memory_files(unsigned) {
  Ends ends;
  CO_ASSERT(co_await ends.open());
  const uint8_t first[] = {1, 2, 3, 4}, second[] = {5, 6, 7, 8};
  auto file = io::make_memory_file("test", first);
  CO_ASSERT(file);
  int number = file->get();
  EXPECT_TRUE(ends.client.send("file", {&number, 1}));
  EXPECT_TRUE(io::write_memory_file(file->get(), second));
  file->close();
  auto message = co_await within(10s, ends.server.receive());
  CO_ASSERT(message && message->descriptors.size() == 1);
  auto content = io::read_memory_file(message->descriptors[0].get());
  CO_ASSERT(content);
  EXPECT_EQ(*content, std::vector<uint8_t>(std::begin(second), std::end(second)));
}

TEST(MemoryFile, IsOneForAllWhoHoldIt) { run_on_cores(1, memory_files); }

Task<void> locks(unsigned) {
  std::string path = unix_endpoint().unix_path;
  auto first = io::open_lock_file(path), second = io::open_lock_file(path);
  CO_ASSERT(first && second);
  EXPECT_TRUE(*io::try_lock(*first));
  EXPECT_FALSE(*io::try_lock(*second));
  EXPECT_TRUE(*io::try_lock(*first));  // it is ours
  first->close();
  EXPECT_TRUE(*io::try_lock(*second));
  std::remove(path.c_str());
  co_return;
}

TEST(LockFile, IsHeldByOneUntilItIsClosed) { run_on_cores(1, locks); }

}  // namespace
}  // namespace bellhop
