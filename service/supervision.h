// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/time.h"
#include "core/task.h"
#include "service/core.h"
#include "service/pusher.h"
#include "service/silence_watch.h"

namespace bellhop::service {

inline constexpr size_t kSupervisionRowsPerRead = 64;     // of the store while it fills: well below a millisecond
inline constexpr size_t kSupervisionLooksPerTurn = 1'024;  // at due mailboxes
inline constexpr Duration kSupervisionFillRetry = std::chrono::minutes(1);  // after the store could not be read
// Where a second took longer than this, we heard nothing either (a stopped process, a suspended machine).
inline constexpr Duration kSupervisionStall = std::chrono::seconds(30);

// Watches the mailboxes whose home is this core for silence: subscriptions die without a word, and only a device, asked by a
// silent push, can make a new one. SilenceWatch has the rules. Silence is counted on the monotonic clock, from our own
// start at the earliest. One per core; run() by the process that owns the mailboxes.
class Supervision {
 public:
  explicit Supervision(Core& core);
  Supervision(const Supervision&) = delete;
  Supervision& operator=(const Supervision&) = delete;

  // Until stopped: reads from the store, in the background, whom there is to watch, and looks once a second who is late.
  // All cores run it, or none.
  Task<void> run();
  // After run(): awaits pushes that are on their way.
  Task<void> close();

  // A callback of this user's subscription came and was what it claims to be. Allocates nothing for a mailbox that is known.
  void heard(const store::StoredUserId& user, const store::SubscriptionRecord& subscription);
  // Exchange was asked for this subscription, and said yes.
  void begun(const store::StoredUserId& user, const store::SubscriptionRecord& subscription);
  // The user is gone.
  void forget(const store::StoredUserId& user);

  // How the user's mailbox fares; `active` where nothing is known of it.
  Supervised state(const store::StoredUserId& user) const;
  bool filled() const { return filled_; }
  const SilenceWatch& watch() const { return watch_; }

 private:
  // A mailbox on its way from the core that read it to its home.
  struct Seed {
    uint64_t owner = 0;
    uint16_t frequency_minutes = 0;
    uint16_t host = 0;
  };
  using Seeds = std::vector<std::vector<Seed>>;  // by home core

  using Place = std::array<uint8_t, 32>;         // a key of the table that is read
  // Reads a page: what comes after `after` and stands below `end`. False where nothing of this core's share is left.
  using ReadPage = Task<Result<bool>> (Supervision::*)(std::optional<Place>& after, uint64_t end, Seeds& seeds);

  Task<void> fill();
  Task<bool> fill_from(ReadPage read);
  Task<Result<bool>> read_subscriptions(std::optional<Place>& after, uint64_t end, Seeds& seeds);
  Task<Result<bool>> read_users(std::optional<Place>& after, uint64_t end, Seeds& seeds);
  static Task<bool> take(Supervision* home, const std::vector<Seed>* seeds);
  Task<void> look();
  Task<void> ask(SilenceFound::Ask ask);
  Task<Result<std::optional<store::UserEntry>>> find_user(uint64_t owner);
  void note_metrics();

  Core& core_;
  Pusher pusher_;
  SilenceWatch watch_;
  SilenceFound found_;
  bool filled_ = false;
  uint64_t looks_counted_ = 0;
  uint64_t left_out_told_ = 0;
};

}  // namespace bellhop::service
