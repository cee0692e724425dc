// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/time.h"
#include "crypto/secret.h"
#include "crypto/sealing.h"

namespace bellhop::crypto {

// Seals the cookies of an upstream, so that a client can bring them back but neither read nor write them: a cookie of
// Exchange may name the server that a request is sent on to. AES-256-GCM under HKDF(KEK, "gateway cookie jar"); base64url of
// version 1 ‖ KEK id (32) ‖ nonce (96) ‖ ciphertext ‖ tag. Bound to route, endpoint and account: another one's jar does not
// open. Immutable after construction; any core.
class CookieJar {
 public:
  static constexpr size_t kTextBytesMax = 3584;  // with name and attributes within the 4,096 bytes of RFC 6265 section 6.1
  static constexpr size_t kContentBytesMax = 2560;
  static constexpr auto kAgeMax = std::chrono::hours(24);

  struct Binding {
    std::string_view route, endpoint, account;
  };

  explicit CookieJar(const Keyring& keyring);

  // `content`: the Cookie field for the upstream, at most kContentBytesMax.
  std::string seal(const Binding& binding, std::string_view content, WallTime now) const;
  // Errors: malformed, decrypt_failed, key_unknown, jar_stale. The caller goes on without the jar.
  Result<Secret> open(const Binding& binding, std::string_view text, WallTime now) const;
  // The name of the one cookie that a client gets from an endpoint: "bellhop-ews".
  static std::string name(std::string_view endpoint);
  // The value of Set-Cookie: "bellhop-ews=…; Path=/; Secure; HttpOnly; SameSite=Strict".
  static std::string set_cookie(std::string_view endpoint, std::string_view text);

 private:
  std::map<uint32_t, Secret> keys_;
  uint32_t current_ = 0;
};

}  // namespace bellhop::crypto
