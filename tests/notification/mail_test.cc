// SPDX-License-Identifier: Apache-2.0
// The home core: new mail from classification to the note in the store.
#include <algorithm>

#include "core/sleep.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr ApnsResult kRetry = {.verdict = proto::ApnsVerdict::retry};

size_t pushes_to(const std::string& token) {
  return static_cast<size_t>(std::ranges::count(fake_apns().sent, token, &FakeApns::Sent::token));
}
size_t resubscribe_pushes() {
  return static_cast<size_t>(std::ranges::count_if(fake_apns().sent, [](const FakeApns::Sent& sent) {
    return sent.type == proto::ApnsPushType::background && sent.payload.find("resubscribe") != std::string::npos;
  }));
}
std::vector<std::string> have_mails(const std::string& prefix, int count) {
  std::vector<std::string> ids;
  for (int i = 1; i <= count; ++i) {
    ids.push_back(prefix + std::to_string(i));
    have_mail(ids.back());
  }
  return ids;
}

SCENE_TEST(NewMail, IsPushedWithSenderSubjectAndPreview) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  Scene::Reply reply = co_await scene.mail(subscriber, {"a"});
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.closed);
  CO_ASSERT(fake_apns().sent.size() == 1);
  const FakeApns::Sent& push = last_push();
  EXPECT_EQ(push.token, subscriber.tokens[0]);
  EXPECT_EQ(push.topic, "com.example.mail");
  EXPECT_EQ(push.type, proto::ApnsPushType::alert);
  EXPECT_EQ(push.priority, proto::ApnsPriority::immediate);
  EXPECT_EQ(push.collapse_id, scene.vault->collapse_id(subscriber.user, "a"));
  EXPECT_THAT(push.payload, HasSubstr("Sender of a"));
  EXPECT_THAT(push.payload, HasSubstr("Subject of a"));
  EXPECT_THAT(push.payload, HasSubstr("Preview of a"));
  EXPECT_THAT(push.payload, HasSubstr(scene.vault->thread_id(subscriber.user, "conversation")));
  EXPECT_EQ(fake_exchange().url, "https://mail.example.com/EWS/Exchange.asmx");
  EXPECT_EQ(fake_exchange().gets, 1);
  EXPECT_EQ(fake_exchange().finds, 0);
  EXPECT_EQ(scene.decryptions(), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_apns), 1u);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::ok), 1u);
  EXPECT_EQ(scene.ledger().accepted, 1u);
}

SCENE_TEST(NewMail, ARepeatIsADuplicateAndCostsNothing) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  std::string body = scene.mail_body(subscriber, {"a"});
  for (int i = 0; i < 4; ++i) EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().attempts, 1);
  EXPECT_EQ(fake_exchange().logons(), 1);
  EXPECT_EQ(scene.decryptions(), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_duplicate), 3u);
}

SCENE_TEST(NewMail, RepeatsAtTheSameTimeArePushedOnce) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_exchange().delay = 500ms;
  std::string body = scene.mail_body(subscriber, {"a"});
  std::vector<std::unique_ptr<FakeHttpExchange>> exchanges;
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 5; ++i) {
    exchanges.push_back(std::make_unique<FakeHttpExchange>(subscriber.target(), body));
    scope.spawn(scene.deliver(*exchanges.back()));
  }
  co_await scope.join();
  std::vector<int> statuses;
  for (const auto& exchange : exchanges) statuses.push_back(exchange->status);
  // One above in_flight_per_mailbox_max is sent away.
  EXPECT_THAT(statuses, testing::UnorderedElementsAre(200, 200, 200, 200, 503));
  EXPECT_EQ(fake_apns().attempts, 1);
  EXPECT_EQ(fake_exchange().gets, 1);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_duplicate), 3u);
}

SCENE_TEST(NewMail, IsKnownAgainAfterARestart) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  std::string body = scene.mail_body(subscriber, {"a"});
  co_await scene.post(subscriber.target(), body);
  co_await scene.restart();
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(fake_apns().attempts, 1);
  EXPECT_EQ(fake_exchange().finds, 0) << "the watermark was stored";
}

