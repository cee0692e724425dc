// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "core/stream/stream.h"
#include "core/task.h"
#include "service/outbound.h"

namespace bellhop::service {

// Opens a TLS connection that speaks h2: name look-up, TCP (up to kHttp2AddressesTried addresses, beginning with one
// drawn by chance) or a proxy's tunnel, handshake, all within `timeout`. The origin's TLS offers h2.
// `identity`: used until the end of the task; see TlsEngine.
// Errors: those of open_outbound(); tls alpn_not_shared where the peer chose nothing.
inline constexpr size_t kHttp2AddressesTried = 4;
Task<Result<std::unique_ptr<Stream>>> open_http2_stream(OutboundOrigin origin, Duration timeout,
                                                         const TlsIdentity* identity = nullptr);

}  // namespace bellhop::service
