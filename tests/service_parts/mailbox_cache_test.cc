// SPDX-License-Identifier: Apache-2.0
#include "service/mailbox_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace bellhop::service {
namespace {

store::StoredUserId user(uint32_t number) {
  store::StoredUserId id;
  std::mt19937 random(number);
  for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(random());
  return id;
}

struct Cache {
  explicit Cache(size_t mailboxes_max)
      : cache(mailboxes_max,
              {.function = [](void* self,
                              const Mailbox& mailbox) { static_cast<Cache*>(self)->evicted.push_back(mailbox.number); },
               .context = this}) {}
  std::vector<store::MailboxNumber> evicted;
  MailboxCache cache;
};

TEST(MailboxCache, KeepsWhatItWasGiven) {
  Cache c(4);
  {
    MailboxCache::Lease lease = c.cache.get(7, user(7));
    ASSERT_TRUE(lease);
    EXPECT_FALSE(lease->loaded);
    lease->loaded = true;
    lease->hot.unread = 5;
  }
  MailboxCache::Lease again = c.cache.get(7, user(7));
  EXPECT_TRUE(again->loaded);
  EXPECT_EQ(again->hot.unread, 5u);
  EXPECT_EQ(c.cache.find(user(7)), &*again);
  EXPECT_EQ(c.cache.find(user(8)), nullptr);
}

TEST(MailboxCache, TheLeastRecentlyUsedGoesFirstAndIsHandedOut) {
  Cache c(3);
  for (uint32_t n : {1u, 2u, 3u, 1u, 4u}) c.cache.get(n, user(n));
  EXPECT_THAT(c.evicted, testing::ElementsAre(2u));
  c.cache.get(5, user(5));
  EXPECT_THAT(c.evicted, testing::ElementsAre(2u, 3u));
  EXPECT_EQ(c.cache.size(), 3u);
}

TEST(MailboxCache, AnEvictedMailboxIsFreshWhenItComesBack) {
  Cache c(1);
  {
    MailboxCache::Lease lease = c.cache.get(1, user(1));
    lease->loaded = lease->dirty = lease->unread_known = true;
    lease->hot.unread = 9;
    lease->resubscribe_asked = Instant();
    lease->logon_unwritten = store::LogonRule{.failed = 3};
    lease->unfinished.resize(3);
    lease->callbacks_this_minute = 17;
  }
  c.cache.get(2, user(2));
  MailboxCache::Lease lease = c.cache.get(1, user(1));
  EXPECT_FALSE(lease->loaded || lease->dirty || lease->unread_known);
  EXPECT_EQ(lease->hot, store::HotRecord());
  EXPECT_EQ(lease->resubscribe_asked, std::nullopt);
  EXPECT_EQ(lease->logon_unwritten, std::nullopt);
  EXPECT_TRUE(lease->unfinished.empty());
  EXPECT_EQ(lease->callbacks_this_minute, 0u);
}

TEST(MailboxCache, GivesNothingWhereEveryPlaceIsLeased) {
  Cache c(2);
  MailboxCache::Lease first = c.cache.get(1, user(1));
  MailboxCache::Lease second = c.cache.get(2, user(2));
  EXPECT_FALSE(c.cache.get(3, user(3)));
  EXPECT_TRUE(c.cache.get(1, user(1)));
  EXPECT_TRUE(c.evicted.empty());
}

TEST(MailboxCache, AForgottenMailboxIsGoneAtOnceAndItsPlaceWithTheLastLease) {
  Cache c(2);
  {
    MailboxCache::Lease held = c.cache.get(1, user(1));
    held->dirty = true;
    c.cache.forget(user(1));
    EXPECT_TRUE(held->forgotten);
    EXPECT_EQ(c.cache.find(user(1)), nullptr);
    MailboxCache::Lease fresh = c.cache.get(1, user(1));
    EXPECT_NE(&*fresh, &*held);
    EXPECT_FALSE(fresh->forgotten);
  }
  c.cache.get(2, user(2));
  EXPECT_EQ(c.cache.size(), 2u);
  EXPECT_TRUE(c.evicted.empty());
  c.cache.forget(user(99));
}

TEST(MailboxCache, AUserUnderANewNumberStartsAnew) {
  Cache c(4);
  c.cache.get(1, user(1))->hot.unread = 3;
  MailboxCache::Lease again = c.cache.get(2, user(1));
  EXPECT_EQ(again->number, 2u);
  EXPECT_EQ(again->hot.unread, 0u);
  EXPECT_EQ(c.cache.size(), 1u);
}

TEST(MailboxCache, HoldsItsBoundUnderRandomUse) {
  constexpr size_t kMax = 50;
  Cache c(kMax);
  std::mt19937 random(3);
  std::vector<MailboxCache::Lease> held;
  for (int i = 0; i < 20'000; ++i) {
    uint32_t n = random() % 200;
    switch (random() % 4) {
      case 0:
        c.cache.forget(user(n));
        break;
      case 1:
        if (held.size() < 20) held.push_back(c.cache.get(n, user(n)));
        break;
      case 2:
        if (!held.empty()) held.pop_back();
        break;
      default: {
        MailboxCache::Lease lease = c.cache.get(n, user(n));
        ASSERT_TRUE(lease);
        EXPECT_EQ(lease->number, n);
        EXPECT_EQ(lease->user, user(n));
        EXPECT_EQ(c.cache.find(user(n)), &*lease);
      }
    }
    ASSERT_LE(c.cache.size(), kMax);
  }
}

}  // namespace
}  // namespace bellhop::service
