// SPDX-License-Identifier: Apache-2.0
// Silence, hour after hour of the simulator's clock: from a callback that stays away to the push that asks a device.

#include "core/cross_core.h"
#include "core/sim/world.h"
#include "core/sleep.h"
#include "proto/apns.h"
#include "service/supervision.h"
#include "store/seed.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

constexpr Duration kFrequency = 30min;
constexpr Duration kLate = std::chrono::seconds(late_after_s(1'800));
constexpr Duration kLost = std::chrono::seconds(lost_after_s(1'800));
constexpr Duration kLook = 2s;  // until what is due has been looked at

// The supervision of all cores of a scene, until stop().
class Running {
 public:
  explicit Running(Scene& scene) : flows_(nullptr) {
    for (unsigned core = 0; core < scene.parts.size(); ++core) {
      flows_.spawn(run_on(core, scene.parts[core]->supervision.get()));
    }
  }
  Task<void> stop() {
    flows_.request_stop();
    co_await flows_.join();
  }

 private:
  static Task<void> run_on(unsigned core, Supervision* supervision) {
    co_await on_core_stoppable(core, [supervision] { return run_there(supervision); });
  }
  static Task<bool> run_there(Supervision* supervision) {
    co_await supervision->run();
    co_return true;
  }
  TaskScope flows_;
};

SilenceStage stage(Scene& scene, const store::StoredUserId& user) {
  return scene.parts[scene.node->home_core(user)]->supervision->state(user).stage;
}

size_t count(std::string_view text, std::string_view word) {
  size_t found = 0;
  for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) ++found;
  return found;
}

uint64_t asks(Scene& scene, AskReason reason) {
  uint64_t sum = 0;
  for (const auto& parts : scene.parts) sum += parts->metrics->value(metric::resubscribe_asks, reason);
  return sum;
}

uint64_t supervised(Scene& scene) {
  uint64_t sum = 0;
  for (const auto& parts : scene.parts) sum += parts->supervision->watch().size();
  return sum;
}

store::StoredUserId user_number(Scene& scene, uint64_t number) {
  return scene.vault->user_id("acme", crypto::sha256("user " + std::to_string(number)));
}

store::SubscriptionRecord record_of(const store::StoredUserId& user) {
  store::SubscriptionRecord record;
  record.user = user;
  record.ews_url = "https://mail.example.com/EWS/Exchange.asmx";
  return record;
}

// Mailboxes as they lie in the store of a server that starts.
void store_mailboxes(Scene& scene, uint64_t count) {
  Status seeded = store::seed(scene.store->engine(), count, "acme", io::wall_now(), [&](uint64_t i, auto& mailbox) {
    mailbox.user = user_number(scene, i);
    store_be64(mailbox.key.id.bytes.data(), i + 1);
    mailbox.device = scene.vault->device_key(mailbox.user, "phone");
    mailbox.device_record.sealed_push_token =
        scene.vault->seal_push_token(mailbox.user, mailbox.device, to_hex(mailbox.user));
    mailbox.device_record.topic = "com.example.mail";
    mailbox.device_record.proven = true;
    mailbox.capability = store::CapabilityHash::from(crypto::sha256("capability " + std::to_string(i)));
    mailbox.subscription = record_of(mailbox.user);
    mailbox.subscription.exchange_id = "subscription " + std::to_string(i);
    mailbox.subscription.source_device = mailbox.device;
  });
  BH_CHECK(seeded);
}

SCENE_TEST(Silence, ALostMailboxHasItsSourceDeviceAskedToSubscribeAgain) {
  Running running(scene);
  Subscriber anna = co_await scene.subscribe("anna", {DeviceOptions(), DeviceOptions()});
  EXPECT_EQ((co_await scene.heartbeat(anna)).status, 200);
  EXPECT_TRUE(co_await sleep_for(kLate - kLook));
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::active);
  EXPECT_TRUE(co_await sleep_for(2 * kLook));
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::late);
  EXPECT_TRUE(co_await sleep_for(kLost - kLate - 2 * kLook));
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::late);
  EXPECT_TRUE(fake_apns().sent.empty());
  EXPECT_TRUE(co_await sleep_for(2 * kLook));
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::lost);
  CO_ASSERT(fake_apns().sent.size() == 1);
  EXPECT_EQ(last_push().token, anna.tokens[0]);
  EXPECT_EQ(last_push().type, proto::ApnsPushType::background);
  EXPECT_TRUE(shows("resubscribe"));
  EXPECT_EQ(asks(scene, AskReason::lost), 1u);
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::mailboxes_supervised, SilenceStage::lost), 1u);
  co_await running.stop();
}

