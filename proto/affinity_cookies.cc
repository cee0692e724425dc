// SPDX-License-Identifier: Apache-2.0
#include "proto/affinity_cookies.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/base/bytes.h"

namespace bellhop::proto {
namespace {

// cookie-name is a token, cookie-value is what RFC 6265 section 4.1.1 allows, without quotes around it.
bool is_cookie_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > 0x20 && c < 0x7f && std::string_view("()<>@,;:\\\"/[]?={}").find(c) == std::string_view::npos;
  });
}
bool is_cookie_value(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return c > 0x20 && c < 0x7f && std::string_view("\",;\\").find(c) == std::string_view::npos; });
}

std::string_view cut(std::string_view& rest, char separator) {
  const size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view piece = ascii_trim(rest.substr(0, end));
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return piece;
}

struct NameAndValue {
  std::string_view name, value;
};
std::optional<NameAndValue> read_pair(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == text.npos) return std::nullopt;
  const NameAndValue pair{ascii_trim(text.substr(0, equals)), ascii_trim(text.substr(equals + 1))};
  if (!is_cookie_name(pair.name) || !is_cookie_value(pair.value)) return std::nullopt;
  return pair;
}

std::optional<unsigned> month_of(std::string_view text) {
  constexpr std::array<std::string_view, 12> kMonths = {"jan", "feb", "mar", "apr", "may", "jun",
                                                        "jul", "aug", "sep", "oct", "nov", "dec"};
  for (unsigned i = 0; i < kMonths.size(); ++i) {
    if (ascii_equal_ignoring_case(text.substr(0, 3), kMonths[i])) return i + 1;
  }
  return std::nullopt;
}

// "hh:mm:ss"
std::optional<std::chrono::seconds> time_of(std::string_view text) {
  if (text.size() != 8 || text[2] != ':' || text[5] != ':') return std::nullopt;
  const auto hours = parse_decimal(text.substr(0, 2)), minutes = parse_decimal(text.substr(3, 2)),
             seconds = parse_decimal(text.substr(6, 2));
  if (!hours || !minutes || !seconds || *hours > 23 || *minutes > 59 || *seconds > 59) return std::nullopt;
  return std::chrono::seconds(*hours * 3600 + *minutes * 60 + *seconds);
}

// RFC 6265 section 5.1.1: the parts of a date in whatever order and spelling.
std::optional<WallTime> read_cookie_date(std::string_view text) {
  std::optional<uint64_t> day, year;
  std::optional<unsigned> month;
  std::optional<std::chrono::seconds> time;
  constexpr std::string_view kDelimiters = "\t ,-/;";
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(kDelimiters), text.size());
    const std::string_view token = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (token.empty()) continue;
    const auto number = parse_decimal(token);
    if (!time && (time = time_of(token))) continue;
    if (!day && number && token.size() <= 2) {
      day = number;
    } else if (!month && token.size() >= 3 && (month = month_of(token))) {
      continue;
    } else if (!year && number && (token.size() == 2 || token.size() == 4)) {
      year = token.size() == 4 ? *number : *number + (*number >= 70 ? 1900 : 2000);
    }
  }
  if (!day || !month || !year || !time) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)), std::chrono::month(*month),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *year < 1601) return std::nullopt;
  return WallTime(std::chrono::sys_days(date) + *time);
}

// Attributes of Set-Cookie: only those that end the cookie matter. Max-Age wins (RFC 6265 section 5.3).
bool is_expired(std::string_view attributes, WallTime now) {
  std::optional<bool> by_age, by_date;
  while (!attributes.empty()) {
    std::string_view attribute = cut(attributes, ';');
    const std::string_view name = cut(attribute, '=');
    if (ascii_equal_ignoring_case(name, "max-age")) {
      const std::string_view digits = attribute.starts_with('-') ? attribute.substr(1) : attribute;
      const bool numeric = !digits.empty() && digits.find_first_not_of("0123456789") == digits.npos;
      if (numeric) by_age = attribute.starts_with('-') || digits.find_first_not_of('0') == digits.npos;
    } else if (ascii_equal_ignoring_case(name, "expires")) {
      if (const auto date = read_cookie_date(attribute)) by_date = *date <= now;
    }
  }
  return by_age.value_or(by_date.value_or(false));
}

}  // namespace

AffinityCookies AffinityCookies::of_text(std::string_view text) {
  AffinityCookies cookies;
  if (text.size() > kBytesMax) return cookies;
  while (!text.empty()) {
    const auto pair = read_pair(cut(text, ';'));
    if (!pair || !cookies.set(pair->name, pair->value)) return {};
  }
  return cookies;
}

bool AffinityCookies::apply(const HeaderBlock& answer, WallTime now) {
  bool changed = false;
  for (size_t i = 0; i < answer.size(); ++i) {
    const HeaderField field = answer.at(i);
    if (field.name != "set-cookie") continue;
    std::string_view rest = field.value;
    const auto pair = read_pair(cut(rest, ';'));
    if (!pair) continue;
    changed |= is_expired(rest, now) ? remove(pair->name) : set(pair->name, pair->value);
  }
  return changed;
}

std::string AffinityCookies::text() const {
  std::string text;
  for (const Cookie& cookie : cookies_) {
    if (!text.empty()) text += "; ";
    text += cookie.name + "=" + cookie.value;
  }
  return text;
}

bool AffinityCookies::set(std::string_view name, std::string_view value) {
  const auto found = std::ranges::find(cookies_, name, &Cookie::name);
  if (found != cookies_.end() && found->value == value) return false;
  const size_t others = text().size() - (found == cookies_.end() ? 0 : found->value.size() + name.size());
  const bool fits = others + name.size() + value.size() + 3 <= kBytesMax;
  if (!fits || (found == cookies_.end() && cookies_.size() == kCookiesMax)) return false;
  if (found != cookies_.end()) {
    found->value = value;
  } else {
    cookies_.push_back({std::string(name), std::string(value)});
  }
  return true;
}

bool AffinityCookies::remove(std::string_view name) {
  return std::erase_if(cookies_, [name](const Cookie& cookie) { return cookie.name == name; }) > 0;
}

std::string_view find_cookie(const HeaderBlock& headers, std::string_view name) {
  std::string_view found;
  for (size_t i = 0; i < headers.size(); ++i) {
    const HeaderField field = headers.at(i);
    if (field.name != "cookie") continue;
    for (std::string_view rest = field.value; !rest.empty();) {
      std::string_view pair = cut(rest, ';');
      if (cut(pair, '=') != name) continue;
      if (!found.empty()) return {};
      found = pair;
    }
  }
  return found;
}

}  // namespace bellhop::proto
