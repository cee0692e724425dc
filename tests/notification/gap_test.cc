// SPDX-License-Identifier: Apache-2.0
// Events that were missed: how they are noticed, and how their mails are found.
#include "core/sleep.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

SCENE_TEST(Gap, AtAMailBringsWhatWasMissed) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("before the subscription", {.subject = "Subject of old", .received = io::wall_now() - 24h});
  have_mail("a");
  co_await scene.mail(subscriber, {"a"});
  EXPECT_EQ(fake_exchange().finds, 0) << "first contact adopts";
  EXPECT_TRUE(co_await sleep_for(10s));
  have_mail("missed");
  EXPECT_TRUE(co_await sleep_for(10s));
  have_mail("c");
  subscriber.last_watermark = scene.next_watermark();
  EXPECT_EQ((co_await scene.mail(subscriber, {"c"})).status, 200);
  EXPECT_EQ(fake_exchange().finds, 1);
  EXPECT_EQ(fake_apns().sent.size(), 3u);
  EXPECT_THAT(fake_apns().sent[1].payload, HasSubstr("Subject of missed"));
  EXPECT_THAT(fake_apns().sent[2].payload, HasSubstr("Subject of c"));
  EXPECT_EQ(scene.ledger().accepted, 3u);
  have_mail("d");
  co_await scene.mail(subscriber, {"d"});
  EXPECT_EQ(fake_exchange().finds, 1) << "the watermark was adopted";
}

SCENE_TEST(Gap, AtAHeartbeatIsTheOneWhereAHeartbeatDecrypts) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  EXPECT_EQ(scene.decryptions(), 0u);
  have_mail("missed");
  subscriber.last_watermark = scene.next_watermark();
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(scene.decryptions(), 1u);
  EXPECT_TRUE(shows("Subject of missed"));
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(scene.decryptions(), 1u);
}

// An event may be told later than its mail came, and all that is known of a mail without content is its event's time.
SCENE_TEST(Gap, BeginsBeforeTheTimeOfAnEventWhoseMailWasNotFetched) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  EXPECT_TRUE(co_await sleep_for(10min));
  have_mail("told");
  EXPECT_TRUE(co_await sleep_for(2s));
  have_mail("missed");
  EXPECT_TRUE(co_await sleep_for(3s));
  fake_exchange().failure = EwsFailureKind::unavailable;
  EXPECT_EQ((co_await scene.mail(subscriber, {"told"})).status, 200);
  EXPECT_EQ(fake_apns().sent.size(), 1u);
  fake_exchange().failure.reset();
  subscriber.last_watermark = scene.next_watermark();
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_TRUE(shows("Subject of missed"));
  EXPECT_EQ(fake_apns().sent.size(), 2u) << "what was told is known";
}

SCENE_TEST(Gap, ThatCannotBeListedStaysOpen) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  have_mail("missed");
  subscriber.last_watermark = scene.next_watermark();
  fake_exchange().failure = EwsFailureKind::unavailable;
  have_mail("b");
  EXPECT_EQ((co_await scene.mail(subscriber, {"b"})).status, 200);
  EXPECT_EQ(fake_apns().sent.size(), 1u) << "the mail that is named is pushed without content";
  fake_exchange().failure.reset();
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_TRUE(shows("Subject of missed"));
  EXPECT_EQ(fake_apns().sent.size(), 2u) << "b was pushed before";
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(fake_exchange().finds, 2);
}

SCENE_TEST(Gap, ListedMailsArePushedEvenWhereTheirContentIsNotGiven) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  have_mail("missed");
  subscriber.last_watermark = scene.next_watermark();
  fake_exchange().get_items_failure = EwsFailureKind::garbage;
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
  co_await scene.heartbeat(subscriber);
  EXPECT_EQ(fake_exchange().finds, 1) << "it was listed: the gap is closed";
}

SCENE_TEST(Gap, WiderThanTheListEndsWithANotice) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  for (int i = 0; i < 30; ++i) {
    have_mail("missed" + std::to_string(i));
    EXPECT_TRUE(co_await sleep_for(1s));
  }
  subscriber.last_watermark = scene.next_watermark();
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(fake_apns().sent.size(), 21u);
  EXPECT_THAT(last_push().payload, HasSubstr("more_mail"));
  EXPECT_TRUE(shows("Subject of missed29"));
  EXPECT_FALSE(shows("Subject of missed9\""));
  EXPECT_EQ(scene.ledger().accepted, 21u);
}

SCENE_TEST(Gap, OfAMailboxWhoseDevicesShowNothingIsListedToo) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions{.preview = store::Preview::none}});
  co_await scene.heartbeat(subscriber);
  have_mail("missed");
  subscriber.last_watermark = scene.next_watermark();
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(fake_exchange().finds, 1);
  EXPECT_EQ(fake_exchange().gets, 0);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
}

}  // namespace
}  // namespace bellhop::service
