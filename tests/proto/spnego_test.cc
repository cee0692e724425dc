// SPDX-License-Identifier: Apache-2.0
#include "proto/spnego.h"

#include <gtest/gtest.h>

#include <optional>

namespace bellhop::proto {
namespace {

// Reads DER: one element, and what follows it.
struct Element {
  uint8_t tag = 0;
  Bytes content, rest;
};
std::optional<Element> read(Bytes in) {
  if (in.size() < 2) return {};
  size_t length = in[1], head = 2;
  if (length >= 0x80) {
    size_t count = length & 0x7f;
    if (count == 0 || count > 4 || in.size() < 2 + count) return {};
    length = 0;
    for (size_t i = 0; i < count; ++i) length = length << 8 | in[2 + i];
    head += count;
    if (length < 0x80 || (count > 1 && length >> (8 * (count - 1)) == 0)) return {};  // DER: the shortest form
  }
  if (in.size() < head + length) return {};
  return Element{in[0], in.subspan(head, length), in.subspan(head + length)};
}
Bytes inside(Bytes in, uint8_t tag, Bytes* rest = nullptr) {
  auto element = read(in);
  EXPECT_TRUE(element && element->tag == tag) << unsigned(tag);
  if (!element) return {};
  if (rest) {
    *rest = element->rest;
  } else {
    EXPECT_TRUE(element->rest.empty());
  }
  return element->content;
}

TEST(Spnego, WrapsATokenOfAnySize) {
  for (size_t size : {0u, 1u, 60u, 100u, 127u, 128u, 200u, 255u, 256u, 648u, 1556u, 65'000u, 65'535u, 65'536u, 200'000u}) {
    std::vector<uint8_t> token(size);
    for (size_t i = 0; i < size; ++i) token[i] = static_cast<uint8_t>(i * 7);
    std::vector<uint8_t> made = spnego_kerberos_token(token);
    Bytes after_oid, after_mechanisms;
    Bytes application = inside(made, 0x60);
    EXPECT_EQ(to_hex(inside(application, 0x06, &after_oid)), "2b0601050502") << size;
    Bytes fields = inside(inside(after_oid, 0xa0), 0x30);
    Bytes mechanisms = inside(inside(fields, 0xa0, &after_mechanisms), 0x30);
    EXPECT_EQ(to_hex(inside(mechanisms, 0x06)), "2a864886f712010202");
    Bytes carried = inside(inside(after_mechanisms, 0xa2), 0x04);
    EXPECT_TRUE(std::ranges::equal(carried, token)) << size;
  }
}

}  // namespace
}  // namespace bellhop::proto
