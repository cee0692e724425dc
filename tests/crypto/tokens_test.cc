// SPDX-License-Identifier: Apache-2.0
#include "crypto/tokens.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

TEST(Capability, RoundTripsThroughItsText) {
  const Capability capability = Capability::random();
  const std::string text = capability.text();
  EXPECT_EQ(text.size(), Capability::kTextSize);
  const auto again = Capability::from_text(text);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->bytes, capability.bytes);
  EXPECT_EQ(again->hash(), capability.hash());
}

TEST(Capability, RefusesOtherLengthsCharactersAndSpellings) {
  const std::string text = Capability::random().text();
  EXPECT_FALSE(Capability::from_text(""));
  EXPECT_FALSE(Capability::from_text(text.substr(1)));
  EXPECT_FALSE(Capability::from_text(text + "A"));
  EXPECT_FALSE(Capability::from_text(text.substr(0, 21) + "="));
  EXPECT_FALSE(Capability::from_text("+" + text.substr(1)));
  EXPECT_FALSE(Capability::from_text(text.substr(0, 21) + "B"));  // sets bits that are not part of it
}

TEST(Tokens, AreDifferentAndUrlSafe) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const Secret token = random_token_text();
    EXPECT_EQ(token.size(), kTokenTextSize);
    EXPECT_EQ(secret_from_base64url(token.reveal_text())->size(), kTokenBytes);
    seen.emplace(token.reveal_text());
  }
  EXPECT_EQ(seen.size(), 100u);
}

TEST(IndexKey, GivesTheSameHashesAfterItWasLoadedAgain) {
  const IndexKey key = IndexKey::random();
  const auto again = IndexKey::from_bytes(key.bytes());
  ASSERT_TRUE(again);
  EXPECT_TRUE(hash_equal(again->api_token_hash("token"), key.api_token_hash("token")));
  EXPECT_TRUE(hash_equal(again->user_id("tenant", sha256("a")), key.user_id("tenant", sha256("a"))));
  EXPECT_FALSE(IndexKey::from_bytes(Secret::of_size(31)));
  EXPECT_FALSE(IndexKey::from_bytes(Secret()));
}

TEST(IndexKey, SeparatesKeysTenantsAndPurposes) {
  const IndexKey a = IndexKey::random(), b = IndexKey::random();
  EXPECT_FALSE(hash_equal(a.api_token_hash("t"), b.api_token_hash("t")));
  EXPECT_FALSE(hash_equal(a.api_token_hash("t"), a.device_secret_hash("t")));
  EXPECT_FALSE(hash_equal(a.user_id("x", sha256("a")), a.user_id("y", sha256("a"))));
  EXPECT_FALSE(hash_equal(a.user_id("x", sha256("a")), a.user_id("x", sha256("b"))));
  EXPECT_FALSE(hash_equal(a.fingerprint("log", as_bytes("s")), a.fingerprint("collapse", as_bytes("s"))));
}

}  // namespace
}  // namespace bellhop::crypto
