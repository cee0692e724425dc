// SPDX-License-Identifier: Apache-2.0
// Subscriptions that the server renews itself, at a heartbeat, with the credentials that the callback brings.
#include "tests/notification/renewal_scene.h"

namespace bellhop::service {
namespace {

using proto::EwsResponseCode;
using store::RouteKind;
using testing::HasSubstr;
using testing::Not;

RENEWAL_TEST(Renewal, MakesASuccessorAndTheOldOneEndsAtItsFirstCallback) {
  Subscriber old_one = co_await old_subscriber(scene);
  EXPECT_EQ(fake_exchange().subscribes, 0) << "the clock alone renews nothing";
  EXPECT_EQ((co_await scene.heartbeat(old_one)).status, 200);
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 1);
  Subscriber successor = co_await scene.successor_of(old_one);
  EXPECT_NE(successor.capability_hash, old_one.capability_hash);
  EXPECT_EQ((co_await scene.stored_subscription(successor)).state, store::SubscriptionState::pending);
  EXPECT_TRUE((co_await scene.stored_subscription(successor)).takes_over);
  EXPECT_EQ((co_await scene.stored_user(old_one)).subscriptions.size(), 2u);
  expect_sound(scene);

  // Both live.
  EXPECT_THAT((co_await scene.heartbeat(old_one)).body, Not(HasSubstr("Unsubscribe")));
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 1) << "one successor at a time";
  EXPECT_EQ((co_await scene.heartbeat(successor)).status, 200);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
  EXPECT_FALSE((co_await scene.stored_subscription(successor)).takes_over);
  EXPECT_THAT((co_await scene.heartbeat(old_one)).body, HasSubstr("Unsubscribe"));
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 1u);
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::hand_overs), 1u);
  EXPECT_EQ(resubscribe_pushes(), 0u) << "no device took part";
  // The successor carries the credentials.
  have_mail("a");
  co_await scene.mail(successor, {"a"});
  EXPECT_TRUE(shows("Subject of a"));
  expect_sound(scene);
}

RENEWAL_TEST(Renewal, DoesNotKeepTheAnswerWaiting) {
  Subscriber old_one = co_await old_subscriber(scene);
  Event answer;
  hold_answer(answer);
  EXPECT_EQ((co_await scene.heartbeat(old_one)).status, 200);
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 1);
  // While Exchange makes up its mind, mails of the old one are pushed as ever.
  have_mail("a");
  EXPECT_EQ((co_await scene.mail(old_one, {"a"})).status, 200);
  EXPECT_TRUE(shows("Subject of a"));
  answer.set();
  co_await settle();
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 1u);
}

RENEWAL_TEST(Renewal, LosesNoEventAndPushesNoneTwice) {
  Subscriber old_one = co_await old_subscriber(scene);
  have_mail("told by both");
  have_mail("told by nobody");
  Subscriber successor = co_await renew(scene, old_one);
  EXPECT_EQ((co_await scene.mail(old_one, {"told by both"})).status, 200);
  EXPECT_EQ((co_await scene.mail(successor, {"told by both"})).status, 200);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
  have_mail("after");
  EXPECT_EQ((co_await scene.mail(successor, {"after"})).status, 200);
  EXPECT_EQ(alerts(), 3u);
  for (const char* subject : {"told by both", "told by nobody", "after"}) {
    EXPECT_TRUE(shows("Subject of " + std::string(subject))) << subject;
  }
}

// The hand-over waits for a callback that closes the gap between the two.
RENEWAL_TEST(Renewal, KeepsTheOldOneWhileTheSuccessorCannotCatchUp) {
  Subscriber old_one = co_await old_subscriber(scene);
  Subscriber successor = co_await renew(scene, old_one);
  have_mail("missed");
  fake_exchange().failure = EwsFailureKind::unavailable;
  EXPECT_EQ((co_await scene.heartbeat(successor)).status, 200);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::subscription);
  fake_exchange().failure.reset();
  EXPECT_EQ((co_await scene.heartbeat(successor)).status, 200);
  EXPECT_TRUE(shows("Subject of missed"));
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
}

Task<Scene::Reply> mail_later(Scene& scene, Subscriber& subscriber, std::string id, Event& held) {
  FakeHttpExchange exchange(subscriber.target(), scene.mail_body(subscriber, {id}));
  exchange.body_gate = &held;
  co_await scene.deliver(exchange);
  co_return Scene::Reply{.status = exchange.status, .body = exchange.body, .closed = exchange.closed};
}

