// SPDX-License-Identifier: Apache-2.0
// The number on the app's icon: folder events, their rate, and what they never do.
#include "core/sleep.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

std::vector<std::string> badges_sent() {
  std::vector<std::string> payloads;
  for (const FakeApns::Sent& sent : fake_apns().sent) {
    if (sent.collapse_id == "badge") payloads.push_back(sent.payload);
  }
  return payloads;
}

SCENE_TEST(Badge, IsAPushOfItsOwnKindWithoutAnyWorkAtExchange) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  EXPECT_EQ((co_await scene.unread(subscriber, 3)).status, 200);
  EXPECT_EQ(scene.decryptions(), 0u);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::badge), 1u);
  EXPECT_EQ(scene.ledger().accepted, 0u) << "no event of the ledger";
  co_await scene.restart();  // awaits what runs in the background
  CO_ASSERT(fake_apns().sent.size() == 1);
  const FakeApns::Sent& push = fake_apns().sent[0];
  EXPECT_EQ(push.collapse_id, "badge");
  EXPECT_EQ(push.type, proto::ApnsPushType::alert);
  EXPECT_EQ(push.priority, proto::ApnsPriority::considerate);
  EXPECT_THAT(push.payload, HasSubstr("\"badge\":3"));
  EXPECT_THAT(push.payload, testing::Not(HasSubstr("\"alert\"")));
  EXPECT_EQ(fake_exchange().logons(), 0);
}

SCENE_TEST(Badge, GoesOutAtMostOnceInAnIntervalAndTheLastValueWins) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  for (int count = 1; count <= 10; ++count) {
    co_await scene.unread(subscriber, count);
    EXPECT_TRUE(co_await sleep_for(1s));
  }
  EXPECT_THAT(badges_sent(), testing::ElementsAre(HasSubstr("\"badge\":1}")));
  EXPECT_TRUE(co_await sleep_for(10s));
  EXPECT_THAT(badges_sent(), testing::ElementsAre(HasSubstr("\"badge\":1}"), HasSubstr("\"badge\":10}")));
  EXPECT_GE(fake_apns().sent[1].at - fake_apns().sent[0].at, 15s);
  EXPECT_TRUE(co_await sleep_for(60s));
  EXPECT_EQ(badges_sent().size(), 2u) << "nothing new, nothing sent";
  co_await scene.unread(subscriber, 0);
  EXPECT_TRUE(co_await sleep_for(100ms));
  EXPECT_EQ(badges_sent().size(), 3u) << "after the interval it goes out at once";
}

SCENE_TEST(Badge, ThatDidNotChangeIsNotSent) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  for (int i = 0; i < 5; ++i) {
    co_await scene.unread(subscriber, 0);
    EXPECT_TRUE(co_await sleep_for(20s));
  }
  EXPECT_EQ(badges_sent().size(), 1u) << "0 is news the first time";
}

SCENE_TEST(Badge, NeverDelaysTheAnswerAndIsNotTriedAgain) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  fake_apns().delay = 2s;
  fake_apns().answers[subscriber.tokens[0]] = {{.verdict = proto::ApnsVerdict::retry}};
  Instant begin = io::now();
  EXPECT_EQ((co_await scene.unread(subscriber, 3)).status, 200);
  EXPECT_LT(io::now() - begin, 1s);
  EXPECT_TRUE(co_await sleep_for(60s));
  EXPECT_EQ(fake_apns().attempts, 1);
}

SCENE_TEST(Badge, GoesToDevicesThatWantIt) {
  Subscriber subscriber = co_await scene.subscribe(
      "anna", {DeviceOptions{.badge = false}, DeviceOptions(), DeviceOptions{.state = store::DeviceState::blocked}});
  co_await scene.unread(subscriber, 3);
  co_await scene.restart();
  CO_ASSERT(fake_apns().sent.size() == 1);
  EXPECT_EQ(fake_apns().sent[0].token, subscriber.tokens[1]);
}

SCENE_TEST(Badge, RidesOnTheAlertOfANewMail) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions{.badge = false}});
  co_await scene.unread(subscriber, 4);
  EXPECT_TRUE(co_await sleep_for(20s));
  have_mail("a");
  co_await scene.mail(subscriber, {"a"});
  std::vector<std::string> alerts;
  for (const FakeApns::Sent& sent : fake_apns().sent) {
    if (sent.collapse_id == "badge") continue;
    EXPECT_EQ(sent.payload.find("\"badge\":4") != std::string::npos, sent.token == subscriber.tokens[0]);
    alerts.push_back(sent.payload);
  }
  EXPECT_EQ(alerts.size(), 2u);
}

SCENE_TEST(Badge, ThatWaitsForItsIntervalIsSentWhenTheServerStops) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.unread(subscriber, 1);
  co_await scene.unread(subscriber, 2);
  Instant begin = io::now();
  co_await scene.restart();
  EXPECT_LT(io::now() - begin, 5s);
  EXPECT_THAT(badges_sent(), testing::ElementsAre(HasSubstr("\"badge\":1}"), HasSubstr("\"badge\":2}")));
}

}  // namespace
}  // namespace bellhop::service
