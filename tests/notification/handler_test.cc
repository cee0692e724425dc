// SPDX-License-Identifier: Apache-2.0
// The accepting core: who is let in, what is read, what is answered.
#include "core/cross_core.h"
#include "core/sleep.h"
#include "proto/http_error.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

constexpr std::string_view kNotFound = "not found\n";

// Nothing was done for the caller: no private-key operation, no connection.
void expect_no_work(const Scene& scene) {
  EXPECT_EQ(scene.decryptions(), 0u);
  EXPECT_EQ(fake_exchange().logons(), 0);
  EXPECT_EQ(fake_apns().attempts, 0);
}

SCENE_TEST(NotificationHandler, AnswersAHeartbeatWithoutAnyWork) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  for (int i = 0; i < 3; ++i) {
    Scene::Reply reply = co_await scene.heartbeat(subscriber);
    EXPECT_EQ(reply.status, 200);
    EXPECT_FALSE(reply.closed);
    EXPECT_THAT(reply.body, HasSubstr("<SubscriptionStatus>OK</SubscriptionStatus>"));
  }
  expect_no_work(scene);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::heartbeat), 3u);
}

SCENE_TEST(NotificationHandler, TakesTheEns2PathToo) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  std::string target = "/MailNotifications" + subscriber.target();
  EXPECT_EQ((co_await scene.post(target, scene.heartbeat_body(subscriber))).status, 200);
}

SCENE_TEST(NotificationHandler, RefusesEveryForeignUrlWithOneConstantAnswer) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  Subscriber other = co_await scene.subscribe("bert");
  std::string id = subscriber.capability.text();
  std::string creds = to_base64url(subscriber.creds);
  std::vector<uint8_t> altered = subscriber.creds;
  altered[altered.size() / 2] ^= 1;
  std::vector<uint8_t> shortened(subscriber.creds.begin(), subscriber.creds.end() - 1);
  const std::string targets[] = {
      Subscriber::target_with(crypto::Capability::random().text(), creds),
      Subscriber::target_with(id.substr(1), creds),
      Subscriber::target_with(id + "A", creds),
      Subscriber::target_with(id, to_base64url(altered)),
      Subscriber::target_with(id, to_base64url(shortened)),
      Subscriber::target_with(id, to_base64url(other.creds)),
      Subscriber::target_with(id, creds + "="),
      Subscriber::target_with(id, ""),
      Subscriber::target_with("", creds),
      Subscriber::target_with(id, std::string(4000, 'A')),
      subscriber.target() + "&x=1",
      subscriber.target() + "&id=" + id,
      "/notify",
      "/notify?",
      "/notify?id=" + id,
      "/notify?creds=" + creds,
      "/notify?ID=" + id + "&creds=" + creds,
      "/notify?%69d=" + id + "&creds=" + creds,
      "/other?id=" + id + "&creds=" + creds,
      "/",
  };
  for (const std::string& target : targets) {
    FakeHttpExchange exchange(target, scene.mail_body(subscriber, {"a"}));
    co_await scene.deliver(exchange);
    EXPECT_EQ(exchange.status, 404) << target.substr(0, 20);
    EXPECT_EQ(exchange.body, kNotFound);
    EXPECT_EQ(exchange.content_type, "text/plain");
    EXPECT_TRUE(exchange.closed);
    EXPECT_FALSE(exchange.body_read) << "a body is not invited from strangers";
  }
  FakeHttpExchange get(subscriber.target(), "");
  get.request_method = proto::HttpMethod::get;
  co_await scene.deliver(get);
  EXPECT_EQ(get.status, 404);
  expect_no_work(scene);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_unknown), std::size(targets) + 1);
}

SCENE_TEST(NotificationHandler, RefusesEveryBitOfTheCredentialsThatWasTurned) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  std::string body = scene.heartbeat_body(subscriber);
  for (size_t bit = 0; bit < subscriber.creds.size() * 8; bit += 37) {
    std::vector<uint8_t> altered = subscriber.creds;
    altered[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    Scene::Reply reply =
        co_await scene.post(Subscriber::target_with(subscriber.capability.text(), to_base64url(altered)), body);
    EXPECT_EQ(reply.status, 404) << "bit " << bit;
  }
  expect_no_work(scene);
}

