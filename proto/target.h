// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"

namespace bellhop::proto {

// A request target in origin form, cut at its first "?". Views into the target; nothing is decoded.
struct TargetParts {
  std::string_view path;
  std::optional<std::string_view> query;  // without the "?"
};
TargetParts split_target(std::string_view target);

// The raw (still escaped) value of the only parameter of that name in `a=1&b=2`; nothing where it is absent. A
// parameter without "=" has an empty value. HttpError::bad_query if the name comes twice, or if any parameter's name
// is escaped (a second spelling of one name).
Result<std::optional<std::string_view>> query_parameter(std::string_view query, std::string_view name);

// Replaces %-escapes; "+" stays "+" (RFC 3986). Into the caller's memory, for secrets: returns the number of bytes
// written, nothing on a broken escape or little room.
std::optional<size_t> percent_decode(std::string_view text, MutableBytes out);
// HttpError::bad_query on a broken escape.
Result<std::string> percent_decode(std::string_view text);

// True where every byte is one of RFC 3986's for path and query, and every "%" starts a whole escape.
bool is_path_and_query(std::string_view text);

// A query, as far as its bytes go: those of RFC 3986, and "\", which ActiveSync clients leave as it is in User=DOMAIN\user.
bool is_query(std::string_view text);
// "/" and what follows it in a request's target in origin form.
bool is_origin_form(std::string_view target);

// host [":" port] of RFC 9110 section 7.2, without the percent-encoded and sub-delimiter forms of a reg-name.
bool is_host_value(std::string_view value);

}  // namespace bellhop::proto
