// SPDX-License-Identifier: Apache-2.0
#include "proto/display_text.h"

#include <cstdint>

#include "core/base/bytes.h"
#include "proto/encoded_word.h"

namespace bellhop::proto {
namespace {

struct CodePoint {
  char32_t value;
  size_t size;
};

// `text` is well-formed UTF-8 and not empty at `at`.
CodePoint decode(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  auto tail = [&](size_t i) { return static_cast<char32_t>(byte(i) & 0x3f); };
  uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xe0) return {static_cast<char32_t>(lead & 0x1f) << 6 | tail(1), 2};
  if (lead < 0xf0) return {static_cast<char32_t>(lead & 0x0f) << 12 | tail(1) << 6 | tail(2), 3};
  return {static_cast<char32_t>(lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

bool within(char32_t c, char32_t first, char32_t last) {
  return c >= first && c <= last;
}

bool is_break(char32_t c) {
  return within(c, 0x09, 0x0d) || c == 0x85 || c == 0x2028 || c == 0x2029;  // TAB to CR, NEL, LS, PS
}

bool is_direction_mark(char32_t c) {
  return c == 0x061c || c == 0x200e || c == 0x200f || within(c, 0x202a, 0x202e) || within(c, 0x2066, 0x206f);
}

bool is_invisible(char32_t c) {
  switch (c) {
    case 0x00ad:  // soft hyphen
    case 0x034f:  // combining grapheme joiner
    case 0x115f:  // Hangul fillers
    case 0x1160:
    case 0x3164:
    case 0xffa0:
    case 0x17b4:  // Khmer inherent vowels
    case 0x17b5:
    case 0x180e:  // Mongolian vowel separator
    case 0x200b:  // zero-width space
    case 0xfeff:  // zero-width no-break space, byte order mark
      return true;
    default:
      // Word joiner and invisible operators, interlinear annotation, tags and the rest of their plane.
      return within(c, 0x2060, 0x2065) || within(c, 0xfff9, 0xfffb) || within(c, 0xe0000, 0xe0fff);
  }
}

bool is_dropped(char32_t c) {
  bool control = c < 0x20 || within(c, 0x7f, 0x9f);
  return control || is_direction_mark(c) || is_invisible(c);
}

bool is_joiner(char32_t c) {
  return c == 0x200c || c == 0x200d;
}

bool is_combining(char32_t c) {
  return within(c, 0x0300, 0x036f) || within(c, 0x0483, 0x0489) || within(c, 0x1ab0, 0x1aff) ||
         within(c, 0x1dc0, 0x1dff) || within(c, 0x20d0, 0x20ff) || within(c, 0xfe20, 0xfe2f);
}

// Appends what is kept of well-formed text.
class Filter {
 public:
  explicit Filter(std::string& out) : out_(out) {}

  void add(char32_t c, std::string_view bytes) {
    if (is_break(c)) {
      if (!after_break_) out_.push_back(' ');
      after_break_ = true;
      joiner_ = {};
      marks_ = 0;
      return;
    }
    if (is_dropped(c)) return;
    if (is_joiner(c)) {
      joiner_ = bytes;
      return;
    }
    marks_ = is_combining(c) ? marks_ + 1 : 0;
    if (marks_ > kCombiningMarksMax) return;
    bool joins = !joiner_.empty() && !out_.empty() && out_.back() != ' ' && c != ' ';
    if (joins) out_ += joiner_;
    joiner_ = {};
    out_ += bytes;
    after_break_ = false;
  }

 private:
  std::string& out_;
  std::string_view joiner_;  // waits for what it joins
  size_t marks_ = 0;
  bool after_break_ = false;
};

}  // namespace

std::string harmless_text(std::string_view text) {
  std::string repaired;
  if (!utf8_valid(text)) {
    repaired = utf8_repaired(text);
    text = repaired;
  }
  std::string out;
  out.reserve(text.size());
  Filter filter(out);
  for (size_t at = 0; at < text.size();) {
    CodePoint c = decode(text, at);
    filter.add(c.value, text.substr(at, c.size));
    at += c.size;
  }
  wipe(repaired);
  return out;
}

std::string display_text(std::string_view text) {
  if (text.find("=?") == text.npos) return harmless_text(text);
  std::string decoded = decode_encoded_words(text);
  std::string out = harmless_text(decoded);
  wipe(decoded);
  return out;
}

}  // namespace bellhop::proto
