// SPDX-License-Identifier: Apache-2.0
// Split envelopes and OAuth tokens on the way of a notification.
#include <algorithm>

#include "core/sleep.h"
#include "crypto/error.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t resubscribe_pushes() {
  return static_cast<size_t>(std::ranges::count_if(fake_apns().sent, [](const FakeApns::Sent& sent) {
    return sent.payload.find("resubscribe") != std::string::npos;
  }));
}

// A new mail, pushed; true where the push shows it.
Task<bool> mail_is_shown(Scene& scene, Subscriber& subscriber, std::string id) {
  have_mail(id);
  Scene::Reply reply = co_await scene.mail(subscriber, {id});
  EXPECT_EQ(reply.status, 200);
  co_return shows("Subject of " + id);
}

const crypto::OauthCredentials& oauth_of(const crypto::CredentialRecord& record) {
  return std::get<crypto::OauthCredentials>(record.logon);
}

SCENE_TEST(SplitEnvelope, IsOpenedWithoutAPrivateKey) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_EQ(scene.decryptions(), 0u);
  EXPECT_EQ(fake_tokens().grants, 1);
}

SCENE_TEST(SplitEnvelope, MayHoldAPassword) {
  Subscriber subscriber = co_await scene.subscribe_split("anna");
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_EQ(scene.decryptions(), 0u);
  EXPECT_EQ(fake_tokens().asked, 0);
  fake_exchange().password = "another";
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).logon.failed, 1);
  EXPECT_EQ(resubscribe_pushes(), 1u);
}

SCENE_TEST(SplitEnvelope, IsNotOpenedForAHeartbeatOrABadge) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  int64_t before = crypto::Secret::live_count();
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ((co_await scene.unread(subscriber, 3)).status, 200);
  EXPECT_EQ(fake_tokens().asked, 0);
  EXPECT_EQ(fake_exchange().logons(), 0);
  EXPECT_EQ(crypto::Secret::live_count(), before);
}

SCENE_TEST(SplitEnvelope, WithOtherCredsIsUnknownAndOpensNothing) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  have_mail("a");
  std::string body = scene.mail_body(subscriber, {"a"});
  for (size_t at : {size_t{0}, size_t{1}, size_t{30}, subscriber.creds.size() - 1}) {
    std::vector<uint8_t> changed = subscriber.creds;
    changed[at] ^= 1;
    std::string target = Subscriber::target_with(subscriber.capability.text(), to_base64url(changed));
    EXPECT_EQ((co_await scene.post(target, body)).status, 404);
  }
  EXPECT_EQ(fake_tokens().asked, 0);
}

// Both halves are there, and they do not fit: our own fault, whatever it is.
SCENE_TEST(SplitEnvelope, ThatDoesNotOpenPushesWithoutContentAndAsksToSubscribeAgain) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  store::SubscriptionPatch patch;
  patch.split_ciphertext = scene.vault->seal_split(subscriber.capability_hash, as_bytes(std::string(200, 'x')));
  CO_ASSERT(co_await scene.store->update_subscription(subscriber.capability_hash, patch));
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
  EXPECT_EQ(resubscribe_pushes(), 1u);
  EXPECT_THAT(scene.log_lines, HasSubstr("envelope_unopened"));
  EXPECT_EQ(fake_tokens().asked, 0);
}

SCENE_TEST(AccessTokens, AreUsedUntilTheyExpireAndThenRenewed) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "first-" + std::to_string(i)));
    EXPECT_TRUE(co_await sleep_for(10min));
  }
  EXPECT_EQ(fake_tokens().grants, 1);
  EXPECT_TRUE(co_await sleep_for(10min));
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "later"));
  EXPECT_EQ(fake_tokens().grants, 2);
  EXPECT_EQ(fake_tokens().reuses, 0);
  EXPECT_EQ(fake_exchange().logons(), 6);
}

