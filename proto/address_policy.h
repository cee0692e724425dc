// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/ip.h"

namespace bellhop::proto {

// A block of addresses, "10.0.0.0/8" or "fd00::/8".
struct Cidr {
  IpAddress base;
  uint8_t prefix_bits = 0;

  // UrlError::bad_cidr. Host bits must be zero, so that a typing error shows. A bare address is its own block.
  static Result<Cidr> parse(std::string_view text);
  // An IPv4 block never contains an IPv6 address, mapped ones included.
  bool contains(const IpAddress& address) const;
  std::string to_string() const;
  friend bool operator==(const Cidr&, const Cidr&) = default;
};

// Blocks in a list: one of them or none contains an address.
class AddressBlocks {
 public:
  void add(const Cidr& block) { blocks_.push_back(block); }
  bool contains(const IpAddress& address) const {
    for (const Cidr& block : blocks_) {
      if (block.contains(address)) return true;
    }
    return false;
  }
  bool empty() const { return blocks_.empty(); }

 private:
  std::vector<Cidr> blocks_;
};

// What an address is for (IANA special-purpose registries, RFC 6890 and its successors).
enum class AddressKind : uint8_t {
  global,
  unspecified,  // 0.0.0.0/8, ::
  loopback,
  private_,  // RFC 1918
  cgnat,     // 100.64.0.0/10
  link_local,
  metadata,  // a cloud's instance metadata or credential service
  ula,       // fc00::/7
  multicast,
  documentation,  // 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32, 3fff::/20
  benchmark,      // 198.18.0.0/15, 2001:2::/48
  reserved,       // everything else that is not ordinary unicast
  v4_mapped,      // ::ffff:0:0/96, and the deprecated v4-compatible ::/96
  six_to_four,    // 2002::/16 and 192.88.99.0/24
  nat64,          // 64:ff9b::/96 and 64:ff9b:1::/48
  teredo,         // 2001::/32
};
AddressKind classify(const IpAddress& address);
std::string_view address_kind_name(AddressKind kind);

// Decides which addresses an outbound connection on behalf of a tenant may go to. Ask it for every answer of DNS and
// connect only where all of them are allowed, to the very address that was asked for.
// Global addresses are allowed. Loopback, private, CGNAT, ULA, documentation and benchmark addresses are allowed inside
// a block that the operator declared. Everything else, metadata services first, is refused whatever is declared.
class AddressPolicy {
 public:
  static constexpr size_t kBlocksMax = 256;

  AddressPolicy() = default;
  // CoreError::limit.
  Status permit(const Cidr& block);
  bool allows(const IpAddress& address) const;

 private:
  std::vector<Cidr> permitted_;
};

}  // namespace bellhop::proto
