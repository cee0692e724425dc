// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/time.h"
#include "crypto/hash.h"
#include "crypto/sealing.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// The field that bellhop's own EWS requests carry through a gateway.
inline constexpr std::string_view kGatewayContextField = "x-bellhop-context";

// For whom bellhop asks Exchange: EWS itself knows no devices.
struct GatewayContext {
  static constexpr size_t kDevicesMax = 32;
  static constexpr size_t kTextBytesMax = 256;  // of each text

  std::string tenant;
  std::string user;                  // the mailbox's address
  std::vector<std::string> devices;  // device ids as the device API knows them
  std::string source_device;         // whose credentials these are; empty: not known
  WallTime issued_at{};
  Digest body_hash{};  // SHA-256 of the request's body

  friend bool operator==(const GatewayContext&, const GatewayContext&) = default;
};

// What the context is for. A copied context is of no use for another request, nor beside other credentials.
struct ContextRequest {
  std::string_view method, target;  // as they are forwarded
  std::string_view authorization;   // the whole field; empty where a certificate logs on
};

// Signs and checks contexts: HMAC-SHA-256 under HKDF(KEK, "gateway context") over the context and the request.
// Text: base64url of (version 1 ‖ KEK id (32) ‖ context) "." base64url of the MAC. Nodes and gateways that share the
// keyring understand each other. Immutable after construction; any core.
class GatewayContextSigner {
 public:
  static constexpr size_t kFieldBytesMax = 16 * 1024;
  static constexpr auto kAgeMax = std::chrono::minutes(5);
  static constexpr auto kEarlyMax = std::chrono::minutes(1);  // clocks differ

  explicit GatewayContextSigner(const Keyring& keyring);

  // Errors: malformed (a text or the list of devices is too long, or tenant, user or a device is empty).
  Result<std::string> sign(const GatewayContext& context, const ContextRequest& request) const;

  // What comes back is proven. It holds for this request only if sha256() of the body is body_hash, which the caller
  // checks before the end of the body goes on. Constant time. Errors: malformed, key_unknown, signature_invalid,
  // context_stale, context_early.
  Result<GatewayContext> open(std::string_view field, const ContextRequest& request, WallTime now) const;

 private:
  static Digest mac_of(const Secret& key, Bytes payload, const ContextRequest& request);
  std::map<uint32_t, Secret> keys_;
  uint32_t current_ = 0;
};

}  // namespace bellhop::crypto
