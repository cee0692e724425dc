// SPDX-License-Identifier: Apache-2.0
#include "core/timer_wheel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <vector>

namespace bellhop {
namespace {

constexpr Instant kStart = Instant(100h);

struct TestTimer : Timer {
  TestTimer(std::vector<int>* f, int n) : Timer(&TestTimer::expired), fired(f), number(n) {}
  static void expired(Timer& timer) {
    auto& self = static_cast<TestTimer&>(timer);
    self.fired->push_back(self.number);
  }
  std::vector<int>* fired;
  int number;
};

TEST(TimerWheel, FiresAtItsTickAndNotBefore) {
  TimerWheel wheel(kStart);
  std::vector<int> fired;
  TestTimer timer(&fired, 1);
  wheel.arm(timer, kStart + 5ms + 1ns);  // rounded up to 6 ms
  wheel.advance(kStart + 5ms + 999us);
  EXPECT_TRUE(fired.empty());
  EXPECT_TRUE(timer.armed());
  wheel.advance(kStart + 6ms);
  EXPECT_THAT(fired, ::testing::ElementsAre(1));
  EXPECT_FALSE(timer.armed());
  EXPECT_FALSE(wheel.next_expiry());
}

TEST(TimerWheel, FiresAtEachLevelBoundary) {
  for (int64_t ms : {1LL, 255LL, 256LL, 257LL, 65'535LL, 65'536LL, 65'537LL, 16'777'215LL, 16'777'216LL, 16'777'217LL}) {
    for (int64_t begin : {0LL, 1LL, 255LL, 65'535LL}) {
      TimerWheel wheel(kStart);
      std::vector<int> fired;
      TestTimer timer(&fired, 1);
      wheel.advance(kStart + std::chrono::milliseconds(begin));
      Instant expiry = kStart + std::chrono::milliseconds(begin + ms);
      wheel.arm(timer, expiry);
      wheel.advance(expiry - 1ms);
      EXPECT_TRUE(fired.empty()) << begin << " + " << ms;
      wheel.advance(expiry);
      EXPECT_EQ(fired.size(), 1u) << begin << " + " << ms;
    }
  }
}

TEST(TimerWheel, KeepsWhatLiesBeyondItsHorizon) {
  TimerWheel wheel(kStart);
  std::vector<int> fired;
  TestTimer timer(&fired, 1);
  Instant expiry = kStart + 60 * 24h;  // the wheel holds about 49 days
  wheel.arm(timer, expiry);
  int wake_ups = 0;
  Instant now = kStart;
  while (fired.empty() && wake_ups < 2000) {
    auto next = wheel.next_expiry();
    ASSERT_TRUE(next);
    ASSERT_LE(*next, expiry);
    ASSERT_GT(*next, now);
    now = *next;
    wheel.advance(now);
    ++wake_ups;
  }
  EXPECT_EQ(now, expiry);
}

struct ChainTimer : Timer {
  explicit ChainTimer(TimerWheel* w) : Timer(&ChainTimer::expired), wheel(w) {}
  static void expired(Timer& timer) {
    auto& self = static_cast<ChainTimer&>(timer);
    if (++self.count < 10) self.wheel->arm(self, kStart + self.count * 1ms);
    if (self.victim) self.victim->disarm();
  }
  TimerWheel* wheel;
  Timer* victim = nullptr;
  int count = 0;
};

TEST(TimerWheel, ATimerMayArmItselfAndDisarmOthersWhenItFires) {
  TimerWheel wheel(kStart);
  std::vector<int> fired;
  ChainTimer chain(&wheel);
  TestTimer victim(&fired, 1);
  wheel.arm(chain, kStart + 1ms);
  wheel.arm(victim, kStart + 1ms);  // due at the same tick, after the chain
  chain.victim = &victim;
  wheel.advance(kStart + 1s);
  EXPECT_EQ(chain.count, 10);
  EXPECT_TRUE(fired.empty());
}

TEST(TimerWheel, AnExpiryInThePastFiresAtTheNextTick) {
  TimerWheel wheel(kStart);
  wheel.advance(kStart + 10s);
  std::vector<int> fired;
  TestTimer timer(&fired, 1);
  wheel.arm(timer, kStart + 1s);
  EXPECT_EQ(wheel.next_expiry(), kStart + 10s + 1ms);
  wheel.advance(kStart + 10s + 1ms);
  EXPECT_EQ(fired.size(), 1u);
}

// The model: timers sorted by tick. Random arms, disarms and advances must fire the same timers in the order of their
// ticks, and next_expiry must never be later than the model's first.
void compare_with_model(uint64_t seed) {
  std::mt19937_64 random(seed);
  TimerWheel wheel(kStart);
  std::vector<int> fired;
  std::vector<std::unique_ptr<TestTimer>> timers;
  for (int i = 0; i < 64; ++i) timers.push_back(std::make_unique<TestTimer>(&fired, i));
  std::map<int, Instant> armed;  // when due, rounded up to a tick
  Instant now = kStart;
  for (int step = 0; step < 4000; ++step) {
    int number = static_cast<int>(random() % timers.size());
    TestTimer& timer = *timers[static_cast<size_t>(number)];
    uint64_t span = uint64_t{1} << (random() % 28);
    switch (random() % 4) {
      case 0:
      case 1: {
        if (timer.armed()) break;
        Instant expiry = now + std::chrono::microseconds(random() % (span * 1000));
        wheel.arm(timer, expiry);
        Instant earliest = kStart + std::chrono::floor<std::chrono::milliseconds>(now - kStart) + 1ms;
        armed[number] = std::max(earliest, kStart + std::chrono::ceil<std::chrono::milliseconds>(expiry - kStart));
        break;
      }
      case 2:
        timer.disarm();
        armed.erase(number);
        break;
      case 3: {
        now += std::chrono::microseconds(random() % (std::min<uint64_t>(span, 1 << 20) * 1000));
        if (random() % 4 == 0 && wheel.next_expiry()) now = std::max(now, *wheel.next_expiry());
        fired.clear();
        wheel.advance(now);
        Instant last = kStart;
        for (int one : fired) {
          ASSERT_TRUE(armed.contains(one)) << "seed " << seed;
          ASSERT_LE(armed[one], now) << "seed " << seed;
          ASSERT_GE(armed[one], last) << "seed " << seed;
          last = armed[one];
          armed.erase(one);
        }
        for (auto [one, due] : armed) ASSERT_GT(due, now) << "seed " << seed << ": missed timer " << one;
        break;
      }
    }
    auto next = wheel.next_expiry();
    ASSERT_EQ(next.has_value(), !armed.empty()) << "seed " << seed;
    for (auto [one, due] : armed) ASSERT_LE(*next, due) << "seed " << seed << ", timer " << one;
  }
}

TEST(TimerWheel, DoesWhatASortedListDoes) {
  for (uint64_t seed = 1; seed <= 10; ++seed) compare_with_model(seed);
}

}  // namespace
}  // namespace bellhop
