// SPDX-License-Identifier: Apache-2.0
#include "core/base/ip.h"

#include <arpa/inet.h>

#include <charconv>

#include "core/base/bytes.h"

namespace bellhop {
namespace {

// inet_pton accepts exactly four decimal parts; glibc refuses leading zeros, hex and short forms.
bool convert(int family, std::string_view text, void* out) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof buffer || text.find('\0') != std::string_view::npos) return false;
  text.copy(buffer, text.size());
  buffer[text.size()] = 0;
  return inet_pton(family, buffer, out) == 1;
}

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  IpAddress address;
  if (convert(AF_INET, text, address.bytes.data())) return address;
  address.v6 = true;
  if (convert(AF_INET6, text, address.bytes.data())) return address;
  return std::nullopt;
}

std::string IpAddress::to_string() const {
  char buffer[INET6_ADDRSTRLEN];
  if (v6) {
    inet_ntop(AF_INET6, bytes.data(), buffer, sizeof buffer);
    return buffer;
  }
  char* end = buffer;
  for (int i = 0; i < 4; ++i) {
    if (i > 0) *end++ = '.';
    end = std::to_chars(end, buffer + sizeof buffer, bytes[i]).ptr;
  }
  return std::string(buffer, end);
}

std::optional<SocketAddress> SocketAddress::parse(std::string_view text) {
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  auto port = parse_decimal(text.substr(colon + 1));
  if (!port || *port > 65535 || text.size() - colon > 6) return std::nullopt;
  bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  auto ip = IpAddress::parse(host);
  if (!ip || ip->v6 != bracketed) return std::nullopt;
  return SocketAddress{*ip, static_cast<uint16_t>(*port)};
}

std::string SocketAddress::to_string() const {
  std::string text = ip.v6 ? "[" + ip.to_string() + "]" : ip.to_string();
  return text + ":" + std::to_string(port);
}

}  // namespace bellhop
