// SPDX-License-Identifier: Apache-2.0
#include "tests/core/sim/scenario.h"

namespace bellhop::test {

Task<void> echo_until_end(Socket socket) {
  for (;;) {
    std::string text;
    {
      Result<Chunk> chunk = co_await within(60s, socket.receive());
      if (!chunk || chunk->empty()) co_return;
      text = as_text(chunk->bytes());
    }
    if (!co_await socket.send(as_bytes(text))) co_return;
  }
}

Task<void> echo_server(Listener& listener) {
  TaskScope scope(&co_await current_context());
  for (;;) {
    Result<Socket> socket = co_await listener.accept();
    if (!socket) break;
    scope.spawn(echo_until_end(std::move(*socket)));
  }
  co_await scope.join();
}

namespace {

Task<void> send_into(Socket& socket, std::string_view text, Status* out) { *out = co_await socket.send(as_bytes(text)); }

Task<Result<std::string>> receive_text(Socket& socket, size_t size) {
  std::string text;
  while (text.size() < size) {
    BH_CO_TRY(Chunk chunk, co_await socket.receive());
    if (chunk.empty()) co_return fail(core_error(CoreError::closed));
    text += as_text(chunk.bytes());
  }
  co_return text;
}

}  // namespace

Task<Result<std::string>> ask_echo(io::Endpoint endpoint, std::string text) {
  BH_CO_TRY(Socket socket, co_await connect(endpoint));
  // Beside each other: an echo that is not read fills the buffers of both directions.
  Status sent;
  TaskScope sender(&co_await current_context());
  sender.spawn(send_into(socket, text, &sent));
  Result<std::string> back = co_await receive_text(socket, text.size());
  if (!back) sender.request_stop();
  co_await sender.join();
  if (!back && !sent && !is(sent.error(), CoreError::canceled)) co_return fail(sent.error());
  co_return back;
}

namespace {

struct Ends {
  size_t text_max;
  std::vector<unsigned> order;
};

Task<int> compute(int value) {
  EXPECT_TRUE(co_await sleep_for(std::chrono::microseconds(io::random_u64() % 5000)));
  co_return value + 1;
}

Task<void> talk(io::Endpoint endpoint, unsigned number, Ends* ends) {
  std::string text(1 + io::random_u64() % ends->text_max, static_cast<char>('a' + number % 26));
  Result<std::string> back = co_await within(60s, ask_echo(endpoint, text));
  EXPECT_TRUE(back && *back == text) << (back ? "other text" : error_text(back.error()));
  unsigned target = number % io::cores();
  EXPECT_EQ(co_await on_core(target, [number] { return compute(static_cast<int>(number)); }), static_cast<int>(number) + 1);
  EXPECT_EQ(co_await offload(io::Worker::general, [number] { return number; }), number);
  ends->order.push_back(number);
}

Task<void> busy_core(unsigned core, Ends* ends) {
  Result<io::Handle> handle = io::open_listener(loopback());
  CO_ASSERT(handle);
  Listener listener(*handle);
  TaskScope servers(&co_await current_context()), clients(&co_await current_context());
  servers.spawn(echo_server(listener));
  for (unsigned i = 0; i < 12; ++i) clients.spawn(talk(endpoint_of(*handle, loopback()), core * 12 + i, ends));
  co_await clients.join();
  co_await listener.close();
  co_await servers.join();
}

}  // namespace

void run_scenario(uint64_t seed, std::vector<unsigned>* order, size_t text_max) {
  Ends ends{.text_max = text_max, .order = {}};
  ASSERT_TRUE(io::run_cluster(options_of(seed, 3), [&](unsigned core) { return busy_core(core, &ends); }));
  EXPECT_EQ(ends.order.size(), 36u);
  if (order) *order = ends.order;
}

}  // namespace bellhop::test
