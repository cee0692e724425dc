// SPDX-License-Identifier: Apache-2.0
// The device API but for `subscribe`: routes, tokens, bodies, keys, limits. Runs on both back ends.

#include "service/device_api.h"

#include "core/sleep.h"
#include "service/api_tokens.h"
#include "tests/service/device_api_fixture.h"

namespace bellhop::service::device_api_test {
namespace {

Task<void> expect_routes(BedCore& core) {
  for (std::string base : {"/MailNotifications/api/ens/", "/api/ens/"}) {
    EXPECT_TRUE(DeviceApi::owns(base + "alive"));
    Answered alive = co_await core.ask({.method = "GET", .path = base + "alive", .token = {}});
    EXPECT_EQ(alive.status, 200);
    EXPECT_EQ(alive.body, R"({"status":"ok"})");
    EXPECT_EQ(alive.content_type, "application/json");
    for (std::string path : {"", "nothing", "alive/", "Alive", "subscribe/x"}) {
      Answered none = co_await core.ask({.path = base + path});
      EXPECT_EQ(none.status, 404) << path;
      EXPECT_EQ(none.content_type, "application/problem+json");
      EXPECT_EQ(none.code(), "malformed");
    }
    Answered method = co_await core.ask({.path = base + "alive"});
    EXPECT_EQ(method.status, 405);
    EXPECT_EQ(method.headers["allow"], "GET");
    for (std::string route : {"getpublickey", "subscribe", "checkin", "updatetoken", "unsubscribe"}) {
      Answered wrong = co_await core.ask({.method = "GET", .path = base + route});
      EXPECT_EQ(wrong.status, 405) << route;
      EXPECT_EQ(wrong.headers["allow"], "POST");
      EXPECT_EQ((co_await core.ask({.method = "PUT", .path = base + route})).status, 405);
    }
  }
  EXPECT_FALSE(DeviceApi::owns("/notify"));
  EXPECT_FALSE(DeviceApi::owns("/api/ensign"));
  EXPECT_EQ(core.ledger.snapshot().api[size_t(ApiOutcome::ok)], 2u);
}

TEST(DeviceApiTest, ServesItsRoutesBelowBothBasesAndNothingElse) {
  run_bed({}, expect_routes);
}

Task<void> expect_draining(BedCore& core) {
  core.bed.node->draining = true;
  Answered alive = co_await core.ask({.method = "GET", .path = "/api/ens/alive", .token = {}});
  EXPECT_EQ(alive.status, 503);
  EXPECT_EQ(alive.code(), "unavailable");
  EXPECT_TRUE(alive.close);
  EXPECT_FALSE(alive.headers["retry-after"].empty());
  core.bed.node->draining = false;
  core.bed.node->ready = false;
  EXPECT_EQ((co_await core.post("checkin", "{}")).status, 503);
}

TEST(DeviceApiTest, SaysThatItDrains) {
  run_bed({}, expect_draining);
}

Task<void> expect_one_refusal(BedCore& core) {
  Bed& bed = core.bed;
  co_await bed.add_token("revoked", kTenant, store::TokenScope::device, 2);
  store::TokenId revoked;
  revoked.bytes[0] = 2;
  EXPECT_TRUE(co_await bed.store->revoke_token(revoked, io::wall_now()));
  co_await bed.add_token("for admins", kTenant, store::TokenScope::admin, 3);
  co_await bed.add_token("of nobody", "no-such-tenant", store::TokenScope::device, 4);
  std::optional<Answered> first;
  for (std::optional<std::string> token : std::initializer_list<std::optional<std::string>>{{},
                                                                                            "",
                                                                                            "unknown",
                                                                                            "revoked",
                                                                                            "for admins",
                                                                                            "of nobody",
                                                                                            std::string(kToken) + "x",
                                                                                            std::string(5000, 'x')}) {
    Answered answer = co_await core.ask({.path = "/api/ens/checkin", .body = "{}", .token = token});
    EXPECT_EQ(answer.status, 401);
    EXPECT_EQ(answer.code(), "unauthorized");
    if (!first) first = answer;
    EXPECT_EQ(answer.body, first->body);
    EXPECT_EQ(answer.headers, first->headers);
  }
  EXPECT_EQ((co_await core.post("checkin", "{}")).status, 422);  // a good one is let in
}

TEST(DeviceApiTest, RefusesMissingUnknownRevokedAndForeignTokensAlike) {
  run_bed({}, expect_one_refusal);
}

Task<void> expect_bad_tokens_limited(BedCore& core) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ((co_await core.ask({.path = "/api/ens/checkin", .body = "{}", .token = "bad"})).status, 401);
  }
  Answered more = co_await core.ask({.path = "/api/ens/checkin", .body = "{}", .token = "bad"});
  EXPECT_EQ(more.status, 429);
  EXPECT_EQ(more.code(), "throttled");
  EXPECT_EQ(more.headers["retry-after"], "20");
  EXPECT_TRUE(more.close);
  EXPECT_EQ(
      (co_await core.ask({.path = "/api/ens/checkin", .body = "{}", .token = "bad", .address = "198.51.100.8"})).status,
      401);
  EXPECT_EQ((co_await core.post("checkin", "{}")).status, 422);  // phones behind the same address go on
}

