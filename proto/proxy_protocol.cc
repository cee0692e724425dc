// SPDX-License-Identifier: Apache-2.0
#include "proto/proxy_protocol.h"

#include <algorithm>

#include "core/base/check.h"
#include "proto/http_error.h"

namespace bellhop::proto {
namespace {

constexpr std::array<uint8_t, 12> kSignature = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
constexpr size_t kCommandAt = 12, kFamilyAt = 13, kLengthAt = 14;
constexpr uint8_t kVersion2 = 0x20;
constexpr uint8_t kLocal = 0, kProxy = 1;
// Address family in the upper half, transport in the lower one.
constexpr uint8_t kTcp4 = 0x11, kTcp6 = 0x21;
constexpr uint8_t kFamilyMax = 3, kTransportMax = 2;
constexpr size_t kAddresses4Bytes = 12, kAddresses6Bytes = 36, kAddressesUnixBytes = 216;
constexpr uint8_t kTlvCrc32c = 0x03;
constexpr size_t kTlvHeadBytes = 3, kCrcBytes = 4;

constexpr auto kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82f63b78u : 0u);
    table[i] = value;
  }
  return table;
}();

std::unexpected<Error> malformed(size_t at) {
  return fail(http_error(HttpError::proxy_header_malformed, static_cast<uint32_t>(at)));
}

IpAddress address_at(const uint8_t* at, bool v6) {
  IpAddress ip;
  ip.v6 = v6;
  std::copy_n(at, v6 ? 16 : 4, ip.bytes.begin());
  constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (!v6 || !std::equal(kMapped.begin(), kMapped.end(), ip.bytes.begin())) return ip;
  IpAddress v4;
  std::copy_n(ip.bytes.begin() + 12, 4, v4.bytes.begin());
  return v4;
}

}  // namespace

uint32_t crc32c(Bytes bytes) {
  uint32_t value = 0xffffffffu;
  for (uint8_t byte : bytes) value = value >> 8 ^ kCrcTable[(value ^ byte) & 0xff];
  return value ^ 0xffffffffu;
}

Result<ProxyHeaderParser::Step> ProxyHeaderParser::feed(Bytes input) {
  if (error_.domain != Domain::none) return fail(error_);
  Step step;
  auto refuse = [this](Error error) {
    error_ = error;
    return fail(error);
  };
  while (wanted() > 0 && step.consumed < input.size()) {
    if (bytes_.size() < kSignature.size()) {  // byte by byte: what is no header shows at once
      uint8_t byte = input[step.consumed++];
      if (byte != kSignature[bytes_.size()]) {
        bool text = bytes_.empty() && byte == 'P';
        return refuse(http_error(text ? HttpError::proxy_header_version1 : HttpError::proxy_header_missing));
      }
      bytes_.push_back(byte);
      continue;
    }
    Bytes taken = input.subspan(step.consumed, std::min(wanted(), input.size() - step.consumed));
    bytes_.insert(bytes_.end(), taken.begin(), taken.end());
    step.consumed += taken.size();
    if (bytes_.size() == kFixedBytes) {
      if (Status fixed = check_fixed(); !fixed) return refuse(fixed.error());
    }
    if (wanted() > 0) continue;
    if (Status payload = read_payload(); !payload) return refuse(payload.error());
  }
  step.complete = wanted() == 0;
  return step;
}

Status ProxyHeaderParser::check_fixed() {
  uint8_t command = bytes_[kCommandAt] & 0x0f, family = bytes_[kFamilyAt];
  if ((bytes_[kCommandAt] & 0xf0) != kVersion2 || command > kProxy) return malformed(kCommandAt);
  if (family >> 4 > kFamilyMax || (family & 0x0f) > kTransportMax) return malformed(kFamilyAt);
  size_t size = kFixedBytes + load_be16(&bytes_[kLengthAt]);
  if (size > kBytesMax) return fail(http_error(HttpError::proxy_header_too_large, static_cast<uint32_t>(size)));
  size_ = size;
  bytes_.reserve(size);
  return {};
}

Status ProxyHeaderParser::read_payload() {
  if ((bytes_[kCommandAt] & 0x0f) == kLocal) return {};  // what follows is to be skipped, whatever it is
  uint8_t family = bytes_[kFamilyAt];
  size_t addresses = family >> 4 == 1   ? kAddresses4Bytes
                     : family >> 4 == 2 ? kAddresses6Bytes
                     : family >> 4 == 3 ? kAddressesUnixBytes
                                        : 0;
  if (bytes_.size() < kFixedBytes + addresses) return malformed(kLengthAt);
  // The specification gives UNSPEC no layout: nothing after it can be read.
  if (family >> 4 != 0) {
    if (Status tlvs = read_tlvs(kFixedBytes + addresses); !tlvs) return tlvs;
  }
  if (family != kTcp4 && family != kTcp6) return {};
  bool v6 = family == kTcp6;
  size_t width = v6 ? 16 : 4;
  const uint8_t* at = &bytes_[kFixedBytes];
  header_.proxied = true;
  header_.source = {address_at(at, v6), load_be16(at + 2 * width)};
  header_.destination = {address_at(at + width, v6), load_be16(at + 2 * width + 2)};
  return {};
}

Status ProxyHeaderParser::read_tlvs(size_t at) {
  bool checked = false;
  while (at < bytes_.size()) {
    if (bytes_.size() - at < kTlvHeadBytes) return malformed(at);
    size_t length = load_be16(&bytes_[at + 1]), value = at + kTlvHeadBytes;
    if (bytes_.size() - value < length) return malformed(at);
    if (bytes_[at] == kTlvCrc32c) {
      if (length != kCrcBytes || checked) return malformed(at);
      checked = true;
      // Over the whole header, with zeros in the place of the sum.
      uint32_t sent = load_be32(&bytes_[value]);
      store_be32(&bytes_[value], 0);
      if (crc32c(bytes_) != sent) return fail(http_error(HttpError::proxy_header_checksum));
      store_be32(&bytes_[value], sent);
    }
    at = value + length;
  }
  return {};
}

std::vector<uint8_t> write_proxy_header(const ProxyHeader& header, bool with_checksum) {
  std::vector<uint8_t> out(kSignature.begin(), kSignature.end());
  bool v6 = header.source.ip.v6;
  BH_CHECK(header.destination.ip.v6 == v6);
  size_t addresses = !header.proxied ? 0 : v6 ? kAddresses6Bytes : kAddresses4Bytes;
  size_t payload = addresses + (with_checksum ? kTlvHeadBytes + kCrcBytes : 0);
  out.push_back(kVersion2 | (header.proxied ? kProxy : kLocal));
  out.push_back(!header.proxied ? 0 : v6 ? kTcp6 : kTcp4);
  out.resize(ProxyHeaderParser::kFixedBytes + payload);
  store_be16(&out[kLengthAt], static_cast<uint16_t>(payload));
  if (header.proxied) {
    size_t width = v6 ? 16 : 4;
    uint8_t* at = &out[ProxyHeaderParser::kFixedBytes];
    std::copy_n(header.source.ip.bytes.begin(), width, at);
    std::copy_n(header.destination.ip.bytes.begin(), width, at + width);
    store_be16(at + 2 * width, header.source.port);
    store_be16(at + 2 * width + 2, header.destination.port);
  }
  if (with_checksum) {
    uint8_t* tlv = &out[ProxyHeaderParser::kFixedBytes + addresses];
    tlv[0] = kTlvCrc32c;
    store_be16(tlv + 1, kCrcBytes);
    store_be32(tlv + kTlvHeadBytes, crc32c(out));
  }
  return out;
}

}  // namespace bellhop::proto
