// SPDX-License-Identifier: Apache-2.0
#include "proto/address_policy.h"

#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/url.h"

namespace bellhop::proto {
namespace {

std::unexpected<Error> cidr_fail() {
  return fail(Error{Domain::url, 0, static_cast<uint16_t>(UrlError::bad_cidr), 0});
}

struct Registered {
  Cidr block;
  AddressKind kind;
};

Registered entry(std::string_view block, AddressKind kind) {
  auto cidr = Cidr::parse(block);
  BH_CHECK(cidr.has_value());
  return {*cidr, kind};
}

// The first block that contains the address decides. Metadata services first, because some of them lie in blocks that
// an operator may declare, or in global ones.
const auto& registry() {
  using enum AddressKind;
  static const std::array blocks = {
      entry("169.254.169.254", metadata),  // most clouds
      entry("169.254.170.2", metadata),    // container credentials
      entry("169.254.170.23", metadata),
      entry("169.254.0.23", metadata),
      entry("100.100.100.200", metadata),
      entry("168.63.129.16", metadata),  // a host agent on a public address
      entry("192.0.0.192", metadata),
      entry("fd00:ec2::254", metadata),
      entry("fd00:ec2::23", metadata),
      entry("fd20:ce::254", metadata),

      entry("0.0.0.0/8", unspecified),
      entry("10.0.0.0/8", private_),
      entry("100.64.0.0/10", cgnat),
      entry("127.0.0.0/8", loopback),
      entry("169.254.0.0/16", link_local),
      entry("172.16.0.0/12", private_),
      entry("192.0.0.0/24", reserved),
      entry("192.0.2.0/24", documentation),
      entry("192.31.196.0/24", reserved),
      entry("192.52.193.0/24", reserved),
      entry("192.88.99.0/24", six_to_four),
      entry("192.168.0.0/16", private_),
      entry("192.175.48.0/24", reserved),
      entry("198.18.0.0/15", benchmark),
      entry("198.51.100.0/24", documentation),
      entry("203.0.113.0/24", documentation),
      entry("224.0.0.0/4", multicast),
      entry("240.0.0.0/4", reserved),

      entry("::/128", unspecified),
      entry("::1/128", loopback),
      entry("::/96", v4_mapped),
      entry("::ffff:0:0/96", v4_mapped),
      entry("64:ff9b::/96", nat64),
      entry("64:ff9b:1::/48", nat64),
      entry("2001::/32", teredo),
      entry("2001:2::/48", benchmark),
      entry("2001:db8::/32", documentation),
      entry("2001::/23", reserved),
      entry("2002::/16", six_to_four),
      entry("2620:4f:8000::/48", reserved),
      entry("3fff::/20", documentation),
      entry("fc00::/7", ula),
      entry("fe80::/10", link_local),
      entry("ff00::/8", multicast),
      entry("2000::/3", global),
      entry("::/0", reserved),  // nothing outside 2000::/3 is ordinary unicast
  };
  return blocks;
}

}  // namespace

Result<Cidr> Cidr::parse(std::string_view text) {
  size_t slash = std::min(text.find('/'), text.size());
  auto base = IpAddress::parse(text.substr(0, slash));
  if (!base) return cidr_fail();
  uint64_t bits_max = base->v6 ? 128 : 32;
  uint64_t bits = bits_max;
  if (slash < text.size()) {
    std::string_view digits = text.substr(slash + 1);
    auto number = parse_decimal(digits);
    if (!number || *number > bits_max || (digits.size() > 1 && digits.front() == '0')) return cidr_fail();
    bits = *number;
  }
  Cidr block{*base, static_cast<uint8_t>(bits)};
  for (size_t bit = bits; bit < bits_max; ++bit) {
    if (base->bytes[bit / 8] >> (7 - bit % 8) & 1) return cidr_fail();
  }
  return block;
}

bool Cidr::contains(const IpAddress& address) const {
  if (address.v6 != base.v6) return false;
  size_t whole = prefix_bits / 8;
  if (!std::equal(base.bytes.begin(), base.bytes.begin() + whole, address.bytes.begin())) return false;
  size_t rest = prefix_bits % 8;
  if (rest == 0) return true;
  return (base.bytes[whole] ^ address.bytes[whole]) >> (8 - rest) == 0;
}

std::string Cidr::to_string() const {
  return base.to_string() + "/" + std::to_string(prefix_bits);
}

AddressKind classify(const IpAddress& address) {
  for (const Registered& registered : registry()) {
    if (registered.block.contains(address)) return registered.kind;
  }
  return AddressKind::global;
}

std::string_view address_kind_name(AddressKind kind) {
  switch (kind) {
    case AddressKind::global:
      return "global";
    case AddressKind::unspecified:
      return "unspecified";
    case AddressKind::loopback:
      return "loopback";
    case AddressKind::private_:
      return "private";
    case AddressKind::cgnat:
      return "carrier-grade NAT";
    case AddressKind::link_local:
      return "link-local";
    case AddressKind::metadata:
      return "cloud metadata";
    case AddressKind::ula:
      return "unique local";
    case AddressKind::multicast:
      return "multicast";
    case AddressKind::documentation:
      return "documentation";
    case AddressKind::benchmark:
      return "benchmark";
    case AddressKind::reserved:
      return "reserved";
    case AddressKind::v4_mapped:
      return "IPv4 in IPv6";
    case AddressKind::six_to_four:
      return "6to4";
    case AddressKind::nat64:
      return "NAT64";
    case AddressKind::teredo:
      return "Teredo";
  }
  BH_CHECK(false);
}

Status AddressPolicy::permit(const Cidr& block) {
  if (permitted_.size() >= kBlocksMax) return fail(core_error(CoreError::limit));
  permitted_.push_back(block);
  return {};
}

bool AddressPolicy::allows(const IpAddress& address) const {
  switch (classify(address)) {
    case AddressKind::global:
      return true;
    case AddressKind::loopback:
    case AddressKind::private_:
    case AddressKind::cgnat:
    case AddressKind::ula:
    case AddressKind::documentation:
    case AddressKind::benchmark:
      return std::any_of(permitted_.begin(), permitted_.end(),
                         [&address](const Cidr& block) { return block.contains(address); });
    case AddressKind::unspecified:
    case AddressKind::link_local:
    case AddressKind::metadata:
    case AddressKind::multicast:
    case AddressKind::reserved:
    case AddressKind::v4_mapped:
    case AddressKind::six_to_four:
    case AddressKind::nat64:
    case AddressKind::teredo:
      return false;
  }
  return false;
}

}  // namespace bellhop::proto
