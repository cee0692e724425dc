// SPDX-License-Identifier: Apache-2.0
// Status, users, devices and subscriptions over the admin socket of a whole server. Runs on both back ends.
#include <set>

#include "proto/json.h"
#include "service/admin_listing.h"
#include "service/compliance_record.h"
#include "tests/service/admin_fixture.h"

namespace bellhop::service::admin_test {
namespace {

using testing::HasSubstr;
using testing::Not;

// The string members `name` of the objects in array `member`, in order.
std::vector<std::string> column(const std::string& body, std::string_view member, std::string_view name) {
  std::vector<std::string> all;
  auto document = proto::JsonDocument::parse(body);
  if (!document) return all;
  auto rows = document->root().required_array(member);
  if (!rows) return all;
  for (size_t i = 0; i < rows->size(); ++i) {
    auto row = rows->at(i).object();
    auto text = row ? row->string(name) : fail(row.error());
    all.push_back(text && *text ? std::string(**text) : "");
  }
  return all;
}

Task<void> status_page(AdminWorld& world) {
  for (uint64_t i = 0; i < 5; ++i) co_await add_mailbox(world.store(), i, "example");
  Answer answer = co_await world.ask("GET", "/v1/status");
  EXPECT_EQ(answer.status, 200);
  auto document = proto::JsonDocument::parse(answer.body);
  CO_ASSERT(document);
  EXPECT_EQ(text_member(answer.body, "state"), "ready");
  EXPECT_EQ(*document->root().integer("cores"), int64_t{kCores});
  auto subscriptions = document->root().required_object("subscriptions");
  CO_ASSERT(subscriptions);
  EXPECT_EQ(*subscriptions->integer("alive"), 5);
  EXPECT_EQ(*subscriptions->integer("lookedAt"), 5);
  auto states = subscriptions->required_object("byState");
  CO_ASSERT(states);
  EXPECT_EQ(*states->integer("pending"), 5);
  EXPECT_EQ(*states->integer("lost"), 0);
  EXPECT_EQ((co_await world.ask(Way::tcp, "GET", "/v1/status")).status, 403);
}

TEST(AdminStatus, CountsWhatIsThere) { AdminWorld::run(&status_page); }

// Every page size gives every entry once.
Task<void> every_user_once(AdminWorld& world) {
  constexpr size_t kUsers = 2 * admin::kRowsPerRead + 3;
  std::set<std::string> mine;
  size_t subscribed = 0;  // of mine
  for (uint64_t i = 0; i < kUsers; ++i) {
    Mailbox mailbox = co_await add_mailbox(world.store(), i, i % 3 == 0 ? "other" : "example", 2, i % 2 == 0);
    if (i % 3 == 0) continue;
    mine.insert(to_hex(mailbox.user));
    if (i % 2 == 0) ++subscribed;
  }
  for (const char* path : {"/v1/users", "/v1/devices", "/v1/subscriptions"}) {
    std::string member(std::string_view(path).substr(4));
    for (size_t limit : {1, 7, 64, 256}) {
      std::set<std::string> seen;
      size_t total = 0;
      std::string next;
      do {
        Answer answer = co_await world.ask(
            "GET", std::string(path) + "?tenant=example&limit=" + std::to_string(limit) + (next.empty() ? "" : "&after=" + next));
        CO_ASSERT(answer.status == 200);
        std::vector<std::string> ids = column(answer.body, member, "id");
        EXPECT_LE(ids.size(), limit);
        total += ids.size();
        seen.insert(ids.begin(), ids.end());
        for (const std::string& tenant : column(answer.body, member, "tenant")) EXPECT_EQ(tenant, "example");
        next = text_member(answer.body, "next");
      } while (!next.empty());
      size_t wanted = member == "users" ? mine.size() : member == "devices" ? 2 * mine.size() : subscribed;
      EXPECT_EQ(total, wanted) << path << " by " << limit;
      EXPECT_EQ(seen.size(), wanted) << path << " by " << limit;
      if (member == "users") EXPECT_EQ(seen, mine);
    }
  }
}

TEST(AdminListings, EveryEntryComesOnceWhateverTheSizeOfAPage) { AdminWorld::run(&every_user_once); }

// Devices of before names were kept have none until they tell theirs.
Task<void> unnamed(AdminWorld& world) {
  EXPECT_THAT((co_await world.ask("GET", "/v1/compliance")).body, HasSubstr("\"devicesUnnamed\":0}"));
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example", 3);
  EXPECT_THAT((co_await world.ask("GET", "/v1/compliance")).body, HasSubstr("\"devicesUnnamed\":3}"));
  store::DevicePatch patch;
  patch.name = compliance_key("phone1");
  EXPECT_TRUE(co_await world.store().update_device(mailbox.user, mailbox.devices[0], patch));
  EXPECT_THAT((co_await world.ask("GET", "/v1/compliance")).body, HasSubstr("\"devicesUnnamed\":2}"));
  EXPECT_THAT((co_await world.ask("GET", "/metrics")).body, HasSubstr("\nbellhop_devices_unnamed 2\n"));
}

TEST(AdminListings, DevicesWithoutANameAreCounted) { AdminWorld::run(&unnamed); }

// A tenant without users: the look through the others' ends after kReadsMax reads with a cursor, and goes on from there.
Task<void> bounded_look(AdminWorld& world) {
  constexpr size_t kUsers = admin::kRowsPerRead * admin::kReadsMax + 10;
  for (uint64_t i = 0; i < kUsers; ++i) co_await add_mailbox(world.store(), i, "other", 1, false);
  Answer first = co_await world.ask("GET", "/v1/users?tenant=example");
  EXPECT_EQ(first.status, 200);
  EXPECT_TRUE(column(first.body, "users", "id").empty());
  std::string next = text_member(first.body, "next");
  EXPECT_EQ(next.size(), 64u);
  Answer second = co_await world.ask("GET", "/v1/users?tenant=example&after=" + next);
  EXPECT_EQ(second.body, R"({"users":[]})");
}

TEST(AdminListings, ALongLookIsCutWithACursor) { AdminWorld::run(&bounded_look); }

Task<void> bad_queries(AdminWorld& world) {
  const char* queries[] = {
      "/v1/users?tennant=example", "/v1/users?tenant=nobody",     "/v1/users?limit=0",          "/v1/users?limit=257",
      "/v1/users?limit=x",         "/v1/users?after=00",          "/v1/users?after=zz",         "/v1/users?user=12",
      "/v1/users?userId=00",       "/v1/users?tenant=example&userId=00", "/v1/users?tenant=example&tenant=example",
      "/v1/users?tenant=",         "/v1/users?tenant",           "/v1/users?state=lost",       "/v1/devices?deviceId=phone1",
      "/v1/devices?host=x",        "/v1/subscriptions?state=dead", "/v1/subscriptions?after=0011"};
  for (const char* query : queries) {
    Answer answer = co_await world.ask("GET", query);
    EXPECT_EQ(answer.status, 422) << query;
    EXPECT_EQ(text_member(answer.body, "code"), "malformed") << query;
    EXPECT_NE(text_member(answer.body, "detail"), "") << query;
  }
  for (const char* path : {"/v1/users/00", "/v1/users/zz", "/v1/devices/00", "/v1/subscriptions/00",
                           "/v1/devices/00112233445566778899aabbccddeeff", "/v1/subscriptions/00112233445566778899aabbccddeeff",
                           "/v1/users/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}) {
    Answer answer = co_await world.ask("GET", path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_THAT(text_member(answer.body, "detail"), HasSubstr("hex digits")) << path;
    if (std::string_view(path).starts_with("/v1/users")) continue;
    EXPECT_EQ((co_await world.ask("DELETE", path)).status, 404) << path;
  }
}

TEST(AdminListings, AWrongQueryIsRefusedAndListsNothing) { AdminWorld::run(&bad_queries); }

Task<void> one_user(AdminWorld& world) {
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example", 2);
  co_await add_mailbox(world.store(), 2, "example", 1);
  std::string user = to_hex(mailbox.user);
  Answer listed = co_await world.ask("GET", "/v1/users?user=" + user);
  EXPECT_EQ(column(listed.body, "users", "id"), std::vector{user});
  EXPECT_EQ((co_await world.ask("GET", "/v1/users?tenant=other&user=" + user)).body, R"({"users":[]})");
  EXPECT_EQ(column((co_await world.ask("GET", "/v1/devices?user=" + user)).body, "devices", "user"), (std::vector{user, user}));
  EXPECT_EQ(column((co_await world.ask("GET", "/v1/subscriptions?user=" + user)).body, "subscriptions", "user"), std::vector{user});
  EXPECT_EQ(column((co_await world.ask("GET", "/v1/subscriptions?state=active&user=" + user)).body, "subscriptions", "user").size(), 0u);
  EXPECT_EQ(column((co_await world.ask("GET", "/v1/subscriptions?state=pending&host=mail.example.com")).body, "subscriptions", "id").size(), 2u);
  EXPECT_EQ(column((co_await world.ask("GET", "/v1/subscriptions?host=mail.example.test")).body, "subscriptions", "id").size(), 0u);
  Answer whole = co_await world.ask("GET", "/v1/users/" + user);
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(column(whole.body, "devices", "user").size(), 2u);
  EXPECT_EQ(column(whole.body, "subscriptions", "sourceDevice"), std::vector{to_hex(mailbox.devices[0])});
}

TEST(AdminListings, OneUserIsFoundWithItsDevicesAndSubscriptions) { AdminWorld::run(&one_user); }

Task<void> removal(AdminWorld& world) {
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example", 2);
  store::DevicePatch blocked;
  blocked.state = store::DeviceState::blocked;
  EXPECT_TRUE(co_await world.store().update_device(mailbox.user, mailbox.devices[0], blocked));
  std::string first = "/v1/devices/" + to_hex(mailbox.devices[0]), second = "/v1/devices/" + to_hex(mailbox.devices[1]);
  EXPECT_EQ(text_member((co_await world.ask("GET", first)).body, "state"), "blocked");
  Answer removed = co_await world.ask("DELETE", first);
  EXPECT_EQ(removed.status, 200);
  EXPECT_EQ(removed.body, R"({"lastDevice":false,"subscriptionsEnded":0,"resubscribeNeeded":true})");
  EXPECT_EQ((co_await world.ask("GET", first)).status, 404);
  EXPECT_EQ((co_await world.ask("DELETE", first)).status, 404);
  EXPECT_EQ((co_await world.ask("DELETE", second)).body, R"({"lastDevice":true,"subscriptionsEnded":1,"resubscribeNeeded":false})");
  auto counts = co_await world.store().counts();
  CO_ASSERT(counts);
  EXPECT_EQ(counts->users, 0u);
  EXPECT_EQ(counts->devices, 0u);
  EXPECT_EQ(counts->subscriptions, 0u);
  EXPECT_EQ(counts->tombstones, 1u);
}

TEST(AdminListings, ARemovedDeviceIsGoneAndTheLastOneTakesUserAndSubscriptionWithIt) { AdminWorld::run(&removal); }

Task<void> the_end(AdminWorld& world) {
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example");
  Answer listed = co_await world.ask("GET", "/v1/subscriptions");
  std::vector<std::string> ids = column(listed.body, "subscriptions", "id");
  CO_ASSERT(ids.size() == 1);
  EXPECT_EQ(ids[0], subscription_id(mailbox.capability));
  EXPECT_THAT(listed.body, Not(HasSubstr(to_hex(mailbox.capability))));
  std::string path = "/v1/subscriptions/" + ids[0];
  EXPECT_EQ(text_member((co_await world.ask("GET", path)).body, "state"), "pending");
  EXPECT_EQ((co_await world.ask("DELETE", path)).status, 204);
  EXPECT_EQ((co_await world.ask("DELETE", path)).status, 404);
  EXPECT_EQ((co_await world.ask("GET", path)).status, 404);
  store::Route route;
  EXPECT_TRUE(co_await world.store().read_route(mailbox.capability, route));
  EXPECT_EQ(route.kind, store::RouteKind::tombstone);
  EXPECT_GT(route.tombstone.expires, io::wall_now());
  auto device = co_await world.store().read_device(mailbox.user, mailbox.devices[0]);
  EXPECT_TRUE(device) << "the device stays";
}

TEST(AdminListings, AnEndedSubscriptionIsATombstoneAndItsDevicesStay) { AdminWorld::run(&the_end); }

Task<void> control_over_tcp(AdminWorld& world) {
  Mailbox mailbox = co_await add_mailbox(world.store(), 1, "example");
  const std::pair<const char*, std::string> requests[] = {
      {"GET", "/v1/users"},
      {"GET", "/v1/devices"},
      {"GET", "/v1/subscriptions"},
      {"DELETE", "/v1/devices/" + to_hex(mailbox.devices[0])},
      {"DELETE", "/v1/subscriptions/" + subscription_id(mailbox.capability)}};
  for (const auto& [method, path] : requests) {
    EXPECT_EQ((co_await world.ask(Way::tcp, method, path)).status, 403) << path;
  }
  EXPECT_EQ((co_await world.store().counts())->devices, 1u);
}

TEST(AdminListings, TcpIsRefusedAllOfIt) { AdminWorld::run(&control_over_tcp); }

}  // namespace
}  // namespace bellhop::service::admin_test
