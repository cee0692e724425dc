// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bellhop::proto {

// Appends `text` as the inside of a JSON string (RFC 8259 section 7), without the quotes: '"', '\' and control
// characters are escaped, all else is copied. `text` is well-formed UTF-8.
void append_json_escaped(std::string& out, std::string_view text);
// The number of bytes that append_json_escaped would add.
size_t json_escaped_size(std::string_view text);
// The longest prefix of `text` that ends on a character boundary and takes at most `bytes_max` bytes when escaped.
std::string_view json_escaped_prefix(std::string_view text, size_t bytes_max);

}  // namespace bellhop::proto
