// SPDX-License-Identifier: Apache-2.0
// The token stand-in, and the Exchange stand-in with the tokens that it gives.

#include "proto/ews_request.h"
#include "tests/standin/site.h"
#include "tools/standin/token_families.h"

namespace bellhop::standin::test {
namespace {

constexpr WallTime kNow = WallTime(std::chrono::seconds(1'800'000'000));

struct Families : testing::Test {
  std::shared_ptr<const TokenKey> key = TokenKey::random();
  TokenFamilies families{key, {.lifetime = 1h, .grace = 10s}};
};

TEST_F(Families, GiveTheNextTokenForEach) {
  std::string token = families.begin("anna@example.com");
  for (int i = 0; i < 5; ++i) {
    auto granted = families.grant(token, kNow + i * 1min);
    ASSERT_TRUE(granted);
    EXPECT_NE(granted->refresh_token, token);
    auto said = key->read(granted->access_token);
    ASSERT_TRUE(said);
    EXPECT_EQ(said->user, "anna@example.com");
    EXPECT_EQ(said->expires, kNow + i * 1min + 1h);
    token = granted->refresh_token;
  }
  EXPECT_EQ(families.books.rotations, 5u);
  EXPECT_EQ(families.books.reuses, 0u);
}

TEST_F(Families, EndWhereASpentTokenComesAgain) {
  std::string first = families.begin("anna@example.com");
  auto second = families.grant(first, kNow);
  ASSERT_TRUE(second);
  EXPECT_FALSE(families.grant(first, kNow + 10s)) << "the grace is over";
  EXPECT_EQ(families.books.reuses, 1u);
  EXPECT_EQ(families.books.revoked, 1u);
  EXPECT_FALSE(families.grant(second->refresh_token, kNow + 11s)) << "the good one is worth nothing any more";
  EXPECT_EQ(families.books.reuses, 1u);
  EXPECT_TRUE(families.grant(families.begin("anna@example.com"), kNow)) << "a new logon is";
}

TEST_F(Families, TakeTheTokenBeforeTheLastWithinTheGrace) {
  std::string first = families.begin("anna@example.com");
  auto second = families.grant(first, kNow);
  auto again = families.grant(first, kNow + 9s);
  ASSERT_TRUE(second && again);
  EXPECT_EQ(again->refresh_token, second->refresh_token);
  EXPECT_NE(again->access_token, second->access_token);
  EXPECT_EQ(families.books.grace_uses, 1u);
  auto third = families.grant(second->refresh_token, kNow + 9s);
  ASSERT_TRUE(third);
  EXPECT_FALSE(families.grant(first, kNow + 9s)) << "two back, whatever the time";
  EXPECT_EQ(families.books.reuses, 1u);
}

TEST_F(Families, WithoutRotationKeepTheToken) {
  families.rules.rotate = false;
  std::string token = families.begin("anna@example.com");
  for (int i = 0; i < 3; ++i) {
    auto granted = families.grant(token, kNow + i * 1h);
    ASSERT_TRUE(granted);
    EXPECT_EQ(granted->refresh_token, "");
  }
}

TEST_F(Families, TakeNoTokenThatTheyDidNotMake) {
  std::string token = families.begin("anna@example.com");
  EXPECT_FALSE(families.grant("", kNow));
  EXPECT_FALSE(families.grant("rt-", kNow));
  EXPECT_FALSE(families.grant(token.substr(3), kNow));
  for (size_t at = 3; at < token.size(); ++at) {
    std::string changed = token;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(families.grant(changed, kNow)) << at;
  }
  EXPECT_EQ(families.books.reuses, 0u);
  EXPECT_EQ(families.revoke("ANNA@example.com"), 1u);
  EXPECT_FALSE(families.grant(token, kNow));
}

TEST(AccessTokens, AreReadOnlyUnderTheirKeyAndUnchanged) {
  auto key = TokenKey::random(), other = TokenKey::random();
  std::string token = key->sign("anna@example.com", kNow, 1);
  ASSERT_TRUE(key->read(token));
  EXPECT_TRUE(token_valid(*key->read(token), kNow - 1ms));
  EXPECT_FALSE(token_valid(*key->read(token), kNow));
  EXPECT_FALSE(other->read(token));
  EXPECT_TRUE(TokenKey::from_text(key->text())->read(token));
  EXPECT_EQ(TokenKey::from_text("short"), nullptr);
  for (size_t at = 0; at < token.size(); ++at) {
    std::string changed = token;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(key->read(changed)) << at;
  }
  AccessToken foreign = *key->read(token);
  foreign.issuer = "https://another.example.com/";
  EXPECT_FALSE(token_valid(foreign, kNow - 1ms));
}

Task<EwsResult> with_token(Site& site, std::string user, Duration lifetime) {
  WallTime expires = io::wall_now() + std::chrono::duration_cast<std::chrono::milliseconds>(lifetime);
  std::string token = site.world.tokens().options().key->sign(user, expires, 1);
  std::string body;
  EXPECT_TRUE(proto::write_find_item({.mailbox = "alice@example.com", .entries_max = 1}, body));
  co_return co_await site.ews_authorized("Bearer " + token, std::move(body));
}

Task<void> bearer(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({"alice@example.com", "", "secret"}));
  EXPECT_EQ((co_await with_token(site, "alice@example.com", 1h)).status, 200);
  EwsResult expired = co_await with_token(site, "alice@example.com", -1s);
  EXPECT_EQ(expired.status, 401);
  EXPECT_EQ((co_await with_token(site, "nobody@example.com", 1h)).status, 401);
  std::string body;
  EXPECT_TRUE(proto::write_find_item({.mailbox = "alice@example.com", .entries_max = 1}, body));
  EXPECT_EQ((co_await site.ews_authorized("Bearer forged.token", body)).status, 401);
  EXPECT_EQ((co_await site.ews("alice@example.com", "secret", body)).status, 200) << "Basic is still there";
  ExchangeBooks books = co_await site.exchange.books();
  EXPECT_EQ(books.bearer, 1u);
  EXPECT_EQ(books.unauthorized, 3u);
}
TEST(ExchangeBearer, TakesTokensOfTheTokenStandInForTheirUser) {
  run_site({}, bearer, 2);
}

}  // namespace
}  // namespace bellhop::standin::test