struct PreviewRow {
  store::Preview device;
  PreviewPolicy tenant;
  bool sender, subject, preview;
};
constexpr PreviewRow kPreviewRows[] = {
    {store::Preview::none, PreviewPolicy::full, false, false, false},
    {store::Preview::sender, PreviewPolicy::full, true, false, false},
    {store::Preview::subject, PreviewPolicy::full, true, true, false},
    {store::Preview::full, PreviewPolicy::full, true, true, true},
    {store::Preview::full, PreviewPolicy::subject, true, true, false},
    {store::Preview::full, PreviewPolicy::sender, true, false, false},
    {store::Preview::full, PreviewPolicy::none, false, false, false},
    {store::Preview::sender, PreviewPolicy::subject, true, false, false},
};
size_t preview_row;

Task<void> show_what_the_policy_allows(Scene& scene) {
  const PreviewRow& row = kPreviewRows[preview_row];
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions{.preview = row.device}});
  have_mail("a");
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  CO_ASSERT(fake_apns().sent.size() == 1);
  EXPECT_EQ(shows("Sender of a"), row.sender);
  EXPECT_EQ(shows("Subject of a"), row.subject);
  EXPECT_EQ(shows("Preview of a"), row.preview);
  EXPECT_EQ(fake_exchange().preview, row.preview) << "what nobody may see is not asked for";
  EXPECT_EQ(scene.decryptions(), row.sender ? 1u : 0u);
  EXPECT_EQ(fake_exchange().logons(), row.sender ? 1 : 0);
  EXPECT_EQ(scene.outcomes(row.sender ? DeviceOutcome::delivered_apns : DeviceOutcome::delivered_contentfree), 1u);
}

TEST(NewMail, ShowsNoMoreThanDeviceAndTenantAllow) {
  for (preview_row = 0; preview_row < std::size(kPreviewRows); ++preview_row) {
    SCOPED_TRACE(preview_row);
    run_scene(show_what_the_policy_allows,
              {.configure = [](Config& config) { config.tenants[0].preview_max = kPreviewRows[preview_row].tenant; }});
  }
}

SCENE_TEST(NewMail, APrivateMailShowsNothing) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a",
            {.subject = "Secret plan", .sender = "Somebody", .preview = "Text", .conversation = "c", .private_ = true});
  co_await scene.mail(subscriber, {"a"});
  EXPECT_EQ(fake_apns().sent.size(), 1u);
  EXPECT_FALSE(shows("Secret plan") || shows("Somebody") || shows("Text"));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
}

SCENE_TEST(NewMail, GoesToEveryDeviceInItsOwnShape) {
  Subscriber subscriber = co_await scene.subscribe(
      "anna", {DeviceOptions{.preview = store::Preview::none}, DeviceOptions{.preview = store::Preview::subject},
               DeviceOptions{.state = store::DeviceState::blocked}});
  have_mail("a");
  have_mail("b");
  EXPECT_EQ((co_await scene.mail(subscriber, {"a", "b"})).status, 200);
  EXPECT_EQ(pushes_to(subscriber.tokens[0]), 2u);
  EXPECT_EQ(pushes_to(subscriber.tokens[1]), 2u);
  EXPECT_EQ(pushes_to(subscriber.tokens[2]), 0u);
  EXPECT_EQ(fake_exchange().gets, 1) << "one request for all mails and devices";
  for (const FakeApns::Sent& sent : fake_apns().sent) {
    if (sent.token == subscriber.tokens[0]) EXPECT_THAT(sent.payload, Not(HasSubstr("Subject")));
  }
  EXPECT_EQ(scene.ledger().accepted, 6u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 2u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_apns), 2u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_policy), 2u);
}

