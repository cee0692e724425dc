// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/apns.h"

#include <algorithm>

#include "core/tls/certificate.h"
#include "crypto/es256.h"
#include "crypto/jose.h"
#include "service/http2_connection.h"
#include "tests/standin/site.h"

namespace bellhop::standin::test {
namespace {

using proto::ApnsReason;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::string kToken(64, 'a');
constexpr std::string_view kPayload = R"({"aps":{"alert":{"title":"Carol","body":"Lunch?"}}})";

// A provider: one HTTP/2 connection, and tokens signed with the world's key.
class Provider final : public service::Http2Connection::Observer {
 public:
  explicit Provider(World& world) : world_(world) {}
  void on_streams_changed() override { changed_.set(); }
  void on_goaway(const proto::Http2GoAway& goaway) override { goaways.push_back(goaway.debug_data); }

  std::string token(int64_t age_s = 0, std::string_view team = {}, std::string_view key_id = {},
                    const crypto::Es256PrivateKey* key = nullptr) {
    auto own = crypto::Es256PrivateKey::from_pem(world_.texts().p8_pem);
    BH_CHECK(own);
    auto jwt = crypto::sign_provider_jwt(key ? *key : *own, key_id.empty() ? world_.texts().key_id : key_id,
                                         team.empty() ? world_.texts().team_id : team,
                                         to_unix_seconds(io::wall_now()) - age_s);
    BH_CHECK(jwt);
    return *jwt;
  }

  Task<bool> open(TaskScope& scope) {
    std::string complaint;
    TlsFile ca{"ca", world_.texts().ca_pem};
    auto authorities = TlsAuthorities::parse({&ca, 1}, complaint);
    BH_CHECK(authorities);
    auto tls = TlsContext::client({.authorities = *authorities, .alpn = {"h2"}}, complaint);
    BH_CHECK(tls);
    auto socket = co_await connect({.tcp = world_.apns().address(), .unix_path = {}});
    if (!socket) co_return false;
    stream_ = std::make_unique<Stream>(*std::move(socket), std::make_unique<TlsEngine>(*tls, "127.0.0.1"));
    if (!co_await stream_->handshake()) co_return false;
    service::Http2ConnectionLimits limits;
    limits.ping_interval = std::chrono::hours(24);
    connection_ = std::make_unique<service::Http2Connection>(*stream_, *this, limits);
    scope.spawn(run());
    co_return true;
  }
  Task<void> close() {
    connection_->abort();
    (void)co_await ended.wait();
    co_await stream_->close();
  }
  Task<bool> wait_streams(uint32_t count) {
    while (connection_->streams_available() != count) {
      changed_.reset();
      if (!co_await changed_.wait()) co_return false;
    }
    co_return true;
  }

  struct Reply {
    uint16_t status = 0;
    std::string reason;  // or how the stream failed
    std::string apns_id;
    std::string body;
  };
  struct Push {
    std::string method = "POST";
    std::string path = "/3/device/" + kToken;
    std::string payload = std::string(kPayload);
    std::vector<std::pair<std::string, std::string>> fields;
  };
  // A push that APNs takes; tests spoil it.
  Push good(std::string collapse_id = "c1") {
    Push push;
    if (token_.empty()) token_ = token();  // each signature differs, and a new token is an update
    push.fields = {{"authorization", "bearer " + token_},
                   {"apns-topic", world_.texts().topic},
                   {"apns-push-type", "alert"},
                   {"apns-priority", "10"},
                   {"apns-expiration", "0"},
                   {"apns-id", "123e4567-e89b-12d3-a456-4266554400a0"},
                   {"apns-collapse-id", std::move(collapse_id)}};
    return push;
  }
  Task<Reply> send(Push push) {
    std::vector<proto::Http2Header> headers;
    for (auto& [name, value] : push.fields) headers.push_back({name, value});
    auto answer = co_await connection_->send({.method = push.method,
                                              .authority = "api.push.example.com",
                                              .path = push.path,
                                              .headers = headers,
                                              .body = as_bytes(push.payload)});
    if (!answer) co_return Reply{0, error_text(answer.error()), {}, {}};
    if (auto* failed = std::get_if<proto::Http2StreamFailed>(&*answer)) {
      constexpr std::array<std::string_view, 5> kNames = {"refused", "reset", "goaway", "lost", "bad"};
      co_return Reply{0, std::string(kNames[static_cast<size_t>(failed->cause)]), {}, {}};
    }
    auto& response = std::get<proto::Http2Response>(*answer);
    proto::ApnsAnswer parsed = proto::parse_apns_answer(response.status, as_bytes(response.body));
    co_return Reply{response.status, std::string(proto::apns_reason_info(parsed.reason).name),
                    std::string(response.headers.find("apns-id").value_or("")), response.body};
  }
  service::Http2Connection& connection() { return *connection_; }