Task<void> deliver_into(Scene& scene, Subscriber& subscriber, std::string id, Event& held, Scene::Reply& reply) {
  reply = co_await mail_later(scene, subscriber, std::move(id), held);
}

// It was routed while the old one lived, and comes to its turn after the hand-over.
RENEWAL_TEST(Renewal, TellsACallbackThatWasOvertakenToUnsubscribe) {
  Subscriber old_one = co_await old_subscriber(scene);
  Subscriber successor = co_await renew(scene, old_one);
  have_mail("a");
  Event held;
  Scene::Reply late;
  TaskScope flows(&co_await current_context());
  flows.spawn(deliver_into(scene, old_one, "a", held, late));
  EXPECT_EQ((co_await scene.heartbeat(successor)).status, 200);
  held.set();
  co_await flows.join();
  EXPECT_THAT(late.body, HasSubstr("Unsubscribe"));
  EXPECT_TRUE(shows("Subject of a")) << "the successor's catch-up had it";
  EXPECT_EQ(alerts(), 1u);
}

// ---- Exchange ----

Scene* calling_scene = nullptr;
const Subscriber* calling = nullptr;

Task<void> call_before_answer() {
  Subscriber successor = co_await calling_scene->successor_of(*calling);
  EXPECT_EQ((co_await calling_scene->heartbeat(successor)).status, 200);
}

RENEWAL_TEST(Renewal, TakesACallbackThatComesBeforeTheAnswer) {
  for (bool lost : {false, true}) {
    reset_fakes();
    Subscriber old_one = co_await old_subscriber(scene, lost ? "anna" : "berta");
    calling_scene = &scene;
    calling = &old_one;
    fake_exchange().before_answer = &call_before_answer;
    fake_exchange().subscribe_lost = lost;
    co_await heartbeat_and_settle(scene, old_one);
    Subscriber successor = co_await scene.successor_of(old_one);
    EXPECT_EQ((co_await scene.stored_subscription(successor)).state, store::SubscriptionState::active);
    EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
    EXPECT_EQ((co_await scene.heartbeat(successor)).status, 200);
  }
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 2u);
  expect_sound(scene);
}

RENEWAL_TEST(Renewal, WhoseAnswerIsLostLeavesTheOldOneAndEndsTheOther) {
  Subscriber old_one = co_await old_subscriber(scene);
  fake_exchange().subscribe_lost = true;
  Subscriber successor = co_await renew(scene, old_one);
  EXPECT_EQ(co_await scene.route_kind(successor), RouteKind::tombstone);
  EXPECT_THAT((co_await scene.heartbeat(successor)).body, HasSubstr("Unsubscribe"));
  have_mail("a");
  EXPECT_EQ((co_await scene.mail(old_one, {"a"})).status, 200);
  EXPECT_TRUE(shows("Subject of a"));
  EXPECT_EQ(counted(scene, RenewalResult::unavailable), 1u);
  expect_sound(scene);

  // It backs off, and then succeeds.
  fake_exchange().subscribe_lost = false;
  EXPECT_TRUE(co_await sleep_for(5min));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 1);
  EXPECT_TRUE(co_await sleep_for(kRenewalRetryFirst));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 2);
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 1u);
}

RENEWAL_TEST(Renewal, ThatExchangeRefusesCountsAgainstTheLogonRuleAndAsksADevice) {
  Subscriber old_one = co_await old_subscriber(scene);
  fake_exchange().password = "changed";
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 1);
  EXPECT_EQ((co_await scene.stored_subscription(old_one)).logon.failed, 1);
  EXPECT_EQ((co_await scene.stored_user(old_one)).subscriptions.size(), 1u);
  EXPECT_EQ(resubscribe_pushes(), 1u);
  // An account must not be locked by us.
  EXPECT_TRUE(co_await sleep_for(48h));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 1);
}