SCENE_TEST(NewMail, IsNotShownOnADeviceThatWasTakenOutOfUseMeanwhile) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions(), DeviceOptions()});
  have_mail("a");
  fake_exchange().delay = 2s;
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"a"}));
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  EXPECT_TRUE(co_await sleep_for(1s));
  store::DevicePatch patch;
  patch.state = store::DeviceState::blocked;
  EXPECT_TRUE(co_await scene.store->update_device(subscriber.user, subscriber.devices[1], patch));
  EXPECT_TRUE(co_await scene.store->remove_device({.user = subscriber.user, .device = subscriber.devices[2]}));
  co_await scope.join();
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(pushes_to(subscriber.tokens[0]), 1u);
  EXPECT_EQ(pushes_to(subscriber.tokens[1]) + pushes_to(subscriber.tokens[2]), 0u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_policy), 1u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_no_device), 1u);
}

SCENE_TEST(NewMail, WithoutADeviceIsCountedAndLeftAlone) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  store::DeviceRemoval removal{
      .user = subscriber.user, .device = subscriber.devices[0], .ending = {}, .keep_user = true, .now = io::wall_now()};
  // The subscription's record is read before the device goes away.
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"a"}));
  Event gate;
  exchange.body_gate = &gate;
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  EXPECT_TRUE(co_await scene.store->remove_device(removal));
  gate.set();
  co_await scope.join();
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(fake_apns().attempts + fake_exchange().logons(), 0);
  EXPECT_EQ(scene.decryptions(), 0u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_no_device), 1u);
}

SCENE_TEST(NewMail, AnItemThatIsGoneIsNotPushed) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("b");
  std::string body = scene.mail_body(subscriber, {"a", "b"});
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().attempts, 1);
  EXPECT_TRUE(shows("Subject of b"));
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_gone), 1u);
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_exchange().gets, 1) << "it is not asked for again";
}

SCENE_TEST(NewMail, TroubleAtExchangeBecomesAContentFreePush) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  int number = 0;
  for (EwsFailureKind kind : {EwsFailureKind::throttled, EwsFailureKind::unavailable, EwsFailureKind::garbage,
                              EwsFailureKind::refused, EwsFailureKind::ews_error}) {
    std::string id = "mail" + std::to_string(++number);
    have_mail(id);
    fake_exchange().failure = kind;
    EXPECT_EQ((co_await scene.mail(subscriber, {id})).status, 200);
    EXPECT_EQ(fake_apns().attempts, number);
    EXPECT_FALSE(shows("Subject"));
    EXPECT_EQ(last_push().collapse_id, scene.vault->collapse_id(subscriber.user, id));
  }
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 5u);
  EXPECT_EQ(resubscribe_pushes(), 0u);
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).logon.failed, 0);
}

SCENE_TEST(NewMail, ASlowExchangeIsGivenUpInTime) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_exchange().delay = 1h;
  Instant begin = io::now();
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_LT(io::now() - begin, 4s);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
}

SCENE_TEST(NewMail, RefusedCredentialsAreTriedOnceAnHourAndThreeTimesMore) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions()}, false, "old password");
  int hours = 8, mails = 0;
  for (int hour = 0; hour < hours; ++hour) {
    for (int quarter = 0; quarter < 4; ++quarter) {
      std::string id = "mail" + std::to_string(++mails);
      have_mail(id);
      EXPECT_EQ((co_await scene.mail(subscriber, {id})).status, 200);
      EXPECT_TRUE(co_await sleep_for(15min));
    }
    EXPECT_EQ(fake_exchange().logons(), std::min(hour + 1, 4)) << "hour " << hour;
  }
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).logon.failed, 4);
  EXPECT_EQ(scene.decryptions(), 4u) << "no decryption for what may not be used";
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), static_cast<uint64_t>(mails));
  // The device is asked at most once an hour.
  EXPECT_GE(resubscribe_pushes(), static_cast<size_t>(hours - 1));
  EXPECT_LE(resubscribe_pushes(), static_cast<size_t>(hours));
  EXPECT_THAT(scene.log_lines, HasSubstr("credentials_refused"));
}

