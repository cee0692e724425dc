// SPDX-License-Identifier: Apache-2.0
// Grants at a scripted token endpoint. Runs on both back ends.

#include "service/token_client.h"

#include <fmt/format.h>

#include "service/error_texts.h"
#include "tests/ews/token_scene.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

Task<void> grants(Scene& s) {
  TokenScene tokens(s);
  s.peer.otherwise = granted();
  GrantReply reply = co_await tokens.client->refresh(tokens.request());
  CO_ASSERT(reply);
  EXPECT_EQ(reply->access_token.reveal_text(), "an-access-token");
  EXPECT_EQ(reply->refresh_token.reveal_text(), "the-next");
  EXPECT_EQ(reply->lifetime, Duration(1h));
  CO_ASSERT(s.peer.seen.size() == 1);
  const Seen& seen = s.peer.seen[0];
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.target, "/tenant/token?x=1");
  EXPECT_EQ(seen.type, proto::kFormMediaType);
  EXPECT_EQ(seen.authorization, "");
  EXPECT_EQ(seen.body, "grant_type=refresh_token&refresh_token=0.the-refresh-token&client_id=mail-app&scope=a%20b");
  EXPECT_EQ(tokens.counted(GrantResult::ok), 1u);
  // Each has a connection of its own, and nothing of it is in the log.
  EXPECT_TRUE(co_await tokens.client->refresh(tokens.request()));
  EXPECT_EQ(s.peer.connections, 2u);
  for (const char* secret : {"0.the-refresh-token", "an-access-token", "the-next", "mail-app"}) {
    EXPECT_THAT(s.log_text(), Not(HasSubstr(secret)));
  }
  EXPECT_THAT(s.log_text(), HasSubstr("token_granted"));
  co_await tokens.client->close();
}
TEST(TokenClient, MakesARefreshGrant) {
  run_scene(grants);
}

Task<void> keeps(Scene& s) {
  TokenScene tokens(s);
  s.peer.otherwise = json_answer(200, R"({"token_type":"bearer","access_token":"abc"})");
  GrantReply reply = co_await tokens.client->refresh(tokens.request());
  CO_ASSERT(reply);
  EXPECT_TRUE(reply->refresh_token.empty());
  EXPECT_EQ(reply->lifetime, kTokenLifetimeDefault);
  co_await tokens.client->close();
}
TEST(TokenClient, TakesAnAnswerWithoutLifetimeAndRefreshToken) {
  run_scene(keeps);
}

struct Row {
  const char* what;
  std::string answer;
  Reply::End end;
  GrantFailureKind kind;
  GrantResult result;
  bool maybe_spent;
};

std::vector<Row> rows() {
  using enum GrantFailureKind;
  auto keep = Reply::End::keep;
  std::string huge = R"({"token_type":"Bearer","access_token":")" + std::string(70'000, 'a') + "\"}";
  std::string long_token = R"({"token_type":"Bearer","access_token":")" + std::string(9'000, 'a') + "\"}";
  auto error = [](uint16_t status, std::string_view name) {
    return json_answer(status, fmt::format(R"({{"error":"{}"}})", name));
  };
  return {
      {"invalid_grant", error(400, "invalid_grant"), keep, refused, GrantResult::refused, false},
      {"interaction", error(400, "interaction_required"), keep, refused, GrantResult::refused, false},
      {"invalid client, 401", error(401, "invalid_client"), keep, refused, GrantResult::refused, false},
      {"temporarily", error(400, "temporarily_unavailable"), keep, unavailable, GrantResult::http_error, false},
      {"HTML with 403", http_answer(403, "<html>", "", "text/html"), keep, garbage, GrantResult::malformed, false},
      {"HTML with 200", http_answer(200, "<html>", "", "text/html"), keep, garbage, GrantResult::malformed, true},
      {"500", plain(500), keep, unavailable, GrantResult::http_error, false},
      {"502", plain(502), keep, unavailable, GrantResult::http_error, true},
      {"503", plain(503), keep, unavailable, GrantResult::http_error, false},
      {"504", plain(504), keep, unavailable, GrantResult::http_error, true},
      {"redirect", plain(302, "location: https://127.0.0.1/elsewhere\r\n"), keep, garbage, GrantResult::redirected,
       false},
      {"redirect 307", plain(307, "location: /elsewhere\r\n"), keep, garbage, GrantResult::redirected, false},
      {"204", "HTTP/1.1 204 No\r\n\r\n", keep, garbage, GrantResult::malformed, true},
      {"no token", json_answer(200, "{}"), keep, garbage, GrantResult::malformed, true},
      {"another type", json_answer(200, R"({"token_type":"mac","access_token":"a"})"), keep, garbage,
       GrantResult::malformed, true},
      {"token with a line end", json_answer(200, R"({"token_type":"Bearer","access_token":"a\r\nb"})"), keep, garbage,
       GrantResult::malformed, true},
      {"token too long", json_answer(200, long_token), keep, garbage, GrantResult::malformed, true},
      {"too large", json_answer(200, huge), keep, garbage, GrantResult::too_large, true},
      {"gzip", json_answer(200, "{}", "content-encoding: gzip\r\n"), keep, garbage, GrantResult::malformed, true},
      {"no HTTP", "hello\r\n\r\n", keep, garbage, GrantResult::malformed, true},
      {"nothing", "", Reply::End::close, unavailable, GrantResult::http_error, true},
      {"cut", granted().substr(0, granted().size() - 5), Reply::End::close, unavailable, GrantResult::http_error, true},
  };
}

