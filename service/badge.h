// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "service/core.h"
#include "service/pusher.h"

namespace bellhop::service {

// Mailboxes with a badge on its way, or sent less than badge_interval_ms ago; per core. What comes on top is left out:
// the next change of the folder brings the number again.
inline constexpr size_t kBadgesMax = 16'384;

// The number on the app's icon. A folder's UnreadCount becomes a push with the badge alone: priority 5, at most one per
// mailbox in badge_interval_ms, the last value wins and is sent at the end of the interval. Never delays an answer, is
// never journaled, never tried again. One per core; its flows run in the background and are joined by close().
class Badges {
 public:
  Badges(Core& core, Pusher& pusher);
  Badges(const Badges&) = delete;
  Badges& operator=(const Badges&) = delete;

  // To all devices of the user that want badges, by the apps that its tenant has when they are sent.
  void update(PushTarget target, uint32_t unread);
  // Sends what waits for the end of its interval at once, and awaits all; what has not ended at `until` is stopped.
  Task<void> close(Instant until);

 private:
  struct Mailbox {
    std::string tenant;
    store::StoredUserId user;
    uint32_t unread = 0;
    bool waiting = false;  // `unread` has not been sent
  };
  // As long as it runs, the mailbox's interval is not over.
  Task<void> run(Mailbox& mailbox);
  Task<Status> pause();
  Task<void> send(const Mailbox& mailbox, uint32_t unread);
  Task<void> send_to_device(PushTarget target, const store::DeviceEntry& device, std::string_view payload);

  Core& core_;
  Pusher& pusher_;
  TaskScope flows_;
  Context pauses_;
  std::unordered_map<store::StoredUserId, std::unique_ptr<Mailbox>> mailboxes_;
};

}  // namespace bellhop::service