  std::vector<std::string> goaways;
  Event ended;

 private:
  Task<void> run() {
    (void)co_await connection_->run();
    ended.set();
  }
  World& world_;
  std::string token_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<service::Http2Connection> connection_;
  Event changed_;
};

using Push = Provider::Push;
void set_field(Push& push, std::string_view name, std::string value) {
  auto at = std::ranges::find(push.fields, name, &std::pair<std::string, std::string>::first);
  if (at == push.fields.end()) {
    push.fields.emplace_back(name, std::move(value));
  } else {
    at->second = std::move(value);
  }
}
void drop_field(Push& push, std::string_view name) {
  std::erase_if(push.fields, [&](const auto& field) { return field.first == name; });
}

#define OPEN_PROVIDER(provider)                        \
  Provider provider(site.world);                       \
  TaskScope provider##_scope(&co_await current_context()); \
  CO_ASSERT(co_await provider.open(provider##_scope))
#define CLOSE_PROVIDER(provider)  \
  co_await provider.close();      \
  co_await provider##_scope.join()

Task<void> accepts(Site& site) {
  OPEN_PROVIDER(provider);
  Provider::Reply reply = co_await provider.send(provider.good());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.apns_id, "123e4567-e89b-12d3-a456-4266554400a0");
  EXPECT_EQ(reply.body, "");
  Push silent = provider.good();
  drop_field(silent, "apns-id");
  drop_field(silent, "apns-collapse-id");
  set_field(silent, "apns-push-type", "background");
  set_field(silent, "apns-priority", "5");
  silent.payload = R"({"aps":{"content-available":1}})";
  reply = co_await provider.send(silent);
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.apns_id, SizeIs(36));  // APNs made one
  ApnsBooks books = co_await site.world.apns().books();
  EXPECT_EQ(books.accepted, 2u);
  EXPECT_EQ(books.alerts, 1u);
  EXPECT_EQ(books.silent, 1u);
  EXPECT_EQ(books.connections, 1u);
  EXPECT_EQ(books.tokens_seen, 1u);
  auto pushes = co_await site.world.apns().pushes_after(0, 10);
  CO_ASSERT(pushes.size() == 2);
  EXPECT_EQ(pushes[0].number, 1u);
  EXPECT_EQ(pushes[0].title, "Carol");
  EXPECT_EQ(pushes[0].body, "Lunch?");
  EXPECT_EQ(pushes[0].device_token, kToken);
  EXPECT_EQ(pushes[0].payload, "");
  CLOSE_PROVIDER(provider);
}
TEST(Apns, AcceptsAPushAndEchoesItsId) { run_site({}, accepts); }

Task<void> field_rules(Site& site) {
  OPEN_PROVIDER(provider);
  struct Case {
    const char* expected;
    std::function<void(Push&)> spoil;
  };
  auto set = [](const char* name, std::string value) {
    return [=](Push& push) { set_field(push, name, value); };
  };
  const Case cases[] = {
      {"MethodNotAllowed", [](Push& p) { p.method = "PUT"; }},
      {"BadPath", [](Push& p) { p.path = "/4/device/" + kToken; }},
      {"BadPath", [](Push& p) { p.path += "/x"; }},
      {"MissingDeviceToken", [](Push& p) { p.path = "/3/device/"; }},
      {"BadDeviceToken", [](Push& p) { p.path = "/3/device/zz"; }},
      {"MissingTopic", [](Push& p) { drop_field(p, "apns-topic"); }},
      {"BadTopic", set("apns-topic", "not a topic")},
      {"TopicDisallowed", set("apns-topic", "com.example.other")},
      {"BadMessageId", set("apns-id", "12")},
      {"BadExpirationDate", set("apns-expiration", "soon")},
      {"BadCollapseId", set("apns-collapse-id", std::string(65, 'c'))},
      {"", set("apns-collapse-id", std::string(64, 'c'))},
      {"InvalidPushType", set("apns-push-type", "telegram")},
      {"InvalidPushType", [](Push& p) { drop_field(p, "apns-push-type"); }},
      {"BadPriority", set("apns-priority", "7")},
      {"BadPriority", set("apns-push-type", "background")},  // needs priority 5
      {"", [](Push& p) { drop_field(p, "apns-priority"); }},
      {"DuplicateHeaders", [](Push& p) { p.fields.emplace_back("apns-topic", "com.example.mail"); }},
      {"PayloadEmpty", [](Push& p) { p.payload.clear(); }},
      {"PayloadEmpty", [](Push& p) { p.payload = "{"; }},
      {"PayloadEmpty", [](Push& p) { p.payload = "{}"; }},
      {"PayloadTooLarge", [](Push& p) { p.payload = R"({"aps":{},"x":")" + std::string(4080, 'x') + "\"}"; }},
      {"", [](Push& p) { p.payload = R"({"aps":{},"x":")" + std::string(4096 - 17, 'x') + "\"}"; }},
  };
  for (const Case& one : cases) {
    Push push = provider.good();
    one.spoil(push);
    Provider::Reply reply = co_await provider.send(push);
    EXPECT_EQ(reply.reason, one.expected) << (&one - cases) << " " << reply.status;
    ApnsReason reason = proto::apns_reason_of(one.expected);
    EXPECT_EQ(reply.status, *one.expected ? proto::apns_reason_info(reason).status : 200) << (&one - cases);
  }
  ApnsBooks books = co_await site.world.apns().books();
  EXPECT_EQ(books.accepted, 3u);
  EXPECT_EQ(books.refused["BadPath"], 2u);
  EXPECT_EQ(books.refused["PayloadEmpty"], 3u);
  CLOSE_PROVIDER(provider);
}
TEST(Apns, ChecksPathFieldsAndPayloadAsAppleDoes) { run_site({}, field_rules); }

