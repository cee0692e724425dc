// SPDX-License-Identifier: Apache-2.0
#include "crypto/flat_json.h"

#include <optional>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "crypto/error.h"

namespace bellhop::crypto {
namespace {

void append_utf8(WipingString& out, uint32_t code_point) {
  auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (code_point >> shift & 0x3f))); };
  if (code_point < 0x80) {
    out.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | code_point >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

// Each function reads one production of RFC 8259 and moves on; false (or nothing) means malformed, and ends it all.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  void skip_space() {
    while (!at_end() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }
  bool take(char c) {
    if (at_end() || peek() != c) return false;
    ++at_;
    return true;
  }
  bool string(WipingString& out) {
    if (!take('"')) return false;
    while (!at_end()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (static_cast<uint8_t>(c) < 0x20) return false;
      if (c != '\\') {
        out.push_back(c);
      } else if (!escape(out)) {
        return false;
      }
    }
    return false;
  }
  // Reads into `out` where it lies: a short string's bytes are inside the object, and must not pass over the stack.
  bool value(FlatJson::Value& out) {
    if (at_end()) return false;
    if (peek() == '"') return string(out.emplace<WipingString>());
    if (word("true")) return out.emplace<bool>(true);
    if (word("false")) return !out.emplace<bool>(false);
    if (word("null")) return out.emplace<std::nullptr_t>() == nullptr;
    return integer(out.emplace<int64_t>());
  }

 private:
  char peek() const { return text_[at_]; }
  bool word(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }
  bool integer(int64_t& out) {
    const bool negative = take('-');
    const size_t start = at_;
    while (!at_end() && peek() >= '0' && peek() <= '9') ++at_;
    const std::string_view digits = text_.substr(start, at_ - start);
    if (digits.size() > 1 && digits[0] == '0') return false;
    const auto magnitude = parse_decimal(digits);
    if (!magnitude || *magnitude > static_cast<uint64_t>(INT64_MAX)) return false;
    const auto number = static_cast<int64_t>(*magnitude);
    out = negative ? -number : number;
    return true;
  }
  bool escape(WipingString& out) {
    if (at_end()) return false;
    switch (text_[at_++]) {
      case '"':
        out.push_back('"');
        return true;
      case '\\':
        out.push_back('\\');
        return true;
      case '/':
        out.push_back('/');
        return true;
      case 'b':
        out.push_back('\b');
        return true;
      case 'f':
        out.push_back('\f');
        return true;
      case 'n':
        out.push_back('\n');
        return true;
      case 'r':
        out.push_back('\r');
        return true;
      case 't':
        out.push_back('\t');
        return true;
      case 'u':
        return unicode_escape(out);
      default:
        return false;
    }
  }
  bool unicode_escape(WipingString& out) {
    const auto first = hex4();
    if (!first || *first == 0) return false;
    uint32_t code_point = *first;
    if (code_point >= 0xdc00 && code_point <= 0xdfff) return false;
    if (code_point >= 0xd800 && code_point <= 0xdbff) {
      if (!take('\\') || !take('u')) return false;
      const auto second = hex4();
      if (!second || *second < 0xdc00 || *second > 0xdfff) return false;
      code_point = 0x10000 + ((code_point - 0xd800) << 10) + (*second - 0xdc00);
    }
    append_utf8(out, code_point);
    return true;
  }
  std::optional<uint32_t> hex4() {
    if (text_.size() - at_ < 4) return std::nullopt;
    uint32_t number = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = ascii_lower(text_[at_++]);
      if (c >= '0' && c <= '9') {
        number = number << 4 | static_cast<uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        number = number << 4 | static_cast<uint32_t>(c - 'a' + 10);
      } else {
        return std::nullopt;
      }
    }
    return number;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Result<FlatJson> FlatJson::parse(std::string_view text, FlatJsonLimits limits) {
  const auto malformed = fail(crypto_error(CryptoError::malformed));
  if (text.size() > limits.bytes_max || !utf8_valid(text)) return malformed;
  FlatJson object;
  object.members_.reserve(limits.members_max);  // members never move
  Reader reader(text);
  reader.skip_space();
  if (!reader.take('{')) return malformed;
  reader.skip_space();
  bool more = !reader.take('}');
  while (more) {
    if (object.members_.size() == limits.members_max) return malformed;
    WipingString name;
    reader.skip_space();
    if (!reader.string(name) || object.has(name)) return malformed;
    reader.skip_space();
    if (!reader.take(':')) return malformed;
    reader.skip_space();
    Member& member = object.members_.emplace_back();
    member.name = std::move(name);
    if (!reader.value(member.value)) return malformed;
    reader.skip_space();
    if (reader.take('}')) {
      more = false;
    } else if (!reader.take(',')) {
      return malformed;
    }
  }
  reader.skip_space();
  if (!reader.at_end()) return malformed;
  return object;
}

const FlatJson::Value* FlatJson::find(std::string_view name) const {
  for (const Member& member : members_) {
    if (member.name == name) return &member.value;
  }
  return nullptr;
}

const WipingString* FlatJson::text(std::string_view name) const {
  const Value* value = find(name);
  return value ? std::get_if<WipingString>(value) : nullptr;
}

const int64_t* FlatJson::integer(std::string_view name) const {
  const Value* value = find(name);
  return value ? std::get_if<int64_t>(value) : nullptr;
}

void append_json_string(WipingString& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  for (char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      out.append("\\u00");
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

}  // namespace bellhop::crypto
