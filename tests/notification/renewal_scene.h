// SPDX-License-Identifier: Apache-2.0
#pragma once

// A scene whose server renews subscriptions itself, and what its tests look at.

#include <algorithm>
#include <string>

#include "core/sleep.h"
#include "service/renewal.h"
#include "store/check.h"
#include "tests/notification/scene.h"

namespace bellhop::service {

inline SceneOptions renewing(std::function<void(Config&)> more = {}) {
  return {.renewal = true, .configure = [more](Config& config) {
            config.renewal.age_max_hours = 24;
            config.public_url = "https://push.example.com";
            if (more) more(config);
          }};
}

#define RENEWAL_TEST(suite, name) SCENE_TEST_WITH(suite, name, renewing())

inline size_t resubscribe_pushes() {
  return static_cast<size_t>(std::ranges::count_if(fake_apns().sent, [](const FakeApns::Sent& sent) {
    return sent.payload.find("resubscribe") != std::string::npos;
  }));
}
inline size_t alerts() { return fake_apns().sent.size() - resubscribe_pushes(); }

inline uint64_t counted(Scene& scene, RenewalResult result) { return scene.parts[0]->metrics->value(metric::renewals, result); }

// The background gets its time.
inline Task<void> settle() { EXPECT_TRUE(co_await sleep_for(1s)); }

// A heartbeat, whose credentials the server may subscribe with; and that has ended.
inline Task<void> heartbeat_and_settle(Scene& scene, Subscriber& subscriber) {
  EXPECT_EQ((co_await scene.heartbeat(subscriber)).status, 200);
  co_await settle();
}

// The same where a successor is to come of it.
inline Task<Subscriber> renew(Scene& scene, Subscriber& old_one) {
  co_await heartbeat_and_settle(scene, old_one);
  co_return co_await scene.successor_of(old_one);
}

// Exchange answers Subscribe when `answer` is set, which outlives the scene's flows.
inline void hold_answer(Event& answer) {
  fake_exchange().before_answer = [&answer]() -> Task<void> { (void)co_await answer.wait(); };
}

// A subscriber whose subscription is old enough, and whom Exchange has called.
inline Task<Subscriber> old_subscriber(Scene& scene, std::string name = "anna") {
  Subscriber subscriber = co_await scene.subscribe(std::move(name));
  co_await scene.heartbeat(subscriber);
  EXPECT_TRUE(co_await sleep_for(25h));
  co_return subscriber;
}

// Exchange says that something is wrong with the subscription.
inline std::string error_body(proto::EwsResponseCode code, const Subscriber& subscriber) {
  proto::Notification notification{.response_class = proto::ResponseClass::error,
                                   .response_code = code,
                                   .subscription_id = subscriber.exchange_id};
  proto::NotificationMessage message{.notifications = {&notification, 1}};
  std::string body;
  proto::write_send_notification(message, proto::ExchangeVersion::exchange2016, body);
  return body;
}

// Nothing between the records of the store contradicts.
inline void expect_sound(Scene& scene) {
  auto report = store::check(scene.store->engine());
  BH_CHECK(report);
  EXPECT_EQ(report->problems_found, 0u) << (report->problems.empty() ? "" : report->problems.front());
}

inline Task<void> wish_new_key(Scene& scene, const Subscriber& subscriber) {
  auto wished = co_await scene.store->wish_new_keys(
      {.user = subscriber.user, .tenant = {}, .after = {}, .now = io::wall_now()});
  EXPECT_TRUE(wished);
}

// With a pair for it in the pool.
inline Task<void> grant_new_key(Scene& scene, const Subscriber& subscriber) {
  co_await wish_new_key(scene, subscriber);
  co_await scene.add_pool_key();
}

}  // namespace bellhop::service
