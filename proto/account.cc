// SPDX-License-Identifier: Apache-2.0
#include "proto/account.h"

#include <algorithm>
#include <utility>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

std::unexpected<Error> refuse() { return fail(gateway_error(GatewayError::account)); }

// Upper to lower case, one letter for one (Unicode's simple folding), of the scripts that user names are in. What is not
// here stays, and two spellings of it are two names.
char32_t fold_letter(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c >= 0xc0 && c <= 0xde) return c == 0xd7 ? c : c + 32;
  const bool even_is_upper = (c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) || (c >= 0x14a && c <= 0x177);
  const bool odd_is_upper = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e);
  if (even_is_upper) return c | 1;
  if (odd_is_upper) return c + (c & 1);
  if (c == 0x178) return 0xff;
  if (c == 0x386) return 0x3ac;
  if (c >= 0x388 && c <= 0x38a) return c + 37;
  if (c == 0x38c) return 0x3cc;
  if (c == 0x38e || c == 0x38f) return c + 63;
  if (c >= 0x391 && c <= 0x3ab && c != 0x3a2) return c + 32;
  if (c == 0x3c2) return 0x3c3;  // the final form of sigma
  if (c >= 0x410 && c <= 0x42f) return c + 32;
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  return c;
}

void append_two_bytes(std::string& out, char32_t c) {
  out += static_cast<char>(0xc0 | c >> 6);
  out += static_cast<char>(0x80 | (c & 0x3f));
}

// U+00C0 to U+017F without their marks; "?": two letters, or none.
constexpr std::string_view kPlainLatin =
    "aaaaaa?ceeeeiiiidnooooo?ouuuuy??aaaaaa?ceeeeiiiidnooooo?ouuuuy?y"
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii??jjkk?llllllllll"
    "nnnnnn?nnoooooo??rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
static_assert(kPlainLatin.size() == 0x180 - 0xc0);

std::string_view plain_latin(char32_t c) {
  switch (c) {
    case 0xc6:
    case 0xe6: return "ae";
    case 0xde:
    case 0xfe: return "th";
    case 0xdf: return "ss";
    case 0x132:
    case 0x133: return "ij";
    case 0x152:
    case 0x153: return "oe";
    default: break;
  }
  const std::string_view one = kPlainLatin.substr(c - 0xc0, 1);
  return one == "?" ? std::string_view() : one;
}

// Greek and Cyrillic letters, folded, without accent, diaeresis or breve.
char32_t plain_greek_or_cyrillic(char32_t c) {
  switch (c) {
    case 0x3ac: return 0x3b1;
    case 0x3ad: return 0x3b5;
    case 0x3ae: return 0x3b7;
    case 0x390:
    case 0x3af:
    case 0x3ca: return 0x3b9;
    case 0x3cc: return 0x3bf;
    case 0x3b0:
    case 0x3cb:
    case 0x3cd: return 0x3c5;
    case 0x3ce: return 0x3c9;
    case 0x439:
    case 0x45d: return 0x438;
    case 0x450:
    case 0x451: return 0x435;
    case 0x453: return 0x433;
    case 0x457: return 0x456;
    case 0x45c: return 0x43a;
    case 0x45e: return 0x443;
    default: return c;
  }
}

// Of scripts whose letters are none of the above, whatever marks they have.
bool is_other_script(char32_t c) {
  return (c >= 0x530 && c <= 0x1cff) || (c >= 0x3040 && c <= 0x318f) || (c >= 0x3400 && c <= 0x9fff) ||
         (c >= 0xac00 && c <= 0xd7a3) || (c >= 0x20000 && c <= 0x3ffff);
}

// The first character of well-formed UTF-8, and how many bytes it has.
std::pair<char32_t, size_t> first_character(std::string_view utf8) {
  const auto lead = static_cast<uint8_t>(utf8[0]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  char32_t c = size == 1 ? lead : lead & (0x7f >> size);
  for (size_t i = 1; i < size; ++i) c = c << 6 | (static_cast<uint8_t>(utf8[i]) & 0x3f);
  return {c, size};
}

bool is_domain(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.back() == '.' || text.find("..") != text.npos) return false;
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > Account::kBytesMax || !utf8_valid(text)) return false;
  if (text.front() == ' ' || text.back() == ' ') return false;
  // "DOMAIN/user" is DOMAIN\user to some servers.
  return std::ranges::none_of(text, [](char c) { return (static_cast<uint8_t>(c) < 0x20) || c == 0x7f || c == '/'; });
}

}  // namespace

