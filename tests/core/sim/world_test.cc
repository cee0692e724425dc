// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include "tests/core/sim/scenario.h"

namespace bellhop {
namespace {

using sim::world;
using test::options_of;

Task<void> resolve_all(std::vector<Result<std::vector<IpAddress>>>* out) {
  for (const char* name : {"Push.Example.TEST", "missing.example.test", "broken.example.test", "silent.example.test"}) {
    out->push_back(co_await within(5s, resolve(name)));
  }
}

TEST(World, NamesComeFromItsTable) {
  IpAddress v4 = *IpAddress::parse("192.0.2.1"), v6 = *IpAddress::parse("2001:db8::1");
  world().set_host("push.example.test", {v4, v6});
  world().set_host_error("broken.example.test", sim::kLookupServerFailure);
  world().set_host_silent("silent.example.test");
  std::vector<Result<std::vector<IpAddress>>> results;
  ASSERT_TRUE(io::run_cluster(options_of(1), [&](unsigned) { return resolve_all(&results); }));
  ASSERT_EQ(results.size(), 4u);
  ASSERT_TRUE(results[0]);
  EXPECT_THAT(*results[0], ::testing::ElementsAre(v4, v6));
  ASSERT_FALSE(results[1]);
  EXPECT_EQ(error_text(results[1].error()), "dns: the name does not exist");
  ASSERT_FALSE(results[2]);
  EXPECT_EQ(error_text(results[2].error()), "dns: the name server failed");
  ASSERT_FALSE(results[3]);
  EXPECT_TRUE(is(results[3].error(), CoreError::timed_out));
}

using Services = Result<std::vector<io::ServiceRecord>>;
Task<void> ask_service(std::string name, Services* out) { *out = co_await within(5s, resolve_service(std::move(name))); }

TEST(World, ServiceRecordsComeByTheirPriorities) {
  world().set_service("_x._tcp.example.test", {{"c", 3, 2, 0}, {"a", 1, 0, 0}, {"b", 2, 1, 0}});
  Services found;
  ASSERT_TRUE(io::run_cluster(options_of(1), [&](unsigned) { return ask_service("_X._tcp.example.test", &found); }));
  ASSERT_TRUE(found);
  std::vector<std::string> hosts;
  for (const io::ServiceRecord& record : *found) hosts.push_back(record.host);
  EXPECT_THAT(hosts, ::testing::ElementsAre("a", "b", "c"));
}

Task<void> ask_often(int count, int* heavy_first) {
  for (int i = 0; i < count; ++i) {
    Services found = co_await within(5s, resolve_service("_x._tcp.example.test"));
    BH_CHECK(found && found->size() == 3);
    EXPECT_EQ(found->back().host, "last") << "another priority";
    *heavy_first += found->front().host == "heavy";
  }
}

TEST(World, AmongEqualPrioritiesTheWeightIsTheShare) {
  world().faults = sim::Faults::none();
  world().set_service("_x._tcp.example.test", {{"last", 3, 2, 900}, {"light", 1, 0, 10}, {"heavy", 2, 0, 30}});
  int heavy_first = 0;
  ASSERT_TRUE(io::run_cluster(options_of(1), [&](unsigned) { return ask_often(1000, &heavy_first); }));
  EXPECT_GT(heavy_first, 670);
  EXPECT_LT(heavy_first, 810);
}

TEST(World, ANameMayHaveAddressesAndNoServices) {
  world().set_host("plain.example.test", {*IpAddress::parse("192.0.2.1")});
  Services found;
  ASSERT_TRUE(io::run_cluster(options_of(1), [&](unsigned) { return ask_service("plain.example.test", &found); }));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, sim::kLookupNoData);
}

Task<void> sleep_long(Duration duration) { EXPECT_TRUE(co_await sleep_for(duration)); }

TEST(World, TimeJumpsOverWhatNobodyDoes) {
  ASSERT_TRUE(io::run_cluster(options_of(1), [](unsigned) { return sleep_long(20 * 24h); }));
  EXPECT_GE(world().elapsed(), 20 * 24h);
  EXPECT_LT(world().elapsed(), 20 * 24h + 1s);
  EXPECT_LT(world().events(), 1000u);
}

Task<void> shift_clock() {
  Instant instant = io::now();
  WallTime before = io::wall_now();
  world().shift_wall_clock(-10h);
  WallTime after = io::wall_now();
  EXPECT_LT(after, before - 9h);
  EXPECT_LT(io::now() - instant, 1ms);
  EXPECT_TRUE(co_await sleep_for(1h));
  EXPECT_GE(io::wall_now() - after, 1h);
}

TEST(World, TheWallClockMovesWithoutTheMonotonicOne) {
  ASSERT_TRUE(io::run_cluster(options_of(1), [](unsigned) { return shift_clock(); }));
}

Task<void> use_files() {
  Result<std::string> content = io::read_file("/etc/bellhop/config.toml");
  CO_ASSERT(content);
  EXPECT_EQ(*content, "text");
  Result<io::FileInfo> info = io::file_info("/etc/bellhop/config.toml");
  CO_ASSERT(info);
  EXPECT_EQ(info->size, 4u);
  EXPECT_EQ(info->mode, 0400u);
  EXPECT_FALSE(info->owned_by_us);
  EXPECT_EQ(io::read_file("/etc/none").error(), os_error(ENOENT));
  EXPECT_EQ(io::read_file("/etc/bellhop").error(), os_error(EISDIR));
  EXPECT_EQ(io::write_file("/var/lib/bellhop/state", as_bytes("1"), 0600).error(), os_error(ENOENT));
  EXPECT_TRUE(io::make_folder("/var/lib/bellhop", 0700));
  EXPECT_TRUE(io::make_folder("/var/lib/bellhop", 0700));
  EXPECT_EQ(io::make_folder("/etc/bellhop/config.toml/x", 0700).error(), os_error(ENOTDIR));
  EXPECT_TRUE(io::write_file("/var/lib/bellhop/state", as_bytes("1"), 0600));
  world().write_error = ENOSPC;
  EXPECT_EQ(io::write_file("/var/lib/bellhop/state", as_bytes("2"), 0600).error(), os_error(ENOSPC));
  EXPECT_EQ(*io::read_file("/var/lib/bellhop/state"), "1");
  world().write_error = 0;
  io::write_log("first line\n");
  EXPECT_TRUE(io::set_log_file("/var/lib/bellhop/log"));
  io::write_log("second line\n");
  co_return;
}

TEST(World, FilesLiveInMemoryAndOutliveTheRun) {
  world().clear_files();
  world().set_file("/etc/bellhop/config.toml", "text", 0400, false);
  ASSERT_TRUE(io::run_cluster(options_of(1), [](unsigned) { return use_files(); }));
  EXPECT_EQ(world().log(), "first line\nsecond line\n");
  ASSERT_TRUE(world().file("/var/lib/bellhop/log"));
  EXPECT_EQ(world().file("/var/lib/bellhop/log")->content, "second line\n");
  ASSERT_TRUE(world().file("/var/lib/bellhop/state"));
  EXPECT_EQ(world().file("/var/lib/bellhop/state")->mode, 0600u);
  world().clear_files();
  EXPECT_FALSE(world().file("/var/lib/bellhop/state"));
}

Task<void> take_signals(std::vector<int>* numbers) {
  for (int i = 0; i < 3; ++i) {
    Result<int> number = co_await next_signal();
    CO_ASSERT(number);
    numbers->push_back(*number);
    if (i == 1) world().raise_signal(1);
  }
  Result<int> none = co_await within(1s, next_signal());
  EXPECT_TRUE(!none && is(none.error(), CoreError::timed_out));
}

TEST(World, SignalsWaitUntilTheyAreTaken) {
  world().raise_signal(15);
  world().raise_signal(2);
  std::vector<int> numbers;
  ASSERT_TRUE(io::run_cluster(options_of(1), [&](unsigned) { return take_signals(&numbers); }));
  EXPECT_THAT(numbers, ::testing::ElementsAre(15, 2, 1));
}

Task<void> see_client(std::string* seen) {
  const io::Endpoint service = {.tcp = *SocketAddress::parse("[2001:db8::5]:443"), .unix_path = {}};
  Result<io::Handle> handle = io::open_listener({.tcp = *SocketAddress::parse("[::]:443"), .unix_path = {}});
  CO_ASSERT(handle);
  Listener listener(*handle);
  world().client_address = *IpAddress::parse("2001:db8::99");
  Result<Socket> client = co_await connect(service);
  CO_ASSERT(client);
  Result<Socket> server = co_await listener.accept();
  CO_ASSERT(server);
  Result<SocketAddress> address = co_await server->peer_address();
  CO_ASSERT(address);
  *seen = address->ip.to_string();
  co_await listener.close();
}

TEST(World, ClientsComeFromWhereTheTestSays) {
  std::string seen;
  ASSERT_TRUE(io::run_cluster(options_of(1), [&](unsigned) { return see_client(&seen); }));
  EXPECT_EQ(seen, "2001:db8::99");
}

}  // namespace
}  // namespace bellhop
