// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "core/base/time.h"
#include "core/task.h"
#include "service/core.h"
#include "service/metrics.h"
#include "service/notification.h"
#include "store/records.h"

namespace bellhop::service {

struct Mailbox;

// After a renewal that failed: no other of this mailbox before the first has passed, doubling up to the last.
inline constexpr Duration kRenewalRetryFirst = std::chrono::minutes(15);
inline constexpr Duration kRenewalRetryMax = std::chrono::hours(24);
// A successor of which Exchange's answer is not on record, after so long, is the leftover of a crash.
inline constexpr Duration kSuccessorAnswerMax = std::chrono::minutes(5);
// An OAuth access token that a hand-over begins with is good for at least so long, so that the old subscription needs no
// grant meanwhile.
inline constexpr Duration kHandOverTokenLife = std::chrono::minutes(5);

// Server-side resubscribe: a callback brings the credentials, so that a subscription can be replaced without its device,
// before it dies. docs/decisions/0017-renewal.md. One per core, for the mailboxes whose home it is.
//
// Invariants:
//  1. the successor is stored, synced, before Exchange hears of it; the old subscription lives on, and its callbacks are
//     served, until a callback of the successor left no gap (Mailboxes completes the hand-over then, in that callback);
//  2. whatever fails, the old subscription is what it was. A successor is taken back only while Exchange has not called
//     it: the store decides that in one transaction;
//  3. of subscriptions that share a refresh token, only the newest may present it (may_grant). An older one uses its
//     access token as long as that lasts;
//  4. credentials are in memory from opening the envelope to the end of the Subscribe, and reach the store sealed alone;
//  5. whoever changes the user's devices or subscriptions holds the same lock (Registrar::locks); a block alone does not
//     wait, and is seen by what the store answers.
class Renewal {
 public:
  explicit Renewal(Core& core);
  ~Renewal();  // after close()
  Renewal(const Renewal&) = delete;
  Renewal& operator=(const Renewal&) = delete;

  // Why this subscription should be renewed at its next callback; nothing: it need not. Cheap, and allocates nothing.
  std::optional<RenewalReason> due(const store::CapabilityHash& capability, const store::SubscriptionRecord& record,
                                   WallTime now) const;
  // A callback was handled, and nothing of it is left to do: renews in the background where it is due, and now is the
  // time for it. Copies what it needs of the callback.
  void consider(const Callback& callback, Mailbox& mailbox);
  // Exchange says that the subscription is dead (lost) or that the mailbox is elsewhere (moved). True: a renewal has
  // begun, and asks a device where it fails; the caller leaves the subscription as it is. False: the caller acts.
  [[nodiscard]] bool replace(const Callback& callback, Mailbox& mailbox, RenewalReason reason);
  // The successor has taken over: it may be renewed itself.
  void handed_over(const store::StoredUserId& user);
  // Stops what is under way, and awaits it.
  Task<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Invariant 3, for a callback of `capability` that needs a grant: false while a successor that took the refresh token
// with it is on its way or alive. A successor that a crash left is taken back here. On the home core, in the mailbox's turn.
Task<bool> may_grant(Core& core, const store::CapabilityHash& capability, const store::SubscriptionRecord& subscription);

// Whether a subscription that Exchange has not called is the leftover of a crash, or will never be called.
bool successor_lost(const store::SubscriptionRecord& successor, WallTime now);

}  // namespace bellhop::service
