// SPDX-License-Identifier: Apache-2.0
#include "proto/encoded_word.h"

#include <array>
#include <cstdint>
#include <optional>

#include "core/base/bytes.h"

namespace bellhop::proto {
namespace {

enum class Charset : uint8_t { utf8, windows_1252, iso_8859_15 };

// Windows-1252 from 0x80 to 0x9f; 0 where it has nothing.
constexpr std::array<char16_t, 32> kWindows1252 = {
    0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

char16_t from_iso_8859_15(uint8_t byte) {
  switch (byte) {
    case 0xa4: return 0x20ac;
    case 0xa6: return 0x0160;
    case 0xa8: return 0x0161;
    case 0xb4: return 0x017d;
    case 0xb8: return 0x017e;
    case 0xbc: return 0x0152;
    case 0xbd: return 0x0153;
    case 0xbe: return 0x0178;
    default: return byte;
  }
}

char16_t to_unicode(Charset charset, uint8_t byte) {
  if (charset == Charset::iso_8859_15) return from_iso_8859_15(byte);
  if (byte < 0x80 || byte > 0x9f) return byte;
  char16_t mapped = kWindows1252[byte - 0x80];
  return mapped ? mapped : u'\ufffd';
}

std::optional<Charset> charset_of(std::string_view name) {
  name = name.substr(0, name.find('*'));  // RFC 2231 section 5: the language follows
  struct Row {
    std::string_view name;
    Charset charset;
  };
  constexpr std::array kRows = {
      Row{"utf-8", Charset::utf8},
      Row{"utf8", Charset::utf8},
      Row{"us-ascii", Charset::utf8},
      Row{"ascii", Charset::utf8},
      Row{"iso-8859-1", Charset::windows_1252},
      Row{"latin1", Charset::windows_1252},
      Row{"windows-1252", Charset::windows_1252},
      Row{"cp1252", Charset::windows_1252},
      Row{"iso-8859-15", Charset::iso_8859_15},
  };
  for (const Row& row : kRows) {
    if (ascii_equal_ignoring_case(name, row.name)) return row.charset;
  }
  return std::nullopt;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = ascii_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// RFC 2047 section 4.2. A space, which it does not permit, is one.
bool append_q(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '=') {
      out.push_back(text[i] == '_' ? ' ' : text[i]);
      continue;
    }
    if (i + 2 >= text.size()) return false;
    int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return false;
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return true;
}

bool append_b(std::string_view text, std::string& out) {
  std::string padded(text.substr(0, text.find('=')));  // some leave the padding out
  if (padded.size() % 4 == 1) return false;
  padded.append((4 - padded.size() % 4) % 4, '=');
  auto bytes = from_base64(padded);
  wipe(padded);
  if (!bytes) return false;
  out += as_text(*bytes);
  wipe(*bytes);
  return true;
}

struct Word {
  Charset charset = Charset::utf8;
  bool base64 = false;
  std::string_view text;
  size_t size = 0;  // of the whole word
};

// The encoded word at the start of `text`, which starts with "=?".
std::optional<Word> parse_word(std::string_view text) {
  size_t charset_end = text.find('?', 2);
  if (charset_end == text.npos || charset_end + 3 >= text.size() || text[charset_end + 2] != '?') return std::nullopt;
  char encoding = ascii_lower(text[charset_end + 1]);
  if (encoding != 'b' && encoding != 'q') return std::nullopt;
  size_t begin = charset_end + 3;
  // In a Q text "?" is written as "=3F", so the first "?" is the end.
  size_t end = text.find('?', begin);
  if (end == text.npos || end + 1 >= text.size() || text[end + 1] != '=') return std::nullopt;
  auto charset = charset_of(text.substr(2, charset_end - 2));
  if (!charset) return std::nullopt;
  return Word{*charset, encoding == 'b', text.substr(begin, end - begin), end + 2};
}

bool is_white(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == text.npos;
}

void append_utf8(std::string& out, char16_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xc0 | c >> 6));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xe0 | c >> 12));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

void append_converted(std::string& out, Charset charset, std::string_view bytes) {
  if (charset == Charset::utf8) {
    out += bytes;
    return;
  }
  for (char byte : bytes) append_utf8(out, to_unicode(charset, static_cast<uint8_t>(byte)));
}

}  // namespace

std::string decode_encoded_words(std::string_view text) {
  std::string out;
  // No character takes more than three bytes for one of its encoding, so nothing moves and leaves a copy behind.
  out.reserve(3 * text.size());
  std::string bytes;
  bytes.reserve(text.size());
  size_t copied = 0;        // all before it is in `out`
  bool after_word = false;  // what stands before `copied` is an encoded word
  for (size_t at = text.find("=?"); at != text.npos; at = text.find("=?", at)) {
    auto word = parse_word(text.substr(at));
    wipe(bytes);
    if (!word || !(word->base64 ? append_b(word->text, bytes) : append_q(word->text, bytes))) {
      at += 2;
      continue;
    }
    std::string_view between = text.substr(copied, at - copied);
    if (!after_word || !is_white(between)) out += between;
    append_converted(out, word->charset, bytes);
    after_word = true;
    at = copied = at + word->size;
  }
  out += text.substr(copied);
  wipe(bytes);
  return out;
}

}  // namespace bellhop::proto