SCENE_TEST(AccessTokens, AreRenewedAMinuteBeforeTheirEnd) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_TRUE(co_await sleep_for(59min - 1s));
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().grants, 1);
  EXPECT_TRUE(co_await sleep_for(2s));
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "c"));
  EXPECT_EQ(fake_tokens().grants, 2);
}

SCENE_TEST(AccessTokens, OfAShortLifeAreStillUsed) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().lifetime = 4s;
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_TRUE(co_await sleep_for(2s));
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().grants, 1);
}

SCENE_TEST(Grants, StoreTheNewTokensBeforeTheyAreUsed) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  std::vector<uint8_t> before = (co_await scene.stored_subscription(subscriber)).split_ciphertext;
  fake_exchange().delay = 1s;
  have_mail("a");
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"a"}));
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  EXPECT_TRUE(co_await sleep_for(500ms));  // Exchange is being asked now
  EXPECT_EQ(fake_exchange().gets, 1);
  {
    crypto::CredentialRecord record = co_await scene.stored_record(subscriber);
    EXPECT_EQ(oauth_of(record).refresh_token.reveal_text(), "refresh 2");
    EXPECT_EQ(oauth_of(record).access_token.reveal_text(), "access-1");
    EXPECT_EQ(oauth_of(record).client_id.reveal_text(), "mail-app");
  }
  store::SubscriptionRecord stored = co_await scene.stored_subscription(subscriber);
  EXPECT_NE(stored.split_ciphertext, before);
  EXPECT_EQ(stored.grant_begun, WallTime());
  co_await scope.join();
  EXPECT_TRUE(shows("Subject of a"));
}

SCENE_TEST(Grants, KeepTheRefreshTokenWhereTheEndpointGivesNoOther) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().rotates = false;
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "a"));
  crypto::CredentialRecord record = co_await scene.stored_record(subscriber);
  EXPECT_EQ(oauth_of(record).refresh_token.reveal_text(), "refresh 1");
  EXPECT_EQ(oauth_of(record).access_token.reveal_text(), "access-1");
}

SCENE_TEST(Grants, OfAMailboxAreMadeOneAfterTheOther) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().delay = 300ms;
  std::vector<std::unique_ptr<FakeHttpExchange>> exchanges;
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 4; ++i) {
    std::string id = "m" + std::to_string(i);
    have_mail(id);
    exchanges.push_back(std::make_unique<FakeHttpExchange>(subscriber.target(), scene.mail_body(subscriber, {id})));
    scope.spawn(scene.deliver(*exchanges.back()));
  }
  co_await scope.join();
  for (const auto& exchange : exchanges) EXPECT_EQ(exchange->status, 200);
  EXPECT_EQ(fake_tokens().asked, 1) << "who waited uses what the first one brought";
  EXPECT_EQ(fake_tokens().reuses, 0);
  EXPECT_EQ(fake_apns().sent.size(), 4u);
}

SCENE_TEST(Grants, OfDifferentMailboxesAreMadeAtTheSameTime) {
  Subscriber anna = co_await scene.subscribe_oauth("anna");
  Subscriber ben = co_await scene.subscribe_oauth("ben");
  fake_tokens().delay = 300ms;
  fake_tokens().rotates = false;
  have_mail("a");
  FakeHttpExchange first(anna.target(), scene.mail_body(anna, {"a"})),
      second(ben.target(), scene.mail_body(ben, {"a"}));
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(first));
  scope.spawn(scene.deliver(second));
  co_await scope.join();
  EXPECT_EQ(fake_tokens().asked_at_once_max, 2);
}

