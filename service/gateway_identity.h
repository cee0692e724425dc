// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/hash.h"
#include "proto/account.h"
#include "store/ids.h"

namespace bellhop::service {

// How a request says who its user is.
enum class GatewayLogonKind : uint8_t {
  none,         // no credentials: Exchange asks for them itself
  basic,        // a name and password, which Exchange verifies
  bearer,       // a token, which Exchange verifies; its claims are read, not believed
  certificate,  // of the TLS connection, verified by the listener
};

// bellhop's own requests say more, under a signature that was verified (crypto/gateway_context.h).
struct GatewayContextFacts {
  std::vector<store::ComplianceKey> devices;          // of the mailbox; one that is allowed is enough
  std::optional<store::ComplianceKey> source_device;  // whose credentials these are; it must not be blocked
  crypto::Digest body_hash{};                         // what the body must hash to
};

// Who asks. A claim of `basic` and `bearer` becomes true when Exchange takes the credentials: whoever lies about it gets
// Exchange's 401, and nothing of anybody's mailbox. Lives as long as its request.
struct GatewayIdentity {
  GatewayLogonKind kind = GatewayLogonKind::none;
  // Nothing where the credentials name nobody that can be read: an opaque token, a name without a domain.
  std::optional<proto::Account> account;
  // The user as the credentials spell it, for who logs on for it: the UPN of a certificate. A personal datum: never logged.
  std::string user;
  std::optional<GatewayContextFacts> context;
  bool proven = false;  // by a certificate or a signed context: no claim
  // Names upstream connections that serve these very credentials alone; empty where there are none.
  std::string connection_key;
};

}  // namespace bellhop::service
