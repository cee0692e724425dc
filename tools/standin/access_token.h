// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/time.h"
#include "crypto/secret.h"

namespace bellhop::standin {

// What an access token of the stand-in says.
struct AccessToken {
  std::string issuer;
  std::string user;  // address of the mailbox
  WallTime expires{};
};

// Signs and checks the tokens that the token stand-in gives and the Exchange stand-in takes; both hold the same key. A
// signed token: base64url of "issuer LF user LF expiry in ms LF number" ‖ "." ‖ base64url of its HMAC-SHA-256.
class TokenKey {
 public:
  static constexpr size_t kBytes = 32;
  static constexpr std::string_view kIssuer = "https://standin.example.com/";

  static std::shared_ptr<const TokenKey> random();
  // Base64 of kBytes bytes, else null.
  static std::shared_ptr<const TokenKey> from_text(std::string_view text);
  std::string text() const;

  // `number` makes each token another one.
  std::string sign(std::string_view user, WallTime expires, uint64_t number) const;
  // Nothing where it was not signed with this key. Issuer and expiry are the caller's to judge.
  std::optional<AccessToken> read(std::string_view token) const;
  // The MAC of some bytes, for refresh tokens: 16 bytes.
  std::string mac(std::string_view bytes) const;

 private:
  explicit TokenKey(crypto::Secret key) : key_(std::move(key)) {}
  crypto::Secret key_;
};

// True where the token is ours and has not expired.
bool token_valid(const AccessToken& token, WallTime now);

}  // namespace bellhop::standin
