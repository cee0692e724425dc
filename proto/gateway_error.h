// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "core/base/error.h"

namespace bellhop::proto {

// Codes of Domain::gateway: why the gateway does not pass a request or an answer on. `detail` is an offset where the
// text has one.
enum class GatewayError : uint16_t {
  not_found = 1,    // a path that is no endpoint
  malformed,        // a target that no client writes: escapes, dot segments or separators in the path, a foreign byte
  method,           // a method that the endpoint does not serve
  query_refused,    // a query at EWS, which takes none
  query_malformed,  // an ActiveSync query that breaks MS-ASHTTP
  ambiguous,        // what two servers could read in two ways: a parameter twice, both forms, a second encoding
  parameter,        // a parameter that ActiveSync does not have
  command,          // an unknown or retired ActiveSync command
  device_missing,   // a command without DeviceId or DeviceType
  header_repeated,  // a field that may come once comes twice, or contradicts the query
  header_value,     // a field whose value has characters that no field may have
  headers_too_large,
  credentials,        // Authorization that is broken, or of another scheme than Basic and Bearer
  negotiate_refused,  // NTLM or Negotiate from a client
  token,              // a bearer token whose claims cannot be read
  account,            // a user name that names no account
  contradiction,      // two accounts in one request
  content_type,       // not XML in UTF-8, or a Content-Encoding
  envelope,           // no SOAP envelope, or parts of it at the wrong place
  envelope_too_large,  // no operation within kEwsPeekBytesMax
  operation,          // the first element of the body is no EWS operation, or SOAPAction names another one
  soap_header,        // a SOAP header that only servers send each other
  wbxml,              // a body whose root is not the command of the query
  location,           // a redirect whose target is no URL of an endpoint
};

inline Error gateway_error(GatewayError code, uint32_t detail = 0) {
  return {Domain::gateway, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, GatewayError code) {
  return error.domain == Domain::gateway && error.code == static_cast<uint16_t>(code);
}

// The status that the client gets: 401 (credentials, negotiate_refused, token), 404, 405, 413, 415, 431, 501 (command),
// 502 (location), else 400.
uint16_t gateway_error_status(GatewayError code);

// Text for register_error_text; holds nothing of the request.
std::string gateway_error_text(uint16_t code, uint32_t detail);

}  // namespace bellhop::proto
