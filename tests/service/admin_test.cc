// SPDX-License-Identifier: Apache-2.0
// The operators' listener of a whole server, over TCP and over the unix socket. Runs on both back ends.

#include "service/admin.h"

#include <gtest/gtest.h>

#include <string>

#include "proto/json.h"
#include "tests/service/admin_fixture.h"

namespace bellhop::service::admin_test {
namespace {

using testing::HasSubstr;
using testing::Not;

Task<void> health_and_metrics(AdminWorld& world) {
  for (Way way : {Way::unix_socket, Way::tcp}) {
    for (const char* path : {"/livez", "/readyz", "/startupz"}) {
      Answer answer = co_await world.ask(way, "GET", path);
      EXPECT_EQ(answer.status, 200) << path;
      EXPECT_EQ(answer.body, R"({"status":"ok"})") << path;
    }
    Answer metrics = co_await world.ask(way, "GET", "/metrics");
    EXPECT_EQ(metrics.status, 200);
    EXPECT_EQ(metrics.content_type, kPrometheusContentType);
    EXPECT_THAT(metrics.body, HasSubstr("\nbellhop_users 0\n"));
    Answer head = co_await world.ask(way, "HEAD", "/metrics");
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.body, "");
  }
}

TEST(Admin, HealthAndMetricsAreServedOverSocketAndTcp) { AdminWorld::run(&health_and_metrics); }

Task<void> control_over_tcp(AdminWorld& world) {
  const std::pair<const char*, const char*> requests[] = {
      {"GET", "/v1/outcomes"}, {"GET", "/v1/tokens"},   {"POST", "/v1/tokens"}, {"DELETE", "/v1/tokens/0011223344556677"},
      {"POST", "/v1/drain"},   {"GET", "/nothing"},     {"GET", "/metrics/"},   {"GET", "/Metrics"}};
  for (auto [method, path] : requests) {
    Answer answer = co_await world.ask(Way::tcp, method, path);
    EXPECT_EQ(answer.status, 403) << method << " " << path;
    EXPECT_EQ(text_member(answer.body, "code"), "forbidden") << path;
  }
  auto tokens = co_await world.store().list_tokens();
  EXPECT_TRUE(tokens && tokens->empty());
  EXPECT_EQ((co_await world.ask("GET", "/readyz")).status, 200);  // and nothing is draining
}

TEST(Admin, TcpIsRefusedEverythingButHealthAndMetrics) { AdminWorld::run(&control_over_tcp); }

Task<void> outcomes(AdminWorld& world) {
  Answer answer = co_await world.ask("GET", "/v1/outcomes?pretty=1");
  EXPECT_EQ(answer.status, 200);
  auto document = proto::JsonDocument::parse(answer.body);
  CO_ASSERT(document);
  auto balance = document->root().integer("balance");
  EXPECT_TRUE(balance && *balance && **balance == 0);
  auto devices = document->root().required_object("devices");
  auto callbacks = document->root().required_object("callbacks");
  auto api = document->root().required_object("api");
  auto gateway = document->root().required_object("gateway");
  CO_ASSERT(devices && callbacks && api && gateway);
  for (std::string_view name : kDeviceOutcomeNames) EXPECT_TRUE(devices->find(name)) << name;
  for (std::string_view name : kCallbackOutcomeNames) EXPECT_TRUE(callbacks->find(name)) << name;
  for (std::string_view name : kApiOutcomeNames) EXPECT_TRUE(api->find(name)) << name;
  for (std::string_view name : kGatewayOutcomeNames) EXPECT_TRUE(gateway->find(name)) << name;
}

TEST(Admin, OutcomesNameTheWholeLedger) { AdminWorld::run(&outcomes); }

Task<void> token_life(AdminWorld& world) {
  Answer added = co_await world.ask("POST", "/v1/tokens", R"({"tenant":"example","scope":"device"})");
  EXPECT_EQ(added.status, 201);
  std::string id = text_member(added.body, "id"), token = text_member(added.body, "token");
  EXPECT_EQ(id.size(), 16u);
  EXPECT_EQ(token.size(), 43u);
  Answer other = co_await world.ask("POST", "/v1/tokens", R"({"tenant":"example"})");
  EXPECT_NE(text_member(other.body, "token"), token);

  Answer listed = co_await world.ask("GET", "/v1/tokens");
  EXPECT_EQ(listed.status, 200);
  EXPECT_THAT(listed.body, HasSubstr(R"("id":")" + id + R"(","tenant":"example","scope":"device","state":"active")"));
  EXPECT_THAT(listed.body, Not(HasSubstr(token)));
  auto stored = co_await world.store().list_tokens();
  CO_ASSERT(stored && stored->size() == 2);

  EXPECT_EQ((co_await world.ask("DELETE", "/v1/tokens/" + id)).status, 204);
  EXPECT_EQ((co_await world.ask("DELETE", "/v1/tokens/" + id)).status, 204);  // asked again: it is revoked
  listed = co_await world.ask("GET", "/v1/tokens");
  EXPECT_THAT(listed.body, HasSubstr(R"("id":")" + id + R"(","tenant":"example","scope":"device","state":"revoked")"));
  EXPECT_THAT(listed.body, HasSubstr(R"("state":"active")"));  // the other one
}

TEST(Admin, ATokenIsShownOnceListedWithoutItsTextAndRevoked) { AdminWorld::run(&token_life); }

Task<void> bad_tokens(AdminWorld& world) {
  const std::pair<std::string, uint16_t> bodies[] = {
      {"", 422},
      {"{", 422},
      {"[]", 422},
      {"{}", 422},
      {R"({"tenant":7})", 422},
      {R"({"tenant":"nobody"})", 422},
      {R"({"tenant":"example","scope":"admin"})", 422},
      {R"({"tenant":"example","scope":1})", 422},
      {R"({"tenant":"example","tenant":"example"})", 422},
      {R"({"tenant":")" + std::string(5000, 'x') + R"("})", 413},
  };
  for (const auto& [body, status] : bodies) {
    Answer answer = co_await world.ask("POST", "/v1/tokens", body);
    EXPECT_EQ(answer.status, status) << body.substr(0, 60);
    EXPECT_EQ(answer.content_type, "application/problem+json");
    EXPECT_NE(text_member(answer.body, "detail"), "") << body.substr(0, 60);
  }
  Answer unknown = co_await world.ask("POST", "/v1/tokens", R"({"tenant":"nobody"})");
  EXPECT_THAT(text_member(unknown.body, "detail"), HasSubstr("example"));  // what there is
  auto tokens = co_await world.store().list_tokens();
  EXPECT_TRUE(tokens && tokens->empty());
  for (const char* id : {"0011223344556677", "00", "zz11223344556677", "", "00112233445566778899"}) {
    EXPECT_EQ((co_await world.ask("DELETE", std::string("/v1/tokens/") + id)).status, 404) << id;
  }
}

TEST(Admin, AWrongTokenRequestSaysWhyAndStoresNothing) { AdminWorld::run(&bad_tokens); }

Task<void> methods_and_paths(AdminWorld& world) {
  struct Case {
    const char *method, *path, *allow;
  };
  for (Case c : {Case{"POST", "/metrics", "GET, HEAD"}, Case{"DELETE", "/v1/tokens", "GET, HEAD, POST"},
                 Case{"PUT", "/v1/outcomes", "GET, HEAD"}, Case{"GET", "/v1/drain", "POST"},
                 Case{"GET", "/v1/tokens/0011223344556677", "DELETE"}}) {
    Answer answer = co_await world.ask(c.method, c.path);
    EXPECT_EQ(answer.status, 405) << c.method << " " << c.path;
    EXPECT_EQ(answer.allow, c.allow) << c.path;
  }
  for (const char* path : {"/", "/v1", "/v1/", "/v1/token", "/v1/tokensx", "/livez/", "//livez"}) {
    EXPECT_EQ((co_await world.ask("GET", path)).status, 404) << path;
  }
}

TEST(Admin, WrongMethodsAndPathsAreRefusedByName) { AdminWorld::run(&methods_and_paths); }

Task<void> drain(AdminWorld& world) {
  Answer answer = co_await world.ask("POST", "/v1/drain");
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.body, R"({"status":"draining"})");
  world.drain_asked = true;
}

TEST(Admin, DrainIsAnsweredAndEndsTheServer) { AdminWorld::run(&drain); }

}  // namespace
}  // namespace bellhop::service::admin_test
