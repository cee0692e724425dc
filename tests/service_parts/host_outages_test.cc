// SPDX-License-Identifier: Apache-2.0
#include "service/host_outages.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace bellhop::service {
namespace {

constexpr std::string_view kHost = "https://mail.example.com";
constexpr uint32_t kFrequency_s = 1'800;
constexpr HostOutageRules kRules = {.share_percent = 50, .mailboxes_min = 20, .probe_interval_s = 60};

// A host with so many mailboxes, of which so many are late; its last callback came at 1,000.
uint16_t host_with(HostOutages& hosts, int mailboxes, int late) {
  uint16_t id = hosts.id_of(kHost, 1'000);
  for (int i = 0; i < mailboxes; ++i) EXPECT_EQ(hosts.join(id), 0);
  for (int i = 0; i < late; ++i) EXPECT_TRUE(hosts.mark_late(id, 0));
  return id;
}

TEST(HostOutagesTest, BeginWhereMostAreLateAndNobodySpeaks) {
  HostOutages hosts;
  uint16_t id = host_with(hosts, 1'000, 500);
  auto outage = hosts.judge(id, 2'000, kFrequency_s, kRules);
  ASSERT_TRUE(outage);
  EXPECT_EQ(outage->origin, kHost);
  EXPECT_EQ(outage->mailboxes, 1'000u);
  EXPECT_EQ(outage->late, 500u);
  EXPECT_EQ(outage->since_s, 1'000u);
  EXPECT_TRUE(hosts.silent(id));
  EXPECT_FALSE(hosts.judge(id, 2'001, kFrequency_s, kRules)) << "it is told once";
  ASSERT_EQ(hosts.silent_hosts().size(), 1u);
  EXPECT_EQ(hosts.silent_hosts()[0].late, 500u);
}

// A mailbox that stays silent through so many outages comes back to a number that was its own.
TEST(HostOutagesTest, MayBeginAndEndAsOftenAsTheyLike) {
  HostOutages hosts;
  constexpr HostOutageRules kOne = {.share_percent = 50, .mailboxes_min = 1, .probe_interval_s = 60};
  uint16_t id = host_with(hosts, 1, 1);
  uint32_t now = 10'000;
  ASSERT_TRUE(hosts.judge(id, now, kFrequency_s, kOne));
  ASSERT_TRUE(hosts.contact(id, now));
  for (int epoch = 1; epoch < 256; ++epoch) {
    EXPECT_EQ(hosts.join(id), epoch);
    ASSERT_TRUE(hosts.mark_late(id, static_cast<uint8_t>(epoch)));
    now += 10'000;
    ASSERT_TRUE(hosts.judge(id, now, kFrequency_s, kOne));
    ASSERT_TRUE(hosts.contact(id, now));
  }
  EXPECT_TRUE(hosts.current(id, 0));
  hosts.unmark_late(id, 0);
  hosts.leave(id, 0, true);
  EXPECT_TRUE(hosts.mark_late(id, 0));
  EXPECT_FALSE(hosts.judge(id, now + 10'000, kFrequency_s, kOne)) << "nobody is counted";
  EXPECT_EQ(hosts.join(id), 0);
}

TEST(HostOutagesTest, DoNotBeginWhereTooFewAreLate) {
  HostOutages hosts;
  uint16_t id = host_with(hosts, 1'000, 499);
  EXPECT_FALSE(hosts.judge(id, 9'000, kFrequency_s, kRules));
  HostOutages small;
  uint16_t few = host_with(small, 19, 19);
  EXPECT_FALSE(small.judge(few, 9'000, kFrequency_s, kRules)) << "so few are no storm";
}

TEST(HostOutagesTest, DoNotBeginWhileOthersOfTheHostSpeak) {
  HostOutages hosts;
  uint16_t id = host_with(hosts, 1'000, 900);
  EXPECT_FALSE(hosts.contact(id, 2'000));
  EXPECT_FALSE(hosts.judge(id, 2'059, kFrequency_s, kRules));
  EXPECT_TRUE(hosts.judge(id, 2'060, kFrequency_s, kRules));
}

TEST(HostOutagesTest, WaitLongerForAHostThatSpeaksSeldom) {
  HostOutages hosts;  // 40 mailboxes speak every 45 seconds
  uint16_t id = host_with(hosts, 40, 30);
  EXPECT_FALSE(hosts.judge(id, 1'899, kFrequency_s, kRules));
  EXPECT_TRUE(hosts.judge(id, 1'900, kFrequency_s, kRules));
}

TEST(HostOutagesTest, EndWithTheFirstCallbackAndBeginANewEpoch) {
  HostOutages hosts;
  uint16_t id = host_with(hosts, 100, 100);
  ASSERT_TRUE(hosts.judge(id, 5'000, kFrequency_s, kRules));
  EXPECT_EQ(hosts.spoke_again_s(id), 0u);
  auto recovery = hosts.contact(id, 9'000);
  ASSERT_TRUE(recovery);
  EXPECT_EQ(recovery->silent_s, 8'000u);
  EXPECT_FALSE(hosts.contact(id, 9'001)) << "it is told once";
  EXPECT_FALSE(hosts.silent(id));
  EXPECT_EQ(hosts.spoke_again_s(id), 9'000u);
  EXPECT_FALSE(hosts.current(id, 0));
  EXPECT_TRUE(hosts.current(id, 1));
  EXPECT_FALSE(hosts.mark_late(id, 0)) << "who is silent since before does not count again";
  hosts.unmark_late(id, 0);
  hosts.leave(id, 0, true);
  EXPECT_EQ(hosts.join(id), 1);
  EXPECT_FALSE(hosts.judge(id, 20'000, kFrequency_s, kRules));
}

TEST(HostOutagesTest, CountThoseThatAreLateNoMore) {
  HostOutages hosts;
  uint16_t id = host_with(hosts, 100, 50);
  hosts.unmark_late(id, 0);
  EXPECT_FALSE(hosts.judge(id, 5'000, kFrequency_s, kRules));
  hosts.leave(id, 0, false);
  hosts.leave(id, 0, false);
  EXPECT_TRUE(hosts.judge(id, 5'000, kFrequency_s, kRules)) << "49 of 98";
}

TEST(HostOutagesTest, GiveOneProbeInAnInterval) {
  HostOutages hosts;
  uint16_t id = host_with(hosts, 100, 100);
  EXPECT_FALSE(hosts.take_probe(id, 4'999, 60)) << "it is not silent";
  ASSERT_TRUE(hosts.judge(id, 5'000, kFrequency_s, kRules));
  EXPECT_TRUE(hosts.take_probe(id, 5'000, 60));
  EXPECT_FALSE(hosts.take_probe(id, 5'059, 60));
  EXPECT_TRUE(hosts.take_probe(id, 5'060, 60));
  hosts.contact(id, 5'100);
  EXPECT_FALSE(hosts.take_probe(id, 9'000, 60));
}

TEST(HostOutagesTest, HostsBeyondTheBoundHaveNoOutages) {
  HostOutages hosts;
  for (size_t i = 0; i < HostOutages::kHostsMax; ++i) {
    ASSERT_EQ(hosts.id_of("https://mail" + std::to_string(i) + ".example.com", 1), i + 1);
  }
  uint16_t none = hosts.id_of(kHost, 1);
  EXPECT_EQ(none, HostOutages::kNoHost);
  EXPECT_EQ(hosts.id_of("https://mail7.example.com", 9), 8u);
  EXPECT_EQ(hosts.origin(8), "https://mail7.example.com");
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(hosts.mark_late(none, hosts.join(none)));
  EXPECT_FALSE(hosts.judge(none, 9'000, kFrequency_s, kRules));
  EXPECT_FALSE(hosts.contact(none, 9'000));
  EXPECT_TRUE(hosts.current(none, 0));
}

TEST(HostOutagesTest, ManyCoresAreToldOnceThatItBeganAndOnceThatItEnded) {
  HostOutages hosts;
  uint16_t id = hosts.id_of(kHost, 1'000);
  std::atomic<int> began = 0, ended = 0;
  auto on_all = [](auto work) {
    std::vector<std::thread> cores;
    for (int i = 0; i < 4; ++i) cores.emplace_back(work);
    for (std::thread& core : cores) core.join();
  };
  for (uint8_t epoch = 0; epoch < 20; ++epoch) {
    uint32_t now = 10'000 + epoch * 10'000u;
    on_all([&] {
      for (int i = 0; i < 100; ++i) EXPECT_EQ(hosts.join(id), epoch);
      for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(hosts.mark_late(id, epoch));
        if (hosts.judge(id, now, kFrequency_s, kRules)) ++began;
      }
    });
    EXPECT_EQ(began, epoch + 1);
    on_all([&] {
      if (hosts.contact(id, now)) ++ended;
    });
    EXPECT_EQ(ended, epoch + 1);
  }
}

}  // namespace
}  // namespace bellhop::service
