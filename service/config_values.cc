// SPDX-License-Identifier: Apache-2.0
// Reading and checking of single values.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/bytes.h"
#include "proto/ews.h"
#include "proto/ews_operations.h"
#include "proto/url.h"
#include "service/config_table.h"
#include "service/policy_rules.h"

namespace bellhop::service {
namespace {

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// inet_pton, which accepts the strict forms only: four decimal parts, or RFC 4291 text.
bool read_address(std::string_view text, bool v6, uint8_t (&out)[16]) {
  char zero_ended[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof zero_ended) return false;
  std::memcpy(zero_ended, text.data(), text.size());
  zero_ended[text.size()] = 0;
  return inet_pton(v6 ? AF_INET6 : AF_INET, zero_ended, out) == 1;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  // Damerau-Levenshtein, restricted: rows of the last two prefixes of `a` are kept.
  std::vector<size_t> before_last(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t change = last[j - 1] + (a[i - 1] != b[j - 1]);
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        now[j] = std::min(now[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace

bool is_ip_address(std::string_view host) {
  uint8_t address[16];
  return read_address(host, false, address) || read_address(host, true, address);
}

bool is_loopback_address(std::string_view host) {
  uint8_t address[16] = {};
  if (read_address(host, false, address)) return address[0] == 127;
  const uint8_t loopback[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return read_address(host, true, address) && std::memcmp(address, loopback, 16) == 0;
}

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  size_t label = 0;
  bool label_is_number = true;
  for (size_t i = 0; i <= host.size(); ++i) {
    if (i < host.size() && host[i] != '.') {
      if (!is_lower_alnum(host[i]) && host[i] != '-') return false;
      if (!is_digit(host[i])) label_is_number = false;
      ++label;
      continue;
    }
    if (label == 0 || label > 63 || host[i - 1] == '-' || host[i - label] == '-') return false;
    if (i == host.size()) break;
    label = 0;
    label_is_number = true;
  }
  bool hexadecimal = host.substr(host.size() - label).starts_with("0x");
  return !label_is_number && !hexadecimal;
}

std::optional<HostPort> parse_host_port(std::string_view text, PortRange range) {
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view port_text = text.substr(colon + 1);
  auto port = parse_decimal(port_text);
  if (!port || *port > 65535 || (*port == 0 && range == PortRange::from_1)) return std::nullopt;
  if (port_text.size() > 1 && port_text.front() == '0') return std::nullopt;
  std::string host = ascii_lower(text.substr(0, colon));
  uint8_t address[16];
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return std::nullopt;
    host = host.substr(1, host.size() - 2);
    if (!read_address(host, true, address)) return std::nullopt;
  } else if (!read_address(host, false, address) && !is_host_name(host)) {
    return std::nullopt;
  }
  return HostPort{host, static_cast<uint16_t>(*port)};
}

std::string to_text(const HostPort& address) {
  bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", address.host, address.port) : fmt::format("{}:{}", address.host, address.port);
}

std::optional<Cidr> parse_cidr(std::string_view text) {
  size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  Cidr cidr;
  cidr.v6 = text.find(':') != std::string_view::npos;
  auto bits = parse_decimal(text.substr(slash + 1));
  if (!bits || *bits > (cidr.v6 ? 128u : 32u)) return std::nullopt;
  if (!read_address(text.substr(0, slash), cidr.v6, cidr.address)) return std::nullopt;
  cidr.bits = static_cast<uint8_t>(*bits);
  for (size_t bit = cidr.bits; bit < (cidr.v6 ? 128u : 32u); ++bit) {
    if (cidr.address[bit / 8] & (0x80 >> bit % 8)) return std::nullopt;
  }
  return cidr;
}

std::string to_text(const Cidr& cidr) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(cidr.v6 ? AF_INET6 : AF_INET, cidr.address, text, sizeof text);
  return fmt::format("{}/{}", text, cidr.bits);
}

std::optional<ProxyConfig> parse_proxy_url(std::string_view text) {
  ProxyConfig proxy;
  proxy.tls = text.starts_with("https://");
  if (!proxy.tls && !text.starts_with("http://")) return std::nullopt;
  auto address = parse_host_port(text.substr(proxy.tls ? 8 : 7));
  if (!address) return std::nullopt;
  proxy.address = *address;
  return proxy;
}

std::optional<HostPort> parse_gateway_upstream(std::string_view text) {
  if (!text.starts_with("https://")) return std::nullopt;
  std::string_view rest = text.substr(8);
  bool has_port = !rest.ends_with(']') && rest.find(':') != std::string_view::npos;
  if (ascii_lower(rest) != rest) return std::nullopt;
  return has_port ? parse_host_port(rest) : parse_host_port(std::string(rest) + ":443");
}

std::string_view refuse_public_url(std::string_view text) {
  if (!text.starts_with("https://")) return "must begin with \"https://\"";
  if (text.size() > 500) return "must have at most 500 characters, so that callback URLs fit into Exchange's limit";
  std::string_view rest = text.substr(8);
  std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) return "must not hold a user name";
  if (rest.size() != authority.size()) return "must end after the host and port: no path, query or slash";
  bool has_port = !authority.ends_with(']') && authority.find(':') != std::string_view::npos;
  if (!parse_host_port(has_port ? std::string(authority) : std::string(authority) + ":443")) {
    return "must name a host that Exchange can reach, and optionally a port";
  }
  if (ascii_lower(authority) != authority) return "must be in lower case";
  return "";
}

std::string_view refuse_header_value(std::string_view text) {
  if (text.empty() || text.size() > 256) return "must have 1 to 256 characters";
  bool visible = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!visible) return "must hold printable ASCII characters only";
  if (text.front() == ' ' || text.back() == ' ') return "must not begin or end with a space";
  return "";
}

std::string_view refuse_server_version(std::string_view text) {
  if (proto::parse_exchange_version(text)) return "";
  return "must be a RequestServerVersion of EWS";
}

std::string_view refuse_tenant_id(std::string_view text) {
  if (text.empty() || text.size() > 32) return "must have 1 to 32 characters";
  bool plain = std::all_of(text.begin(), text.end(), [](char c) { return is_lower_alnum(c) || c == '-'; });
  if (!plain || text.front() == '-' || text.back() == '-') {
    return "must hold lower-case letters, digits and inner hyphens only";
  }
  return "";
}

std::string_view refuse_tenant_name(std::string_view text) {
  if (text.empty() || text.size() > 128) return "must have 1 to 128 bytes";
  bool clean = std::none_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; });
  return clean ? "" : "must not hold control characters";
}

