// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace bellhop::proto {

// Without the white space of XML (space, tab, CR, LF) at both ends. Values are often indented; texts of people are not
// trimmed.
inline std::string_view xml_trim(std::string_view text) {
  constexpr std::string_view kWhite = " \t\r\n";
  size_t first = text.find_first_not_of(kWhite);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kWhite) - first + 1);
}

}  // namespace bellhop::proto