RENEWAL_TEST(Renewal, FailuresBackOffUpToADay) {
  Subscriber old_one = co_await old_subscriber(scene);
  fake_exchange().subscribe_failure = EwsFailureKind::unavailable;
  for (int quarter = 0; quarter < 4 * 24 * 6; ++quarter) {
    co_await scene.heartbeat(old_one);
    EXPECT_TRUE(co_await sleep_for(15min));
  }
  // 15 min, 30 min, 1 h … 16 h, then days, each cut by up to a half.
  EXPECT_GE(fake_exchange().subscribes, 8);
  EXPECT_LE(fake_exchange().subscribes, 22);
  EXPECT_EQ((co_await scene.stored_user(old_one)).subscriptions.size(), 1u);
  EXPECT_EQ((co_await scene.stored_subscription(old_one)).logon.failed, 0);
}

// With a million of them, a mailbox has left the cache before its next heartbeat.
RENEWAL_TEST(Renewal, FailuresBackOffAlsoForAMailboxThatLeftTheCache) {
  Subscriber old_one = co_await old_subscriber(scene);
  fake_exchange().subscribe_failure = EwsFailureKind::unavailable;
  for (int half_hour = 0; half_hour < 2 * 24; ++half_hour) {
    co_await heartbeat_and_settle(scene, old_one);
    scene.parts[0]->mailboxes->forget(old_one.user);
    EXPECT_TRUE(co_await sleep_for(30min));
  }
  EXPECT_GE(fake_exchange().subscribes, 4);
  EXPECT_LE(fake_exchange().subscribes, 10);
}

RENEWAL_TEST(Renewal, IsNotTriedWhileTheHostsBreakerIsOpen) {
  Subscriber old_one = co_await old_subscriber(scene);
  fake_exchange().open_to_requests = false;
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 0);
  EXPECT_EQ(counted(scene, RenewalResult::host_closed), 1u);
  fake_exchange().open_to_requests = true;
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 1) << "that was no failure: no back-off";
}

SCENE_TEST_WITH(Renewal, IsPacedByHost, renewing([](Config& config) { config.renewal.per_host_per_second_max = 2; })) {
  std::vector<Subscriber> subscribers;
  for (const char* name : {"anna", "berta", "clara", "doris"}) subscribers.push_back(co_await scene.subscribe(name));
  EXPECT_TRUE(co_await sleep_for(25h));
  for (Subscriber& subscriber : subscribers) co_await scene.heartbeat(subscriber);
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 2);
  EXPECT_EQ(counted(scene, RenewalResult::paced), 2u);
  for (Subscriber& subscriber : subscribers) co_await scene.heartbeat(subscriber);
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 4);
}

SCENE_TEST_WITH(Renewal, IsBoundedInNumber, renewing([](Config& config) { config.renewal.in_flight_max = 1; })) {
  Subscriber anna = co_await scene.subscribe("anna"), berta = co_await scene.subscribe("berta");
  EXPECT_TRUE(co_await sleep_for(25h));
  Event answer;
  hold_answer(answer);
  co_await scene.heartbeat(anna);
  co_await heartbeat_and_settle(scene, berta);
  EXPECT_EQ(fake_exchange().subscribes, 1);
  EXPECT_EQ(counted(scene, RenewalResult::paced), 1u);
  answer.set();
  co_await settle();
  co_await heartbeat_and_settle(scene, berta);
  EXPECT_EQ(fake_exchange().subscribes, 2);
}

SCENE_TEST_WITH(Renewal, LeavesMostOfAHostsRequestsToMails,
                renewing([](Config& config) { config.ews.requests_per_host_in_flight_max = 8; })) {
  std::vector<Subscriber> subscribers;
  for (const char* name : {"anna", "berta", "clara"}) subscribers.push_back(co_await scene.subscribe(name));
  EXPECT_TRUE(co_await sleep_for(25h));
  Event answer;
  hold_answer(answer);
  for (Subscriber& subscriber : subscribers) co_await scene.heartbeat(subscriber);
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 2);
  EXPECT_EQ(counted(scene, RenewalResult::paced), 1u);
  answer.set();
  co_await settle();
  co_await heartbeat_and_settle(scene, subscribers[2]);
  EXPECT_EQ(fake_exchange().subscribes, 3);
}

SCENE_TEST_WITH(Renewal, CanBeTurnedOff, renewing([](Config& config) { config.renewal.enabled = false; })) {
  Subscriber old_one = co_await old_subscriber(scene);
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 0);
}