std::string_view refuse_ews_host(std::string_view text) {
  std::string_view name = text.starts_with("*.") ? text.substr(2) : text;
  if (is_ip_address(text)) return "must be a name, not an address: certificates are checked against it";
  if (text.find_first_of("/:@") != std::string_view::npos) return "must be a host name without scheme, port or path";
  if (ascii_lower(text) != text) return "must be in lower case";
  if (name.find('*') != std::string_view::npos) return "may have a \"*\" only as its whole first label";
  if (!is_host_name(name)) return "must be a host name: labels of letters, digits and inner hyphens, the last no number";
  if (name.size() != text.size() && name.find('.') == std::string_view::npos) {
    return "must have at least two labels after \"*.\"";
  }
  return "";
}

std::string_view refuse_upstream_host(std::string_view text) { return text == "*" ? "" : refuse_ews_host(text); }

std::string_view refuse_spki_pin(std::string_view text) {
  bool prefixed = text.starts_with("sha256/");
  auto bytes = prefixed ? from_base64(text.substr(7)) : std::nullopt;
  return bytes && bytes->size() == 32 ? "" : "must be \"sha256/\" and the base64 of 32 bytes";
}

std::string_view refuse_proxy_name(std::string_view text) {
  bool good = !text.empty() && text.size() <= 64 &&
              std::all_of(text.begin(), text.end(), [](char c) { return is_lower_alnum(c) || c == '-' || c == '_'; });
  return good ? "" : "must be 1 to 64 lower-case letters, digits, hyphens and underscores";
}

