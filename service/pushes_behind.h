// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "service/ack_sources.h"
#include "service/delivery.h"
#include "service/mail_fetch.h"
#include "service/mailbox_cache.h"
#include "service/notification.h"

namespace bellhop::service {

class PushesBehind;

// One of the notification.pushes_behind_max places; given back when it dies.
class BehindPlace {
 public:
  BehindPlace() = default;
  BehindPlace(BehindPlace&& other) noexcept : taken_(std::exchange(other.taken_, nullptr)) {}
  BehindPlace& operator=(BehindPlace&& other) noexcept {
    std::swap(taken_, other.taken_);
    return *this;
  }
  ~BehindPlace() {
    if (taken_) --*taken_;
  }
  explicit operator bool() const { return taken_ != nullptr; }

 private:
  friend PushesBehind;
  explicit BehindPlace(size_t& taken) : taken_(&taken) { ++taken; }
  size_t* taken_ = nullptr;
};

// A callback that was answered OK because the journal has its pushes, and what is needed to make them with content all
// the same: its credentials, still encrypted, for as long as that takes. Wiped when it dies.
struct AnsweredCallback {
  AnsweredCallback(const Callback& answered, MailboxCache::Lease mailbox_of, Semaphore::Permit turn_of,
                   AckSources::Work part, BehindPlace place_of);
  AnsweredCallback(const AnsweredCallback&) = delete;
  AnsweredCallback& operator=(const AnsweredCallback&) = delete;
  ~AnsweredCallback();

  // Its views lead to the members below.
  Callback callback;
  store::SubscriptionRecord subscription;
  std::vector<uint8_t> creds;
  MailboxCache::Lease mailbox;
  Semaphore::Permit turn;  // before the next callback of the mailbox looks at it
  AckSources::Work work;
  BehindPlace place;
  std::vector<store::DeviceEntry> devices;
  Instant devices_read{};
  std::vector<Arrival> arrivals;
  FetchPlan plan;
  bool renewing = false;      // a successor of the subscription is being made
  NotificationConfig limits;  // as they were when the journal got its records: a reload must not plan other pushes
};

// Steps 4 to 6 after step 8: fetches and pushes what the journal holds (JournalStart::held) for callbacks that have been
// answered; records of pushes that were made are erased, the others are left to the journal. One per core; its flows run
// in the background, each at most for the stages' time, and are joined by close().
class PushesBehind {
 public:
  PushesBehind(Core& core, Pusher& pusher, MailFetch& mail_fetch)
      : core_(core), pusher_(pusher), mail_fetch_(mail_fetch), flows_(nullptr) {}
  PushesBehind(const PushesBehind&) = delete;
  PushesBehind& operator=(const PushesBehind&) = delete;

  // A place for one more; none where all are taken.
  BehindPlace take_place() {
    bool room = taken_ < core_.config().notification.pushes_behind_max;
    return room ? BehindPlace(taken_) : BehindPlace();
  }
  void begin(std::unique_ptr<AnsweredCallback> answered) { flows_.spawn(run(std::move(answered))); }
  // Awaits all; what has not ended at `until` is stopped, and left to the journal.
  Task<void> close(Instant until);

 private:
  Task<void> run(std::unique_ptr<AnsweredCallback> answered);
  Task<void> fetch(AnsweredCallback& answered);
  Task<void> push(AnsweredCallback& answered);

  Core& core_;
  Pusher& pusher_;
  MailFetch& mail_fetch_;
  size_t taken_ = 0;  // places
  TaskScope flows_;
};

}  // namespace bellhop::service
