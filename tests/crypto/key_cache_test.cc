// SPDX-License-Identifier: Apache-2.0
#include "crypto/key_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

using testing::Each;

// A stored key of random numbers: good enough to be kept, and made at once.
RsaPrivateKey cheap_key() {
  Secret stored = random_secret(899);
  const MutableBytes bytes = stored.reveal_mutable();
  bytes[0] = 1;
  store_be16(bytes.data() + 1, 2048);
  for (size_t prime : {3 + 256, 3 + 384}) {
    bytes[prime] |= 0xc0;
    bytes[prime + 127] |= 1;
  }
  auto key = RsaPrivateKey::from_stored(std::move(stored));
  EXPECT_TRUE(key);
  return *std::move(key);
}

size_t bytes_of_one() { return ConvertedKey(cheap_key()).memory_bytes(); }

KeyId add(KeyCache& cache) {
  RsaPrivateKey key = cheap_key();
  const KeyId id = key.public_key().id();
  EXPECT_TRUE(cache.insert(std::move(key)));
  return id;
}

TEST(KeyCache, FindsWhatWasInsertedAndCounts) {
  KeyCache cache;
  const KeyId id = add(cache);
  EXPECT_FALSE(cache.find(KeyId{}));
  const auto pin = cache.find(id);
  ASSERT_TRUE(pin);
  EXPECT_EQ(pin->key().public_key().id(), id);
  EXPECT_EQ(cache.stats().hits_total, 1u);
  EXPECT_EQ(cache.stats().misses_total, 1u);
  EXPECT_EQ(cache.stats().entries, 1u);
  EXPECT_EQ(cache.stats().bytes, pin->memory_bytes());
}

TEST(KeyCache, EvictsTheLeastRecentlyUsedAndWipesIt) {
  KeyCache cache({.bytes_max = 2 * bytes_of_one()});
  const KeyId first = add(cache), second = add(cache);
  const uint8_t* second_at = cache.find(second)->key().stored().reveal().data();
  ASSERT_TRUE(cache.find(first));  // now `second` is the older
  const KeyId third = add(cache);
  EXPECT_THAT(peek(second_at, 899), Each(0));
  EXPECT_TRUE(cache.find(first));
  EXPECT_FALSE(cache.find(second));
  EXPECT_TRUE(cache.find(third));
  EXPECT_EQ(cache.stats().evictions_total, 1u);
}

TEST(KeyCache, HoldsItsBoundOfBytes) {
  KeyCache cache({.bytes_max = 3 * bytes_of_one()});
  for (int i = 0; i < 10; ++i) add(cache);
  EXPECT_EQ(cache.stats().entries, 3u);
  EXPECT_EQ(cache.stats().bytes, 3 * bytes_of_one());
  EXPECT_EQ(cache.stats().evictions_total, 7u);
}

TEST(KeyCache, CountsTheFormsOfAKeyWhenItsLastPinGoesAndEvictsForThem) {
  KeyCache cache({.bytes_max = 12 * bytes_of_one()});
  std::vector<KeyId> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(add(cache));
  auto pin = cache.find(ids.back());
  (void)pin->lanes();
  (void)pin->rsa();
  const size_t grown = pin->memory_bytes();
  ASSERT_GT(grown, 2 * bytes_of_one());
  EXPECT_EQ(cache.stats().entries, 12u);
  pin.reset();
  EXPECT_LE(cache.stats().bytes, 12 * bytes_of_one());
  EXPECT_EQ(cache.stats().bytes, (cache.stats().entries - 1) * bytes_of_one() + grown);
  EXPECT_FALSE(cache.find(ids.front()));
  EXPECT_TRUE(cache.find(ids.back()));
}

TEST(KeyCache, NeverEvictsAPinnedKey) {
  KeyCache cache({.bytes_max = 2 * bytes_of_one()});
  auto first = cache.insert(cheap_key());
  auto second = cache.insert(cheap_key());
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(failed_with(cache.insert(cheap_key()), CryptoError::overloaded));
  const KeyId id = (*first)->key().public_key().id();
  first->reset();
  auto third = cache.insert(cheap_key());
  EXPECT_TRUE(third);
  EXPECT_FALSE(cache.find(id));
}

TEST(KeyCache, CountsPinsOfOneKey) {
  KeyCache cache({.bytes_max = bytes_of_one()});
  auto a = cache.insert(cheap_key());
  ASSERT_TRUE(a);
  auto b = cache.find((*a)->key().public_key().id());
  a->reset();
  EXPECT_TRUE(failed_with(cache.insert(cheap_key()), CryptoError::overloaded));
  KeyCache::Pin c = std::move(b);
  EXPECT_FALSE(b);  // NOLINT(bugprone-use-after-move)
  c.reset();
  EXPECT_TRUE(cache.insert(cheap_key()));
}

TEST(KeyCache, KeepsTheFirstOfTwoMissesForOneKey) {
  KeyCache cache;
  RsaPrivateKey key = cheap_key(), same = key.clone();
  auto a = cache.insert(std::move(key));
  auto b = cache.insert(std::move(same));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->get(), b->get());
  EXPECT_EQ(cache.stats().entries, 1u);
}

TEST(KeyCache, ForgetsARemovedKeyWithItsLastPin) {
  const int64_t before = Secret::live_count();
  KeyCache cache;
  auto pin = cache.insert(cheap_key());
  ASSERT_TRUE(pin);
  const KeyId id = (*pin)->key().public_key().id();
  const uint8_t* at = (*pin)->key().stored().reveal().data();
  cache.remove(id);
  EXPECT_FALSE(cache.find(id));
  EXPECT_EQ((*pin)->key().public_key().id(), id);  // still usable
  EXPECT_EQ(cache.stats().entries, 1u);
  pin->reset();
  EXPECT_THAT(peek(at, 899), Each(0));
  EXPECT_EQ(cache.stats().entries, 0u);
  EXPECT_EQ(cache.stats().bytes, 0u);
  EXPECT_EQ(Secret::live_count(), before);
  cache.remove(id);  // unknown by now
}

}  // namespace
}  // namespace bellhop::crypto
