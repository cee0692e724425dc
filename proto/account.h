// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/base/error.h"

namespace bellhop::proto {

// The owner of a mailbox in the one form that is compared: "user@domain" in lower case. Made by AccountNames only.
struct Account {
  static constexpr size_t kBytesMax = 256;
  std::string text;

  std::string_view user() const { return std::string_view(text).substr(0, text.rfind('@')); }
  std::string_view domain() const { return std::string_view(text).substr(text.rfind('@') + 1); }
  bool whole() const { return !domain().empty(); }

  friend bool operator==(const Account&, const Account&) = default;
};

// Case folding of user names: ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic letters; others stay.
std::string fold_case(std::string_view utf8);

// The user of an account as directories compare it. Active Directory takes accents for nothing: "ana" logs on as "aná" too, and
// the other way round. Latin, Greek and Cyrillic letters in their plain form, without marks. Nothing where characters are among
// them of which it is not known here what directories take them for: the name may be anybody's.
std::optional<std::string> plain_letters(std::string_view user);

// Turns the spellings of a user name into accounts. DOMAIN\user, user@domain, a bare user and what iOS sends with an empty
// domain, \user@domain, of one account are one; so are domains that the configuration calls aliases of each other.
// Immutable once filled; any core.
class AccountNames {
 public:
  static constexpr size_t kDomainsMax = 4096;

  // `domain` is what accounts are written with; `alias` a NetBIOS name ("CORP") or another DNS domain of the same
  // accounts. Aliases do not chain; `alias` may be `domain` itself, which is then known. Errors: GatewayError::account
  // (empty, not a domain, or already alias of another one); CoreError::limit.
  Status add_domain_alias(std::string_view alias, std::string_view domain);
  // The domain of a bare user name; without it a bare name is an account of its own, "user@".
  Status set_default_domain(std::string_view domain);

  // Nothing where it is no name: empty, longer than kBytesMax, ill-formed UTF-8, a control character, more than one "@" or
  // separator, a slash, an empty user or domain.
  std::optional<Account> parse(std::string_view name) const;
  // Where the bytes are not UTF-8 they are taken as ISO-8859-1, as older desktop clients send them in Basic.
  std::optional<Account> parse_latin1_or_utf8(std::string_view name) const;
  // Is it certain that no other domain is meant? Where domains are configured: it is one of them. Where none is: it is a DNS
  // domain, as it stands.
  bool is_certain(const Account& account) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  std::unordered_map<std::string, std::string, Hash, std::equal_to<>> domains_;  // by alias
  std::unordered_set<std::string, Hash, std::equal_to<>> known_;                 // what they stand for
  std::string default_domain_;
};

}  // namespace bellhop::proto
