// SPDX-License-Identifier: Apache-2.0
#include "proto/json_escape.h"

#include <cstdint>

namespace bellhop::proto {
namespace {

constexpr size_t kShortEscapeBytes = 2;    // \n
constexpr size_t kUnicodeEscapeBytes = 6;  // \u001f

// The letter of a two-character escape; 0 where the character has none.
char short_escape(char c) {
  switch (c) {
    case '"':
      return '"';
    case '\\':
      return '\\';
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return 0;
  }
}

size_t escaped_size(char c) {
  if (static_cast<uint8_t>(c) >= 0x20 && c != '"' && c != '\\') return 1;
  return short_escape(c) != 0 ? kShortEscapeBytes : kUnicodeEscapeBytes;
}

}  // namespace

void append_json_escaped(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  size_t plain_from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    size_t size = escaped_size(c);
    if (size == 1) continue;
    out.append(text, plain_from, i - plain_from);
    plain_from = i + 1;
    out.push_back('\\');
    if (size == kShortEscapeBytes) {
      out.push_back(short_escape(c));
    } else {
      out.append("u00");
      out.push_back(kHex[static_cast<uint8_t>(c) >> 4]);
      out.push_back(kHex[static_cast<uint8_t>(c) & 0xf]);
    }
  }
  out.append(text, plain_from);
}

size_t json_escaped_size(std::string_view text) {
  size_t size = 0;
  for (char c : text) size += escaped_size(c);
  return size;
}

std::string_view json_escaped_prefix(std::string_view text, size_t bytes_max) {
  size_t size = 0;
  size_t end = 0;  // of the last whole character that fits
  for (size_t i = 0; i <= text.size(); ++i) {
    bool boundary = i == text.size() || (static_cast<uint8_t>(text[i]) & 0xc0) != 0x80;
    if (boundary) end = i;
    if (i == text.size()) break;
    size += escaped_size(text[i]);
    if (size > bytes_max) break;
  }
  return text.substr(0, end);
}

}  // namespace bellhop::proto
