// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace bellhop::proto {

// Lines of settings as Java writes and reads them (java.util.Properties): `name=value`, `name: value` or `name value`, comments
// after # or !, a backslash at the end of a line that continues it, and the escapes \t \n \r \f \uXXXX, in which every other
// backslash stands for the character after it. The text is UTF-8; a byte order mark at its beginning is skipped.
struct Property {
  std::string name;
  std::string value;
  uint32_t line = 1;  // where it begins
};

struct PropertyFault {
  uint32_t line = 1;
  std::string_view what;  // a phrase for people
};

inline constexpr size_t kPropertiesBytesMax = 1 << 20;
inline constexpr size_t kPropertiesMax = 10'000;

// In the order of the text; a name may come more than once. A line with a name alone has an empty value.
std::expected<std::vector<Property>, PropertyFault> parse_properties(std::string_view text);

}  // namespace bellhop::proto