SCENE_TEST(NewMail, TheLogonRuleSurvivesARestartAndEndsWithASuccess) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions()});
  have_mail("a");
  have_mail("b");
  have_mail("c");
  fake_exchange().password = "changed for a while";
  co_await scene.mail(subscriber, {"a"});
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).logon.failed, 1);
  co_await scene.restart();
  fake_exchange().password = std::string(Scene::kPassword);
  co_await scene.mail(subscriber, {"b"});
  EXPECT_EQ(fake_exchange().logons(), 1) << "the hour is not over";
  EXPECT_TRUE(co_await sleep_for(61min));
  co_await scene.mail(subscriber, {"c"});
  EXPECT_EQ(fake_exchange().logons(), 2);
  EXPECT_TRUE(shows("Subject of c"));
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).logon, store::LogonRule());
}

SCENE_TEST(NewMail, AnEnvelopeThatDoesNotOpenIsOurFaultAndNever404) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  // The digest is that of an envelope under another binding, as a fault of ours could make it.
  std::vector<uint8_t> garbage = subscriber.creds;
  garbage[100] ^= 1;
  Subscriber broken = co_await scene.subscribe("bert");
  store::SubscriptionRecord record = co_await scene.stored_subscription(broken);
  record.digest = store::Digest::from(crypto::sha256(garbage));
  crypto::Capability capability = crypto::Capability::random();
  store::Registration registration{.user = broken.user,
                                   .device = broken.devices[0],
                                   .record = co_await scene.stored_device(broken),
                                   .subscription = store::NewSubscription{Vault::capability_hash(capability), record},
                                   .now = io::wall_now()};
  EXPECT_TRUE(co_await scene.store->register_device(registration));
  broken.capability = capability;
  broken.creds = garbage;
  have_mail("a");
  EXPECT_EQ((co_await scene.mail(broken, {"a"})).status, 200);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 1u);
  EXPECT_EQ(resubscribe_pushes(), 1u);
  EXPECT_EQ(fake_exchange().logons(), 0);
  EXPECT_THAT(scene.log_lines, HasSubstr("envelope_unopened"));
}

SCENE_TEST(NewMail, TooManyAtOnceBecomeOnePush) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  std::vector<std::string> ids = have_mails("mail", 21);
  std::string body = scene.mail_body(subscriber, ids);
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().attempts, 2);
  EXPECT_THAT(last_push().payload, HasSubstr("more_mail"));
  EXPECT_THAT(last_push().payload, HasSubstr("\"21\""));
  EXPECT_EQ(fake_exchange().logons(), 0) << "none of them is shown";
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_merged), 40u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_contentfree), 2u);
  co_await scene.post(subscriber.target(), body);
  EXPECT_EQ(fake_apns().attempts, 2);
}

SCENE_TEST(NewMail, AsManyAsAreShownAreShown) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  EXPECT_EQ((co_await scene.mail(subscriber, have_mails("mail", 20))).status, 200);
  EXPECT_EQ(fake_apns().attempts, 20);
  EXPECT_EQ(fake_exchange().gets, 1);
  EXPECT_TRUE(shows("Subject of mail20"));
}

SCENE_TEST_WITH(NewMail, WhatNeitherApnsNorTheJournalTakesIsHandedBackAndRepeatedForThatDeviceAlone,
                {.configure = [](Config& config) { config.journal.records_max = 1; }}) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  have_mail("a");
  have_mail("b");
  std::string body = scene.mail_body(subscriber, {"a", "b"});
  // The second device's first two pushes find no APNs.
  fake_apns().answers[subscriber.tokens[1]] = {kRetry, kRetry};
  Scene::Reply reply = co_await scene.post(subscriber.target(), body);
  EXPECT_EQ(reply.status, 503);
  EXPECT_TRUE(reply.closed);
  EXPECT_EQ(reply.body, "");
  EXPECT_EQ(scene.ledger().handed_back, 2u);
  EXPECT_EQ(scene.ledger().in_flight, 0u);

  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(pushes_to(subscriber.tokens[0]), 2u) << "not pushed twice";
  EXPECT_EQ(pushes_to(subscriber.tokens[1]), 2u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::delivered_apns), 4u);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::skipped_duplicate), 2u);
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(fake_apns().sent.size(), 4u);
}