TEST(DeviceApiTest, LimitsBadTokensOfOneAddressWithoutHoldingUpGoodOnes) {
  run_bed({.configure = [](Config& c) { c.limits.unauthorized_per_address_per_minute = 3; }},
          expect_bad_tokens_limited);
}

Task<void> expect_revocation(BedCore& core) {
  EXPECT_EQ((co_await core.post("checkin", "{}")).status, 422);
  store::TokenId id;
  id.bytes[0] = 1;
  EXPECT_TRUE(co_await core.bed.store->revoke_token(id, io::wall_now()));
  Instant revoked = io::now();
  while ((co_await core.post("checkin", "{}")).status != 401) {
    CO_ASSERT(io::now() - revoked < 2s);
    CO_ASSERT(co_await sleep_for(20ms));
  }
  EXPECT_LT(io::now() - revoked, 2s);
}

TEST(DeviceApiTest, RevokedTokenIsOfNoUseWithinTwoSeconds) {
  run_bed({}, expect_revocation);
}

Task<void> expect_bounded_memory(BedCore& core) {
  Bed& bed = core.bed;
  ApiTokens tokens(*bed.store, *bed.vault, core.core.generations);
  EXPECT_TRUE(co_await tokens.check(kToken));
  EXPECT_EQ(tokens.remembered(), 1u);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(co_await tokens.check("guess " + std::to_string(i)));
  EXPECT_EQ(tokens.remembered(), 1u);
  for (size_t i = 0; i < ApiTokens::kRememberedMax; ++i) {
    std::string text = "good " + std::to_string(i);
    store::TokenRecord record{.tenant = std::string(kTenant)};
    store_be32(record.id.bytes.data() + 4, static_cast<uint32_t>(i));
    EXPECT_TRUE(co_await bed.store->add_token(bed.vault->token_hash(text), record));
    EXPECT_TRUE(co_await tokens.check(text));
    EXPECT_LE(tokens.remembered(), ApiTokens::kRememberedMax);
  }
}

TEST(DeviceApiTest, RemembersGoodTokensOnlyAndABoundedNumber) {
  run_bed({}, expect_bounded_memory);
}

Task<void> expect_bodies(BedCore& core) {
  Answered large = co_await core.post("checkin", "{\"userId\":\"" + std::string(64 * 1024, 'a') + "\"}");
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(large.code(), "malformed");
  EXPECT_TRUE(large.close);
  std::string user(64, 'a');
  for (std::string body :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("{\"a\":1}x"),
        std::string("{\"userId\":1}"), "{\"userId\":\"" + user + "\",\"userId\":\"" + user + "\"}",
        std::string("{\"userId\":\"ab\"}"), "{\"userId\":\"" + std::string(64, 'g') + "\"}",
        std::string("{\"userId\":null}"), "{\"userId\":\"" + user + "\",\"deviceId\":5}",
        "{\"userId\":\"" + user + "\",\"deviceId\":\"\"}", "{\"userId\":\"" + user + "\",\"deviceId\":\"a b\"}",
        "{\"userId\":\"" + user + "\",\"deviceId\":\"" + std::string(129, 'd') + "\"}",
        "{\"userId\":\"" + user + "\",\"deviceId\":\"d\",\"deviceSecret\":\"" + std::string(129, 's') + "\"}",
        "{\"userId\":\"" + user + "\",\"deviceId\":\"d\",\"deviceSecret\":[]}"}) {
    for (std::string route : {"checkin", "unsubscribe", "updatetoken", "subscribe"}) {
      Answered answer = co_await core.post(route, body);
      EXPECT_EQ(answer.status, 422) << route << " " << body;
      EXPECT_EQ(answer.code(), "malformed");
      EXPECT_EQ(answer.content_type, "application/problem+json");
    }
  }
  EXPECT_EQ((co_await core.post("getpublickey", "{}")).status, 422);
  EXPECT_EQ((co_await core.bed.counts()).users, 0u);
}

TEST(DeviceApiTest, RefusesBodiesThatAreTooLargeOrNotWhatTheyShouldBe) {
  run_bed({}, expect_bodies);
}

