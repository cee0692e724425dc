// SPDX-License-Identifier: Apache-2.0
#include "proto/oauth.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace bellhop::proto {
namespace {

Result<TokenAnswer> parse(uint16_t status, std::string_view body) {
  return TokenAnswer::parse(status, as_bytes(body));
}

std::optional<BearerChallenge> challenge(std::initializer_list<std::string_view> fields) {
  HeaderBlock headers;
  for (std::string_view field : fields) EXPECT_TRUE(headers.add("WWW-Authenticate", field));
  return find_bearer_challenge(headers);
}

TEST(RefreshRequestForm, EscapesWhatAFormCannotHold) {
  std::string form;
  write_refresh_request({.refresh_token = "a b+c/d=&%\"~", .client_id = "app-1", .scope = "x y", .claims = {}}, form);
  EXPECT_EQ(form, "grant_type=refresh_token&refresh_token=a%20b%2Bc%2Fd%3D%26%25%22%7E&client_id=app-1&scope=x%20y");
  form.clear();
  write_refresh_request({.refresh_token = "r", .client_id = "c", .scope = {}, .claims = "{\"a\":1}"}, form);
  EXPECT_EQ(form, "grant_type=refresh_token&refresh_token=r&client_id=c&claims=%7B%22a%22%3A1%7D");
}

TEST(RefreshRequestForm, DoesNotMoveWhileItIsWritten) {
  std::string form;
  const std::string token(4096, '~');
  write_refresh_request({.refresh_token = token, .client_id = token, .scope = token, .claims = token}, form);
  EXPECT_LE(form.size(), 4 * 3 * 4096u + 128);
}

TEST(TokenAnswers, OfAGrantAreRead) {
  const auto answer =
      parse(200, R"({"token_type":"Bearer","expires_in":3599,"access_token":"abc","refresh_token":"r2"})");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error(), TokenError::none);
  EXPECT_EQ(answer->access_token(), "abc");
  EXPECT_EQ(answer->refresh_token(), "r2");
  EXPECT_EQ(answer->expires_in_s(), 3599u);
}

TEST(TokenAnswers, MayLeaveOutLifetimeAndRefreshToken) {
  const auto answer = parse(200, R"({"access_token":"abc","token_type":"bearer","refresh_token":null})");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->refresh_token(), "");
  EXPECT_EQ(answer->expires_in_s(), 0u);
}

TEST(TokenAnswers, MayWriteTheLifetimeAsTextAndBoundIt) {
  const auto lifetime = [](std::string_view json) {
    const auto answer =
        parse(200, R"({"access_token":"a","token_type":"Bearer","expires_in":)" + std::string(json) + "}");
    return answer ? static_cast<int64_t>(answer->expires_in_s()) : -1;
  };
  EXPECT_EQ(lifetime("\"3600\""), 3600);
  EXPECT_EQ(lifetime("3600.5"), 3600);
  EXPECT_EQ(lifetime("1e300"), TokenAnswer::kExpiresInMax_s);
  EXPECT_EQ(lifetime("\"99999999999999\""), TokenAnswer::kExpiresInMax_s);
  for (std::string_view bad : {"-1", "\"-1\"", "\"soon\"", "true", "[1]"}) EXPECT_EQ(lifetime(bad), -1) << bad;
}

TEST(TokenAnswers, ThatAreNoGrantAreMalformed) {
  for (std::string_view bad :
       {"", "<html>", "[]", "{}", R"({"access_token":"a"})", R"({"access_token":"a","token_type":"mac"})",
        R"({"access_token":7,"token_type":"Bearer"})",
        R"({"access_token":"a","token_type":"Bearer","refresh_token":1})",
        R"({"access_token":"a","token_type":"Bearer"} x)", R"({"error":"invalid_grant"})"}) {
    EXPECT_FALSE(parse(200, bad)) << bad;
  }
  EXPECT_FALSE(parse(200, R"({"token_type":"Bearer","access_token":")" + std::string(70'000, 'a') + "\"}"));
  EXPECT_FALSE(parse(302, ""));
  EXPECT_FALSE(parse(400, R"({"error":{}})"));
}

TEST(TokenAnswers, OfRefusalsHaveTheirReason) {
  const auto error = [](std::string_view name) {
    const auto answer = parse(400, R"({"error":")" + std::string(name) + R"(","error_description":"of no interest"})");
    EXPECT_TRUE(answer);
    return answer->error();
  };
  EXPECT_EQ(error("invalid_grant"), TokenError::invalid_grant);
  EXPECT_EQ(error("interaction_required"), TokenError::interaction_required);
  EXPECT_EQ(error("consent_required"), TokenError::interaction_required);
  EXPECT_EQ(error("login_required"), TokenError::interaction_required);
  EXPECT_EQ(error("temporarily_unavailable"), TokenError::unavailable);
  EXPECT_EQ(error("server_error"), TokenError::unavailable);
  for (std::string_view name : {"invalid_client", "invalid_scope", "unauthorized_client", "something_new"}) {
    EXPECT_EQ(error(name), TokenError::invalid_client) << name;
  }
  // A grant under another status than 200 is none.
  EXPECT_FALSE(parse(400, R"({"access_token":"a","token_type":"Bearer"})"));
}