Task<void> token_rules(Site& site) {
  OPEN_PROVIDER(provider);
  auto stranger = crypto::Es256PrivateKey::generate();
  auto with = [&](std::string authorization) {
    Push push = provider.good();
    set_field(push, "authorization", std::move(authorization));
    return push;
  };
  Push none = provider.good();
  drop_field(none, "authorization");
  EXPECT_EQ((co_await provider.send(none)).reason, "MissingProviderToken");
  for (std::string bad : {std::string("basic abc"), std::string("bearer abc"), "bearer " + provider.token(0, "OTHERTEAM1"),
                          "bearer " + provider.token(0, {}, "OTHERKEY12"), "bearer " + provider.token(0, {}, {}, &stranger),
                          "bearer " + provider.token(-3600)}) {
    EXPECT_EQ((co_await provider.send(with(bad))).reason, "InvalidProviderToken") << bad;
  }
  EXPECT_EQ((co_await provider.send(with("bearer " + provider.token(3700)))).reason, "ExpiredProviderToken");
  EXPECT_EQ((co_await provider.send(with("Bearer " + provider.token(3500)))).status, 200);
  CLOSE_PROVIDER(provider);
}
TEST(Apns, ChecksSignatureKeyTeamAndAgeOfTheProviderToken) { run_site({}, token_rules); }

