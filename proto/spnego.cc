// SPDX-License-Identifier: Apache-2.0
#include "proto/spnego.h"

#include <iterator>

namespace bellhop::proto {
namespace {

constexpr uint8_t kSpnego[] = {0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02};  // 1.3.6.1.5.5.2
constexpr uint8_t kKerberos[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};  // 1.2.840.113554.1.2.2
constexpr uint8_t kApplication0 = 0x60, kContext0 = 0xa0, kContext2 = 0xa2, kSequence = 0x30, kOctets = 0x04;

size_t size_of_length(size_t length) {
  size_t size = 1;
  if (length >= 0x80) {
    for (; length > 0; length >>= 8) ++size;
  }
  return size;
}

size_t size_of(size_t content) { return 1 + size_of_length(content) + content; }

void put_head(std::vector<uint8_t>& out, uint8_t tag, size_t content) {
  out.push_back(tag);
  size_t size = size_of_length(content);
  if (size > 1) out.push_back(static_cast<uint8_t>(0x80 | (size - 1)));
  for (size_t left = size > 1 ? size - 1 : 1; left > 0; --left) {
    out.push_back(static_cast<uint8_t>(content >> (8 * (left - 1))));
  }
}

}  // namespace

std::vector<uint8_t> spnego_kerberos_token(Bytes token) {
  // Lengths from the inside out, then the bytes once.
  const size_t mechanisms = size_of(std::size(kKerberos));  // SEQUENCE OF MechType
  const size_t octets = size_of(token.size());
  const size_t fields = size_of(mechanisms) + size_of(octets);
  const size_t choice = size_of(fields);
  const size_t all = std::size(kSpnego) + size_of(choice);
  std::vector<uint8_t> out;
  out.reserve(size_of(all));
  put_head(out, kApplication0, all);
  out.insert(out.end(), std::begin(kSpnego), std::end(kSpnego));
  put_head(out, kContext0, choice);
  put_head(out, kSequence, fields);
  put_head(out, kContext0, mechanisms);
  put_head(out, kSequence, std::size(kKerberos));
  out.insert(out.end(), std::begin(kKerberos), std::end(kKerberos));
  put_head(out, kContext2, octets);
  put_head(out, kOctets, token.size());
  out.insert(out.end(), token.begin(), token.end());
  return out;
}

}  // namespace bellhop::proto
