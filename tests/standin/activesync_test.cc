// SPDX-License-Identifier: Apache-2.0
// ActiveSync of the stand-in, and what it notes of requests.
#include "tools/standin/activesync.h"

#include <algorithm>

#include "tests/standin/site.h"
#include "tools/standin/activesync_tags.h"

namespace bellhop::standin::test {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kAlice = "alice@example.com";
constexpr const char* kAliceBasic = "Basic YWxpY2VAZXhhbXBsZS5jb206c2VjcmV0";  // "secret"

WorldOptions options_for_phones() {
  WorldOptions options;
  options.exchange.time_scale = fast();
  options.exchange.heartbeats = false;
  options.exchange.requests_kept = 10;
  options.exchange.heartbeat_seconds_min = 1;
  return options;
}

std::string target(std::string_view command, std::string_view device = "PHONE") {
  return "/Microsoft-Server-ActiveSync?Cmd=" + std::string(command) +
         "&User=alice&DeviceType=iPhone&DeviceId=" + std::string(device);
}

// The root of a good answer; nothing and a failure of the test where it is another one.
std::optional<WbxmlElement> root_of(const EwsResult& result) {
  EXPECT_EQ(result.status, 200);
  std::string complaint;
  auto root = read_wbxml(as_bytes(result.body), complaint);
  EXPECT_TRUE(root) << complaint;
  return root;
}

std::string folder_sync_body() {
  WbxmlElement root{.tag = folder_hierarchy::kFolderSync};
  root.add(folder_hierarchy::kSyncKey, "0");
  return write_wbxml(root);
}

std::string ping_body(uint64_t seconds) {
  WbxmlElement root{.tag = ping::kPing};
  root.add_number(ping::kHeartbeatInterval, seconds);
  root.add(ping::kFolders).add(ping::kFolder).add(ping::kId, kInboxCollection);
  return write_wbxml(root);
}

Task<void> make_phone(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  auto root = root_of(co_await site.ews_authorized(kAliceBasic, folder_sync_body(), target("FolderSync")));
  EXPECT_TRUE(root && root->text_of(folder_hierarchy::kStatus) == "1");
}

Task<void> waits_whole_heartbeat(Site& site) {
  co_await make_phone(site);
  Instant begun = io::now();
  auto root = root_of(co_await site.ews_authorized(kAliceBasic, ping_body(3540), target("Ping")));
  CO_ASSERT(root);
  EXPECT_EQ(root->text_of(ping::kStatus), "1");
  auto expected = std::chrono::duration_cast<Duration>(std::chrono::seconds(3540) * fast());
  EXPECT_GE(io::now() - begun, expected);
  EXPECT_LT(io::now() - begun, expected + 5s);
}
TEST(ExchangeActiveSync, APingLastsFiftyNineMinutes) {
  run_site(options_for_phones(), waits_whole_heartbeat);
}

Task<void> ping_into(Site* site, std::optional<WbxmlElement>* answer) {
  *answer = root_of(co_await site->ews_authorized(kAliceBasic, ping_body(3540), target("Ping")));
}

Task<bool> await_waiting(Site& site, uint64_t count) {
  for (int i = 0; i < 10'000; ++i) {
    if ((co_await site.exchange.books()).activesync_waiting == count) co_return true;
    if (!co_await sleep_for(1ms)) break;  // nobody tells when a Ping has begun to wait
  }
  co_return false;
}

Task<void> wakes_by_mail(Site& site) {
  co_await make_phone(site);
  std::optional<WbxmlElement> answer;
  TaskScope scope(&co_await current_context());
  Instant begun = io::now();
  scope.spawn(ping_into(&site, &answer));
  CO_ASSERT(co_await await_waiting(site, 1));
  EXPECT_TRUE(co_await site.exchange.deliver(kAlice, {.subject = "Wake up"}));
  co_await scope.join();
  EXPECT_LT(io::now() - begun, 3540s * fast());
  CO_ASSERT(answer);
  EXPECT_EQ(answer->text_of(ping::kStatus), "2");
  EXPECT_TRUE(co_await await_waiting(site, 0));
}
TEST(ExchangeActiveSync, MailEndsAPing) {
  WorldOptions options = options_for_phones();
  options.exchange.time_scale = 1;
  run_site(options, wakes_by_mail);
}
TEST(ExchangeActiveSync, MailEndsAPingOnAnotherCore) {
  WorldOptions options = options_for_phones();
  options.exchange.time_scale = 1;
  run_site(options, wakes_by_mail, 2);
}

// The stand-in ends while phones wait.
Task<void> leaves_ping(Site& site) {
  co_await make_phone(site);
  TaskScope scope(&co_await current_context());
  std::optional<WbxmlElement> answer;
  struct Flow {
    static Task<void> run(Site* site) {
      (void)co_await site->ews_authorized(kAliceBasic, ping_body(3540), target("Ping"));
    }
  };
  scope.spawn(Flow::run(&site));
  CO_ASSERT(co_await await_waiting(site, 1));
  co_await site.exchange.stop();
  co_await scope.join();
}
TEST(ExchangeActiveSync, EndsWhilePhonesWait) {
  WorldOptions options = options_for_phones();
  options.exchange.time_scale = 1;
  run_site(options, leaves_ping);
}

Task<void> notes_requests(Site& site) {
  co_await make_phone(site);
  EXPECT_EQ((co_await site.ews("alice", "wrong", "<x/>")).status, 401);
  EXPECT_EQ((co_await site.ews_authorized(kAliceBasic, "", "/owa/")).status, 404);
  auto page = co_await site.exchange.requests_after(0, 100);
  CO_ASSERT(page.requests.size() == 3);
  const ExchangeRequest& sync = page.requests[0];
  EXPECT_EQ(sync.method, "POST");
  EXPECT_EQ(sync.target, target("FolderSync"));
  EXPECT_EQ(sync.operation, "FolderSync");
  EXPECT_EQ(sync.scheme, "basic");
  EXPECT_EQ(sync.mailbox, kAlice);
  EXPECT_EQ(sync.query_user, "alice");
  EXPECT_EQ(sync.device_id, "PHONE");
  EXPECT_EQ(sync.device_type, "iPhone");
  EXPECT_EQ(sync.body_bytes, folder_sync_body().size());
  EXPECT_THAT(sync.body_sha256, SizeIs(64));
  EXPECT_EQ(sync.status, 200);
  EXPECT_EQ(page.requests[1].user, "alice");
  EXPECT_EQ(page.requests[1].mailbox, "");
  EXPECT_EQ(page.requests[1].status, 401);
  EXPECT_EQ(page.requests[2].target, "/owa/");
  EXPECT_EQ(page.requests[2].status, 404);
  for (const ExchangeRequest& request : page.requests) {
    for (const auto& [name, value] : request.headers) {
      EXPECT_NE(name, "authorization");
      EXPECT_EQ(value.find("YWxpY2VA"), value.npos) << name;
    }
  }
  for (int i = 0; i < 10; ++i) EXPECT_EQ((co_await site.ews_authorized(kAliceBasic, "", "/x")).status, 404);
  page = co_await site.exchange.requests_after(0, 100);
  EXPECT_THAT(page.requests, SizeIs(10));
  EXPECT_EQ(page.forgotten, 3u);
}
TEST(ExchangeRequests, AreNotedWithoutCredentials) {
  run_site(options_for_phones(), notes_requests);
}

Task<void> shows_routes(Site& site) {
  co_await make_phone(site);
  EwsResult result = co_await site.ews_authorized(kAliceBasic, folder_sync_body(), target("FolderSync"));
  EXPECT_EQ(result.headers["server"], "Microsoft-IIS/10.0");
  EXPECT_THAT(result.headers["alt-svc"], HasSubstr("h3="));
  EXPECT_THAT(result.headers["set-cookie"], HasSubstr("path=/Microsoft-Server-ActiveSync"));
  result = co_await site.ews_authorized("Basic bm9ib2R5Ong=", folder_sync_body(), target("FolderSync"));
  EXPECT_EQ(result.status, 401);
  EXPECT_EQ(result.headers.count("set-cookie"), 0u) << "cookies are for users who are known";
}
TEST(ExchangeRequests, AnswersTellOfServersWhereAsked) {
  WorldOptions options = options_for_phones();
  options.exchange.affinity = options.exchange.talkative = true;
  run_site(options, shows_routes);
}

}  // namespace
}  // namespace bellhop::standin::test