Task<void> expect_same_key(BedCore& core) {
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  EXPECT_EQ(phone.key->id().text(), phone.key_id);
  std::string first = phone.key_id;
  Answered answer = co_await core.post("getpublickey", Fields().set("userId", phone.user_id()).json());
  EXPECT_EQ(answer.text("keyId"), first);
  EXPECT_EQ(answer.text("userId"), phone.user_id());
  auto document = proto::JsonDocument::parse(answer.body);
  CO_ASSERT(document);
  auto jwk = document->root().required_object("jwk");
  CO_ASSERT(jwk);
  EXPECT_EQ(jwk->required_string("kid").value(), first);
  auto algorithms = document->root().required_array("algorithms");
  CO_ASSERT(algorithms);
  EXPECT_EQ(algorithms->at(0).string().value(), "RSA-OAEP-256");
  EXPECT_EQ((co_await core.bed.counts()).users, 1u);

  Phone other{.core = core, .address = "bob@example.test"};
  CO_ASSERT(co_await other.fetch_key());
  EXPECT_NE(other.key_id, first);
  // The pool is empty now: those who have a key still get it.
  Answered third = co_await core.post("getpublickey", Fields().set("userId", std::string(64, '0')).json());
  EXPECT_EQ(third.status, 503);
  EXPECT_EQ(third.code(), "unavailable");
  EXPECT_EQ(third.headers["retry-after"], "5");
  CO_ASSERT(co_await phone.fetch_key());
  EXPECT_EQ(phone.key_id, first);
}

TEST(DeviceApiTest, GivesTheSameKeyAgainAndSaysWhenThereIsNone) {
  run_bed({}, expect_same_key);
}

Task<void> expect_key_limits(BedCore& core) {
  std::string body = Fields().set("userId", std::string(64, '1')).json();
  Asked asked{.path = "/api/ens/getpublickey", .body = body};
  for (int i = 0; i < 3; ++i) EXPECT_EQ((co_await core.ask(asked)).status, 200);
  Answered fourth = co_await core.ask(asked);
  EXPECT_EQ(fourth.status, 429);
  EXPECT_EQ(fourth.code(), "throttled");
  EXPECT_EQ(fourth.headers["retry-after"], "20");
  asked.address = "198.51.100.8";
  EXPECT_EQ((co_await core.ask(asked)).status, 200);
  EXPECT_EQ((co_await core.ask(asked)).status, 200);
  EXPECT_EQ((co_await core.ask(asked)).status, 429);  // the tenant's five are used up
}

TEST(DeviceApiTest, LimitsKeyRequestsPerAddressAndPerTenant) {
  run_bed({.configure =
               [](Config& c) {
                 c.limits.getpublickey_per_address_per_minute = 3;
                 c.limits.getpublickey_per_tenant_per_minute = 5;
               }},
          expect_key_limits);
}

TEST(DeviceApiTest, LimitsCountForAllCoresTogether) {
  run_bed({.configure =
               [](Config& c) {
                 c.limits.getpublickey_per_address_per_minute = 3;
                 c.limits.getpublickey_per_tenant_per_minute = 5;
               }},
          expect_key_limits, 2);
}

Task<void> expect_tenant_subscribes_limited(BedCore& core) {
  Asked asked{.path = "/api/ens/subscribe", .body = "{}"};
  for (int i = 0; i < 4; ++i) {
    asked.address = "198.51.100." + std::to_string(i + 1);
    EXPECT_EQ((co_await core.ask(asked)).status, 422);
  }
  asked.address = "198.51.100.100";
  Answered fifth = co_await core.ask(asked);
  EXPECT_EQ(fifth.status, 429) << "the tenant's four are used up, whatever the address";
  EXPECT_EQ(fifth.headers["retry-after"], "15");
  asked.address = "192.0.2.1";
  EXPECT_EQ((co_await core.ask(asked)).status, 429) << "an exempt address is exempt from limits per address";
  EXPECT_EQ(core.metrics.value(metric::rate_limited, RateLimit::subscribe_tenant), 2u);
}
TEST(DeviceApiTest, ATenantsSubscribesAreLimited) {
  run_bed({.configure =
               [](Config& c) {
                 c.limits.subscribe_per_tenant_per_minute = 4;
                 c.limits.exempt_cidrs.push_back({.address = {192, 0, 2, 0}, .bits = 24});
               }},
          expect_tenant_subscribes_limited);
}

Task<void> expect_exempt(BedCore& core) {
  Asked asked{.path = "/api/ens/subscribe", .body = "{}", .address = "192.0.2.1"};
  for (int i = 0; i < 5; ++i) EXPECT_EQ((co_await core.ask(asked)).status, 422);
  asked.address = "198.51.100.7";
  EXPECT_EQ((co_await core.ask(asked)).status, 422);
  EXPECT_EQ((co_await core.ask(asked)).status, 429);
  EXPECT_EQ(core.metrics.value(metric::rate_limited, RateLimit::subscribe_address), 1u);
}
TEST(DeviceApiTest, ExemptAddressesAreNotCounted) {
  run_bed({.configure =
               [](Config& c) {
                 c.limits.subscribe_per_address_per_minute = 1;
                 c.limits.exempt_cidrs.push_back({.address = {192, 0, 2, 0}, .bits = 24});
               }},
          expect_exempt);
}

}  // namespace
}  // namespace bellhop::service::device_api_test