Task<void> fails(Scene& s) {
  TokenScene tokens(s);
  for (const Row& row : rows()) {
    s.peer.script.push_back({.bytes = row.answer, .end = row.end});
    size_t asked = s.peer.seen.size();
    uint64_t before = tokens.counted(row.result);
    GrantReply reply = co_await tokens.client->refresh(tokens.request());
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, row.kind) << row.what;
    EXPECT_EQ(reply.error().maybe_spent, row.maybe_spent) << row.what;
    EXPECT_EQ(tokens.counted(row.result), before + 1) << row.what;
    EXPECT_EQ(s.peer.seen.size(), asked + 1) << row.what << ": never sent twice, wherever it points";
  }
  co_await tokens.client->close();
}
TEST(TokenClient, NamesEachFailureAndWhetherTheTokenMayBeSpent) {
  run_scene(fails, [](EwsConfig& config) { config.breaker_window_requests = 1'000; });
}

Task<void> stalls(Scene& s) {
  TokenScene tokens(s);
  Event never;
  s.peer.script.push_back({.bytes = granted(), .hold = &never});
  Instant begin = io::now();
  GrantReply reply = co_await tokens.client->refresh(tokens.request());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, GrantFailureKind::unavailable);
  EXPECT_TRUE(reply.error().maybe_spent);
  EXPECT_EQ(tokens.counted(GrantResult::timed_out), 1u);
  EXPECT_GE(io::now() - begin, 400ms);
  EXPECT_LT(io::now() - begin, 5s);
  never.set();
  co_await tokens.client->close();
}
TEST(TokenClient, GivesUpOnAnEndpointThatStalls) {
  run_scene(stalls);
}

Task<void> not_there(Scene& s) {
  TokenScene tokens(s);
  // The port of 127.0.0.2 has no listener.
  std::string url = fmt::format("https://127.0.0.2:{}/token", s.peer.port());
  GrantReply reply = co_await tokens.client->refresh(tokens.request(url));
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, GrantFailureKind::unavailable);
  EXPECT_FALSE(reply.error().maybe_spent) << "nothing was sent";
  EXPECT_EQ(tokens.counted(GrantResult::connect_failed), 1u);
  co_await tokens.client->close();
}
TEST(TokenClient, KnowsThatATokenIsNotSpentWhereNoConnectionWasMade) {
  run_scene(not_there);
}

Task<void> not_listed(Scene& s) {
  TokenScene tokens(s);
  std::string port = std::to_string(s.peer.port());
  for (const std::string& url : {"https://localhost:" + port + "/token", std::string("https://127.0.0.1:1/token"),
                                 "http://127.0.0.1:" + port + "/token", "https://10.1.2.3:" + port + "/token",
                                 "https://user@127.0.0.1:" + port + "/token", std::string("")}) {
    GrantRequest request = tokens.request();
    request.endpoint = url;
    GrantReply reply = co_await tokens.client->refresh(request);
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, GrantFailureKind::not_allowed) << url;
    EXPECT_FALSE(reply.error().maybe_spent);
  }
  EXPECT_EQ(s.peer.connections, 0u);
  EXPECT_EQ(tokens.counted(GrantResult::not_allowed), 6u);
  co_await tokens.client->close();
}
TEST(TokenClient, ConnectsToListedHostsAndAllowedAddressesOnly) {
  run_scene(not_listed);
}

