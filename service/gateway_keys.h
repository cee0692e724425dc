// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/cookie_jar.h"
#include "crypto/gateway_context.h"

namespace bellhop::service {

// What the gateway seals and checks by the keyring. Immutable; shared by all cores, and replaced with the keyring.
struct GatewayKeys {
  explicit GatewayKeys(const crypto::Keyring& keyring) : jar(keyring), contexts(keyring) {}

  const crypto::CookieJar jar;
  const crypto::GatewayContextSigner contexts;
};

}  // namespace bellhop::service
