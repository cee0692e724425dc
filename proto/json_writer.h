// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace bellhop::proto {

// Appends one JSON text to a string; no tree, no allocation of its own. Strings are escaped (RFC 8259, and U+2028,
// U+2029 and DEL, so that the text is safe in scripts and logs); ill-formed UTF-8 becomes U+FFFD. A misuse (a value
// where a name must stand, an unbalanced end) is a bug and stops the program.
class JsonWriter {
 public:
  static constexpr uint32_t kDepthMax = 64;

  // `out` must outlive the writer.
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& name(std::string_view name);

  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(std::same_as<bool> auto flag) { return boolean(flag); }
  JsonWriter& value(std::signed_integral auto number) { return integer(number); }
  template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>)
  JsonWriter& value(T number) {
    return unsigned_integer(number);
  }
  // Shortest text that reads back as the same number; NaN and infinities become null.
  JsonWriter& value(double number);
  JsonWriter& null();
  // A value that is JSON already.
  JsonWriter& raw(std::string_view json);

  // name() and value() in one.
  template <class T>
  JsonWriter& member(std::string_view member_name, const T& member_value) {
    name(member_name);
    return value(member_value);
  }
  // True when the outermost value is closed.
  bool done() const { return depth_ == 0 && written_; }

 private:
  JsonWriter& boolean(bool flag);
  JsonWriter& integer(int64_t number);
  JsonWriter& unsigned_integer(uint64_t number);
  void before_value();
  void open(char bracket, bool is_object);
  void close(char bracket, bool is_object);

  std::string& out_;
  uint64_t objects_ = 0;   // bit per depth: an object is open, not an array
  uint64_t nonempty_ = 0;  // bit per depth: something was written in it
  uint32_t depth_ = 0;
  bool name_written_ = false;
  bool written_ = false;
};

// Appends `text` as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view text);

}  // namespace bellhop::proto
