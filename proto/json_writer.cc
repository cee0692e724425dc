// SPDX-License-Identifier: Apache-2.0
#include "proto/json_writer.h"

#include <charconv>
#include <cmath>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/wiping_buffer.h"

namespace bellhop::proto {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

void append_unicode_escape(std::string& out, uint16_t unit) {
  out.append("\\u");
  for (int shift = 12; shift >= 0; shift -= 4) out.push_back(kHexDigits[unit >> shift & 15]);
}

// Escapes of two characters; 0 where there is none.
char short_escape(char c) {
  switch (c) {
    case '"':
    case '\\':
      return c;
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

// `text` is well-formed UTF-8. Plain runs are appended whole.
void append_escaped(std::string& out, std::string_view text) {
  size_t plain_at = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    uint8_t c = static_cast<uint8_t>(text[i]);
    // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
    bool separator = c == 0xe2 && (text.substr(i, 3) == "\xe2\x80\xa8" || text.substr(i, 3) == "\xe2\x80\xa9");
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !separator) continue;
    out.append(text.substr(plain_at, i - plain_at));
    if (separator) {
      append_unicode_escape(out, static_cast<uint8_t>(text[i + 2]) == 0xa8 ? 0x2028 : 0x2029);
      i += 2;
    } else if (char letter = short_escape(text[i])) {
      out.push_back('\\');
      out.push_back(letter);
    } else {
      append_unicode_escape(out, c);
    }
    plain_at = i + 1;
  }
  out.append(text.substr(plain_at));
}

}  // namespace

// Texts may be secret: the room for the plain case is made in one step that wipes, and so is a longer one.
void append_json_string(std::string& out, std::string_view text) {
  size_t escaped_max = 2;
  for (char c : text) {
    uint8_t byte = static_cast<uint8_t>(c);
    escaped_max += byte < 0x20 || byte == 0x7f || byte >= 0x80 ? 6 : (c == '"' || c == '\\' ? 2 : 1);
  }
  grow_wiped(out, escaped_max);
  out.push_back('"');
  if (utf8_valid(text)) {
    append_escaped(out, text);
  } else {
    std::string repaired = utf8_repaired(text);
    grow_wiped(out, repaired.size() * 6);
    append_escaped(out, repaired);
    wipe(repaired);
  }
  out.push_back('"');
}

void JsonWriter::before_value() {
  uint64_t bit = depth_ == 0 ? 0 : uint64_t{1} << (depth_ - 1);
  if (depth_ == 0) {
    BH_CHECK(!written_);
  } else if (objects_ & bit) {
    BH_CHECK(name_written_);
  } else {
    if (nonempty_ & bit) out_.push_back(',');
    nonempty_ |= bit;
  }
  name_written_ = false;
  written_ = true;
}

void JsonWriter::open(char bracket, bool is_object) {
  before_value();
  BH_CHECK(depth_ < kDepthMax);
  uint64_t bit = uint64_t{1} << depth_++;
  objects_ = is_object ? objects_ | bit : objects_ & ~bit;
  nonempty_ &= ~bit;
  out_.push_back(bracket);
}

void JsonWriter::close(char bracket, bool is_object) {
  BH_CHECK(depth_ > 0 && !name_written_);
  uint64_t bit = uint64_t{1} << --depth_;
  BH_CHECK(((objects_ & bit) != 0) == is_object);
  out_.push_back(bracket);
}

JsonWriter& JsonWriter::begin_object() {
  return open('{', true), *this;
}
JsonWriter& JsonWriter::end_object() {
  return close('}', true), *this;
}
JsonWriter& JsonWriter::begin_array() {
  return open('[', false), *this;
}
JsonWriter& JsonWriter::end_array() {
  return close(']', false), *this;
}

JsonWriter& JsonWriter::name(std::string_view name) {
  BH_CHECK(depth_ > 0 && !name_written_);
  uint64_t bit = uint64_t{1} << (depth_ - 1);
  BH_CHECK(objects_ & bit);
  if (nonempty_ & bit) out_.push_back(',');
  nonempty_ |= bit;
  append_json_string(out_, name);
  out_.push_back(':');
  name_written_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  before_value();
  append_json_string(out_, text);
  return *this;
}

JsonWriter& JsonWriter::boolean(bool flag) {
  return raw(flag ? "true" : "false");
}

JsonWriter& JsonWriter::integer(int64_t number) {
  char digits[24];
  return raw({digits, std::to_chars(digits, digits + sizeof digits, number).ptr});
}

JsonWriter& JsonWriter::unsigned_integer(uint64_t number) {
  char digits[24];
  return raw({digits, std::to_chars(digits, digits + sizeof digits, number).ptr});
}

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number)) return null();
  char digits[32];
  return raw({digits, std::to_chars(digits, digits + sizeof digits, number).ptr});
}

JsonWriter& JsonWriter::null() {
  return raw("null");
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  before_value();
  out_.append(json);
  return *this;
}

}  // namespace bellhop::proto
