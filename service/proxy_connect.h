// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/base/error.h"
#include "core/stream/stream.h"
#include "core/task.h"
#include "crypto/secret.h"

namespace bellhop::service {

// Of a proxy's answer to CONNECT.
inline constexpr uint32_t kConnectHeaderBytesMax = 8 * 1024;
inline constexpr uint32_t kConnectHeaderFieldsMax = 64;

// Asks the proxy at the other end of `stream` for a tunnel (CONNECT, RFC 9110 section 9.3.6). After success the next byte
// in either direction is the destination's. Whatever is not exactly a 2xx head is an error, bytes behind it included: the
// destination does not speak before us. `authority`: "host:port". `authorization`: null where the proxy wants none; what
// was written of it is wiped. The deadline is the caller's. References outlive the task.
// Errors: ServiceError::proxy_authentication, proxy_refused, proxy_malformed, proxy_closed; tls, os, canceled.
Task<Status> connect_through(Stream& stream, const std::string& authority, const crypto::Secret* authorization);

}  // namespace bellhop::service