SCENE_TEST(Silence, IsBrokenByAnyCallback) {
  Running running(scene);
  Subscriber anna = co_await scene.subscribe("anna");
  have_mail("a");
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ((co_await scene.heartbeat(anna)).status, 200);
    EXPECT_TRUE(co_await sleep_for(kFrequency));
    EXPECT_EQ((co_await scene.mail(anna, {"a"})).status, 200);
    EXPECT_TRUE(co_await sleep_for(kFrequency));
    EXPECT_EQ(stage(scene, anna.user), SilenceStage::active);
  }
  EXPECT_EQ(asks(scene, AskReason::lost), 0u);
  EXPECT_TRUE(co_await sleep_for(kLost - kFrequency + kLook));
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::lost);
  EXPECT_EQ((co_await scene.heartbeat(anna)).status, 200);
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::active);
  EXPECT_TRUE(co_await sleep_for(kFrequency));
  EXPECT_EQ(asks(scene, AskReason::lost), 1u) << "no further push once it speaks";
  co_await running.stop();
}

SCENE_TEST(Silence, GoesOnBeingAskedAboutLessAndLessOften) {
  Running running(scene);
  Subscriber anna = co_await scene.subscribe("anna");
  co_await scene.heartbeat(anna);
  Instant begin = io::now();
  EXPECT_TRUE(co_await sleep_for(10h));
  // After 72 min, 87 min, 2.5 h and 8.5 h, each wait but the first a tenth more or less.
  CO_ASSERT(fake_apns().sent.size() == 4);
  Duration last = fake_apns().sent[3].at - begin;
  EXPECT_GT(last, 7h);
  EXPECT_LT(last, 10h);
  co_await running.stop();
}

SCENE_TEST(Silence, IsNotToldByAWallClockThatJumps) {
  Running running(scene);
  Subscriber anna = co_await scene.subscribe("anna");
  co_await scene.heartbeat(anna);
  for (Duration jump : {Duration(48h), Duration(-96h), Duration(24h * 365)}) {
    sim::world().shift_wall_clock(jump);
    EXPECT_TRUE(co_await sleep_for(5min));
    EXPECT_EQ(stage(scene, anna.user), SilenceStage::active);
  }
  EXPECT_TRUE(co_await sleep_for(kLost - 15min + kLook));
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::lost) << "and it is told by the other clock all the same";
  co_await running.stop();
}

SCENE_TEST(Silence, OfARemovedUserConcernsNobody) {
  Running running(scene);
  Subscriber anna = co_await scene.subscribe("anna"), bert = co_await scene.subscribe("bert");
  co_await scene.heartbeat(anna);
  co_await scene.heartbeat(bert);
  EXPECT_TRUE(co_await sleep_for(kLate + kLook));
  for (const Subscriber* leaver : {&anna, &bert}) {
    EXPECT_TRUE(co_await scene.store->remove_device(
        {.user = leaver->user, .device = leaver->devices[0], .ending = {}, .now = io::wall_now()}));
  }
  scene.parts[0]->mailboxes->forget(anna.user);  // as registration does
  EXPECT_EQ(supervised(scene), 1u);
  // Bert went without a word to this core: that shows when his device is to be asked.
  EXPECT_TRUE(co_await sleep_for(kLost));
  EXPECT_EQ(supervised(scene), 0u);
  EXPECT_TRUE(fake_apns().sent.empty());
  co_await running.stop();
}

SCENE_TEST(Silence, OfAMailboxWithBlockedDevicesOnlyIsNotPushed) {
  Running running(scene);
  Subscriber anna = co_await scene.subscribe("anna", {DeviceOptions{.state = store::DeviceState::blocked}});
  co_await scene.heartbeat(anna);
  EXPECT_TRUE(co_await sleep_for(kLost + kLook));
  EXPECT_EQ(stage(scene, anna.user), SilenceStage::lost);
  EXPECT_EQ(fake_apns().attempts, 0);
  co_await running.stop();
}