Task<void> token_updates(Site& site) {
  OPEN_PROVIDER(provider);
  auto with_age = [&](int64_t age_s) {
    Push push = provider.good();
    set_field(push, "authorization", "bearer " + provider.token(age_s));
    return push;
  };
  Push first = with_age(2000), soon = with_age(1000), later = with_age(700), last = with_age(0);
  EXPECT_EQ((co_await provider.send(first)).status, 200);
  EXPECT_EQ((co_await provider.send(soon)).reason, "TooManyProviderTokenUpdates");
  EXPECT_EQ((co_await provider.send(first)).status, 200);
  EXPECT_EQ((co_await provider.send(later)).status, 200);
  // Told that it expired, a provider may come with a new one at once.
  EXPECT_TRUE(co_await site.world.apns().add_rule({.reason = ApnsReason::expired_provider_token, .count = 1}));
  EXPECT_EQ((co_await provider.send(later)).reason, "ExpiredProviderToken");
  EXPECT_EQ((co_await provider.send(last)).status, 200);
  EXPECT_EQ((co_await site.world.apns().books()).tokens_seen, 4u);
  CLOSE_PROVIDER(provider);
}
TEST(Apns, RefusesANewTokenWithinTwentyMinutesUnlessItSaidThatTheOldOneExpired) { run_site({}, token_updates); }

Task<void> stream_limits(Site& site) {
  OPEN_PROVIDER(provider);
  CO_ASSERT(co_await provider.wait_streams(1));
  Push bad = provider.good();
  set_field(bad, "authorization", "bearer nothing");
  EXPECT_EQ((co_await provider.send(bad)).status, 403);
  EXPECT_EQ(provider.connection().streams_available(), 1u);
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  CO_ASSERT(co_await provider.wait_streams(50));
  co_await site.world.apns().set_streams_max(3);
  CO_ASSERT(co_await provider.wait_streams(3));
  OPEN_PROVIDER(second);
  CO_ASSERT(co_await second.wait_streams(1));
  EXPECT_EQ((co_await second.send(second.good())).status, 200);
  CO_ASSERT(co_await second.wait_streams(3));
  CLOSE_PROVIDER(second);
  CLOSE_PROVIDER(provider);
}
TEST(Apns, AllowsOneStreamUntilAValidTokenCameAndThenAsManyAsItIsTold) {
  WorldOptions options;
  options.apns.streams_max = 50;
  run_site(std::move(options), stream_limits);
}

Task<void> rules_work(Site& site) {
  Apns& apns = site.world.apns();
  OPEN_PROVIDER(provider);
  for (const proto::ApnsReasonInfo& info : proto::apns_reasons()) {
    EXPECT_TRUE(co_await apns.add_rule({.reason = info.reason, .count = 1, .timestamp = WallTime(123456789ms)}));
    Provider::Reply reply = co_await provider.send(provider.good());
    EXPECT_EQ(reply.reason, info.name);
    EXPECT_EQ(reply.status, info.status);
    if (info.status == 410) EXPECT_THAT(reply.body, HasSubstr("123456789"));
  }
  EXPECT_TRUE(co_await apns.add_rule({.device_token = std::string(64, 'b'), .reason = ApnsReason::unregistered}));
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  Push other = provider.good();
  other.path = "/3/device/" + std::string(64, 'b');
  EXPECT_EQ((co_await provider.send(other)).reason, "Unregistered");
  EXPECT_EQ((co_await provider.send(other)).reason, "Unregistered");
  co_await apns.clear_rules();
  EXPECT_EQ((co_await provider.send(other)).status, 200);

  EXPECT_TRUE(co_await apns.add_rule({.action = ApnsAction::refuse, .count = 1}));
  EXPECT_EQ((co_await provider.send(provider.good())).reason, "refused");
  Instant before = io::now();
  EXPECT_TRUE(co_await apns.add_rule({.count = 1, .delay = 150ms}));
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  EXPECT_GE(io::now() - before, 150ms);
  uint64_t accepted = (co_await apns.books()).accepted;
  EXPECT_TRUE(co_await apns.add_rule({.action = ApnsAction::lose, .count = 1}));
  EXPECT_EQ((co_await provider.send(provider.good())).reason, "lost");
  EXPECT_EQ((co_await apns.books()).accepted, accepted + 1);
  CLOSE_PROVIDER(provider);

  OPEN_PROVIDER(second);
  EXPECT_TRUE(co_await apns.add_rule({.action = ApnsAction::kill, .count = 1}));
  EXPECT_EQ((co_await second.send(second.good())).reason, "lost");
  EXPECT_EQ((co_await apns.books()).accepted, accepted + 1);
  CLOSE_PROVIDER(second);

  OPEN_PROVIDER(third);
  EXPECT_EQ((co_await third.send(third.good())).status, 200);
  EXPECT_TRUE(co_await apns.add_rule({.action = ApnsAction::goaway, .count = 1}));
  EXPECT_EQ((co_await third.send(third.good())).reason, "goaway");
  (void)co_await third.ended.wait();
  CO_ASSERT(third.goaways.size() >= 1);
  EXPECT_THAT(third.goaways.back(), HasSubstr("Shutdown"));
  CLOSE_PROVIDER(third);
  uint32_t added = 0;
  while (co_await apns.add_rule({.reason = ApnsReason::bad_topic})) ++added;
  EXPECT_EQ(added, 64u);
}
TEST(Apns, AnswersWithEachReasonAndEndsStreamsAndConnectionsOnDemand) { run_site({}, rules_work); }

