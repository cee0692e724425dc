// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cerrno>

#include "core/cross_core.h"
#include "core/io.h"
#include "core/sleep.h"
#include "core/socket.h"

namespace bellhop {
namespace {

Task<Status> echo_one(Socket socket) {
  for (;;) {
    BH_CO_TRY(Chunk chunk, co_await socket.receive());
    if (chunk.empty()) co_return Status();
    BH_CO_CHECKED(co_await socket.send(chunk.bytes()));
  }
}

Task<void> serve(Listener* listener, TaskScope* scope) {
  for (;;) {
    auto socket = co_await listener->accept();
    if (!socket) co_return;
    struct Run {
      static Task<void> one(Socket s) { (void)co_await echo_one(std::move(s)); }
    };
    scope->spawn(Run::one(*std::move(socket)));
  }
}

Task<Status> ping(SocketAddress address, std::string text, std::string* answer) {
  BH_CO_TRY(Socket socket, co_await within(5s, connect({address, {}})));
  BH_CO_CHECKED(co_await socket.send(as_bytes(text)));
  while (answer->size() < text.size()) {
    BH_CO_TRY(Chunk chunk, co_await within(5s, socket.receive()));
    if (chunk.empty()) co_return fail(core_error(CoreError::closed));
    answer->append(as_text(chunk.bytes()));
  }
  co_return Status();
}

Task<void> echo_flow(unsigned, size_t size, bool* passed) {
  auto handle = io::open_listener({{*IpAddress::parse("127.0.0.1"), 0}, {}});
  EXPECT_TRUE(handle);
  auto address = io::local_address(*handle);
  Listener listener(*handle);
  {
    TaskScope scope(&co_await current_context());
    scope.spawn(serve(&listener, &scope));
    std::string text(size, 'x'), answer;
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31);
    auto sent = co_await ping(*address, text, &answer);
    EXPECT_TRUE(sent) << error_text(sent.error());
    *passed = answer == text;
    co_await listener.close();
    scope.request_stop();
    co_await scope.join();
  }
}

TEST(Ring, EchoesOverLoopback) {
  bool passed = false;
  auto status = io::run_cluster({.cores = 1}, [&](unsigned core) { return echo_flow(core, 1000, &passed); });
  ASSERT_TRUE(status) << io::explain_start_failure(status.error());
  EXPECT_TRUE(passed);
}

TEST(Ring, SurvivesAnExhaustedReceivePool) {
  bool passed = false;
  auto status = io::run_cluster({.cores = 1, .receive_buffers = 16}, [&](unsigned core) { return echo_flow(core, 3000, &passed); });
  ASSERT_TRUE(status);
  EXPECT_TRUE(passed);
}

Task<int> add(int a, int b) { co_return a + b; }

Task<void> call_across(unsigned core, int* sum) {
  if (core != 0) co_return;
  for (int i = 0; i < 10000; ++i) *sum += co_await on_core(1, [i] { return add(i, 1); });
}

TEST(Cluster, CallsAnotherCoreAndBack) {
  int sum = 0;
  auto status = io::run_cluster({.cores = 2}, [&](unsigned core) { return call_across(core, &sum); });
  ASSERT_TRUE(status);
  EXPECT_EQ(sum, 10000 * 9999 / 2 + 10000);
}

Task<void> offload_flow(unsigned, int* value) {
  *value = co_await offload(io::Worker::general, [] { return 42; });
}

TEST(Cluster, RunsBlockingWorkOnAHelperThread) {
  int value = 0;
  ASSERT_TRUE(io::run_cluster({.cores = 1}, [&](unsigned core) { return offload_flow(core, &value); }));
  EXPECT_EQ(value, 42);
}

Task<void> resolve_flow(unsigned, Result<std::vector<IpAddress>>* answer) {
  *answer = co_await within(10s, resolve("localhost"));
}

TEST(Resolver, KnowsLocalhostFromTheHostsFile) {
  Result<std::vector<IpAddress>> answer;
  ASSERT_TRUE(io::run_cluster({.cores = 1}, [&](unsigned core) { (void)core; return resolve_flow(core, &answer); }));
  ASSERT_TRUE(answer) << error_text(answer.error());
  bool loopback = false;
  for (const IpAddress& ip : *answer) loopback |= ip.to_string() == "127.0.0.1" || ip.to_string() == "::1";
  EXPECT_TRUE(loopback);
}

TEST(StartFailure, NamesCauseAndRemedy) {
  std::string refused = io::explain_start_failure(os_error(EPERM, 1));
  EXPECT_NE(refused.find("sysctl -w kernel.io_uring_disabled=0"), std::string::npos) << refused;
  EXPECT_NE(refused.find("seccomp"), std::string::npos);
  EXPECT_NE(io::explain_start_failure(os_error(EINVAL, 1)).find("6.1"), std::string::npos);
  EXPECT_NE(io::explain_start_failure(os_error(ENOMEM, 2)).find("LimitMEMLOCK"), std::string::npos);
}

}  // namespace
}  // namespace bellhop