Task<void> throttled(Scene& s) {
  TokenScene tokens(s);
  s.peer.script.push_back({.bytes = json_answer(429, R"({"error":"slow_down"})", "retry-after: 2\r\n")});
  s.peer.otherwise = granted();
  GrantReply reply = co_await tokens.client->refresh(tokens.request());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, GrantFailureKind::throttled);
  EXPECT_EQ(reply.error().retry_after, Duration(2s));
  EXPECT_FALSE(co_await tokens.client->refresh(tokens.request())) << "not before the time is over";
  EXPECT_THAT(s.peer.seen, SizeIs(1));
  EXPECT_TRUE(co_await sleep_for(2s));
  EXPECT_TRUE(co_await tokens.client->refresh(tokens.request()));
  co_await tokens.client->close();
}
TEST(TokenClient, WaitsWhereTheEndpointAsksForIt) {
  run_scene(throttled);
}

Task<void> breaks(Scene& s) {
  TokenScene tokens(s);
  s.peer.otherwise = plain(500);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(co_await tokens.client->refresh(tokens.request()));
  EXPECT_THAT(s.peer.seen, SizeIs(5));
  GrantReply reply = co_await tokens.client->refresh(tokens.request());
  CO_ASSERT(!reply);
  EXPECT_FALSE(reply.error().maybe_spent);
  EXPECT_EQ(tokens.counted(GrantResult::breaker_open), 1u);
  EXPECT_THAT(s.peer.seen, SizeIs(5));
  s.peer.otherwise = granted();
  EXPECT_TRUE(co_await sleep_for(700ms));
  EXPECT_TRUE(co_await tokens.client->refresh(tokens.request()));
  co_await tokens.client->close();
}
TEST(TokenClient, LeavesAFailingHostAloneForAWhile) {
  run_scene(breaks, [](EwsConfig& config) {
    config.breaker_window_requests = 5;
    config.breaker_open_ms = 500;
  });
}

Task<void> refresh_into(TokenScene& tokens, std::optional<GrantReply>& out) {
  GrantRequest request = tokens.request();
  out.emplace(co_await tokens.client->refresh(request));
}

Task<void> is_bounded(Scene& s) {
  TokenScene tokens(
      s, {.grant_timeout_ms = 5'000, .requests_per_host_in_flight_max = 2, .requests_per_host_waiting_max = 1});
  Event release;
  s.peer.otherwise = granted();
  for (int i = 0; i < 3; ++i) s.peer.script.push_back({.bytes = granted(), .hold = &release});
  TaskScope scope(&co_await current_context());
  std::optional<GrantReply> replies[3];
  for (auto& reply : replies) scope.spawn(refresh_into(tokens, reply));
  co_await s.peer.until_seen(2);
  GrantReply full = co_await tokens.client->refresh(tokens.request());
  CO_ASSERT(!full);
  EXPECT_FALSE(full.error().maybe_spent);
  EXPECT_EQ(tokens.counted(GrantResult::waiting_limit), 1u);
  release.set();
  co_await scope.join();
  for (auto& reply : replies) EXPECT_TRUE(reply && *reply);
  EXPECT_EQ(s.peer.in_flight_max, 2u);
  co_await tokens.client->close();
}
TEST(TokenClient, BoundsGrantsAndWaitingOnesPerHost) {
  run_scene(is_bounded);
}

Task<void> is_not_cut_short(Scene& s) {
  TokenScene tokens(s, {.grant_timeout_ms = 5'000});
  Event release;
  s.peer.script.push_back({.bytes = granted(), .hold = &release});
  TaskScope scope(&co_await current_context());
  std::optional<GrantReply> reply;
  scope.spawn(refresh_into(tokens, reply));
  co_await s.peer.until_seen(1);
  scope.request_stop();
  release.set();
  co_await scope.join();
  CO_ASSERT(reply && *reply);
  EXPECT_EQ((*reply)->refresh_token.reveal_text(), "the-next") << "what the endpoint gave is kept";
  co_await tokens.client->close();
  GrantReply late = co_await tokens.client->refresh(tokens.request());
  EXPECT_FALSE(late);
  EXPECT_THAT(s.peer.seen, SizeIs(1));
}
TEST(TokenClient, FinishesAGrantThoughItsCallerIsStopped) {
  run_scene(is_not_cut_short);
}

}  // namespace
}  // namespace bellhop::service
