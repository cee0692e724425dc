// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/apns.h"
#include "proto/display_text.h"
#include "proto/json_escape.h"

namespace bellhop::proto {
namespace {

constexpr std::string_view kEllipsis = "\xe2\x80\xa6";
constexpr size_t kSubjectBytesKept = 256;  // escaped; below that a long sender is cut instead

// ",\"name\":\"value\"", the comma only after another member.
void append_member(std::string& out, std::string_view name, std::string_view value) {
  if (out.back() != '{') out.push_back(',');
  out.push_back('"');
  append_json_escaped(out, name);
  out.append("\":\"");
  append_json_escaped(out, value);
  out.push_back('"');
}

void append_raw_member(std::string& out, std::string_view name, std::string_view json) {
  if (out.back() != '{') out.push_back(',');
  out.push_back('"');
  out.append(name).append("\":").append(json);
}

void append_local_text(std::string& out, const ApnsLocalText& text) {
  if (!text.loc_key.empty()) append_member(out, "loc-key", text.loc_key);
  if (!text.fallback.empty()) append_member(out, "body", text.fallback);
}

void append_custom(std::string& out, ApnsWhat what, std::span<const ApnsMember> members) {
  out.append("\"bellhop\":{");
  append_member(out, "what", apns_what_name(what));
  for (const ApnsMember& member : members) append_member(out, member.name, member.value);
  out.append("}}");
}

// `alert` is the inside of the alert object.
std::string write_alert(std::string_view alert, ApnsWhat what, const ApnsAlertOptions& options) {
  std::string out;
  out.reserve(kApnsPayloadBytesMax);  // no larger buffer later, which would leave a copy of mail text behind
  out.append("{\"aps\":{\"alert\":{").append(alert).append("}");
  if (options.badge) append_raw_member(out, "badge", std::to_string(*options.badge));
  if (!options.sound.empty()) append_member(out, "sound", options.sound);
  if (!options.thread_id.empty()) append_member(out, "thread-id", options.thread_id);
  if (!options.category.empty()) append_member(out, "category", options.category);
  if (options.mutable_content) append_raw_member(out, "mutable-content", "1");
  out.append("},");
  append_custom(out, what, options.members);
  return out;
}

std::optional<std::string> within_limit(std::string payload) {
  if (payload.size() <= kApnsPayloadBytesMax) return payload;
  return std::nullopt;
}

// The text as it goes into `bytes_max` escaped bytes: whole, or cut with an ellipsis.
std::string_view cut(std::string_view text, size_t bytes_max, bool& was_cut) {
  was_cut = json_escaped_size(text) > bytes_max;
  if (!was_cut) return text;
  return bytes_max < kEllipsis.size() ? std::string_view() : json_escaped_prefix(text, bytes_max - kEllipsis.size());
}

// A member whose text takes at most `bytes_max` bytes when escaped. Left out where nothing of it fits.
void append_cut_member(std::string& out, std::string_view name, std::string_view text, size_t bytes_max) {
  bool was_cut = false;
  std::string_view kept = cut(text, bytes_max, was_cut);
  if (kept.empty()) return;
  append_member(out, name, kept);
  if (!was_cut) return;
  out.pop_back();  // the closing quote
  out.append(kEllipsis).push_back('"');
}

}  // namespace

ApnsLocalText apns_item_text(ItemKind kind) {
  switch (kind) {
    case ItemKind::mail:
      return kApnsNewMailText;
    case ItemKind::meeting_request:
      return {"BELLHOP_MEETING_REQUEST", "Meeting request"};
    case ItemKind::meeting_cancellation:
      return {"BELLHOP_MEETING_CANCELLATION", "Meeting cancelled"};
    case ItemKind::meeting_response:
      return {"BELLHOP_MEETING_RESPONSE", "Answer to a meeting request"};
    case ItemKind::report:
      return {"BELLHOP_REPORT", "Delivery report"};
    case ItemKind::task:
      return {"BELLHOP_TASK", "New task"};
    case ItemKind::contact:
      return {"BELLHOP_CONTACT", "New contact"};
    case ItemKind::post:
      return {"BELLHOP_POST", "New post"};
    case ItemKind::appointment:
      return {"BELLHOP_APPOINTMENT", "New appointment"};
  }
  BH_CHECK(false);
}

std::string_view apns_what_name(ApnsWhat what) {
  switch (what) {
    case ApnsWhat::new_mail:
      return "new_mail";
    case ApnsWhat::more_mail:
      return "more_mail";
    case ApnsWhat::badge:
      return "badge";
    case ApnsWhat::resubscribe:
      return "resubscribe";
    case ApnsWhat::check_in:
      return "check_in";
  }
  BH_CHECK(false);
}

std::optional<std::string> write_apns_mail(std::string_view sender, std::string_view subject,
                                           const ApnsAlertOptions& options, const ApnsLocalText& text) {
  std::string title = display_text(sender);
  std::string body = display_text(subject);
  bool has_title = title.find_first_not_of(' ') != std::string::npos;
  bool has_body = body.find_first_not_of(' ') != std::string::npos;

  // What the alert costs with both texts empty; an empty subject is spoken for by the local text.
  std::string alert = "{";
  if (!has_body) append_local_text(alert, text);
  std::string skeleton = alert;
  if (has_title) append_member(skeleton, "title", {});
  if (has_body) append_member(skeleton, "body", {});
  size_t fixed = write_alert(std::string_view(skeleton).substr(1), ApnsWhat::new_mail, options).size();
  std::optional<std::string> payload;
  if (fixed <= kApnsPayloadBytesMax) {
    size_t room = kApnsPayloadBytesMax - fixed;
    size_t title_size = has_title ? json_escaped_size(title) : 0;
    size_t body_size = has_body ? json_escaped_size(body) : 0;
    size_t title_max = std::min(title_size, room - std::min({room, body_size, kSubjectBytesKept}));
    alert.reserve(kApnsPayloadBytesMax);
    if (has_title) append_cut_member(alert, "title", title, title_max);
    if (has_body) append_cut_member(alert, "body", body, room - title_max);
    // Nothing fitted: an alert without text would not be shown.
    if (alert.size() == 1) append_local_text(alert, text);
    payload = within_limit(write_alert(std::string_view(alert).substr(1), ApnsWhat::new_mail, options));
  }
  wipe(title);
  wipe(body);
  wipe(alert);
  return payload;
}

std::optional<std::string> write_apns_new_mail(const ApnsAlertOptions& options, const ApnsLocalText& text) {
  return write_apns_mail({}, {}, options, text);
}

std::optional<std::string> write_apns_more_mail(uint32_t count, const ApnsAlertOptions& options,
                                                const ApnsLocalText& text) {
  std::string number = std::to_string(count);
  std::string alert = "{";
  append_local_text(alert, text);
  append_raw_member(alert, "loc-args", "[\"" + number + "\"]");
  std::vector<ApnsMember> members(options.members.begin(), options.members.end());
  members.push_back({"count", number});
  ApnsAlertOptions with_count = options;
  with_count.members = members;
  return within_limit(write_alert(std::string_view(alert).substr(1), ApnsWhat::more_mail, with_count));
}

std::string write_apns_badge(uint32_t unread) {
  std::string out = "{\"aps\":{\"badge\":" + std::to_string(unread) + "},";
  append_custom(out, ApnsWhat::badge, {});
  return out;
}

std::optional<std::string> write_apns_silent(ApnsWhat what, std::span<const ApnsMember> members) {
  std::string out = "{\"aps\":{\"content-available\":1},";
  append_custom(out, what, members);
  return within_limit(std::move(out));
}

}  // namespace bellhop::proto
