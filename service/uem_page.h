// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

namespace bellhop::service {

// A page of a UEM's answer (docs/uem.md): devices, a line of JSON each, and a last line that says how to go on.
struct UemPage {
  std::string_view devices;  // all lines but the last, for ComplianceReader
  std::string next;          // the token of the next page; or
  std::string since;         // this was the last one: the token of later changes
};

inline constexpr size_t kUemTokenBytesMax = 512;

// Unreserved characters of RFC 3986, so that it stands in a query as it is.
bool is_uem_token(std::string_view text);

// A body whose last line is missing was cut, whatever its length says. On failure a phrase for the operator, which holds
// nothing of the body.
std::expected<UemPage, std::string_view> read_uem_page(std::string_view body);

}  // namespace bellhop::service
