// SPDX-License-Identifier: Apache-2.0
#include "proto/url.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "proto/target.h"

namespace bellhop::proto {
namespace {

constexpr size_t kHostBytesMax = 253;  // RFC 1035 section 2.3.4, without the root's dot
constexpr size_t kLabelBytesMax = 63;
constexpr size_t kSuffixLabelsMin = 2;

std::unexpected<Error> url_fail(UrlError code, size_t offset = 0) {
  return fail(Error{Domain::url, 0, static_cast<uint16_t>(code), static_cast<uint32_t>(offset)});
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return c >= 'a' && c <= 'z';
}

bool is_label(std::string_view label) {
  if (label.empty() || label.size() > kLabelBytesMax || label.front() == '-' || label.back() == '-') return false;
  if (label == "xn--" || label.starts_with("xn---")) return false;
  return std::all_of(label.begin(), label.end(), [](char c) { return is_letter(c) || is_digit(c) || c == '-'; });
}

// Some readers take such a last label, and so the whole host, for a number: "1", "0x7f", "0177".
bool reads_as_number(std::string_view label) {
  if (std::all_of(label.begin(), label.end(), is_digit)) return true;
  if (!label.starts_with("0x")) return false;
  return label.find_first_not_of("0123456789abcdef", 2) == std::string_view::npos;
}

// A DNS name in lower case without trailing dot.
bool is_dns_name(std::string_view name) {
  if (name.empty() || name.size() > kHostBytesMax) return false;
  for (size_t at = 0;;) {
    size_t end = std::min(name.find('.', at), name.size());
    if (!is_label(name.substr(at, end - at))) return false;
    if (end == name.size()) return true;
    at = end + 1;
  }
}

Result<uint16_t> parse_port(std::string_view text, size_t offset) {
  auto number = parse_decimal(text);
  if (!number || *number == 0 || *number > 65535 || text.front() == '0') return url_fail(UrlError::bad_port, offset);
  return static_cast<uint16_t>(*number);
}

// A path that two servers could read in two ways has no business here: escaped separators, escaped controls, dot
// segments in any spelling.
bool is_plain_path(std::string_view path) {
  for (size_t at = 0; at < path.size();) {
    size_t end = std::min(path.find('/', at), path.size());
    auto segment = percent_decode(path.substr(at, end - at));
    if (!segment || *segment == "." || *segment == ".." || segment->starts_with("..;") || segment->starts_with(".;")) {
      return false;
    }
    for (char c : *segment) {
      if (c == '/' || c == '\\' || static_cast<uint8_t>(c) < 0x20 || c == 0x7f) return false;
    }
    at = end + 1;
  }
  return true;
}

bool has_escaped_control(std::string_view query) {
  auto text = percent_decode(query);
  return !text || std::any_of(text->begin(), text->end(), [](char c) { return static_cast<uint8_t>(c) < 0x20; });
}

struct Authority {
  std::string_view host;
  std::optional<std::string_view> port;
};

// Cuts host and port. A colon outside brackets starts the port.
Result<Authority> cut_authority(std::string_view text, size_t offset) {
  if (text.find('@') != std::string_view::npos) return url_fail(UrlError::userinfo, offset);
  size_t end = std::min(text.find(':'), text.size());
  if (text.starts_with('[')) {
    size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return url_fail(UrlError::bad_address, offset);
    end = bracket + 1;
    if (end < text.size() && text[end] != ':') return url_fail(UrlError::bad_host, offset + end);
  }
  Authority authority{text.substr(0, end), std::nullopt};
  if (end < text.size()) authority.port = text.substr(end + 1);
  return authority;
}

}  // namespace

std::string url_error_text(uint16_t code, uint32_t detail) {
  std::string at = detail == 0 ? "" : " at byte " + std::to_string(detail);
  switch (static_cast<UrlError>(code)) {
    case UrlError::too_long:
      return "longer than " + std::to_string(Url::kBytesMax) + " bytes";
    case UrlError::bad_character:
      return "a character that is not permitted" + at;
    case UrlError::bad_scheme:
      return "does not begin with https://";
    case UrlError::userinfo:
      return "user information before the host" + at;
    case UrlError::bad_host:
      return "bad host name" + at;
    case UrlError::bad_address:
      return "bad IP address" + at;
    case UrlError::bad_port:
      return "bad port" + at;
    case UrlError::bad_path:
      return "bad path or query" + at;
    case UrlError::fragment:
      return "a fragment" + at;
    case UrlError::bad_pattern:
      return "neither a host nor *.suffix with at least two labels";
    case UrlError::bad_cidr:
      return "not an address block such as 10.0.0.0/8, host bits zero";
  }
  return "code " + std::to_string(code);
}

Result<std::string> parse_host(std::string_view text, std::optional<IpAddress>& ip) {
  ip.reset();
  if (text.starts_with('[')) {
    if (!text.ends_with(']')) return url_fail(UrlError::bad_address);
    ip = IpAddress::parse(text.substr(1, text.size() - 2));
    if (!ip || !ip->v6) {
      ip.reset();
      return url_fail(UrlError::bad_address);
    }
    return ip->to_string();
  }
  std::string host = ascii_lower(text);
  std::string_view last = std::string_view(host).substr(host.rfind('.') + 1);
  if (!last.empty() && reads_as_number(last)) {
    ip = IpAddress::parse(host);
    if (!ip || ip->v6) {
      ip.reset();
      return url_fail(UrlError::bad_address);
    }
    return host;
  }
  if (host.ends_with('.')) host.pop_back();
  last = std::string_view(host).substr(host.rfind('.') + 1);
  if (!is_dns_name(host)) return url_fail(UrlError::bad_host);
  if (reads_as_number(last)) return url_fail(UrlError::bad_address);  // "127.0.0.1."
  return host;
}

Result<Url> Url::parse(std::string_view text) {
  constexpr std::string_view kScheme = "https://";
  if (text.size() > kBytesMax) return url_fail(UrlError::too_long);
  for (size_t i = 0; i < text.size(); ++i) {
    uint8_t c = static_cast<uint8_t>(text[i]);
    if (c <= 0x20 || c >= 0x7f || c == '\\') return url_fail(UrlError::bad_character, i);
  }
  if (!ascii_equal_ignoring_case(text.substr(0, kScheme.size()), kScheme)) return url_fail(UrlError::bad_scheme);
  if (size_t mark = text.find('#'); mark != std::string_view::npos) return url_fail(UrlError::fragment, mark);

  size_t path_at = std::min(text.find_first_of("/?", kScheme.size()), text.size());
  BH_TRY(Authority authority, cut_authority(text.substr(kScheme.size(), path_at - kScheme.size()), kScheme.size()));
  Url url;
  auto host = parse_host(authority.host, url.ip);
  if (!host) return url_fail(static_cast<UrlError>(host.error().code), kScheme.size());
  url.host = std::move(*host);
  if (authority.port) {
    size_t port_at = static_cast<size_t>(authority.port->data() - text.data());
    BH_TRY(url.port, parse_port(*authority.port, port_at));
  }
  TargetParts parts = split_target(text.substr(path_at));
  if (!is_path_and_query(text.substr(path_at)) || !is_plain_path(parts.path))
    return url_fail(UrlError::bad_path, path_at);
  if (!parts.path.empty()) url.path = parts.path;
  if (parts.query) {
    if (has_escaped_control(*parts.query)) return url_fail(UrlError::bad_path, path_at + parts.path.size());
    url.query = std::string(*parts.query);
  }
  return url;
}

std::string Url::authority() const {
  std::string text = ip && ip->v6 ? "[" + host + "]" : host;
  if (port != 443) text += ":" + std::to_string(port);
  return text;
}

std::string Url::origin() const {
  return "https://" + authority();
}

std::string Url::target() const {
  return query ? path + "?" + *query : path;
}

std::string Url::to_string() const {
  return origin() + target();
}

Status HostAllowList::add(std::string_view pattern) {
  if (size() >= kEntriesMax) return fail(core_error(CoreError::limit));
  bool suffix = pattern.starts_with("*.");
  std::optional<IpAddress> ip;
  auto host = parse_host(suffix ? pattern.substr(2) : pattern, ip);
  if (!host || (suffix && ip)) return url_fail(UrlError::bad_pattern);
  if (!suffix) {
    exact_.push_back(std::move(*host));
    return {};
  }
  size_t labels = 1 + static_cast<size_t>(std::count(host->begin(), host->end(), '.'));
  if (labels < kSuffixLabelsMin) return url_fail(UrlError::bad_pattern);
  suffixes_.push_back("." + *host);
  return {};
}

bool HostAllowList::matches(std::string_view host) const {
  if (std::find(exact_.begin(), exact_.end(), host) != exact_.end()) return true;
  return std::any_of(suffixes_.begin(), suffixes_.end(), [host](const std::string& suffix) {
    return host.size() > suffix.size() && host.ends_with(suffix);
  });
}

}  // namespace bellhop::proto