Task<void> send_into(Provider& provider, Push push, Provider::Reply* out) { *out = co_await provider.send(std::move(push)); }

Task<void> goaway_all(Site& site) {
  Apns& apns = site.world.apns();
  OPEN_PROVIDER(provider);
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  EXPECT_TRUE(co_await apns.add_rule({.count = 1, .delay = 100ms}));
  Provider::Reply reply;
  TaskScope sending(&co_await current_context());
  sending.spawn(send_into(provider, provider.good(), &reply));
  while ((co_await apns.books()).ruled == 0) co_await yield_now();
  co_await apns.goaway(ApnsReason::idle_timeout);
  co_await sending.join();
  EXPECT_EQ(reply.status, 200);  // it was taken, so it is answered
  (void)co_await provider.ended.wait();
  EXPECT_THAT(provider.goaways.back(), HasSubstr("IdleTimeout"));
  CLOSE_PROVIDER(provider);
  OPEN_PROVIDER(second);
  EXPECT_EQ((co_await second.send(second.good())).status, 200);  // now the other side has finished its handshake too
  co_await apns.kill_connections();
  (void)co_await second.ended.wait();
  CLOSE_PROVIDER(second);
}
TEST(Apns, SendsGoawayAndKillsConnectionsOnDemand) { run_site({}, goaway_all); }

Task<void> stalls(Site& site) {
  OPEN_PROVIDER(provider);
  EXPECT_TRUE(co_await site.world.apns().add_rule({.action = ApnsAction::stall, .count = 1}));
  Provider::Reply reply;
  TaskScope sending(&co_await current_context());
  sending.spawn(send_into(provider, provider.good(), &reply));
  while ((co_await site.world.apns().books()).ruled == 0) co_await yield_now();
  sending.request_stop();
  co_await sending.join();
  EXPECT_EQ(reply.status, 0);
  CO_ASSERT(co_await provider.wait_streams(1000));  // the slot comes back when the reset has left
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  CLOSE_PROVIDER(provider);
}
TEST(Apns, MayNeverAnswer) { run_site({}, stalls); }

Task<void> swallows(Site& site) {
  OPEN_PROVIDER(provider);
  EXPECT_TRUE(co_await site.world.apns().add_rule({.action = ApnsAction::swallow, .count = 1}));
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  EXPECT_EQ((co_await site.world.apns().books()).accepted, 0u);
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  EXPECT_EQ((co_await site.world.apns().books()).accepted, 1u);
  CLOSE_PROVIDER(provider);
}
TEST(Apns, MayLoseAPushBehindItsAnswer) { run_site({}, swallows); }

constexpr Duration kOutage = std::chrono::minutes(10);
Duration scaled_outage() { return Duration(static_cast<int64_t>(static_cast<double>(Duration(kOutage).count()) * fast())); }
WorldOptions outage_options() {
  WorldOptions options;
  options.apns.time_scale = fast();
  return options;
}

