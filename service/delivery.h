// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "service/journal.h"
#include "service/mailbox_cache.h"
#include "service/policy_points.h"
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
  bool complete = false;  // out: settled for every device, or in the journal
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

  // All references outlive the object. `devices_read`: when that was.
  Delivery(Core& core, Pusher& pusher, PushTarget target, const std::vector<store::DeviceEntry>& devices,
           Instant devices_read, Mailbox& mailbox);
  ~Delivery();  // every accepted event is settled or handed back

  // `events` new mails were taken on.
  void accept(size_t events);
  // They ended alike for all devices; or with skipped_no_device where there is none.
  void settle(DeviceOutcome outcome, size_t events);
  // The callback is answered 503.
  void hand_back(size_t events);
  // Pushes to all devices at once. A device's pushes that an earlier try of the same callback has made, or that the
  // journal is to make, are not made again. What APNs has neither taken nor refused by `deadline` goes into the journal.
  // True where everything is settled or in the journal, on the disk: Exchange may hear OK. Otherwise what is not is
  // handed back, and what was made is remembered in the mailbox. Nothing is journaled where the flow was stopped: nobody
  // hears its answer.
  Task<bool> push_all(std::span<Push> pushes, Instant deadline);
  // All pushes to all devices go into the journal, without content, and none is made. True where they are on the disk.
  // False where the journal does not take them: nothing has changed.
  Task<bool> journal_all(std::span<Push> pushes, JournalStart start);
  // Makes the pushes whose records the journal holds for this callback (JournalStart::held); what cannot be made by
  // `deadline` is left to the journal.
  Task<void> push_held(std::span<const Push> pushes, Instant deadline);
  // The end of a held item that is not to be pushed to anybody.
  Task<void> settle_held(uint64_t hash, DeviceOutcome outcome);
  // Leaves all that is still held of the item to the journal.
  void release_held(uint64_t hash);

  const Counts& counts() const { return counts_; }

 private:
  // One push to one device.
  struct Open {
    Push* push;
    const store::DeviceEntry* device;
  };
  struct Sent {
    PushEnd end = PushEnd::unsettled;
    bool content_free = true;
  };
  Task<void> look_again();
  PushVerdict judge(const store::DeviceEntry& device) const;
  Task<Sent> send(const Push& push, const store::DeviceEntry& device, Instant deadline);
  Task<void> push_one(Push& push, const store::DeviceEntry& device, Instant deadline);
  Task<void> push_held_one(const Push& push, const store::DeviceEntry& device, Instant deadline);
  void count_delivered(bool content_free);
  std::optional<DeviceOutcome> end_without_push(const Push& push, const store::DeviceEntry& device,
                                                const PushVerdict& verdict) const;
  Task<bool> journal(const std::vector<Open>& open, JournalStart start);
  void settle_device(const Push& push, const store::DeviceEntry& device, DeviceOutcome outcome);
  void settle_device(const Push& push, const store::DeviceEntry& device, DeviceOutcome first, DeviceOutcome rest);
  bool was_made(const Push& push, const store::DeviceEntry& device) const;
  store::JournalKey key_of(uint64_t hash, const store::DeviceEntry& device) const;
  void remember(std::span<const Push> pushes);

  Core& core_;
  Pusher& pusher_;
  PushTarget target_;
  const std::vector<store::DeviceEntry>& devices_;
  const Instant devices_read_;
  std::vector<std::pair<store::DeviceKey, DeviceOutcome>> gone_;  // devices that were taken out of use since
  Mailbox& mailbox_;
  size_t open_ = 0;                   // events x devices that are accepted and not settled
  std::vector<UnfinishedPush> made_;  // accepted by the provider, now or in an earlier try
  std::vector<Open> left_;            // of push_all: neither taken nor refused
  Counts counts_;
};

}  // namespace bellhop::service