TEST(TokenAnswers, KeepTheirTextsWhenTheyMove) {
  auto answer = parse(200, R"({"access_token":"abc","token_type":"Bearer","refresh_token":"def"})");
  ASSERT_TRUE(answer);
  const TokenAnswer moved = *std::move(answer);
  EXPECT_EQ(moved.access_token(), "abc");
  EXPECT_EQ(moved.refresh_token(), "def");
}

TEST(BearerChallenges, TellOfARefusedToken) {
  const auto found = challenge({R"(Bearer realm="x", error="invalid_token", error_description="it, has \"expired\"")"});
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->token_refused);
  EXPECT_EQ(found->claims, "");
}

TEST(BearerChallenges, AreFoundAmongOthers) {
  EXPECT_FALSE(challenge({}));
  EXPECT_FALSE(challenge({R"(Basic realm="Bearer error=invalid_token")", "Negotiate", "NTLM TlRMTVNTUAAB=="}));
  const auto listed = challenge({R"(Negotiate, NTLM TlRMTVNTUAAB==, Basic realm="a", bearer error = "invalid_token")"});
  ASSERT_TRUE(listed);
  EXPECT_TRUE(listed->token_refused);
  const auto before = challenge({R"(Bearer error="invalid_token", Basic error="other")"});
  ASSERT_TRUE(before);
  EXPECT_TRUE(before->token_refused);
  const auto fields = challenge({"Negotiate", R"(Basic realm="x")", "Bearer error=invalid_token"});
  ASSERT_TRUE(fields);
  EXPECT_TRUE(fields->token_refused);
  // The error belongs to another scheme.
  const auto other = challenge({R"(Bearer client_id="1", Digest error="invalid_token")"});
  ASSERT_TRUE(other);
  EXPECT_FALSE(other->token_refused);
}

TEST(BearerChallenges, OfAFirstVisitRefuseNoToken) {
  const auto found =
      challenge({R"(Bearer client_id="00000002-0000", trusted_issuers="a@b, c@d")", "Basic realm=\"m\""});
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->token_refused);
  const auto alone = challenge({"Bearer"});
  ASSERT_TRUE(alone);
  EXPECT_FALSE(alone->token_refused);
  EXPECT_FALSE(challenge({R"(Bearer error="insufficient_scope")"})->token_refused);
}

TEST(BearerChallenges, CarryClaims) {
  const std::string json = R"({"access_token":{"nbf":{"essential":true,"value":"1604106651"}}})";
  for (const std::string& text : {to_base64(as_bytes(json)), to_base64url(as_bytes(json))}) {
    const auto found = challenge({R"(Bearer error="insufficient_claims", claims=")" + text + "\""});
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->token_refused);
    EXPECT_EQ(found->claims, json);
  }
  const std::string large = "{\"a\":\"" + std::string(kClaimsBytesMax, 'x') + "\"}";
  for (const std::string& bad : {std::string("***"), to_base64(as_bytes("no json")), to_base64(as_bytes("[1]")),
                                 std::string(), to_base64(as_bytes(large))}) {
    const auto found = challenge({R"(Bearer error="insufficient_claims", claims=")" + bad + "\""});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->claims, "") << bad;
  }
}

// Whatever comes is read to an end, and what was whole before the break counts.
TEST(BearerChallenges, ThatBreakTheGrammarEndThere) {
  for (std::string_view bad : {"Bearer error=\"invalid_token", "Bearer error=", "Bearer error", "=", "Bearer =x", "\"",
                               "Bearer error=\"invalid_token\\", ",,,", "Bearer a b c", "Bearer a=\"1\"b=2"}) {
    const auto found = challenge({bad});
    if (found) EXPECT_FALSE(found->token_refused) << bad;
  }
  const std::string whole = R"(Negotiate, Bearer realm="a", error="invalid_token", claims="eyJhIjoxfQ==")";
  for (size_t size = 0; size <= whole.size(); ++size) (void)challenge({std::string_view(whole).substr(0, size)});
  uint64_t random = 1;
  for (int round = 0; round < 5000; ++round) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    std::string changed = whole;
    changed[(random >> 33) % changed.size()] = "\",= \\Bz"[(random >> 20) % 7];
    (void)challenge({changed});
  }
}

}  // namespace
}  // namespace bellhop::proto