SCENE_TEST_WITH(Renewal, ByAgeIsSpreadOverTheLastEighth, renewing([](Config& config) {
                  config.renewal.age_max_hours = 80;
                  config.renewal.per_host_per_second_max = 100;
                })) {
  store::SubscriptionRecord record{.created = io::wall_now()};
  Renewal& renewal = *scene.parts[0]->renewal;
  size_t early = 0;
  for (int i = 0; i < 200; ++i) {
    store::CapabilityHash capability = Vault::capability_hash(crypto::Capability::random());
    EXPECT_FALSE(renewal.due(capability, record, record.created + 70h));
    EXPECT_EQ(renewal.due(capability, record, record.created + 80h), RenewalReason::age);
    early += renewal.due(capability, record, record.created + 75h).has_value();
  }
  EXPECT_GT(early, 60u);
  EXPECT_LT(early, 140u);
  co_return;
}

// ---- Crash, stop, devices ----

RENEWAL_TEST(Renewal, ThatIsStoppedTakesItsSuccessorBack) {
  Subscriber old_one = co_await old_subscriber(scene);
  Event never;
  hold_answer(never);
  Subscriber successor = co_await renew(scene, old_one);
  EXPECT_EQ(co_await scene.route_kind(successor), RouteKind::subscription);
  co_await scene.parts[0]->renewal->close();
  EXPECT_EQ(counted(scene, RenewalResult::canceled), 1u);
  co_await scene.restart();
  EXPECT_EQ(co_await scene.route_kind(successor), RouteKind::tombstone);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::subscription);
  expect_sound(scene);
}

// A crash took us between the successor's record and Exchange's answer, which may have come or not.
RENEWAL_TEST(Renewal, ClearsAwayWhatACrashLeft) {
  Subscriber old_one = co_await old_subscriber(scene);
  store::SubscriptionRecord record = co_await scene.stored_subscription(old_one);
  record.created = io::wall_now();
  record.exchange_id.clear();
  crypto::Capability capability = crypto::Capability::random();
  store::Succession left{.old_one = old_one.capability_hash,
                         .subscription = {Vault::capability_hash(capability), record}};
  CO_ASSERT(co_await scene.store->begin_succession(left));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 0) << "Exchange's answer may be on its way";
  EXPECT_EQ(counted(scene, RenewalResult::conflict), 1u);
  EXPECT_TRUE(co_await sleep_for(kSuccessorAnswerMax));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 1);
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 1u);
  EXPECT_EQ((co_await scene.stored_user(old_one)).subscriptions.size(), 2u);
  expect_sound(scene);
}

RENEWAL_TEST(Renewal, SurvivesALossOfPowerAtAnyMoment) {
  Subscriber old_one = co_await old_subscriber(scene);
  fake_exchange().before_answer = [&scene]() -> Task<void> {
    (void)scene.store->power_cut();  // what Exchange was told of is on the disk
    co_return;
  };
  have_mail("missed");
  Subscriber successor = co_await renew(scene, old_one);
  EXPECT_EQ(co_await scene.route_kind(successor), RouteKind::subscription);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::subscription);
  EXPECT_EQ((co_await scene.heartbeat(successor)).status, 200);
  EXPECT_TRUE(shows("Subject of missed"));
  expect_sound(scene);
}

Task<void> remove_into(Scene& scene, const Subscriber& subscriber, size_t device, bool& done) {
  auto removed = co_await scene.parts[0]->registrar->remove_device(subscriber.user, subscriber.devices[device]);
  EXPECT_TRUE(removed);
  done = true;
}
Task<void> block_into(Scene& scene, const Subscriber& subscriber, size_t device, bool& done) {
  auto blocked = co_await scene.parts[0]->registrar->block_device(subscriber.user, subscriber.devices[device]);
  EXPECT_TRUE(blocked);
  done = true;
}

RENEWAL_TEST(Renewal, OfAUserWhoLeavesMeanwhileLeavesNothing) {
  Subscriber old_one = co_await old_subscriber(scene);
  Event answer;
  hold_answer(answer);
  Subscriber successor = co_await renew(scene, old_one);
  bool gone = false;
  TaskScope flows(&co_await current_context());
  flows.spawn(remove_into(scene, old_one, 0, gone));
  co_await settle();
  EXPECT_FALSE(gone) << "one change of a user at a time";
  answer.set();
  co_await flows.join();
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
  EXPECT_EQ(co_await scene.route_kind(successor), RouteKind::tombstone);
  EXPECT_THAT((co_await scene.heartbeat(successor)).body, HasSubstr("Unsubscribe"));
  auto counts = co_await scene.store->counts();
  EXPECT_EQ(counts->subscriptions + counts->users + counts->keys, 0u);
  expect_sound(scene);
}

