// SPDX-License-Identifier: Apache-2.0
#include "service/silence_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <map>
#include <set>
#include <string>

namespace bellhop::service {
namespace {

constexpr std::string_view kHost = "https://mail.example.com";
constexpr uint32_t kMinute = 60, kHour = 3'600, kDay = 24 * kHour;
constexpr uint32_t kFrequency = 30 * kMinute;
constexpr uint32_t kLate = late_after_s(kFrequency), kLost = lost_after_s(kFrequency);

struct Ask {
  uint32_t at_s;
  uint64_t owner;
  bool probe;
};

// A core that looks once a second, and Exchange, which speaks when told.
struct Site {
  HostOutages hosts;
  uint32_t now = 1'000'000;
  SilenceRules rules;
  SilenceWatch watch{hosts, 100'000, now};
  std::vector<Ask> asks;
  std::vector<HostOutage> outages;
  std::vector<HostRecovery> recoveries;

  void heard(uint64_t owner, uint16_t minutes = 30, std::string_view origin = kHost) {
    if (auto recovery = watch.heard({.owner = owner, .frequency_minutes = minutes, .origin = origin}, now)) {
      recoveries.push_back(*recovery);
    }
  }
  void look() {
    SilenceFound found;
    while (watch.look(now, 64, rules, found)) {
    }
    for (const SilenceFound::Ask& ask : found.asks) asks.push_back({now, ask.owner, ask.probe});
    outages.insert(outages.end(), found.outages.begin(), found.outages.end());
  }
  // Until `until_s`, second by second; `speaks(owner)` of those below `owners` call once in a StatusFrequency.
  template <class F>
  void run_until(uint32_t until_s, uint64_t owners, F speaks) {
    for (; now < until_s; ++now) {
      for (uint64_t owner = now % kFrequency; owner < owners; owner += kFrequency) {
        if (speaks(owner)) heard(owner);
      }
      look();
    }
  }
  void run_until(uint32_t until_s) {
    run_until(until_s, 0, [](uint64_t) { return false; });
  }
  void run(uint32_t seconds) { run_until(now + seconds); }
  SilenceStage stage(uint64_t owner) const { return watch.state(owner, now).stage; }
  size_t count(bool probes) const {
    return static_cast<size_t>(std::ranges::count(asks, probes, &Ask::probe));
  }
};

TEST(SilenceWatchTest, AMailboxIsLateAfterOneStatusFrequencyAndLostAfterTwo) {
  Site site;
  site.heard(1);
  site.run(kLate);
  EXPECT_EQ(site.stage(1), SilenceStage::active);
  site.run(1);
  EXPECT_EQ(site.stage(1), SilenceStage::late);
  EXPECT_EQ(site.watch.count(SilenceStage::late), 1u);
  site.run(kLost - kLate - 1);
  EXPECT_EQ(site.stage(1), SilenceStage::late);
  EXPECT_TRUE(site.asks.empty());
  site.run(1);
  EXPECT_EQ(site.stage(1), SilenceStage::lost);
  EXPECT_EQ(site.watch.count(SilenceStage::lost), 1u);
  ASSERT_EQ(site.asks.size(), 1u);
  EXPECT_FALSE(site.asks[0].probe);
}

TEST(SilenceWatchTest, HeartbeatsInTimeNeverMakeAMailboxLate) {
  Site site;
  for (int i = 0; i < 200; ++i) {
    site.heard(1);
    site.run(kFrequency + 60);  // Exchange is a minute late each time
    ASSERT_EQ(site.stage(1), SilenceStage::active);
  }
  EXPECT_LE(site.watch.looks(), 500u) << "a look or two for a heartbeat";
}

TEST(SilenceWatchTest, ALateMailboxThatSpeaksIsWatchedAsClosely) {
  Site site;
  site.heard(1);
  site.run(kLate + 10);
  ASSERT_EQ(site.stage(1), SilenceStage::late);
  site.heard(1);
  EXPECT_EQ(site.stage(1), SilenceStage::active);
  uint32_t heard = site.now;
  site.run_until(heard + kLate);
  EXPECT_EQ(site.stage(1), SilenceStage::active);
  site.run(1);
  EXPECT_EQ(site.stage(1), SilenceStage::late) << "not a second later than the first time";
}

TEST(SilenceWatchTest, ALostMailboxThatSpeaksIsWatchedAsClosely) {
  Site site;
  site.heard(1);
  site.run(3 * kDay);
  ASSERT_EQ(site.stage(1), SilenceStage::lost);
  site.heard(1);
  EXPECT_EQ(site.stage(1), SilenceStage::active);
  EXPECT_EQ(site.watch.state(1, site.now).asks, 0);
  site.run(kLate + 1);
  EXPECT_EQ(site.stage(1), SilenceStage::late);
}

TEST(SilenceWatchTest, AsksAfter15MinutesAnHourSixHoursAndThenDaily) {
  Site site;
  site.heard(1);
  uint32_t lost = site.now + kLost;
  site.run(10 * kDay);
  ASSERT_GE(site.asks.size(), 10u);
  uint32_t before = lost;
  EXPECT_LE(site.asks[0].at_s - lost, 1u);
  constexpr uint32_t kWaits[] = {15 * kMinute, kHour, 6 * kHour, kDay, kDay, kDay, kDay, kDay, kDay};
  for (size_t i = 0; i < std::size(kWaits); ++i) {
    uint32_t waited = site.asks[i + 1].at_s - site.asks[i].at_s;
    EXPECT_GE(waited, kWaits[i] - kWaits[i] / 10) << i;
    EXPECT_LE(waited, kWaits[i] + kWaits[i] / 10) << i;
    before = site.asks[i].at_s;
  }
  EXPECT_GT(before, lost);
  Supervised state = site.watch.state(1, site.now);
  EXPECT_EQ(state.asks, site.asks.size());
  ASSERT_TRUE(state.next_ask_in_s);
  EXPECT_LE(*state.next_ask_in_s, kDay + kDay / 10);
}

TEST(SilenceWatchTest, AsksAreSpreadEvenWhereManyWereLostAtOnce) {
  Site site;
  site.rules.hosts.mailboxes_min = 1'000'000;  // no outage
  for (uint64_t owner = 0; owner < 200; ++owner) site.heard(owner);
  site.run(kLost + 1'200);
  std::map<uint32_t, int> second_asks;
  for (size_t i = 200; i < site.asks.size(); ++i) ++second_asks[site.asks[i].at_s];
  EXPECT_EQ(site.asks.size(), 400u);
  EXPECT_GT(second_asks.size(), 60u);
}

TEST(SilenceWatchTest, NeverAsksMoreInASecondThanItMay) {
  Site site;
  site.rules.hosts.mailboxes_min = 1'000'000;  // no outage
  site.rules.asks_per_second_max = 7;
  for (uint64_t owner = 0; owner < 5'000; ++owner) site.heard(owner);
  site.run(kLost + 710);
  std::map<uint32_t, int> in_second;
  std::set<uint64_t> asked;
  for (const Ask& ask : site.asks) {
    ++in_second[ask.at_s];
    asked.insert(ask.owner);
  }
  for (auto [at, count] : in_second) EXPECT_LE(count, 7) << at;
  EXPECT_GE(asked.size(), 4'900u) << "and keeps to what it may";
}

TEST(SilenceWatchTest, AsksThatFellIntoAPauseOfOursDoNotGoOutAtOnce) {
  Site site;
  site.rules.hosts.mailboxes_min = 1'000'000;  // no outage
  site.rules.asks_per_second_max = 10;
  for (uint64_t owner = 0; owner < 2'000; ++owner) site.heard(owner);
  site.run(kLost + 2);
  size_t before = site.asks.size();
  site.now += 150;  // nobody looked
  site.look();
  EXPECT_LE(site.asks.size() - before, 20u);
  site.run(200);
  EXPECT_EQ(std::ranges::count_if(site.asks, [](const Ask& ask) { return ask.probe; }), 0);
  EXPECT_GE(site.asks.size(), 1'900u);
}

TEST(SilenceWatchTest, AShorterStatusFrequencyCountsFromTheNextCallback) {
  Site site;
  site.heard(1, 1'440);
  site.run(100);
  site.heard(1, 5);
  site.run(late_after_s(300));
  EXPECT_EQ(site.stage(1), SilenceStage::active);
  site.run(1);
  EXPECT_EQ(site.stage(1), SilenceStage::late);
  EXPECT_EQ(site.watch.size(), 1u);
}

TEST(SilenceWatchTest, ALongerStatusFrequencyCountsFromTheNextCallback) {
  Site site;
  site.heard(1, 5);
  site.heard(1, 1'440);
  site.run(late_after_s(kDay));
  EXPECT_EQ(site.stage(1), SilenceStage::active);
  site.run(1);
  EXPECT_EQ(site.stage(1), SilenceStage::late);
}

TEST(SilenceWatchTest, AMailboxThatIsRemovedWhileItWaitsIsNeverAskedFor) {
  Site site;
  for (uint64_t owner = 0; owner < 10; ++owner) site.heard(owner);
  site.run(kLate + 1);
  for (uint64_t owner = 0; owner < 9; ++owner) site.watch.forget(owner);
  EXPECT_EQ(site.watch.size(), 1u);
  EXPECT_EQ(site.watch.count(SilenceStage::late), 1u);
  site.run(kDay);
  for (const Ask& ask : site.asks) EXPECT_EQ(ask.owner, 9u);
  EXPECT_FALSE(site.asks.empty());
  site.watch.forget(77);  // was never there
}

TEST(SilenceWatchTest, AMailboxThatComesBackAfterItsRemovalBeginsAnew) {
  Site site;
  site.heard(1);
  site.run(kLost + 10);
  site.watch.forget(1);
  site.heard(1);
  EXPECT_EQ(site.stage(1), SilenceStage::active);
  site.run(kLost - 1);
  EXPECT_EQ(site.stage(1), SilenceStage::late);
}

TEST(SilenceWatchTest, WhatIsReadFromTheStoreDoesNotOverrideACallback) {
  Site site;
  site.heard(1);
  site.run(kLate + 1);
  site.watch.stored(1, 30, site.hosts.id_of(kHost, site.now), site.now);
  EXPECT_EQ(site.stage(1), SilenceStage::late);
  site.watch.stored(2, 30, site.hosts.id_of(kHost, site.now), site.now);
  site.run(kLate);
  EXPECT_EQ(site.stage(2), SilenceStage::active);
  site.run(1);
  EXPECT_EQ(site.stage(2), SilenceStage::late) << "its silence counts from when we learned of it";
}

TEST(SilenceWatchTest, ANewSubscriptionThatNeverCallsIsFound) {
  Site site;
  site.watch.begun({.owner = 1, .frequency_minutes = 30, .origin = kHost}, site.now);
  site.run(kLost + 1);
  EXPECT_EQ(site.stage(1), SilenceStage::lost);
  EXPECT_EQ(site.asks.size(), 1u);
  site.watch.begun({.owner = 1, .frequency_minutes = 30, .origin = kHost}, site.now);
  EXPECT_EQ(site.stage(1), SilenceStage::active) << "the device did as it was asked";
}

TEST(SilenceWatchTest, AfterAStallOfOursNobodyIsLateBecauseOfUs) {
  Site site;
  for (uint64_t owner = 0; owner < 10; ++owner) site.heard(owner);
  site.run(60);
  site.now += 3 * kHour;  // the process was stopped
  site.watch.listen_from(site.now);
  uint32_t back = site.now;
  site.look();
  for (uint64_t owner = 0; owner < 10; ++owner) EXPECT_EQ(site.stage(owner), SilenceStage::active);
  site.run(kLate - 10);
  EXPECT_EQ(site.watch.count(SilenceStage::active), 10u);
  site.run(20);
  EXPECT_EQ(site.watch.count(SilenceStage::late), 10u);
  EXPECT_TRUE(site.asks.empty());
  site.run_until(back + grace_s(kFrequency) + kFrequency / 4 + 2);
  EXPECT_EQ(site.asks.size(), 10u) << "a subscription that lives speaks within a StatusFrequency";
}

TEST(SilenceWatchTest, MailboxesBeyondTheBoundAreCountedAndLeftOut) {
  HostOutages hosts;
  SilenceWatch watch(hosts, 3, 1'000);
  for (uint64_t owner = 0; owner < 5; ++owner) watch.heard({.owner = owner, .origin = kHost}, 1'000);
  EXPECT_EQ(watch.size(), 3u);
  EXPECT_EQ(watch.left_out(), 2u);
  EXPECT_EQ(watch.state(4, 9'000).stage, SilenceStage::active);
}

// ---- A whole host ----

constexpr uint64_t kMany = 10'000;
constexpr auto kAll = [](uint64_t) { return true; };

TEST(HostSilenceTest, TenThousandSubscriptionsThatFallSilentTogetherAreOneOutageAndNoStorm) {
  Site site;
  site.run_until(site.now + 2 * kHour, kMany, kAll);
  ASSERT_EQ(site.watch.size(), kMany);
  ASSERT_EQ(site.watch.count(SilenceStage::active), kMany);
  uint32_t died = site.now;
  site.run_until(died + 12 * kHour);
  ASSERT_EQ(site.outages.size(), 1u);
  EXPECT_EQ(site.outages[0].origin, kHost);
  EXPECT_GE(site.outages[0].late, kMany / 2);
  EXPECT_EQ(site.watch.count(SilenceStage::lost), kMany);
  EXPECT_EQ(site.count(false), 0u) << "nobody is asked because its subscription is lost";
  EXPECT_LE(site.count(true), 12 * 60u) << "one device a minute is tried";
  EXPECT_GE(site.count(true), 11 * 60u);
  std::set<uint64_t> tried;
  for (const Ask& ask : site.asks) tried.insert(ask.owner);
  EXPECT_GT(tried.size(), 400u) << "and not always the same";
  std::printf("12 h of silence of %lu mailboxes: %zu outage, %zu devices asked, %zu tried\n", kMany, site.outages.size(),
              site.count(false), site.count(true));
}

TEST(HostSilenceTest, AHostThatComesBackWithItsSubscriptionsAsksNobody) {
  Site site;
  site.run_until(site.now + kHour, kMany, kAll);
  uint32_t died = site.now;
  site.run_until(died + 50 * kMinute);
  ASSERT_EQ(site.outages.size(), 1u);
  size_t tried = site.asks.size();
  site.run_until(site.now + 4 * kHour, kMany, kAll);
  ASSERT_EQ(site.recoveries.size(), 1u);
  EXPECT_EQ(site.asks.size(), tried) << "not one push after it spoke";
  EXPECT_EQ(site.watch.count(SilenceStage::active), kMany);
  EXPECT_EQ(site.outages.size(), 1u);
}

// What an Exchange server does that restarts: it forgets all subscriptions. The first device that was tried makes it speak.
TEST(HostSilenceTest, AHostThatHasForgottenItsSubscriptionsHasItsDevicesAskedPacedAndSpread) {
  Site site;
  site.run_until(site.now + kHour, kMany, kAll);
  uint32_t died = site.now;
  std::set<uint64_t> back;
  size_t seen = 0;
  auto devices_answer = [&] {  // a device subscribes five seconds after it was asked, and Exchange calls at once
    for (; seen < site.asks.size() && site.asks[seen].at_s + 5 <= site.now; ++seen) {
      back.insert(site.asks[seen].owner);
      site.heard(site.asks[seen].owner);
    }
  };
  uint32_t last_new = died;
  while (site.now < died + 4 * kHour) {
    devices_answer();
    site.run_until(site.now + 1, kMany, [&](uint64_t owner) { return back.contains(owner); });
    if (back.size() < kMany) last_new = site.now;
  }
  ASSERT_EQ(site.recoveries.size(), 1u);
  EXPECT_EQ(site.outages.size(), 1u);
  EXPECT_EQ(back.size(), kMany);
  std::map<uint32_t, int> in_second;
  for (const Ask& ask : site.asks) ++in_second[ask.at_s];
  int most = 0;
  for (auto [at, count] : in_second) most = std::max(most, count);
  EXPECT_LE(most, 50);
  EXPECT_LE(site.asks.size(), kMany + 10) << "each once";
  EXPECT_LE(last_new - died, 2 * kHour);
  std::printf("restart of a host: all %lu back %u min after it; %zu asked, at most %d a second\n", kMany,
              (last_new - died) / 60, site.asks.size(), most);
}

TEST(HostSilenceTest, OneServerOfManyBehindAHostNameIsNoOutage) {
  Site site;
  site.run_until(site.now + kHour, kMany, kAll);
  auto nine_of_ten = [](uint64_t owner) { return owner % 10 != 0; };
  site.run_until(site.now + kLost + 10 * kMinute, kMany, nine_of_ten);
  EXPECT_TRUE(site.outages.empty());
  std::set<uint64_t> asked;
  for (const Ask& ask : site.asks) {
    EXPECT_EQ(ask.owner % 10, 0u);
    asked.insert(ask.owner);
  }
  EXPECT_EQ(asked.size(), kMany / 10);
}

TEST(HostSilenceTest, OneHostsOutageDoesNotHideALostMailboxOfAnother) {
  Site site;
  for (uint64_t owner = 0; owner < 100; ++owner) site.heard(owner);
  site.heard(1'000, 30, "https://other.example.com");
  site.run(kLost + 2);
  EXPECT_EQ(site.outages.size(), 1u);
  ASSERT_EQ(site.count(false), 1u);
  EXPECT_EQ(std::ranges::find(site.asks, false, &Ask::probe)->owner, 1'000u);
  EXPECT_TRUE(site.watch.state(5, site.now).host_silent);
  EXPECT_FALSE(site.watch.state(5, site.now).next_ask_in_s);
  EXPECT_FALSE(site.watch.state(1'000, site.now).host_silent);
}

TEST(HostSilenceTest, AMailboxThatMovesIsCountedWhereItIsNow) {
  Site site;
  for (uint64_t owner = 0; owner < 40; ++owner) site.heard(owner);
  for (uint64_t owner = 0; owner < 25; ++owner) site.heard(owner, 30, "https://other.example.com");
  for (uint32_t until = site.now + kLost; site.now < until; site.run(600)) {
    for (uint64_t owner = 0; owner < 25; ++owner) site.heard(owner, 30, "https://other.example.com");
  }
  EXPECT_TRUE(site.outages.empty()) << "15 are too few";
  EXPECT_EQ(site.count(false), 15u);
}

TEST(HostSilenceTest, AfterAStartOfOursAHostThatStaysSilentIsAnOutageToo) {
  Site site;
  uint16_t host = site.hosts.id_of(kHost, site.now);
  for (uint64_t owner = 0; owner < 1'000; ++owner) site.watch.stored(owner, 30, host, site.now);
  site.run(6 * kHour);
  EXPECT_EQ(site.outages.size(), 1u);
  EXPECT_EQ(site.count(false), 0u);
}

// ---- A million ----

// Not a test of a machine's speed: it counts looks and bytes, and prints what they cost here.
TEST(SilenceScaleTest, AMillionMailboxesTakeAtMost32BytesAndAboutTwoLooksAFrequency) {
  constexpr uint64_t kMillion = 1'000'000;
  auto cpu_ms = [] { return static_cast<double>(std::clock()) * 1'000 / CLOCKS_PER_SEC; };
  HostOutages hosts;
  uint32_t now = 1'000'000;
  SilenceWatch watch(hosts, 2 * kMillion, now);
  auto owner_of = [](uint64_t i) { return (i + 1) * 0x9e3779b97f4a7c15u; };
  uint16_t host = hosts.id_of(kHost, now);
  double begin = cpu_ms();
  for (uint64_t i = 0; i < kMillion; ++i) watch.stored(owner_of(i), 30, host, now);
  double fill_ms = cpu_ms() - begin;
  double bytes = static_cast<double>(watch.bytes()) / kMillion;
  EXPECT_LE(bytes, 32.0);
  EXPECT_EQ(watch.size(), kMillion);

  // Two StatusFrequencies: in the first all are due in the same second, from then on they are spread.
  SilenceFound found;
  SilenceRules rules;
  double heard_ms = 0, looked_ms = 0, longest_ms = 0;
  uint64_t callbacks = 0;
  uint64_t looks_before = 0;
  for (uint32_t end = now + 2 * kFrequency; now < end; ++now) {
    double start = cpu_ms();
    for (uint64_t i = now % kFrequency; i < kMillion; i += kFrequency, ++callbacks) {
      watch.heard({.owner = owner_of(i), .frequency_minutes = 30, .origin = kHost}, now);
    }
    double noted = cpu_ms();
    heard_ms += noted - start;
    for (bool more = true; more;) {
      double turn = cpu_ms();
      more = watch.look(now, 1'024, rules, found);
      longest_ms = std::max(longest_ms, cpu_ms() - turn);
    }
    looked_ms += cpu_ms() - noted;
    if (now + kFrequency == end) looks_before = watch.looks();
  }
  double seconds = 2 * kFrequency;
  std::printf(
      "1,000,000 mailboxes: %.1f bytes each, filled in %.0f ms of CPU; in a second: %.0f callbacks noted in %.3f ms, %.0f looks "
      "in %.3f ms; longest turn of 1,024 looks %.3f ms (a debug build is slower)\n",
      bytes, fill_ms, static_cast<double>(callbacks) / seconds, heard_ms / seconds,
      static_cast<double>(watch.looks()) / seconds, looked_ms / seconds, longest_ms);
  EXPECT_EQ(watch.count(SilenceStage::active), kMillion);
  EXPECT_TRUE(found.asks.empty());
  EXPECT_TRUE(found.outages.empty());
  EXPECT_LE(watch.looks(), 4 * kMillion);
  EXPECT_GT(watch.looks(), looks_before);
}

}  // namespace
}  // namespace bellhop::service