SCENE_TEST(NewMail, ASilentApnsEndsInTheJournalWithinTheTotalTime) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_apns().delay = 1h;
  fake_exchange().delay = 1h;
  Instant begin = io::now();
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_LT(io::now() - begin, 8500ms);
  EXPECT_EQ(scene.ledger().handed_back, 0u);
  EXPECT_EQ(scene.ledger().journaled, 1u);
}

SCENE_TEST(NewMail, ADeadTokenIsNotedAndSparedFromThenOn) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  have_mail("a");
  have_mail("b");
  fake_apns().answers[subscriber.tokens[0]] = {{.verdict = proto::ApnsVerdict::token_gone, .status = 410}};
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_TRUE((co_await scene.stored_device(subscriber, 0)).token_gone);
  EXPECT_FALSE((co_await scene.stored_device(subscriber, 1)).token_gone);
  EXPECT_EQ((co_await scene.mail(subscriber, {"b"})).status, 200);
  EXPECT_EQ(fake_apns().attempts, 3);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_token_gone), 2u);
}

// APNs judges an older registration of the device: it may be reachable, so it stays; but this push can never be made, and
// Exchange must not be asked to repeat it until the subscription dies.
SCENE_TEST(NewMail, ATokenThatWasGoneBeforeItsRegistrationEndsThePushAndNotTheDevice) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  fake_apns().answers[subscriber.tokens[0]] = {
      {.verdict = proto::ApnsVerdict::retry, .reason = proto::ApnsReason::unregistered, .status = 410}};
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_FALSE((co_await scene.stored_device(subscriber, 0)).token_gone);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_token_gone), 1u);
}

SCENE_TEST(NewMail, WhatApnsRefusesForGoodIsDroppedLoudly) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  have_mail("b");
  fake_apns().answers[subscriber.tokens[0]] = {
      {.verdict = proto::ApnsVerdict::drop_payload, .reason = proto::ApnsReason::payload_too_large, .status = 413},
      {.verdict = proto::ApnsVerdict::route_broken, .reason = proto::ApnsReason::topic_disallowed, .status = 400}};
  EXPECT_EQ((co_await scene.mail(subscriber, {"a"})).status, 200);
  EXPECT_EQ((co_await scene.mail(subscriber, {"b"})).status, 200);
  EXPECT_EQ(scene.outcomes(DeviceOutcome::dropped_payload), 2u);
  EXPECT_THAT(scene.log_lines, HasSubstr("PayloadTooLarge"));
  EXPECT_THAT(scene.log_lines, HasSubstr("TopicDisallowed"));
}

SCENE_TEST(NewMail, TheFirstSuccessProvesADevice) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions{.proven = false}});
  have_mail("a");
  have_mail("b");
  co_await scene.mail(subscriber, {"a"});
  EXPECT_FALSE(last_push().proven);
  co_await scene.restart();  // awaits what runs in the background
  EXPECT_TRUE((co_await scene.stored_device(subscriber)).proven);
  co_await scene.mail(subscriber, {"b"});
  EXPECT_TRUE(last_push().proven);
}

// ---- What is noted, and what is not said ----

SCENE_TEST(HotState, AHeartbeatIsWrittenOnlyNowAndThen) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  WallTime written = (co_await scene.stored_hot(subscriber)).last_seen;
  EXPECT_GT(written, WallTime());
  EXPECT_TRUE(co_await sleep_for(5min));
  co_await scene.heartbeat(subscriber);
  EXPECT_EQ((co_await scene.stored_hot(subscriber)).last_seen, written);
  EXPECT_GT(co_await scene.parts[0]->mailboxes->last_seen(subscriber.mailbox, subscriber.user), written);
  EXPECT_TRUE(co_await sleep_for(5min));
  co_await scene.heartbeat(subscriber);
  EXPECT_GT((co_await scene.stored_hot(subscriber)).last_seen, written + 9min);
}

