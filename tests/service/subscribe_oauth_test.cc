// SPDX-License-Identifier: Apache-2.0
// Registration with OAuth: the grant comes first, and what it brought is what is stored. Runs on both back ends.

#include "core/sleep.h"
#include "crypto/split.h"
#include "tests/service/device_api_fixture.h"

namespace bellhop::service::device_api_test {
namespace {

using standin::TokenFaultKind;

BedOptions with_oauth(std::function<void(Config&)> configure = {}) {
  return {.configure = std::move(configure), .oauth = true};
}

// Opens both halves of the newest subscription.
Task<std::optional<crypto::CredentialRecord>> opened(Bed& bed, std::string url) {
  store::Route route = co_await route_of(bed, url);
  const store::SubscriptionRecord& subscription = route.subscription;
  CallbackUrl callback = parse_callback(url);
  crypto::SplitBinding binding{
      .capability = callback.capability.value(), .key_name = subscription.key, .ews_origin = subscription.ews_origin()};
  auto key = bed.vault->split_keys().open_creds(callback.creds, binding);
  if (!key) co_return std::nullopt;
  auto ciphertext = bed.vault->unseal_split(capability_of(url), subscription.split_ciphertext);
  if (!ciphertext) co_return std::nullopt;
  auto record = crypto::split_open(*key, ciphertext->reveal(), binding);
  if (!record) co_return std::nullopt;
  co_return *std::move(record);
}

Task<void> subscribes(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  std::string token = phone.fresh_refresh_token();
  Answered answer = co_await phone.send(phone.oauth_fields(token));
  CO_ASSERT(answer.status == 201);
  EXPECT_EQ(answer.text("envelope"), "split");
  EXPECT_EQ(bed.tokens->families().books.grants, 1u);
  EXPECT_EQ(bed.exchange.subscribes, 1);
  EXPECT_EQ(bed.exchange.verifies, 1) << "a bad token must show before it is stored";
  CO_ASSERT(bed.exchange.callback_urls.size() == 1);
  std::string url = bed.exchange.callback_urls[0];
  store::Route route = co_await route_of(bed, url);
  EXPECT_EQ(route.subscription.envelope, store::EnvelopeKind::split);
  EXPECT_EQ(route.subscription.kek, 1u);
  EXPECT_EQ(route.subscription.grant_begun, WallTime());
  EXPECT_EQ(parse_callback(url).creds.size(), crypto::kSplitCredsBytes);
  auto record = co_await opened(bed, url);
  CO_ASSERT(record);
  const auto& oauth = std::get<crypto::OauthCredentials>(record->logon);
  EXPECT_EQ(record->address.reveal_text(), phone.address);
  EXPECT_EQ(oauth.token_endpoint.reveal_text(), bed.tokens->url());
  EXPECT_NE(oauth.refresh_token.reveal_text(), token) << "the rotated one is what is stored";
  EXPECT_TRUE(bed.tokens->options().key->read(oauth.access_token.reveal_text()));
  // The stored token is the live one of its family: it makes the next grant.
  EXPECT_TRUE(bed.tokens->families().grant(oauth.refresh_token.reveal_text(), io::wall_now()));
  EXPECT_EQ(bed.tokens->families().books.reuses, 0u);
  for (std::string_view secret : {std::string_view(token), oauth.refresh_token.reveal_text(),
                                  oauth.access_token.reveal_text(), std::string_view(phone.address)}) {
    EXPECT_EQ(core.lines.find(secret), std::string::npos);
  }
}
TEST(SubscribeOauth, MakesAGrantAndStoresWhatItBrought) {
  run_bed(with_oauth(), subscribes);
}

Task<void> asks_for_claims(BedCore& core) {
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  core.bed.exchange.claims_asked = 1;
  Answered answer = co_await phone.send(phone.oauth_fields(phone.fresh_refresh_token()));
  EXPECT_EQ(answer.status, 201) << answer.body;
  EXPECT_EQ(core.bed.tokens->families().books.grants, 2u);
  EXPECT_EQ(core.bed.tokens->families().books.claims, 1u);
  EXPECT_EQ(core.bed.tokens->families().books.reuses, 0u);
}
TEST(SubscribeOauth, PassesClaimsOnToTheTokenEndpoint) {
  run_bed(with_oauth(), asks_for_claims);
}

Task<void> keeps_refusing(BedCore& core) {
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  core.bed.exchange.claims_asked = 5;
  Answered answer = co_await phone.send(phone.oauth_fields(phone.fresh_refresh_token()));
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.code(), "credentials");
  EXPECT_EQ(core.bed.tokens->families().books.grants, 2u);
  EXPECT_EQ((co_await core.bed.counts()).subscriptions, 0u);
}
TEST(SubscribeOauth, EndsWhereExchangeRefusesTheFreshTokenToo) {
  run_bed(with_oauth(), keeps_refusing);
}

Task<void> joins(BedCore& core) {
  Bed& bed = core.bed;
  Phone first{core}, second{core};
  second.device_id = "phone-2";
  CO_ASSERT(co_await first.fetch_key() && co_await second.fetch_key());
  CO_ASSERT((co_await first.send(first.oauth_fields(first.fresh_refresh_token()))).status == 201);
  co_await call_back(bed, bed.exchange.callback_urls.at(0), "subscription-1");
  Answered answer = co_await second.send(second.oauth_fields(second.fresh_refresh_token()));
  EXPECT_EQ(answer.status, 201) << answer.body;
  EXPECT_EQ(answer.text("envelope"), "split");
  EXPECT_EQ(bed.exchange.subscribes, 1) << "one subscription for the mailbox";
  EXPECT_EQ(bed.tokens->families().books.grants, 2u);
}
TEST(SubscribeOauth, OfAnotherDeviceProvesItsTokenAndIsForgotten) {
  run_bed(with_oauth(), joins);
}

// What the device sent, how the endpoint behaved, and what the device is told.
struct Row {
  const char* what;
  TokenFaultKind fault;
  uint16_t status;
  const char* code;
  uint64_t grants;
};

Task<void> faults(BedCore& core) {
  Bed& bed = core.bed;
  const Row rows[] = {{"invalid_grant", TokenFaultKind::invalid_grant, 403, "credentials", 0},
                      {"interaction", TokenFaultKind::interaction, 403, "credentials", 0},
                      {"throttled", TokenFaultKind::throttled, 429, "throttled", 0},
                      {"server error", TokenFaultKind::server_error, 503, "unavailable", 0},
                      {"unavailable", TokenFaultKind::unavailable, 503, "unavailable", 0},
                      {"redirect", TokenFaultKind::redirect, 503, "unavailable", 0},
                      {"html", TokenFaultKind::html, 503, "unavailable", 0},
                      {"oversized", TokenFaultKind::oversized, 503, "unavailable", 0},
                      {"stall", TokenFaultKind::stall, 503, "unavailable", 0},
                      {"hold", TokenFaultKind::hold, 503, "unavailable", 1},
                      {"drop", TokenFaultKind::drop, 503, "unavailable", 1},
                      {"truncated", TokenFaultKind::truncated, 503, "unavailable", 1}};
  int number = 0;
  uint64_t grants = 0;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  for (const Row& row : rows) {
    phone.device_id = "phone-" + std::to_string(++number);
    CO_ASSERT(bed.tokens->add_fault({.kind = row.fault, .count = 1}));
    Answered answer = co_await phone.send(phone.oauth_fields(phone.fresh_refresh_token()));
    EXPECT_EQ(answer.status, row.status) << row.what << answer.body;
    EXPECT_EQ(answer.code(), row.code) << row.what;
    EXPECT_EQ(bed.tokens->families().books.grants - grants, row.grants) << row.what;
    grants = bed.tokens->families().books.grants;
    if (row.fault == TokenFaultKind::throttled) EXPECT_TRUE(co_await sleep_for(1100ms));
  }
  EXPECT_EQ(bed.exchange.requests, 0) << "no token, no Exchange";
  store::Counts counts = co_await bed.counts();
  EXPECT_EQ(counts.subscriptions, 0u);
  EXPECT_EQ(counts.devices, 0u);
  EXPECT_EQ(bed.tokens->families().books.reuses, 0u);
}
TEST(SubscribeOauth, ToldOfEachTroubleOfTheTokenEndpoint) {
  run_bed(with_oauth([](Config& config) {
            config.oauth.grant_timeout_ms = 300;
            config.ews.breaker_window_requests = 100;
          }),
          faults);
}

Task<void> repeats_itself(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  bed.exchange.mood = FakeExchangeServer::Mood::broken;
  std::string token = phone.fresh_refresh_token();
  EXPECT_EQ((co_await phone.send(phone.oauth_fields(token))).code(), "unavailable");
  EXPECT_EQ(bed.tokens->families().books.grants, 1u);
  bed.exchange.mood = FakeExchangeServer::Mood::well;
  // The same token in a new text of credentials: it is spent, and presenting it would cost the phone its grant.
  Answered again = co_await phone.send(phone.oauth_fields(token));
  EXPECT_EQ(again.code(), "credentials");
  EXPECT_EQ(bed.tokens->families().books.requests, 1u);
  EXPECT_EQ(bed.tokens->families().books.reuses, 0u);
  EXPECT_EQ((co_await phone.send(phone.oauth_fields(phone.fresh_refresh_token()))).status, 201);
}
TEST(SubscribeOauth, PresentsASpentTokenOfADeviceThatRepeatsItselfToNobody) {
  run_bed(with_oauth([](Config& config) { config.tenants[0].oauth_reuse_grace_seconds = 0; }), repeats_itself);
}

Task<void> repeats_itself_in_grace(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  bed.tokens->families().rules.grace = 60s;
  bed.exchange.mood = FakeExchangeServer::Mood::broken;
  std::string token = phone.fresh_refresh_token();
  EXPECT_EQ((co_await phone.send(phone.oauth_fields(token))).code(), "unavailable");
  bed.exchange.mood = FakeExchangeServer::Mood::well;
  EXPECT_EQ((co_await phone.send(phone.oauth_fields(token))).status, 201);
  EXPECT_EQ(bed.tokens->families().books.grace_uses, 1u);
  EXPECT_EQ(bed.tokens->families().books.reuses, 0u);
}
TEST(SubscribeOauth, MayRepeatItselfWithinTheIssuersGrace) {
  run_bed(with_oauth(), repeats_itself_in_grace);
}

Task<void> foreign_endpoints(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  std::string port = std::to_string(bed.tokens->address().port), token = phone.fresh_refresh_token();
  for (const std::string& url :
       {std::string("https://login.example.org/token"), std::string("https://127.0.0.1:1/token"),
        "http://127.0.0.1:" + port + "/token", "https://a@127.0.0.1:" + port + "/token",
        "https://10.1.2.3:" + port + "/token", "https://169.254.169.254:" + port + "/token",
        "https://2130706433:" + port + "/token", std::string("token")}) {
    Answered answer = co_await phone.send(phone.oauth_fields(token, url));
    EXPECT_EQ(answer.code(), "forbidden") << url << answer.body;
  }
  EXPECT_EQ(bed.tokens->families().books.requests, 0u);
  EXPECT_EQ(bed.exchange.requests, 0);
}
TEST(SubscribeOauth, GoesToListedTokenHostsOnly) {
  run_bed(with_oauth(), foreign_endpoints);
}

Task<void> not_configured(BedCore& core) {
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Answered answer = co_await phone.send(phone.oauth_fields(phone.fresh_refresh_token()));
  EXPECT_EQ(answer.status, 422);
  EXPECT_EQ(answer.code(), "malformed");
  EXPECT_EQ(core.bed.tokens->families().books.requests, 0u);
}
TEST(SubscribeOauth, IsRefusedWhereTheTenantListsNoTokenHost) {
  run_bed(with_oauth([](Config& config) { config.tenants[0].oauth_token_hosts.clear(); }), not_configured);
}

Task<void> too_long_for_rsa(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  std::string username(200, 'u');
  Answered answer =
      co_await phone.send(phone.subscribe_fields().set("credentials", phone.credentials(kPassword, username)));
  CO_ASSERT(answer.status == 201);
  EXPECT_EQ(answer.text("envelope"), "split");
  auto record = co_await opened(bed, bed.exchange.callback_urls.at(0));
  CO_ASSERT(record);
  EXPECT_EQ(std::get<crypto::BasicCredentials>(record->logon).username.reveal_text(), username);
}
TEST(SubscribeSplit, TakesAPasswordThatDoesNotFitIntoAnRsaEnvelope) {
  run_bed({}, too_long_for_rsa);
}

}  // namespace
}  // namespace bellhop::service::device_api_test
