// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/base/bytes.h"

namespace bellhop::proto {

// The NegTokenInit of SPNEGO (RFC 4178 section 4.2.1) that offers Kerberos 5 alone and carries its first token: what
// follows "Negotiate " in an Authorization field (RFC 4559), before base64. The one mechanism that is offered is the one that is
// used, so there is nothing to negotiate and no integrity check of the list (RFC 4178 section 5).
std::vector<uint8_t> spnego_kerberos_token(Bytes kerberos_token);

}  // namespace bellhop::proto
