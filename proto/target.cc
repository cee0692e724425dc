// SPDX-License-Identifier: Apache-2.0
#include "proto/target.h"

#include <algorithm>
#include <array>

#include "proto/http_error.h"

namespace bellhop::proto {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// unreserved, sub-delims, ":", "@", "/", "?" (RFC 3986 sections 3.3 and 3.4). "%" is looked at apart.
constexpr std::array<bool, 256> path_and_query_characters() {
  std::array<bool, 256> table{};
  for (int c = 'a'; c <= 'z'; ++c) table[c] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[c] = true;
  for (int c = '0'; c <= '9'; ++c) table[c] = true;
  for (char c : std::string_view("-._~!$&'()*+,;=:@/?")) table[static_cast<uint8_t>(c)] = true;
  return table;
}
constexpr auto kPathAndQuery = path_and_query_characters();

// The byte that the escape at `at` stands for; -1 where it is broken.
int escaped_byte(std::string_view text, size_t at) {
  if (text.size() - at < 3) return -1;
  int high = hex_digit(text[at + 1]);
  int low = hex_digit(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_address_character(char c) {
  return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') || c == '.' || c == ':';
}

}  // namespace

TargetParts split_target(std::string_view target) {
  size_t mark = target.find('?');
  if (mark == std::string_view::npos) return {target, std::nullopt};
  return {target.substr(0, mark), target.substr(mark + 1)};
}

Result<std::optional<std::string_view>> query_parameter(std::string_view query, std::string_view name) {
  std::optional<std::string_view> found;
  while (!query.empty()) {
    size_t end = std::min(query.find('&'), query.size());
    std::string_view parameter = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    size_t equals = std::min(parameter.find('='), parameter.size());
    std::string_view parameter_name = parameter.substr(0, equals);
    if (parameter_name.find_first_of("%+") != std::string_view::npos) return fail(http_error(HttpError::bad_query));
    if (parameter_name != name) continue;
    if (found) return fail(http_error(HttpError::bad_query));
    found = parameter.substr(std::min(equals + 1, parameter.size()));
  }
  return found;
}

std::optional<size_t> percent_decode(std::string_view text, MutableBytes out) {
  size_t written = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    int byte = static_cast<uint8_t>(text[i]);
    if (byte == '%') {
      byte = escaped_byte(text, i);
      i += 2;
    }
    if (byte < 0 || written == out.size()) return std::nullopt;
    out[written++] = static_cast<uint8_t>(byte);
  }
  return written;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string out(text.size(), '\0');
  auto size = percent_decode(text, MutableBytes(reinterpret_cast<uint8_t*>(out.data()), out.size()));
  if (!size) return fail(http_error(HttpError::bad_query));
  out.resize(*size);
  return out;
}

bool is_path_and_query(std::string_view text) { return text.find('\\') == std::string_view::npos && is_query(text); }

bool is_query(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (escaped_byte(text, i) < 0) return false;
      i += 2;
    } else if (!kPathAndQuery[static_cast<uint8_t>(text[i])] && text[i] != '\\') {
      return false;
    }
  }
  return true;
}

bool is_origin_form(std::string_view target) {
  const TargetParts parts = split_target(target);
  return target.starts_with('/') && is_path_and_query(parts.path) && is_query(parts.query.value_or(""));
}

bool is_host_value(std::string_view value) {
  size_t end;
  if (value.starts_with('[')) {
    end = value.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    if (!std::all_of(value.begin() + 1, value.begin() + end, is_address_character)) return false;
    ++end;
  } else {
    end = std::min(value.find(':'), value.size());
    if (end == 0 || end > 255 || !std::all_of(value.begin(), value.begin() + end, is_host_character)) return false;
  }
  if (end == value.size()) return true;
  std::string_view port = value.substr(end + 1);
  auto number = parse_decimal(port);
  return value[end] == ':' && port.size() <= 5 && number && *number > 0 && *number <= 65535;
}

}  // namespace bellhop::proto
