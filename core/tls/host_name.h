// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace bellhop {

// True for 1 to 253 letters, digits, '-' and '_' in labels of 1 to 63 (RFC 1123 section 2.1 plus the underscore that
// internal names carry), not all of digits and dots. No trailing dot.
bool valid_dns_name(std::string_view name);
// True for an IPv4 dotted quad or an IPv6 address in text form, without brackets or zone.
bool valid_ip_literal(std::string_view text);

}  // namespace bellhop
