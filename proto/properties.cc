// SPDX-License-Identifier: Apache-2.0
#include "proto/properties.h"

#include <optional>

#include "core/base/bytes.h"

namespace bellhop::proto {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\f'; }
bool ends_line(char c) { return c == '\n' || c == '\r'; }

std::optional<uint32_t> hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0');
  char lower = ascii_lower(c);
  if (lower >= 'a' && lower <= 'f') return static_cast<uint32_t>(lower - 'a' + 10);
  return std::nullopt;
}

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// Reads one text. Lives for one call of parse_properties.
class PropertyReader {
 public:
  explicit PropertyReader(std::string_view text) : text_(text) {}

  std::expected<std::vector<Property>, PropertyFault> read() {
    std::vector<Property> properties;
    for (skip_to_property(); !at_end(); skip_to_property()) {
      if (properties.size() == kPropertiesMax) return fault("more than 10,000 settings");
      Property property{.name = {}, .value = {}, .line = line_};
      if (!read_name(property.name)) return fault(fault_);
      skip_separator();
      if (!read_value(property.value)) return fault(fault_);
      properties.push_back(std::move(property));
    }
    return properties;
  }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char here() const { return text_[at_]; }
  std::unexpected<PropertyFault> fault(std::string_view what) const { return std::unexpected(PropertyFault{line_, what}); }

  // Past one end of line, which is \n, \r or both.
  void skip_line_end() {
    if (here() == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n') ++at_;
    ++at_;
    ++line_;
  }
  void skip_blanks() {
    while (!at_end() && (is_blank(here()) || continues())) {
      if (is_blank(here())) {
        ++at_;
      } else {
        skip_continuation();
      }
    }
  }
  // A backslash and the end of its line. Only a lone one: of two, the second is a character.
  bool continues() const { return here() == '\\' && at_ + 1 < text_.size() && ends_line(text_[at_ + 1]); }
  void skip_continuation() {
    ++at_;
    skip_line_end();
    while (!at_end() && is_blank(here())) ++at_;
  }

  void skip_to_property() {
    for (;;) {
      while (!at_end() && (is_blank(here()) || ends_line(here()))) {
        if (ends_line(here())) {
          skip_line_end();
        } else {
          ++at_;
        }
      }
      if (at_end() || (here() != '#' && here() != '!')) return;
      while (!at_end() && !ends_line(here())) ++at_;  // a comment is not continued
    }
  }

  void skip_separator() {
    skip_blanks();
    if (at_end() || (here() != '=' && here() != ':')) return;
    ++at_;
    skip_blanks();
  }

  bool read_name(std::string& out) {
    while (!at_end() && !ends_line(here()) && !is_blank(here()) && here() != '=' && here() != ':') {
      if (!read_character(out)) return false;
    }
    return true;
  }
  bool read_value(std::string& out) {
    while (!at_end() && !ends_line(here())) {
      if (!read_character(out)) return false;
    }
    return true;
  }

  bool read_character(std::string& out) {
    if (here() != '\\') {
      out += text_[at_++];
      return true;
    }
    if (continues()) {
      skip_continuation();
      return true;
    }
    if (++at_ == text_.size()) return true;  // a backslash at the very end says nothing
    char c = text_[at_++];
    switch (c) {
      case 't': out += '\t'; return true;
      case 'n': out += '\n'; return true;
      case 'r': out += '\r'; return true;
      case 'f': out += '\f'; return true;
      case 'u': return read_unicode(out);
      default: out += c; return true;
    }
  }

  std::optional<uint32_t> read_unit() {
    uint32_t code = 0;
    for (size_t i = 0; i < 4; ++i) {
      std::optional<uint32_t> digit = at_end() ? std::nullopt : hex_value(here());
      if (!digit) return std::nullopt;
      code = code << 4 | *digit;
      ++at_;
    }
    return code;
  }
  // After "\u". Characters beyond U+FFFF are a pair of surrogates, each with its own escape.
  bool read_unicode(std::string& out) {
    std::optional<uint32_t> code = read_unit();
    if (code && *code >= 0xd800 && *code < 0xdc00) {
      bool pair = text_.substr(at_).starts_with("\\u");
      if (pair) at_ += 2;
      std::optional<uint32_t> low = pair ? read_unit() : std::nullopt;
      bool fits = low && *low >= 0xdc00 && *low < 0xe000;
      code = fits ? std::optional(0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00)) : std::nullopt;
    } else if (code && *code >= 0xdc00 && *code < 0xe000) {
      code.reset();
    }
    if (!code) {
      fault_ = "a \\u that is not followed by four hexadecimal digits of a character";
      return false;
    }
    append_utf8(out, *code);
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  std::string_view fault_;
};

}  // namespace

std::expected<std::vector<Property>, PropertyFault> parse_properties(std::string_view text) {
  if (text.size() > kPropertiesBytesMax) return std::unexpected(PropertyFault{1, "the file is larger than 1 MiB"});
  if (!utf8_valid(text)) return std::unexpected(PropertyFault{1, "the file is not UTF-8"});
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return PropertyReader(text).read();
}

}  // namespace bellhop::proto
