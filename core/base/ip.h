// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bellhop {

// An IPv4 or IPv6 address, network byte order; IPv4 uses the first 4 bytes, the others are zero.
struct IpAddress {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};

  friend bool operator==(const IpAddress&, const IpAddress&) = default;

  // Strict: dotted decimal with four parts and no leading zeros, or RFC 4291 text without zone. Nothing on all else.
  static std::optional<IpAddress> parse(std::string_view text);
  std::string to_string() const;  // RFC 5952 for IPv6
};

// An address and a port. Text form "192.0.2.1:443" or "[2001:db8::1]:443".
struct SocketAddress {
  IpAddress ip;
  uint16_t port = 0;

  friend bool operator==(const SocketAddress&, const SocketAddress&) = default;
  static std::optional<SocketAddress> parse(std::string_view text);
  std::string to_string() const;
};

}  // namespace bellhop
