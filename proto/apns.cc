// SPDX-License-Identifier: Apache-2.0
#include "proto/apns.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace bellhop::proto {
namespace {

constexpr size_t kUuidSize = 36;
constexpr std::string_view kBadgeCollapseId = "badge";
constexpr std::string_view kBearer = "bearer ";

bool is_hex_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool uuid_valid(std::string_view text) {
  if (text.size() != kUuidSize) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    bool hyphen_place = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen_place ? text[i] != '-' : !is_hex_digit(text[i])) return false;
  }
  return true;
}

// Visible ASCII: what may stand in these fields without any question of encoding.
bool field_text_valid(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
}

ApnsRequestFault judge(const ApnsRequest& request) {
  if (!apns_token_valid(request.device_token)) return ApnsRequestFault::device_token;
  if (!field_text_valid(request.authorization)) return ApnsRequestFault::authorization;
  bool topic_size_fine = !request.topic.empty() && request.topic.size() <= kApnsTopicBytesMax;
  if (!topic_size_fine || !field_text_valid(request.topic)) return ApnsRequestFault::topic;
  if (!request.apns_id.empty() && !uuid_valid(request.apns_id)) return ApnsRequestFault::apns_id;
  bool collapse_size_fine = request.collapse_id.size() <= kApnsCollapseIdBytesMax;
  if (!collapse_size_fine || !field_text_valid(request.collapse_id)) return ApnsRequestFault::collapse_id;
  if (request.expiration && *request.expiration < 0) return ApnsRequestFault::expiration;
  bool background = request.push_type == ApnsPushType::background;
  if (background && request.priority != ApnsPriority::considerate) return ApnsRequestFault::priority;
  return ApnsRequestFault::none;
}

std::string_view priority_text(ApnsPriority priority) {
  switch (priority) {
    case ApnsPriority::immediate:
      return "10";
    case ApnsPriority::considerate:
      return "5";
    case ApnsPriority::low:
      return "1";
  }
  return "10";
}

}  // namespace

bool apns_token_valid(std::string_view hex) {
  if (hex.size() % 2 != 0 || hex.size() < 2 * kApnsTokenBytesMin || hex.size() > 2 * kApnsTokenBytesMax) return false;
  return std::ranges::all_of(hex, is_hex_digit);
}

ApnsHeaders::~ApnsHeaders() {
  wipe(path_);
  wipe(authorization_);
}

ApnsRequestFault ApnsHeaders::build(const ApnsRequest& request) {
  fields_.clear();
  wipe(path_);
  wipe(authorization_);
  ApnsRequestFault fault = judge(request);
  if (fault != ApnsRequestFault::none) return fault;
  path_.reserve(sizeof("/3/device/") + request.device_token.size());
  path_.append("/3/device/").append(request.device_token);
  if (!request.authorization.empty()) {
    authorization_.reserve(kBearer.size() + request.authorization.size());
    authorization_.append(kBearer).append(request.authorization);
    fields_.push_back({"authorization", authorization_, true});
  }
  fields_.push_back({"apns-topic", request.topic});
  fields_.push_back({"apns-push-type", request.push_type == ApnsPushType::alert ? "alert" : "background"});
  fields_.push_back({"apns-priority", priority_text(request.priority)});
  // These differ with each push: in the compression table they would only push out what repeats.
  if (request.expiration) {
    expiration_ = std::to_string(*request.expiration);
    fields_.push_back({"apns-expiration", expiration_, true});
  }
  if (!request.apns_id.empty()) fields_.push_back({"apns-id", request.apns_id, true});
  if (!request.collapse_id.empty()) fields_.push_back({"apns-collapse-id", request.collapse_id, true});
  return ApnsRequestFault::none;
}

void set_apns_badge(ApnsRequest& request) {
  request.push_type = ApnsPushType::alert;
  request.priority = ApnsPriority::considerate;
  request.collapse_id = kBadgeCollapseId;
}

void set_apns_silent(ApnsRequest& request) {
  request.push_type = ApnsPushType::background;
  request.priority = ApnsPriority::considerate;
  request.collapse_id = {};
}

}  // namespace bellhop::proto