SCENE_TEST(NotificationHandler, RefusesAForeignSubscriptionIdLikeAForeignUrl) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("a");
  Subscriber forged = subscriber;
  forged.exchange_id = "another";
  Scene::Reply reply = co_await scene.mail(forged, {"a"});
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.body, kNotFound);
  EXPECT_TRUE(reply.closed);

  // One right notification does not excuse the other.
  proto::NotificationEvent event{
      .kind = proto::EventKind::new_mail, .watermark = "w", .item_id = "a", .parent_folder_id = "inbox"};
  event.timestamp = io::wall_now();
  proto::Notification both[2] = {{.subscription_id = subscriber.exchange_id, .events = {&event, 1}},
                                 {.subscription_id = "another", .events = {&event, 1}}};
  both[0].response_code = both[1].response_code = proto::EwsResponseCode::no_error;
  both[0].previous_watermark = both[1].previous_watermark = "v";
  std::string body;
  proto::write_send_notification({.notifications = both}, proto::ExchangeVersion::exchange2016, body);
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 404);
  expect_no_work(scene);
}

struct BadBody {
  const char* name;
  std::string body;
  uint16_t status;
};

SCENE_TEST_WITH(NotificationHandler, RefusesBodiesThatAreNoNotification,
                {.configure = [](Config& config) { config.notification.events_per_callback_max = 2; }}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  std::string good = scene.heartbeat_body(subscriber);
  size_t root = good.find("<", good.find("?>") == std::string::npos ? 0 : good.find("?>"));
  auto in_front = [&](std::string_view text) { return std::string(good).insert(root, text); };
  auto replaced = [&](std::string_view what, std::string_view by) {
    std::string text = good;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
      text.replace(at, what.size(), by);
    }
    return text;
  };
  std::string deep;
  for (int i = 0; i < 70; ++i) deep += "<a>";
  const BadBody bodies[] = {
      {"doctype", in_front("<!DOCTYPE a [<!ENTITY x \"y\">]>"), 400},
      {"processing instruction", in_front("<?php x?>"), 400},
      {"empty", "", 400},
      {"truncated", good.substr(0, good.size() - 20), 400},
      {"not UTF-8", replaced("subscription of", "subscription\xff of"), 400},
      {"wrong messages namespace", replaced("2006/messages", "2007/messages"), 400},
      {"depth", deep, 400},
      {"JSON", "{}", 400},
      {"too many events", scene.mail_body(subscriber, {"a", "b", "c"}), 400},
      {"too large", good + std::string(262'145, ' '), 413},
  };
  for (const BadBody& bad : bodies) {
    for (size_t piece : {size_t{1460}, size_t{1}}) {
      FakeHttpExchange exchange(subscriber.target(), bad.body);
      exchange.piece_bytes = bad.status == 413 ? 1460 : piece;
      co_await scene.deliver(exchange);
      EXPECT_EQ(exchange.status, bad.status) << bad.name;
      EXPECT_TRUE(exchange.closed) << bad.name;
      EXPECT_EQ(exchange.answers, 1) << bad.name;
    }
  }
  expect_no_work(scene);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_malformed), 2 * std::size(bodies));
  // The reader that met all this reads the next message as if nothing had been.
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
}

SCENE_TEST(NotificationHandler, ABodyThatIsTooSlowEndsIn408AndALostConnectionInNothing) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  FakeHttpExchange slow(subscriber.target(), scene.heartbeat_body(subscriber));
  slow.body_error = core_error(CoreError::timed_out);
  co_await scene.deliver(slow);
  EXPECT_EQ(slow.status, 408);
  EXPECT_TRUE(slow.closed);

  for (Error error : {os_error(104), core_error(CoreError::canceled), proto::http_error(proto::HttpError::truncated)}) {
    FakeHttpExchange lost(subscriber.target(), scene.heartbeat_body(subscriber));
    lost.body_error = error;
    co_await scene.deliver(lost);
    EXPECT_EQ(lost.answers, 0);
  }
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
}

SCENE_TEST(NotificationHandler, IsUnavailableBeforeTheStoreIsReadyAndWhileDraining) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  scene.node->ready = false;
  FakeHttpExchange early(subscriber.target(), scene.heartbeat_body(subscriber));
  co_await scene.deliver(early);
  EXPECT_EQ(early.status, 503);
  EXPECT_TRUE(early.closed);
  EXPECT_EQ(early.body, "");
  EXPECT_FALSE(early.body_read);
  scene.node->ready = true;
  scene.node->draining = true;
  Scene::Reply late = co_await scene.heartbeat(subscriber);
  EXPECT_EQ(late.status, 503);
  EXPECT_TRUE(late.closed);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_not_ready), 1u);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_draining), 1u);
}

