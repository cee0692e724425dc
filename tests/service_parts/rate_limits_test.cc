// SPDX-License-Identifier: Apache-2.0
#include "service/rate_limits.h"

#include <gtest/gtest.h>

#include "service/subscription_health.h"

namespace bellhop::service {
namespace {

const Instant kStart{std::chrono::hours(5)};

TEST(TokenBucketsTest, GiveTheirTokensAtOnceAndRefillEvenly) {
  TokenBuckets buckets(3, 1min, 10, 1);
  RateKey key = rate_key(7u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(buckets.take(key, kStart), Duration::zero());
  EXPECT_EQ(buckets.wait(key, kStart), 20s);
  EXPECT_EQ(buckets.take(key, kStart + 5s), 15s);  // being refused costs nothing
  EXPECT_EQ(buckets.take(key, kStart + 20s), Duration::zero());
  EXPECT_EQ(buckets.take(key, kStart + 20s), 20s);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(buckets.take(key, kStart + 10min), Duration::zero());
  EXPECT_EQ(buckets.take(key, kStart + 10min), 20s);
}

TEST(TokenBucketsTest, KeepKeysApartAndLookWithoutTaking) {
  TokenBuckets buckets(1, 1h, 10, 1);
  EXPECT_EQ(buckets.wait(rate_key(1u), kStart), Duration::zero());
  EXPECT_EQ(buckets.size(), 0u);
  EXPECT_EQ(buckets.take(rate_key(1u), kStart), Duration::zero());
  EXPECT_EQ(buckets.take(rate_key(2u), kStart), Duration::zero());
  EXPECT_EQ(buckets.wait(rate_key(1u), kStart), 1h);
}

TEST(TokenBucketsTest, ForgetTheLeastRecentlyUsedKeyBeyondTheirBound) {
  TokenBuckets buckets(1, 1h, 3, 1);
  for (uint32_t i = 1; i <= 3; ++i) EXPECT_EQ(buckets.take(rate_key(i), kStart), Duration::zero());
  EXPECT_GT(buckets.take(rate_key(1u), kStart), Duration::zero());  // used: 2 is the oldest now
  EXPECT_EQ(buckets.take(rate_key(4u), kStart), Duration::zero());
  EXPECT_EQ(buckets.size(), 3u);
  EXPECT_GT(buckets.wait(rate_key(1u), kStart), Duration::zero());
  EXPECT_EQ(buckets.wait(rate_key(2u), kStart), Duration::zero());
  for (uint32_t i = 10; i < 1000; ++i) EXPECT_EQ(buckets.take(rate_key(i), kStart), Duration::zero());
  EXPECT_EQ(buckets.size(), 3u);
}

TEST(RateKeyTest, TakesTheWholeNetworkOfAnIpv6Address) {
  auto key = [](const char* text) { return rate_key(*IpAddress::parse(text)); };
  EXPECT_EQ(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
  EXPECT_NE(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
  EXPECT_NE(key("198.51.100.1"), key("198.51.100.2"));
}

TEST(RateLimitsTest, SpreadKeysOverTheCores) {
  unsigned seen[4] = {};
  for (uint32_t i = 0; i < 400; ++i) ++seen[RateLimits::core_of(rate_key(i), 4)];
  for (unsigned count : seen) EXPECT_GT(count, 40u);
}

TEST(SubscriptionHealthTest, FollowsTheSilenceOfItsMailbox) {
  store::SubscriptionRecord record;
  EXPECT_EQ(health_of(record, SilenceStage::active), SubscriptionHealth::pending);
  EXPECT_EQ(health_of(record, SilenceStage::late), SubscriptionHealth::lost);
  EXPECT_EQ(health_of(record, SilenceStage::lost), SubscriptionHealth::lost);
  record.state = store::SubscriptionState::active;
  EXPECT_EQ(health_of(record, SilenceStage::active), SubscriptionHealth::active);
  EXPECT_EQ(health_of(record, SilenceStage::late), SubscriptionHealth::late);
  EXPECT_EQ(health_of(record, SilenceStage::lost), SubscriptionHealth::lost);
}

}  // namespace
}  // namespace bellhop::service