SCENE_TEST(Silence, BeginsAnewWhenWeStart) {
  store_mailboxes(scene, 1);
  store::StoredUserId user = user_number(scene, 0);
  EXPECT_TRUE(co_await sleep_for(24h));  // nobody ran
  {
    Running running(scene);
    EXPECT_TRUE(co_await sleep_for(kLate - kLook));
    EXPECT_EQ(supervised(scene), 1u);
    EXPECT_EQ(stage(scene, user), SilenceStage::active);
    EXPECT_TRUE(co_await sleep_for(kFrequency));
    EXPECT_EQ(stage(scene, user), SilenceStage::late);
    co_await running.stop();
  }
  co_await scene.restart();
  Running again(scene);
  EXPECT_TRUE(co_await sleep_for(kLate - kLook));
  EXPECT_EQ(stage(scene, user), SilenceStage::active) << "we may have missed its callbacks ourselves";
  EXPECT_TRUE(fake_apns().sent.empty());
  EXPECT_TRUE(co_await sleep_for(kLost - kLate + 2 * kLook));
  EXPECT_EQ(stage(scene, user), SilenceStage::lost);
  EXPECT_EQ(fake_apns().sent.size(), 1u);
  co_await again.stop();
}

// Its subscription was called lost, its device was asked, and the push did not arrive.
SCENE_TEST(Silence, OfAUserWithoutASubscriptionIsNotForgottenByARestart) {
  store_mailboxes(scene, 2);
  store::StoredUserId user = user_number(scene, 0);
  auto stored = co_await scene.store->read_user(user);
  CO_ASSERT(stored && stored->subscriptions.size() == 1);
  store::Ending ending{.reason = store::TombstoneReason::removed, .expires = io::wall_now() + 1h};
  EXPECT_TRUE(co_await scene.store->end_subscription(stored->subscriptions[0], ending));
  co_await scene.restart();
  Running running(scene);
  EXPECT_TRUE(co_await sleep_for(kLate - kLook));
  EXPECT_EQ(supervised(scene), 2u);
  EXPECT_EQ(stage(scene, user), SilenceStage::active);
  EXPECT_TRUE(co_await sleep_for(kLost - kLate + 2 * kLook));
  EXPECT_EQ(stage(scene, user), SilenceStage::lost);
  EXPECT_EQ(fake_apns().sent.size(), 2u) << "its device, and that of the mailbox that is just silent";
  co_await running.stop();
}

SCENE_TEST_WITH(Filling, FindsEachStoredMailboxOnceAndAtItsHome, {.cores = 3}) {
  store_mailboxes(scene, 600);
  Running running(scene);
  while (!scene.parts[0]->supervision->filled() || !scene.parts[1]->supervision->filled() ||
         !scene.parts[2]->supervision->filled()) {
    EXPECT_TRUE(co_await sleep_for(10ms));
  }
  EXPECT_EQ(supervised(scene), 600u);
  for (const auto& parts : scene.parts) {
    EXPECT_GT(parts->supervision->watch().size(), 100u);
    EXPECT_EQ(parts->supervision->watch().count(SilenceStage::active), parts->supervision->watch().size());
  }
  EXPECT_EQ(count(scene.log_lines, "supervision_filled"), 3u);
  co_await running.stop();
}

SCENE_TEST(Filling, GoesOnWhereItWasAfterTheStoreCouldNotBeRead) {
  store_mailboxes(scene, 500);
  // In the middle of the keys lies a row that is none of ours.
  const std::vector<uint8_t> key(store::CapabilityHash::kBytes, 0x80);
  auto change = [&](bool put) {
    return scene.store->engine().write([&](store::WriteView& view) -> Status {
      return put ? view.put(store::Table::subscriptions, key, as_bytes("no record"))
                 : view.erase(store::Table::subscriptions, key);
    });
  };
  EXPECT_TRUE(change(true));
  Running running(scene);
  EXPECT_TRUE(co_await sleep_for(30s));
  EXPECT_FALSE(scene.parts[0]->supervision->filled());
  EXPECT_EQ(count(scene.log_lines, "supervision_incomplete"), 1u);
  EXPECT_LT(supervised(scene), 500u);
  EXPECT_TRUE(change(false));
  EXPECT_TRUE(co_await sleep_for(kSupervisionFillRetry));
  EXPECT_TRUE(scene.parts[0]->supervision->filled());
  EXPECT_EQ(supervised(scene), 500u);
  co_await running.stop();
}