SCENE_TEST_WITH(NotificationHandler, ShedsWhatIsAboveItsBound,
                {.configure = [](Config& config) { config.notification.in_flight_max = 2; }}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  Event gate;
  FakeHttpExchange first(subscriber.target(), scene.heartbeat_body(subscriber));
  FakeHttpExchange second(subscriber.target(), scene.heartbeat_body(subscriber));
  FakeHttpExchange third(subscriber.target(), scene.heartbeat_body(subscriber));
  first.body_gate = second.body_gate = &gate;
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(first));
  scope.spawn(scene.deliver(second));
  co_await scene.deliver(third);
  EXPECT_EQ(third.status, 503);
  EXPECT_TRUE(third.closed);
  gate.set();
  co_await scope.join();
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(second.status, 200);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_overload), 1u);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
}

SCENE_TEST(NotificationHandler, AnOverloadedCoreRefusesBeforeAnyWork) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  scene.parts[0]->core.overload.set_level(OverloadLevel::high);
  FakeHttpExchange refused(subscriber.target(), scene.heartbeat_body(subscriber));
  co_await scene.deliver(refused);
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.closed);
  EXPECT_FALSE(refused.body_read);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_overload), 1u);
  EXPECT_EQ(scene.parts[0]->core.trail.of_user(subscriber.user, 9).size(), 1u) << "`bellhop explain` tells of it";
  // Strangers learn nothing of it.
  EXPECT_EQ((co_await scene.post("/notify?id=AAAAAAAAAAAAAAAAAAAAAA&creds=AAAA", "")).status, 404);
  scene.parts[0]->core.overload.set_level(OverloadLevel::none);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(scene.parts[0]->core.overload.places.taken(), 0u);
}

SCENE_TEST(NotificationHandler, NoSubscriptionIsRefusedForLongerThanAQuarterOfItsStatusFrequency) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  scene.parts[0]->core.overload.set_level(OverloadLevel::severe);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 503);
  EXPECT_TRUE(co_await sleep_for(420s));
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 503);
  EXPECT_TRUE(co_await sleep_for(30s));
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::overload_admitted), 1u);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 503);  // a new time has begun
}

// A full queue of the mailbox's core refuses as an overloaded core does, and Exchange counts both.
SCENE_TEST_WITH(NotificationHandler, RefusalsOfBothPlacesCountTogether, {.configure = [](Config& config) {
                  config.notification.decrypt_queue_max = 1;
                  config.notification.decrypt_queue_per_tenant_max = 1;
                }}) {
  Subscriber subscriber = co_await scene.subscribe("anna"), other = co_await scene.subscribe("bert");
  have_mail("a");
  have_mail("b");
  std::string body = scene.mail_body(subscriber, {"a"});
  FakeHttpExchange first(other.target(), scene.mail_body(other, {"b"})), second(subscriber.target(), body);
  Event gate;
  first.body_gate = second.body_gate = &gate;
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(first));
  scope.spawn(scene.deliver(second));
  gate.set();
  co_await scope.join();
  EXPECT_EQ(second.status, 503);
  EXPECT_TRUE(co_await sleep_for(440s));
  scene.parts[0]->core.overload.set_level(OverloadLevel::severe);
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 503);
  EXPECT_TRUE(co_await sleep_for(10s));
  EXPECT_EQ((co_await scene.post(subscriber.target(), body)).status, 200);
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::overload_admitted), 1u);
}

SCENE_TEST(NotificationHandler, WhatIsInWorkWhenTheDrainsPatienceEndsIsHandedBack) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  have_mail("m1");
  fake_apns().delay = 5s;
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {"m1"}));
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.deliver(exchange));
  EXPECT_TRUE(co_await sleep_for(1s));
  EXPECT_EQ(exchange.answers, 0);
  Instant asked = io::now();
  scene.parts[0]->core.work.request_stop();
  co_await scope.join();
  EXPECT_LT(io::now() - asked, 1s);
  EXPECT_EQ(exchange.status, 503);
  EXPECT_TRUE(exchange.closed);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_draining), 1u);
}

SCENE_TEST_WITH(NotificationHandler, AStolenUrlCannotKeepUsBusy,
                {.configure = [](Config& config) { config.notification.callbacks_per_mailbox_per_minute_max = 3; }}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  Subscriber other = co_await scene.subscribe("bert");
  for (int i = 0; i < 3; ++i) EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 503);
  EXPECT_EQ((co_await scene.heartbeat(other)).status, 200);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_limit), 1u);
  EXPECT_TRUE(co_await sleep_for(60s));
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
}

SCENE_TEST(NotificationHandler, APendingSubscriptionAdoptsItsIdOnce) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions()}, true);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  store::SubscriptionRecord stored = co_await scene.stored_subscription(subscriber);
  EXPECT_EQ(stored.exchange_id, subscriber.exchange_id);
  EXPECT_EQ(stored.state, store::SubscriptionState::active);
  Subscriber forged = subscriber;
  forged.exchange_id = "another";
  EXPECT_EQ((co_await scene.heartbeat(forged)).status, 404);
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
}