// Every letter that changes has one or two bytes, before and after.
std::string fold_case(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto byte = static_cast<uint8_t>(utf8[i]);
    if (byte < 0x80) {
      out += ascii_lower(utf8[i]);
    } else if (byte >= 0xc2 && byte <= 0xdf && i + 1 < utf8.size()) {
      const auto next = static_cast<uint8_t>(utf8[++i]);
      append_two_bytes(out, fold_letter(char32_t(byte & 0x1f) << 6 | (next & 0x3f)));
    } else {
      out += utf8[i];
    }
  }
  return out;
}

std::optional<std::string> plain_letters(std::string_view user) {
  std::string out;
  bool letters = false, others = false;  // marks of other scripts may be nothing between letters
  while (!user.empty()) {
    const auto [c, size] = first_character(user);
    if (c < 0x80) {
      letters |= (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
      out += static_cast<char>(c);
    } else if (c >= 0xc0 && c < 0x180) {
      const std::string_view plain = plain_latin(c);
      if (plain.empty()) return std::nullopt;
      letters = true;
      out += plain;
    } else if ((c >= 0x388 && c <= 0x3ce) || (c >= 0x430 && c <= 0x45f)) {
      letters = true;
      append_two_bytes(out, plain_greek_or_cyrillic(c));
    } else if (is_other_script(c)) {
      others = true;
      out += user.substr(0, size);
    } else if (c < 0x300 || c > 0x36f) {  // else a mark of the letter before
      return std::nullopt;
    }
    user.remove_prefix(size);
  }
  return letters && others ? std::nullopt : std::optional(std::move(out));
}

Status AccountNames::add_domain_alias(std::string_view alias, std::string_view domain) {
  std::string from = fold_case(alias), to = fold_case(domain);
  if (!is_domain(from) || !is_domain(to)) return refuse();
  if (from == to) {
    if (domains_.contains(from)) return refuse();
    if (known_.size() >= kDomainsMax) return fail(core_error(CoreError::limit));
    known_.insert(std::move(from));
    return {};
  }
  if (const auto known = domains_.find(from); known != domains_.end()) {
    return known->second == to ? Status() : refuse();
  }
  // What stands for another domain is nobody's target.
  const bool target_is_alias = domains_.contains(to);
  const bool alias_is_target = known_.contains(from);
  if (target_is_alias || alias_is_target) return refuse();
  if (domains_.size() >= kDomainsMax) return fail(core_error(CoreError::limit));
  known_.insert(to);
  domains_.emplace(std::move(from), std::move(to));
  return {};
}

Status AccountNames::set_default_domain(std::string_view domain) {
  std::string folded = fold_case(domain);
  if (!is_domain(folded)) return refuse();
  default_domain_ = std::move(folded);
  return {};
}

std::optional<Account> AccountNames::parse(std::string_view name) const {
  if (!is_name(name)) return std::nullopt;
  if (name.starts_with('\\')) name.remove_prefix(1);
  const size_t slash = name.find('\\'), at = name.find('@');
  std::string_view user = name, domain;
  if (slash != name.npos) {
    if (at != name.npos) return std::nullopt;
    domain = name.substr(0, slash);
    user = name.substr(slash + 1);
  } else if (at != name.npos) {
    user = name.substr(0, at);
    domain = name.substr(at + 1);
  }
  const bool has_domain = user.size() != name.size();
  if (user.empty() || user.find_first_of("\\@") != user.npos) return std::nullopt;
  if (user.front() == ' ' || user.back() == ' ') return std::nullopt;  // as around the whole
  std::string folded_domain = has_domain ? fold_case(domain) : default_domain_;
  if (has_domain && !is_domain(folded_domain)) return std::nullopt;
  if (const auto alias = domains_.find(folded_domain); alias != domains_.end()) folded_domain = alias->second;
  return Account{fold_case(user) + "@" + folded_domain};
}

bool AccountNames::is_certain(const Account& account) const {
  const std::string_view domain = account.domain();
  if (known_.empty() && default_domain_.empty()) return domain.find('.') != domain.npos;
  if (known_.contains(domain)) return true;
  return !default_domain_.empty() && domain == default_domain_;
}

std::optional<Account> AccountNames::parse_latin1_or_utf8(std::string_view name) const {
  if (utf8_valid(name)) return parse(name);
  if (name.size() > Account::kBytesMax) return std::nullopt;
  std::string converted;
  for (char c : name) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte < 0x80) {
      converted += c;
    } else {
      append_two_bytes(converted, byte);
    }
  }
  return parse(converted);
}

}  // namespace bellhop::proto
