// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "core/base/error.h"
#include "proto/wiping_buffer.h"

namespace bellhop::proto {

// The field Authorization of a client's request.
struct ClientCredentials {
  enum class Scheme : uint8_t { basic, bearer };
  Scheme scheme = Scheme::basic;
  std::string_view token;  // bearer: a view into the field
  WipingBuffer user;       // basic: what stands before the first ":"; its password is never kept
};

// Errors: negotiate_refused (NTLM, Negotiate: they log a connection on, not a request); credentials (another scheme, broken
// base64, no ":", an empty user).
Result<ClientCredentials> read_client_credentials(std::string_view authorization);

}  // namespace bellhop::proto