SCENE_TEST(NotificationHandler, AnIdThatNoStoreHoldsIsNotAdopted) {
  Subscriber subscriber = co_await scene.subscribe("anna", {DeviceOptions()}, true);
  Subscriber huge = subscriber;
  huge.exchange_id = std::string(store::kExchangeIdSizeMax + 1, 'x');
  EXPECT_EQ((co_await scene.heartbeat(huge)).status, 400);
  EXPECT_EQ((co_await scene.stored_subscription(subscriber)).state, store::SubscriptionState::pending);
}

SCENE_TEST(NotificationHandler, ATombstoneIsAnsweredUnsubscribeInTheCallersSoapVersion) {
  for (auto reason :
       {store::TombstoneReason::removed, store::TombstoneReason::handed_over, store::TombstoneReason::blocked}) {
    Subscriber subscriber = co_await scene.subscribe("user" + std::to_string(static_cast<int>(reason)));
    WallTime soon = io::wall_now() + 1min;
    EXPECT_TRUE(
        co_await scene.store->end_subscription(subscriber.capability_hash, {.reason = reason, .expires = soon}));
    std::string soap11 = scene.mail_body(subscriber, {"a"});
    std::string soap12 = soap11;
    for (size_t at; (at = soap12.find(proto::kSoap11Space)) != std::string::npos;) {
      soap12.replace(at, proto::kSoap11Space.size(), proto::kSoap12Space);
    }
    Scene::Reply reply = co_await scene.post(subscriber.target(), soap11);
    EXPECT_EQ(reply.status, 200);
    EXPECT_THAT(reply.body, HasSubstr("Unsubscribe<"));
    EXPECT_THAT(reply.body, HasSubstr(std::string(proto::kSoap11Space)));
    reply = co_await scene.post(subscriber.target(), soap12);
    EXPECT_THAT(reply.body, HasSubstr("Unsubscribe<"));
    EXPECT_THAT(reply.body, HasSubstr(std::string(proto::kSoap12Space)));

    // It lives on for twice the StatusFrequency.
    store::Route route;
    EXPECT_TRUE(co_await scene.store->read_route(subscriber.capability_hash, route));
    EXPECT_GE(route.tombstone.expires, io::wall_now() + 59min);

    std::vector<uint8_t> altered = subscriber.creds;
    altered[0] ^= 1;
    std::string forged = Subscriber::target_with(subscriber.capability.text(), to_base64url(altered));
    EXPECT_EQ((co_await scene.post(forged, soap11)).status, 404);
    EXPECT_EQ((co_await scene.post(subscriber.target(), "<x/>")).status, 400);
  }
  EXPECT_EQ(scene.outcomes(CallbackOutcome::unsubscribe_removed), 4u);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::unsubscribe_blocked), 2u);
  expect_no_work(scene);
}

SCENE_TEST(NotificationHandler, ATenantThatWasTakenOutOfTheConfigurationGetsNoAnswerUntilItIsBack) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  GenerationSlot& generations = scene.parts[0]->core.generations;
  std::shared_ptr<const Generation> first = generations.share();
  Config without = scene.config;
  without.tenants.clear();
  auto second = std::make_shared<Generation>(2, without, Tenants::make(without, &first->tenants).value());
  generations.become(second);
  Scene::Reply reply = co_await scene.heartbeat(subscriber);
  EXPECT_EQ(reply.status, 503) << "Exchange repeats it";
  EXPECT_TRUE(reply.closed);
  EXPECT_EQ(scene.outcomes(CallbackOutcome::refused_not_ready), 1u);
  expect_no_work(scene);
  generations.become(std::make_shared<Generation>(3, scene.config, Tenants::make(scene.config, &second->tenants).value()));
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
}

SCENE_TEST_WITH(NotificationHandler, WorksAlikeOnEveryAcceptingCore, {.cores = 3}) {
  for (int i = 0; i < 6; ++i) {
    Subscriber subscriber = co_await scene.subscribe("user" + std::to_string(i));
    std::string id = "mail" + std::to_string(i);
    have_mail(id);
    EXPECT_EQ((co_await scene.mail(subscriber, {id})).status, 200);
    EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  }
  EXPECT_EQ(fake_apns().sent.size(), 6u);
  EXPECT_EQ(fake_exchange().finds, 0) << "each core knows where its mailboxes are";
  EXPECT_EQ(scene.decryptions(), 6u);
}

}  // namespace
}  // namespace bellhop::service
