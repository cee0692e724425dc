// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "proto/http2.h"
#include "proto/item_kind.h"

namespace bellhop::proto {

// The APNs provider API: what one push request looks like. Answers are in apns_answer.h.

inline constexpr size_t kApnsPayloadBytesMax = 4096;
inline constexpr size_t kApnsCollapseIdBytesMax = 64;
// Apple gives no length and says not to assume one; today's tokens have 32 bytes.
inline constexpr size_t kApnsTokenBytesMin = 32;
inline constexpr size_t kApnsTokenBytesMax = 128;
inline constexpr size_t kApnsTopicBytesMax = 255;

enum class ApnsPushType : uint8_t { alert, background };

enum class ApnsPriority : uint8_t {
  immediate = 10,
  considerate = 5,  // at a time that spares power; the only one allowed for background pushes
  low = 1,
};

// One request. Views must outlive the use of ApnsHeaders.
struct ApnsRequest {
  std::string_view device_token;   // hex
  std::string_view authorization;  // the provider's JWT, without "bearer "; empty where a client certificate speaks
  std::string_view topic;
  std::string_view apns_id;           // UUID in the 8-4-4-4-12 form; empty: APNs makes one
  std::string_view collapse_id;       // empty: none
  std::optional<int64_t> expiration;  // Unix seconds; 0: try once, do not store. Nothing: APNs decides
  ApnsPriority priority = ApnsPriority::immediate;
  ApnsPushType push_type = ApnsPushType::alert;
};

// What is wrong with a request before it is sent; sending it would only earn a 400.
enum class ApnsRequestFault : uint8_t {
  none,
  device_token,
  authorization,
  topic,
  apns_id,
  collapse_id,
  expiration,
  priority
};

// Hex of either case, an even number of digits, between kApnsTokenBytesMin and Max bytes.
bool apns_token_valid(std::string_view hex);

// Path and header fields of one request. Not movable: the fields point into it. Wiped on destruction.
class ApnsHeaders {
 public:
  ApnsHeaders() = default;
  ApnsHeaders(const ApnsHeaders&) = delete;
  ApnsHeaders& operator=(const ApnsHeaders&) = delete;
  ~ApnsHeaders();
  // Checks and renders; may be called again. After a fault the object is empty.
  [[nodiscard]] ApnsRequestFault build(const ApnsRequest& request);
  std::string_view path() const { return path_; }
  std::span<const Http2Header> fields() const { return fields_; }

 private:
  std::string path_;
  std::string authorization_;
  std::string expiration_;
  std::vector<Http2Header> fields_;
};

// A member of the `bellhop` object that every payload carries, for the app. Text is escaped here.
struct ApnsMember {
  std::string_view name;
  std::string_view value;
};

// What the payload is about; becomes `bellhop.what`.
enum class ApnsWhat : uint8_t { new_mail, more_mail, badge, resubscribe, check_in };
std::string_view apns_what_name(ApnsWhat what);

// Members that all alerts may have. Empty and absent ones are left out. Never cut: they are short and ours.
struct ApnsAlertOptions {
  std::string_view thread_id;
  std::string_view category;
  std::string_view sound = "default";
  std::optional<uint32_t> badge;
  bool mutable_content = false;  // lets the app's Notification Service Extension change the alert
  std::span<const ApnsMember> members;
};

// Text that the phone looks up in the app's own language; `fallback` is what an app without that key shows.
struct ApnsLocalText {
  std::string_view loc_key;
  std::string_view fallback;
};
inline constexpr ApnsLocalText kApnsNewMailText{"BELLHOP_NEW_MAIL", "New mail"};
// Stands for the subject where an item has none: says what the item is.
ApnsLocalText apns_item_text(ItemKind kind);
inline constexpr ApnsLocalText kApnsMoreMailText{"BELLHOP_MORE_MAIL", "More new mail"};

// The writers below return JSON of at most kApnsPayloadBytesMax bytes; nothing where the members that are never cut
// leave no room. The result holds mail text: the caller wipes it.

// Title = sender, body = subject, both as display_text() makes them. Too long: the subject is cut, to no less than
// 256 bytes, then the sender, on a character boundary with an ellipsis. Neither left: the content-free alert.
std::optional<std::string> write_apns_mail(std::string_view sender, std::string_view subject,
                                           const ApnsAlertOptions& options,
                                           const ApnsLocalText& text = kApnsNewMailText);
// Says that there is new mail, and nothing of it.
std::optional<std::string> write_apns_new_mail(const ApnsAlertOptions& options,
                                               const ApnsLocalText& text = kApnsNewMailText);
// For `count` mails merged into one push; the count is loc-args[0].
std::optional<std::string> write_apns_more_mail(uint32_t count, const ApnsAlertOptions& options,
                                                const ApnsLocalText& text = kApnsMoreMailText);
// The badge alone. To be sent with apns_badge_request()'s type, priority and collapse id.
std::string write_apns_badge(uint32_t unread);
// A background push (`content-available`): no alert, badge or sound.
std::optional<std::string> write_apns_silent(ApnsWhat what, std::span<const ApnsMember> members = {});

// Push type, priority and collapse id that go with the badge and the silent payload.
void set_apns_badge(ApnsRequest& request);
void set_apns_silent(ApnsRequest& request);

}  // namespace bellhop::proto
