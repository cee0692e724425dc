// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "core/task.h"
#include "proto/ews_notification.h"
#include "service/core.h"
#include "service/http_exchange.h"
#include "service/routes.h"

namespace bellhop::service {

// POST /notify: the way of one notification, from Exchange's callback to its answer. docs/ARCHITECTURE.md tells the
// same story. Accepting core: route and parse. Home core (Mailboxes): classify, decrypt, fetch, push, note.
// One per core; used for each callback of that core's listeners.
class NotificationHandler final : public HttpHandler {
 public:
  explicit NotificationHandler(Core& core);
  ~NotificationHandler();
  Task<void> handle(HttpExchange& exchange) override;
  static std::vector<RouteInfo> routes();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What the home core is told of a callback; lives in the accepting core's frame until the home core has answered.
struct Callback {
  store::CapabilityHash capability_hash;
  crypto::Capability capability;
  const store::SubscriptionRecord* subscription = nullptr;
  const Tenant* tenant = nullptr;
  Bytes creds;                                         // envelope, digest matched
  std::span<const proto::Notification> notifications;  // all of this subscription
  Instant received_at{};
  // The subscription was refused for overload for as long as it may be: no more than what must be done now.
  bool refused_too_long = false;
};

// What happened to one callback: times and counts, nothing of the mail or its owner. A stage that was not needed is 0.
struct NotificationTrace {
  store::MailboxNumber mailbox = 0;
  CallbackOutcome outcome = CallbackOutcome::ok;
  uint32_t items = 0;               // new mails, those of a catch-up included
  uint32_t duplicates = 0;          // new mails that had been pushed before
  uint32_t pushes = 0;              // pushes that the provider accepted
  uint32_t pushes_contentfree = 0;  // of these, without content
  bool caught_up = false;           // the mailbox was listed because events were missed
  Duration route{}, parse{}, decrypt{}, fetch{}, push{};
  Duration total{};  // from the request's head to our answer
};

// How the callback is to be answered.
struct CallbackAnswer {
  CallbackOutcome outcome = CallbackOutcome::ok;
  NotificationTrace trace;  // decrypt, fetch, push and the counts; the accepting core adds the rest
};

// Demo and tests: is told of each callback that brought mail, new or repeated, after its answer and on the core that
// accepted it. Must not block.
class NotificationObserver {
 public:
  virtual void notified(const NotificationTrace& trace) = 0;

 protected:
  ~NotificationObserver() = default;
};

// The mailboxes whose home is this core: hot state (watermark, item ring, last seen, unread), the deduplication of
// concurrent callbacks, badges. The only place where hot state lives. One per core.
class Mailboxes {
 public:
  explicit Mailboxes(Core& core);
  ~Mailboxes();
  Mailboxes(const Mailboxes&) = delete;
  Mailboxes& operator=(const Mailboxes&) = delete;

  // Runs on the home core; never fails: what goes wrong becomes an outcome.
  Task<CallbackAnswer> handle(Callback& callback);
  // Last contact of a mailbox's subscription, for check-in; the epoch where there was none.
  Task<WallTime> last_seen(store::MailboxNumber mailbox, store::StoredUserId user);
  // The user is gone, or starts anew.
  void forget(const store::StoredUserId& user);
  // Awaits badges that are still on their way; flushes hot state.
  Task<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bellhop::service
