// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "service/mailbox_cache.h"
#include "service/push.h"
#include "service/pusher.h"

namespace bellhop::service {

// One push to each device: a mail, or one notice for many.
struct Push {
  const MailItem* mail = nullptr;     // null: content-free
  std::optional<uint32_t> more_mail;  // see PushContent
  uint64_t hash = 0;                  // under which it is remembered where the callback is handed back
  uint32_t events = 1;                // events of the ledger that it stands for
  bool extra = false;                 // an event of its own, beside those of the arrivals
  std::string collapse_id;
  std::string thread_id;
  bool complete = false;  // out: settled for every device
};

// Step 6 of a notification, and its book-keeping: takes the events of one callback into the ledger, pushes to every
// device of the user, settles each event and device exactly once. Made for one callback, which holds the mailbox's
// turn.
class Delivery {
 public:
  struct Counts {
    uint32_t pushes = 0;
    uint32_t contentfree = 0;  // of these
  };

  // All references outlive the object.
  Delivery(Core& core, Pusher& pusher, PushTarget target, const std::vector<store::DeviceEntry>& devices,
           Mailbox& mailbox);
  ~Delivery();  // every accepted event is settled or handed back

  // `events` new mails were taken on.
  void accept(size_t events);
  // They ended alike for all devices; or with skipped_no_device where there is none.
  void settle(DeviceOutcome outcome, size_t events);
  // The callback is answered 503.
  void hand_back(size_t events);
  // Pushes to all devices at once. A device's pushes that an earlier try of the same callback has made are not made
  // again. True where everything is settled. Otherwise what is not is handed back, and what was made is remembered in
  // the mailbox.
  Task<bool> push_all(std::span<Push> pushes, Instant deadline);

  const Counts& counts() const { return counts_; }

 private:
  Task<void> push_one(Push& push, const store::DeviceEntry& device, Instant deadline);
  void settle_push(Push& push, const store::DeviceEntry& device, PushEnd end, bool content_free);
  void settle_device(DeviceOutcome first, DeviceOutcome rest, uint32_t events);
  void note_trail(const Push& push, const store::DeviceEntry& device, DeviceOutcome outcome);
  bool was_made(const Push& push, const store::DeviceEntry& device) const;
  void remember(std::span<const Push> pushes);

  Core& core_;
  Pusher& pusher_;
  PushTarget target_;
  const std::vector<store::DeviceEntry>& devices_;
  Mailbox& mailbox_;
  size_t open_ = 0;                   // events x devices that are accepted and not settled
  std::vector<UnfinishedPush> made_;  // accepted by the provider, now or in an earlier try
  Counts counts_;
};

}  // namespace bellhop::service