Task<void> outages(Site& site) {
  Apns& apns = site.world.apns();
  OPEN_PROVIDER(provider);
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  EXPECT_TRUE(co_await apns.set_outage(ApnsOutage::unavailable, kOutage));
  Provider::Reply reply = co_await provider.send(provider.good());
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.reason, "ServiceUnavailable");
  EXPECT_TRUE(co_await apns.set_outage(ApnsOutage::none, {}));
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);

  // Silent: the push gets no answer, and when the outage is over the connection has died.
  EXPECT_TRUE(co_await apns.set_outage(ApnsOutage::silent, kOutage));
  Instant begun = io::now();
  EXPECT_EQ((co_await provider.send(provider.good())).status, 0);
  EXPECT_GE(io::now() - begun, scaled_outage());
  CO_ASSERT(co_await provider.ended.wait());
  CLOSE_PROVIDER(provider);

  EXPECT_TRUE(co_await apns.set_outage(ApnsOutage::refuse, kOutage));
  Provider refused(site.world);
  TaskScope scope(&co_await current_context());
  EXPECT_FALSE(co_await refused.open(scope));
  CO_ASSERT(co_await sleep_for(scaled_outage() + 1ms));
  OPEN_PROVIDER(again);
  EXPECT_EQ((co_await again.send(again.good())).status, 200);
  ApnsBooks books = co_await apns.books();
  EXPECT_EQ(books.accepted, 3u);
  EXPECT_EQ(books.outage, 3u);
  CLOSE_PROVIDER(again);
  co_await scope.join();
}
TEST(Apns, IsDownForMinutesOfTheScaledClock) { run_site(outage_options(), outages); }

Task<void> duplicates(Site& site) {
  Apns& apns = site.world.apns();
  OPEN_PROVIDER(provider);
  for (std::string id : {"a", "b", "a", "c", "a"}) EXPECT_EQ((co_await provider.send(provider.good(id))).status, 200);
  EXPECT_EQ((co_await apns.books()).duplicates, 2u);
  Push other = provider.good("a");
  other.path = "/3/device/" + std::string(64, 'b');
  EXPECT_EQ((co_await provider.send(other)).status, 200);
  Push badge = provider.good("badge");
  badge.payload = R"({"aps":{"badge":3}})";
  for (int i = 0; i < 2; ++i) EXPECT_EQ((co_await provider.send(badge)).status, 200);
  EXPECT_EQ((co_await provider.send(provider.good("b"))).status, 200);
  EXPECT_EQ((co_await provider.send(provider.good("new"))).status, 200);  // past counted_max
  ApnsBooks books = co_await apns.books();
  EXPECT_EQ(books.duplicates, 3u);
  EXPECT_EQ(books.badges, 2u);
  EXPECT_EQ(books.alerts, 8u);
  EXPECT_EQ(books.accepted, 10u);
  auto pushes = co_await apns.pushes_after(0, 100);
  CO_ASSERT(pushes.size() == 4);  // the older ones are forgotten
  EXPECT_EQ(pushes[0].number, 7u);
  EXPECT_EQ(pushes[0].payload, badge.payload);
  EXPECT_THAT(co_await apns.pushes_after(8, 1), SizeIs(1));
  EXPECT_THAT(co_await apns.pushes_after(10, 5), SizeIs(0));
  CLOSE_PROVIDER(provider);
}
TEST(Apns, CountsWhatIsPushedTwiceAndForgetsOldPushes) {
  WorldOptions options;
  options.apns.pushes_kept = 4;
  options.apns.keep_payloads = true;
  run_site(std::move(options), duplicates);
}

Task<void> bounded_count(Site& site) {
  OPEN_PROVIDER(provider);
  for (std::string id : {"a", "b", "c", "a", "d"}) EXPECT_EQ((co_await provider.send(provider.good(id))).status, 200);
  ApnsBooks books = co_await site.world.apns().books();
  EXPECT_EQ(books.unseen, 2u);
  EXPECT_EQ(books.duplicates, 0u);
  CLOSE_PROVIDER(provider);
}
TEST(Apns, LooksForDuplicatesAmongABoundedNumberOfPushes) {
  WorldOptions options;
  options.apns.counted_max = 3;
  run_site(std::move(options), bounded_count);
}