RENEWAL_TEST(Renewal, OfADeviceThatIsBlockedMeanwhileEndsBothAtOnce) {
  Subscriber old_one = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  co_await scene.heartbeat(old_one);
  EXPECT_TRUE(co_await sleep_for(25h));
  Event answer;
  hold_answer(answer);
  Subscriber successor = co_await renew(scene, old_one);
  bool blocked = false;
  TaskScope flows(&co_await current_context());
  flows.spawn(block_into(scene, old_one, 0, blocked));
  co_await settle();
  EXPECT_TRUE(blocked) << "whatever Exchange is waited for";
  for (Subscriber* one : {&old_one, &successor}) EXPECT_EQ(co_await scene.route_kind(*one), RouteKind::tombstone);
  answer.set();
  co_await flows.join();
  co_await settle();
  for (Subscriber* one : {&old_one, &successor}) {
    EXPECT_EQ(co_await scene.route_kind(*one), RouteKind::tombstone);
    EXPECT_THAT((co_await scene.heartbeat(*one)).body, HasSubstr("Unsubscribe"));
  }
  EXPECT_EQ(scene.outcomes(CallbackOutcome::unsubscribe_blocked), 2u);
  EXPECT_EQ(resubscribe_pushes(), 1u);
  EXPECT_EQ(fake_apns().sent.back().token, old_one.tokens[1]) << "the other device is asked";
  expect_sound(scene);
}

RENEWAL_TEST(Renewal, IsNotMadeWithTheCredentialsOfADeviceThatLeft) {
  Subscriber old_one = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  co_await scene.heartbeat(old_one);
  EXPECT_TRUE(co_await sleep_for(25h));
  bool gone = false;
  co_await remove_into(scene, old_one, 0, gone);
  co_await settle();
  EXPECT_EQ(resubscribe_pushes(), 1u) << "the other device is asked at once";
  // Until it has subscribed, mails come as before.
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::subscription);
  have_mail("a");
  co_await scene.mail(old_one, {"a"});
  EXPECT_TRUE(shows("Subject of a"));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(fake_exchange().subscribes, 0);
  EXPECT_EQ(resubscribe_pushes(), 1u) << "once an hour";
  EXPECT_TRUE(co_await sleep_for(1h));
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(resubscribe_pushes(), 2u);
}

RENEWAL_TEST(Renewal, AfterAWipeTheSubscriptionEndsAtOnceAndTheUserIsRekeyed) {
  Subscriber old_one = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  co_await scene.heartbeat(old_one);
  auto wiped = co_await scene.parts[0]->registrar->wipe_device(old_one.user, old_one.devices[0]);
  CO_ASSERT(wiped);
  EXPECT_EQ(wiped->tombstoned.size(), 1u);
  EXPECT_THAT((co_await scene.heartbeat(old_one)).body, HasSubstr("Unsubscribe"));
  co_await settle();
  EXPECT_EQ(resubscribe_pushes(), 1u);
  EXPECT_NE((co_await scene.stored_user(old_one)).rekey_wished, WallTime());
  expect_sound(scene);
}

// As a stolen phone would do it: many flows of this user wait for one another.
RENEWAL_TEST(Renewal, OfADeviceThatIsWipedMeanwhileEndsAtOnceAlsoWhereManyWait) {
  Subscriber old_one = co_await old_subscriber(scene);
  Event answer;
  hold_answer(answer);
  Subscriber successor = co_await renew(scene, old_one);
  Registrar& registrar = *scene.parts[0]->registrar;
  TaskScope flows(&co_await current_context());
  struct Busy {
    static Task<void> wait(Registrar* registrar, store::StoredUserId user) {
      (void)co_await registrar->locks().acquire(user);
    }
  };
  for (size_t i = 0; i < UserLocks::kWaitingMax; ++i) flows.spawn(Busy::wait(&registrar, old_one.user));
  auto wiped = co_await registrar.wipe_device(old_one.user, old_one.devices[0]);
  CO_ASSERT(!wiped);
  EXPECT_TRUE(is(wiped.error(), CoreError::limit));
  for (Subscriber* one : {&old_one, &successor}) EXPECT_EQ(co_await scene.route_kind(*one), RouteKind::tombstone);
  EXPECT_EQ((co_await scene.stored_device(old_one)).state, store::DeviceState::blocked);
  answer.set();
  co_await flows.join();
  co_await settle();
  EXPECT_TRUE(co_await registrar.wipe_device(old_one.user, old_one.devices[0]));
  expect_sound(scene);
}

