// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/base/time.h"
#include "core/task.h"
#include "proto/apns.h"
#include "service/core.h"

namespace bellhop::service {

struct Mailbox;

// Background pushes and writes of one core that nobody waits for; what comes on top is left out, and made up by the
// next push to the same device.
inline constexpr size_t kChoresMax = 1'024;

// What became of a push, as far as the caller must know.
enum class PushEnd : uint8_t {
  delivered,
  token_gone,  // noted in the store
  refused,     // for good, or nothing of ours leads to this device; logged
  unsettled,   // the deadline passed, or we are being stopped
};

struct OutgoingPush {
  std::string_view payload;
  std::string_view collapse_id;
  proto::ApnsPushType type = proto::ApnsPushType::alert;
  proto::ApnsPriority priority = proto::ApnsPriority::immediate;
};

// Whose devices. The views outlive the call.
struct PushTarget {
  const Tenant* tenant = nullptr;
  store::StoredUserId user;
};

// Sends pushes to devices: finds the app, opens the push token, asks the channel, and keeps the device's record true
// (proven, token gone). One per core.
class Pusher {
 public:
  explicit Pusher(Core& core) : core_(core), chores_(nullptr) {}

  // `device` and the views of `push` outlive the task.
  Task<PushEnd> push(PushTarget target, const store::DeviceEntry& device, OutgoingPush push, Instant deadline);
  // Asks a device, by a silent push in the background, to subscribe again: the one whose credentials the subscription
  // carries, or else any that can be reached.
  void ask_to_resubscribe(PushTarget target, const std::vector<store::DeviceEntry>& devices,
                          const store::DeviceKey& source);
  // The same, at most once in kResubscribeInterval for this mailbox.
  void ask_to_resubscribe(PushTarget target, Mailbox& mailbox, const std::vector<store::DeviceEntry>& devices,
                          const store::DeviceKey& source);
  // Awaits what runs in the background; what has not ended at `until` is stopped.
  Task<void> close(Instant until);

 private:
  Task<void> resubscribe_push(std::string tenant, store::StoredUserId user, store::DeviceEntry device);
  Task<void> mark_proven(store::StoredUserId user, store::DeviceKey device);
  Task<PushEnd> end_of(const ApnsResult& result, PushTarget target, const store::DeviceEntry& device);

  Core& core_;
  TaskScope chores_;
};

}  // namespace bellhop::service