std::string_view refuse_proxy_reference(std::string_view text) {
  bool good = parse_proxy_url(text) || refuse_proxy_name(text).empty();
  return good ? "" : "must be the name of a [[proxy]], or \"http://\" with host and port";
}

std::string_view refuse_username(std::string_view text) {
  if (text.find(':') != std::string_view::npos) return "must not hold a colon";  // RFC 7617 section 2
  if (text.size() > 255) return "must have at most 255 characters";
  return refuse_header_value(text);
}

std::string_view refuse_role(std::string_view text) {
  return text == kRolePublic || text == kRoleGateway ? "" : "must be \"public\" or \"gateway\"";
}

std::string_view refuse_gateway_upstream(std::string_view text) {
  if (!text.starts_with("https://")) return "must begin with \"https://\": credentials never travel without TLS";
  return parse_gateway_upstream(text) ? "" : "must be \"https://\" with a host in lower case, and perhaps a port; no path";
}

std::string_view refuse_domain(std::string_view text) {
  if (ascii_lower(text) != text) return "must be in lower case";
  return is_host_name(text) ? "" : "must be a domain: labels of letters, digits and inner hyphens";
}

std::string_view refuse_netbios_name(std::string_view text) {
  bool good = !text.empty() && text.size() <= 15 && std::all_of(text.begin(), text.end(), [](char c) {
    return is_lower_alnum(ascii_lower(c)) || c == '-' || c == '_';
  });
  return good ? "" : "must be 1 to 15 letters, digits, hyphens and underscores";
}

std::string_view refuse_user_agent_pattern(std::string_view text) {
  size_t star = text.find('*');
  if (text.empty() || text.size() > 128) return "must have 1 to 128 characters";
  if (star != std::string_view::npos && star + 1 != text.size()) return "may have a \"*\" only at its end";
  return refuse_header_value(text);
}

std::string_view refuse_ews_operation(std::string_view text) {
  bool known = proto::is_ews_operation(text) || proto::ews_operation_group_of_name(text);
  return known ? "" : "must be an operation of EWS, such as \"GetItem\", or a group: notification, read, write, sensitive, bulk";
}

namespace {

bool is_realm(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return is_lower_alnum(ascii_lower(c)) || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

std::string_view refuse_principal(std::string_view text) {
  size_t at = text.rfind('@');
  bool good = at != std::string_view::npos && at > 0 && at <= 256 && is_realm(text.substr(at + 1)) &&
              std::all_of(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), [](char c) {
                return is_lower_alnum(ascii_lower(c)) || c == '-' || c == '.' || c == '_' || c == '/' || c == '$';
              });
  return good ? "" : "must be an account, \"@\" and its realm";
}

std::string_view refuse_kdc(std::string_view text) {
  size_t sign = text.find('=');
  constexpr std::string_view kForm = "must be a realm, \"=\" and a host, perhaps with a port";
  if (sign == std::string_view::npos || !is_realm(text.substr(0, sign))) return kForm;
  std::string_view server = text.substr(sign + 1);
  bool good = is_ip_address(server) || is_host_name(server) || parse_host_port(server);
  return good ? "" : kForm;
}

std::string_view refuse_realm_of_domain(std::string_view text) {
  size_t sign = text.find('=');
  bool good = sign != std::string_view::npos && refuse_domain(text.substr(0, sign)).empty() && is_realm(text.substr(sign + 1));
  return good ? "" : "must be a domain in lower case, \"=\" and its realm";
}

std::string_view refuse_service_principal(std::string_view text) {
  size_t slash = text.find('/');
  bool good = slash != std::string_view::npos && slash > 0 && slash + 1 < text.size() && text.size() <= 256 &&
              std::all_of(text.begin(), text.end(), [](char c) { return is_lower_alnum(ascii_lower(c)) || c == '-' || c == '.' || c == '/' || c == '@' || c == ':'; });
  return good ? "" : "must be a service and a host, and perhaps a realm";
}

std::string_view refuse_account(std::string_view text) {
  size_t at = text.find('@');
  bool good = at != std::string_view::npos && at > 0 && text.size() <= 256 && is_host_name(text.substr(at + 1)) &&
              std::none_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) <= 0x20 || c == 0x7f || c == '\\'; });
  return good ? "" : "must be user@domain, with the domain in lower case";
}