RENEWAL_TEST(Renewal, GoesOnOverAReload) {
  Subscriber old_one = co_await old_subscriber(scene);
  Event answer;
  hold_answer(answer);
  co_await heartbeat_and_settle(scene, old_one);
  Config changed = scene.config;
  changed.tenants[0].id = "another";
  auto tenants = Tenants::make(changed);
  CO_ASSERT(tenants);
  scene.parts[0]->core.generations.become(std::make_shared<Generation>(2, changed, *std::move(tenants)));
  answer.set();
  co_await settle();
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 1u);
}

RENEWAL_TEST(Renewal, KeepsNoSecretInMemoryAfterwardsAndStoresNone) {
  Subscriber old_one = co_await scene.subscribe_split("anna");
  co_await scene.heartbeat(old_one);
  EXPECT_TRUE(co_await sleep_for(25h));
  int64_t before = crypto::Secret::live_count(), during = 0;
  fake_exchange().before_answer = [&during]() -> Task<void> {
    during = crypto::Secret::live_count();
    co_return;
  };
  co_await heartbeat_and_settle(scene, old_one);
  EXPECT_EQ(counted(scene, RenewalResult::renewed), 1u);
  EXPECT_GT(during, before) << "they are there while Exchange is asked";
  EXPECT_EQ(crypto::Secret::live_count(), before);
  Subscriber successor = co_await scene.successor_of(old_one);
  store::SubscriptionRecord record = co_await scene.stored_subscription(successor);
  EXPECT_EQ(as_text(record.split_ciphertext).find(Scene::kPassword), std::string_view::npos);
  EXPECT_THAT(scene.log_lines, Not(HasSubstr(std::string(Scene::kPassword))));
  EXPECT_THAT(scene.log_lines, Not(HasSubstr(successor.capability.text())));
}

// ---- Dead subscriptions, mailboxes elsewhere ----

RENEWAL_TEST(Renewal, ReplacesADeadSubscriptionWithoutItsDevice) {
  Subscriber old_one = co_await scene.subscribe("anna");
  co_await scene.heartbeat(old_one);
  EXPECT_TRUE(co_await sleep_for(10s));
  have_mail("missed");
  Scene::Reply reply = co_await scene.post(old_one.target(), error_body(EwsResponseCode::invalid_watermark, old_one));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, Not(HasSubstr("Unsubscribe")));
  EXPECT_TRUE(shows("Subject of missed"));
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 1);
  EXPECT_EQ(resubscribe_pushes(), 0u);
  Subscriber successor = co_await scene.successor_of(old_one);
  EXPECT_EQ((co_await scene.heartbeat(successor)).status, 200);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
  EXPECT_EQ(alerts(), 1u);
}

RENEWAL_TEST(Renewal, OfADeadSubscriptionThatFailsEndsItAndAsksADevice) {
  Subscriber old_one = co_await scene.subscribe("anna");
  co_await scene.heartbeat(old_one);
  fake_exchange().subscribe_failure = EwsFailureKind::ews_error;
  co_await scene.post(old_one.target(), error_body(EwsResponseCode::read_events_failed, old_one));
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 1);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::tombstone);
  EXPECT_EQ(resubscribe_pushes(), 1u);
  expect_sound(scene);
}

// Without Autodiscover nobody but a device knows where it went.
RENEWAL_TEST(Renewal, OfAMovedMailboxThatIsNotFoundAsksADevice) {
  Subscriber old_one = co_await scene.subscribe("anna");
  co_await scene.heartbeat(old_one);
  co_await scene.post(old_one.target(), error_body(EwsResponseCode::proxy_request_not_allowed, old_one));
  co_await settle();
  EXPECT_EQ(fake_exchange().subscribes, 0);
  EXPECT_EQ(counted(scene, RenewalResult::moved_nowhere), 1u);
  EXPECT_EQ(resubscribe_pushes(), 1u);
  EXPECT_EQ(co_await scene.route_kind(old_one), RouteKind::subscription);
}

}  // namespace
}  // namespace bellhop::service