SCENE_TEST(Grants, ThatAreRefusedFallUnderTheLogonRule) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().failures.assign(10, {.kind = GrantFailureKind::refused});
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "m" + std::to_string(i)));
    EXPECT_TRUE(co_await sleep_for(5min));
  }
  EXPECT_EQ(fake_tokens().asked, 1);
  EXPECT_EQ(fake_exchange().logons(), 0);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 6u);
  EXPECT_EQ(resubscribe_pushes(), 1u);
  store::SubscriptionRecord stored = co_await scene.stored_subscription(subscriber);
  EXPECT_EQ(stored.logon.failed, 1);
  EXPECT_EQ(stored.grant_begun, WallTime()) << "a refusal spends nothing";
  for (int i = 6; i < 60; ++i) {
    EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "m" + std::to_string(i)));
    EXPECT_TRUE(co_await sleep_for(20min));
  }
  EXPECT_EQ(fake_tokens().asked, 4) << "three more, an hour apart, and never again";
}

SCENE_TEST(Grants, ThatFailWithoutSpendingTheTokenAreTriedWithTheNextMail) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  for (GrantFailureKind kind : {GrantFailureKind::unavailable, GrantFailureKind::throttled, GrantFailureKind::garbage,
                                GrantFailureKind::not_allowed}) {
    fake_tokens().failures.push_back({.kind = kind});
    EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "m" + std::to_string(static_cast<int>(kind))));
    EXPECT_TRUE(co_await sleep_for(24h));  // far beyond any grace
  }
  store::SubscriptionRecord stored = co_await scene.stored_subscription(subscriber);
  EXPECT_EQ(stored.logon.failed, 0);
  EXPECT_EQ(stored.grant_begun, WallTime());
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "last"));
  EXPECT_EQ(fake_tokens().reuses, 0);
  EXPECT_EQ(resubscribe_pushes(), 0u);
}

SCENE_TEST(LostGrants, AreMadeAgainWithinTheIssuersGrace) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().grace = 60s;
  fake_tokens().lose = 1;
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_NE((co_await scene.stored_subscription(subscriber)).grant_begun, WallTime());
  co_await scene.restart();  // the mark is in the store, not in memory
  EXPECT_TRUE(co_await sleep_for(50s));
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().reuses, 0);
  EXPECT_EQ(fake_tokens().asked, 2);
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).grant_begun, WallTime());
}

SCENE_TEST(LostGrants, AreNeverMadeAgainAfterTheGrace) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().grace = 60s;
  fake_tokens().lose = 1;
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "a"));
  co_await scene.restart();
  EXPECT_TRUE(co_await sleep_for(61s));
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_TRUE(co_await sleep_for(48h));
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "c"));
  EXPECT_EQ(fake_tokens().asked, 1);
  EXPECT_EQ(fake_tokens().reuses, 0);
  EXPECT_EQ(resubscribe_pushes(), 2u);
  EXPECT_GT((co_await scene.stored_subscription(subscriber)).logon.failed, 0) << "check-in says so too";
  EXPECT_THAT(scene.log_lines, HasSubstr("refresh_token_lost"));
}

// The issuer's grace runs from the first request, not from the last.
SCENE_TEST(LostGrants, DoNotRenewTheirGraceByBeingRepeated) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().grace = 60s;
  fake_tokens().lose = 2;
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_TRUE(co_await sleep_for(40s));
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().asked, 2);
  EXPECT_TRUE(co_await sleep_for(40s));
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "c"));
  EXPECT_EQ(fake_tokens().asked, 2);
  EXPECT_EQ(fake_tokens().reuses, 0);
}

// A request that surely spent nothing says nothing about the one before it.
SCENE_TEST(LostGrants, StayLostAfterAFailureThatSpendsNothing) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().lose = 1;
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "a"));
  WallTime mark = (co_await scene.stored_subscription(subscriber)).grant_begun;
  EXPECT_NE(mark, WallTime());
  fake_tokens().failures.push_back({.kind = GrantFailureKind::unavailable});
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).grant_begun, mark);
}

SCENE_TEST_WITH(LostGrants, WithoutAGraceAreLostAtOnce,
                {.configure = [](Config& config) { config.tenants[0].oauth_reuse_grace_seconds = 0; }}) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().lose = 1;
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().asked, 1);
  EXPECT_EQ(fake_tokens().reuses, 0);
}

