// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"

namespace bellhop::proto {

// The methods that our listeners serve; every other one is refused by the parsers.
enum class HttpMethod : uint8_t { get, head, post, put, patch, delete_, options };
std::string_view method_name(HttpMethod method);
// Nothing for a method that we do not serve. Methods are case-sensitive (RFC 9110 section 9.1).
std::optional<HttpMethod> method_of_name(std::string_view name);

// Of a request's target, in either version of HTTP.
inline constexpr size_t kHttpTargetMax = 8 * 1024;

// Views into memory of somebody else.
struct HeaderField {
  std::string_view name;   // lower case in what our parsers produce
  std::string_view value;
};

// The header fields of one message, in the order of arrival, for HTTP/1.1 and HTTP/2 alike. Owns their text in one
// buffer, which is wiped when cleared or destroyed: a field may be `authorization`. Bounded by the limits given.
class HeaderBlock {
 public:
  struct Limits {
    uint32_t bytes_max = 32 * 1024;  // names and values together
    uint32_t fields_max = 100;
  };

  HeaderBlock() = default;
  explicit HeaderBlock(Limits limits) : limits_(limits) {}
  HeaderBlock(HeaderBlock&& other) noexcept;
  HeaderBlock& operator=(HeaderBlock&& other) noexcept;
  ~HeaderBlock() { clear(); }

  // Copies; the name is stored in lower case. False, and nothing added, where a limit would be passed.
  [[nodiscard]] bool add(std::string_view name, std::string_view value);
  void clear();

  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  // Views stay valid until the next add() or clear().
  HeaderField at(size_t index) const;
  // The value of the only field of that name (given in lower case); nothing where it is absent or there are several.
  std::optional<std::string_view> find(std::string_view name) const;
  size_t count(std::string_view name) const;

 private:
  struct Entry {
    uint32_t name_at, name_size, value_at, value_size;
  };

  Limits limits_;
  std::string text_;
  std::vector<Entry> entries_;
};

}  // namespace bellhop::proto