Task<void> two_cores(Site& site) {
  OPEN_PROVIDER(a);
  OPEN_PROVIDER(b);
  OPEN_PROVIDER(c);
  for (int i = 0; i < 20; ++i) {
    for (Provider* provider : {&a, &b, &c}) {
      EXPECT_EQ((co_await provider->send(provider->good(std::to_string(i)))).status, 200);
    }
  }
  ApnsBooks books = co_await site.world.apns().books();
  EXPECT_EQ(books.alerts, 60u);
  EXPECT_EQ(books.duplicates, 40u);
  auto pushes = co_await site.world.apns().pushes_after(0, 100);
  CO_ASSERT(pushes.size() == 60);
  for (size_t i = 0; i < pushes.size(); ++i) EXPECT_EQ(pushes[i].number, i + 1);
  CLOSE_PROVIDER(c);
  CLOSE_PROVIDER(b);
  CLOSE_PROVIDER(a);
}
TEST(Apns, KeepsItsBooksOverAllItsCores) { run_site({}, two_cores, 2); }

Task<std::string> control(Site& site, std::string method, std::string target, std::string body) {
  service::Http1ClientOptions options;
  service::Http1Origin origin;
  origin.host = "127.0.0.1";
  origin.port = site.world.apns().control_address().port;
  auto client = co_await service::Http1Client::open(origin, options);
  if (!client) co_return "no connection";
  auto response = co_await (*client)->exchange(
      {.method = method, .target = target, .host = "localhost", .headers = {}, .body = body});
  std::string text = response ? std::to_string(response->status) + " " + std::string(response->text()) : "no answer";
  co_await (*client)->close();
  co_return text;
}

Task<void> control_works(Site& site) {
  OPEN_PROVIDER(provider);
  EXPECT_THAT(co_await control(site, "POST", "/rules", R"({"reason":"Unregistered","count":1,"timestampMs":5})"), HasSubstr("200"));
  EXPECT_EQ((co_await provider.send(provider.good())).reason, "Unregistered");
  EXPECT_EQ((co_await provider.send(provider.good())).status, 200);
  EXPECT_THAT(co_await control(site, "GET", "/books", ""), HasSubstr(R"("refused":{"Unregistered":1})"));
  EXPECT_THAT(co_await control(site, "GET", "/pushes?after=0&limit=5", ""), HasSubstr(R"("body":"Lunch?")"));
  EXPECT_THAT(co_await control(site, "GET", "/pushes?after=1", ""), HasSubstr(R"({"pushes":[],"last":1})"));
  EXPECT_THAT(co_await control(site, "POST", "/streams", R"({"max":2})"), HasSubstr("200"));
  CO_ASSERT(co_await provider.wait_streams(2));
  EXPECT_THAT(co_await control(site, "POST", "/streams", R"({"max":0})"), HasSubstr("400"));
  EXPECT_THAT(co_await control(site, "POST", "/rules", R"({"action":"explode"})"), HasSubstr("400"));
  EXPECT_THAT(co_await control(site, "POST", "/rules", R"({"reason":"Nothing"})"), HasSubstr("400"));
  EXPECT_THAT(co_await control(site, "DELETE", "/rules", ""), HasSubstr("200"));
  EXPECT_THAT(co_await control(site, "POST", "/goaway", R"({"reason":"Shutdown"})"), HasSubstr("200"));
  (void)co_await provider.ended.wait();
  EXPECT_THAT(co_await control(site, "POST", "/kill", ""), HasSubstr("200"));
  EXPECT_THAT(co_await control(site, "GET", "/else", ""), HasSubstr("404"));
  CLOSE_PROVIDER(provider);
}
TEST(Apns, IsControlledOverPlainHttp) {
  WorldOptions options;
  options.apns.control = SocketAddress{.ip = *IpAddress::parse("127.0.0.1"), .port = 0};
  run_site(std::move(options), control_works);
}

}  // namespace
}  // namespace bellhop::standin::test