// Delivers a callback while every write to the store is lost from the first grant on.
Task<void> deliver_and_lose_tokens(Scene& scene, FakeHttpExchange& exchange) {
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  while (!exchange.responded()) {
    if (fake_tokens().grants > 0) scene.store->power_cut();
    co_await yield_now();
  }
  co_await scope.join();
}

SCENE_TEST(UnwrittenTokens, AreNotUsedBeforeTheyAreWritten) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  have_mail("a");
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"a"}));
  co_await deliver_and_lose_tokens(scene, exchange);
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(fake_exchange().logons(), 0);
  EXPECT_FALSE(shows("Subject of a"));
  EXPECT_NE((co_await scene.stored_subscription(subscriber)).grant_begun, WallTime());
  EXPECT_THAT(scene.log_lines, HasSubstr("tokens_not_stored"));
  // They wait, sealed, and are written first of all.
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().asked, 1);
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).grant_begun, WallTime());
}

SCENE_TEST(UnwrittenTokens, AreGoneWithTheProcessAndTheGraceDecides) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_tokens().grace = 60s;
  have_mail("a");
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"a"}));
  co_await deliver_and_lose_tokens(scene, exchange);
  co_await scene.restart();
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().asked, 2);
  EXPECT_EQ(fake_tokens().reuses, 0);
}

SCENE_TEST(RefusedTokens, AreReplacedOnceAndTheRequestRepeated) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "a"));
  fake_exchange().refuse_tokens = 1;
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "b"));
  EXPECT_EQ(fake_tokens().grants, 2);
  EXPECT_EQ(fake_tokens().claims, "");
  fake_exchange().refuse_tokens = 2;
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "c"));
  EXPECT_EQ(fake_tokens().grants, 3);
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).logon.failed, 1);
  EXPECT_EQ(resubscribe_pushes(), 1u);
}

SCENE_TEST(RefusedTokens, ThatAreNewAreReplacedOnlyWhereClaimsAreAskedFor) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  fake_exchange().refuse_tokens = 1;
  EXPECT_FALSE(co_await mail_is_shown(scene, subscriber, "a"));
  EXPECT_EQ(fake_tokens().grants, 1);
  Subscriber other = co_await scene.subscribe_oauth("ben");
  fake_exchange().refuse_tokens = 1;
  fake_exchange().claims = R"({"access_token":{"nbf":{"essential":true}}})";
  EXPECT_TRUE(co_await mail_is_shown(scene, other, "b"));
  EXPECT_EQ(fake_tokens().grants, 3);
  EXPECT_EQ(fake_tokens().claims, fake_exchange().claims);
  EXPECT_EQ(fake_tokens().reuses, 0);
}

SCENE_TEST(RefusedTokens, AfterACatchUpAreReplacedWithoutListingTwice) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  EXPECT_TRUE(co_await mail_is_shown(scene, subscriber, "a"));
  have_mail("missed");
  have_mail("b");
  subscriber.last_watermark = "another";
  fake_exchange().refuse_tokens = 1;
  EXPECT_EQ((co_await scene.mail(subscriber, {"b"})).status, 200);
  EXPECT_TRUE(shows("Subject of missed"));
  EXPECT_TRUE(shows("Subject of b"));
  EXPECT_EQ(fake_exchange().finds, 2);
  EXPECT_EQ(scene.ledger().accepted, 3u);
}

SCENE_TEST(OauthPrivacy, TheLogShowsNoToken) {
  Subscriber subscriber = co_await scene.subscribe_oauth("anna");
  co_await mail_is_shown(scene, subscriber, "a");
  fake_tokens().lose = 1;
  fake_exchange().refuse_tokens = 1;
  co_await mail_is_shown(scene, subscriber, "b");
  for (std::string_view secret : {"refresh 1", "refresh 2", "access-1", "access-2", "mail-app", "anna"}) {
    EXPECT_THAT(scene.log_lines, Not(HasSubstr(std::string(secret))));
  }
}

}  // namespace
}  // namespace bellhop::service