SCENE_TEST_WITH(Filling, LeavesOutWhatIsBeyondItsBoundAndSaysSo,
                {.configure = [](Config& config) { config.store.mailboxes_max = 100; }}) {
  store_mailboxes(scene, 120);
  Running running(scene);
  EXPECT_TRUE(co_await sleep_for(5s));
  EXPECT_EQ(supervised(scene), 100u);
  EXPECT_EQ(count(scene.log_lines, "supervision_full"), 1u);
  EXPECT_THAT(scene.log_lines, testing::HasSubstr("\"left_out\":20"));
  co_await running.stop();
}

// Lets all mailboxes call, on their own cores.
Task<void> all_call(Scene& scene, uint64_t mailboxes) {
  struct There {
    static Task<bool> heard(Supervision* supervision, store::StoredUserId user) {
      supervision->heard(user, record_of(user));
      co_return true;
    }
  };
  for (uint64_t i = 0; i < mailboxes; ++i) {
    store::StoredUserId user = user_number(scene, i);
    unsigned home = scene.node->home_core(user);
    Supervision* there = scene.parts[home]->supervision.get();
    co_await on_core(home, [there, user] { return There::heard(there, user); });
  }
}

// SilenceWatch's tests do the same with ten thousand, over twelve hours.
SCENE_TEST_WITH(HostOutage, IsToldOnceByManyCoresAndAsksOneDeviceAMinute, {.cores = 2}) {
  constexpr uint64_t kMailboxes = 1'000;
  store_mailboxes(scene, kMailboxes);
  Running running(scene);
  EXPECT_TRUE(co_await sleep_for(5min));
  EXPECT_EQ(supervised(scene), kMailboxes);
  EXPECT_TRUE(co_await sleep_for(3h));
  EXPECT_EQ(count(scene.log_lines, "ews_host_silent"), 1u) << "both cores see it, one says so";
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::ews_hosts_silent), 1u);
  EXPECT_EQ(asks(scene, AskReason::lost), 0u);
  EXPECT_LE(asks(scene, AskReason::probe), 3 * 60u);
  EXPECT_GE(asks(scene, AskReason::probe), 2 * 60u);
  EXPECT_EQ(fake_apns().sent.size(), asks(scene, AskReason::probe));
  uint64_t pushed = fake_apns().sent.size();

  co_await all_call(scene, kMailboxes);
  EXPECT_EQ(count(scene.log_lines, "ews_host_speaks_again"), 1u);
  EXPECT_TRUE(co_await sleep_for(kLate - kLook));
  EXPECT_EQ(fake_apns().sent.size(), pushed);
  for (const auto& parts : scene.parts) {
    EXPECT_EQ(parts->supervision->watch().count(SilenceStage::active), parts->supervision->watch().size());
  }
  EXPECT_EQ(scene.parts[0]->metrics->value(metric::ews_hosts_silent), 0u);
  co_await running.stop();
}

SCENE_TEST(HostOutage, EndsWhereOneSpeaksAndTheOthersAreAskedNoFasterThanAllowed) {
  constexpr uint64_t kMailboxes = 600;
  store_mailboxes(scene, kMailboxes);
  Running running(scene);
  EXPECT_TRUE(co_await sleep_for(2h));
  EXPECT_EQ(asks(scene, AskReason::lost), 0u);
  size_t before = fake_apns().sent.size();
  co_await all_call(scene, 1);
  Instant spoke = io::now();
  EXPECT_TRUE(co_await sleep_for(1h));
  EXPECT_GE(asks(scene, AskReason::lost), kMailboxes - 1);
  std::map<int64_t, uint32_t> in_second;
  for (size_t i = before; i < fake_apns().sent.size(); ++i) {
    Instant at = fake_apns().sent[i].at;
    EXPECT_GE(at - spoke, kFrequency) << "who lives has had the time to speak";
    ++in_second[std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count()];
  }
  uint32_t most = 0;
  for (auto [second, pushes] : in_second) most = std::max(most, pushes);
  EXPECT_LE(most, 2 * scene.config.supervision.resubscribes_per_second_max) << "two looks may fall into one second";
  EXPECT_GT(in_second.size(), 60u) << "spread over minutes";
  co_await running.stop();
}

}  // namespace
}  // namespace bellhop::service
