// SPDX-License-Identifier: Apache-2.0
#include "proto/device_key.h"

#include <algorithm>
#include <bit>

namespace bellhop::proto {
namespace {

// Shorter texts of digits are what they look like: sequence numbers, mostly.
constexpr size_t kSpeltBytesMin = 10;

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c <= 0x7e; });
}

// SipHash-2-4 with 128 bits (Aumasson, Bernstein: "SipHash: a fast short-input PRF"), under a key that is no secret.
class SipHash {
 public:
  void add(uint64_t word) {
    v3_ ^= word;
    round();
    round();
    v0_ ^= word;
  }
  DeviceKey finish() {
    DeviceKey key;
    v2_ ^= 0xee;
    for (int i = 0; i < 4; ++i) round();
    store(key.bytes.data(), v0_ ^ v1_ ^ v2_ ^ v3_);
    v1_ ^= 0xdd;
    for (int i = 0; i < 4; ++i) round();
    store(key.bytes.data() + 8, v0_ ^ v1_ ^ v2_ ^ v3_);
    return key;
  }

 private:
  static constexpr uint64_t kKey0 = 0x0706050403020100, kKey1 = 0x0f0e0d0c0b0a0908;

  void round() {
    v0_ += v1_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v3_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ += v3_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ += v1_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }
  static void store(std::byte* at, uint64_t word) {
    for (int i = 0; i < 8; ++i) at[i] = static_cast<std::byte>(word >> (8 * i));
  }

  uint64_t v0_ = kKey0 ^ 0x736f6d6570736575, v1_ = kKey1 ^ 0x646f72616e646f6d ^ 0xee;
  uint64_t v2_ = kKey0 ^ 0x6c7967656e657261, v3_ = kKey1 ^ 0x7465646279746573;
};

DeviceKey hash_of(std::string_view text) {
  SipHash hash;
  uint64_t word = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    word |= static_cast<uint64_t>(static_cast<uint8_t>(text[i])) << (8 * (i % 8));
    if (i % 8 == 7) {
      hash.add(word);
      word = 0;
    }
  }
  hash.add(word | static_cast<uint64_t>(text.size() & 0xff) << 56);
  return hash.finish();
}

}  // namespace

DeviceKey device_key(std::string_view text) {
  std::string folded(text);
  while (folded.size() >= 2 * kSpeltBytesMin) {
    const auto spelt = from_hex(folded);
    if (!spelt || !is_printable(as_text(*spelt))) break;
    folded = as_text(*spelt);
  }
  return hash_of(ascii_lower(folded));
}

DeviceKey device_key_of_bytes(Bytes bytes) {
  return is_printable(as_text(bytes)) ? device_key(as_text(bytes)) : device_key(to_hex(bytes));
}

std::string device_text(std::string_view device_id) {
  if (is_printable(device_id)) return std::string(device_id);
  std::string text = to_hex(as_bytes(device_id));
  std::ranges::transform(text, text.begin(), [](char c) { return c >= 'a' && c <= 'f' ? char(c - 'a' + 'A') : c; });
  return text;
}

}  // namespace bellhop::proto
