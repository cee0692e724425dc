// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string_view>

#include "core/base/bytes.h"

// Lists in header fields (RFC 9110 section 5.6.1). Internal to proto.
namespace bellhop::proto {

// Calls `take` with each item between commas, trimmed; empty ones are none. A quoted string may hold commas.
template <class Take>
void for_each_in_list(std::string_view list, Take take) {
  size_t start = 0;
  bool quoted = false;
  for (size_t i = 0; i <= list.size(); ++i) {
    if (i < list.size() && quoted && list[i] == '\\') {
      ++i;
      continue;
    }
    if (i < list.size() && list[i] == '"') quoted = !quoted;
    if (i < list.size() && (quoted || list[i] != ',')) continue;
    const std::string_view item = ascii_trim(list.substr(start, std::min(i, list.size()) - start));
    if (!item.empty()) take(item);
    start = i + 1;
  }
}

// Is `name` one of the tokens?
inline bool list_has(std::string_view list, std::string_view name) {
  bool found = false;
  for_each_in_list(list, [&](std::string_view item) { found |= ascii_equal_ignoring_case(item, name); });
  return found;
}

}  // namespace bellhop::proto
