// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/ip.h"

namespace bellhop::proto {

// Codes of Domain::url. `detail` is the offset of the offending part, where there is one.
enum class UrlError : uint16_t {
  too_long = 1,
  bad_character = 2,  // control, space, backslash, non-ASCII, or another byte outside RFC 3986
  bad_scheme = 3,     // not https
  userinfo = 4,       // user[:password]@
  bad_host = 5,       // empty, escaped, a label that DNS does not permit
  bad_address = 6,    // a number that is no plain dotted quad, a broken or zoned IPv6 literal
  bad_port = 7,       // empty, 0, above 65535, leading zero
  bad_path = 8,       // dot segment, escaped separator or control, broken escape
  fragment = 9,
  bad_pattern = 10,  // an allow-list entry that is neither a host nor *.suffix
  bad_cidr = 11,     // not address/length, or host bits set
};

std::string url_error_text(uint16_t code, uint32_t detail);

// An https URL that a client or a configuration gave us, in one canonical form. Strict subset of RFC 3986: what two
// libraries could read in two ways is an error, never repaired. Where such a URL may be reached is decided by
// HostAllowList and AddressPolicy.
struct Url {
  static constexpr size_t kBytesMax = 2048;

  // UrlError on anything else than https://host[:port][/path][?query].
  static Result<Url> parse(std::string_view text);

  std::string host;             // lower case, no trailing dot; an IPv6 address without brackets, in RFC 5952 form
  std::optional<IpAddress> ip;  // set where the host is an address
  uint16_t port = 443;
  std::string path = "/";
  std::optional<std::string> query;  // without the "?"

  std::string authority() const;  // for Host: brackets as needed, port where it is not 443
  std::string origin() const;     // "https://" authority, for comparison and for bindings
  std::string target() const;     // path and query, for a request line
  std::string to_string() const;
  friend bool operator==(const Url&, const Url&) = default;
};

// Checks and canonicalises a host alone, as Url::parse does: a DNS name (A-labels for IDN), a dotted quad or "[IPv6]".
// `ip` is set where it is an address.
Result<std::string> parse_host(std::string_view text, std::optional<IpAddress>& ip);

// The hosts that a tenant may name. Entries: "mail.example.com", "192.0.2.1", "[2001:db8::1]" or "*.example.com", which
// stands for every name below example.com (any depth), not for itself. A suffix has at least two labels.
class HostAllowList {
 public:
  static constexpr size_t kEntriesMax = 1024;

  // UrlError::bad_pattern; CoreError::limit.
  Status add(std::string_view pattern);
  // `host` as in Url::host. An empty list matches nothing.
  bool matches(std::string_view host) const;
  size_t size() const { return exact_.size() + suffixes_.size(); }

 private:
  std::vector<std::string> exact_;
  std::vector<std::string> suffixes_;  // ".example.com"
};

}  // namespace bellhop::proto
