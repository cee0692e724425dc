// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/time.h"
#include "crypto/es256.h"
#include "proto/apns_answer.h"
#include "proto/http.h"
#include "proto/http1.h"
#include "tools/standin/apns.h"

// What APNs checks of a request, without any I/O. One core.
namespace bellhop::standin {

inline constexpr int64_t kProviderTokenAgeMax_s = 3600;
inline constexpr int64_t kProviderTokenSkewMax_s = 300;     // iat may be so far in the future
inline constexpr int64_t kProviderTokenUpdateMin_s = 1200;  // between two tokens of one connection
inline constexpr size_t kPayloadBytesMax = 4096;
inline constexpr size_t kVoipPayloadBytesMax = 5120;

// What a connection has shown so far.
struct ProviderSession {
  std::string token;  // the last good one
  std::string team_id;
  int64_t issued_at_s = 0;
  bool told_expired = false;  // then the next token may come early
};

// Provider tokens: signatures are checked once for each token and remembered.
class ProviderGate {
 public:
  // Errors: crypto (a public key that does not parse).
  static Result<ProviderGate> make(const std::vector<ApnsKey>& keys);

  // `authorization` is the field's value; nothing: absent. Returns none where it is good; `topics` is then the team's.
  proto::ApnsReason check(std::optional<std::string_view> authorization, WallTime now, bool refuse_fast_updates,
                          ProviderSession& session, const std::vector<std::string>*& topics);
  uint64_t tokens_seen() const { return tokens_seen_; }

 private:
  struct Key {
    std::string team_id, key_id;
    crypto::Es256PublicKey key;
    std::vector<std::string> topics;
  };
  struct Known {
    size_t key = 0;
    int64_t issued_at_s = 0;
  };
  static constexpr size_t kKnownMax = 256;  // then all are forgotten and checked anew

  std::optional<Known> verify(const std::string& token);

  std::vector<Key> keys_;
  std::unordered_map<std::string, Known> known_;
  uint64_t tokens_seen_ = 0;
};

// What a good request asks for. Views into the request, but for what is decoded.
struct PushRequest {
  std::string_view device_token;
  std::string_view topic;
  std::string_view collapse_id;
  std::string_view push_type = "alert";
  std::string_view apns_id;  // empty: none given
  uint8_t priority = 10;
  bool has_alert = false;
  bool has_badge = false;
  std::string title, body;
};

// Path, header fields and payload; everything but the provider token. none where all is good.
proto::ApnsReason check_path(proto::HttpMethod method, std::string_view path, PushRequest& out);
proto::ApnsReason check_fields(const proto::HeaderBlock& headers, const std::vector<std::string>& topics,
                               PushRequest& out);
proto::ApnsReason check_payload(std::string_view payload, PushRequest& out);

}  // namespace bellhop::standin
