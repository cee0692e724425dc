// SPDX-License-Identifier: Apache-2.0
#include "service/classify.h"

#include <algorithm>

namespace bellhop::service {
namespace {

// Walks through the message with the watermark that has been reached so far.
class Classifier {
 public:
  Classifier(const store::HotRecord& hot, const EventHashes& hashes, Classified& out)
      : hot_(hot), hashes_(hashes), out_(out), reached_(hot.watermark_hash) {}

  void add(const proto::Notification& notification) {
    if (notification.response_class == proto::ResponseClass::error) {
      proto::EwsVerdict verdict = proto::classify(notification.response_code);
      out_.lost |= verdict == proto::EwsVerdict::subscription_lost;
      out_.moved |= verdict == proto::EwsVerdict::moved;
      out_.gap = true;
      if (out_.error == proto::EwsResponseCode::none) out_.error = notification.response_code;
      return;
    }
    if (notification.events.empty()) return;
    size_t handled = events_handled(notification);
    for (size_t i = 0; i < notification.events.size(); ++i) add_event(notification.events[i], i < handled);
    reached_ = watermark_hash(notification.events.back().watermark);
    out_.watermark_hash = reached_;
  }

 private:
  uint64_t watermark_hash(std::string_view watermark) { return hashes_.watermark(hashes_.context, watermark); }

  // How many of the events lie before the watermark that has been reached. Notes first contact and gap.
  size_t events_handled(const proto::Notification& notification) {
    if (reached_ == 0) {
      out_.first_contact = true;
      return 0;
    }
    if (watermark_hash(notification.previous_watermark) == reached_) return 0;
    // From the back: several events may share a watermark.
    for (size_t i = notification.events.size(); i > 0; --i) {
      if (watermark_hash(notification.events[i - 1].watermark) == reached_) return i;
    }
    out_.gap = true;
    return 0;
  }

  void add_event(const proto::NotificationEvent& event, bool handled) {
    if (event.kind == proto::EventKind::modified && !event.folder_id.empty() && event.unread_count.value_or(-1) >= 0) {
      out_.unread = static_cast<uint32_t>(*event.unread_count);
    }
    if (event.kind != proto::EventKind::new_mail || event.item_id.empty()) return;
    uint64_t hash = hashes_.item(hashes_.context, event.item_id);
    bool known =
        handled || hot_.seen(hash) || std::ranges::find(out_.fresh, hash, &NewMailEvent::hash) != out_.fresh.end();
    if (known) {
      ++out_.duplicates;
    } else {
      out_.fresh.push_back({.item_id = event.item_id, .hash = hash, .at = event.timestamp});
    }
  }

  const store::HotRecord& hot_;
  const EventHashes& hashes_;
  Classified& out_;
  uint64_t reached_;
};

bool only_status(const proto::Notification& notification) {
  return notification.response_class != proto::ResponseClass::error && !notification.events.empty() &&
         std::ranges::all_of(notification.events,
                             [](const auto& event) { return event.kind == proto::EventKind::status; });
}

}  // namespace

Classified classify(std::span<const proto::Notification> notifications, const store::HotRecord& hot,
                    const EventHashes& hashes) {
  Classified out;
  Classifier classifier(hot, hashes, out);
  for (const proto::Notification& notification : notifications) classifier.add(notification);
  out.heartbeat = std::ranges::all_of(notifications, only_status);
  return out;
}

}  // namespace bellhop::service
