// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/apns_check.h"

#include <algorithm>
#include <array>

#include "crypto/jose.h"
#include "proto/apns.h"
#include "proto/json.h"

namespace bellhop::standin {
namespace {

using proto::ApnsReason;

constexpr std::string_view kDevicePath = "/3/device/";
constexpr std::array<std::string_view, 12> kPushTypes = {"alert",        "background", "voip",         "complication",
                                                         "fileprovider", "mdm",        "location",     "liveactivity",
                                                         "pushtotalk",   "controls",   "widgets",      "passkit"};
constexpr std::array<std::string_view, 7> kSingleFields = {"authorization", "apns-id",       "apns-expiration",
                                                           "apns-priority", "apns-topic",    "apns-collapse-id",
                                                           "apns-push-type"};

// 8-4-4-4-12 hex digits.
bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    bool hex = (text[i] >= '0' && text[i] <= '9') || (ascii_lower(text[i]) >= 'a' && ascii_lower(text[i]) <= 'f');
    if (dash ? text[i] != '-' : !hex) return false;
  }
  return true;
}

bool is_topic(std::string_view text) {
  return !text.empty() && text.size() <= proto::kApnsTopicBytesMax && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '.' || c == '-' || c == '_';
  });
}

}  // namespace

Result<ProviderGate> ProviderGate::make(const std::vector<ApnsKey>& keys) {
  ProviderGate gate;
  for (const ApnsKey& key : keys) {
    BH_TRY(crypto::Es256PublicKey parsed, crypto::Es256PublicKey::from_spki(key.public_key));
    gate.keys_.push_back({key.team_id, key.key_id, std::move(parsed), key.topics});
  }
  return gate;
}

std::optional<ProviderGate::Known> ProviderGate::verify(const std::string& token) {
  if (auto at = known_.find(token); at != known_.end()) return at->second;
  auto jwt = crypto::parse_jwt(token);
  if (!jwt) return std::nullopt;
  const crypto::WipingString* issuer = jwt->claims.text("iss");
  const int64_t* issued_at = jwt->claims.integer("iat");
  if (!issuer || !issued_at) return std::nullopt;
  auto key = std::ranges::find_if(keys_, [&](const Key& one) {
    return one.key_id == jwt->kid && one.team_id == std::string_view(*issuer);
  });
  if (key == keys_.end() || !crypto::verify_jwt(*jwt, key->key)) return std::nullopt;
  if (known_.size() >= kKnownMax) known_.clear();
  ++tokens_seen_;
  return known_.emplace(token, Known{static_cast<size_t>(key - keys_.begin()), *issued_at}).first->second;
}

ApnsReason ProviderGate::check(std::optional<std::string_view> authorization, WallTime now, bool refuse_fast_updates,
                               ProviderSession& session, const std::vector<std::string>*& topics) {
  if (!authorization) return ApnsReason::missing_provider_token;
  if (authorization->size() < 7 || !ascii_equal_ignoring_case(authorization->substr(0, 7), "bearer ")) {
    return ApnsReason::invalid_provider_token;
  }
  std::string token(authorization->substr(7));
  auto known = verify(token);
  if (!known) return ApnsReason::invalid_provider_token;
  const Key& key = keys_[known->key];
  // One team per connection.
  if (!session.team_id.empty() && session.team_id != key.team_id) return ApnsReason::invalid_provider_token;
  int64_t age_s = to_unix_seconds(now) - known->issued_at_s;
  if (age_s < -kProviderTokenSkewMax_s) return ApnsReason::invalid_provider_token;
  if (age_s > kProviderTokenAgeMax_s) {
    session.told_expired = true;
    return ApnsReason::expired_provider_token;
  }
  if (session.token != token) {
    bool early = !session.token.empty() && !session.told_expired &&
                 known->issued_at_s - session.issued_at_s < kProviderTokenUpdateMin_s;
    if (early && refuse_fast_updates) return ApnsReason::too_many_provider_token_updates;
    session.token = token;
    session.team_id = key.team_id;
    session.issued_at_s = known->issued_at_s;
    session.told_expired = false;
  }
  topics = &key.topics;
  return ApnsReason::none;
}

ApnsReason check_path(proto::HttpMethod method, std::string_view path, PushRequest& out) {
  if (!path.starts_with(kDevicePath)) return ApnsReason::bad_path;
  out.device_token = path.substr(kDevicePath.size());
  if (out.device_token.contains('/') || out.device_token.contains('?')) return ApnsReason::bad_path;
  if (method != proto::HttpMethod::post) return ApnsReason::method_not_allowed;
  if (out.device_token.empty()) return ApnsReason::missing_device_token;
  return ApnsReason::none;
}

ApnsReason check_fields(const proto::HeaderBlock& headers, const std::vector<std::string>& topics, PushRequest& out) {
  for (std::string_view name : kSingleFields) {
    if (headers.count(name) > 1) return ApnsReason::duplicate_headers;
  }
  if (!proto::apns_token_valid(out.device_token)) return ApnsReason::bad_device_token;
  auto topic = headers.find("apns-topic");
  if (!topic || topic->empty()) return ApnsReason::missing_topic;
  if (!is_topic(*topic)) return ApnsReason::bad_topic;
  if (std::ranges::find(topics, *topic) == topics.end()) return ApnsReason::topic_disallowed;
  out.topic = *topic;
  if (auto id = headers.find("apns-id")) {
    if (!is_uuid(*id)) return ApnsReason::bad_message_id;
    out.apns_id = *id;
  }
  if (auto expiration = headers.find("apns-expiration"); expiration && !parse_decimal(*expiration)) {
    return ApnsReason::bad_expiration_date;
  }
  if (auto collapse = headers.find("apns-collapse-id")) {
    if (collapse->empty() || collapse->size() > proto::kApnsCollapseIdBytesMax) return ApnsReason::bad_collapse_id;
    out.collapse_id = *collapse;
  }
  // Without a push type APNs guesses; current systems require it, and so do we.
  auto type = headers.find("apns-push-type");
  if (!type || std::ranges::find(kPushTypes, *type) == kPushTypes.end()) return ApnsReason::invalid_push_type;
  out.push_type = *type;
  if (auto priority = headers.find("apns-priority")) {
    auto number = parse_decimal(*priority);
    if (!number || (*number != 10 && *number != 5 && *number != 1)) return ApnsReason::bad_priority;
    out.priority = static_cast<uint8_t>(*number);
  }
  if (out.push_type == "background" && out.priority != 5) return ApnsReason::bad_priority;
  return ApnsReason::none;
}

ApnsReason check_payload(std::string_view payload, PushRequest& out) {
  if (payload.empty()) return ApnsReason::payload_empty;
  size_t bytes_max = out.push_type == "voip" ? kVoipPayloadBytesMax : kPayloadBytesMax;
  if (payload.size() > bytes_max) return ApnsReason::payload_too_large;
  // There is no reason for a payload that is no JSON: nothing that could be used is in it.
  auto document = proto::JsonDocument::parse(payload);
  if (!document) return ApnsReason::payload_empty;
  auto aps = document->root().object("aps");
  if (!aps || !*aps) return ApnsReason::payload_empty;
  auto alert = (*aps)->find("alert");
  out.has_badge = (*aps)->find("badge").has_value();
  if (!alert) return ApnsReason::none;
  out.has_alert = true;
  if (auto text = alert->string()) out.body = *text;
  if (auto parts = alert->object()) {
    out.title = parts->string("title").value_or(std::nullopt).value_or("");
    out.body = parts->string("body").value_or(std::nullopt).value_or("");
  }
  return ApnsReason::none;
}

}  // namespace bellhop::standin
