// SPDX-License-Identifier: Apache-2.0
// Callbacks that say that something went wrong at Exchange, and items that it cannot show.
#include "core/sleep.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

using proto::EwsResponseCode;
using testing::HasSubstr;
using testing::Not;

// A SendNotification with one error. Exchange may leave the subscription's id out.
std::string error_body(EwsResponseCode code, std::string_view subscription_id) {
  proto::Notification notification{.response_class = proto::ResponseClass::error,
                                   .response_code = code,
                                   .subscription_id = subscription_id};
  proto::NotificationMessage message{.notifications = {&notification, 1}};
  std::string body;
  proto::write_send_notification(message, proto::ExchangeVersion::exchange2016, body);
  return body;
}

bool asked_to_resubscribe() { return shows("\"resubscribe\""); }

SCENE_TEST(CallbackError, ThatKillsTheSubscriptionEndsItAfterACatchUp) {
  for (EwsResponseCode code : {EwsResponseCode::read_events_failed, EwsResponseCode::expired_subscription,
                               EwsResponseCode::invalid_subscription, EwsResponseCode::invalid_watermark}) {
    reset_fakes();
    Subscriber subscriber = co_await scene.subscribe(std::string(proto::response_code_text(code)));
    co_await scene.heartbeat(subscriber);
    EXPECT_TRUE(co_await sleep_for(10s));
    have_mail("missed");
    Scene::Reply reply = co_await scene.post(subscriber.target(), error_body(code, subscriber.exchange_id));
    EXPECT_EQ(reply.status, 200);
    EXPECT_THAT(reply.body, HasSubstr("Unsubscribe"));
    EXPECT_TRUE(shows("Subject of missed"));
    EXPECT_TRUE(co_await sleep_for(1s));  // the silent push goes out in the background
    EXPECT_TRUE(asked_to_resubscribe());
    store::Route route;
    EXPECT_TRUE(co_await scene.store->read_route(subscriber.capability_hash, route));
    EXPECT_EQ(route.kind, store::RouteKind::tombstone);
    EXPECT_THAT((co_await scene.heartbeat(subscriber)).body, HasSubstr("Unsubscribe"));
  }
  EXPECT_EQ(scene.outcomes(CallbackOutcome::unsubscribe_removed), 8u);
  EXPECT_THAT(scene.log_lines, HasSubstr("ErrorReadEventsFailed"));
}

SCENE_TEST(CallbackError, WithoutASubscriptionIdIsOfTheUrlsSubscription) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  Scene::Reply reply = co_await scene.post(subscriber.target(), error_body(EwsResponseCode::subscription_not_found, ""));
  EXPECT_THAT(reply.body, HasSubstr("Unsubscribe"));
  Subscriber other = co_await scene.subscribe("berta");
  co_await scene.heartbeat(other);
  reply = co_await scene.post(other.target(), error_body(EwsResponseCode::subscription_not_found, "a foreign one"));
  EXPECT_EQ(reply.status, 404);
}

SCENE_TEST(CallbackError, ThatDoesNotIsCaughtUpOnAndTheSubscriptionLives) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  store::HotRecord before = co_await scene.stored_hot(subscriber);
  EXPECT_TRUE(co_await sleep_for(10s));
  have_mail("missed");
  for (EwsResponseCode code : {EwsResponseCode::internal_server_error, EwsResponseCode::server_busy,
                               EwsResponseCode::mailbox_move_in_progress, EwsResponseCode::schema_validation}) {
    Scene::Reply reply = co_await scene.post(subscriber.target(), error_body(code, subscriber.exchange_id));
    EXPECT_EQ(reply.status, 200);
    EXPECT_THAT(reply.body, Not(HasSubstr("Unsubscribe")));
  }
  EXPECT_EQ(fake_exchange().finds, 4);
  EXPECT_TRUE(shows("Subject of missed"));
  EXPECT_EQ(fake_apns().sent.size(), 1u);
  EXPECT_FALSE(asked_to_resubscribe());
  EXPECT_EQ((co_await scene.stored_hot(subscriber)).watermark_hash, before.watermark_hash);
  have_mail("next");
  co_await scene.mail(subscriber, {"next"});
  EXPECT_EQ(fake_exchange().finds, 4) << "the next message follows on the last watermark";
}

