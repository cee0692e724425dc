// SPDX-License-Identifier: Apache-2.0
// The body of a callback.
#include "proto/ews_notification.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

static std::string read_notification(auto feeder) {
  static NotificationParser parser(1);  // used again and again, as on a core
  parser.reset();
  Status fed;
  feeder([&](Bytes piece) {
    fed = parser.feed(as_text(piece));
    return fed.has_value();
  });
  if (!fed) return fuzz::text_of(fed.error());
  Result<const NotificationMessage*> message = parser.finish();
  if (!message) return fuzz::text_of(message.error());
  std::string out;
  BH_CHECK(!(*message)->notifications.empty());
  for (const Notification& notification : (*message)->notifications) {
    bool success = notification.response_class == ResponseClass::success;
    BH_CHECK(!success || (!notification.subscription_id.empty() && !notification.events.empty()));
    out += fmt::format("{} {} {} {}\n", notification.subscription_id, notification.previous_watermark,
                       notification.more_events, notification.response_code_text);
    for (const NotificationEvent& event : notification.events) {
      BH_CHECK(event.kind == EventKind::status || event.item_id.empty() != event.folder_id.empty());
      out += fmt::format(" {} {} {} {} {}\n", static_cast<int>(event.kind), event.watermark, event.item_id,
                         event.folder_id, event.unread_count.value_or(-1));
    }
  }
  return out;
}

BELLHOP_FUZZ_TARGET(input) {
  fuzz::same_however_cut(input, [](auto feeder) { return read_notification(feeder); });
}
