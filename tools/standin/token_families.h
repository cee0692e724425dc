// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "tools/standin/access_token.h"

namespace bellhop::standin {

struct TokenBooks {
  uint64_t families = 0;    // refresh tokens given to users, each the first of its line
  uint64_t requests = 0;    // at the token endpoint
  uint64_t grants = 0;      // access tokens given
  uint64_t rotations = 0;   // of these, with a new refresh token
  uint64_t grace_uses = 0;  // of these, for the token before the last, within the grace
  uint64_t claims = 0;      // requests that carried claims
  uint64_t reuses = 0;      // spent refresh tokens presented: each revokes its family
  uint64_t revoked = 0;     // families revoked
  uint64_t refused = 0;     // requests refused by the rules, reuses included
  uint64_t faulted = 0;     // requests that met a fault on demand
};

struct TokenRules {
  Duration lifetime = std::chrono::hours(1);  // of access tokens
  // For so long the refresh token before the last one is taken again, and answered with the last one: the client has
  // not got its answer. 0: never. Of anything older, and after the grace, the second use is a theft.
  Duration grace{};
  bool rotate = true;
};

// The lines of refresh tokens of one issuer (RFC 9700 section 4.14.2): each grant spends the token and gives the next
// one of its line; a spent token that comes again revokes the whole line. No clock, no I/O. A refresh token names its
// line and place and is signed, so that of each line only the place is kept.
class TokenFamilies {
 public:
  static constexpr size_t kFamiliesMax = 2'000'000;

  TokenFamilies(std::shared_ptr<const TokenKey> key, TokenRules rules) : rules(rules), key_(std::move(key)) {}

  // The first refresh token of a new line; empty where there are too many.
  std::string begin(std::string user);
  struct Granted {
    std::string access_token;
    std::string refresh_token;  // empty where rules.rotate is off
  };
  // Nothing: invalid_grant.
  std::optional<Granted> grant(std::string_view refresh_token, WallTime now);
  // All lines of a user end. How many.
  size_t revoke(std::string_view user);

  TokenRules rules;
  TokenBooks books;

 private:
  struct Family {
    std::string user;
    uint64_t place = 0;  // of the newest token
    WallTime rotated_at{};
    bool revoked = false;
  };
  std::string token_text(uint64_t family, uint64_t place) const;
  void revoke(Family& family);

  std::shared_ptr<const TokenKey> key_;
  std::vector<Family> families_;
};

}  // namespace bellhop::standin