SCENE_TEST(HotState, CloseWritesWhatHeartbeatsLeft) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  co_await scene.heartbeat(subscriber);
  EXPECT_TRUE(co_await sleep_for(1min));
  co_await scene.heartbeat(subscriber);
  co_await scene.restart();
  EXPECT_EQ((co_await scene.stored_hot(subscriber)).watermark_hash,
            scene.vault->watermark_hash(subscriber.last_watermark));
  EXPECT_EQ(co_await scene.parts[0]->mailboxes->last_seen(subscriber.mailbox, subscriber.user),
            (co_await scene.stored_hot(subscriber)).last_seen);
}

SCENE_TEST(HotState, OfAForgottenUserIsReadAgainFromTheStore) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  Mailboxes& mailboxes = *scene.parts[0]->mailboxes;
  co_await scene.heartbeat(subscriber);
  WallTime written = (co_await scene.stored_hot(subscriber)).last_seen;
  EXPECT_TRUE(co_await sleep_for(1min));
  co_await scene.heartbeat(subscriber);
  EXPECT_GT(co_await mailboxes.last_seen(subscriber.mailbox, subscriber.user), written);
  mailboxes.forget(subscriber.user);
  EXPECT_EQ(co_await mailboxes.last_seen(subscriber.mailbox, subscriber.user), written);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
}

SCENE_TEST(Privacy, TheLogNamesNobodyAndShowsNothing) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions{.proven = false}}, true);
  have_mail("a");
  have_mail("b");
  co_await scene.mail(subscriber, {"a"});
  fake_exchange().failure = EwsFailureKind::unauthorized;
  fake_apns().answers[subscriber.tokens[0]] = {{.verdict = proto::ApnsVerdict::drop_payload}};
  co_await scene.mail(subscriber, {"b"});
  co_await scene.restart();
  EXPECT_THAT(scene.log_lines, HasSubstr("subscription_active"));
  for (std::string_view secret :
       {std::string_view("anna"), std::string_view("example.com"), Scene::kPassword, std::string_view("Subject of"),
        std::string_view("Sender of"), std::string_view(subscriber.tokens[0]), std::string_view("subscription of")}) {
    EXPECT_THAT(scene.log_lines, Not(HasSubstr(std::string(secret))));
  }
  EXPECT_THAT(scene.log_lines, Not(HasSubstr(subscriber.capability.text())));
  EXPECT_THAT(scene.log_lines, Not(HasSubstr(to_hex(subscriber.user))));
}

struct Recorder final : NotificationObserver {
  std::vector<NotificationTrace> traces;
  void notified(const NotificationTrace& trace) override { traces.push_back(trace); }
};

SCENE_TEST(Observer, HearsOfMailWithItsStages) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  Recorder recorder;
  scene.parts[0]->core.observer = &recorder;
  have_mail("a");
  fake_exchange().delay = 30ms;
  fake_apns().delay = 20ms;
  co_await scene.heartbeat(subscriber);
  co_await scene.mail(subscriber, {"a"});
  CO_ASSERT(recorder.traces.size() == 1);
  const NotificationTrace& trace = recorder.traces[0];
  EXPECT_EQ(trace.mailbox, subscriber.mailbox);
  EXPECT_EQ(trace.outcome, CallbackOutcome::ok);
  EXPECT_EQ(trace.items, 1u);
  EXPECT_EQ(trace.pushes, 1u);
  EXPECT_EQ(trace.pushes_contentfree, 0u);
  EXPECT_GE(trace.fetch, 30ms);
  EXPECT_GE(trace.push, 20ms);
  EXPECT_GE(trace.total, trace.route + trace.parse + trace.decrypt + trace.fetch + trace.push);
  scene.parts[0]->core.observer = nullptr;
}

}  // namespace
}  // namespace bellhop::service
