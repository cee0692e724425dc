// SPDX-License-Identifier: Apache-2.0
#include "service/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "core/sim/world.h"
#include "core/sleep.h"
#include "tests/core/run.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr Duration kWatchdog = 2s;

LogOptions log_options(unsigned core) {
  LogOptions options;
  options.sink.write = [](void*, std::string_view line) { io::write_log(line); };
  options.wall_now = &io::wall_now;
  options.core = core;
  return options;
}

size_t pings(Instant from, Instant to) {
  size_t count = 0;
  for (const auto& sent : sim::world().notified()) count += sent.message == "WATCHDOG=1" && sent.at >= from && sent.at < to;
  return count;
}

// Lets core `core` tick for so long.
Task<void> tick_for(Supervisor* supervisor, Log* log, Duration time) {
  TaskScope ticking(&co_await current_context());
  ticking.spawn(supervisor->tick(*log));
  (void)co_await sleep_for(time);
  ticking.request_stop();
  co_await ticking.join();
}

struct StuckCore {
  Supervisor supervisor{{.notify_socket = "/run/notify", .watchdog = kWatchdog}, 3};
  Instant begun{};

  // Core 2 is stuck from 10 s to 20 s: its timers do not run.
  Task<void> run(unsigned core) {
    if (core == 0) begun = io::now();
    Log log(log_options(core));
    if (core != 2) {
      co_await tick_for(&supervisor, &log, 30s);
      co_return;
    }
    co_await tick_for(&supervisor, &log, 10s);
    (void)co_await sleep_for(10s);
    co_await tick_for(&supervisor, &log, 10s);
  }
};

TEST(SupervisorTest, PingsComeWhileEveryCoreTicksAndStopWhileOneIsStuck) {
  StuckCore stuck;
  test::run_on_cores(3, [&](unsigned core) { return stuck.run(core); });
  EXPECT_GE(pings(stuck.begun, stuck.begun + 10s), 15u);
  EXPECT_EQ(pings(stuck.begun + 11s + kWatchdog / 4, stuck.begun + 20s), 0u);
  EXPECT_GE(pings(stuck.begun + 21s, stuck.begun + 30s), 14u);
  std::string log = sim::world().log();
  size_t first = log.find("core_silent");
  ASSERT_NE(first, std::string::npos) << log;
  EXPECT_THAT(log, HasSubstr(R"("silent_core":2)"));
  EXPECT_EQ(log.find("core_silent", first + 1), std::string::npos) << "told once";
}

Task<void> tell(unsigned) {
  Log log(log_options(0));
  Supervisor supervisor({.notify_socket = "@manager", .watchdog = {}}, 1);
  co_await supervisor.tick(log);  // without a watchdog there is nothing to do
  supervisor.ready(log, "serving");
  supervisor.reloading(log);
  supervisor.stopping(log);
  Supervisor nobody({}, 1);
  nobody.ready(log, "serving");
}

TEST(SupervisorTest, TellsWhatTheServerDoesInTheManagersWords) {
  test::run_on_cores(1, &tell);
  const auto& sent = sim::world().notified();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[0].socket_path, "@manager");
  EXPECT_EQ(sent[0].message, "READY=1\nSTATUS=serving");
  EXPECT_THAT(sent[1].message, StartsWith("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_EQ(sent[2].message, "STOPPING=1\nSTATUS=draining");
}

Task<void> tell_nobody(unsigned) {
  sim::world().notify_error = ECONNREFUSED;
  Log log(log_options(0));
  Supervisor supervisor({.notify_socket = "/run/notify", .watchdog = {}}, 1);
  supervisor.ready(log, "serving");
  supervisor.stopping(log);
  co_return;
}

TEST(SupervisorTest, AManagerThatDoesNotListenIsLoggedOnce) {
  test::run_on_cores(1, &tell_nobody);
  std::string log = sim::world().log();
  size_t first = log.find("service_manager_unreachable");
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(log.find("service_manager_unreachable", first + 1), std::string::npos);
}

}  // namespace
}  // namespace bellhop::service
