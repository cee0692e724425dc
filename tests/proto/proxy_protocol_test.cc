// SPDX-License-Identifier: Apache-2.0
#include "proto/proxy_protocol.h"

#include <gtest/gtest.h>

#include <string>

#include "proto/http_error.h"

namespace bellhop::proto {
namespace {

using Header = std::vector<uint8_t>;

SocketAddress at(std::string_view ip, uint16_t port) { return {*IpAddress::parse(ip), port}; }

Header header(uint8_t command, uint8_t family, std::string_view payload_hex) {
  auto payload = *from_hex(payload_hex);
  Header out = *from_hex("0d0a0d0a000d0a515549540a");
  out.push_back(static_cast<uint8_t>(0x20 | command));
  out.push_back(family);
  out.push_back(static_cast<uint8_t>(payload.size() >> 8));
  out.push_back(static_cast<uint8_t>(payload.size()));
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}
// 192.0.2.1:1025 to 198.51.100.2:443.
constexpr std::string_view kAddresses4 = "c0000201c6336402040101bb";
// [2001:db8::1]:1025 to [2001:db8::2]:443.
constexpr std::string_view kAddresses6 =
    "20010db800000000000000000000000120010db8000000000000000000000002040101bb";

// What comes of a header, read in pieces of `piece` bytes with the bytes of something else behind it.
struct Outcome {
  bool complete = false;
  size_t consumed = 0;
  ProxyHeader header;
  Error error;
};
Outcome read(Bytes bytes, size_t piece) {
  Outcome outcome;
  ProxyHeaderParser parser;
  while (!outcome.complete && outcome.consumed < bytes.size()) {
    size_t size = std::min(piece, bytes.size() - outcome.consumed);
    auto step = parser.feed(bytes.subspan(outcome.consumed, size));
    if (!step) {
      outcome.error = step.error();
      EXPECT_EQ(parser.feed(bytes).error(), step.error()) << "an error stays";
      return outcome;
    }
    outcome.consumed += step->consumed;
    outcome.complete = step->complete;
  }
  outcome.header = parser.header();
  return outcome;
}

// The same however it is cut; bytes behind it are left alone.
Outcome read_all_ways(const Header& bytes) {
  Outcome whole = read(bytes, bytes.size() + 1);
  for (size_t piece : {1, 2, 3, 11, 16, 17}) {
    Outcome cut = read(bytes, piece);
    EXPECT_EQ(cut.error, whole.error) << piece;
    EXPECT_EQ(cut.complete, whole.complete) << piece;
    EXPECT_EQ(cut.header.proxied, whole.header.proxied);
    EXPECT_EQ(cut.header.source, whole.header.source);
  }
  if (whole.complete) {
    Header more = bytes;
    more.insert(more.end(), {0x16, 0x03, 0x01});
    for (size_t piece : {size_t{1}, more.size()}) EXPECT_EQ(read(more, piece).consumed, bytes.size());
  }
  return whole;
}

TEST(ProxyProtocol, TellsTheClientOfTcpOverIpv4AndIpv6) {
  Outcome v4 = read_all_ways(header(1, 0x11, kAddresses4));
  ASSERT_TRUE(v4.complete);
  EXPECT_TRUE(v4.header.proxied);
  EXPECT_EQ(v4.header.source, at("192.0.2.1", 1025));
  EXPECT_EQ(v4.header.destination, at("198.51.100.2", 443));
  Outcome v6 = read_all_ways(header(1, 0x21, kAddresses6));
  ASSERT_TRUE(v6.complete);
  EXPECT_EQ(v6.header.source, at("2001:db8::1", 1025));
  EXPECT_EQ(v6.header.destination, at("2001:db8::2", 443));
}

TEST(ProxyProtocol, TakesAnIpv4AddressOutOfAnIpv6One) {
  Outcome mapped = read_all_ways(header(1, 0x21, "00000000000000000000ffffc000020100000000000000000000ffffc6336402040101bb"));
  ASSERT_TRUE(mapped.complete);
  EXPECT_EQ(mapped.header.source, at("192.0.2.1", 1025));
}

TEST(ProxyProtocol, ConnectionsThatAreTheBalancersOwnNameNobody) {
  for (const Header& own : {header(0, 0x00, ""),                       // LOCAL
                            header(0, 0x11, kAddresses4),              // LOCAL: addresses are to be skipped
                            header(0, 0x00, "ff"),                     // LOCAL: whatever follows
                            header(1, 0x00, "0102030405"),             // UNSPEC
                            header(1, 0x12, kAddresses4),              // datagrams
                            header(1, 0x31, std::string(432, '0'))}) {  // unix sockets
    Outcome outcome = read_all_ways(own);
    EXPECT_TRUE(outcome.complete) << to_hex(own);
    EXPECT_FALSE(outcome.header.proxied) << to_hex(own);
  }
}

TEST(ProxyProtocol, SkipsTlvsAndKnowsTheirForm) {
  std::string addresses(kAddresses4);
  EXPECT_TRUE(read_all_ways(header(1, 0x11, addresses + "040000" + "ea0003aabbcc")).complete);  // NOOP, and one of a cloud's
  for (std::string_view bad : {"ea", "ea00", "ea0001", "ea0002aa", "ea0000ff"}) {
    Outcome outcome = read_all_ways(header(1, 0x11, addresses + std::string(bad)));
    EXPECT_EQ(outcome.error.code, static_cast<uint16_t>(HttpError::proxy_header_malformed)) << bad;
  }
}

TEST(ProxyProtocol, ChecksTheChecksumWhereItIsSent) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  ProxyHeader sent{.proxied = true, .source = at("203.0.113.9", 50000), .destination = at("192.0.2.1", 443)};
  Header good = write_proxy_header(sent, true);
  Outcome outcome = read_all_ways(good);
  ASSERT_TRUE(outcome.complete);
  EXPECT_EQ(outcome.header.source, sent.source);
  for (size_t i = 16; i < good.size(); ++i) {
    if (i >= 28 && i < 31) continue;  // the TLV's type and length: no checksum then, or no form
    Header bad = good;
    bad[i] ^= 0x40;
    EXPECT_EQ(read_all_ways(bad).error, http_error(HttpError::proxy_header_checksum)) << i;
  }
  // Twice, or of another size.
  std::string addresses(kAddresses4);
  EXPECT_FALSE(read_all_ways(header(1, 0x11, addresses + "0300020000")).complete);
}

TEST(ProxyProtocol, RefusesWhatIsNoHeaderAtItsFirstWrongByte) {
  Header tls = *from_hex("160301020001000001fc0303");
  EXPECT_EQ(read_all_ways(tls).error, http_error(HttpError::proxy_header_missing));
  ProxyHeaderParser parser;
  EXPECT_FALSE(parser.feed(Bytes(tls).first(1)));
  std::string text = "PROXY TCP4 192.0.2.1 198.51.100.2 1025 443\r\n";
  EXPECT_EQ(read_all_ways(Header(text.begin(), text.end())).error, http_error(HttpError::proxy_header_version1));
  Header good = header(1, 0x11, kAddresses4);
  for (size_t i = 1; i < 12; ++i) {
    Header bad = good;
    bad[i] ^= 1;
    EXPECT_EQ(read_all_ways(bad).error, http_error(HttpError::proxy_header_missing)) << i;
  }
}

TEST(ProxyProtocol, RefusesOtherVersionsCommandsFamiliesAndLengths) {
  auto code_of = [](const Header& bytes) { return static_cast<HttpError>(read_all_ways(bytes).error.code); };
  Header version1 = header(1, 0x11, kAddresses4), version3 = version1;
  version1[12] = 0x11;
  version3[12] = 0x31;
  EXPECT_EQ(code_of(version1), HttpError::proxy_header_malformed);
  EXPECT_EQ(code_of(version3), HttpError::proxy_header_malformed);
  EXPECT_EQ(code_of(header(2, 0x11, kAddresses4)), HttpError::proxy_header_malformed);
  EXPECT_EQ(code_of(header(1, 0x41, kAddresses4)), HttpError::proxy_header_malformed);
  EXPECT_EQ(code_of(header(1, 0x13, kAddresses4)), HttpError::proxy_header_malformed);
  EXPECT_EQ(code_of(header(1, 0x11, "c0000201c6336402040101")), HttpError::proxy_header_malformed);
  EXPECT_EQ(code_of(header(1, 0x21, kAddresses4)), HttpError::proxy_header_malformed);
  EXPECT_EQ(code_of(header(1, 0x11, "")), HttpError::proxy_header_malformed);
}

TEST(ProxyProtocol, BoundsTheHeaderBeforeItIsRead) {
  size_t most = ProxyHeaderParser::kBytesMax - ProxyHeaderParser::kFixedBytes;
  EXPECT_TRUE(read_all_ways(header(0, 0, std::string(2 * most, '0'))).complete);
  Header large = header(0, 0, std::string(2 * (most + 1), '0'));
  EXPECT_EQ(static_cast<HttpError>(read(Bytes(large).first(16), 16).error.code), HttpError::proxy_header_too_large);
  Header huge = header(0, 0, "");
  huge[14] = huge[15] = 0xff;
  EXPECT_EQ(static_cast<HttpError>(read_all_ways(huge).error.code), HttpError::proxy_header_too_large);
}

TEST(ProxyProtocol, ATruncatedHeaderIsNeverComplete) {
  Header good = write_proxy_header({.proxied = true, .source = at("2001:db8::9", 1), .destination = at("2001:db8::1", 2)}, true);
  for (size_t size = 0; size < good.size(); ++size) {
    Outcome outcome = read(Bytes(good).first(size), 7);
    EXPECT_FALSE(outcome.complete) << size;
    EXPECT_EQ(outcome.error, Error()) << size;
  }
}

TEST(ProxyProtocol, NoMutationOfOneByteMakesItTakeMoreThanItAnnounces) {
  Header good = header(1, 0x21, std::string(kAddresses6) + "040002aabb");
  for (size_t i = 0; i < good.size(); ++i) {
    for (int value = 0; value < 256; value += 5) {
      Header bad = good;
      bad[i] = static_cast<uint8_t>(value);
      Outcome whole = read(bad, bad.size()), cut = read(bad, 1);
      EXPECT_EQ(whole.error, cut.error);
      EXPECT_EQ(whole.complete, cut.complete);
      EXPECT_LE(whole.consumed, bad.size());
    }
  }
}

TEST(ProxyProtocol, WhatIsWrittenReadsBack) {
  for (bool checksum : {false, true}) {
    for (const ProxyHeader& sent :
         {ProxyHeader{}, ProxyHeader{true, at("192.0.2.7", 65535), at("192.0.2.8", 1)},
          ProxyHeader{true, at("2001:db8::7", 1), at("2001:db8::8", 443)}}) {
      Outcome outcome = read_all_ways(write_proxy_header(sent, checksum));
      ASSERT_TRUE(outcome.complete);
      EXPECT_EQ(outcome.header.proxied, sent.proxied);
      EXPECT_EQ(outcome.header.source, sent.source);
      EXPECT_EQ(outcome.header.destination, sent.destination);
    }
  }
}

}  // namespace
}  // namespace bellhop::proto
