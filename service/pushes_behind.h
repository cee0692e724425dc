// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "service/ack_sources.h"
#include "service/delivery.h"
#include "service/mail_fetch.h"
#include "service/mailbox_cache.h"
#include "service/notification.h"

namespace bellhop::service {

// A callback that was answered OK because the journal has its pushes, and what is needed to make them with content all
// the same: its credentials, still encrypted, for as long as that takes. Wiped when it dies.
struct AnsweredCallback {
  AnsweredCallback(const Callback& answered, MailboxCache::Lease place, Semaphore::Permit turn_of, AckSources::Work part);
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
  std::vector<store::DeviceEntry> devices;
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

  // Whether one more may be begun: notification.pushes_behind_max.
  bool room() const { return flows_.live() < core_.config().notification.pushes_behind_max; }
  void begin(std::unique_ptr<AnsweredCallback> answered) { flows_.spawn(run(std::move(answered))); }
  Task<void> close();

 private:
  Task<void> run(std::unique_ptr<AnsweredCallback> answered);
  Task<void> fetch(AnsweredCallback& answered);
  Task<void> push(AnsweredCallback& answered);

  Core& core_;
  Pusher& pusher_;
  MailFetch& mail_fetch_;
  TaskScope flows_;
};

}  // namespace bellhop::service
