// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "proto/ews_notification.h"
#include "store/records.h"

namespace bellhop::service {

// The keyed hashes under which a mailbox's hot state knows items and watermarks (Vault); never 0.
struct EventHashes {
  const void* context = nullptr;
  uint64_t (*item)(const void* context, std::string_view item_id) = nullptr;
  uint64_t (*watermark)(const void* context, std::string_view watermark) = nullptr;
};

// A new mail that has not been pushed. The view points into the message.
struct NewMailEvent {
  std::string_view item_id;
  uint64_t hash = 0;
  std::optional<WallTime> at;  // t:TimeStamp
};

// What a callback means for its mailbox. A heartbeat makes one without using the heap.
struct Classified {
  std::vector<NewMailEvent> fresh;  // in the order of the message
  uint32_t duplicates = 0;          // NewMail events of mails pushed before, or named twice in the message
  std::optional<uint32_t> unread;   // the folder's last UnreadCount
  // Hash of the last watermark, to be adopted when all of this is done; 0: the message has none.
  uint64_t watermark_hash = 0;
  bool first_contact = false;  // the mailbox had no watermark: nothing to compare with, nothing to catch up
  bool gap = false;            // events were missed: between the stored watermark and this message, or by an error
  bool lost = false;           // Exchange says that the subscription is dead
  bool moved = false;          // … that the mailbox is elsewhere, or about to be
  // The first error among the notifications (ResponseClass Error): Exchange could not tell what happened.
  proto::EwsResponseCode error = proto::EwsResponseCode::none;
  bool heartbeat = false;      // status events and nothing else
};

// Judges all notifications of one message against the hot state, each following on the one before. There is no gap
// where PreviousWatermark is the stored watermark, or where the stored one is among the notification's own: then the
// events up to it have been handled. An error is a gap: it tells of no event, and advances no watermark.
// Pure: changes nothing.
Classified classify(std::span<const proto::Notification> notifications, const store::HotRecord& hot,
                    const EventHashes& hashes);

}  // namespace bellhop::service
