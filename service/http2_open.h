// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "core/stream/stream.h"
#include "core/task.h"
#include "core/tls/context.h"

namespace bellhop::service {

// Opens a TLS connection that speaks h2: name look-up, TCP (up to kHttp2AddressesTried addresses, beginning with one
// drawn by chance), handshake, all within `timeout`. `tls` offers h2. `host`: a name, or an address literal (v6 without
// brackets). `identity`: used until the end of the task; see TlsEngine. Errors: dns, os, tls (alpn_not_shared where the peer chose nothing), timed_out, canceled.
inline constexpr size_t kHttp2AddressesTried = 4;
Task<Result<std::unique_ptr<Stream>>> open_http2_stream(std::string host, uint16_t port,
                                                        std::shared_ptr<TlsContext> tls, Duration timeout,
                                                        const TlsIdentity* identity = nullptr);

}  // namespace bellhop::service