std::string_view refuse_decision_point(std::string_view text) {
  for (size_t i = 0; i < kDecisionPoints; ++i) {
    if (text == name_of(static_cast<DecisionPoint>(i))) return "";
  }
  return "must be registration, subscription, callback, push, ews or activesync";
}

std::string_view refuse_source_url(std::string_view text) {
  Result<proto::Url> url = proto::Url::parse(text);
  return url && !url->query ? "" : "must be https:// with a host and a path, and without a query";
}

std::string_view refuse_text_pattern(std::string_view text) {
  if (text.starts_with('!')) text.remove_prefix(1);
  if (text.empty() || text.size() > 128) return "must have 1 to 128 bytes";
  bool clean = std::none_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; });
  return clean ? "" : "must not hold control characters";
}

std::string_view refuse_user_pattern(std::string_view text) {
  if (text.starts_with('!')) text.remove_prefix(1);
  size_t at = text.find('@');
  bool whole = at != text.npos && at > 0 && at + 1 < text.size() && text.rfind('@') == at && text.size() <= 320;
  if (!whole || text.find('*') != text.npos) return "must be a whole address: users are known by their hashes";
  bool folded = std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<uint8_t>(c) <= 0x20 || c == 0x7f || (c >= 'A' && c <= 'Z');
  });
  return folded ? "" : "must be in lower case, without spaces";
}

std::string_view refuse_version(std::string_view text) {
  bool plain = std::all_of(text.begin(), text.end(), [](char c) { return is_digit(c) || c == '.'; });
  if (!plain || text.empty() || text.size() > 32 || !is_digit(text.front()) || !is_digit(text.back()) ||
      text.find("..") != text.npos) {
    return "must be numbers with dots between them";
  }
  return "";
}

std::string_view refuse_topic(std::string_view text) {
  bool plain = std::all_of(text.begin(), text.end(),
                           [](char c) { return is_lower_alnum(ascii_lower(c)) || c == '-' || c == '.'; });
  if (!plain || text.empty() || text.size() > 155 || text.front() == '.' || text.back() == '.' ||
      text.find('.') == std::string_view::npos || text.find("..") != std::string_view::npos) {
    return "must be a bundle id";
  }
  return "";
}

std::string_view refuse_apple_id(std::string_view text) {
  bool plain = std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'A' && c <= 'Z') || is_digit(c); });
  return plain && text.size() == 10 ? "" : "must be 10 capital letters or digits";
}

std::optional<std::string_view> closest_word(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > 64) return std::nullopt;
  std::string lower = ascii_lower(word);
  std::optional<std::string_view> closest;
  size_t closest_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (std::string_view candidate : candidates) {
    size_t distance = edit_distance(lower, ascii_lower(candidate));
    if (distance < closest_distance) {
      closest = candidate;
      closest_distance = distance;
    }
  }
  if (closest) return closest;
  // A word that only lacks its unit or bound, or its beginning: "idle_timeout" for "idle_timeout_ms".
  for (std::string_view candidate : candidates) {
    bool part = lower.size() >= 4 && (candidate.starts_with(lower) || candidate.ends_with(lower));
    if (part) return candidate;
  }
  return std::nullopt;
}

}  // namespace bellhop::service
