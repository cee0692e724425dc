// SPDX-License-Identifier: Apache-2.0
#include "core/base/bytes.h"

#include <array>

namespace bellhop {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kBase64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

constexpr std::array<int8_t, 256> reversed(const char* alphabet) {
  std::array<int8_t, 256> table{};
  for (auto& value : table) value = -1;
  for (int8_t i = 0; i < 64; ++i) table[static_cast<uint8_t>(alphabet[i])] = i;
  return table;
}
constexpr auto kBase64Values = reversed(kBase64);
constexpr auto kBase64urlValues = reversed(kBase64url);

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string encode(Bytes bytes, const char* alphabet, bool padded) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    uint32_t group = uint32_t(bytes[i]) << 16 | uint32_t(bytes[i + 1]) << 8 | bytes[i + 2];
    for (int shift = 18; shift >= 0; shift -= 6) out.push_back(alphabet[group >> shift & 63]);
  }
  size_t rest = bytes.size() - i;
  if (rest == 0) return out;
  uint32_t group = uint32_t(bytes[i]) << 16 | (rest == 2 ? uint32_t(bytes[i + 1]) << 8 : 0);
  out.push_back(alphabet[group >> 18 & 63]);
  out.push_back(alphabet[group >> 12 & 63]);
  if (rest == 2) out.push_back(alphabet[group >> 6 & 63]);
  if (padded) out.append(3 - rest, '=');
  return out;
}

// Decodes unpadded text. The unused low bits of the last character must be zero.
std::optional<size_t> decode(std::string_view text, const std::array<int8_t, 256>& values, MutableBytes out) {
  size_t rest = text.size() % 4;
  size_t size = text.size() / 4 * 3 + (rest ? rest - 1 : 0);
  if (rest == 1 || size > out.size()) return std::nullopt;
  uint32_t group = 0;
  size_t written = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    int value = values[static_cast<uint8_t>(text[i])];
    if (value < 0) return std::nullopt;
    group = group << 6 | static_cast<uint32_t>(value);
    if (i % 4 == 3) {
      out[written++] = uint8_t(group >> 16);
      out[written++] = uint8_t(group >> 8);
      out[written++] = uint8_t(group);
      group = 0;
    }
  }
  if (rest == 2) {
    if (group & 0xf) return std::nullopt;
    out[written++] = uint8_t(group >> 4);
  } else if (rest == 3) {
    if (group & 0x3) return std::nullopt;
    out[written++] = uint8_t(group >> 10);
    out[written++] = uint8_t(group >> 2);
  }
  return written;
}

// Length of the well-formed sequence at `at`, or 0.
size_t utf8_sequence(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  auto tail = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  uint8_t lead = byte(at);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return tail(at + 1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!tail(at + 1) || !tail(at + 2)) return 0;
    if (lead == 0xe0 && byte(at + 1) < 0xa0) return 0;
    if (lead == 0xed && byte(at + 1) > 0x9f) return 0;
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!tail(at + 1) || !tail(at + 2) || !tail(at + 3)) return 0;
    if (lead == 0xf0 && byte(at + 1) < 0x90) return 0;
    if (lead == 0xf4 && byte(at + 1) > 0x8f) return 0;
    return 4;
  }
  return 0;
}

}  // namespace

void wipe(void* memory, size_t size) {
  if (size == 0) return;
  std::memset(memory, 0, size);
  asm volatile("" : : "r"(memory) : "memory");
}

void wipe(std::string& text) {
  text.resize(text.capacity());
  wipe(text.data(), text.size());
  text.clear();
}

bool equal_constant_time(Bytes a, Bytes b) {
  if (a.size() != b.size()) return false;
  uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= a[i] ^ b[i];
  asm volatile("" : "+r"(difference));
  return difference == 0;
}

std::string to_hex(Bytes bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (uint8_t byte : bytes) {
    out.push_back(kHexDigits[byte >> 4]);
    out.push_back(kHexDigits[byte & 15]);
  }
  return out;
}

std::optional<std::vector<uint8_t>> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<uint8_t> out;
  out.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) {
    int high = hex_value(text[i]), low = hex_value(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(uint8_t(high << 4 | low));
  }
  return out;
}

std::string to_base64(Bytes bytes) { return encode(bytes, kBase64, true); }
std::string to_base64url(Bytes bytes) { return encode(bytes, kBase64url, false); }

std::optional<std::vector<uint8_t>> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  text.remove_suffix(padding);
  std::vector<uint8_t> out(text.size() / 4 * 3 + 3);
  auto size = decode(text, kBase64Values, out);
  if (!size) return std::nullopt;
  out.resize(*size);
  return out;
}

std::optional<std::vector<uint8_t>> from_base64url(std::string_view text) {
  std::vector<uint8_t> out(text.size() / 4 * 3 + 3);
  auto size = decode(text, kBase64urlValues, out);
  if (!size) return std::nullopt;
  out.resize(*size);
  return out;
}

std::optional<size_t> from_base64url(std::string_view text, MutableBytes out) {
  return decode(text, kBase64urlValues, out);
}

char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; }

std::string ascii_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = ascii_lower(c);
  return out;
}

bool ascii_equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (ascii_lower(a[i]) != ascii_lower(b[i])) return false;
  }
  return true;
}

std::string_view ascii_trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool utf8_valid(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    size_t length = utf8_sequence(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string utf8_repaired(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t length = utf8_sequence(text, at);
    if (length == 0) {
      out += "\xef\xbf\xbd";
      ++at;
      continue;
    }
    out.append(text, at, length);
    at += length;
  }
  return out;
}

std::string_view utf8_prefix(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

std::optional<uint64_t> parse_decimal(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    if (__builtin_mul_overflow(value, uint64_t{10}, &value)) return std::nullopt;
    if (__builtin_add_overflow(value, uint64_t(c - '0'), &value)) return std::nullopt;
  }
  return value;
}

}  // namespace bellhop
