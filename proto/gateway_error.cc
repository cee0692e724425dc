// SPDX-License-Identifier: Apache-2.0
#include "proto/gateway_error.h"

#include <fmt/format.h>

namespace bellhop::proto {

uint16_t gateway_error_status(GatewayError code) {
  switch (code) {
    case GatewayError::credentials:
    case GatewayError::negotiate_refused:
    case GatewayError::token: return 401;
    case GatewayError::not_found: return 404;
    case GatewayError::method: return 405;
    case GatewayError::envelope_too_large: return 413;
    case GatewayError::content_type: return 415;
    case GatewayError::headers_too_large: return 431;
    case GatewayError::command: return 501;
    case GatewayError::location: return 502;
    default: return 400;
  }
}

std::string gateway_error_text(uint16_t code, uint32_t detail) {
  switch (static_cast<GatewayError>(code)) {
    case GatewayError::not_found: return "a path that is neither /EWS/Exchange.asmx nor /Microsoft-Server-ActiveSync";
    case GatewayError::malformed:
      return "a target with escapes, dot segments, empty segments or foreign bytes in its path";
    case GatewayError::method: return "a method that this endpoint does not serve";
    case GatewayError::query_refused: return "a query at /EWS/Exchange.asmx, which takes none";
    case GatewayError::query_malformed: return "an ActiveSync query that breaks MS-ASHTTP";
    case GatewayError::ambiguous: return "an ActiveSync query that two servers could read in two ways";
    case GatewayError::parameter: return "an ActiveSync query with a parameter that is not known";
    case GatewayError::command: return "an ActiveSync command that is not known";
    case GatewayError::device_missing: return "an ActiveSync command without DeviceId or DeviceType";
    case GatewayError::header_repeated: return "a header field that comes twice, or contradicts the query";
    case GatewayError::header_value: return "a header field with characters that no field may have";
    case GatewayError::headers_too_large: return "header fields beyond the limit";
    case GatewayError::credentials: return "Authorization that is neither well-formed Basic nor Bearer";
    case GatewayError::negotiate_refused:
      return "NTLM or Negotiate from a client; use Basic, OAuth or a client certificate";
    case GatewayError::token: return "a bearer token whose claims cannot be read, or that names no user of ActiveSync";
    case GatewayError::account: return "a user name that names no account";
    case GatewayError::contradiction: return "two accounts in one request";
    case GatewayError::content_type: return "a body that is not of the endpoint's type, or is compressed";
    case GatewayError::envelope: return fmt::format("no SOAP envelope, or broken at byte {}", detail);
    case GatewayError::envelope_too_large: return "a SOAP envelope whose operation does not come within 64 KiB";
    case GatewayError::operation: return "a SOAP body that is no EWS operation, or not that of SOAPAction";
    case GatewayError::soap_header: return "a SOAP header that clients may not send";
    case GatewayError::wbxml: return "a WBXML body whose root is not the command of the query";
    case GatewayError::location: return "a redirect to something that is no endpoint over https";
  }
  return fmt::format("code {}", code);
}

}  // namespace bellhop::proto
