// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/pool.h>

#include <string_view>

#include "core/tls/boringssl.h"
#include "core/tls/context.h"

namespace bellhop {

// For the sources of core/tls only. Judges a server's chain (its own certificate first) against the context's
// authorities and pins, the host name and the clock. Success, or one of TlsError::certificate_*.
Status verify_server_chain(const TlsContext& context, std::string_view host, const STACK_OF(CRYPTO_BUFFER) * chain);
// The same of a client's chain: its authorities, its dates, and that it is for clients.
Status verify_client_chain(const TlsContext& context, const STACK_OF(CRYPTO_BUFFER) * chain);
// The alert that tells the peer of such an error.
uint8_t alert_of(const Error& error);

}  // namespace bellhop