SCENE_TEST(CallbackError, IsRepeatedWhereAPushIsNeitherMadeNorInTheJournal) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  EXPECT_TRUE(co_await sleep_for(10s));
  have_mail("missed");
  // One for the silent push that asks to subscribe again.
  fake_apns().answers[subscriber.tokens[0]] = {{.verdict = proto::ApnsVerdict::retry},
                                               {.verdict = proto::ApnsVerdict::retry}};
  std::string body = error_body(EwsResponseCode::read_events_failed, subscriber.exchange_id);
  scene.store->take_disk();
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 503) << "not ended before all is told";
  scene.store->bring_disk();
  Scene::Reply reply = co_await scene.post(subscriber.target(), body);
  EXPECT_THAT(reply.body, HasSubstr("Unsubscribe"));
  EXPECT_TRUE(shows("Subject of missed"));
}

SCENE_TEST(NewMail, OfAMailboxThatMovedIsPushedWithoutContentAndTheDeviceIsAsked) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_exchange().failure = EwsFailureKind::ews_error;
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_FALSE(asked_to_resubscribe()) << "some other trouble";
  fake_exchange().moved = true;
  have_mail("b");
  EXPECT_EQ((co_await scene.mail(subscriber, {"b"})).status, 200);
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_TRUE(asked_to_resubscribe());
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 2u);
}

SCENE_TEST(Gap, BringsTheUnreadCountThatTheMissedEventsWouldHaveTold) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.unread(subscriber, 1);
  EXPECT_TRUE(co_await sleep_for(20s));
  subscriber.last_watermark = scene.next_watermark();
  fake_exchange().unread = 7;
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(fake_exchange().inboxes, 1);
  EXPECT_TRUE(co_await sleep_for(20s));
  EXPECT_THAT(last_push().payload, HasSubstr("\"badge\":7"));
  // A message with the count needs no question, and a device without a badge asks none.
  subscriber.last_watermark = scene.next_watermark();
  co_await scene.unread(subscriber, 8);
  Subscriber plain = co_await scene.subscribe("berta", {DeviceOptions{.badge = false}});
  co_await scene.heartbeat(plain);
  plain.last_watermark = scene.next_watermark();
  co_await scene.heartbeat(plain);
  EXPECT_EQ(fake_exchange().inboxes, 1);
  EXPECT_EQ(fake_exchange().finds, 3);
}

SCENE_TEST(NewMail, ThatExchangeCannotShowIsPushedWithoutContent) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  have_mail("b", {.subject = "Subject of b", .unreadable = true});
  EXPECT_EQ((co_await scene.mail(subscriber, {"a", "b"})).status, 200);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_apns), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
  EXPECT_FALSE(shows("Subject of b"));
}

SCENE_TEST(NewMail, SaysWhatItIsWhereItIsNoMail) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a", {.subject = "Budget", .sender = "Berta", .kind = proto::ItemKind::meeting_request});
  co_await scene.mail(subscriber, {"a"});
  EXPECT_THAT(last_push().payload, HasSubstr("\"body\":\"Budget\""));
  EXPECT_THAT(last_push().payload, HasSubstr("\"kind\":\"meetingRequest\""));
  have_mail("b", {.sender = "Berta", .kind = proto::ItemKind::task});
  co_await scene.mail(subscriber, {"b"});
  EXPECT_THAT(last_push().payload, HasSubstr("BELLHOP_TASK"));
  EXPECT_THAT(last_push().payload, HasSubstr("New task"));
  Subscriber discreet = co_await scene.subscribe("berta", {DeviceOptions{.preview = store::Preview::sender}});
  co_await scene.mail(discreet, {"a"});
  EXPECT_THAT(last_push().payload, HasSubstr("BELLHOP_NEW_MAIL"));
  EXPECT_THAT(last_push().payload, Not(HasSubstr("meeting")));
}

}  // namespace
}  // namespace bellhop::service
