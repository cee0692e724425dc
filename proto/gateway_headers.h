// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "proto/account.h"
#include "proto/activesync.h"
#include "proto/gateway_target.h"
#include "proto/http.h"

namespace bellhop::proto {

// Which fields of requests and answers pass the gateway: those that a list names, with values checked anew. Everything
// else stays out, among it all that routes (X-Original-URL, X-Forwarded-*, X-BEResource, method overrides), that one hop
// means (RFC 9110 section 7.6.1, and what Connection names), and that tells how to come past the gateway (Alt-Svc).
//
// Not copied, since they are the caller's to write: Host, Authorization, Cookie and Set-Cookie (crypto/cookie_jar.h),
// Content-Length and Transfer-Encoding, Location and X-MS-Location, Expect, X-Forwarded-For.

struct GatewayRequest {
  GatewayEndpoint endpoint = GatewayEndpoint::ews;
  const ActiveSyncQuery* query = nullptr;  // with activesync
  const AccountNames* names = nullptr;
  const Account* account = nullptr;  // who asks, where that is known
  bool impersonates = false;         // may act for others: X-AnchorMailbox may name any mailbox
  bool has_content = true;           // else what describes content describes nothing, and stays out
};
// Errors: header_repeated; header_value; headers_too_large (`out` is full).
Status copy_request_headers(const GatewayRequest& request, const HeaderBlock& in, HeaderBlock& out);

// Offers of NTLM and Negotiate leave WWW-Authenticate; Basic and Bearer stay. A field with a character that no field may
// have stays out. Errors: headers_too_large.
Status copy_response_headers(GatewayEndpoint endpoint, const HeaderBlock& in, HeaderBlock& out);

// One value of WWW-Authenticate without the challenges of other schemes than Basic and Bearer; nothing where none is left.
std::optional<std::string> filter_challenges(std::string_view value);

// EWS bodies are XML in UTF-8, not compressed. Errors: content_type.
Status check_ews_content(const HeaderBlock& headers);
// ActiveSync bodies are WBXML, MIME or absent, not compressed. Errors: content_type.
Status check_activesync_content(const HeaderBlock& headers);
// SOAPAction, where it is there (SOAP 1.2: the parameter "action" of Content-Type), names the operation of the body.
// Errors: operation; header_repeated.
Status check_soap_action(const HeaderBlock& headers, std::string_view operation);

// A redirect of Exchange, 451 with X-MS-Location or 302 with Location, as what the gateway may do about it: another origin
// for the same endpoint. The query that such a URL may carry is dropped: the request keeps its own. Errors: location.
struct GatewayRedirect {
  std::string host;  // as Url::host
  uint16_t port = 443;
  friend bool operator==(const GatewayRedirect&, const GatewayRedirect&) = default;
};
Result<GatewayRedirect> read_redirect(GatewayEndpoint endpoint, std::string_view location);

}  // namespace bellhop::proto
