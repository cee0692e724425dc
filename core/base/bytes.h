// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bellhop {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Overwrites memory in a way that the optimiser does not remove.
void wipe(void* memory, size_t size);
inline void wipe(MutableBytes bytes) { wipe(bytes.data(), bytes.size()); }
// Wipes the whole capacity, then empties the string.
void wipe(std::string& text);

// True where both are of one length and equal; the time depends on the lengths only.
bool equal_constant_time(Bytes a, Bytes b);

// Lower-case hex. from_hex: nothing where the text has odd length or another character (upper case is accepted).
std::string to_hex(Bytes bytes);
std::optional<std::vector<uint8_t>> from_hex(std::string_view text);

// RFC 4648 section 4 (padded) and section 5 (base64url, no padding).
// Decoders are strict: no white space, no missing or foreign characters, unused bits are zero.
std::string to_base64(Bytes bytes);
std::string to_base64url(Bytes bytes);
std::optional<std::vector<uint8_t>> from_base64(std::string_view text);
std::optional<std::vector<uint8_t>> from_base64url(std::string_view text);
// Decodes into the caller's memory (for secrets). Returns the number of bytes written; nothing on bad text or little room.
std::optional<size_t> from_base64url(std::string_view text, MutableBytes out);
constexpr size_t base64url_size(size_t bytes) { return (bytes * 4 + 2) / 3; }

// ASCII only; other bytes stay.
char ascii_lower(char c);
std::string ascii_lower(std::string_view text);
bool ascii_equal_ignoring_case(std::string_view a, std::string_view b);
std::string_view ascii_trim(std::string_view text);  // spaces and tabs at both ends

// True for well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
bool utf8_valid(std::string_view text);
// Replaces each ill-formed sequence by U+FFFD.
std::string utf8_repaired(std::string_view text);
// The longest prefix of at most `bytes_max` bytes that ends on a character boundary. `text` is well-formed.
std::string_view utf8_prefix(std::string_view text, size_t bytes_max);

// Unsigned decimal without sign or space; nothing on overflow or foreign characters.
std::optional<uint64_t> parse_decimal(std::string_view text);

// Big-endian integers at `at` (network order).
inline void store_be16(uint8_t* at, uint16_t v) { at[0] = uint8_t(v >> 8); at[1] = uint8_t(v); }
inline void store_be32(uint8_t* at, uint32_t v) { store_be16(at, uint16_t(v >> 16)); store_be16(at + 2, uint16_t(v)); }
inline void store_be64(uint8_t* at, uint64_t v) { store_be32(at, uint32_t(v >> 32)); store_be32(at + 4, uint32_t(v)); }
inline uint16_t load_be16(const uint8_t* at) { return uint16_t(at[0] << 8 | at[1]); }
inline uint32_t load_be32(const uint8_t* at) { return uint32_t(load_be16(at)) << 16 | load_be16(at + 2); }
inline uint64_t load_be64(const uint8_t* at) { return uint64_t(load_be32(at)) << 32 | load_be32(at + 4); }

}  // namespace bellhop
