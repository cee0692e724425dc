// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tests of the journal, and of answers that rest on it, do and look at.

#include "service/journal.h"
#include "tests/notification/scene.h"

namespace bellhop::service {

inline Journal& journal(Scene& scene) {
  return *scene.parts[0]->core.journal;
}

// Looks at the disk at the moment of the answer.
class WatchingExchange final : public FakeHttpExchange {
 public:
  WatchingExchange(Scene& scene, std::string target, std::string body)
      : FakeHttpExchange(std::move(target), std::move(body)), scene_(scene) {}

  uint64_t rows = 0;  // of the journal, on the disk
  size_t pushes = 0;  // that APNs had accepted
  Instant at{};

  Task<Status> respond(const HttpResponse& response) override {
    rows = scene_.store->journal_rows();
    pushes = fake_apns().sent.size();
    at = io::now();
    co_return co_await FakeHttpExchange::respond(response);
  }

 private:
  Scene& scene_;
};

// A callback with one mail that APNs does not take in time: it is in the journal afterwards.
inline Task<void> mail_to_the_journal(Scene& scene, Subscriber& subscriber, std::string id) {
  have_mail(id);
  bool dead = std::exchange(fake_apns().dead, true);
  EXPECT_EQ((co_await scene.mail(subscriber, {id})).status, 200);
  fake_apns().dead = dead;
}

// The subscriber's records on the disk, in the order of devices. Numbers of tries come there a second late.
inline Task<std::vector<store::JournalEntry>> journaled(Scene& scene, const Subscriber& subscriber) {
  auto entries = co_await scene.store->list_journal({});
  BH_CHECK(entries && entries->size() < store::kListMax);
  std::erase_if(*entries, [&](const store::JournalEntry& entry) { return entry.key.mailbox != subscriber.mailbox; });
  co_return *std::move(entries);
}

inline Task<void> remove_device(Scene& scene, const Subscriber& subscriber, size_t device) {
  store::DeviceRemoval removal{.user = subscriber.user,
                               .device = subscriber.devices[device],
                               .ending = {.expires = io::wall_now() + 1h},
                               .now = io::wall_now()};
  EXPECT_TRUE(co_await scene.store->remove_device(removal));
}

}  // namespace bellhop::service
